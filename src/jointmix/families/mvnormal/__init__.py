"""Gaussian features."""
