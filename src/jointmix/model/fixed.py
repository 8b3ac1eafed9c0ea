"""What priors may fix, and how many numbers that takes."""

import numpy as np

from jointmix.base.arguments import shown
from jointmix.base.errors import SpecError
from jointmix.families.priors.priors import Fixed
from jointmix.families.specified import Specified


def check_fixed(spec: Specified, pending: bool) -> None:
    """Refuse fixed values of other shapes than the model's, and those that cannot be.

    Parameters
    ----------
    pending
        Whether a table has yet to say which predictors there are.

    Raises
    ------
    SpecError
        If there are such.
    """
    priors, n, d = spec.priors, spec.n_clusters, len(spec.features)
    for name, mode in (("covariance", spec.covariance), ("sigma", spec.noise)):
        field_name = "noise" if name == "sigma" else name
        given = isinstance(getattr(priors, name), Fixed)
        if given != (mode == "fixed"):
            raise SpecError(
                f"{field_name}='fixed' and a Fixed prior of {name} go together; got "
                f"{field_name}={shown(mode)} and the prior {shown(getattr(priors, name))}."
            )
    if not spec.intercept and isinstance(priors.intercept, Fixed):
        raise SpecError("intercept=False already fixes the intercept; leave out its prior.")
    shapes: dict[str, list[tuple[int, ...]]] = {
        "weight": [(n,)],
        "mean": [(), (d,), (n, d)],
        "covariance": [(), (d,), (d, d), (n, d, d)],
        "intercept": [(), (n,)],
        "slope": [(), (len(spec.predictors),), (n, len(spec.predictors))],
        "sigma": [(), (n,)],
        "df": [(), (n,)],
        "feature_df": [(), (n,)] if spec.tails == "cluster" else [()],
        "size": [(), (n,)],
        "shape": [(), (n,)],
    }
    for name, allowed in shapes.items():
        prior = getattr(priors, name)
        if name == "slope" and pending:
            continue
        if isinstance(prior, Fixed) and prior.array.shape not in allowed:
            raise SpecError(
                f"The fixed {name} must have one of the shapes {allowed}; got {prior.array.shape}."
            )
    if isinstance(priors.weight, Fixed):
        weight = priors.weight.array
        if (weight <= 0).any() or abs(weight.sum() - 1) > 1e-9:
            raise SpecError(f"Fixed weights must be > 0 and sum to 1; got {weight.tolist()}.")
    for name in ("sigma", "df", "feature_df", "size", "shape"):
        prior = getattr(priors, name)
        if isinstance(prior, Fixed) and (prior.array <= 0).any():
            raise SpecError(f"The fixed {name} must be > 0; got {prior.array.tolist()}.")
    if priors.covariance is not None:
        matrices = spec.fixed_covariance()
        if not np.allclose(matrices, np.swapaxes(matrices, -1, -2), rtol=0, atol=1e-12) or (
            np.linalg.eigvalsh(matrices).min() <= 0
        ):
            raise SpecError("The fixed covariance must be symmetric and positive definite.")
