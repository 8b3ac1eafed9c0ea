"""Priors that the rows contradict are named; what rows alone decide raises no alarm."""

import numpy as np
import pandas as pd
import pytest
import xarray as xr
from conftest import how_many
from scipy import stats

import jointmix as jm
from jointmix.checks import conflict
from jointmix.checks.finding import Finding
from jointmix.families.priors.words import chance_below, standard_interval
from jointmix.posterior.stated import stated

QUICK = jm.SamplerSpec(sampler="laplace", draws=400, chains=2, starts=5)


def students(n: int = 300) -> pd.DataFrame:
    """Marks that hours explain by half: the noise has a standard deviation of 6."""
    rng = np.random.default_rng(4)
    hours = rng.normal(10, 3, n)
    return pd.DataFrame({"hours": hours, "score": 40 + 2.2 * hours + rng.normal(0, 6, n)})


def fitted(table: pd.DataFrame, **options: object) -> xr.DataTree:
    usual = {"n_clusters": 1, "predictors": ["hours"], "response": "score", "sampler": QUICK}
    return jm.fit(table, jm.ModelSpec(**(usual | options)), progress=False)  # type: ignore[arg-type]


def judged(tree: xr.DataTree) -> tuple[Finding, Finding]:
    pulled, contradicted = conflict.check(tree)
    assert (pulled.subject, contradicted.subject) == ("pulled", "stated")
    return pulled, contradicted


@pytest.mark.parametrize(
    "prior",
    [
        jm.Normal(loc=0.5, scale=2.0),
        jm.StudentT(df=3, loc=-1.0, scale=0.5),
        jm.InverseGamma(),
        jm.HalfNormal(scale=2.0),
        jm.HalfStudentT(df=3, scale=0.5),
        jm.LogNormal(),
        jm.Gamma(shape=2, rate=4),
    ],
)
def test_ninety_per_cent_of_a_prior_lie_in_its_interval(prior: object) -> None:
    low, high = standard_interval(prior, 1, 1)  # type: ignore[arg-type, misc]
    below, above = chance_below(prior, high)
    assert above == pytest.approx(0.05, rel=1e-6)
    below, above = chance_below(prior, low)
    # No value is too small where the density is highest at zero.
    assert below == pytest.approx(1.0 if "half" in prior.family else 0.05, rel=1e-6)  # type: ignore[attr-defined]


def test_a_stated_prior_that_is_far_off_is_named_with_what_to_try() -> None:
    table = students()
    unit = float(table["score"].std(ddof=0))
    priors = jm.Priors(sigma=jm.LogNormal(loc=float(np.log(1.5 / unit)), scale=0.45))
    tree = fitted(table, priors=priors)
    _, finding = judged(tree)
    assert finding.status == "caution"
    low, high = (1.5 * np.exp(sign * 0.45 * stats.norm.ppf(0.95)) for sign in (-1, 1))
    mean = float(tree["posterior"]["sigma"].mean())
    assert (
        f"sigma of 'score', 90% between {low:.3g} and {high:.3g} by its prior, whose "
        f"posterior mean is {mean:.3g}" in finding.message
    )
    assert "Priors(sigma=LogNormal(loc=" in finding.remedy
    assert finding.value > finding.threshold
    assert tree.attrs["verdict"] != "OK"
    codes = tree["checks"]["code"].values[tree["checks"]["status"].values == "caution"]
    assert "prior conflict" in codes


def test_the_default_prior_that_hardly_moves_a_scale_is_named_without_alarm() -> None:
    pulled, contradicted = judged(fitted(students()))
    assert (pulled.status, contradicted.status) == ("ok", "ok")
    assert "hardly moves it: sigma of 'score', 90% between 0.5" in pulled.message
    assert pulled.value < 1


