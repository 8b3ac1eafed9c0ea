"""A Student-t response about a line."""
