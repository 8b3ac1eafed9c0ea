"""Ties that leave a posterior improper, clusters that close on rows, scales of the prior alone."""

import json
import warnings
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import xarray as xr
from scipy import stats
from scipy.integrate import quad
from synthetic import fitted_tree

from jointmix.checks import collapse, diagnose, duplicates, empty, floor, switching
from jointmix.families.priors.priors import (
    LKJ,
    Fixed,
    Gamma,
    HalfNormal,
    HalfStudentT,
    InverseGamma,
    LogNormal,
    Priors,
)
from jointmix.families.priors.zero import order_at_zero, rows_to_spike
from jointmix.fitting import stages, workflow
from jointmix.fitting.workflow import fit
from jointmix.model.dataset import make_dataset
from jointmix.model.degenerate import improper_issues
from jointmix.model.notes import notes
from jointmix.model.settings import SamplerSpec
from jointmix.model.spec import ModelSpec
from jointmix.modes.initial import _factor
from jointmix.modes.starts import allocations
from jointmix.posterior.leave_one_out import smoothed
from jointmix.reporting import report

QUICK = SamplerSpec(draws=100, tune=100, chains=2, starts=4)


def table(n: int = 60, ties: int = 0, seed: int = 11) -> pd.DataFrame:
    """Two clusters of a and b, y a line in a; ``ties`` first rows agree in a."""
    rng = np.random.default_rng(seed)
    z = rng.integers(0, 2, n)
    a, b = rng.normal(4.0 * z), rng.normal(-3.0 * z)
    a[:ties] = 1.25
    return pd.DataFrame({"a": a, "b": b, "y": (2 * z - 1) * a + 0.3 * rng.normal(size=n)})


def spec_of(**options: object) -> ModelSpec:
    given = {"n_clusters": 2, "features": ("a", "b"), "sampler": QUICK} | options
    return ModelSpec(**given)  # type: ignore[arg-type]


def found(data: pd.DataFrame, spec: ModelSpec) -> dict[str, float]:
    notes = improper_issues(make_dataset(data, spec))
    return {f"{note.code}:{note.column}": note.value for note in notes}


@pytest.mark.parametrize("prior", [HalfNormal(), HalfStudentT(df=3), Gamma(shape=2.5)])
def test_the_order_at_zero_is_that_of_the_density(prior: HalfNormal | HalfStudentT | Gamma) -> None:
    """log p(s) falls by (c − 1) log 10 where s falls from 1e-6 to 1e-7."""
    frozen = {
        "half_normal": stats.halfnorm(),
        "half_student_t": stats.t(3),
        "gamma": stats.gamma(2.5, scale=1 / 4),
    }[prior.family]
    fall = frozen.logpdf(1e-6) - frozen.logpdf(1e-7)
    # The next term of the expansion is of the order of s itself.
    assert fall == pytest.approx((order_at_zero(prior) - 1) * np.log(10), abs=1e-5)


@pytest.mark.parametrize("prior", [InverseGamma(), LogNormal(), Fixed(value=1.0)])
def test_some_priors_vanish_faster_than_any_power(prior: object) -> None:
    assert order_at_zero(prior) == np.inf


@pytest.mark.parametrize(("shape", "count"), [(1.0, 2), (1.0, 3), (2.0, 2), (2.0, 3), (3.0, 3)])
def test_the_marginal_of_tied_rows_diverges_where_it_is_said_to(shape: float, count: int) -> None:
    """∫ s^(c − 1) e^(−s) ∫ N(0 | μ, s²)^m N(μ | 0, 1) dμ ds from ε: grows as ε → 0, or settles."""

    def above(least: float) -> float:
        """By quadrature over log s; over μ in closed form."""

        def integrand(log_s: float) -> float:
            s = np.exp(log_s)
            spread = s**2 / count
            rest = -(count - 1) * log_s - np.log(1 + spread) / 2
            return float(np.exp(shape * log_s - s + rest))

        return quad(integrand, np.log(least), 5, limit=500)[0]

    growth = [above(10.0**-exponent) for exponent in (4, 8, 12)]
    later, earlier = growth[2] - growth[1], growth[1] - growth[0]
    diverges = count >= order_at_zero(Gamma(shape=shape)) + 1
    # A convergent integral gains less and less: here at most by s^1 over a range from 1e-8.
    assert (later > 0.5 * earlier) == diverges


