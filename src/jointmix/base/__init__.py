"""What everything stands on: errors, arguments, names, the machine, processes."""
