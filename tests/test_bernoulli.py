"""A yes-or-no response: against SciPy, R's glm and flexmix, brute force, and its own words."""

import dataclasses
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import xarray as xr
from conftest import more
from scipy import stats
from test_kernel import assert_gradient, prior_of, target_of

import jointmix as jm
from jointmix.base.errors import DataError, SpecError
from jointmix.families.parameters import Parameters
from jointmix.families.rows import Rows
from jointmix.kernel.pit_crps import pit_crps
from jointmix.kernel.predictive import predictive
from jointmix.model.dataset import Dataset, make_dataset
from jointmix.model.serialised import spec_from_dict, spec_to_dict
from jointmix.model.settings import SamplerSpec
from jointmix.model.spec import ModelSpec
from jointmix.modes.em import fit_em
from jointmix.sampling import Target

pytestmark = pytest.mark.kernel

BASE = ModelSpec(
    n_clusters=3, features=("a", "b"), predictors=("a", "p"), response="y", offset="o",
    family="bernoulli",
)  # fmt: skip
SPECS: dict[str, ModelSpec] = {
    "logit": BASE,
    "probit": dataclasses.replace(BASE, link="probit"),
    "own scale": dataclasses.replace(BASE, standardize=False, offset=None),
    "probit, one cluster": dataclasses.replace(BASE, n_clusters=1, link="probit", offset=None),
    "no predictors": dataclasses.replace(BASE, predictors=()),
    "no intercept": dataclasses.replace(BASE, intercept=False, features=()),
}


def law_of(spec: ModelSpec) -> stats.rv_continuous:
    return stats.norm if spec.link == "probit" else stats.logistic


def scipy_rows(at: Target, q: np.ndarray) -> np.ndarray:
    """Log densities of the rows, by SciPy."""
    draw, spec, values = at.parameters(q), at.spec, at.dataset.values
    named = dict(zip(spec.columns, values.T, strict=True))
    scaled = (
        {name: (c - c.mean()) / c.std() for name, c in named.items()} if spec.standardize else named
    )
    law, y = law_of(spec), named["y"]
    shift = named["o"] if spec.offset else np.zeros(len(y))
    if spec.standardize:
        shift = shift - shift.mean() + law.ppf((y.sum() + 0.5) / (len(y) + 1))
    terms = []
    for k in range(spec.n_clusters):
        term = np.full(len(values), np.log(draw["weight"][k]))
        if spec.features:
            x = np.stack([scaled[name] for name in spec.features], axis=1)
            covariance = draw["correlation"][k] * np.outer(draw["sd"][k], draw["sd"][k])
            term += stats.multivariate_normal.logpdf(x, draw["mean"][k], covariance)
        line = (
            draw["intercept"][k]
            + shift
            + sum(draw["slope"][k][j] * scaled[name] for j, name in enumerate(spec.predictors))
        )
        terms.append(term + np.where(y > 0, law.logcdf(line), law.logsf(line)))
    return np.asarray(np.logaddexp.reduce(terms, axis=0))


@pytest.mark.parametrize("name", SPECS)
def test_density_equals_scipy_and_gradient_differences(name: str) -> None:
    spec = SPECS[name]
    rng = np.random.default_rng(3)
    values = rng.normal(size=(70, len(spec.columns)))
    values[:, -1] = rng.random(70) < 0.4
    at = target_of(Dataset(spec, values, np.arange(70), 70, {}, ""), None)
    for scale in (0.3, 0.3, 3.0):
        q = scale * rng.normal(size=at.dim)
        value, _ = at.log_density(q)
        expected = scipy_rows(at, q).sum() + prior_of(at, q)[0]
        np.testing.assert_allclose(value, expected, rtol=1e-12)
        ways = rng.normal(size=(4, at.dim)) / scale
        assert_gradient(at, q, ways, size=1 + abs(value))