def test_a_flat_cluster_needs_as_many_rows_as_said() -> None:
    """∫ λ^(η − 1 − (m − 1 − f)/2) dλ at zero is finite up to m = 2η + f alone."""
    for eta, flat in ((1.0, 0), (1.0, 1), (2.5, 2)):
        least = rows_to_spike(LKJ(eta=eta), flat)
        power = eta - 1 - (least - 1 - flat) / 2
        assert power == -1
        assert eta - 1 - (least - 1 - 1 - flat) / 2 > -1


@pytest.mark.parametrize(
    ("priors", "ties", "noted"),
    [
        (Priors(), 20, False),
        (Priors(sd=LogNormal()), 20, False),
        (Priors(sd=HalfNormal()), 0, False),
        (Priors(sd=HalfNormal()), 2, True),
        (Priors(sd=HalfStudentT()), 2, True),
        (Priors(sd=Gamma(shape=2.0)), 2, False),
        (Priors(sd=Gamma(shape=2.0)), 3, True),
        (Priors(sd=Gamma(shape=0.5)), 2, True),
    ],
)
def test_tied_features_are_noted_by_prior_and_count(priors: Priors, ties: int, noted: bool) -> None:
    spec = spec_of(priors=priors, covariance="diagonal")
    assert found(table(ties=ties), spec) == ({"improper:a": ties} if noted else {})
    assert found(table(ties=ties), spec_of(priors=priors, n_clusters=1)) == {}


def test_a_tied_covariance_needs_few_values_in_all() -> None:
    spec = spec_of(priors=Priors(sd=HalfNormal()), covariance="tied")
    assert found(table(ties=20), spec) == {}
    data = table()
    data["a"] = np.where(data["a"] > 2, 3.0, 1.0)
    assert found(data, spec) == {"improper:a": 60.0}


def test_a_spherical_covariance_closes_on_identical_rows_alone() -> None:
    spec = spec_of(priors=Priors(sd=HalfNormal()), covariance="spherical")
    data = table(ties=20)
    assert found(data, spec) == {}
    data.loc[:1, "b"] = 0.5
    assert found(data, spec) == {"improper:a, b": 2.0}


def test_tied_responses_are_noted_from_the_rank_of_their_design_on() -> None:
    priors = Priors(sigma=HalfNormal())
    spec = spec_of(features=(), predictors=("a",), response="y", priors=priors)
    data = table()
    data.loc[:1, "y"] = 7.0
    assert found(data, spec) == {}  # Two rows fix a line, and leave nothing to close on.
    data.loc[2, "y"] = 7.0
    assert found(data, spec) == {"improper:y": 3.0}
    data = table()
    data.loc[1] = data.loc[0]
    assert found(data, spec) == {"improper:y": 2.0}
    assert found(data, spec_of(features=(), predictors=("a",), response="y")) == {}


def test_one_cluster_cannot_close_on_ties_unless_its_tails_reach_the_others() -> None:
    """Each row beside m tied ones gives σ^ν back: ∫ σ^(c − 1 − m + r + ν(N − m)) dσ at zero."""
    data, priors = table(), {"sd": HalfNormal(), "sigma": HalfNormal()}
    # Halves: whole numbers are told of as counts.
    data["a"], data["b"] = (2 * data["a"]).round() / 2, (2 * data["b"]).round() / 2
    data.loc[:40, "y"] = 7.0
    given = {"predictors": ("a",), "response": "y", "n_clusters": 1, "covariance": "diagonal"}
    dataset = make_dataset(data, spec_of(**given))
    for options, noted, harmless in (
        ({}, False, True),
        ({"n_clusters": 2}, True, False),
        ({"family": "student_t"}, True, False),
        ({"family": "student_t", "priors": Priors(df=Fixed(value=1.9), **priors)}, True, False),
        ({"family": "student_t", "priors": Priors(df=Fixed(value=2.1), **priors)}, False, False),
    ):
        spec = spec_of(**{**given, "priors": Priors(**priors), **options})
        # 41 rows, 3 of them just enough, and 19 others: ν up to 38 / 19.
        assert ("improper:y" in found(data, spec)) == noted
        ties = {
            note.column: note.remedy for note in notes(dataset.under(spec)) if note.code == "ties"
        }
        alone = spec.n_clusters == 1
        assert ties["a"].startswith("None is needed, as one cluster holds") == alone
        assert ties["y"].startswith("None is needed") == harmless


def test_identical_rows_are_told_of_under_a_full_covariance() -> None:
    data = table()
    data.loc[1:2] = data.loc[0].to_numpy()
    assert found(data, spec_of()) == {"identical_rows:a, b": 3.0}
    assert found(data, spec_of(priors=Priors(correlation=LKJ(eta=1.5)))) == {}
    assert found(data, spec_of(covariance="diagonal")) == {}


