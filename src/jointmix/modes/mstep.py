"""The M-step of the joint mixture, closed form in the weighted second moments of w = (1, v).

v are the standardised columns. One matrix product of responsibilities with the rows' w w' serves
the M-steps of all components of all EM starts; whatever is fixed enters as linear forms in w.
"""

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from jointmix.families.parameters import Parameters
from jointmix.families.priors.priors import Fixed
from jointmix.model.dataset import Dataset
from jointmix.model.scaling import Scaling, standard_scaling
from jointmix.model.spec import ModelSpec

#: Variances below this, on the standardised scale, mark a collapsed cluster.
VARIANCE_FLOOR = 1e-8


def _fixed(spec: ModelSpec, name: str, width: int | None) -> np.ndarray | None:
    """A fixed parameter on the users' scale, (cluster,) or (cluster, width); None if free."""
    prior = getattr(spec.priors, name)
    if name == "intercept" and not spec.intercept:
        return np.zeros(spec.n_clusters)
    if not isinstance(prior, Fixed):
        return None
    shape = (spec.n_clusters,) if width is None else (spec.n_clusters, width)
    return np.broadcast_to(prior.array, shape)


@dataclass(frozen=True, eq=False)
class Problem:
    """The scaled rows, and the fixed parts on their scale.

    ``target`` (cluster, 1 + column) and ``design`` (free coefficient, 1 + column) are linear
    forms in w = (1, v): the regression explains target·w by design·w, whatever is fixed.
    """

    spec: ModelSpec
    scaling: Scaling
    values: np.ndarray
    weight: np.ndarray | None
    mean: np.ndarray | None
    covariance: np.ndarray | None
    slope: np.ndarray | None
    sigma: np.ndarray | None
    target: np.ndarray
    design: np.ndarray

    @cached_property
    def outer(self) -> np.ndarray:
        """The upper triangle of each row's w w', (obs, pair)."""
        w = np.column_stack([np.ones(len(self.values)), self.values])
        i, j = np.triu_indices(w.shape[1])
        return w[:, i] * w[:, j]

    @cached_property
    def columns(self) -> np.ndarray:
        """The scaled columns one after another, (column, obs)."""
        return np.ascontiguousarray(self.values.T)

    @cached_property
    def places(self) -> np.ndarray:
        """Columns of the predictors, (predictor,)."""
        names = self.spec.columns
        return np.array([names.index(name) for name in self.spec.predictors], dtype=int)

    @property
    def x(self) -> np.ndarray:
        return self.values[:, : len(self.spec.features)]

    @cached_property
    def u(self) -> np.ndarray:
        return self.values[:, self.places]

    @property
    def y(self) -> np.ndarray:
        return self.values[:, -1] if self.spec.response else np.zeros(len(self.values))


def make_problem(dataset: Dataset, spec: ModelSpec) -> Problem:
    """The rows, standardised, and the model's fixed parts on that scale."""
    scaling = standard_scaling(dataset, spec)
    d, r = len(spec.features), len(spec.predictors)
    mean, slope = _fixed(spec, "mean", d), _fixed(spec, "slope", r)
    sigma, weight = _fixed(spec, "sigma", None), _fixed(spec, "weight", None)
    center, scale = scaling.feature
    covariance = None
    if spec.covariance == "fixed" and d:
        covariance = spec.fixed_covariance() / np.outer(scale, scale)
    y_scale = scaling.response[1]
    slope_scaled = None if slope is None else slope * scaling.predictor[1] / y_scale
    target, design = _forms(spec, scaling, slope_scaled)
    return Problem(
        spec=spec,
        scaling=scaling,
        values=scaling.transform(dataset.values),
        weight=weight,
        mean=None if mean is None else (mean - center) / scale,
        covariance=covariance,
        slope=slope_scaled,
        sigma=None if sigma is None else sigma / y_scale,
        target=target,
        design=design,
    )


def _predictor_forms(spec: ModelSpec, scaling: Scaling) -> np.ndarray:
    """Predictors as linear forms in w (R, 1 + column), centred unless b is fixed."""
    forms = np.zeros((len(spec.predictors), 1 + len(spec.columns)))
    center, scale = scaling.predictor
    for row, name in enumerate(spec.predictors):
        forms[row, 1 + spec.columns.index(name)] = 1
        if not spec.free_intercept:
            forms[row, 0] = center[row] / scale[row]
    return forms