def test_the_advised_prior_ends_it() -> None:
    table = students()
    priors = jm.Priors(slope=jm.Normal(scale=0.05))
    pulled, _ = judged(fitted(table, priors=priors))
    assert pulled.status == "caution"
    assert "slope of 'hours'" in pulled.message
    advised = pulled.remedy.partition("Priors(slope=")[2].partition("))")[0] + ")"
    name, _, numbers = advised.partition("(")
    assert name == "Normal"
    values = dict(part.split("=") for part in numbers.rstrip(")").split(", "))
    reaching = jm.Normal(**{key: float(value) for key, value in values.items()})
    pulled, contradicted = judged(fitted(table, priors=jm.Priors(slope=reaching)))
    assert (pulled.status, contradicted.status) == ("ok", "ok")


def test_default_priors_on_the_columns_own_scale_are_stated() -> None:
    table = students() * [1.0, 1000.0]
    pulled, contradicted = judged(fitted(table, standardize=False))
    assert "caution" in (pulled.status, contradicted.status)
    assert "the columns' own scale" in pulled.remedy + contradicted.remedy


def test_a_prior_moves_a_mean_as_far_as_algebra_says() -> None:
    """One mean of known variance: N(m0, s0²) and n rows leave |m − m0| s² / s0² to first order."""
    rng = np.random.default_rng(1)
    table = pd.DataFrame({"x": rng.normal(3.0, 1.0, 40)})
    priors = jm.Priors(mean=jm.Normal(scale=0.4), covariance=jm.Fixed(value=1.0))
    spec = jm.ModelSpec(
        n_clusters=1, features=["x"], covariance="fixed", standardize=False, priors=priors,
        sampler=jm.SamplerSpec(draws=2000, tune=300, chains=2),
    )  # fmt: skip
    (found,) = stated(jm.fit(table, spec, progress=False))
    variance = 1 / (40 + 1 / 0.4**2)
    mean = variance * table["x"].sum()
    # A covariance of 4,000 draws is known to 3% or so.
    assert found.mean == pytest.approx(mean, abs=0.02)
    assert found.shift == pytest.approx(mean * variance / 0.4**2, rel=0.1)
    assert found.pull == pytest.approx(mean * np.sqrt(variance) / 0.4**2, rel=0.1)
    assert found.tail == pytest.approx(2 * stats.norm.sf(found.mean / 0.4), rel=1e-9)
    assert found.interval == pytest.approx((-0.6579, 0.6579), abs=1e-4)


def without_signal(rng: np.random.Generator, n: int) -> pd.DataFrame:
    x = rng.normal(size=(n, 2)) + 5 * rng.integers(2, size=n)[:, None]
    return pd.DataFrame(x, columns=["a", "b"]).assign(y=rng.normal(size=n))


def tight(rng: np.random.Generator, n: int, apart: float = 10.0) -> pd.DataFrame:
    z = rng.integers(2, size=n)
    x = rng.normal(size=(n, 2)) + apart * z[:, None]
    y = (0.5 + z) * x[:, 0] + rng.normal(size=n)
    return pd.DataFrame(x, columns=["a", "b"]).assign(y=y)


def overlapping(rng: np.random.Generator, n: int) -> pd.DataFrame:
    return tight(rng, n, 3.0)


@pytest.mark.slow
def test_clean_fits_raise_one_alarm_in_a_hundred_at_most() -> None:
    alarms, n = [], how_many(30, 102)
    for seed in range(n):
        rng = np.random.default_rng([17, seed])
        make = (without_signal, tight, overlapping)[seed % 3]
        table = make(rng, int(rng.choice([50, 100, 200, 500])))
        spec = jm.ModelSpec(
            n_clusters=2, features=["a", "b"], predictors=["a", "b"], response="y", sampler=QUICK
        )
        found = conflict.check(jm.fit(table, spec, seed=seed, progress=False))
        alarms += [(seed, len(table), each.message) for each in found if each.status != "ok"]
    assert len(alarms) <= n // 100, alarms