def test_an_improper_prior_is_a_caution_that_names_the_column_and_the_remedy() -> None:
    once = replace(QUICK, retry_budget=0)
    spec = spec_of(priors=Priors(sd=HalfNormal()), covariance="diagonal", sampler=once)
    tree = fit(table(ties=4), spec, seed=1)
    (finding,) = (each for each in diagnose(tree).concerns if each.code == "improper")
    assert finding.status == "caution"
    assert "Column 'a' holds 1.25 in 4 rows" in finding.message
    assert "half-normal prior of sd" in finding.message
    assert "inverse-gamma" in finding.remedy


def test_draws_on_a_line_of_features_are_a_failure() -> None:
    tree = fitted_tree(3, 2, response=False)
    assert diagnose(tree).verdict == "OK"
    # Ten rows far from all others lie on one line, and a cluster's draws on them.
    rows = tree["observed_data"]["x"].values
    step = np.linspace(-1, 1, 10)
    rows[:10] = rows.min(0) - 30 * rows.std(0) + step[:, None] * rows.std(0)
    posterior = tree["posterior"]
    share = 0.2
    count = round(share * posterior.sizes["draw"])
    chosen = {"draw": slice(0, count), "cluster": 2}
    posterior["mean"][chosen] = rows[:10].mean(0)
    posterior["sd"][chosen] = rows[:10].std(0)
    posterior["correlation"][chosen] = [[1.0, 1 - 1e-12], [1 - 1e-12, 1.0]]
    (finding,) = collapse.check(tree)
    assert finding.status == "fail"
    assert finding.value == pytest.approx(share, abs=0.005)
    assert "cluster 3 in 20.0% of the draws on 10 rows on one line of 'x1' and 'x2'" in (
        finding.message
    )
    assert "covariance='diagonal'" in finding.remedy


def test_a_narrow_cluster_whose_rows_spread_is_no_collapse() -> None:
    """A row at 1e6 standard deviations makes every other cluster narrow beside the table."""
    tree = fitted_tree(2, 2, response=False)
    tree["observed_data"]["x"].values[0] += 1e7
    (finding,) = collapse.check(tree)
    assert (finding.status, finding.value) == ("ok", 0.0)


@pytest.mark.parametrize("family", ["normal", "student_t"])
def test_one_cluster_closes_on_ties_where_its_tails_reach_all_other_rows(family: str) -> None:
    tree = fitted_tree(1, 1, seed=4)
    spec = json.loads(tree.attrs["spec"])
    spec["model"]["family"] = family
    spec["priors"]["sigma"] = {"family": "half_normal", "scale": 1.0}
    if family == "student_t":
        spec["priors"]["df"] = {"family": "gamma", "shape": 2.0, "rate": 0.1}
        weight = tree["posterior"]["weight"]
        tree["posterior"]["df"] = weight * 0 + 0.2
    tree.attrs["spec"] = json.dumps(spec)
    tree["observed_data"]["y"].values[:240] = 4.0
    share, n_draws = 0.3, tree["posterior"].sizes["draw"]
    closed = {"draw": slice(0, round(share * n_draws))}
    for name, value in (("intercept", 4.0), ("slope", 0.0), ("sigma", 1e-9)):
        tree["posterior"][name][closed] = value
    (finding,) = collapse.check(tree)
    if family == "normal":
        assert finding.status == "skipped"
        return
    assert (finding.status, finding.value) == ("fail", pytest.approx(share))
    assert "on 240 rows whose 'y' their line gives exactly" in finding.message
    # Rows that no line gives exactly are no collapse, however small sigma is.
    tree["posterior"]["sigma"][closed] = 1e-4
    tree["observed_data"]["y"].values[:240] += np.linspace(0, 1e-3, 240)
    assert collapse.check(tree)[0].status == "ok"


def test_draws_on_an_exact_line_fail_where_the_prior_lets_them() -> None:
    """Noise next to nothing on rows that a line gives exactly."""
    for family, status in (("half_normal", "fail"), ("inverse_gamma", "ok")):
        tree = fitted_tree(2, 1, seed=4)
        spec = json.loads(tree.attrs["spec"])
        prior = HalfNormal() if family == "half_normal" else InverseGamma()
        numbers = {name: getattr(prior, name) for name in prior.__dataclass_fields__}
        spec["priors"]["sigma"] = {"family": family, **numbers}
        tree.attrs["spec"] = json.dumps(spec)
        inside = tree["allocation"]["allocation"].values == 1
        x = tree["observed_data"]["x"].values[inside, 0]
        tree["observed_data"]["y"].values[inside] = 2 + 3 * x
        chosen = {"cluster": 0}
        tree["posterior"]["intercept"][chosen] = 2.0
        tree["posterior"]["slope"][chosen] = 3.0
        tree["posterior"]["sigma"][chosen] = 1e-9
        (finding,) = collapse.check(tree)
        assert finding.status == status
        if status == "fail":
            assert f"on {inside.sum()} rows whose 'y' their line gives exactly" in finding.message
            assert "Give sigma the inverse-gamma prior" in finding.remedy


