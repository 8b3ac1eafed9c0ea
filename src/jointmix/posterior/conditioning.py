"""Rows with missing features: what the model says of the entries that are there."""

from collections.abc import Iterator

import numpy as np

from jointmix.families.parameters import Parameters, lower_factor
from jointmix.model.rows import Rows
from jointmix.model.spec import ModelSpec


def by_pattern(
    rows: Rows, parameters: Parameters, spec: ModelSpec
) -> Iterator[tuple[np.ndarray, Rows, Parameters, np.ndarray]]:
    """Groups of rows that miss the same features, each with the model of the others.

    Yields
    ------
    place, rows, parameters, present
        Places of the group's rows (row,), the rows and parameters of `marginal`, and which
        features are present (feature,).
    """
    missing = np.isnan(rows.x)
    if not missing.any():
        yield np.arange(len(rows.y)), rows, parameters, np.ones(rows.x.shape[1], dtype=bool)
        return
    patterns, group = np.unique(missing, axis=0, return_inverse=True)
    for index, pattern in enumerate(patterns):
        place = np.flatnonzero(group.ravel() == index)
        part, reduced = rows.take(place), parameters
        if pattern.any():
            part, reduced = marginal(part, parameters, ~pattern, spec)
        yield place, part, reduced, ~pattern


def marginal(
    rows: Rows, parameters: Parameters, present: np.ndarray, spec: ModelSpec
) -> tuple[Rows, Parameters]:
    """The model of some of the features and the response, the other features integrated out.

    Inside a cluster the missing features are Gaussian given the others, so that y is again normal
    about a line. With B = Σ_mo Σ_oo⁻¹ its slope in the features that are present is
    θ_o + B'θ_m, its intercept b + θ_m'(μ_m − B μ_o) and its variance
    σ² + θ_m'(Σ_mm − B Σ_om) θ_m.

    Parameters
    ----------
    rows
        On the scale of the parameters; entries that are not present are not read.
    parameters
        With one leading dim (draw,).
    present
        Which features are there, (feature,).

    Returns
    -------
    rows, parameters
        Of the features present; the predictors are those features, then the predictors that are
        no features.
    """
    assert parameters.mean is not None
    assert parameters.cholesky is not None
    there, gone = np.flatnonzero(present), np.flatnonzero(~present)
    covariance = parameters.cholesky @ np.swapaxes(parameters.cholesky, -1, -2)
    outside = [i for i, name in enumerate(spec.predictors) if name not in spec.features]
    x = rows.x[:, there]
    reduced = {"weight": parameters.weight}
    inner = covariance[..., there[:, None], there]
    if there.size:
        reduced |= {"mean": parameters.mean[..., there], "cholesky": lower_factor(inner)}
    if parameters.sigma is None:
        return Rows(x, rows.u[:, :0], rows.y), Parameters(**reduced)
    assert parameters.intercept is not None
    assert parameters.slope is not None
    # The slope in every feature, zero where it is no predictor.
    slope = np.zeros(parameters.mean.shape)
    for index, name in enumerate(spec.predictors):
        if name in spec.features:
            slope[..., spec.features.index(name)] = parameters.slope[..., index]
    of_gone = slope[..., gone]
    cross = covariance[..., there[:, None], gone]
    carried = np.linalg.solve(inner, (cross @ of_gone[..., None]))[..., 0]
    spread = np.einsum(
        "...i,...ij,...j->...", of_gone, covariance[..., gone[:, None], gone], of_gone
    )
    explained = np.einsum("...i,...ij,...j->...", carried, cross, of_gone)
    intercept = parameters.intercept + (of_gone * parameters.mean[..., gone]).sum(-1)
    reduced |= {
        "intercept": intercept - (carried * parameters.mean[..., there]).sum(-1),
        "slope": np.concatenate(
            [slope[..., there] + carried, parameters.slope[..., outside]], axis=-1
        ),
        # Rounding may leave less than nothing of what is explained entirely.
        "sigma": np.sqrt(parameters.sigma**2 + np.maximum(spread - explained, 0.0)),
    }
    return Rows(x, np.hstack([x, rows.u[:, outside]]), rows.y), Parameters(**reduced)
