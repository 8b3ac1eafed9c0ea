"""Differences between clusters and shares of variance, against loops and simulation."""

from itertools import combinations

import arviz_stats
import numpy as np
import pytest
import xarray as xr
from synthetic import fitted_tree

from jointmix.base.errors import SchemaError, SpecError
from jointmix.posterior.differences import contrasts, r_squared
from jointmix.posterior.draws import (
    fitted_spec,
    observed_rows,
    posterior_parameters,
)


@pytest.fixture(scope="module")
def tree() -> xr.DataTree:
    return fitted_tree(n_clusters=3, n_features=2, predictors=["x2", "outside"], seed=4)


def test_every_pair_and_entry_by_hand(tree: xr.DataTree) -> None:
    table = contrasts(tree, ("mean", "slope", "sigma", "weight", "sd", "intercept"), interval=0.5)
    posterior = tree["posterior"].to_dataset()
    # Three pairs of 2 + 2 + 1 + 1 + 2 + 1 entries.
    assert len(table) == 27
    for a, b in combinations(range(3), 2):
        pair = f"cluster {a + 1} − cluster {b + 1}"
        for name, label, place in (
            ("mean", f"mean[{pair}, x2]", (1,)),
            ("slope", f"slope[{pair}, outside]", (1,)),
            ("sigma", f"sigma[{pair}]", ()),
            ("weight", f"weight[{pair}]", ()),
        ):
            values = posterior[name].values[(..., *place)] if place else posterior[name].values
            gap = values[:, :, a] - values[:, :, b]
            row = table.loc[label]
            assert row["mean"] == pytest.approx(gap.mean(), rel=1e-12)
            assert row["sd"] == pytest.approx(gap.std(ddof=1), rel=1e-12)
            assert row["probability"] == (gap > 0).mean()
            bounds = [row["eti50_lb"], row["eti50_ub"]]
            assert bounds == pytest.approx(np.quantile(gap, [0.25, 0.75]), rel=1e-12)
            assert row["mcse_mean"] == pytest.approx(float(arviz_stats.mcse(gap, method="mean")))


def test_the_probabilitys_error_is_that_of_a_share() -> None:
    tree = fitted_tree(n_clusters=2, n_features=1, seed=6)
    slope = tree["posterior"]["slope"].values
    rng = np.random.default_rng(1)
    slope[:] = rng.normal(size=slope.shape)
    row = contrasts(tree, ("slope",)).iloc[0]
    # A thousand independent draws; the estimate of the error has an error of its own.
    p = row["probability"]
    assert row["mcse_probability"] == pytest.approx(np.sqrt(p * (1 - p) / 1000), rel=0.2)
    slope[:, :, 0, 0] += 100
    assert contrasts(tree, ("slope",)).iloc[0][["probability", "mcse_probability"]].tolist() == [
        1,
        0,
    ]


def test_what_clusters_share_has_no_error(tree: xr.DataTree) -> None:
    shared = tree.copy(deep=True)
    sigma = shared["posterior"]["sigma"].values
    sigma[:] = sigma[:, :, :1]
    table = contrasts(shared, ("sigma",))
    assert (table["mean"] == 0).all()
    assert table[["mcse_mean", "mcse_probability", "r_hat"]].isna().all(axis=None)


def test_one_cluster_has_no_contrasts() -> None:
    assert contrasts(fitted_tree(n_clusters=1)).empty


def test_refusals(tree: xr.DataTree) -> None:
    with pytest.raises(SpecError, match="contrasts takes any of"):
        contrasts(tree, ("correlation",))
    with pytest.raises(SpecError, match="interval"):
        contrasts(tree, interval=1.5)
    with pytest.raises(SpecError, match="no R²"):
        r_squared(fitted_tree(response=False))
    raw = tree["posterior"].to_dataset().rename(cluster="component")
    with pytest.raises(SchemaError, match="Identify the draws first"):
        contrasts(xr.DataTree.from_dict({"posterior": raw}))


@pytest.mark.parametrize(
    "options",
    [
        {"predictors": ["x2", "outside"]},
        {"predictors": ["x1", "x2"]},
        {"predictors": ["outside"]},
        {"features": False, "predictors": ["p", "q"]},
    ],
    ids=str,
)
def test_parts_of_the_variance_are_those_of_simulated_responses(options: dict) -> None:
    tree = fitted_tree(n_clusters=3, n_features=2, seed=9, **options)
    found = r_squared(tree)
    spec, rows = fitted_spec(tree), observed_rows(tree, fitted_spec(tree))
    draws = posterior_parameters(tree)
    rng, n = np.random.default_rng(5), 300_000
    for chain, draw in ((0, 3), (2, 100)):
        own = draws.take(chain * 250 + draw)
        z = rng.choice(3, n, p=own.weight)
        columns = {}
        if spec.features:
            noise = rng.normal(size=(n, len(spec.features)))
            x = own.mean[z] + np.einsum("nij,nj->ni", own.cholesky[z], noise)
            columns = dict(zip(spec.features, x.T, strict=True))
        picked = rng.integers(len(rows.y), size=n)
        u = np.stack(
            [columns.get(name, rows.u[picked, i]) for i, name in enumerate(spec.predictors)], axis=1
        )
        line = own.intercept[z] + (own.slope[z] * u).sum(1)
        y = line + own.sigma[z] * rng.normal(size=n)
        parts = {"between": 0.0, "within": 0.0}
        for k in range(3):
            at = z == k
            parts["between"] += at.mean() * (y[at].mean() - y.mean()) ** 2
            parts["within"] += at.mean() * line[at].var()
            inside = line[at].var() / (line[at].var() + own.sigma[k] ** 2)
            value = float(found["cluster_r2"][chain, draw, k])
            # Variances of 60,000 values and more: a relative error of 4 √(2/60,000) = 0.023.
            assert value == pytest.approx(inside, abs=0.025)
        for name, part in parts.items():
            assert float(found[name][chain, draw]) == pytest.approx(part / y.var(), abs=0.025)


def test_bayesian_r2_by_hand(tree: xr.DataTree) -> None:
    found = r_squared(tree)
    spec, rows = fitted_spec(tree), observed_rows(tree, fitted_spec(tree))
    assert spec.response == "y"
    draws = posterior_parameters(tree)
    for chain, draw in ((0, 0), (3, 249)):
        own = draws.take(chain * 250 + draw)
        centers, variances = [], []
        for x, u in zip(rows.x, rows.u, strict=True):
            log = np.log(own.weight).copy()
            for k in range(3):
                covariance = own.cholesky[k] @ own.cholesky[k].T
                gap = x - own.mean[k]
                log[k] -= 0.5 * gap @ np.linalg.solve(covariance, gap)
                log[k] -= 0.5 * np.linalg.slogdet(covariance)[1]
            p = np.exp(log - log.max())
            p /= p.sum()
            line = own.intercept + own.slope @ u
            centers.append(p @ line)
            variances.append(p @ own.sigma**2 + p @ (line - p @ line) ** 2)
        by_hand = np.var(centers) / (np.var(centers) + np.mean(variances))
        assert float(found["bayesian_r2"][chain, draw]) == pytest.approx(by_hand, rel=1e-9)
    # Offsets of the response change no share.
    moved = tree.copy(deep=True)
    moved["posterior"]["intercept"].values[:] += 1e7
    moved["observed_data"]["y"].values[:] += 1e7
    for name, value in r_squared(moved).data_vars.items():
        np.testing.assert_allclose(value, found[name], rtol=0, atol=1e-6)