@pytest.mark.parametrize("link", ["logit", "probit"])
def test_far_lines_keep_all_digits(link: str) -> None:
    spec = ModelSpec(
        n_clusters=1, predictors=("p",), response="y", family="bernoulli", link=link,
        standardize=False,
    )  # fmt: skip
    for b in (-30.0, -7.9, -8.1, -3.0, 0.0, 5.0, 30.0):
        values = np.array([[0.0, 1.0]])
        at = target_of(Dataset(spec, values, np.arange(1), 1, {}, ""), None)
        q = np.array([b / 2.5, 0.0])
        value, gradient = at.log_density(q)
        of_prior, slope = prior_of(at, q)
        law = law_of(spec)
        assert value - of_prior == pytest.approx(law.logcdf(b), rel=1e-12, abs=1e-13)
        pull = 2.5 * np.exp(law.logpdf(b) - law.logcdf(b))
        assert gradient[0] - slope[0] == pytest.approx(pull, rel=1e-10, abs=1e-12)


@pytest.mark.parametrize("link", ["logit", "probit"])
def test_predictions_scores_and_quantiles(link: str) -> None:
    spec = ModelSpec(n_clusters=2, predictors=("u",), response="y", family="bernoulli", link=link)
    rng = np.random.default_rng(5)
    parameters = Parameters(
        weight=rng.dirichlet((3, 3), 4), intercept=rng.normal(size=(4, 2)),
        slope=rng.normal(size=(4, 2, 1)),
    )  # fmt: skip
    u, y = np.array([[-2.0], [0.1], [3.0]]), np.array([1.0, 0.0, 1.0])
    rows = Rows(np.zeros((3, 0)), u, y, offset=np.zeros(3))
    line = parameters.intercept + parameters.slope[..., 0] * u[:, None]
    p = (parameters.weight * law_of(spec).cdf(line)).sum((1, 2)) / 4
    total, _, quantile = predictive(rows, parameters, spec.blocks, np.array([0.05, 0.5, 0.95]))
    np.testing.assert_allclose(total[:, 0], p, rtol=1e-12)
    np.testing.assert_allclose(total[:, 1:4].sum(1), p * (1 - p), rtol=1e-12)
    assert quantile.tolist() == [[float(1 - q < level) for level in (0.05, 0.5, 0.95)] for q in p]
    log_weight = np.log(np.repeat(parameters.weight[:, None], 3, axis=1))
    pit, crps = pit_crps(rows, log_weight, parameters, spec.blocks[-1])
    # The score of two values is Brier's.
    np.testing.assert_allclose(crps, (p - y) ** 2, rtol=1e-10)
    low, high = np.where(y > 0, 1 - p, 0.0), np.where(y > 0, 1.0, 1 - p)
    assert ((low <= pit) & (pit <= high)).all()


def choices() -> pd.DataFrame:
    """The table of which the golden numbers are."""
    rng = np.random.default_rng(2028)
    z, u, v = np.arange(400) % 2, rng.uniform(-2, 2, 400), rng.normal(size=400)
    line = np.where(z == 0, -1.0 + 2.0 * u, 1.5 - 1.5 * u + v)
    table = pd.DataFrame({"u": u, "v": v, "y": rng.random(400) < 1 / (1 + np.exp(-line))})
    assert int(table["y"].sum()) == 210
    return table.assign(y=table["y"].astype(int))


def model(k: int, **options: object) -> ModelSpec:
    given = {"predictors": ["u", "v"], "response": "y", "family": "bernoulli"}
    return ModelSpec(n_clusters=k, **(given | options))


#: R 4.2.2: log likelihood, and coefficients, of glm(y ~ u + v, binomial(link)).
GLM = {
    "logit": (-268.626593082644149, [0.118390580340166, 0.262603097106147, 0.269909732798405]),
    "probit": (-268.602541666837681, [0.074732881086997, 0.163801177216118, 0.168496579571306]),
}


@pytest.mark.parametrize("link", GLM)
def test_one_cluster_of_em_is_the_glm_of_r(link: str) -> None:
    level, coefficients = GLM[link]
    best = fit_em(choices(), model(1, link=link)).best
    assert best.log_likelihood == pytest.approx(level, abs=1e-8)
    found = [best.parameters.intercept[0], *best.parameters.slope[0]]
    # EM ends where little is left to gain, which is the square of what is left to go.
    assert found == pytest.approx(coefficients, abs=1e-5)


def test_em_finds_what_flexmix_finds() -> None:
    # R 4.2.2, flexmix 2.3.18: the best of 30 starts of FLXMRglm(family = "binomial").
    assert fit_em(choices(), model(2)).best.log_likelihood >= -265.325300344215 - 0.01


