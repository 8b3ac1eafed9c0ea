"""A family registered from outside the package: fitted, predicted, checked and reported whole."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import xarray as xr
from laplace.block import LaplaceResponse
from scipy.stats import laplace

import jointmix as jm
from jointmix import families
from jointmix.model.spec import SamplerSpec

SPEC = {
    "n_clusters": 2, "features": ("a",), "predictors": ("a",), "response": "y",
    "sampler": SamplerSpec(chains=2, draws=1000, tune=500),
}  # fmt: skip
SLOPE, SIGMA = np.array([2.0, -1.0]), np.array([0.4, 1.2])


@pytest.fixture(scope="module", autouse=True)
def registered() -> Iterator[None]:
    families.register(LaplaceResponse)
    yield
    del families._RESPONSES[LaplaceResponse.family]


@pytest.fixture(scope="module")
def table() -> pd.DataFrame:
    rng = np.random.default_rng(17)
    z = np.arange(240) % 2
    a = rng.normal(5.0 * z, 1.0)
    return pd.DataFrame({"a": a, "y": 1 + SLOPE[z] * a + rng.laplace(0, SIGMA[z])})


@pytest.fixture(scope="module")
def fitted(table: pd.DataFrame, registered: None) -> xr.DataTree:
    del registered
    return jm.fit(table, jm.ModelSpec(family="laplace", **SPEC), seed=4)


def by_mean(tree: xr.DataTree) -> xr.Dataset:
    posterior = tree["posterior"].to_dataset()
    return posterior.isel(cluster=posterior["mean"].mean(("chain", "draw"))[:, 0].argsort().values)


def test_its_posterior_holds_the_truth(fitted: xr.DataTree, table: pd.DataFrame) -> None:
    assert fitted.attrs["verdict"] == "OK"
    posterior = by_mean(fitted)
    for name, truth in (("slope", SLOPE[:, None]), ("sigma", SIGMA)):
        draws = posterior[name]
        away = np.abs(draws.mean(("chain", "draw")) - truth) / draws.std(("chain", "draw"))
        # Four parameters of one table: a distance of four has a chance of 1e-4 each.
        assert (away < 4).all()
    normal = jm.fit(table, jm.ModelSpec(**SPEC), seed=4)
    # log 2 + 1 and log(4πe) / 2 are the entropies of Laplace and normal noise of one variance.
    expected = len(table) * (np.log(4 * np.pi * np.e) / 2 - np.log(2) - 1)
    assert (
        expected / 4
        < jm.loo(fitted).elpd_data().elpd - jm.loo(normal).elpd_data().elpd
        < 4 * expected
    )


def test_its_predictions_are_those_of_the_mixture(fitted: xr.DataTree) -> None:
    rows = pd.DataFrame({"a": [-1.0, 2.4, 6.0]})
    found = jm.predict(fitted, rows, quantiles=(0.1, 0.9))
    posterior = fitted["posterior"].to_dataset().stack(draw_=("chain", "draw"))
    mean, sd = (posterior[name].transpose("draw_", "cluster", ...) for name in ("mean", "sd"))
    weight, sigma = (posterior[name].transpose("draw_", "cluster") for name in ("weight", "sigma"))
    b, slope = posterior["intercept"].transpose("draw_", "cluster"), posterior["slope"]
    for place, a in enumerate(rows["a"]):
        log_share = np.log(weight) - 0.5 * ((a - mean[..., 0]) / sd[..., 0]) ** 2
        share = np.exp(log_share - np.log(sd[..., 0]))
        share = (share / share.sum("cluster")).values
        line = (b + slope.transpose("draw_", "cluster", ...)[..., 0] * a).values
        assert found["mean"].values[place] == pytest.approx((share * line).sum(1).mean(), rel=1e-9)
        for at, level in zip(found["quantiles"].values[place], (0.1, 0.9), strict=True):
            below = (share * laplace.cdf(at, line, sigma.values)).sum(1).mean()
            assert below == pytest.approx(level, abs=1e-6)


@pytest.mark.slow
@pytest.mark.usefixtures("little_compiled")
def test_its_implementations_agree(table: pd.DataFrame) -> None:
    spec = jm.ModelSpec(family="laplace", **SPEC)
    certificate = jm.crosscheck(table, spec, points=40, posterior=False, seed=2)
    assert certificate.passed, certificate.findings
    assert {"kernel", "PyMC on JAX", "NumPyro enumerated"} <= set(certificate.implementations)


def test_its_report_says_what_it_is(fitted: xr.DataTree, tmp_path: Path) -> None:
    jm.report(fitted, tmp_path / "laplace.html")
    page = (tmp_path / "laplace.html").read_text(encoding="utf-8")
    assert "<mi>Laplace</mi>" in page
    assert "Mean absolute residual of the response about its line" in page
    assert "Not computed, because" not in page.partition('id="cross-check"')[0]
