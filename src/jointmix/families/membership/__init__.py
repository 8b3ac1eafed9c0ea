"""Which cluster a row belongs to: the weights."""
