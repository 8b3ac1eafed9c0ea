"""A Poisson response: against SciPy, R's glm and flexmix, brute-force sums, and its own words."""

import dataclasses
import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import xarray as xr
from scipy import stats
from scipy.special import gammaincc
from test_kernel import assert_gradient, prior_of, target_of

import jointmix as jm
from jointmix.base.errors import DataError, SpecError
from jointmix.families.compiling import jit
from jointmix.families.incomplete_gamma import upper_gamma
from jointmix.families.mixture import component_log_density, log_likelihood
from jointmix.families.parameters import Parameters
from jointmix.families.priors.priors import Fixed, HalfNormal, Normal, Priors
from jointmix.families.rows import Rows
from jointmix.kernel.pit_crps import pit_crps
from jointmix.kernel.predictive import density_at, predictive
from jointmix.model.dataset import Dataset, make_dataset
from jointmix.model.serialised import spec_from_dict, spec_to_dict
from jointmix.model.settings import SamplerSpec
from jointmix.model.spec import ModelSpec
from jointmix.modes.em import fit_em
from jointmix.sampling import Target
from jointmix.validation.calibration.replicates import true_arrays

pytestmark = pytest.mark.kernel

BASE = ModelSpec(
    n_clusters=3, features=("a", "b"), predictors=("a", "p"), response="y", offset="o",
    family="poisson",
)  # fmt: skip
SPECS: dict[str, ModelSpec] = {
    "offset": BASE,
    "no offset": dataclasses.replace(BASE, offset=None),
    "own scale": dataclasses.replace(BASE, standardize=False),
    "own scale, no offset": dataclasses.replace(BASE, standardize=False, offset=None),
    "one cluster": dataclasses.replace(BASE, n_clusters=1),
    "no features": dataclasses.replace(BASE, features=()),
    "no predictors": dataclasses.replace(BASE, predictors=(), offset=None),
    "no intercept": dataclasses.replace(BASE, intercept=False),
    "fixed slopes": dataclasses.replace(BASE, priors=Priors(slope=Fixed(value=[0.2, -0.1]))),
}


def dataset_of(spec: ModelSpec, n: int = 70) -> Dataset:
    rng = np.random.default_rng(3)
    values = rng.normal(size=(n, len(spec.columns)))
    values[:, -1] = rng.poisson(4.0, n) + 20 * (rng.random(n) < 0.1)
    return Dataset(spec, values, np.arange(n), n, {}, "")


def scipy_rows(at: Target, q: np.ndarray) -> np.ndarray:
    """Log densities of the rows, by SciPy, in the columns' own units but for the features'."""
    draw, spec, values = at.parameters(q), at.spec, at.dataset.values
    named = dict(zip(spec.columns, values.T, strict=True))
    scaled = (
        {name: (c - c.mean()) / c.std() for name, c in named.items()} if spec.standardize else named
    )
    exposure = np.exp(named["o"]) if spec.offset else np.ones(len(values))
    rate = named["y"].sum() / exposure.sum() if spec.standardize else 1.0
    terms = []
    for k in range(spec.n_clusters):
        term = np.full(len(values), np.log(draw["weight"][k]))
        if spec.features:
            x = np.stack([scaled[name] for name in spec.features], axis=1)
            covariance = draw["correlation"][k] * np.outer(draw["sd"][k], draw["sd"][k])
            term += stats.multivariate_normal.logpdf(x, draw["mean"][k], covariance)
        line = draw["intercept"][k] + sum(
            draw["slope"][k][j] * scaled[name] for j, name in enumerate(spec.predictors)
        )
        terms.append(term + stats.poisson.logpmf(named["y"], rate * exposure * np.exp(line)))
    return np.asarray(np.logaddexp.reduce(terms, axis=0))


@pytest.mark.parametrize("name", SPECS)
def test_density_equals_scipy_and_gradient_differences(name: str) -> None:
    at = target_of(dataset_of(SPECS[name]), None)
    for q in 0.3 * np.random.default_rng(1).normal(size=(3, at.dim)):
        value, _ = at.log_density(q)
        expected = scipy_rows(at, q).sum() + prior_of(at, q)[0]
        np.testing.assert_allclose(value, expected, rtol=1e-12)
        ways = np.random.default_rng(2).normal(size=(4, at.dim))
        assert_gradient(at, q, ways)


