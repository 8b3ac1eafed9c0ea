"""The log posterior and its gradient written out for Numba, one compiled function for all models.

The PyMC model (`jointmix.model.graph`) defines the posterior; this package evaluates it, on the
same unconstrained values in the same order, in residuals rather than natural parameters. Tests hold
the two together to 1e-12 over all structures, and this one to fifty digits.
"""
