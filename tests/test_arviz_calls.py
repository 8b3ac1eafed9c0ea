"""A fit goes through ArviZ's default calls, without names of variables."""

import pickle
import warnings
from pathlib import Path

import arviz as az
import matplotlib as mpl
import numpy as np
import pandas as pd
import pytest
import xarray as xr
from scipy import stats
from scipy.special import logsumexp

import jointmix as jm
from jointmix.base.errors import SpecError
from jointmix.model.spec import SamplerSpec

mpl.use("Agg")


@pytest.fixture(scope="module")
def table() -> pd.DataFrame:
    rng = np.random.default_rng(41)
    z = np.repeat([0, 1], [50, 40])
    a = np.where(z == 0, 20.0, 31.0) + rng.normal(0, 2, 90)
    b = 0.4 * a + rng.normal(0, 0.8, 90)
    return pd.DataFrame({"a": a, "b": b, "y": np.where(z == 0, 3 * a, 150 - 2 * b)
                         + rng.normal(0, 3, 90)})  # fmt: skip


@pytest.fixture(scope="module", params=[1, 2], ids=["one cluster", "two clusters"])
def tree(request: pytest.FixtureRequest, table: pd.DataFrame) -> xr.DataTree:
    spec = jm.ModelSpec(
        n_clusters=request.param, features=("a", "b"), predictors=("a", "b"), response="y",
        sampler=SamplerSpec(sampler="nutpie", chains=2, draws=150, tune=150),
    )  # fmt: skip
    return jm.fit(table, spec, seed=3)


def by_hand(tree: xr.DataTree, table: pd.DataFrame) -> dict[str, np.ndarray]:
    """Log densities (chain, draw, obs), from SciPy."""
    posterior = tree["posterior"].to_dataset()
    x, y = table[["a", "b"]].to_numpy(), table["y"].to_numpy()
    shape = (posterior.sizes["chain"], posterior.sizes["draw"], len(y))
    feature, joint = np.empty(shape), np.empty(shape)
    for chain, draw in np.ndindex(shape[:2]):
        at = posterior.isel(chain=chain, draw=draw)
        terms = []
        for k in range(at.sizes["cluster"]):
            own = at.isel(cluster=k)
            sd = own["sd"].values
            law = stats.multivariate_normal(
                own["mean"].values, own["correlation"].values * np.outer(sd, sd)
            )
            line = float(own["intercept"]) + x @ own["slope"].values
            of_x = np.log(float(own["weight"])) + law.logpdf(x)
            terms.append((of_x, of_x + stats.norm.logpdf(y, line, float(own["sigma"]))))
        feature[chain, draw], joint[chain, draw] = logsumexp(np.array(terms), axis=0)
    return {"joint": joint, "feature": feature, "conditional": joint - feature}


def test_log_likelihoods_are_computed_where_they_are_read(
    tree: xr.DataTree, table: pd.DataFrame
) -> None:
    expected = by_hand(tree, table)
    for density, values in expected.items():
        given = jm.with_log_likelihood(tree, density)["log_likelihood"]
        assert list(given.data_vars) == [density]
        assert not given[density].variable._in_memory
        # Rounding of densities of the order of 10.
        np.testing.assert_allclose(given[density], values, rtol=0, atol=1e-10)
    lazy = tree["log_likelihood"]["joint"]
    assert not lazy.variable._in_memory
    some = lazy.isel(chain=1, draw=slice(5, 90, 7), obs=[3, 60])
    np.testing.assert_allclose(some, expected["joint"][1, 5:90:7][:, [3, 60]], rtol=0, atol=1e-10)
    thinned = tree.isel(draw=slice(None, None, 10))["log_likelihood"]["joint"]
    np.testing.assert_allclose(thinned, expected["joint"][:, ::10], rtol=0, atol=1e-10)
    np.testing.assert_array_equal(pickle.loads(pickle.dumps(lazy)), lazy)


def test_unknown_densities_are_refused(tree: xr.DataTree, table: pd.DataFrame) -> None:
    with pytest.raises(SpecError, match="density must be one of joint, feature, conditional"):
        jm.with_log_likelihood(tree, "all")
    alone = jm.ModelSpec(
        n_clusters=1, features=("a",), sampler=SamplerSpec(sampler="laplace", draws=20)
    )
    with pytest.raises(SpecError, match="no conditional density"):
        jm.with_log_likelihood(jm.fit(table, alone, seed=1), "conditional")


def test_they_are_not_stored(tree: xr.DataTree, tmp_path: Path) -> None:
    for name in ("fit.nc", "fit.zarr"):
        jm.save(tree, tmp_path / name)
        loaded = jm.load(tmp_path / name)
        np.testing.assert_array_equal(
            loaded["log_likelihood"]["joint"], tree["log_likelihood"]["joint"]
        )
    plain = jm.save(tree.drop_nodes("log_likelihood"), tmp_path / "plain.nc")
    assert plain.stat().st_size == (tmp_path / "fit.nc").stat().st_size


def test_loo_is_arvizs(tree: xr.DataTree) -> None:
    own = jm.loo(tree).elpd_data()
    assert az.loo(tree, reff=1.0).elpd == pytest.approx(own.elpd, abs=1e-6)
    # By default ArviZ makes tails longer where draws are correlated.
    assert az.loo(tree).elpd == pytest.approx(own.elpd, abs=0.3)


def test_compare(tree: xr.DataTree, table: pd.DataFrame) -> None:
    spec = jm.ModelSpec(n_clusters=1, features=("a", "b"), predictors=("a",), response="y",
                        sampler=SamplerSpec(chains=2, draws=150, tune=150))  # fmt: skip
    found = az.compare({"given": tree, "without": jm.fit(table, spec, seed=3)})
    assert found.index[0] == "given"


def test_correlations_of_a_feature_with_itself_are_one(tree: xr.DataTree) -> None:
    for group in ("posterior", "modes"):
        own = np.einsum("...ii->...i", tree[group]["correlation"].values)
        assert (own == 1).all()


@pytest.mark.parametrize(
    "plot",
    ["plot_dist", "plot_trace_dist", "plot_trace", "plot_forest", "plot_rank", "plot_rank_dist",
     "plot_autocorr", "plot_ess", "plot_mcse", "plot_energy"],
)  # fmt: skip
def test_plots(plot: str, tree: xr.DataTree) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        found = getattr(az, plot)(tree)
    assert found.viz is not None
    mpl.pyplot.close("all")


def test_pairs(tree: xr.DataTree) -> None:
    """Of all variables there are hundreds of pairs: those of two, for each cluster."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        found = az.plot_pair(tree, var_names=["weight", "sigma"])
    assert found.viz is not None
    mpl.pyplot.close("all")


@pytest.mark.parametrize("plot", ["plot_ppc_dist", "plot_ppc_pit"])
def test_predictive_plots(plot: str, tree: xr.DataTree) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        found = getattr(az, plot)(jm.replicate(tree, draws=30))
    assert found.viz is not None
    mpl.pyplot.close("all")


def test_summary_and_diagnostics(tree: xr.DataTree) -> None:
    found = az.summary(tree)
    assert {"weight[1]", "slope[1, a]", "correlation[1, a, b]"} <= set(found.index)