def _forms(
    spec: ModelSpec, scaling: Scaling, slope: np.ndarray | None
) -> tuple[np.ndarray, np.ndarray]:
    width = 1 + len(spec.columns)
    target, design = np.zeros((spec.n_clusters, width)), np.zeros((0, width))
    if spec.response is None:
        return target, design
    predictors = _predictor_forms(spec, scaling)
    target[:, -1] = 1
    intercept = _fixed(spec, "intercept", None)
    if intercept is None:
        design = np.eye(1, width)
    else:
        center, scale = scaling.response
        target[:, 0] = (center - intercept) / scale
    if slope is None:
        return target, np.vstack([design, predictors])
    return target - slope @ predictors, design


def moments(problem: Problem, share: np.ndarray) -> np.ndarray:
    """Weighted second moments of w, (start, cluster, 1 + column, 1 + column).

    Parameters
    ----------
    share
        Responsibilities, (start, cluster, obs).
    """
    width = 1 + problem.values.shape[1]
    flat = share.reshape(-1, len(problem.values)) @ problem.outer
    i, j = np.triu_indices(width)
    result = np.empty((len(flat), width, width))
    result[:, i, j] = result[:, j, i] = flat
    return result.reshape(*share.shape[:2], width, width)


def maximise(problem: Problem, second: np.ndarray) -> Parameters:
    """The M-step, from second moments (start, cluster, 1 + column, 1 + column)."""
    count = np.maximum(second[..., 0, 0], 1e-10)
    weight = count / count.sum(-1, keepdims=True)
    if problem.weight is not None:
        weight = np.broadcast_to(problem.weight, count.shape)
    average = second / count[..., None, None]
    arrays: dict[str, np.ndarray] = {"weight": weight}
    if problem.spec.features:
        arrays |= _maximise_features(problem, average, count)
    if problem.spec.response is not None:
        arrays |= _maximise_response(problem, average, count)
    return Parameters(**arrays)


def _maximise_features(
    problem: Problem, average: np.ndarray, count: np.ndarray
) -> dict[str, np.ndarray]:
    d = len(problem.spec.features)
    sample_mean = average[..., 0, 1 : d + 1]
    mean = sample_mean if problem.mean is None else np.broadcast_to(problem.mean, sample_mean.shape)
    cross = sample_mean[..., :, None] * mean[..., None, :]
    covariance = average[..., 1 : d + 1, 1 : d + 1] - cross - np.swapaxes(cross, -1, -2)
    covariance = covariance + mean[..., :, None] * mean[..., None, :]
    kind = problem.spec.covariance
    if problem.covariance is not None:
        covariance = np.broadcast_to(problem.covariance, covariance.shape)
    elif kind == "tied":
        pooled = np.einsum("...k,...kij->...ij", count, covariance)
        pooled /= count.sum(-1)[..., None, None]
        covariance = np.broadcast_to(pooled[..., None, :, :], covariance.shape)
    elif kind == "diagonal":
        covariance = covariance * np.eye(d)
    elif kind == "spherical":
        variance = np.trace(covariance, axis1=-2, axis2=-1) / d
        covariance = variance[..., None, None] * np.eye(d)
    if problem.covariance is None:
        covariance = covariance + VARIANCE_FLOOR * np.eye(d)
    return {"mean": mean, "cholesky": np.linalg.cholesky(covariance)}


def _maximise_response(
    problem: Problem, average: np.ndarray, count: np.ndarray
) -> dict[str, np.ndarray]:
    target, design = problem.target, problem.design
    gram = design @ average @ design.T
    right = np.einsum("pi,...kij,kj->...kp", design, average, target)
    coefficient = (np.linalg.pinv(gram, hermitian=True) @ right[..., None])[..., 0]
    residual = target - coefficient @ design
    variance = np.einsum("...ki,...kij,...kj->...k", residual, average, residual)
    if problem.sigma is not None:
        variance = np.broadcast_to(problem.sigma**2, variance.shape)
    else:
        variance = np.maximum(variance, 0) + VARIANCE_FLOOR
        if problem.spec.noise == "shared":
            pooled = (count * variance).sum(-1, keepdims=True) / count.sum(-1, keepdims=True)
            variance = np.broadcast_to(pooled, variance.shape)
    # The residual is y − b − u'θ as a form in w: its constant is −b.
    columns = [1 + problem.spec.columns.index(name) for name in problem.spec.predictors]
    return {
        "intercept": -residual[..., 0],
        "slope": -residual[..., columns],
        "sigma": np.sqrt(variance),
    }
