"""A positive response with a gamma density."""
