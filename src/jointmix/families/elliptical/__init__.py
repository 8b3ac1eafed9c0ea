"""Numeric features whose clusters are ellipsoids: what their families share."""
