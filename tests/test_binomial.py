"""Successes of trials: against SciPy, R's glm and flexmix, brute force, and their own words."""

import dataclasses
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import xarray as xr
from conftest import more
from scipy import stats
from test_bernoulli import law_of
from test_kernel import assert_gradient, prior_of, target_of
from test_straight import mode

import jointmix as jm
from jointmix.base.errors import DataError, SpecError
from jointmix.families.parameters import Parameters
from jointmix.families.rows import Rows
from jointmix.fitting.recipe import read_recipe
from jointmix.kernel.pit_crps import pit_crps
from jointmix.kernel.predictive import density_at, predictive
from jointmix.model.dataset import Dataset, make_dataset
from jointmix.model.serialised import spec_from_dict, spec_to_dict
from jointmix.model.settings import SamplerSpec
from jointmix.model.spec import ModelSpec
from jointmix.modes.em import fit_em
from jointmix.modes.straight import StraightCoordinates
from jointmix.sampling import Target

pytestmark = pytest.mark.kernel

BASE = ModelSpec(
    n_clusters=3, features=("a", "b"), predictors=("a", "p"), response="y", offset="o", trials="n",
    family="binomial",
)  # fmt: skip
SPECS: dict[str, ModelSpec] = {
    "logit": BASE,
    "probit": dataclasses.replace(BASE, link="probit"),
    "own scale": dataclasses.replace(BASE, standardize=False, offset=None),
    "probit, one cluster": dataclasses.replace(BASE, n_clusters=1, link="probit", offset=None),
    "no predictors": dataclasses.replace(BASE, predictors=()),
    "no intercept": dataclasses.replace(BASE, intercept=False, features=()),
}


def scipy_rows(at: Target, q: np.ndarray) -> np.ndarray:
    """Log densities of the rows, by SciPy."""
    draw, spec, values = at.parameters(q), at.spec, at.dataset.values
    named = dict(zip(spec.columns, values.T, strict=True))
    scaled = (
        {name: (c - c.mean()) / c.std() for name, c in named.items()} if spec.standardize else named
    )
    law, y, n = law_of(spec), named["y"], named["n"]
    shift = named["o"] if spec.offset else np.zeros(len(y))
    if spec.standardize:
        shift = shift - shift.mean() + law.ppf((y.sum() + 0.5) / (n.sum() + 1))
    terms = []
    for k in range(spec.n_clusters):
        term = np.full(len(values), np.log(draw["weight"][k]))
        if spec.features:
            x = np.stack([scaled[name] for name in spec.features], axis=1)
            covariance = draw["correlation"][k] * np.outer(draw["sd"][k], draw["sd"][k])
            term += stats.multivariate_normal.logpdf(x, draw["mean"][k], covariance)
        line = shift + draw["intercept"][k]
        for j, name in enumerate(spec.predictors):
            line = line + draw["slope"][k][j] * scaled[name]
        # SciPy's log of the number of ways, and both chances in their own tails.
        ways = stats.binom.logpmf(y, n, 0.5) + n * np.log(2)
        terms.append(term + ways + y * law.logcdf(line) + (n - y) * law.logsf(line))
    return np.asarray(np.logaddexp.reduce(terms, axis=0))


@pytest.mark.parametrize("name", SPECS)
def test_density_equals_scipy_and_gradient_differences(name: str) -> None:
    spec = SPECS[name]
    rng = np.random.default_rng(3)
    values = rng.normal(size=(70, len(spec.columns)))
    values[:, -2] = rng.integers(1, 30, 70)
    values[:, -1] = rng.binomial(values[:, -2].astype(int), 0.4)
    values[:2, -1] = 0.0, values[1, -2]
    at = target_of(Dataset(spec, values, np.arange(70), 70, {}, ""), None)
    for scale in (0.3, 0.3, 3.0):
        q = scale * rng.normal(size=at.dim)
        value, _ = at.log_density(q)
        expected = scipy_rows(at, q).sum() + prior_of(at, q)[0]
        np.testing.assert_allclose(value, expected, rtol=1e-12)
        ways = rng.normal(size=(4, at.dim)) / scale
        assert_gradient(at, q, ways, h=2e-5, size=1 + abs(value))


