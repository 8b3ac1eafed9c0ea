"""Where the package's densities are cut off before float64 ends: numbers, and nothing else."""

#: Exponents beyond which means would leave float64.
MOST_EXPONENT = 700.0

#: Largest log of a response over its mean: from here on what is a function of it is cut off.
MOST_RATIO = 300.0

#: Variances below this, on the standardised scale, mark a collapsed cluster.
VARIANCE_FLOOR = 1e-8
