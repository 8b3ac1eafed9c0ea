"""Posteriors against other ways of computing them: quadrature, and Gibbs samplers.

Each case takes a seed and a sampler, and gives gaps in units of Monte Carlo standard errors, by
name.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
import pytest
import xarray as xr
from conftest import more
from gibbs import Block, Draws, Pair, gibbs
from numpy.typing import NDArray
from reference import MOST_ERRORS, Mixture, by_location, errors_to_draws, errors_to_exact
from scipy import stats

from jointmix import (
    LKJ,
    Dirichlet,
    InverseGamma,
    ModelSpec,
    Normal,
    Priors,
    SamplerSpec,
    fit,
    four_clusters,
)
from jointmix.model.simulate import simulate

pytestmark = pytest.mark.slow

LOCATION_SD, SHAPE, SCALE, ETA, CONCENTRATION = 5.0, 2.0, 0.5, 1.5, 2.0


def spec_of(
    sampler: str,
    n_clusters: int,
    features: tuple[str, ...],
    predictors: tuple[str, ...] = (),
    covariance: str = "diagonal",
) -> ModelSpec:
    """Priors on the users' scale; there is a response where there are predictors."""
    location = Normal(scale=LOCATION_SD)
    return ModelSpec(
        n_clusters=n_clusters,
        features=features,
        predictors=predictors,
        response="y" if predictors else None,
        covariance=covariance,
        standardize=False,
        priors=Priors(
            weight=Dirichlet(concentration=CONCENTRATION),
            mean=location,
            intercept=location,
            slope=location,
            sd=InverseGamma(shape=SHAPE, scale=SCALE),
            sigma=InverseGamma(shape=SHAPE, scale=SCALE),
            correlation=LKJ(eta=ETA),
        ),
        sampler=SamplerSpec(sampler=sampler, draws=2500, tune=1000),
    )


def block(target: NDArray, *predictors: NDArray) -> Block:
    """A column regressed on a constant and predictors, under the priors of ``spec_of``."""
    design = np.column_stack([np.ones(len(target)), *predictors])
    return Block(target=target, design=design, prior_sd=LOCATION_SD, shape=SHAPE, scale=SCALE)


def one_cluster_features(seed: int, sampler: str) -> dict[str, float]:
    """μ and σ² of a normal sample."""
    x = np.random.default_rng(seed).normal(1.0, 1.5, 30)
    tree = fit(pd.DataFrame({"x": x}), spec_of(sampler, 1, ("x",)), seed=seed)
    mean, sd = (tree["posterior"][name].squeeze(drop=True) for name in ("mean", "sd"))
    (center,), spread = regression(x, np.ones((len(x), 1)))
    return errors_to_exact("mean", mean, center) | errors_to_exact("sd", sd, spread)


def one_cluster_regression(seed: int, sampler: str) -> dict[str, float]:
    """Intercept, two slopes of correlated predictors, and σ."""
    rng = np.random.default_rng(seed)
    u = rng.normal(size=(25, 2)) @ np.array([[1.0, 0.8], [0.0, 0.5]])
    y = 1 + u @ [2.0, -1.0] + 0.8 * rng.normal(size=25)
    table = pd.DataFrame({"a": u[:, 0], "b": u[:, 1], "y": y})
    posterior = fit(table, spec_of(sampler, 1, (), ("a", "b")), seed=seed)["posterior"]
    exact, noise = regression(y, np.column_stack([np.ones(25), u]))
    ours = [posterior["intercept"], *(posterior["slope"].sel(predictor=name) for name in "ab")]
    found = errors_to_exact("sigma", posterior["sigma"].squeeze(drop=True), noise)
    for name, draws, known in zip(("intercept", "a", "b"), ours, exact, strict=True):
        found |= errors_to_exact(name, draws.squeeze(drop=True), known)
    return found


