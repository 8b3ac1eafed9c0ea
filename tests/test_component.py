"""One component's density and draws against SciPy's, given its parameters."""

import numpy as np
import pytensor
import pytensor.tensor as pt
import pytest
from conftest import STRUCTURES
from scipy import stats

from jointmix.model.component import (
    log_density,
    natural_parameters,
    parameter_names,
    random_rows,
    signature,
    sufficient_statistics,
)
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


def draw_parameters(spec: ModelSpec, rng: np.random.Generator) -> dict[str, np.ndarray]:
    """Parameters of each component as the component takes them, without `extra`."""
    k, d = spec.n_clusters, len(spec.features)
    root = rng.normal(size=(k, d, d)) / 4 + np.eye(d)
    arrays = {
        "mean": rng.normal(size=(k, d)),
        "cholesky": np.linalg.cholesky(root @ np.swapaxes(root, 1, 2)) if d else None,
        "intercept": rng.normal(size=k),
        "slope": rng.normal(size=(k, len(spec.predictors))),
        "sigma": rng.uniform(0.3, 1.5, k),
    }
    return {name: arrays[name] for name in parameter_names(spec) if name != "extra"}


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
            result[:, k] += stats.norm.logpdf(rows[:, -1], line, parameters["sigma"][k])
    return result


@pytest.mark.parametrize("name", ROLES)
@pytest.mark.parametrize("product", ["sum", "dot"])
def test_log_density_equals_scipy(name: str, product: str) -> None:
    spec, rng = STRUCTURES[name], np.random.default_rng(7)
    parameters = draw_parameters(spec, rng)
    rows = rng.normal(size=(30, len(spec.columns)))
    d, last = len(spec.features), len(spec.columns) - (spec.response is not None)
    own = rows[:, [*range(d), *range(last, len(spec.columns))]]
    arguments = dict(parameters)
    if "extra" in parameter_names(spec):
        arguments["extra"] = rows[:, d:last]
    constants = [pt.as_tensor(value) for value in arguments.values()]
    with pytensor.config.change_flags(mode="FAST_COMPILE"):
        value = log_density(spec, product)(pt.as_tensor(own), *constants).eval()
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
        weights = natural_parameters(spec, tensors).eval()
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


def test_signature_names_all_arguments() -> None:
    assert signature(STRUCTURES["four clusters, overlapping"]) == "(d),(d,d),(),(r),(),(e)->(4)"
    assert signature(STRUCTURES["no response"]) == "(d),(d,d)->(2)"
    assert signature(STRUCTURES["only a response"]) == "(),(r),()->(1)"


@pytest.mark.parametrize("name", ["four clusters, overlapping", "four features", "no features"])
def test_draws_have_the_moments_of_their_component(name: str) -> None:
    spec, n = STRUCTURES[name], 20_000
    rng = np.random.default_rng(9)
    parameters = draw_parameters(spec, rng)
    d, k = len(spec.features), spec.n_clusters
    extra_names = [name for name in spec.predictors if name not in spec.features]
    extra = rng.normal(size=(1, 1, len(extra_names)))
    arguments = [value[None] for value in parameters.values()] + [extra]
    rows = random_rows(spec)(*arguments, rng=rng, size=(n, k))
    assert rows.shape == (n, k, d + 1)
    columns = {name: rows[..., i] for i, name in enumerate(spec.features)}
    columns |= {name: np.full((n, k), extra[0, 0, i]) for i, name in enumerate(extra_names)}
    u = np.stack([columns[name] for name in spec.predictors], axis=-1)
    line = parameters["intercept"] + (u * parameters["slope"]).sum(-1)
    noise = (rows[..., -1] - line) / parameters["sigma"]
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
