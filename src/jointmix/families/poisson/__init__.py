"""Counts with a log link."""
