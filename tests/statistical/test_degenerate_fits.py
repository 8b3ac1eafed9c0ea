"""Rounded, tied and noiseless tables: fits that end, do not collapse, and say what is wrong."""

from dataclasses import replace
from itertools import product

import numpy as np
import pandas as pd
import pytest
import xarray as xr
from conftest import more
from scipy import stats

from jointmix import (
    Gamma,
    HalfNormal,
    HalfStudentT,
    InverseGamma,
    LogNormal,
    ModelSpec,
    Priors,
    SamplerSpec,
    fit,
    four_clusters,
)
from jointmix.base.errors import SamplingError
from jointmix.checks import stored_diagnosis
from jointmix.model.simulate import simulate

pytestmark = pytest.mark.slow

#: Chance that one of all draws of a fit falls below the bound that is tested.
CHANCE = 1e-4
SAMPLER = SamplerSpec(draws=200, tune=300, starts=10)
PROPER = {
    "inverse_gamma": Priors(),
    "log_normal": Priors(sd=LogNormal(), sigma=LogNormal()),
}
IMPROPER = {
    "half_normal": Priors(sd=HalfNormal(), sigma=HalfNormal()),
    "half_t": Priors(sd=HalfStudentT(), sigma=HalfStudentT()),
    "gamma": Priors(sd=Gamma(), sigma=Gamma()),
    "gamma 0.5": Priors(sd=Gamma(shape=0.5), sigma=Gamma(shape=0.5)),
}
ROLES = {
    "features": {"features": ("duration", "waiting")},
    "regression": {"predictors": ("duration",), "response": "waiting"},
    "both": {"features": ("duration",), "predictors": ("duration",), "response": "waiting"},
}


def eruptions(kind: str, n: int = 272, seed: int = 21) -> pd.DataFrame:
    """Durations to a tenth or a whole minute, or coded 2, 3, 4; waiting to the minute."""
    rng = np.random.default_rng(seed)
    short = rng.random(n) < 0.36
    duration = np.where(short, rng.normal(2.0, 0.3, n), rng.normal(4.3, 0.4, n))
    waiting = np.where(short, rng.normal(54.5, 5.8, n), rng.normal(80.0, 6.0, n))
    # At night durations were typed as a word.
    duration = np.where(rng.random(n) < 0.15, np.where(short, 2.0, 4.0), duration)
    coded = np.select([duration < 2.8, duration < 3.9], [2.0, 3.0], 4.0)
    rounded = {"tenths": duration.round(1), "whole": duration.round(), "coded": coded}
    return pd.DataFrame({"duration": rounded[kind], "waiting": waiting.round()})


def least_scale(prior: object, n_rows: int, n_draws: int) -> float:
    """What a scale on the model's scale stays above in all draws but by a chance of 1e-4.

    Given the allocation and the means, a variance is inverse-gamma (a + n/2, b + SS/2), which is
    stochastically least for SS = 0 and n = N; the logarithm of an sd with a log-normal (m, s) prior
    is normal (m − n s², s²) there.
    """
    level = CHANCE / n_draws
    if isinstance(prior, InverseGamma):
        return float(
            np.sqrt(stats.invgamma.ppf(level, prior.shape + n_rows / 2, scale=prior.scale))
        )
    assert isinstance(prior, LogNormal)
    return float(np.exp(prior.loc - n_rows * prior.scale**2 + prior.scale * stats.norm.ppf(level)))


def check_bounded(tree: xr.DataTree, spec: ModelSpec) -> None:
    posterior = tree["posterior"].to_dataset()
    scale = dict(zip(spec.columns, tree["scaling"]["scale"].values, strict=True))
    free = {name: posterior["sd"].sel(feature=name) for name in spec.features}
    bounds = dict.fromkeys(free, spec.priors.sd)
    if spec.response is not None:
        free[spec.response], bounds[spec.response] = posterior["sigma"], spec.priors.sigma
    n = int(tree.attrs["n_obs"])
    for name, draws in free.items():
        bound = least_scale(bounds[name], n, draws.size * len(free))
        assert float(draws.min()) > bound * scale[name], name
    assert np.isfinite(tree["sample_stats"]["log_density"]).all()
    assert np.isfinite(tree["invariant"]["log_likelihood"]).all()


#: Every pair of kind, prior, number and roles: a quarter of their product.
PAIRED = [
    (kind, family, n_clusters, roles)
    for (i, kind), (j, family), (k, n_clusters), (m, roles) in product(
        *map(enumerate, (("tenths", "whole", "coded"), PROPER, (2, 4), ROLES))
    )
    if (i + j + k + m) % 2 == 0 and j == (i + m) // 2 % 2
]


