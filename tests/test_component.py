"""One component's density and draws against SciPy's, given its parameters."""

import itertools
from dataclasses import replace

import mpmath
import numpy as np
import pytensor
import pytensor.tensor as pt
import pytest
from conftest import STRUCTURES
from scipy import stats

from jointmix.families.graph import graph_of
from jointmix.families.priors.priors import Fixed, Priors
from jointmix.families.rows import Rows
from jointmix.model.component import log_density, random_rows, signature
from jointmix.model.quadratic import natural_parameters, sufficient_statistics
from jointmix.model.spec import ModelSpec

ROLES = [
    "one cluster, other predictors",
    "predictors in another order",
    "four clusters, overlapping",
    "four features",
    "no predictors",
    "no response",
    "no features",
    "only a response",
]

SPECS = STRUCTURES | {
    f"Student-t, {name}": replace(STRUCTURES[name], family="student_t")
    for name in ("one cluster, other predictors", "four clusters, overlapping", "no features")
}
STUDENT = [name for name in SPECS if name.startswith("Student-t, ")]


def draw_parameters(spec: ModelSpec, rng: np.random.Generator) -> dict[str, np.ndarray]:
    """Parameters of each component as the component takes them."""
    k, d = spec.n_clusters, len(spec.features)
    root = rng.normal(size=(k, d, d)) / 4 + np.eye(d)
    arrays = {}
    if d:
        factor = np.linalg.cholesky(root @ np.swapaxes(root, 1, 2))
        arrays |= {"mean": rng.normal(size=(k, d)), "cholesky": factor}
    if spec.response is not None:
        arrays["intercept"] = rng.normal(size=k)
        arrays["slope"] = rng.normal(size=(k, len(spec.predictors)))
        arrays["sigma"] = rng.uniform(0.3, 1.5, k)
    if spec.family == "student_t":
        # On both sides of where the series of the constant begins, and far from a normal's.
        arrays["df"] = rng.uniform(0.7, 60.0, k)
    return arrays


def shapes(parameters: dict[str, np.ndarray]) -> dict[str, tuple[int, ...]]:
    return {name: value.shape[1:] for name, value in parameters.items()}


def scipy_log_density(
    spec: ModelSpec, parameters: dict[str, np.ndarray], rows: np.ndarray
) -> np.ndarray:
    """log N(x) + log N(y), (obs, component), of rows (x, further predictors, y)."""
    result = np.zeros((len(rows), spec.n_clusters))
    for k in range(spec.n_clusters):
        if spec.features:
            covariance = parameters["cholesky"][k] @ parameters["cholesky"][k].T
            x = rows[:, : len(spec.features)]
            result[:, k] += stats.multivariate_normal.logpdf(x, parameters["mean"][k], covariance)
        if spec.response is not None:
            u = np.stack([rows[:, spec.columns.index(name)] for name in spec.predictors] or [
                np.zeros(len(rows))
            ], axis=1)  # fmt: skip
            slope = parameters["slope"][k] if spec.predictors else np.zeros(1)
            line = parameters["intercept"][k] + u @ slope
            law = stats.t(parameters["df"][k]) if "df" in parameters else stats.norm()
            sigma = parameters["sigma"][k]
            result[:, k] += law.logpdf((rows[:, -1] - line) / sigma) - np.log(sigma)
    return result