def test_rates_that_overflow_leave_the_density_finite() -> None:
    at = target_of(dataset_of(SPECS["one cluster"]), None)
    q = np.zeros(at.dim)
    q[2] = 400.0
    value, gradient = at.log_density(q)
    assert value < -1e200
    assert np.isfinite(gradient).all()


@jit(inner=False)
def called(a: float, x: float) -> float:
    """The compiled function as Python can call it."""
    return upper_gamma(a, x)


def test_the_incomplete_gamma_function_is_scipys() -> None:
    for a in (0.3, 1.0, 7.0, 150.0, 9_999.0, 1e4, 3e5, 1e9):
        for z in (-9.0, -3.0, -0.5, 0.0, 0.1, 2.0, 6.0):
            x = max(a + z * np.sqrt(a), 0.0)
            # SciPy's own error is a few 1e-14 of a in the exponent.
            assert called(a, x) == pytest.approx(gammaincc(a, x), abs=2e-12 + 1e-16 * a)


def draws() -> tuple[Rows, Parameters, ModelSpec]:
    """Three rows, and parameters of four draws of two clusters that differ by more than a tenth."""
    spec = ModelSpec(
        n_clusters=2, features=("x",), predictors=("u",), response="y", family="poisson", offset="o"
    )
    rng = np.random.default_rng(8)
    parameters = Parameters(
        weight=rng.dirichlet((3, 3), 4),
        mean=rng.normal(size=(4, 2, 1)),
        cholesky=rng.uniform(0.5, 1.5, (4, 2, 1, 1)),
        intercept=np.array([[0.2, 2.0], [0.4, 2.2], [-0.1, 1.8], [0.0, 2.4]]),
        slope=0.3 * rng.normal(size=(4, 2, 1)),
    )
    y = np.array([0.0, 3.0, 25.0])
    offset = np.array([0.0, -0.5, 1.0])
    x, u = rng.normal(size=(3, 1)), rng.normal(size=(3, 1))
    return Rows(x, u, y, offset=offset), parameters, spec


def mixture(rows: Rows, parameters: Parameters) -> tuple[np.ndarray, np.ndarray]:
    """Weights and rates of the parts, (row, draw, cluster)."""
    gap = rows.x[:, None, None, 0] - parameters.mean[..., 0]
    sd = parameters.cholesky[..., 0, 0]
    share = parameters.weight * stats.norm.pdf(gap, 0, sd)
    share /= share.sum(-1, keepdims=True)
    line = parameters.intercept + parameters.slope[..., 0] * rows.u[:, None, None, 0]
    return share / len(parameters.weight), np.exp(line + rows.offset[:, None, None])


def test_predictions_are_those_of_the_mixture() -> None:
    rows, parameters, spec = draws()
    level = np.array([1e-6, 0.05, 0.31, 0.5, 0.9, 0.999, 1 - 1e-9])
    total, share, quantile = predictive(rows, parameters, spec.blocks, level)
    weight, rate = mixture(rows, parameters)
    mean = (weight * rate).sum((1, 2))
    np.testing.assert_allclose(total[:, 0], mean, rtol=1e-12)
    # Of a Poisson mixture the variance is the mean rate plus the rates' own.
    variance = mean + (weight * rate**2).sum((1, 2)) - mean**2
    np.testing.assert_allclose(total[:, 1:4].sum(1), variance, rtol=1e-11)
    np.testing.assert_allclose(share[..., 0], weight.sum(1), rtol=1e-12)
    for row in range(3):
        below = (weight[row] * stats.poisson.cdf(np.arange(500)[:, None, None], rate[row])).sum(
            (1, 2)
        )
        assert quantile[row].tolist() == np.searchsorted(below, level).tolist()
    at = np.array([0.0, 1.0, 7.0])
    given = np.moveaxis(weight, 0, -1)
    found = density_at(at, given, rows, parameters, spec.blocks[-1])
    mass = stats.poisson.pmf(at[:, None, None, None], rate)
    np.testing.assert_allclose(found, (weight * mass).sum((2, 3)).T, rtol=1e-11)


