"""The PyMC model against the same densities written with SciPy, and its Jacobians by derivative.

The oracle maps unconstrained values to parameters in NumPy. Its maps are analytic, so that a step
along the imaginary axis gives their Jacobians to machine precision.
"""

import doctest
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import polars
import pymc as pm
import pytensor
import pytest
from conftest import STRUCTURES, built, direction_of, more, table
from pymc_values import USUAL, constrained, densities, joined
from scipy import stats
from scipy.linalg import solve_triangular
from scipy.special import betaln, logsumexp

import jointmix as jm
from jointmix.families.parameters import Parameters
from jointmix.families.priors.priors import (
    Dirichlet,
    Fixed,
    Gamma,
    HalfNormal,
    HalfStudentT,
    InverseGamma,
    LogNormal,
    Priors,
    StudentT,
)
from jointmix.kernel import fused as building
from jointmix.kernel.fused import build_model
from jointmix.model.dataset import Dataset, make_dataset
from jointmix.model.graph import ConeTransform
from jointmix.model.location import coordinates
from jointmix.model.prior_draws import prior_draws
from jointmix.model.spec import ModelSpec
from jointmix.sampling.backends import pymc_jax

N_POINTS = 10
Point = dict[str, np.ndarray]


def compiled(
    model: pm.Model, mode: str = "FAST_COMPILE"
) -> Callable[[Point], tuple[np.ndarray, np.ndarray]]:
    """A function from a point to log likelihood (obs,) and log prior density."""
    (likelihood,) = model.logp(vars=model.observed_RVs, sum=False)
    prior = model.logp(vars=model.free_RVs) if model.free_RVs else pytensor.tensor.zeros(())
    with pytensor.config.change_flags(mode=mode):
        function = pytensor.function(
            model.value_vars, [likelihood, prior], on_unused_input="ignore"
        )
    names = [value.name for value in model.value_vars]
    return lambda point: function(*(point[name] for name in names))


def draw_points(model: pm.Model, rng: np.random.Generator, n: int = N_POINTS) -> list[Point]:
    """Random unconstrained values, standard normal."""
    shapes = {value.name: value.type.shape for value in model.value_vars}
    return [{name: rng.normal(size=shape) for name, shape in shapes.items()} for _ in range(n)]


def reflected(direction: np.ndarray | None, eta: np.ndarray) -> np.ndarray:
    """ξ whose coordinate along c is the first of η: the mirror image that exchanges e₁ and c."""
    if direction is None:
        return eta
    normal = direction - np.eye(len(direction))[0]
    if not normal.any():
        return eta
    return eta - 2 * np.outer(eta @ normal, normal) / (normal @ normal)


def natural_parts(point: Point, direction: np.ndarray | None) -> Point:
    """What the priors are stated on: weights, ξ, variances or sds, partial correlations."""
    parts = {}
    for name, value in point.items():
        if name == "weight_simplex__":
            full = np.concatenate([value, [-value.sum()]])
            parts["weight"] = np.exp(full) / np.exp(full).sum()
        elif name == "location":
            parts["location"] = value
        elif name == "location_cone__":
            first = np.cumsum(np.concatenate([value[:1, 0], np.exp(value[1:, 0])]))
            eta = np.concatenate([first[:, None], value[:, 1:]], axis=1)
            parts["location"] = reflected(direction, eta)
        elif name == "partial_correlation_logodds__":
            parts["partial"] = 2 / (1 + np.exp(-value)) - 1
        else:
            parts[name.removesuffix("_log__")] = np.exp(value)
    return parts


def factor_of(partial: np.ndarray, size: int) -> np.ndarray:
    """Factors of correlation matrices (matrix, size, size) from partial ones, row by row."""
    result = np.zeros((len(partial), size, size), dtype=partial.dtype)
    for index, values in enumerate(partial):
        factor = np.zeros((size, size), dtype=partial.dtype)
        remaining = iter(values)
        for i in range(size):
            left = 1.0
            for j in range(i):
                factor[i, j] = next(remaining) * np.sqrt(left)
                left = left - factor[i, j] ** 2
            factor[i, i] = np.sqrt(left)
        result[index] = factor
    return result