@pytest.mark.parametrize("link", ["logit", "probit"])
def test_one_trial_is_a_bernoulli_response(link: str) -> None:
    rng = np.random.default_rng(4)
    u, y = rng.normal(size=40), rng.integers(0, 2, 40).astype(float)
    given = {"n_clusters": 2, "predictors": ("u",), "response": "y", "link": link}
    one = ModelSpec(**given, family="bernoulli")
    other = ModelSpec(**given, family="binomial", trials="n")
    bare, full = np.column_stack([u, y]), np.column_stack([u, np.ones(40), y])
    found = [
        target_of(Dataset(spec, values, np.arange(40), 40, {}, ""), None)
        for spec, values in ((one, bare), (other, full))
    ]
    q = rng.normal(size=found[0].dim)
    (level, slope), (same, again) = (at.log_density(q) for at in found)
    assert level == pytest.approx(same, rel=1e-14)
    np.testing.assert_allclose(slope, again, rtol=1e-13)


@pytest.mark.parametrize("link", ["logit", "probit"])
def test_predictions_scores_and_quantiles(link: str) -> None:
    spec = ModelSpec(
        n_clusters=2, predictors=("u",), response="y", family="binomial", trials="n", link=link
    )
    rng = np.random.default_rng(5)
    parameters = Parameters(
        weight=rng.dirichlet((3, 3), 4), intercept=rng.normal(size=(4, 2)),
        slope=rng.normal(size=(4, 2, 1)),
    )  # fmt: skip
    u, y, n = (
        np.array([[-2.0], [0.1], [3.0]]),
        np.array([1.0, 0.0, 400.0]),
        np.array([1, 12, 700.0]),
    )
    rows = Rows(np.zeros((3, 0)), u, y, offset=np.zeros(3), trials=n)
    p = law_of(spec).cdf(parameters.intercept + parameters.slope[..., 0] * u[:, None])
    weight, mean = parameters.weight / 4, n[:, None, None] * p
    level = np.array([1e-6, 0.05, 0.31, 0.5, 0.95, 1 - 1e-9])
    total, _, quantile = predictive(rows, parameters, spec.blocks, level)
    center = (weight * mean).sum((1, 2))
    np.testing.assert_allclose(total[:, 0], center, rtol=1e-12)
    variance = (weight * (mean * (1 - p) + mean**2)).sum((1, 2)) - center**2
    np.testing.assert_allclose(total[:, 1:4].sum(1), variance, rtol=1e-11)
    law, j = stats.binom(n[:, None, None], p), np.arange(701)
    below = (weight * law.cdf(j[:, None, None, None])).sum((2, 3))
    for row in range(3):
        assert quantile[row].tolist() == np.searchsorted(below[:, row], level).tolist()
    at = np.array([0.0, 1.0, 7.0, 12.0])
    share = np.repeat(parameters.weight[..., None], 3, axis=2) / 4
    found = density_at(at, share, rows, parameters, spec.blocks[-1])
    mass = (weight * law.pmf(at[:, None, None, None])).sum((2, 3)).T
    np.testing.assert_allclose(found, mass, rtol=1e-10, atol=1e-300)
    log_weight = np.log(np.repeat(parameters.weight[:, None], 3, axis=1))
    pit, crps = pit_crps(rows, log_weight, parameters, spec.blocks[-1])
    for row, count in enumerate(y):
        low = 0.0 if count == 0 else below[int(count) - 1, row]
        assert low <= pit[row] <= below[int(count), row]
        # Parts that lie close are gathered into one, within a tenth of their spread.
        expected = ((below[:, row] - (j >= count)) ** 2)[: int(n[row])].sum()
        assert crps[row] == pytest.approx(expected, rel=2e-3)


def successes() -> pd.DataFrame:
    """The table of which the golden numbers are."""
    rng = np.random.default_rng(2029)
    z, u, n = np.arange(200) % 2, rng.uniform(-2, 2, 200), rng.integers(1, 21, 200)
    line = np.where(z == 0, -1.0 + 1.2 * u, 1.0 - 0.8 * u)
    table = pd.DataFrame({"u": u, "n": n, "y": rng.binomial(n, 1 / (1 + np.exp(-line)))})
    assert table["y"].sum() == 1046
    assert table["n"].sum() == 2148
    return table


