"""Multi-start EM for the joint mixture, and the census of the optima it finds.

Each step is closed form in the weighted second moments of w = (1, v), with v the scaled columns,
so one matrix product serves the M-steps of all components of all starts. EM always runs on
standardised columns; what it returns is on the users' scale. Method: Dempster, Laird and Rubin
(1977); convergence by Aitken's criterion (Boehning et al. 1994).
"""

from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np

from jointmix.data import Dataset
from jointmix.density import (
    Parameters,
    component_log_density,
    log_likelihood,
    responsibility,
)
from jointmix.priors import Fixed
from jointmix.scaling import Scaling, standard_scaling
from jointmix.spec import ModelSpec
from jointmix.starts import allocations

#: Variances below this, on the standardised scale, mark a collapsed cluster.
VARIANCE_FLOOR = 1e-8
#: Rows above which the starts run on a random subset; the optima are then polished on all rows.
SUBSET_ROWS = 20_000
_SUBSET_SIZE = 10_000
#: Numbers (starts × rows × clusters) worked on at a time: 32 MB an array.
_BATCH_NUMBERS = 4_000_000
_SAME_OPTIMUM = 1e-2


@dataclass(frozen=True, eq=False)
class Mode:
    """One optimum of the likelihood.

    Attributes
    ----------
    parameters
        On the users' scale, clusters by decreasing weight (as given, if they are not
        exchangeable).
    log_likelihood
        Joint log likelihood of all rows, natural log, on the users' scale.
    n_starts
        Number of starts that reached it.
    bic, icl
        Schwarz's criterion −2 log L + p log N, and with twice the entropy of the
        responsibilities added (Biernacki et al. 2000): smaller is better.
    smallest_share
        Smallest weight.
    collapsed
        Whether a cluster's variance shrank to the floor or its rows ran out: a spike of the
        likelihood, not a cluster.
    """

    parameters: Parameters
    log_likelihood: float
    n_starts: int
    bic: float
    icl: float
    smallest_share: float
    collapsed: bool


@dataclass(frozen=True, eq=False)
class Census:
    """The optima that ``n_starts`` starts found, best first, collapsed ones last."""

    modes: tuple[Mode, ...]
    n_starts: int

    @property
    def best(self) -> Mode:
        """The optimum with the highest log likelihood that is not collapsed."""
        return self.modes[0]


def count_parameters(spec: ModelSpec) -> int:
    """Number of free parameters of the model."""
    k, d, r, priors = spec.n_clusters, len(spec.features), len(spec.predictors), spec.priors
    covariance = {
        "full": k * d * (d + 1) // 2,
        "diagonal": k * d,
        "spherical": k if d else 0,
        "tied": d * (d + 1) // 2,
        "fixed": 0,
    }[spec.covariance]
    count = covariance + (0 if isinstance(priors.weight, Fixed) else k - 1)
    count += 0 if isinstance(priors.mean, Fixed) else k * d
    if spec.response is not None:
        count += 0 if isinstance(priors.slope, Fixed) else k * r
        count += k if _free_intercept(spec) else 0
        count += {"cluster": k, "shared": 1, "fixed": 0}[spec.noise]
    return count


def _free_intercept(spec: ModelSpec) -> bool:
    return spec.intercept and not isinstance(spec.priors.intercept, Fixed)


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
class _Problem:
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
        """Each row's w w', (obs, (1 + column)²)."""
        w = np.column_stack([np.ones(len(self.values)), self.values])
        return (w[:, :, None] * w[:, None, :]).reshape(len(w), -1)

    @property
    def x(self) -> np.ndarray:
        return self.values[:, : len(self.spec.features)]

    @cached_property
    def u(self) -> np.ndarray:
        return self.values[:, [self.spec.columns.index(name) for name in self.spec.predictors]]

    @property
    def y(self) -> np.ndarray:
        return self.values[:, -1] if self.spec.response else np.zeros(len(self.values))


