"""Proof: agreement of implementations, calibration, and the NumPyro twin."""