def correlation_of(partial: np.ndarray, size: int) -> np.ndarray:
    """Correlation matrices (matrix, size, size) from partial ones."""
    factor = factor_of(partial, size)
    return factor @ np.swapaxes(factor, 1, 2)


def parameters_of(
    spec: ModelSpec, dataset: Dataset, point: Point, direction: np.ndarray | None
) -> dict[str, np.ndarray]:
    """π, μ, Σ, b, θ and σ on the users' scale, from an unconstrained point."""
    parts = natural_parts(point, direction)
    k, d = spec.n_clusters, len(spec.features)
    center, scale = scaling_of(spec, dataset)
    priors, users = spec.priors, {}
    if isinstance(priors.weight, Fixed):
        users["weight"] = priors.weight.array
    else:
        users["weight"] = parts.get("weight", np.ones(1))
    free = {"mean": [], "intercept": [], "slope": []}
    for index, item in enumerate(coordinates(spec)):
        value = item.prior.loc + item.prior.scale * parts["location"][:, index]
        free[item.parameter].append(value)
    if d:
        at, by = center[:d], scale[:d]
        if isinstance(priors.mean, Fixed):
            users["mean"] = np.broadcast_to(priors.mean.array, (k, d))
        else:
            users["mean"] = at + by * np.stack(free["mean"], axis=1)
        users["cholesky"] = cholesky_of(spec, parts, by)
    if spec.response is not None:
        place = [spec.columns.index(name) for name in spec.predictors]
        at, by, y_at, y_by = center[place], scale[place], center[-1], scale[-1]
        if isinstance(priors.slope, Fixed):
            users["slope"] = np.broadcast_to(priors.slope.array, (k, len(place)))
        else:
            users["slope"] = np.reshape(free["slope"], (len(place), k)).T * y_by / by
        if not spec.intercept:
            users["intercept"] = np.zeros(k)
        elif isinstance(priors.intercept, Fixed):
            users["intercept"] = np.broadcast_to(priors.intercept.array, (k,))
        else:
            users["intercept"] = y_at + y_by * free["intercept"][0] - users["slope"] @ at
        if isinstance(priors.sigma, Fixed):
            users["sigma"] = np.broadcast_to(priors.sigma.array, (k,))
        else:
            users["sigma"] = np.broadcast_to(y_by * scale_part(parts, "noise"), (k,))
        if spec.family == "student_t":
            fixed = isinstance(priors.df, Fixed)
            users["df"] = np.broadcast_to(priors.df.array, (k,)) if fixed else parts["df"]
    return users


def scale_part(parts: Point, name: str) -> np.ndarray:
    return (
        np.sqrt(parts[f"{name}_variance"]) if f"{name}_variance" in parts else parts[f"{name}_sd"]
    )


def cholesky_of(spec: ModelSpec, parts: Point, by: np.ndarray) -> np.ndarray:
    """Factors of the covariances on the users' scale, (component, feature, feature)."""
    k, d = spec.n_clusters, len(spec.features)
    if spec.covariance == "fixed":
        return np.linalg.cholesky(spec.fixed_covariance())
    sd = by * np.broadcast_to(scale_part(parts, "feature"), (k, d))
    factor = factor_of(parts["partial"], d) if "partial" in parts else np.eye(d)
    return sd[:, :, None] * factor


def scaling_of(spec: ModelSpec, dataset: Dataset) -> tuple[np.ndarray, np.ndarray]:
    values = dataset.values
    if not spec.standardize:
        return np.zeros(values.shape[1]), np.ones(values.shape[1])
    scale = values.std(axis=0)
    if spec.covariance == "spherical":
        d = len(spec.features)
        scale[:d] = np.sqrt(values[:, :d].var(axis=0).mean())
    return values.mean(axis=0), scale


