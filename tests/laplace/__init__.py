"""A family from outside the package, as somebody else would write it: a Laplace response."""