@pytest.mark.parametrize(
    ("kind", "family", "n_clusters", "roles"),
    [pytest.param(*each, marks=[more] if i % 4 else []) for i, each in enumerate(PAIRED)],
)
def test_proper_priors_keep_scales_from_zero(
    kind: str, family: str, n_clusters: int, roles: str
) -> None:
    spec = ModelSpec(
        n_clusters=n_clusters,
        covariance="diagonal",
        priors=PROPER[family],
        sampler=SAMPLER,
        **ROLES[roles],
    )
    tree = fit(eruptions(kind), spec, seed=1)
    check_bounded(tree, spec)
    found = {each.code for each in stored_diagnosis(tree).concerns}
    assert not found & {"collapse", "improper"}
    disagreeing = [each for each in stored_diagnosis(tree).findings if each.code == "rhat"]
    if any(each.value > 1.05 for each in disagreeing):
        assert tree.attrs["verdict"] == "DO NOT USE"


@pytest.mark.parametrize(
    ("family", "n_clusters"),
    [
        pytest.param(family, k, marks=[more] if k == 4 else [])
        for family, k in zip(IMPROPER, (2, 4, 4, 2), strict=True)
    ],
)
def test_improper_posteriors_are_named(family: str, n_clusters: int) -> None:
    spec = ModelSpec(
        n_clusters=n_clusters,
        features=("duration", "waiting"),
        covariance="diagonal",
        priors=IMPROPER[family],
        sampler=SAMPLER,
    )
    tree = fit(eruptions("tenths"), spec, seed=1)
    concerns = stored_diagnosis(tree).concerns
    named = {each.subject for each in concerns if each.code == "improper"}
    assert named == {"duration", "waiting"}
    narrow = (tree["posterior"]["sd"] < 1e-6 * tree["scaling"]["scale"].values).any()
    if bool(narrow):
        assert tree.attrs["verdict"] == "DO NOT USE"
        assert any(each.code == "collapse" and each.status == "fail" for each in concerns)


@pytest.mark.parametrize(
    ("n", "n_features", "unit"), [(400, 2, 1e-6), (400, 5, 1.0), (1000, 2, 1e6), (1000, 5, 1.0)]
)
def test_four_clusters_without_noise(n: int, n_features: int, unit: float) -> None:
    truth = replace(four_clusters(4, n_features), sigma=np.zeros(4))
    table = simulate(truth, n, seed=5)
    table["y"] *= unit
    spec = ModelSpec(
        n_clusters=4,
        features=truth.features,
        predictors=truth.predictors,
        response="y",
        sampler=SAMPLER,
    )
    tree = fit(table, spec, seed=1)
    sigma = tree["posterior"]["sigma"]
    least = least_scale(spec.priors.sigma, n, sigma.size)
    assert float(sigma.min()) > least * float(table["y"].std(ddof=0))
    assert np.isfinite(tree["sample_stats"]["log_density"]).all()
    assert tree.attrs["verdict"] != "OK"
    (finding,) = (each for each in stored_diagnosis(tree).concerns if each.code == "prior scale")
    assert f"In clusters 1, 2, 3 and 4 ({n} rows) 'y' follows exactly from" in finding.message
    assert "is the prior's doing" in finding.message


@pytest.mark.parametrize(
    "family",
    ["gamma", pytest.param("half_normal", marks=more), pytest.param("half_t", marks=more)],
)
def test_noiseless_clusters_under_priors_that_do_not_vanish(family: str) -> None:
    truth = replace(four_clusters(), sigma=np.zeros(4))
    spec = ModelSpec(
        n_clusters=4,
        features=truth.features,
        predictors=truth.predictors,
        response="y",
        priors=Priors(sigma=IMPROPER[family].sigma),
        sampler=replace(SAMPLER, chains=2),
    )
    tree = fit(simulate(truth, 400, seed=5), spec, seed=1)
    assert tree.attrs["verdict"] == "DO NOT USE"
    (finding,) = (each for each in stored_diagnosis(tree).concerns if each.code == "collapse")
    assert finding.status == "fail"
    assert "whose 'y' their line gives exactly" in finding.message
    assert "Give sigma the inverse-gamma prior" in finding.remedy


@pytest.mark.parametrize("unit", [1e-6, 1e6])
def test_noiseless_clusters_against_priors_of_other_units_end_in_a_sentence(unit: float) -> None:
    """Priors of a scale of one on columns of another: no fit, and no error from below either."""
    truth = replace(four_clusters(), sigma=np.zeros(4))
    table = simulate(truth, 400, seed=5)
    table["y"] *= unit
    spec = ModelSpec(
        n_clusters=4,
        features=truth.features,
        predictors=truth.predictors,
        response="y",
        standardize=False,
        sampler=replace(SAMPLER, chains=2),
    )
    try:
        outcome = fit(table, spec, seed=1).attrs["verdict"]
    except SamplingError as error:
        outcome = str(error)
    named = "let columns be standardised" in outcome
    assert named or outcome in ("CAUTION", "DO NOT USE")
