"""Whole jobs: a fit, its identification, comparisons, cross-validation, recipes."""