def scipy_log_likelihood(
    spec: ModelSpec, dataset: Dataset, users: dict[str, np.ndarray]
) -> np.ndarray:
    """log p(x, y) of each row on the scaled columns, from densities on the users' scale: (obs,)."""
    terms = np.log(users["weight"]) + np.zeros((len(dataset.values), spec.n_clusters))
    _, scale = scaling_of(spec, dataset)
    d = len(spec.features)
    for k in range(spec.n_clusters):
        if d:
            # By the factor: a covariance made of it would lose digits with its condition.
            factor, deviation = (
                users["cholesky"][k],
                dataset.select(spec.features) - users["mean"][k],
            )
            white = solve_triangular(factor, deviation.T, lower=True)
            terms[:, k] += stats.norm.logpdf(white).sum(0) - np.log(np.diag(factor)).sum()
        if spec.response is not None:
            line = users["intercept"][k] + dataset.select(spec.predictors) @ users["slope"][k]
            y = dataset.select([spec.response])[:, 0]
            law = stats.t(users["df"][k]) if "df" in users else stats.norm()
            sigma = users["sigma"][k]
            terms[:, k] += law.logpdf((y - line) / sigma) - np.log(sigma)
    change = np.log(scale[:d]).sum() + (np.log(scale[-1]) if spec.response is not None else 0.0)
    return logsumexp(terms, axis=1) + change


def log_scale_prior(prior: object, value: np.ndarray) -> float:
    """Log density of a variance (inverse gamma) or a standard deviation (all others)."""
    distribution = {
        InverseGamma: lambda p: stats.invgamma(p.shape, scale=p.scale),
        HalfNormal: lambda p: stats.halfnorm(scale=p.scale),
        LogNormal: lambda p: stats.lognorm(p.scale, scale=np.exp(p.loc)),
        Gamma: lambda p: stats.gamma(p.shape, scale=1 / p.rate),
    }
    if isinstance(prior, HalfStudentT):
        return (np.log(2) + stats.t(prior.df, scale=prior.scale).logpdf(value)).sum()
    return distribution[type(prior)](prior).logpdf(value).sum()


def log_lkj(eta: float, correlation: np.ndarray) -> float:
    """Log density of correlation matrices, with the constant of Lewandowski et al. (2009)."""
    size = correlation.shape[-1]
    k = np.arange(1, size)
    half = eta + (size - k - 1) / 2
    constant = ((2 * eta - 2 + size - k) * (size - k)).sum() * np.log(2)
    constant += (betaln(half, half) * (size - k)).sum()
    return ((eta - 1) * np.linalg.slogdet(correlation)[1] - constant).sum()


def log_prior(spec: ModelSpec, point: Point, direction: np.ndarray | None) -> float:
    """Log prior density of the unconstrained values: SciPy's densities and the log Jacobian."""
    total = 0.0
    parts = natural_parts(point, direction)
    priors = spec.priors
    if "weight" in parts:
        assert isinstance(priors.weight, Dirichlet)
        total += stats.dirichlet.logpdf(
            parts["weight"], np.full(spec.n_clusters, priors.weight.concentration)
        )
    for index, item in enumerate(coordinates(spec)):
        column = parts["location"][:, index]
        if isinstance(item.prior, StudentT):
            total += stats.t.logpdf(column, item.prior.df).sum()
        else:
            total += stats.norm.logpdf(column).sum()
    for name, prior in (("feature", priors.sd), ("noise", priors.sigma)):
        for suffix in ("variance", "sd"):
            if f"{name}_{suffix}" in parts:
                total += log_scale_prior(prior, parts[f"{name}_{suffix}"])
    if "df" in parts:
        total += log_scale_prior(priors.df, parts["df"])
    if "partial" in parts:
        total += log_lkj(
            priors.correlation.eta, correlation_of(parts["partial"], len(spec.features))
        )
    return total + log_jacobian(spec, point, direction)


def natural_vector(spec: ModelSpec, point: Point, direction: np.ndarray | None) -> np.ndarray:
    """As many free natural parameters as unconstrained values; correlations, not partial ones."""
    parts = natural_parts(point, direction)
    pieces = []
    for name, value in parts.items():
        if name == "weight":
            pieces.append(value[:-1])
        elif name == "partial":
            size = len(spec.features)
            row, column = np.tril_indices(size, -1)
            pieces.append(correlation_of(value, size)[:, row, column])
        else:
            pieces.append(value)
    return np.concatenate([np.ravel(piece) for piece in pieces])


def log_jacobian(spec: ModelSpec, point: Point, direction: np.ndarray | None) -> float:
    """log |det ∂ natural / ∂ unconstrained|, by steps along the imaginary axis."""
    if not point:
        return 0.0
    columns, step = [], 1e-30
    for name, value in point.items():
        for index in np.ndindex(value.shape):
            moved = {key: array.astype(complex) for key, array in point.items()}
            moved[name][index] += 1j * step
            columns.append(natural_vector(spec, moved, direction).imag / step)
    return np.linalg.slogdet(np.stack(columns, axis=1))[1]


