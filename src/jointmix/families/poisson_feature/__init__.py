"""Counts as features."""