def regression(y: NDArray, design: NDArray) -> tuple[list[Mixture], Mixture]:
    """Coefficients and σ of a regression: quadrature over log σ², normal given it.

    β | σ² ~ N(P⁻¹X'y/σ², P⁻¹) with P = X'X/σ² + I/s², and y ~ N(0, σ²I + s²XX').
    """
    log_variance = np.linspace(-5, 5, 2001)
    variance = np.exp(log_variance)
    p = design.shape[1]
    precision = design.T @ design / variance[:, None, None] + np.eye(p) / LOCATION_SD**2
    spread = np.linalg.inv(precision)
    center = np.einsum("gij,j->gi", spread, design.T @ y) / variance[:, None]
    outer = LOCATION_SD**2 * design @ design.T
    eigenvalue, vector = np.linalg.eigh(outer)
    total = variance[:, None] + np.maximum(eigenvalue, 0)
    log_joint = -((vector.T @ y) ** 2 / total + np.log(total)).sum(1) / 2
    log_joint += stats.invgamma.logpdf(variance, SHAPE, scale=SCALE) + log_variance
    weight = np.exp(log_joint - log_joint.max())
    # The trapezoidal rule is exact to rounding for a smooth peak that ends inside the range.
    assert max(weight[0], weight[-1]) < 1e-12
    weight /= weight.sum()
    sd = np.sqrt(np.diagonal(spread, axis1=1, axis2=2))
    coefficients = [Mixture(weight, center[:, i], sd[:, i]) for i in range(p)]
    return coefficients, Mixture(weight, np.sqrt(variance), np.zeros(len(variance)))


def one_cluster_correlated(seed: int, sampler: str) -> dict[str, float]:
    """Means, sds and the correlation of two features."""
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(30, 2)) @ np.array([[1.5, 0.9], [0.0, 0.6]]) + [1.0, -2.0]
    table = pd.DataFrame({"a": x[:, 0], "b": x[:, 1]})
    posterior = fit(table, spec_of(sampler, 1, ("a", "b"), covariance="full"), seed=seed)[
        "posterior"
    ]
    exact = two_correlated(x)
    draws = {"correlation": posterior["correlation"][:, :, 0, 1, 0]}
    for i, name in enumerate("ab"):
        draws[f"mean {name}"] = posterior["mean"][:, :, 0, i]
        draws[f"sd {name}"] = posterior["sd"][:, :, 0, i]
    found: dict[str, float] = {}
    for name, values in draws.items():
        found |= errors_to_exact(name, values.reset_coords(drop=True), exact[name])
    return found


def two_correlated(x: NDArray) -> dict[str, Mixture]:
    """Quadrature over both log variances and artanh ρ; means normal given them.

    x̄ ~ N(0, Σ/n + s²I), and the scatter S about x̄ gives |Σ|^(−(n−1)/2) exp(−tr(Σ⁻¹S)/2).
    """
    n, average = len(x), x.mean(0)
    scatter = (x - average).T @ (x - average)
    guess = np.log(np.diagonal(scatter) / n)
    width = np.sqrt(2 / n)
    grids = [at + np.linspace(-5.5, 7.5, 121) * width for at in guess]
    middle = np.arctanh(scatter[0, 1] / np.sqrt(scatter[0, 0] * scatter[1, 1]))
    grids.append(middle + np.linspace(-7, 7, 121) / np.sqrt(n))
    one, two, turned = (each.ravel() for each in np.meshgrid(*grids, indexing="ij"))
    rho = np.tanh(turned)
    a, b, c = np.exp(one), np.exp(two), rho * np.exp((one + two) / 2)
    determinant = a * b - c**2
    trace = (b * scatter[0, 0] - 2 * c * scatter[0, 1] + a * scatter[1, 1]) / determinant
    wide_a, wide_b, wide_c = a / n + LOCATION_SD**2, b / n + LOCATION_SD**2, c / n
    wide = wide_a * wide_b - wide_c**2
    square = wide_b * average[0] ** 2 - 2 * wide_c * average[0] * average[1]
    square = (square + wide_a * average[1] ** 2) / wide
    log_joint = -((n - 1) * np.log(determinant) + trace + np.log(wide) + square) / 2
    log_joint += ETA * np.log1p(-(rho**2))
    for log_variance in (one, two):
        log_joint += -SHAPE * log_variance - SCALE * np.exp(-log_variance)
    weight = np.exp(log_joint - log_joint.max())
    cube = weight.reshape(121, 121, 121)
    for axis in range(3):
        # Grids end where next to nothing is left.
        assert cube.take([0, -1], axis).max() < 1e-5
    kept = weight > 1e-12
    weight, zero = weight[kept] / weight[kept].sum(), np.zeros(int(kept.sum()))
    a, b, c, rho, wide, wide_a, wide_b, wide_c = (
        each[kept] for each in (a, b, c, rho, wide, wide_a, wide_b, wide_c)
    )
    # μ | Σ: mean s²(Σ/n + s²I)⁻¹x̄, covariance s²I − s⁴(Σ/n + s²I)⁻¹.
    s2 = LOCATION_SD**2
    centers = [
        s2 * (wide_b * average[0] - wide_c * average[1]) / wide,
        s2 * (wide_a * average[1] - wide_c * average[0]) / wide,
    ]
    spreads = [np.sqrt(s2 - s2**2 * other / wide) for other in (wide_b, wide_a)]
    return {
        "mean a": Mixture(weight, centers[0], spreads[0]),
        "mean b": Mixture(weight, centers[1], spreads[1]),
        "sd a": Mixture(weight, np.sqrt(a), zero),
        "sd b": Mixture(weight, np.sqrt(b), zero),
        "correlation": Mixture(weight, rho, zero),
    }