def model(k: int, **options: object) -> ModelSpec:
    given = {"predictors": ["u"], "response": "y", "trials": "n", "family": "binomial"}
    return ModelSpec(n_clusters=k, **(given | options))


#: R 4.2.2: log likelihood, and coefficients, of glm(cbind(y, n - y) ~ u, binomial(link)).
GLM = {
    "logit": (-684.498778205128, [-0.058167206182, 0.166200961291]),
    "probit": (-684.512913114773, [-0.036207730276, 0.103822185141]),
}


@pytest.mark.parametrize("link", GLM)
def test_one_cluster_of_em_is_the_glm_of_r(link: str) -> None:
    level, coefficients = GLM[link]
    best = fit_em(successes(), model(1, link=link)).best
    assert best.log_likelihood == pytest.approx(level, abs=1e-8)
    found = [best.parameters.intercept[0], best.parameters.slope[0, 0]]
    # EM ends where little is left to gain, which is the square of what is left to go.
    assert found == pytest.approx(coefficients, abs=1e-5)


def test_em_finds_what_flexmix_finds() -> None:
    # R 4.2.2, flexmix 2.3.18: initFlexmix(cbind(y, n - y) ~ u, k = 2, nrep = 30) gives
    # -410.6425313582, and nlm from there -410.6424914849 with these coefficients.
    best = fit_em(successes(), model(2)).best
    assert best.log_likelihood >= -410.6425313582 - 1e-3
    order = np.argsort(best.parameters.intercept)
    assert np.allclose(best.parameters.intercept[order], [-0.9954086, 0.7949653], atol=5e-3)
    assert np.allclose(best.parameters.slope[order, 0], [1.3192104, -0.7097790], atol=5e-3)


def test_straight_coordinates_go_there_and_back() -> None:
    data = make_dataset(successes(), model(2))
    at = mode(data)
    chart = StraightCoordinates(data.spec, at)
    straight = 0.1 * np.random.default_rng(2).normal(size=(20, len(at)))
    values, log_volume = chart.values(straight)
    np.testing.assert_allclose(chart.coordinates(values), straight, rtol=0, atol=1e-12)
    slopes, _ = chart.slopes(straight[0])
    # Differences over 1e-5 of functions of the order of one leave some 1e-10.
    assert np.linalg.slogdet(slopes)[1] == pytest.approx(log_volume[0], abs=1e-7)


@pytest.fixture(scope="module")
def fitted() -> xr.DataTree:
    sampler = SamplerSpec(chains=2, draws=1000, tune=500)
    return jm.fit(successes(), model(2, sampler=sampler), seed=5, progress=False)


def test_the_posterior_holds_the_truth_and_speaks_of_odds(
    fitted: xr.DataTree, tmp_path: Path
) -> None:
    posterior = fitted["posterior"].to_dataset()
    order = posterior["intercept"].mean(("chain", "draw")).argsort().values
    slope = posterior["slope"].isel(cluster=order)[..., 0]
    away = np.abs(slope.mean(("chain", "draw")) - [1.2, -0.8]) / slope.std(("chain", "draw"))
    # Two parameters of one table: a distance of four has a chance of 1e-4 each.
    assert (away < 4).all()
    jm.report(fitted, tmp_path / "successes.md")
    page = (tmp_path / "successes.md").read_text(encoding="utf-8")
    assert "each trial of y succeeds with probability" in page
    assert "its odds are multiplied by" in page
    assert "odds ratio" in page
    assert "The response counts successes in n trials, column n" in page
    assert "y / n along each predictor" in page
    assert "| n | trials |" in page
    assert "Not computed, because" not in page.partition("## Cross-check")[0]
    assert np.isfinite(jm.loo(fitted).pointwise["crps"]).all()
    drawn = jm.replicate(fitted, draws=20)["posterior_predictive"]["y"].values
    assert (drawn == np.round(drawn)).all()
    assert (drawn <= successes()["n"].to_numpy()).all()
    assert drawn.min() >= 0