def _problem(dataset: Dataset, spec: ModelSpec) -> _Problem:
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
    return _Problem(
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
        if not _free_intercept(spec):
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


def _moments(problem: _Problem, share: np.ndarray) -> np.ndarray:
    """Weighted second moments of w, (start, cluster, 1 + column, 1 + column)."""
    width = 1 + problem.values.shape[1]
    flat = np.swapaxes(share, -1, -2).reshape(-1, len(problem.values)) @ problem.outer
    return flat.reshape(share.shape[0], share.shape[-1], width, width)


def _maximise(problem: _Problem, moments: np.ndarray) -> Parameters:
    """The M-step, from second moments (start, cluster, 1 + column, 1 + column)."""
    count = np.maximum(moments[..., 0, 0], 1e-10)
    total = count.sum(-1, keepdims=True)
    weight = count / total if problem.weight is None else np.broadcast_to(problem.weight, count.shape)
    average = moments / count[..., None, None]
    arrays: dict[str, np.ndarray] = {"weight": weight}
    if problem.spec.features:
        arrays |= _maximise_features(problem, average, count)
    if problem.spec.response is not None:
        arrays |= _maximise_response(problem, average, count)
    return Parameters(**arrays)


def _maximise_features(
    problem: _Problem, average: np.ndarray, count: np.ndarray
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
    problem: _Problem, average: np.ndarray, count: np.ndarray
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


def _expect(problem: _Problem, parameters: Parameters) -> np.ndarray:
    return component_log_density(problem.x, problem.u, problem.y, parameters)


def _remaining(gain: np.ndarray, new_gain: np.ndarray) -> np.ndarray:
    """What is left to gain after two successive gains, as Aitken extrapolates it."""
    with np.errstate(invalid="ignore"):
        rate = np.clip(new_gain / np.maximum(gain, 1e-300), 0, 1 - 1e-6)
    return np.abs(new_gain) * np.maximum(1, rate / (1 - rate))


def _run(
    problem: _Problem, share: np.ndarray, tolerance: float, max_iterations: int
) -> Parameters:
    """EM from responsibilities (start, obs, cluster) until less than ``tolerance`` is to gain.

    Starts that have converged drop out; the result holds one batch entry a start.
    """
    active = np.arange(len(share))
    parameters = _maximise(problem, _moments(problem, share))
    result = {name: value.copy() for name, value in parameters.each().items()}
    previous = np.full(len(share), -np.inf)
    gain = np.full(len(share), np.inf)
    for _ in range(max_iterations):
        component = _expect(problem, parameters)
        value = log_likelihood(component).sum(-1)
        new_gain = value - previous
        going = ~(np.isfinite(gain) & (_remaining(gain, new_gain) < tolerance))
        for name, array in parameters.each().items():
            result[name][active] = array
        if not going.any():
            break
        active, previous, gain = active[going], value[going], new_gain[going]
        parameters = _maximise(problem, _moments(problem, responsibility(component[going])))
    return Parameters(**result)


def _search(problem: _Problem, n_starts: int, rng: np.random.Generator) -> Parameters:
    """Coarse runs from all starts, a bounded number at a time; one start a batch entry."""
    rows = problem
    n = len(problem.values)
    if n > SUBSET_ROWS:
        chosen = np.sort(rng.choice(n, _SUBSET_SIZE, replace=False))
        rows = replace(problem, values=problem.values[chosen])
    k = problem.spec.n_clusters
    hard = allocations(rows.x, rows.u, rows.y if problem.spec.response else None, k, n_starts, rng)
    size = max(1, _BATCH_NUMBERS // (len(rows.values) * k))
    found = []
    for first in range(0, n_starts, size):
        share = np.eye(k)[hard[first : first + size]]
        found.append(_run(rows, share, tolerance=1e-2, max_iterations=500))
    names = found[0].each()
    return Parameters(
        **{name: np.concatenate([part.each()[name] for part in found]) for name in names}
    )


def _canonical(parameters: Parameters, spec: ModelSpec) -> Parameters:
    if not spec.exchangeable:
        return parameters
    return parameters.permute(np.argsort(-parameters.weight, kind="stable"))


def _describe(problem: _Problem, parameters: Parameters, n_starts: int) -> Mode:
    """The mode at ``parameters`` (no batch dim, standardised scale) as users see it."""
    spec, n = problem.spec, len(problem.values)
    component = _expect(problem, parameters)
    value = log_likelihood(component).sum() + n * problem.scaling.log_jacobian
    share = responsibility(component)
    entropy = -(share * np.log(np.maximum(share, 1e-300))).sum()
    bic = -2 * value + count_parameters(spec) * np.log(n)
    users = problem.scaling.to_users(parameters)
    if not spec.intercept:
        users = replace(users, intercept=np.zeros(spec.n_clusters))
    return Mode(
        parameters=_canonical(users, spec),
        log_likelihood=float(value),
        n_starts=n_starts,
        bic=float(bic),
        icl=float(bic + 2 * entropy),
        smallest_share=float(parameters.weight.min()),
        collapsed=_collapsed(problem, parameters, n),
    )


def _collapsed(problem: _Problem, parameters: Parameters, n: int) -> bool:
    spec = problem.spec
    if (parameters.weight * n < max(len(spec.features) + 1, len(spec.predictors) + 2)).any():
        return spec.n_clusters > 1
    least = np.inf
    if parameters.cholesky is not None and problem.covariance is None:
        least = min(least, np.linalg.svd(parameters.cholesky, compute_uv=False).min() ** 2)
    if parameters.sigma is not None and problem.sigma is None:
        least = min(least, parameters.sigma.min() ** 2)
    return bool(least < 10 * VARIANCE_FLOOR)


def _is_same(one: Mode, other: Mode) -> bool:
    """Whether two polished runs reached the same optimum."""
    if abs(one.log_likelihood - other.log_likelihood) > _SAME_OPTIMUM:
        return False
    ours, theirs = np.sort(one.parameters.weight), np.sort(other.parameters.weight)
    return bool(np.abs(ours - theirs).max() < 1e-2)


def fit_em(dataset: Dataset, spec: ModelSpec, seed: int | np.random.Generator = 1) -> Census:
    """Maximum likelihood from ``spec.sampler.starts`` starts, and the census of the optima.

    Parameters
    ----------
    dataset
        The rows.
    spec
        The model; fixed parts are kept fixed, priors are not used.
    seed
        Seed or generator of the random starts.

    Returns
    -------
    Census
        Distinct optima, best first. Two runs count as the same optimum when their log
        likelihoods differ by less than 0.01 and their sorted weights by less than 0.01.
    """
    rng = np.random.default_rng(seed)
    problem = _problem(dataset, spec)
    n_starts = spec.sampler.starts if spec.n_clusters > 1 else 1
    coarse = _search(problem, n_starts, rng)
    return Census(_polish(problem, coarse, n_starts), n_starts)


def _polish(problem: _Problem, coarse: Parameters, n_starts: int) -> tuple[Mode, ...]:
    """Run the distinct coarse optima to convergence, and count the starts that led to each."""
    share = np.concatenate(
        [responsibility(_expect(problem, coarse.take([i]))) for i in range(n_starts)]
    )
    values = np.array(
        [log_likelihood(_expect(problem, coarse.take(i))).sum() for i in range(n_starts)]
    )
    group = _groups(values)
    first = [int(np.flatnonzero(group == index)[0]) for index in range(group.max() + 1)]
    polished = _run(problem, share[first], tolerance=1e-7, max_iterations=3000)
    modes: list[Mode] = []
    for index in range(len(first)):
        mode = _describe(problem, polished.take(index), int((group == index).sum()))
        same = [i for i, known in enumerate(modes) if _is_same(mode, known)]
        if same:
            known = modes[same[0]]
            modes[same[0]] = replace(known, n_starts=known.n_starts + mode.n_starts)
        else:
            modes.append(mode)
    return tuple(sorted(modes, key=lambda mode: (mode.collapsed, -mode.log_likelihood)))


def _groups(values: np.ndarray) -> np.ndarray:
    """Group numbers of coarse log likelihoods (start,): neighbours closer than 0.01 share one."""
    order = np.argsort(-values, kind="stable")
    steps = np.diff(values[order], prepend=values[order[:1]]) < -_SAME_OPTIMUM
    group = np.empty(len(values), dtype=int)
    group[order] = np.cumsum(steps)
    return group
