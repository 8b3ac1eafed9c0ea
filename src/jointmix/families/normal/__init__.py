"""A normal response about a line."""
