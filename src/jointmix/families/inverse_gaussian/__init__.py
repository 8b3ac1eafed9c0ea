"""A positive response with an inverse Gaussian density."""
