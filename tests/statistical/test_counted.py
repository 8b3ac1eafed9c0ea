"""Posteriors of counted responses against another sampler, and which family leave-one-out prefers.

The other sampler is differential evolution Metropolis (ter Braak 2006,
doi:10.1007/s11222-006-8769-1) on densities written out, up to constants.
"""

from collections.abc import Callable

import numpy as np
import pandas as pd
import pytest
from conftest import more
from numpy.typing import NDArray
from reference import MOST_ERRORS, by_location, errors_to_draws
from scipy import special, stats

import jointmix as jm

pytestmark = pytest.mark.slow

SCALE = 2.5
#: Log prior and likelihood of (walker, parameter), parameters being unconstrained.
Density = Callable[[NDArray], NDArray]


def walks(density: Density, start: NDArray, steps: int, seed: int) -> NDArray:
    """Draws (chain, draw, parameter) of walkers that move along differences of others.

    Halves of the walkers move in turn, by differences of two of the other half, now and then by
    the whole difference. Each walker is a chain; the first quarter is left out.
    """
    rng = np.random.default_rng(seed)
    (n, d), at, level = start.shape, start.copy(), density(start)
    kept, half = np.empty((steps, n, d)), n // 2
    for step in range(2 * steps):
        mine, other = np.arange(half), half + np.arange(half)
        if step % 2:
            mine, other = other, mine
        first, second = rng.choice(other, half), rng.choice(other, half)
        length = 1.0 if step % 20 < 2 else 2.38 / np.sqrt(2 * d)
        move = length * (at[first] - at[second]) + 1e-5 * rng.normal(size=(half, d))
        tried = at[mine] + move
        new = density(tried)
        accepted = np.log(rng.random(half)) < new - level[mine]
        at[mine[accepted]], level[mine[accepted]] = tried[accepted], new[accepted]
        kept[step // 2] = at
    return np.swapaxes(kept[steps // 4 :], 0, 1)


def log_weights(q: NDArray) -> tuple[NDArray, NDArray]:
    """log π and its log prior of one logit, under Dirichlet(2, 2), (walker, 2) and (walker,)."""
    both = np.stack([special.log_expit(q), special.log_expit(-q)], axis=1)
    return both, 2 * both.sum(1)


def posterior_of(table: pd.DataFrame, family: str, k: int) -> Density:
    """Of logit π₁ (K = 2), then b, θ and log size of each cluster, on the users' scale."""
    u, y = table["u"].to_numpy(), table["y"].to_numpy()
    of_size = family == "negative_binomial"
    width = 3 if of_size else 2

    def rows(own: NDArray) -> NDArray:
        line = own[:, [0]] + own[:, [1]] * u
        if of_size:
            size, mean = np.exp(own[:, [2]]), np.exp(line)
            gammas = special.gammaln(y + size) - special.gammaln(size)
            return gammas + size * np.log(size / (size + mean)) + y * np.log(mean / (size + mean))
        n = table["n"].to_numpy()
        return y * special.log_expit(line) + (n - y) * special.log_expit(-line)

    def density(q: NDArray) -> NDArray:
        weight, found = (np.zeros((len(q), 1)), 0.0) if k == 1 else log_weights(q[:, 0])
        terms = []
        for c in range(k):
            own = q[:, k - 1 + c * width : k - 1 + (c + 1) * width]
            found = found + stats.norm.logpdf(own[:, :2], scale=SCALE).sum(1)
            if of_size:
                # With the Jacobian of its log.
                found = found + stats.gamma.logpdf(np.exp(own[:, 2]), 1.0, scale=20.0) + own[:, 2]
            terms.append(weight[:, [c]] + rows(own))
        return found + np.logaddexp.reduce(terms, axis=0).sum(1)

    return density


def table_of(family: str, k: int, seed: int) -> tuple[pd.DataFrame, NDArray]:
    """A table, and parameters near those that made it."""
    rng = np.random.default_rng(seed)
    z, u = (rng.random(120) < 0.4).astype(int) * (k - 1), rng.normal(size=120)
    line = np.where(z == 1, 1.5 - 0.8 * u, -0.5 + 0.7 * u)
    if family == "binomial":
        n = rng.integers(1, 16, 120)
        table = pd.DataFrame({"u": u, "n": n, "y": rng.binomial(n, special.expit(line))})
        clusters = [[-0.5, 0.7], [1.5, -0.8]]
    else:
        mean = np.exp(line + 1.5)
        table = pd.DataFrame({"u": u, "y": rng.poisson(rng.gamma(4.0, mean / 4.0))})
        clusters = [[1.0, 0.7, 1.4], [3.0, -0.8, 1.4]]
    logit = [0.4] if k == 2 else []
    return table, np.array([*logit, *np.concatenate(clusters[:k])])


def gaps(family: str, k: int, seed: int, sampler: str) -> dict[str, float]:
    """Of every parameter, both sorted by the slope in each draw."""
    table, near = table_of(family, k, seed)
    options = {"trials": "n"} if family == "binomial" else {}
    spec = jm.ModelSpec(
        n_clusters=k, predictors=["u"], response="y", family=family, standardize=False,
        sampler=jm.SamplerSpec(sampler=sampler, draws=2500, tune=1000), **options,
    )  # fmt: skip
    posterior = jm.fit(table, spec, seed=seed, progress=False)["posterior"]
    rng = np.random.default_rng(seed)
    start = near + 0.1 * rng.normal(size=(400, len(near)))
    drawn = walks(posterior_of(table, family, k), start, 1600, seed)
    width = (drawn.shape[-1] - (k - 1)) // k
    own = drawn[..., k - 1 :].reshape(*drawn.shape[:2], k, width)
    theirs = {"intercept": own[..., 0], "slope": own[..., 1]}
    ours = {"intercept": posterior["intercept"].values, "slope": posterior["slope"].values[..., 0]}
    if width == 3:
        theirs["size"], ours["size"] = np.exp(own[..., 2]), posterior["size"].values
    if k == 2:
        one = special.expit(drawn[..., 0])
        theirs["weight"], ours["weight"] = np.stack([one, 1 - one], -1), posterior["weight"].values
    found: dict[str, float] = {}
    for name, value in ours.items():
        a, b = by_location(value, ours["slope"]), by_location(theirs[name], theirs["slope"])
        for c in range(k):
            found |= errors_to_draws(f"{name} {c}", a[..., c], b[..., c])
    return found


@pytest.mark.parametrize("k", [pytest.param(1, marks=more), 2])
@pytest.mark.parametrize("family", [pytest.param("binomial", marks=more), "negative_binomial"])
def test_posterior_is_right(family: str, k: int) -> None:
    """Means, sds, 5% and 95% quantiles of every parameter within 3.5 standard errors."""
    far = {name for name, gap in gaps(family, k, 1, "nutpie").items() if abs(gap) >= MOST_ERRORS}
    # Of 100 numbers one exceeds the bound in one run of twenty by chance; not twice.
    if far:
        again = gaps(family, k, 2, "nutpie")
        assert far & {name for name, gap in again.items() if abs(gap) >= MOST_ERRORS} == set()


def test_leave_one_out_prefers_the_family_that_made_the_table() -> None:
    """Poisson or negative binomial: never clearly the wrong one, and the spread one always."""
    rng, clearly = np.random.default_rng(3), {"poisson": 0, "negative_binomial": 0}
    for number in range(6):
        made = ("poisson", "negative_binomial")[number % 2]
        u = rng.normal(size=120)
        mean = np.exp(2.0 + 0.5 * u)
        y = rng.poisson(mean if made == "poisson" else rng.gamma(3.0, mean / 3.0))
        table, level = {"u": u, "y": y}, {}
        for family in clearly:
            spec = jm.ModelSpec(
                n_clusters=1, predictors=["u"], response="y", family=family,
                sampler=jm.SamplerSpec(chains=2, draws=500, tune=300),
            )  # fmt: skip
            tree = jm.fit(table, spec, seed=number, progress=False)
            level[family] = jm.loo(tree).pointwise["joint"].to_numpy()
        other = next(family for family in clearly if family != made)
        gap = level[made] - level[other]
        error = gap.std() * np.sqrt(len(gap))
        # A negative binomial of a large size is a Poisson: it loses little, and wins nothing.
        assert gap.sum() > -2 * error
        clearly[made] += bool(gap.sum() > 2 * error)
    assert clearly["negative_binomial"] == 3
