"""Draws that no density takes: beyond float64, or of covariances that are none."""

import numpy as np
import xarray as xr

from jointmix.base.errors import SchemaError
from jointmix.base.schema import CHAIN, DRAW
from jointmix.families.matrices import lower_factor
from jointmix.kernel.values import within
from jointmix.model.spec import ModelSpec
from jointmix.tables.issues import listed
from jointmix.tables.screening import LARGEST


def outside_support(posterior: xr.Dataset, spec: ModelSpec) -> dict[str, np.ndarray]:
    """Which draws of which parameters are outside what densities take.

    Parameters
    ----------
    posterior
        Variables of the model's parameters, dims chain, draw and others.

    Returns
    -------
    dict
        Name → (chain, draw) truth values, of parameters with such draws: those that are not
        finite, or whose squares leave float64; scales and shapes that are not positive; weights
        below zero; correlations that make no positive definite matrix.
    """
    found = {}
    for name, parameter in spec.parameters.items():
        values = posterior[name].transpose(CHAIN, DRAW, ...).values
        good = within(values, parameter, LARGEST)
        if parameter.role == "weight":
            good &= values >= 0
        bad = ~good.all(axis=tuple(range(2, values.ndim)))
        if parameter.role == "correlation":
            matrices = posterior[name].transpose(CHAIN, DRAW, ..., *parameter.dims).values
            bad |= ~_positive_definite(matrices, bad)
        if bad.any():
            found[name] = bad
    return found


def _positive_definite(matrices: np.ndarray, bad: np.ndarray) -> np.ndarray:
    """Whether a draw's matrices (chain, draw, ..., D, D) have factors, (chain, draw)."""
    known = np.where(bad.reshape(*bad.shape, *[1] * (matrices.ndim - 2)), 0.0, matrices)
    known = known + bad.reshape(*bad.shape, *[1] * (matrices.ndim - 2)) * np.eye(known.shape[-1])
    try:
        lower_factor(known)
    except np.linalg.LinAlgError:
        return np.array([[_has_factor(draw) for draw in chain] for chain in known])
    return np.ones(bad.shape, dtype=bool)


def _has_factor(matrices: np.ndarray) -> bool:
    try:
        lower_factor(matrices)
    except np.linalg.LinAlgError:
        return False
    return True


def require_support(posterior: xr.Dataset, spec: ModelSpec) -> None:
    """Refuse draws of which no density can be had.

    Raises
    ------
    SchemaError
        If a draw is outside; the message names parameters and how many.
    """
    found = outside_support(posterior, spec)
    if found:
        n = int(np.any(list(found.values()), axis=0).sum())
        raise SchemaError(
            f"{'A draw' if n == 1 else f'{n} draws'} of {listed(found)} left what densities take "
            "(not finite, no positive scale, or no correlation matrix); jointmix.diagnose says "
            "more, and the model has to be fitted again."
        )
