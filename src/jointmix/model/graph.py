"""The joint mixture as a PyMC model: `pm.Mixture` over one batched component.

All variables are on the model's scale; the parameters carry the dim ``component``.
"""

import numpy as np
import pymc as pm
import pytensor.tensor as pt
from pymc.distributions.transforms import Transform, log
from pytensor.compile.mode import Mode
from pytensor.tensor.variable import TensorVariable

from jointmix.base.schema import (
    COMPONENT,
    FEATURE,
    FEATURE_BIS,
    PREDICTOR,
)
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
from jointmix.model.component import (
    Product,
    log_density,
    random_rows,
    signature,
)
from jointmix.model.dataset import Dataset, require_dataset
from jointmix.model.location import coordinates, householder
from jointmix.model.scaling import Scaling, model_scaling
from jointmix.model.spec import ModelSpec, require_spec

#: Names of the data containers, exchanged when a compiled model serves other rows.
OBSERVED, EXTRA, REFLECTION = "rows", "extra", "reflection"

#: Runs a graph operation by operation.
_PYTHON = Mode(linker="py", optimizer="fast_compile")


class ConeTransform(Transform):
    """Orders the components along a direction c of the location parameters.

    With H the Householder reflection that sends the first axis to c, η = ξH has c'ξ_k as its
    first column, which is mapped to its first value and the logs of its differences. H is
    orthogonal, so the Jacobian is that of the differences alone, and any prior that is the same
    for all components keeps its form inside the cone. H is the last parameter of the variable.
    """

    name = "cone"

    def backward(self, value: TensorVariable, *inputs: TensorVariable) -> TensorVariable:
        """ξ (component, location) from unconstrained values of the same shape."""
        steps = pt.concatenate([value[:1, :1], pt.exp(value[1:, :1])], axis=0)
        eta = pt.concatenate([pt.cumsum(steps, axis=0), value[:, 1:]], axis=1)
        return eta @ _matrix(inputs[-1], value)

    def forward(self, value: TensorVariable, *inputs: TensorVariable) -> TensorVariable:
        """Unconstrained values from ξ (component, location)."""
        eta = value @ _matrix(inputs[-1], value)
        steps = pt.concatenate([eta[:1, :1], pt.log(eta[1:, :1] - eta[:-1, :1])], axis=0)
        return pt.concatenate([steps, eta[:, 1:]], axis=1)

    def log_jac_det(self, value: TensorVariable, *inputs: TensorVariable) -> TensorVariable:
        """Log determinant of the Jacobian of `backward`: a scalar."""
        del inputs
        return value[1:, 0].sum()


def _matrix(reflection: TensorVariable, value: TensorVariable) -> TensorVariable:
    """H without the batch dim that a variable's parameters are given."""
    size = value.type.shape[-1]
    return reflection.reshape((size, size))


def build_model(
    dataset: Dataset,
    spec: ModelSpec,
    direction: np.ndarray | None = None,
    product: Product = "sum",
) -> pm.Model:
    """The PyMC model of a dataset.

    Parameters
    ----------
    dataset
        The rows; they enter as data, so that one compiled model serves other rows.
    spec
        The model.
    direction
        Unit vector along which the components are ordered, shape (location,); None leaves
        labels free.
    product
        How ⟨W, Φ⟩ is computed: "sum" suits Numba, "dot" suits JAX.

    Returns
    -------
    pymc.Model
        With `weight`, `mean`, `sd`, `correlation`, `intercept`, `slope` and `sigma`, as far as
        the model has them, with the dim ``component`` and on the model's scale.

    Raises
    ------
    DataError, SpecError
        If the rows are no dataset, or the model no specification.
    """
    scaling = model_scaling(require_dataset(dataset), require_spec(spec))
    observed, extra = observed_arrays(dataset, spec)
    with pm.Model(coords=_coords(spec)) as model:
        rows = pm.Data(OBSERVED, observed)
        given = pm.Data(EXTRA, extra) if extra.shape[1] else None
        weight = _weight(spec)
        xi = _location(spec, direction)
        mean, cholesky = _features(spec, scaling, xi)
        intercept, slope, sigma = _regression(spec, scaling, xi)
        _mixture(spec, weight, (mean, cholesky, intercept, slope, sigma), rows, given, product)
    return model