def test_pit_lies_between_the_chances_and_the_crps_is_the_sum() -> None:
    rows, parameters, spec = draws()
    weight, rate = mixture(rows, parameters)
    log_weight = np.log(np.swapaxes(weight, 0, 1))
    pit, crps = pit_crps(rows, log_weight, parameters, spec.blocks[-1])
    j = np.arange(600)
    for row, y in enumerate(rows.y):
        below = (weight[row] * stats.poisson.cdf(j[:, None, None], rate[row])).sum((1, 2))
        low = 0.0 if y == 0 else below[int(y) - 1]
        assert low < pit[row] < below[int(y)]
        # Parts that lie close are gathered into one, within a tenth of their spread.
        assert crps[row] == pytest.approx(((below - (j >= y)) ** 2).sum(), rel=2e-3)


def test_the_crps_of_large_counts_is_that_of_the_normal_limit() -> None:
    spec = ModelSpec(n_clusters=1, response="y", family="poisson")
    parameters = Parameters(
        weight=np.ones((1, 1)), intercept=np.full((1, 1), np.log(4e6)), slope=np.zeros((1, 1, 0))
    )
    y = 4e6 + 2e3 * np.array([-2.0, 0.0, 1.0])
    rows = Rows(np.zeros((3, 0)), np.zeros((3, 0)), y, offset=np.zeros(3))
    pit, crps = pit_crps(rows, np.zeros((1, 3, 1)), parameters, spec.blocks[-1])
    z = (y - 4e6) / 2e3
    expected = z * (2 * stats.norm.cdf(z) - 1) + 2 * stats.norm.pdf(z) - 1 / np.sqrt(np.pi)
    # Skewness of 1 / 2000.
    assert np.allclose(crps / 2e3, expected, atol=1e-3)
    assert np.allclose(pit, stats.norm.cdf(z), atol=1e-3)


def counts() -> pd.DataFrame:
    """The table of which the golden numbers are."""
    rng = np.random.default_rng(2027)
    z, u, hours = np.arange(200) % 2, rng.uniform(-2, 2, 200), rng.integers(1, 9, 200)
    y = rng.poisson(hours * np.exp(np.where(z == 0, 0.2 + 0.7 * u, 1.5 - 0.4 * u)))
    table = pd.DataFrame({"u": u, "log_hours": np.log(hours), "y": y})
    assert table["y"].sum() == 3141
    assert table["u"].sum() == pytest.approx(-9.229053, abs=1e-6)
    return table


def model(k: int, **options: object) -> ModelSpec:
    given = {"predictors": ["u"], "response": "y", "offset": "log_hours", "family": "poisson"}
    return ModelSpec(n_clusters=k, **(given | options))


def test_one_cluster_of_em_is_the_glm_of_r() -> None:
    # R 4.2.2: glm(y ~ u + offset(log_hours), poisson).
    best = fit_em(counts(), model(1)).best
    assert best.log_likelihood == pytest.approx(-1280.326138962770983, abs=1e-8)
    found = [best.parameters.intercept[0], best.parameters.slope[0, 0]]
    assert found == pytest.approx([1.244664558215090, -0.122867680331071], abs=1e-7)


def test_em_finds_what_flexmix_finds() -> None:
    # R 4.2.2, flexmix 2.3.18: the best of 30 starts of FLXMRglm(family = "poisson", offset =).
    best = fit_em(counts(), model(2)).best
    assert best.log_likelihood == pytest.approx(-579.882175248633, abs=2e-3)
    order = np.argsort(best.parameters.intercept)
    assert np.allclose(best.parameters.intercept[order], [0.2268384, 1.5276687], atol=2e-3)
    assert np.allclose(best.parameters.slope[order, 0], [0.7039211, -0.3727269], atol=2e-3)


def test_the_unit_of_exposure_moves_the_intercept_alone() -> None:
    table = counts()
    minutes = table.assign(log_hours=table["log_hours"] + np.log(60))
    one, other = (fit_em(each, model(2), seed=3).best for each in (table, minutes))
    assert one.log_likelihood == pytest.approx(other.log_likelihood, abs=1e-6)
    assert np.allclose(one.parameters.intercept - np.log(60), other.parameters.intercept, atol=1e-6)
    assert np.allclose(one.parameters.slope, other.parameters.slope, atol=1e-6)


