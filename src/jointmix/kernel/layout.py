"""What the compiled kernel is given: one array of doubles that describes model, priors and rows.

The array begins with a header of whole numbers at the places named below; `ARRAYS` follow one
another behind it, each from the place that the header names. One compiled kernel thus serves all
structures, and nothing is compiled anew for another K, D or table.
"""

from dataclasses import dataclass

import numpy as np
from scipy.special import betaln, gammaln

from jointmix.families.priors.priors import (
    Dirichlet,
    Fixed,
    Gamma,
    HalfNormal,
    HalfStudentT,
    InverseGamma,
    LogNormal,
    ScalePrior,
    StudentT,
)
from jointmix.model.dataset import Dataset
from jointmix.model.location import coordinates, householder
from jointmix.model.scaling import Scaling, model_scaling
from jointmix.model.spec import ModelSpec

#: Places of the header.
(
    SIZE, DIM, N_ROWS, N_COLUMNS, K, D, R, L, N_MEAN, N_INTERCEPT, N_SLOPE, ORDERED, FREE_WEIGHT,
    SD_ROWS, SD_COLUMNS, N_MATRICES, N_SIGMA, RESPONSE, DENSE, WHITENED, CONSTANT,
) = range(21)  # fmt: skip
#: Places of the header that hold where each array begins.
(
    LOG_WEIGHT, LOCATION, SCALE, DF, REFLECTION, MEAN, SLOPE, INTERCEPT, CENTRE, SD_PRIOR,
    NOISE_PRIOR, FACTOR, SD, SIGMA, VINE, PLACES, SHIFT, STRETCH, COLUMNS,
) = range(21, 40)  # fmt: skip
HEADER = 41
#: Place of the Dirichlet's concentration.
CONCENTRATION = 40
ARRAYS = (
    "log_weight", "location", "scale", "df", "reflection", "mean", "slope", "intercept", "centre",
    "sd_prior", "noise_prior", "factor", "sd", "sigma", "vine", "places", "shift", "stretch",
    "columns",
)  # fmt: skip

_LOG_2PI = float(np.log(2 * np.pi))


@dataclass(frozen=True)
class Block:
    """One free variable of the PyMC model: its name, and the shape of its unconstrained twin."""

    name: str
    shape: tuple[int, ...]

    @property
    def size(self) -> int:
        """Number of unconstrained values."""
        return int(np.prod(self.shape))