def prior_draws(dataset: Dataset, spec: ModelSpec, draws: int, seed: int) -> dict[str, np.ndarray]:
    """Draws from the prior on the model's scale, by name, each (draw, component, ...).

    Labels are free: an ordered prior is the same one with its components sorted.
    """
    model = build_model(dataset, spec)
    names = list(spec.parameters)
    # Compiling would take longer than drawing, and needs a folder that can be written to.
    found = pm.draw([model[name] for name in names], draws, random_seed=seed, mode=_PYTHON)
    return dict(zip(names, found, strict=True))


def observed_arrays(dataset: Dataset, spec: ModelSpec) -> tuple[np.ndarray, np.ndarray]:
    """(x, y) and the predictors that are not features, on the model's scale.

    Shapes (obs, D + 1) and (obs, number of such predictors).
    """
    values = model_scaling(dataset, spec).transform(dataset.values)
    d, last = len(spec.features), len(spec.columns) - (spec.response is not None)
    own = [*range(d), *range(last, len(spec.columns))]
    return np.ascontiguousarray(values[:, own]), np.ascontiguousarray(values[:, d:last])


def _coords(spec: ModelSpec) -> dict[str, list[str] | np.ndarray]:
    coords: dict[str, list[str] | np.ndarray] = {COMPONENT: np.arange(spec.n_clusters)}
    if spec.features:
        coords |= {FEATURE: list(spec.features), FEATURE_BIS: list(spec.features)}
    if spec.response is not None:
        coords |= {PREDICTOR: list(spec.predictors)}
    return coords


def _weight(spec: ModelSpec) -> TensorVariable:
    prior, k = spec.priors.weight, spec.n_clusters
    if isinstance(prior, Fixed) or k == 1:
        value = prior.array if isinstance(prior, Fixed) else np.ones(1)
        return pm.Deterministic("weight", pt.as_tensor(value), dims=COMPONENT)
    assert isinstance(prior, Dirichlet)
    return pm.Dirichlet("weight", np.full(k, prior.concentration), dims=COMPONENT)


def _location(spec: ModelSpec, direction: np.ndarray | None) -> TensorVariable | None:
    """ξ (component, location): location parameters in units of their priors' scales."""
    items = coordinates(spec)
    if not items:
        return None
    size = len(items)
    priors = [item.prior for item in items]
    df = [np.float64(p.df) if isinstance(p, StudentT) else None for p in priors]

    def logp(value: TensorVariable, reflection: TensorVariable) -> TensorVariable:
        del reflection
        columns = [
            pm.Normal.dist() if nu is None else pm.StudentT.dist(nu=nu, mu=0.0, sigma=1.0)
            for nu in df
        ]
        if len(set(df)) == 1:
            return pm.logp(columns[0], value).sum(-1)
        return sum(pm.logp(column, value[..., i]) for i, column in enumerate(columns))

    def random(
        reflection: np.ndarray, rng: np.random.Generator, size: tuple[int, ...]
    ) -> np.ndarray:
        del reflection
        columns = [rng.normal(size=size) if nu is None else rng.standard_t(nu, size) for nu in df]
        return np.stack(columns, axis=-1)

    return pm.CustomDist(
        "location",
        pm.Data(REFLECTION, np.eye(size) if direction is None else householder(direction)),
        logp=logp,
        random=random,
        signature=f"(p,p)->({size})",
        shape=(spec.n_clusters, size),
        default_transform=None if direction is None else ConeTransform(),
    )


