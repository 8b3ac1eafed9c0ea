"""One model and one table: specification, rows, scale, PyMC graph."""