@pytest.fixture(scope="module")
def fitted() -> xr.DataTree:
    sampler = SamplerSpec(chains=2, draws=1000, tune=500)
    rng = np.random.default_rng(9)
    table = choices()
    # Features that tell the clusters apart.
    table["x"] = rng.normal(4.0 * (np.arange(400) % 2), 1.0)
    spec = model(2, features=["x"], sampler=sampler)
    return jm.fit(table, spec, seed=5, progress=False)


def test_the_posterior_holds_the_truth_and_speaks_of_odds(
    fitted: xr.DataTree, tmp_path: Path
) -> None:
    posterior = fitted["posterior"].to_dataset()
    order = posterior["mean"].mean(("chain", "draw"))[:, 0].argsort().values
    slope = posterior["slope"].isel(cluster=order)
    truth = np.array([[2.0, 0.0], [-1.5, 1.0]])
    away = np.abs(slope.mean(("chain", "draw")) - truth) / slope.std(("chain", "draw"))
    # Four parameters of one table: a distance of four has a chance of 1e-4 each.
    assert (away < 4).all()
    jm.report(fitted, tmp_path / "choices.md")
    page = (tmp_path / "choices.md").read_text(encoding="utf-8")
    assert "y is 1 with probability" in page
    assert "its odds are multiplied by" in page
    assert "odds ratio" in page
    assert "Not computed, because" not in page.partition("## Cross-check")[0]
    new = pd.DataFrame({"u": [0.0], "v": [0.0], "x": [0.0]})
    found = jm.predict(fitted, new)
    assert 0 < float(found["mean"][0]) < 1
    assert not found["multimodal"].any()
    assert np.isfinite(jm.loo(fitted).pointwise["crps"]).all()
    assert set(np.unique(jm.replicate(fitted, draws=5)["posterior_predictive"]["y"])) == {0.0, 1.0}


def test_separation_inside_a_cluster_is_named() -> None:
    rng = np.random.default_rng(1)
    z = np.arange(120) % 2
    u = rng.uniform(-2, 2, 120)
    y = np.where(z == 0, u > 0.3, rng.random(120) < 0.5).astype(float)
    table = {"x": rng.normal(8.0 * z, 1.0), "u": u, "y": y}
    spec = ModelSpec(
        n_clusters=2, features=["x"], predictors=["u"], response="y", family="bernoulli"
    )
    best = fit_em(table, spec).best
    assert np.isfinite(best.log_likelihood)
    rows = make_dataset(table, spec).users_rows
    issue = spec.blocks[-1].checks.mode_issue(rows, z)
    assert issue is not None
    assert issue.code == "complete_separation"
    assert "In 1 of EM's 2 clusters (60 rows)" in issue.message
    assert spec.blocks[-1].checks.mode_issue(rows, np.zeros(120, dtype=int)) is None


@pytest.mark.parametrize(
    ("y", "said"),
    [
        ([1, 2, 0, 1, 0, 0], "neither 0 nor 1 in 1 rows, such as 2"),
        ([1, 1, 1, 1, 1, 1], "is 1 in all 6 rows"),
    ],
)
def test_what_is_no_yes_or_no_is_named(y: list[float], said: str) -> None:
    table = {"u": [0.0, 1, 2, 4, 3, 7], "v": [1.0, 5, 2, 0, 3, 3], "y": y}
    with pytest.raises(DataError, match=said):
        make_dataset(table, model(1))


def test_what_a_specification_may_not_say() -> None:
    with pytest.raises(SpecError, match="one link only"):
        ModelSpec(n_clusters=2, response="y", family="poisson", link="log")
    with pytest.raises(SpecError, match="logit"):
        model(2, link="cauchit")
    spec = model(2, link="probit")
    assert spec_from_dict(spec_to_dict(spec)) == spec
    assert "link" not in spec_to_dict(model(2))["model"]


@pytest.mark.slow
@pytest.mark.parametrize("link", [pytest.param("logit", marks=more), "probit"])
@pytest.mark.usefixtures("little_compiled")
def test_its_implementations_agree(link: str) -> None:
    spec = model(2, link=link)
    certificate = jm.crosscheck(choices(), spec, points=20, posterior=False, seed=2)
    assert certificate.passed, certificate.findings
    assert {"kernel", "PyMC on JAX", "NumPyro enumerated"} <= set(certificate.implementations)