def _block(
    spec: ModelSpec, name: str, xi: TensorVariable | None, fixed: np.ndarray
) -> TensorVariable:
    """A location parameter on the model's scale: its part of ξ, or ``fixed`` where none is free."""
    items = coordinates(spec)
    place = [i for i, item in enumerate(items) if item.parameter == name]
    if not place or xi is None:
        return pt.as_tensor(fixed)
    prior = items[place[0]].prior
    return prior.loc + prior.scale * xi[:, place[0] : place[-1] + 1]


def _scale(name: str, prior: ScalePrior, shape: tuple[int, ...]) -> TensorVariable:
    """A standard deviation with its prior; the inverse-gamma family is one of the variance."""
    # PyTensor takes a Python number like 3.0 for float32, and so would be its log gamma.
    given = {key: np.float64(value) for key, value in vars(prior).items()}
    match prior:
        case InverseGamma():
            alpha, beta = given["shape"], given["scale"]
            return pt.sqrt(pm.InverseGamma(f"{name}_variance", alpha, beta, shape=shape))
        case HalfNormal():
            return pm.HalfNormal(f"{name}_sd", given["scale"], shape=shape)
        case HalfStudentT():
            return _half_student(f"{name}_sd", given["df"], given["scale"], shape)
        case LogNormal():
            return pm.LogNormal(f"{name}_sd", given["loc"], given["scale"], shape=shape)
        case Gamma():
            return pm.Gamma(f"{name}_sd", given["shape"], given["rate"], shape=shape)


def _half_student(
    name: str, df: np.float64, scale: np.float64, shape: tuple[int, ...]
) -> TensorVariable:
    """pm.HalfStudentT, whose own density rounds log 2 to single precision."""

    def logp(value: TensorVariable, df: TensorVariable, scale: TensorVariable) -> TensorVariable:
        return np.log(2.0) + pm.logp(pm.StudentT.dist(nu=df, mu=0.0, sigma=scale), value)

    def random(
        df: np.ndarray, scale: np.ndarray, rng: np.random.Generator, size: tuple[int, ...]
    ) -> np.ndarray:
        return np.abs(scale * rng.standard_t(df, size))

    return pm.CustomDist(
        name, df, scale, logp=logp, random=random, shape=shape, default_transform=log
    )


def _correlation_factor(eta: float, n_matrices: int, size: int) -> TensorVariable:
    """Cholesky factors of LKJ correlation matrices, (n_matrices, size, size), by a C-vine.

    Partial correlations p_ij = 2u_ij − 1 with u_ij ~ Beta(a_j, a_j), a_j = η + (D − 2 − j)/2
    (Lewandowski, Kurowicka and Joe 2009); row i of the factor is p_ij ∏_{l<j} √(1 − p_il²).
    """
    row, column = np.tril_indices(size, -1)
    shape = eta + (size - 2 - column) / 2
    half = pm.Beta("partial_correlation", shape, shape, shape=(n_matrices, len(row)))
    partial = pt.zeros((n_matrices, size, size))[:, row, column].set(2 * half - 1)
    rest = pt.cumprod(pt.sqrt(1 - partial**2), axis=-1)
    before = pt.concatenate([pt.ones((n_matrices, size, 1)), rest[:, :, :-1]], axis=-1)
    return (partial + np.eye(size)) * before


def _features(
    spec: ModelSpec, scaling: Scaling, xi: TensorVariable | None
) -> tuple[TensorVariable | None, TensorVariable | None]:
    """μ (component, feature) and the Cholesky factor of Σ (component, feature, feature)."""
    k, d = spec.n_clusters, len(spec.features)
    if not d:
        return None, None
    center, scale = scaling.feature
    fixed = np.zeros((k, d))
    if isinstance(spec.priors.mean, Fixed):
        fixed = (np.broadcast_to(spec.priors.mean.array, (k, d)) - center) / scale
    mean = pm.Deterministic("mean", _block(spec, "mean", xi, fixed), dims=(COMPONENT, FEATURE))
    if spec.covariance == "fixed":
        covariance = spec.fixed_covariance() / np.outer(scale, scale)
        sd = np.sqrt(np.diagonal(covariance, axis1=1, axis2=2))
        factor = pt.as_tensor(np.linalg.cholesky(covariance / (sd[:, :, None] * sd[:, None, :])))
        sd_all = pt.as_tensor(sd)
    else:
        sd_all, factor = _free_covariance(spec, k, d)
    pm.Deterministic("sd", sd_all, dims=(COMPONENT, FEATURE))
    correlation = factor @ pt.swapaxes(factor, -1, -2)
    pm.Deterministic("correlation", correlation, dims=(COMPONENT, FEATURE, FEATURE_BIS))
    return mean, sd_all[:, :, None] * factor