def test_an_exact_response_is_told_of_as_the_priors_doing() -> None:
    data = table()
    data["y"] = np.where(data["a"] > 2, data["a"] - 8, 1 - 2 * data["a"])
    spec = spec_of(features=("a",), predictors=("a",), response="y")
    tree = fit(data, spec, seed=1)
    (finding,) = floor.check(tree)
    assert finding.status == "caution"
    assert finding.value < 1e-6
    assert (
        "In clusters 1 and 2 (60 rows) 'y' follows exactly from 'a': sigma, put at"
        in finding.message
    )
    assert "is the prior's doing" in finding.message
    (clean,) = floor.check(fit(table(), spec, seed=1))
    assert (clean.status, clean.message) == (
        "ok",
        "The rows, not their priors alone, set the scales.",
    )


def test_a_response_of_two_values_is_told_of_as_constant() -> None:
    data = table()
    data["y"] = (data["a"] > 2).astype(int)
    tree = fit(data, spec_of(features=("a",), predictors=("a",), response="y"), seed=1)
    (finding,) = floor.check(tree)
    assert "(60 rows) 'y' is constant: sigma, put at" in finding.message


def test_a_chain_far_from_the_rows_is_not_the_priors_doing() -> None:
    tree = fitted_tree(2, 2)
    assert floor.check(tree)[0].status == "ok"
    tree["posterior"]["sd"].values[:, :, 0] = 1e87
    (finding,) = floor.check(tree)
    assert (finding.status, finding.remedy) == ("ok", "")


def test_a_prior_in_other_units_asks_for_units() -> None:
    data = table()
    data["y"] *= 1e-9
    spec = spec_of(features=("a",), predictors=("a",), response="y", standardize=False)
    (finding,) = floor.check(fit(data, spec, seed=1))
    assert finding.status == "caution"
    assert "'y' varies by" in finding.message
    assert "state the prior in the columns' units" in finding.remedy


def test_distances_of_draws_beyond_float64_are_not_computed() -> None:
    tree = fitted_tree(2, 2)
    tree["posterior"]["sd"].values[:] = 1e200
    (finding,) = duplicates.check(tree)
    assert finding.status == "skipped"
    tree = fitted_tree(2, 2)
    expected = duplicates.check(tree)[0]
    tree["posterior"]["sd"].values[0, 0] = 1e200
    (finding,) = duplicates.check(tree)
    assert finding.status == "ok"
    # One draw of two hundred moves the median by less than one part in ten.
    assert finding.value == pytest.approx(expected.value, rel=0.1)


