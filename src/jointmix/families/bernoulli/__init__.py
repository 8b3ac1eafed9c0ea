"""Yes or no, with a logit or probit link."""