@pytest.mark.parametrize(
    ("name", "product"),
    [*itertools.product(ROLES, ["sum", "dot"]), *((name, "sum") for name in STUDENT)],
)
def test_log_density_equals_scipy(name: str, product: str) -> None:
    spec, rng = SPECS[name], np.random.default_rng(7)
    parameters = draw_parameters(spec, rng)
    rows = rng.normal(size=(30, len(spec.columns)))
    d, last = len(spec.features), len(spec.columns) - (spec.response is not None)
    own = rows[:, [*range(d), *range(last, len(spec.columns))]]
    extra = [rows[:, d:last]] if last > d else []
    constants = [pt.as_tensor(value) for value in (*parameters.values(), *extra)]
    logp = log_density(spec, shapes(parameters), product)
    with pytensor.config.change_flags(mode="FAST_COMPILE"):
        value = logp(pt.as_tensor(own), *constants).eval()
    expected = scipy_log_density(spec, parameters, rows)
    if spec.n_clusters == 1:
        expected = expected[:, 0]
    # Differences of quadratic terms up to a hundred times the result.
    np.testing.assert_allclose(value, expected, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("name", ["predictors in another order", "no response", "no features"])
def test_density_is_linear_in_the_statistics(name: str) -> None:
    """⟨W, Φ⟩: constant, linear and quadratic terms, each read off by derivatives at zero."""
    spec, rng = STRUCTURES[name], np.random.default_rng(8)
    parameters = draw_parameters(spec, rng)
    width = len(spec.columns)
    with pytensor.config.change_flags(mode="FAST_COMPILE"):
        tensors = {key: pt.as_tensor(value) for key, value in parameters.items()}
        forms = [graph_of(block).quadratic(block, tensors) for block in spec.blocks]
        weights = natural_parameters(forms).eval()
        points = np.concatenate([np.zeros((1, width)), np.eye(width), -np.eye(width)])
        statistics = sufficient_statistics(pt.as_tensor(points)).eval()
    at = scipy_log_density(spec, parameters, points)
    zero, up, down = at[0], at[1 : 1 + width], at[1 + width :]
    np.testing.assert_allclose(weights[:, 0], zero, rtol=1e-12)
    # Exact for a quadratic: (f(1) − f(−1)) / 2 and (f(1) + f(−1)) / 2 − f(0).
    np.testing.assert_allclose(weights[:, 1 : 1 + width].T, (up - down) / 2, atol=1e-12)
    row, column = np.triu_indices(width)
    square = 1 + width + np.flatnonzero(row == column)
    np.testing.assert_allclose(weights[:, square].T, (up + down) / 2 - zero, atol=1e-12)
    np.testing.assert_allclose(statistics @ weights.T, at, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("name", ["four clusters, overlapping", "no response", "no features"])
def test_blocks_that_are_quadratic_have_the_density_of_their_forms(name: str) -> None:
    """What each block says as a form and as a density of its own, as beside a Student-t."""
    spec, rng = STRUCTURES[name], np.random.default_rng(8)
    parameters = draw_parameters(spec, rng)
    rows = rng.normal(size=(30, len(spec.columns)))
    places = [spec.columns.index(name) for name in spec.predictors]
    roles = Rows(*map(pt.as_tensor, (rows[:, : len(spec.features)], rows[:, places], rows[:, -1])))
    tensors = {key: pt.as_tensor(value) for key, value in parameters.items()}
    with pytensor.config.change_flags(mode="FAST_COMPILE"):
        found = sum(
            graph_of(block).log_density(block, tensors, roles).eval() for block in spec.blocks
        )
    np.testing.assert_allclose(found, scipy_log_density(spec, parameters, rows), rtol=1e-12)


@pytest.mark.parametrize("df", [0.3, 4.0, 19.9, 20.1, 1e3, 1e6, 1e9])
def test_the_constant_of_a_t_distribution_loses_no_digits(df: float) -> None:
    spec = ModelSpec(
        n_clusters=1, response="y", family="student_t", noise="fixed",
        priors=Priors(sigma=Fixed(value=1.0), df=Fixed(value=df)),
    )  # fmt: skip
    values = {"intercept": np.zeros(1), "slope": np.zeros((1, 0)), "sigma": np.ones(1)}
    values["df"] = np.array([df])
    logp = log_density(spec, shapes(values), "sum")
    with pytensor.config.change_flags(mode="FAST_COMPILE"):
        found = logp(pt.zeros((1, 1)), *map(pt.as_tensor, values.values())).eval()
    with mpmath.workdps(50):
        half = mpmath.mpf(df) / 2
        exact = mpmath.loggamma(half + 0.5) - mpmath.loggamma(half) - mpmath.log(df * mpmath.pi) / 2
    np.testing.assert_allclose(found, [float(exact)], rtol=1e-14)


def test_signature_has_the_sizes_of_all_arguments() -> None:
    for name, expected in (
        ("four clusters, overlapping", "(3),(3,3),(),(2),(),(1)->(4)"),
        ("no response", "(2),(2,2)->(2)"),
        ("only a response", "(),(0),()->(1)"),
        ("Student-t, no features", "(),(2),(),(),(2)->(1)"),
    ):
        parameters = draw_parameters(SPECS[name], np.random.default_rng(7))
        assert signature(SPECS[name], shapes(parameters)) == expected


@pytest.mark.parametrize(
    "name",
    [
        "four clusters, overlapping",
        "four features",
        "no features",
        "Student-t, four clusters, overlapping",
    ],
)
def test_draws_have_the_moments_of_their_component(name: str) -> None:
    spec, n = SPECS[name], 20_000
    rng = np.random.default_rng(9)
    parameters = draw_parameters(spec, rng)
    d, k = len(spec.features), spec.n_clusters
    extra_names = [name for name in spec.predictors if name not in spec.features]
    extra = rng.normal(size=(1, 1, len(extra_names)))
    arguments = [value[None] for value in parameters.values()] + [extra]
    rows = random_rows(spec, shapes(parameters))(*arguments, rng=rng, size=(n, k))
    assert rows.shape == (n, k, d + 1)
    columns = {name: rows[..., i] for i, name in enumerate(spec.features)}
    columns |= {name: np.full((n, k), extra[0, 0, i]) for i, name in enumerate(extra_names)}
    u = np.stack([columns[name] for name in spec.predictors], axis=-1)
    line = parameters["intercept"] + (u * parameters["slope"]).sum(-1)
    noise = (rows[..., -1] - line) / parameters["sigma"]
    if "df" in parameters:
        noise = stats.norm.isf(stats.t.sf(noise, parameters["df"]))
    # Five standard errors: a false alarm in 1e6 for each of some fifty numbers.
    assert (np.abs(noise.mean(0)) < 5 / np.sqrt(n)).all()
    assert (np.abs(noise.var(0) - 1) < 5 * np.sqrt(2 / n)).all()
    if not d:
        return
    for j in range(k):
        white = np.linalg.solve(
            parameters["cholesky"][j], (rows[:, j, :d] - parameters["mean"][j]).T
        )
        assert (np.abs(white.mean(1)) < 5 / np.sqrt(n)).all()
        products = white @ white.T / n
        spread = np.sqrt(np.where(np.eye(d), 2, 1) / n)
        assert (np.abs(products - np.eye(d)) < 5 * spread).all()
        assert (np.abs(white @ noise[:, j] / n) < 5 / np.sqrt(n)).all()