def test_a_saved_fit_predicts_the_same_and_needs_the_trials(
    fitted: xr.DataTree, tmp_path: Path
) -> None:
    jm.save(fitted, tmp_path / "fit.nc")
    again = jm.load(tmp_path / "fit.nc")
    rows = pd.DataFrame({"u": [0.0, 1.0], "n": [1, 50]})
    one, other = (jm.predict(tree, rows, quantiles=(0.05, 0.5, 0.95)) for tree in (fitted, again))
    xr.testing.assert_identical(one, other)
    posterior = fitted["posterior"].to_dataset().stack(s=("chain", "draw"))
    line = posterior["intercept"].values[..., None] + (
        posterior["slope"].transpose("cluster", "predictor", "s").values[:, 0, :, None]
        * rows["u"].values
    )
    chance = (posterior["weight"].values[..., None] / (1 + np.exp(-line))).sum(0).mean(0)
    assert one["mean"].values == pytest.approx(rows["n"].values * chance, rel=1e-9)
    assert (one["quantiles"] <= rows["n"].values[:, None]).all()
    with pytest.raises(DataError, match="no column 'n'"):
        jm.predict(fitted, rows[["u"]])
    for n, said in (
        ([0, 3], "trials column 'n' is below 1 in 1 rows, such as 0"),
        ([2, -3], "is below 1 in 1 rows, such as -3"),
        ([2.5, 3], "trials column 'n' is no whole number in 1 rows, such as 2.5"),
        ([np.nan, 3], "missing"),
    ):
        with pytest.raises(DataError, match=said):
            jm.predict(fitted, rows.assign(n=n))
    with pytest.raises(DataError, match="more than its trials"):
        jm.log_density(fitted, rows.assign(y=[2, 3]))
    # One new row may well be all successes.
    assert np.isfinite(jm.log_density(fitted, rows[:1].assign(y=1))["joint"]).all()
    grid = jm.predictive_density(fitted, rows[1:], np.arange(51.0))
    assert float(grid.sum()) == pytest.approx(1.0, abs=1e-10)


def test_separation_inside_a_cluster_is_named() -> None:
    rng = np.random.default_rng(1)
    z, n = np.arange(120) % 2, rng.integers(1, 5, 120)
    u = rng.uniform(-2, 2, 120)
    y = np.where(z == 0, np.where(u > 0.3, n, 0), rng.binomial(n, 0.5)).astype(float)
    table = {"x": rng.normal(8.0 * z, 1.0), "u": u, "y": y, "n": n}
    spec = model(2, features=["x"])
    rows = make_dataset(table, spec).users_rows
    issue = spec.blocks[-1].checks.mode_issue(rows, z)
    assert issue is not None
    assert "In 1 of EM's 2 clusters (60 rows)" in issue.message
    assert "rows of successes only in 'y' from rows of failures only" in issue.message
    # One row of both in the middle, and nothing is separated.
    y[np.flatnonzero((z == 0) & (n > 1))[0]] = 1
    rows = make_dataset(table | {"y": y}, spec).users_rows
    assert spec.blocks[-1].checks.mode_issue(rows, z) is None


@pytest.mark.parametrize(
    ("y", "n", "said"),
    [
        ([1, 2, 0, 1, 0, 0], [2, 1, 3, 1, 1, 1], "more than its trials, column 'n', in 1 rows"),
        ([1, -2, 0, 1, 0, 0], [2, 1, 3, 1, 1, 1], "'y' is below 0 in 1 rows, such as -2"),
        ([1, 0.5, 0, 1, 0, 0], [2, 1, 3, 1, 1, 1], "'y' is no whole number in 1 rows, such as 0.5"),
        ([0, 0, 0, 0, 0, 0], [2, 1, 3, 1, 1, 1], "is 0 in all 6 rows"),
        ([2, 1, 3, 1, 1, 1], [2, 1, 3, 1, 1, 1], "is all of its trials in all 6 rows"),
        ([1, 0, 0, 1, 0, 0], [2, 0, 3, 1, 1, 1], "trials column 'n' is below 1 in 1 rows"),
        ([1, 0, 0, 1, 0, 0], [2, 1.5, 3, 1, 1, 1], "trials column 'n' is no whole number"),
        ([1, 0, 0, 1, 0, 0], [2, 1e17, 3, 1, 1, 1], "too large for whole numbers"),
    ],
)
def test_what_no_successes_of_trials_are_is_named(y: list, n: list, said: str) -> None:
    table = {"u": [0.0, 1, 2, 4, 3, 7], "y": y, "n": n}
    with pytest.raises(DataError, match=said):
        make_dataset(table, model(1))