def _free_covariance(spec: ModelSpec, k: int, d: int) -> tuple[TensorVariable, TensorVariable]:
    """Standard deviations (K, D) and correlation factors (K, D, D) with their priors."""
    shapes = {"full": (k, d), "diagonal": (k, d), "spherical": (k, 1), "tied": (1, d)}
    sd = _scale("feature", spec.priors.sd, shapes[spec.covariance])
    sd = pt.broadcast_to(sd, (k, d))
    if d == 1 or spec.covariance in ("diagonal", "spherical"):
        return sd, pt.as_tensor(np.broadcast_to(np.eye(d), (k, d, d)).copy())
    n_matrices = 1 if spec.covariance == "tied" else k
    factor = _correlation_factor(spec.priors.correlation.eta, n_matrices, d)
    return sd, pt.broadcast_to(factor, (k, d, d))


def _regression(
    spec: ModelSpec, scaling: Scaling, xi: TensorVariable | None
) -> tuple[TensorVariable | None, TensorVariable | None, TensorVariable | None]:
    """b (component), θ (component, predictor) and σ (component)."""
    if spec.response is None:
        return None, None, None
    k, r, priors = spec.n_clusters, len(spec.predictors), spec.priors
    (center, scale), (y_center, y_scale) = scaling.predictor, scaling.response
    fixed = np.zeros((k, r))
    if isinstance(priors.slope, Fixed):
        fixed = np.broadcast_to(priors.slope.array, (k, r)) * scale / y_scale
    slope = _block(spec, "slope", xi, fixed)
    slope = pm.Deterministic("slope", slope, dims=(COMPONENT, PREDICTOR))
    known = priors.intercept.array if isinstance(priors.intercept, Fixed) else np.zeros(())
    if spec.free_intercept:
        intercept = _block(spec, "intercept", xi, fixed)[:, 0]
    else:
        # A known b on the users' scale, where columns are not centred, moves with θ here.
        at_zero = (np.broadcast_to(known, (k,)) - y_center) / y_scale
        intercept = at_zero + (slope * (center / scale)).sum(-1)
    intercept = pm.Deterministic("intercept", intercept, dims=COMPONENT)
    if isinstance(priors.sigma, Fixed):
        sigma = pt.as_tensor(np.broadcast_to(priors.sigma.array, (k,)) / y_scale)
    else:
        shape = (1,) if spec.noise == "shared" else (k,)
        sigma = pt.broadcast_to(_scale("noise", priors.sigma, shape), (k,))
    return intercept, slope, pm.Deterministic("sigma", sigma, dims=COMPONENT)


def _mixture(
    spec: ModelSpec,
    weight: TensorVariable,
    parameters: tuple[TensorVariable | None, ...],
    rows: TensorVariable,
    extra: TensorVariable | None,
    product: Product,
) -> None:
    """The observed rows: a mixture of the joint components, or a single one when K = 1."""
    k = spec.n_clusters
    inputs = [p if k > 1 else p[0] for p in parameters if p is not None]
    if extra is not None:
        inputs.append(extra[:, None, :] if k > 1 else extra)
    options = {
        "logp": log_density(spec, product),
        "random": random_rows(spec),
        "signature": signature(spec),
    }
    if k == 1:
        pm.CustomDist("obs", *inputs, **options, observed=rows)
        return
    component = pm.CustomDist.dist(*inputs, **options)
    pm.Mixture("obs", w=weight, comp_dists=component, observed=rows)
