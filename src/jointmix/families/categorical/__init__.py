"""Features of levels, two or more."""