def test_equal_trials_are_no_constant_column() -> None:
    table = {"u": [0.0, 1, 2, 4, 3, 7], "y": [0, 1, 2, 1, 1, 0], "n": [5] * 6}
    rows = make_dataset(table, model(1)).rows
    assert rows.trials is not None
    assert rows.trials.tolist() == [5.0] * 6


def test_what_a_specification_may_not_say(tmp_path: Path) -> None:
    for options, said in (
        ({"trials": None}, "column of how many trials a binomial response had; got trials=None"),
        ({"family": "bernoulli"}, "got trials='n' and family='bernoulli'"),
        ({"trials": "u"}, "trials 'u' cannot also have another role"),
        ({"trials": "y"}, "trials 'y' cannot also have another role"),
        ({"offset": "n"}, "'n' cannot also have another role"),
        ({"trials": ["n"]}, "trials must be one column name"),
        ({"link": "log"}, "logit"),
    ):
        with pytest.raises(SpecError, match=said):
            model(2, **options)
    with pytest.raises(SpecError, match="trials"):
        ModelSpec(n_clusters=1, features=["x"], trials="n")
    spec = model(2, link="probit")
    assert spec_from_dict(spec_to_dict(spec)) == spec
    assert "trials" not in spec_to_dict(ModelSpec(n_clusters=1, features=["x"]))["data"]
    successes().to_csv(tmp_path / "table.csv", index=False)
    (tmp_path / "spec.toml").write_text(
        '[data]\npath = "table.csv"\npredictors = ["u"]\nresponse = "y"\ntrials = "n"\n'
        '[model]\nclusters = 2\nfamily = "binomial"\nlink = "probit"\n',
        encoding="utf-8",
    )
    assert read_recipe(tmp_path / "spec.toml").spec == spec


@pytest.mark.slow
@pytest.mark.parametrize("link", [pytest.param("logit", marks=more), "probit"])
@pytest.mark.usefixtures("little_compiled")
def test_its_implementations_agree(link: str) -> None:
    certificate = jm.crosscheck(
        successes(), model(2, link=link), points=20, posterior=False, seed=2
    )
    assert certificate.passed, certificate.findings
    assert {"kernel", "PyMC on JAX", "NumPyro enumerated"} <= set(certificate.implementations)


@pytest.mark.parametrize("trials", [10**6, 10**9])
def test_quantiles_of_many_trials_are_exact(trials: int) -> None:
    """The least number of which SciPy's distribution function of the mixture reaches it."""
    rng = np.random.default_rng(8)
    parameters = Parameters(
        weight=rng.dirichlet((3, 3), 30), intercept=rng.normal([-0.5, -0.2], 1e-3, (30, 2)),
        slope=np.zeros((30, 2, 0)),
    )  # fmt: skip
    rows = Rows(
        np.zeros((1, 0)), np.zeros((1, 0)), np.zeros(1), offset=np.zeros(1),
        trials=np.array([float(trials)]),
    )  # fmt: skip
    level = np.array([1e-6, 0.05, 0.31, 0.5, 0.95, 1 - 1e-6])
    _, _, quantile = predictive(rows, parameters, model(2, predictors=[]).blocks, level)
    law = stats.binom(trials, 1 / (1 + np.exp(-parameters.intercept)))
    for target, found in zip(level, quantile[0], strict=True):
        below = [(parameters.weight / 30 * law.cdf(found + j)).sum() for j in (-1, 0)]
        # One more success of 10⁹ trials adds some 1e-6 of a probability; rounding adds 1e-11.
        assert below[0] - 1e-11 < target < below[1] + 1e-11
