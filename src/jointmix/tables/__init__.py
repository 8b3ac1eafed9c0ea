"""From a table of any kind to columns of numbers, and what is wrong with them; knows no model."""