def test_em_bears_a_cluster_of_zeros() -> None:
    rng = np.random.default_rng(4)
    x = np.repeat([0.0, 8.0], 40) + rng.normal(size=80)
    table = {"x": x, "u": rng.normal(size=80), "y": np.where(x > 4, rng.poisson(5.0, 80), 0)}
    spec = ModelSpec(n_clusters=2, features=["x"], predictors=["u"], response="y", family="poisson")
    best = fit_em(table, spec).best
    rows = make_dataset(table, spec).users_rows
    level = log_likelihood(component_log_density(spec.blocks, rows, best.parameters)).sum()
    assert np.isfinite(level)
    assert best.parameters.weight == pytest.approx([0.5, 0.5], abs=0.02)


@pytest.fixture(scope="module")
def fitted() -> xr.DataTree:
    wide = Priors(intercept=Normal(scale=100.0), slope=Normal(scale=100.0))
    sampler = SamplerSpec(chains=2, draws=2000, tune=500)
    return jm.fit(counts(), model(1, priors=wide, sampler=sampler), seed=5, progress=False)


def test_the_posterior_under_wide_priors_is_that_of_the_glm(fitted: xr.DataTree) -> None:
    posterior = fitted["posterior"].to_dataset()
    b = posterior["intercept"].values.ravel()
    slope = posterior["slope"].values.ravel()
    # Five Monte Carlo errors of 4,000 draws, and the skewness of a posterior of 3,141 counts.
    assert b.mean() == pytest.approx(1.24466456, abs=0.002)
    assert slope.mean() == pytest.approx(-0.12286768, abs=0.0015)
    assert b.var() == pytest.approx(3.26806777e-4, rel=0.12)
    assert slope.var() == pytest.approx(2.23298879e-4, rel=0.12)


def test_contrasts_are_ratios_too() -> None:
    rng = np.random.default_rng(3)
    posterior = xr.Dataset(
        {
            "weight": (("chain", "draw", "cluster"), rng.dirichlet((5, 5), (2, 50))),
            "intercept": (("chain", "draw", "cluster"), rng.normal(size=(2, 50, 2))),
            "slope": (("chain", "draw", "cluster", "predictor"), rng.normal(size=(2, 50, 2, 1))),
        },
        coords={"chain": [0, 1], "draw": range(50), "cluster": [1, 2], "predictor": ["u"]},
    )
    tree = xr.DataTree.from_dict({"posterior": posterior})
    tree.attrs["spec"] = json.dumps(spec_to_dict(model(2)))
    found = jm.contrasts(tree).loc["slope[cluster 1 − cluster 2, u]"]
    gap = posterior["slope"][..., 0].values
    ratio = np.exp(gap[..., 0] - gap[..., 1])
    assert found["ratio"] == pytest.approx(ratio.mean())
    assert found["ratio_eti89_lb"] == pytest.approx(np.exp(found["eti89_lb"]), rel=0.05)
    assert np.isnan(jm.contrasts(tree, ["weight"])["ratio"]).all()


def test_predictions_of_new_rows_need_the_offset(fitted: xr.DataTree) -> None:
    rows = pd.DataFrame({"u": [0.0, 1.0], "log_hours": np.log([1.0, 10.0])})
    found = jm.predict(fitted, rows, quantiles=(0.05, 0.5, 0.95))
    posterior = fitted["posterior"].to_dataset().stack(s=("chain", "draw"))
    rate = np.exp(
        posterior["intercept"].values[0][:, None]
        + posterior["slope"].values.reshape(-1)[:, None] * rows["u"].values
        + rows["log_hours"].values
    )
    assert found["mean"].values == pytest.approx(rate.mean(0), rel=1e-9)
    assert found["sd"].values ** 2 == pytest.approx(rate.mean(0) + rate.var(0), rel=1e-9)
    assert (found["quantiles"] == np.round(found["quantiles"])).all()
    with pytest.raises(DataError, match="log_hours"):
        jm.predict(fitted, rows[["u"]])