def check_likelihood(
    spec: ModelSpec, dataset: Dataset, points: list[Point], likelihood: list[np.ndarray]
) -> None:
    for point, value in zip(points, likelihood, strict=True):
        users = parameters_of(spec, dataset, point, direction_of(spec))
        expected = scipy_log_likelihood(spec, dataset, users)
        # A row's quadratic form is a difference of terms that may be 1e4 times as large.
        np.testing.assert_allclose(value, expected, rtol=1e-12, atol=1e-11)
        np.testing.assert_allclose(value.sum(), expected.sum(), rtol=1e-12)


@pytest.mark.parametrize("name", USUAL)
def test_densities_equal_scipy(name: str) -> None:
    """All others are those of the kernel (test_fused), which is SciPy's (test_agreement)."""
    spec, (dataset, model) = STRUCTURES[name], built(name)
    points = draw_points(model, np.random.default_rng(1))
    values = [densities(model)(joined(model, point)) for point in points]
    check_likelihood(spec, dataset, points, [likelihood for likelihood, _, _ in values])
    found = np.array([prior for _, prior, _ in values[:5]])
    expected = np.array([log_prior(spec, point, direction_of(spec)) for point in points[:5]])
    # Some twenty terms, each right to 1e-14; gamma functions of SciPy to 1e-13.
    np.testing.assert_allclose(found, expected, rtol=1e-12, atol=1e-11)


#: With a Student-t response, about the same lines.
STUDENT = {
    name: replace(STRUCTURES[structure], family="student_t", **options)
    for name, structure, options in (
        ("prior", "four clusters, overlapping", {}),
        ("one cluster", "one cluster, other predictors", {}),
        ("no features", "no features", {"priors": Priors(df=Gamma(shape=3.0, rate=0.5))}),
        ("shared noise", "shared noise", {}),
        ("fixed df", "fixed mean", {"priors": Priors(df=Fixed(value=4.0))}),
        ("fixed df, per cluster", "one feature", {"priors": Priors(df=Fixed(value=(2.5, 30.0)))}),
        ("fixed slope", "fixed slope, per cluster", {}),
        ("no intercept", "no intercept", {}),
    )
}


@pytest.mark.parametrize("name", STUDENT)
def test_student_t_densities_equal_scipy(name: str) -> None:
    spec = STUDENT[name]
    dataset, direction = make_dataset(table(), spec), direction_of(spec)
    model = build_model(dataset, spec, direction)
    evaluate = compiled(model)
    for point in draw_points(model, np.random.default_rng(1)):
        likelihood, prior = evaluate(point)
        users = parameters_of(spec, dataset, point, direction)
        expected = scipy_log_likelihood(spec, dataset, users)
        np.testing.assert_allclose(likelihood, expected, rtol=1e-12, atol=1e-12)
        np.testing.assert_allclose(prior, log_prior(spec, point, direction), rtol=1e-12)


def test_degrees_of_freedom_are_drawn_from_their_prior() -> None:
    spec = STUDENT["no features"]
    draws = prior_draws(make_dataset(table(), spec), 1000, 1)
    assert draws["df"].shape == (1000, 2)
    # A false alarm in 1e4.
    assert stats.kstest(draws["df"].ravel(), stats.gamma(3.0, scale=2.0).cdf).pvalue > 1e-4
    spec = STUDENT["fixed df, per cluster"]
    draws = prior_draws(make_dataset(table(), spec), 3, 1)
    np.testing.assert_array_equal(draws["df"], [[2.5, 30.0]] * 3)


