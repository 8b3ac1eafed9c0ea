"""Counts as features that are spread more than Poisson's."""