def test_what_a_fit_says_is_in_rates(fitted: xr.DataTree, tmp_path: Path) -> None:
    jm.report(fitted, tmp_path / "counts.md")
    page = (tmp_path / "counts.md").read_text(encoding="utf-8")
    assert "the expected y per unit of exposure is" in page
    assert "it is multiplied by" in page
    assert "rate ratio" in page
    assert "noise σ" not in page
    computed = page.partition("## Cross-check")[0].replace("because there is one cluster only", "")
    assert "Not computed, because" not in computed
    r2 = jm.r_squared(fitted)
    # One cluster: what it explains is what the model explains.
    assert np.allclose(r2["cluster_r2"][..., 0], r2["bayesian_r2"], rtol=1e-9)
    loo = jm.loo(fitted)
    assert np.isfinite(loo.pointwise["crps"]).all()
    drawn = jm.replicate(fitted, draws=20)["posterior_predictive"]["y"].values
    assert (drawn == np.round(drawn)).all()
    assert drawn.min() >= 0


@pytest.mark.parametrize(
    ("y", "said"),
    [
        ([1, 2, -1, 4, 0, 3], "negative in 1 rows, down to -1"),
        ([1, 2.5, 0, 4, 0, 3], "no whole number in 1 rows, such as 2.5"),
        ([0, 0, 0, 0, 0, 0], "0 in all 6 rows"),
        ([0, 1e17, 0, 0, 0, 0], "reaches 1e\\+17"),
    ],
)
def test_what_no_count_is_is_named(y: list[float], said: str) -> None:
    table = {"u": [0.0, 1, 2, 4, 3, 7], "y": y}
    with pytest.raises(DataError, match=said):
        make_dataset(table, model(1, offset=None))


def test_columns_that_are_absent_are_named() -> None:
    table = {"u": [0.1, 0.7, -0.3, 0.4], "y": [1, 0, 2, 3], "log_hours": [0.0, 0.1, 0.2, 0.3]}
    for gone in table:
        rest = {name: values for name, values in table.items() if name != gone}
        with pytest.raises(DataError, match=f"no column '{gone}'"):
            make_dataset(rest, model(1))


def test_exposures_in_place_of_their_logarithms_are_named() -> None:
    table = {"u": [0.0, 1, 2, 4, 3, 7], "y": [1, 2, 3, 4, 5, 6], "log_hours": [100.0] * 6}
    with pytest.raises(DataError, match="give its logarithm"):
        make_dataset(table, model(1))
    table["log_hours"] = [2.0] * 6
    assert make_dataset(table, model(1)).rows.offset is not None


def test_what_a_specification_may_not_say() -> None:
    with pytest.raises(SpecError, match="no noise besides its own spread"):
        model(2, noise="shared")
    with pytest.raises(SpecError, match="has no sigma"):
        model(2, priors=Priors(sigma=HalfNormal()))
    with pytest.raises(SpecError, match="whose family has a link"):
        model(2, family="normal")
    with pytest.raises(SpecError, match="also have another role"):
        model(2, offset="u")
    with pytest.raises(SpecError, match="ordering must be"):
        model(2, ordering="sigma")
    spec = model(2)
    assert spec_from_dict(spec_to_dict(spec)) == spec
    assert "sigma" not in spec_to_dict(spec)["priors"]


def test_densities_are_probabilities_of_whole_numbers(fitted: xr.DataTree) -> None:
    rows = pd.DataFrame({"u": [0.5], "log_hours": [0.7]})
    grid = jm.predictive_density(fitted, rows, 400)
    assert (grid["point"] == np.round(grid["point"])).all()
    # From 0.05% to 99.95%, and a tenth of that farther.
    assert float(grid.sum()) == pytest.approx(1.0, abs=1e-3)
    with pytest.raises(SpecError, match="whole numbers for a poisson response"):
        jm.predictive_density(fitted, rows, [1.5])


@pytest.mark.parametrize("family", ["poisson", "bernoulli"])
def test_calibration_draws_parameters_of_a_table_that_the_family_can_have(family: str) -> None:
    spec = ModelSpec(n_clusters=2, predictors=["u"], response="y", offset="o", family=family)
    drawn = true_arrays(spec, 0, 1)
    assert {"weight", "intercept", "slope"} <= drawn.keys()
    assert np.isfinite(drawn["slope"]).all()


@pytest.mark.slow
@pytest.mark.usefixtures("little_compiled")
def test_its_implementations_agree() -> None:
    certificate = jm.crosscheck(counts(), model(2), points=20, posterior=False, seed=2)
    assert certificate.passed, certificate.findings
    assert {"kernel", "PyMC on JAX", "NumPyro enumerated"} <= set(certificate.implementations)