@pytest.mark.parametrize(
    ("family", "far"),
    [
        ("normal", 1e30),
        ("normal", -1e30),
        ("normal", 1e-30),
        ("student_t", 1e30),
        ("student_t", 1e-30),
    ],
)
def test_chains_at_the_end_of_float64_are_judged_and_reported(
    family: str, far: float, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """As far as draws are taken, powers of their products are numbers."""

    def lost(prepared: stages.Prepared, raw: xr.DataTree, *rest: object) -> xr.DataTree:
        raw = raw.copy(deep=True)
        for name, parameter in prepared.spec.parameters.items():
            positive = parameter.role in ("scale", "shape")
            if parameter.role == "location" or (positive and far > 0):
                raw["posterior"][name].values[0, :5] = far
        return stages.finish(prepared, raw, *rest)

    monkeypatch.setattr(workflow, "finish", lost)
    sampler = SamplerSpec(sampler="laplace", draws=100, chains=2)
    spec = ModelSpec(
        n_clusters=2,
        features=("x",),
        predictors=("x",),
        response="y",
        family=family,
        sampler=sampler,
    )
    rng = np.random.default_rng(4)
    rows = pd.DataFrame({"x": np.repeat([0.0, 5.0], 40) + rng.normal(size=80)})
    rows["y"] = np.exp(0.2 * rows["x"] + rng.normal(size=80))
    tree = fit(rows, spec, seed=1)
    assert (np.abs(tree["posterior"]["slope"].values[0, :5]) > 1e-31).all()
    report(tree, tmp_path / "report.html")


def test_labels_that_methods_disagree_on_are_not_said_to_be_put_back() -> None:
    tree = fitted_tree(3, 2)
    values = tree["labels"]["permutation"].values
    values[:, :50, :2] = values[:, :50, 1::-1]
    values[3, :, :2] = values[3, :, 1::-1]
    for agreement, words in (
        (1.0, "which identification put back."),
        (0.97, "which identification put back but for 3.00% of the draws, where methods disagree."),
        (0.3, "could not put back"),
    ):
        found = json.loads(tree.attrs["identification"]) | {"agreement": agreement}
        tree.attrs["identification"] = json.dumps(found)
        within, between = switching.check(tree)
        assert words in within.message
        assert words in between.message


def test_remedies_of_empty_clusters_do_not_contradict_each_other() -> None:
    tree = fitted_tree(4, 2)
    tree["allocation"]["responsibility"].values[:, 2:] = 1e-3
    tree["labels"]["occupied"].values[..., 3] = 0
    supported, occupied = empty.check(tree)
    assert "Fit with at most 2 clusters" in supported.remedy
    assert occupied.remedy == supported.remedy
    tree["allocation"]["responsibility"].values[:] = 1 / 4
    supported, occupied = empty.check(tree)
    assert (supported.status, supported.remedy) == ("ok", "")
    assert "Fit with at most 3 clusters" in occupied.remedy


def test_labels_are_not_said_to_be_put_back_where_clusters_blend() -> None:
    tree = fitted_tree(3, 2)
    tree["labels"]["permutation"].values[:, :50, :2] = [1, 0]
    found = json.loads(tree.attrs["identification"])
    tree.attrs["identification"] = json.dumps(found | {"true_permutations": 0.6})
    within, _ = switching.check(tree)
    assert within.status == "fail"
    assert "put back, though the clusters' parameters blend" in within.message


def test_a_constant_column_inside_a_cluster_is_told_of() -> None:
    data = table()
    data["a"] = np.where(data["a"] > 2, 4.0, data["a"])
    tree = fit(data, spec_of(), seed=1)
    (finding,) = floor.check(tree)
    assert finding.status == "caution"
    assert "column 'a' is constant: its sd, put at" in finding.message


def test_rows_tied_under_a_prior_that_vanishes_are_no_line() -> None:
    """A column constant in a cluster, at which a narrow but proper sd is no correlation's doing."""
    tree = fitted_tree(2, 2, response=False)
    inside = tree["allocation"]["allocation"].values == 1
    tree["observed_data"]["x"].values[inside, 0] = tree["posterior"]["mean"].values[0, 0, 0, 0]
    tree["posterior"]["sd"].values[:, :, 0, 0] *= 1e-6
    tree["posterior"]["mean"].values[:, :, 0, 0] = tree["posterior"]["mean"].values[0, 0, 0, 0]
    assert collapse.check(tree)[0].status == "ok"


def test_a_predictor_constant_in_a_cluster_starts_within_its_prior() -> None:
    """Its slope there is open: EM's covariance of it is rounding over zero."""
    covariance = np.zeros((2, 2, 2))
    covariance[0] = [[1e14, 1e14], [1e14, 1e14 - 1.0]]
    covariance[1] = [[0.04, 0.01], [0.01, 0.09]]
    one, other = _factor(covariance)
    assert np.linalg.eigvalsh(one @ one.T).max() <= 1 + 1e-12
    assert np.allclose(other @ other.T, covariance[1], rtol=1e-10)
    assert np.array_equal(
        _factor(covariance[1:])[0], np.linalg.cholesky(covariance[1] + 1e-12 * np.eye(2))
    )
    data = table()
    data["a"] = np.where(data["a"] > 2, 4.0, np.where(data["a"] > 0, 2.0, 0.0))
    spec = spec_of(n_clusters=4, features=("a",), predictors=("a",), response="y")
    tree = fit(data, spec, seed=1)
    assert np.isfinite(tree["posterior"]["slope"]).all()


def test_fewer_values_than_clusters_start_without_a_warning() -> None:
    points = np.repeat([[0.0], [1.0], [5.0]], 10, axis=0)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = allocations(points, points[:, :0], None, 5, 6, np.random.default_rng(1))
    assert found.shape == (6, 30)
    assert found.max() < 5


def test_a_tail_as_long_as_arviz_takes_it_may_be_equal() -> None:
    """Of 300 draws the tail is 51, here all equal: the 52nd is not of it."""
    weight = np.concatenate([np.linspace(0, 1, 249), np.full(51, 2.0)])
    found, shape = smoothed(-weight[None])
    assert np.array_equal(found[0], weight)
    assert shape[0] == np.inf