@pytest.mark.parametrize("fused", [False, True])
def test_rows_are_drawn_from_the_mixture(fused: bool) -> None:
    """Where all is fixed, the distribution function of y at its draws is uniform."""
    weight, at, by, sigma, df = (0.3, 0.7), (1.0, 6.0), ((0.5,), (-1.0,)), (0.4, 1.5), (3.0, 30.0)
    spec = ModelSpec(
        n_clusters=2, predictors=["p"], response="y", family="student_t", noise="fixed",
        priors=Priors(
            weight=Fixed(value=weight), intercept=Fixed(value=at), slope=Fixed(value=by),
            sigma=Fixed(value=sigma), df=Fixed(value=df),
        ),
    )  # fmt: skip
    dataset = make_dataset(table(), spec)
    center, scale = scaling_of(spec, dataset)
    model = jm.build_model(dataset, spec, fused=fused)
    y = pm.draw(model["obs"], 100, random_seed=1)[..., 0] * scale[-1] + center[-1]
    below = sum(
        weight[k]
        * stats.t(df[k]).cdf((y - at[k] - by[k][0] * dataset.select(["p"])[:, 0]) / sigma[k])
        for k in range(2)
    )
    # A false alarm in 1e4.
    assert stats.kstest(below.ravel(), "uniform").pvalue > 1e-4


def test_a_table_and_its_dataset_give_the_same_model() -> None:
    spec = STRUCTURES["four clusters, overlapping"]
    rows = table()
    (dataset, _), models = built("four clusters, overlapping"), []
    for given in (rows, dataset, rows.to_dict("list"), polars.from_pandas(rows)):
        models.append(jm.build_model(given, spec, direction_of(spec)))
        for name in ("rows", "extra", "reflection"):
            np.testing.assert_array_equal(models[-1][name].get_value(), models[0][name].get_value())
    (point,) = draw_points(models[0], np.random.default_rng(2), 1)
    one, other = (compiled(model)(point) for model in models[:2])
    np.testing.assert_array_equal(one[0], other[0])
    assert one[1] == other[1]


@more
def test_the_example_of_build_model_runs() -> None:
    failed, tried = doctest.testmod(building)
    assert (failed, tried > 5) == (0, True)


@pytest.mark.parametrize(
    ("name", "product", "mode"),
    [
        ("four clusters, overlapping", "dot", "FAST_COMPILE"),
        ("one cluster, other predictors", "dot", "FAST_COMPILE"),
        ("four clusters, overlapping", "dot", "JAX"),
        pytest.param("tied", "sum", "JAX", marks=pytest.mark.slow),
    ],
)
def test_products_and_backends_give_the_same_density(name: str, product: str, mode: str) -> None:
    spec = STRUCTURES[name]
    dataset = make_dataset(table(), spec)
    model = build_model(dataset, spec, direction_of(spec), product)
    evaluate = compiled(model, mode)
    points = draw_points(model, np.random.default_rng(2), 5)
    values = [evaluate(point) for point in points]
    check_likelihood(spec, dataset, points, [np.asarray(value) for value, _ in values])
    for point, (_, prior) in zip(points, values, strict=True):
        expected = log_prior(spec, point, direction_of(spec))
        np.testing.assert_allclose(prior, expected, rtol=1e-12, atol=1e-11)


def test_labels_left_free_have_the_same_density_at_the_same_parameters() -> None:
    name = "mixed location priors"
    spec, (dataset, ordered) = STRUCTURES[name], built(name)
    free = build_model(dataset, spec)
    evaluate_free = compiled(free)
    direction = direction_of(spec)
    for point in draw_points(ordered, np.random.default_rng(3), 5):
        xi = natural_parts(point, direction)["location"]
        unordered = {key: value for key, value in point.items() if key != "location_cone__"}
        inside = densities(ordered)(joined(ordered, point))
        outside = evaluate_free(unordered | {"location": xi})
        # The same operations on ξ, which itself is right to rounding.
        np.testing.assert_allclose(inside[0], outside[0], rtol=1e-12, atol=1e-11)
        # The reflection keeps volumes: only the logs of the differences stretch.
        stretch = point["location_cone__"][1:, 0].sum()
        np.testing.assert_allclose(inside[1] - outside[1], stretch, rtol=0, atol=1e-11)