def blocks(spec: ModelSpec) -> tuple[Block, ...]:
    """The free variables, in the PyMC model's order."""
    k, d, priors = spec.n_clusters, len(spec.features), spec.priors
    found = []
    if k > 1 and not isinstance(priors.weight, Fixed):
        found.append(Block("weight", (k - 1,)))
    if coordinates(spec):
        found.append(Block("location", (k, len(coordinates(spec)))))
    if d and spec.covariance != "fixed":
        found.append(Block(f"feature_{_of_scale(priors.sd)}", _sd_shape(spec)))
        if _n_matrices(spec):
            found.append(Block("partial_correlation", (_n_matrices(spec), d * (d - 1) // 2)))
    if spec.response is not None and spec.noise != "fixed":
        shape = (1,) if spec.noise == "shared" else (k,)
        found.append(Block(f"noise_{_of_scale(priors.sigma)}", shape))
    return tuple(found)


def n_free(spec: ModelSpec) -> int:
    """Number of unconstrained values that are sampled."""
    return sum(block.size for block in blocks(spec))


def _of_scale(prior: object) -> str:
    return "variance" if isinstance(prior, InverseGamma) else "sd"


def _sd_shape(spec: ModelSpec) -> tuple[int, int]:
    k, d = spec.n_clusters, len(spec.features)
    shapes = {"full": (k, d), "diagonal": (k, d), "spherical": (k, 1), "tied": (1, d)}
    return shapes[spec.covariance]


def _n_matrices(spec: ModelSpec) -> int:
    """Free correlation matrices: none, one, or one a cluster."""
    if len(spec.features) < 2:
        return 0
    return {"full": spec.n_clusters, "tied": 1}.get(spec.covariance, 0)


def make_problem(
    dataset: Dataset,
    spec: ModelSpec,
    direction: np.ndarray | None = None,
    whitening: tuple[np.ndarray, np.ndarray] | None = None,
) -> np.ndarray:
    """The array that the kernel reads.

    Parameters
    ----------
    dataset, spec
        The rows and the model.
    direction
        Unit vector along which the components are ordered, (location,), or None.
    whitening
        Centre c (dim,) and lower triangular S (dim, dim): the kernel's argument is then z with
        c + S z the unconstrained values. None leaves them as they are.

    Returns
    -------
    numpy.ndarray
        One-dimensional, of doubles.
    """
    scaling = model_scaling(dataset, spec)
    arrays = _arrays(spec, scaling, direction)
    arrays["shift"], arrays["stretch"] = whitening or (np.zeros(0), np.zeros(0))
    arrays["columns"] = scaling.transform(dataset.values).T
    header = np.zeros(HEADER)
    place = HEADER
    for i, name in enumerate(ARRAYS):
        header[LOG_WEIGHT + i] = place
        place += arrays[name].size
    items = [item.parameter for item in coordinates(spec)]
    sd_rows, sd_columns = _sd_shape(spec) if _has(spec, "feature") else (0, 0)
    values = {
        SIZE: place, DIM: n_free(spec), N_ROWS: len(dataset.values), N_COLUMNS: len(spec.columns),
        K: spec.n_clusters, D: len(spec.features), R: len(spec.predictors), L: len(items),
        N_MEAN: items.count("mean"), N_INTERCEPT: items.count("intercept"),
        N_SLOPE: items.count("slope"), ORDERED: direction is not None,
        FREE_WEIGHT: blocks(spec)[0].name == "weight" if blocks(spec) else 0,
        SD_ROWS: sd_rows, SD_COLUMNS: sd_columns, N_MATRICES: _n_matrices(spec),
        N_SIGMA: blocks(spec)[-1].size if _has(spec, "noise") else 0,
        RESPONSE: spec.response is not None, DENSE: _dense(arrays["factor"], spec),
        WHITENED: whitening is not None, CONSTANT: _constant(spec),
        CONCENTRATION: getattr(spec.priors.weight, "concentration", 0.0),
    }  # fmt: skip
    for where, value in values.items():
        header[where] = value
    parts = [np.ravel(arrays[name]) for name in ARRAYS]
    return np.concatenate([header, *parts]).astype(np.float64)


def _has(spec: ModelSpec, prefix: str) -> bool:
    return any(block.name.startswith(prefix) for block in blocks(spec))


def _dense(factor: np.ndarray, spec: ModelSpec) -> bool:
    """Whether any Σ has entries beside its diagonal."""
    d = len(spec.features)
    return bool(_n_matrices(spec)) or bool((factor * (1 - np.eye(d))).any())


def _arrays(
    spec: ModelSpec, scaling: Scaling, direction: np.ndarray | None
) -> dict[str, np.ndarray]:
    """Constants of the model: values of what is fixed, and what the priors need."""
    k, d, r, priors = spec.n_clusters, len(spec.features), len(spec.predictors), spec.priors
    items = coordinates(spec)
    weight = priors.weight.array if isinstance(priors.weight, Fixed) else np.full(k, 1 / k)
    center, scale = scaling.feature
    mean, sd, factor = np.zeros((k, d)), np.zeros((k, d)), np.zeros((k, d, d)) + np.eye(d)
    if isinstance(priors.mean, Fixed):
        mean = (np.broadcast_to(priors.mean.array, (k, d)) - center) / scale
    if spec.covariance == "fixed" and d:
        covariance = spec.fixed_covariance() / np.outer(scale, scale)
        sd = np.sqrt(np.diagonal(covariance, axis1=1, axis2=2))
        factor = np.linalg.cholesky(covariance / (sd[:, :, None] * sd[:, None, :]))
    column = np.tril_indices(d, -1)[1]
    n_items = len(items)
    return {
        "log_weight": np.log(weight),
        "location": np.array([item.prior.loc for item in items]),
        "scale": np.array([item.prior.scale for item in items]),
        "df": np.array([getattr(item.prior, "df", 0.0) for item in items]),
        "reflection": np.eye(n_items) if direction is None else householder(direction),
        "mean": mean,
        "sd": sd,
        "factor": factor,
        "sd_prior": _scale_prior(priors.sd),
        "noise_prior": _scale_prior(priors.sigma),
        "vine": priors.correlation.eta + (d - 2 - column) / 2,
        "places": np.array([spec.columns.index(name) for name in spec.predictors], dtype=float),
    } | _line(spec, scaling, k, r)


def _line(spec: ModelSpec, scaling: Scaling, k: int, r: int) -> dict[str, np.ndarray]:
    """What is fixed of b, θ and σ; a fixed b moves with θ, as columns are centred here."""
    priors = spec.priors
    slope, intercept, centre, sigma = np.zeros((k, r)), np.zeros(k), np.zeros(r), np.ones(k)
    if spec.response is not None:
        (center, scale), (y_center, y_scale) = scaling.predictor, scaling.response
        if isinstance(priors.slope, Fixed):
            slope = np.broadcast_to(priors.slope.array, (k, r)) * scale / y_scale
        if not spec.free_intercept:
            known = priors.intercept.array if isinstance(priors.intercept, Fixed) else 0.0
            intercept = (np.broadcast_to(known, (k,)) - y_center) / y_scale
            centre = center / scale
        if isinstance(priors.sigma, Fixed):
            sigma = np.broadcast_to(priors.sigma.array, (k,)) / y_scale
    return {"slope": slope, "intercept": intercept, "centre": centre, "sigma": sigma}


def _scale_prior(prior: ScalePrior | Fixed) -> np.ndarray:
    """Coefficients (h, a, b, c, g, m, t, s) of a prior on a scale, as a density of q ∈ ℝ.

    The standard deviation is exp(h q), and up to a constant its log density with the Jacobian is
    a q + b exp(c q) + g (q − m)² + t log(1 + s exp(2 q)).
    """
    match prior:
        case InverseGamma(shape=shape, scale=scale):
            found = (0.5, -shape, -scale, -1.0, 0.0, 0.0, 0.0, 0.0)
        case HalfNormal(scale=scale):
            found = (1.0, 1.0, -0.5 / scale**2, 2.0, 0.0, 0.0, 0.0, 0.0)
        case HalfStudentT(df=df, scale=scale):
            found = (1.0, 1.0, 0.0, 0.0, 0.0, 0.0, -(df + 1) / 2, 1 / (df * scale**2))
        case LogNormal(loc=loc, scale=scale):
            found = (1.0, 0.0, 0.0, 0.0, -0.5 / scale**2, loc, 0.0, 0.0)
        case Gamma(shape=shape, rate=rate):
            found = (1.0, shape, -rate, 1.0, 0.0, 0.0, 0.0, 0.0)
        case Fixed():
            found = (0.0,) * 8
    return np.array(found)


def _scale_constant(prior: ScalePrior | Fixed) -> float:
    """The log normalising constant that `_scale_prior` leaves out."""
    match prior:
        case InverseGamma(shape=shape, scale=scale):
            return shape * np.log(scale) - gammaln(shape)
        case HalfNormal(scale=scale):
            return 0.5 * np.log(2 / np.pi) - np.log(scale)
        case HalfStudentT(df=df, scale=scale):
            return np.log(2) + _t_constant(df) - np.log(scale)
        case LogNormal(scale=scale):
            return -np.log(scale) - 0.5 * _LOG_2PI
        case Gamma(shape=shape, rate=rate):
            return shape * np.log(rate) - gammaln(shape)
        case Fixed():
            return 0.0


def _t_constant(df: float) -> float:
    return float(gammaln((df + 1) / 2) - gammaln(df / 2) - 0.5 * np.log(df * np.pi))


def _constant(spec: ModelSpec) -> float:
    """The log normalising constants of all priors, and log K of the simplex' Jacobian."""
    k, d, priors = spec.n_clusters, len(spec.features), spec.priors
    total = 0.0
    for block in blocks(spec):
        if block.name == "weight":
            assert isinstance(priors.weight, Dirichlet)
            a = priors.weight.concentration
            total += gammaln(k * a) - k * gammaln(a) + np.log(k)
        elif block.name == "location":
            for item in coordinates(spec):
                prior = item.prior
                own = _t_constant(prior.df) if isinstance(prior, StudentT) else -0.5 * _LOG_2PI
                total += k * own
        elif block.name == "partial_correlation":
            shape = priors.correlation.eta + (d - 2 - np.tril_indices(d, -1)[1]) / 2
            total -= block.shape[0] * betaln(shape, shape).sum()
        else:
            of_scale = priors.sd if block.name.startswith("feature") else priors.sigma
            total += block.size * _scale_constant(of_scale)
    return float(total)