_known: dict[tuple[bytes, ...], Draws] = {}


def known(blocks: list[Block], z: NDArray, *rest: Any) -> Draws:
    """Draws by Gibbs sampling, once for both samplers that are held against them."""
    key = (z.tobytes(), *(each.target.tobytes() for each in blocks))
    if key not in _known:
        _known[key] = gibbs(blocks, z, *rest)
    return _known[key]


def errors_to_gibbs(
    tree: xr.DataTree, draws: Draws, features: tuple[str, ...], key: Callable[[dict], NDArray]
) -> dict[str, float]:
    """Every parameter of every cluster, clusters of both sorted in each draw by ``key``."""
    posterior = tree["posterior"]
    ours = {"weight": posterior["weight"].values}
    for i, name in enumerate(features):
        ours |= {f"{kind} {name}": posterior[kind].values[..., i] for kind in ("mean", "sd")}
    theirs = {"weight": draws.weight}
    if draws.mean is not None and draws.sd is not None and draws.correlation is not None:
        ours["correlation"] = posterior["correlation"].values[..., 1, 0]
        theirs["correlation"] = draws.correlation
        for i, name in enumerate(features):
            theirs |= {f"mean {name}": draws.mean[..., i], f"sd {name}": draws.sd[..., i]}
    else:
        for i, name in enumerate(features):
            theirs[f"mean {name}"] = draws.coefficient[i][..., 0]
            theirs[f"sd {name}"] = np.sqrt(draws.variance[i])
    if "sigma" in posterior:
        ours |= {name: posterior[name].values for name in ("sigma", "intercept")}
        theirs["sigma"] = np.sqrt(draws.variance[-1])
        theirs["intercept"] = draws.coefficient[-1][..., 0]
        for i, name in enumerate(posterior["predictor"].values):
            ours[f"slope {name}"] = posterior["slope"].values[..., i]
            theirs[f"slope {name}"] = draws.coefficient[-1][..., i + 1]
    assert ours.keys() == theirs.keys()
    found: dict[str, float] = {}
    for name in ours:
        one, other = by_location(ours[name], key(ours)), by_location(theirs[name], key(theirs))
        for k in range(one.shape[-1]):
            found |= errors_to_draws(f"{name} {k}", one[..., k], other[..., k])
    return found


def regressions(seed: int, sampler: str) -> dict[str, float]:
    """Two lines that cross, of the same predictor: overlapping, so that allocations matter."""
    rng = np.random.default_rng(seed)
    n = 200
    z = (rng.random(n) < 0.35).astype(int)
    u = rng.normal(size=n)
    y = np.where(z == 1, 1.5 + 2 * u, 0.5 - u) + np.where(z == 1, 0.7, 0.4) * rng.normal(size=n)
    tree = fit(pd.DataFrame({"u": u, "y": y}), spec_of(sampler, 2, (), ("u",)), seed=seed)
    draws = known([block(y, u)], z, CONCENTRATION, 2000, seed)
    return errors_to_gibbs(tree, draws, (), lambda values: values["slope u"])


def gaussians(seed: int, sampler: str) -> dict[str, float]:
    """Two overlapping clusters of two independent features."""
    rng = np.random.default_rng(seed)
    z = (rng.random(200) < 0.4).astype(int)
    x = np.where(z[:, None] == 1, [3.0, 1.0], [0.0, 0.0]) + rng.normal(size=(200, 2)) * [1.0, 0.8]
    tree = fit(
        pd.DataFrame({"a": x[:, 0], "b": x[:, 1]}), spec_of(sampler, 2, ("a", "b")), seed=seed
    )
    draws = known([block(x[:, 0]), block(x[:, 1])], z, CONCENTRATION, 4000, seed)
    return errors_to_gibbs(tree, draws, ("a", "b"), lambda values: values["mean a"])


