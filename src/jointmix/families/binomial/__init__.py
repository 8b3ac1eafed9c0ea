"""Successes of so many trials, or of one, with a logit or probit link."""
