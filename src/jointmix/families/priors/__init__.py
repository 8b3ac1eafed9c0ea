"""Prior families: what is known of a parameter before the rows are seen."""
