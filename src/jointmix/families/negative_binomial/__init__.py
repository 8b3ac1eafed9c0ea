"""Counts with a log link that are spread more than Poisson's."""