@pytest.mark.parametrize(("k", "size"), [(2, 1), (3, 2), (5, 6)])
def test_cone_orders_and_returns(k: int, size: int) -> None:
    rng = np.random.default_rng(size)
    direction = rng.normal(size=size)
    direction /= np.linalg.norm(direction)
    value, xi, reflection = (
        pytensor.tensor.matrix(shape=s) for s in [(k, size)] * 2 + [(size,) * 2]
    )
    transform = ConeTransform()
    with pytensor.config.change_flags(mode="FAST_COMPILE"):
        backward = pytensor.function([value, reflection], transform.backward(value, reflection))
        forward = pytensor.function([xi, reflection], transform.forward(xi, reflection))
        log_det = pytensor.function([value], transform.log_jac_det(value, reflection))
    mirror = np.stack([reflected(direction, row[None])[0] for row in np.eye(size)])
    point = rng.normal(size=(k, size))
    location = backward(point, mirror)
    # Cumulative sums of k values of size one: rounding only.
    np.testing.assert_allclose(forward(location, mirror), point, rtol=0, atol=1e-13)
    np.testing.assert_allclose(np.diff(location @ direction), np.exp(point[1:, 0]), atol=1e-13)
    step, columns = 1e-5, []
    for index in np.ndindex(k, size):
        shift = np.zeros((k, size))
        shift[index] = step
        difference = backward(point + shift, mirror) - backward(point - shift, mirror)
        columns.append(difference.ravel() / (2 * step))
    sign, numeric = np.linalg.slogdet(np.stack(columns, axis=1))
    assert sign != 0
    # Central differences err by step²/6 of the third derivative and by 1e-16/step in rounding.
    np.testing.assert_allclose(log_det(point), numeric, rtol=0, atol=1e-8)


@pytest.mark.parametrize("eta", [1.0, 3.0])
def test_lkj_constant_is_the_integral(eta: float) -> None:
    """The oracle itself: for D = 2 the density of r integrates to one."""
    r = np.linspace(-1, 1, 20001)
    matrices = np.stack([np.array([[1, value], [value, 1]]) for value in r[1:-1]])
    density = np.exp([log_lkj(eta, matrix[None]) for matrix in matrices])
    # Trapezoids on 2e4 steps err by 1e-8 of the second derivative, and by the two ends left out.
    np.testing.assert_allclose(density.sum() * (r[1] - r[0]), 1, atol=1e-4)


@pytest.mark.parametrize("name", ["no intercept", "no intercept, one cluster"])
def test_no_intercept_is_zero_for_the_users(name: str) -> None:
    spec, (dataset, model) = STRUCTURES[name], built(name)
    scaling = dataset.scaling
    for point in draw_points(model, np.random.default_rng(4), 3):
        batched = {key: value[None] for key, value in point.items()}
        draw = {key: value[0] for key, value in constrained(model)(batched).items()}
        draw["cholesky"] = np.linalg.cholesky(draw.pop("correlation")) * draw.pop("sd")[..., None]
        users = scaling.to_users(Parameters(**draw))
        # Zero is left of terms of the size of y's centre, here below ten.
        np.testing.assert_allclose(users.intercept, 0, atol=1e-13)
        expected = parameters_of(spec, dataset, point, direction_of(spec))
        np.testing.assert_allclose(users.slope, expected["slope"], rtol=1e-12)


# Gradients of all structures are compared with those of other implementations in test_agreement.
@pytest.mark.parametrize(
    "name", [USUAL[0], *(pytest.param(name, marks=more) for name in USUAL[1:])]
)
def test_jax_gradient_equals_finite_differences(name: str) -> None:
    import jax

    spec = STRUCTURES[name]
    dataset, model = built(name)
    compared = build_model(dataset, spec, direction_of(spec), "dot")
    log_density = pymc_jax().get_jaxified_logp(compared)
    names = [value.name for value in model.value_vars]
    evaluate = compiled(model)
    (point,) = draw_points(model, np.random.default_rng(6), 1)
    gradient = jax.jit(jax.grad(log_density))([jax.numpy.asarray(point[key]) for key in names])

    def total(moved: Point) -> float:
        likelihood, prior = evaluate(moved)
        return likelihood.sum() + prior

    step = 1e-5
    for key, found in zip(names, gradient, strict=True):
        numeric = np.empty_like(point[key])
        for index in np.ndindex(numeric.shape):
            up, down = ({n: v.copy() for n, v in point.items()} for _ in range(2))
            up[key][index] += step
            down[key][index] -= step
            numeric[index] = (total(up) - total(down)) / (2 * step)
        # Rounding of a density of size 1e3 to 1e-13, over the step: 1e-5 on gradients of 1e2.
        np.testing.assert_allclose(found, numeric, rtol=1e-5, atol=1e-4)