def correlated_gaussians(seed: int, sampler: str) -> dict[str, float]:
    """Three overlapping clusters with full covariances, by Metropolis within Gibbs."""
    rng = np.random.default_rng(seed)
    n = 240
    z = rng.choice(3, n, p=[0.3, 0.3, 0.4])
    root = np.array([[[1.0, 0], [0.8, 0.6]], [[0.8, 0], [-0.6, 0.7]], [[1.2, 0], [0, 0.5]]])
    center = np.array([[-3.5, 0.0], [0.5, 1.0], [4.5, -1.0]])
    x = center[z] + np.einsum("nij,nj->ni", root[z], rng.normal(size=(n, 2)))
    table = pd.DataFrame({"a": x[:, 0], "b": x[:, 1]})
    tree = fit(table, spec_of(sampler, 3, ("a", "b"), covariance="full"), seed=seed)
    pair = Pair(target=x, prior_sd=LOCATION_SD, shape=SHAPE, scale=SCALE, eta=ETA)
    draws = known([], z, CONCENTRATION, 4000, seed, pair)
    return errors_to_gibbs(tree, draws, ("a", "b"), lambda values: values["mean a"])


def joint(seed: int, sampler: str) -> dict[str, float]:
    """Two clusters that overlap in x, which is told apart by y too; x and another explain y."""
    rng = np.random.default_rng(seed)
    n = 200
    z = (rng.random(n) < 0.4).astype(int)
    x = np.where(z == 1, 2.0, 0.0) + np.where(z == 1, 0.8, 1.0) * rng.normal(size=n)
    u = rng.normal(size=n)
    y = np.where(z == 1, 2 - x + u, 0.5 * x - u) + np.where(z == 1, 0.6, 0.9) * rng.normal(size=n)
    table = pd.DataFrame({"a": x, "u": u, "y": y})
    tree = fit(table, spec_of(sampler, 2, ("a",), ("a", "u")), seed=seed)
    draws = known([block(x), block(y, x, u)], z, CONCENTRATION, 2000, seed)
    return errors_to_gibbs(tree, draws, ("a",), lambda values: values["slope u"])


def four(seed: int, sampler: str) -> dict[str, float]:
    """The four clusters, whose means tie on each coordinate."""
    truth = four_clusters()
    table = simulate(truth, 300, seed)
    tree = fit(table, spec_of(sampler, 4, ("x1", "x2"), ("x1", "x2")), seed=seed)
    columns = [table[name].to_numpy() for name in ("x1", "x2", "y")]
    blocks = [block(columns[0]), block(columns[1]), block(columns[2], *columns[:2])]
    draws = known(blocks, table["cluster"].to_numpy(), CONCENTRATION, 1000, seed)
    # Corners at (±1, ±1) lie 1 apart along (1, 2)/4, some 4.5 standard deviations of a row.
    return errors_to_gibbs(
        tree, draws, ("x1", "x2"), lambda values: values["mean x1"] + 2 * values["mean x2"]
    )


CASES = (
    one_cluster_features,
    one_cluster_regression,
    one_cluster_correlated,
    regressions,
    gaussians,
    correlated_gaussians,
    joint,
    four,
)


#: `joint` has what these have.
IN_OTHERS = (regressions, gaussians)


@pytest.mark.parametrize(
    "case",
    [
        pytest.param(case, id=case.__name__, marks=[more] if case in IN_OTHERS else [])
        for case in CASES
    ],
)
def test_posterior_is_right(case: Callable[[int, str], dict[str, float]]) -> None:
    """Means, sds, 5% and 95% quantiles of every parameter within 3.5 standard errors."""
    for sampler in ("nutpie", "independence"):
        far = _far(case, 1, sampler)
        # Of 800 numbers one exceeds the bound in three runs of ten by chance; not twice.
        if far:
            assert far & _far(case, 2, sampler) == set(), sampler


def _far(case: Callable[[int, str], dict[str, float]], seed: int, sampler: str) -> set[str]:
    errors = case(seed, sampler)
    assert errors
    return {name for name, value in errors.items() if abs(value) >= MOST_ERRORS}
