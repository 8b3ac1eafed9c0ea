"""Independence chains: exact weights, what guards them, and when they are taken."""

import json
from dataclasses import replace
from pathlib import Path

import arviz_stats as az
import numpy as np
import pandas as pd
import pytest
import xarray as xr
from scipy import stats
from scipy.special import logsumexp

import jointmix as jm
from jointmix.base.errors import SamplingError, SchemaError
from jointmix.checks import mass
from jointmix.checks.proposal import check
from jointmix.families.straight import Scaled
from jointmix.fitting.candidates import make_grid
from jointmix.fitting.pooled import pointwise
from jointmix.fitting.selection import _scored
from jointmix.kernel.values import relabelling
from jointmix.model.dataset import make_dataset
from jointmix.modes.em import fit_em
from jointmix.modes.initial import make_start
from jointmix.modes.ordering import choose_ordering
from jointmix.modes.straight import StraightNormal
from jointmix.sampling import independence
from jointmix.sampling.control import Control
from jointmix.sampling.copies import Copies, symmetric_weights
from jointmix.sampling.independence import Chains
from jointmix.sampling.proposal import Posterior, Proposal, make_proposal
from jointmix.sampling.weights import weigh

#: Of both clusters, known, where posteriors have two modes.
VARIANCE = 0.4
SETTINGS = jm.SamplerSpec(sampler="independence", draws=500)


def apart(seed: int, n: int = 200) -> pd.DataFrame:
    """Two clusters five standard deviations apart, each with its line."""
    rng = np.random.default_rng(seed)
    z = rng.integers(2, size=n)
    x = rng.normal(size=n) + 5 * z
    return pd.DataFrame({"x": x, "y": np.where(z == 1, 2 - x, x) + 0.5 * rng.normal(size=n)})


def spec(sampler: jm.SamplerSpec = SETTINGS, **changes: object) -> jm.ModelSpec:
    options = {"n_clusters": 2, "features": ["x"], "predictors": ["x"], "response": "y"}
    return jm.ModelSpec(**(options | changes), sampler=sampler)  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def fitted() -> xr.DataTree:
    return jm.fit(apart(1), spec(), seed=1, progress=False)


def test_a_fit_is_ok_and_says_how_it_was_sampled(fitted: xr.DataTree) -> None:
    assert fitted.attrs["verdict"] == "OK"
    assert fitted.attrs["backend"] == "independence on kernel"
    found = json.loads(fitted.attrs["proposal"])
    assert found["share"] > 0.9
    assert found["acceptance"] > 0.9
    assert found["candidates"] == 1000 + 4 * 500
    stats_group = fitted["sample_stats"]
    assert float(stats_group["acceptance_rate"].mean()) == pytest.approx(found["acceptance"])
    assert set(stats_group.data_vars) >= {"log_density", "acceptance_rate"}
    subjects = {finding.subject: finding.status for finding in check(fitted)}
    assert subjects == {"tail": "ok", "largest weight": "ok", "moves": "ok"}
    # Nothing is said of trajectories, which these chains do not have.
    assert "divergences" not in fitted["checks"]["code"].values


def test_draws_are_those_of_nuts(fitted: xr.DataTree) -> None:
    nuts = jm.fit(
        apart(1),
        spec(jm.SamplerSpec(sampler="nutpie", draws=500, tune=500)),
        seed=2,
        progress=False,
    )
    for name in ("weight", "mean", "sd", "intercept", "slope", "sigma"):
        one, other = fitted["posterior"][name], nuts["posterior"][name]
        for method, value in (("mean", "mean"), ("sd", "std")):
            errors = [az.mcse(each, method=method) for each in (one, other)]
            gap = getattr(one, value)(("chain", "draw")) - getattr(other, value)(("chain", "draw"))
            # Of forty numbers the largest exceeds 4 once in 400 runs.
            assert float((abs(gap) / np.hypot(*errors)).max()) < 4


def test_a_seed_gives_the_same_draws_whatever_the_cores(fitted: xr.DataTree) -> None:
    for cores in (1, 3):
        settings = replace(SETTINGS, cores=cores)
        again = jm.fit(apart(1), spec(settings), seed=1, progress=False)
        for name, values in fitted["posterior"].data_vars.items():
            np.testing.assert_array_equal(again["posterior"][name], values)
    other = jm.fit(apart(1), spec(), seed=2, progress=False)
    assert not np.array_equal(other["posterior"]["weight"], fitted["posterior"]["weight"])


def test_it_is_saved_and_reported(fitted: xr.DataTree, tmp_path) -> None:  # type: ignore[no-untyped-def]
    jm.save(fitted, tmp_path / "fit.nc")
    again = jm.load(tmp_path / "fit.nc")
    assert again.attrs["proposal"] == fitted.attrs["proposal"]
    assert jm.log_evidence(again) == jm.log_evidence(fitted)
    jm.report(again, tmp_path / "fit.md")
    said = str(jm.log_evidence(again)).replace("-", "−")
    assert f"{said}: the density of all rows" in (tmp_path / "fit.md").read_text()
    text = (tmp_path / "fit.md").read_text()
    assert "independence" in text
    assert "of all weight" in text


# What weights say.


def test_weights_of_equal_candidates() -> None:
    found = weigh(np.full(500, -3.0))
    assert (found.share, found.acceptance) == (pytest.approx(1), pytest.approx(1))
    assert (found.log_mean, found.error) == (pytest.approx(-3), pytest.approx(0, abs=1e-7))
    assert found.largest == pytest.approx(1 / 500)


def test_weights_against_their_definitions() -> None:
    log_weight = np.random.default_rng(3).normal(size=400)
    weight, found = np.exp(log_weight), weigh(log_weight)
    assert found.share == pytest.approx(weight.sum() ** 2 / (400 * (weight**2).sum()))
    pairs = np.minimum(weight[:, None], weight).sum() / (400 * weight.sum())
    assert found.acceptance == pytest.approx(pairs, rel=1e-12)
    assert found.log_mean == pytest.approx(np.log(weight.mean()))
    assert found.error == pytest.approx(weight.std() / weight.mean() / 20)


def test_no_weight_at_all() -> None:
    found = weigh(np.full(300, -np.inf))
    assert (found.share, found.acceptance, found.shape) == (0, 0, np.inf)


def test_chains_have_the_targets_moments() -> None:
    rng = np.random.default_rng(4)
    chains = Chains(4)
    candidates = 1.5 * rng.standard_t(4, size=(40_000, 1)) + 0.5
    log_proposal = stats.t.logpdf(candidates[:, 0], 4, 0.5, 1.5)
    log_density = stats.norm.logpdf(candidates[:, 0])
    values, density, rate = chains.step(candidates, log_density, log_density - log_proposal, rng)
    draws = xr.DataArray(values[..., 0].T, dims=("chain", "draw"))
    assert abs(float(draws.mean())) < 3.5 * float(az.mcse(draws, method="mean"))
    assert abs(float(draws.std()) - 1) < 3.5 * float(az.mcse(draws, method="sd"))
    np.testing.assert_allclose(density, stats.norm.logpdf(values[..., 0]))
    moved = (np.diff(values[..., 0], axis=0) != 0).mean()
    assert float(rate.mean()) == pytest.approx(moved, abs=0.02)


# Evidence.


def test_the_evidence_of_one_cluster_is_that_of_quadrature() -> None:
    x = np.random.default_rng(5).normal(1.0, 1.5, 30)
    priors = jm.Priors(mean=jm.Normal(scale=5.0), sd=jm.InverseGamma(shape=2.0, scale=0.5))
    tree = jm.fit(
        {"x": x},
        jm.ModelSpec(
            n_clusters=1, features=["x"], standardize=False, priors=priors, sampler=SETTINGS
        ),
        progress=False,
    )
    log_variance = np.linspace(-4, 6, 2001)
    variance = np.exp(log_variance)
    # Given σ², rows are N(0, σ²I + s²11').
    n, s2 = len(x), 25.0
    square = ((x - x.mean()) ** 2).sum() / variance + n * x.mean() ** 2 / (variance + n * s2)
    log_rows = -0.5 * (
        n * np.log(2 * np.pi) + (n - 1) * log_variance + np.log(variance + n * s2) + square
    )
    log_joint = log_rows + stats.invgamma.logpdf(variance, 2.0, scale=0.5) + log_variance
    exact = logsumexp(log_joint) + np.log(log_variance[1] - log_variance[0])
    found = jm.log_evidence(tree)
    assert found.error < 0.005
    assert found.value == pytest.approx(exact, abs=3.5 * found.error + 1e-6)
    assert str(found).startswith("log p(data) = ")


def test_scaling_inside_leaves_the_evidence_in_the_columns_units() -> None:
    x = np.random.default_rng(6).normal(100.0, 20.0, 40)
    center, scale = x.mean(), x.std()
    inside = jm.ModelSpec(n_clusters=1, features=["x"], sampler=SETTINGS)
    outside = replace(inside, standardize=False)
    found = [
        jm.log_evidence(jm.fit(table, model, progress=False))
        for table, model in (({"x": x}, inside), ({"x": (x - center) / scale}, outside))
    ]
    gap = found[0].value - (found[1].value - len(x) * np.log(scale))
    assert gap == pytest.approx(0, abs=3.5 * np.hypot(found[0].error, found[1].error))


@pytest.fixture(scope="module")
def compared() -> jm.Comparison:
    return jm.compare(apart(1), spec(), [1, 2], progress=False)


def test_a_comparison_has_the_evidence_and_probabilities_of_its_models(
    compared: jm.Comparison, tmp_path: Path
) -> None:
    found = [jm.log_evidence(compared.trees[k]) for k in (1, 2)]
    table = compared.table
    assert table["log_evidence"].tolist() == [each.value for each in found]
    assert table["evidence_error"].tolist() == [each.error for each in found]
    odds = np.exp(found[0].value - found[1].value)
    assert table["probability"].tolist() == pytest.approx([odds / (1 + odds), 1 / (1 + odds)])
    assert "The evidence is largest for 2 clusters (log p(data) -" in compared.text
    jm.report(compared, tmp_path / "choice.md")
    page = (tmp_path / "choice.md").read_text()
    assert "| 2 | −" in page.partition("Evidence: the density of the data")[2]


def test_without_the_evidence_of_all_there_are_no_probabilities() -> None:
    one = jm.fit(apart(1), spec(n_clusters=1), progress=False)
    free = jm.fit(apart(1), spec(ordering="none"), progress=False)
    stored = json.loads(free.attrs["proposal"]) | {"log_evidence": None}
    free.attrs["proposal"] = json.dumps(stored)
    grid = make_grid(spec(), [1, 2], None, None)
    trees = {1: one, 2: free}
    table = _scored(trees, {key: pointwise(tree) for key, tree in trees.items()}, grid)
    assert table["log_evidence"].notna().tolist() == [True, False]
    assert "probability" not in table


def test_the_evidence_that_is_not_there_is_refused(fitted: xr.DataTree) -> None:
    tree = fitted.copy()
    tree.attrs["proposal"] = ""
    with pytest.raises(SchemaError, match="fit with sampler='independence'"):
        jm.log_evidence(tree)
    many = {"log_evidence": None}
    tree.attrs["proposal"] = json.dumps(json.loads(fitted.attrs["proposal"]) | many)
    with pytest.raises(SchemaError, match="Labels of too many clusters were left free"):
        jm.log_evidence(tree)
    bad = {"shape": 0.93, "share": 0.5}
    tree.attrs["proposal"] = json.dumps(json.loads(fitted.attrs["proposal"]) | bad)
    with pytest.raises(SamplingError, match=r"Pareto k = 0\.93, above 0\.7"):
        jm.log_evidence(tree)


# Two modes of known mass: means of two clusters with the same known spread, for three clumps.


def three_clumps() -> np.ndarray:
    rng = np.random.default_rng(8)
    side, middle = rng.normal(3, 0.4, 9), rng.normal(0, 0.2, 6)
    return np.concatenate([side, middle - middle.mean() + 0.03, -side])


def _two_means(sampler: jm.SamplerSpec) -> jm.ModelSpec:
    return jm.ModelSpec(
        n_clusters=2,
        features=["x"],
        covariance="fixed",
        standardize=False,
        ordering="mean[x]",
        priors=jm.Priors(
            weight=jm.Fixed(value=0.5 * np.ones(2)),
            mean=jm.Normal(scale=5.0),
            covariance=jm.Fixed(value=VARIANCE),
        ),
        sampler=sampler,
    )


def _by_quadrature(x: np.ndarray) -> tuple[float, float]:
    """Mass of 0 < μ₁ + μ₂ among the sorted, the middle clump being with the left; log p(x)."""
    grid = np.linspace(-6, 6, 1201)
    one = stats.norm.logpdf(x, grid[:, None], np.sqrt(VARIANCE))
    prior = stats.norm.logpdf(grid, 0, 5)
    log_joint = prior[:, None] + prior + np.log(0.5) * len(x)
    log_joint = log_joint + sum(np.logaddexp.outer(one[:, i], one[:, i]) for i in range(len(x)))
    weight = np.exp(log_joint - log_joint.max())
    evidence = float(np.log(weight.sum()) + log_joint.max() + 2 * np.log(grid[1] - grid[0]))
    weight[np.tril_indices(len(grid))] = 0
    middle = (grid[:, None] + grid) / 2 > 0
    return float(weight[middle].sum() / weight.sum()), evidence


def test_modes_get_their_exact_weights() -> None:
    x = three_clumps()
    exact, evidence = _by_quadrature(x)
    assert 0.1 < exact < 0.9
    settings = jm.SamplerSpec(sampler="independence", draws=2000)
    tree = jm.fit({"x": x}, _two_means(settings), progress=False)
    assert json.loads(tree.attrs["proposal"])["modes"] == 2
    right = (tree["posterior"]["mean"].mean(("cluster", "feature")) > 0).astype(float)
    error = float(az.mcse(right, method="mean"))
    assert error < 0.02
    assert float(right.mean()) == pytest.approx(exact, abs=3.5 * error)
    # Of both orders of the labels, one of which was sampled.
    found = jm.log_evidence(tree)
    assert found.error < 0.02
    assert found.value == pytest.approx(evidence, abs=3.5 * found.error)


# Labels that are left free: a proposal of one copy, made symmetric.


def test_free_labels_leave_the_evidence_as_it_is(fitted: xr.DataTree) -> None:
    ordered = jm.log_evidence(fitted)
    free = jm.log_evidence(jm.fit(apart(1), spec(ordering="none"), progress=False))
    assert max(ordered.error, free.error) < 0.02
    gap = free.value - ordered.value
    assert gap == pytest.approx(0, abs=3 * np.hypot(ordered.error, free.error))


def test_three_free_labels_have_six_copies() -> None:
    rng = np.random.default_rng(5)
    table = {"x": np.concatenate([rng.normal(at, 1.0, 60) for at in (-6.0, 0.0, 7.0)])}
    found = []
    for ordering in ("auto", "none"):
        model = jm.ModelSpec(n_clusters=3, features=["x"], ordering=ordering, sampler=SETTINGS)
        found.append(jm.log_evidence(jm.fit(table, model, progress=False)))
    # Counted as one copy too few, log 6 − log 5 = 0.18 would be missing.
    assert max(each.error for each in found) < 0.05
    gap = found[1].value - found[0].value
    assert gap == pytest.approx(0, abs=3 * np.hypot(found[0].error, found[1].error))


def test_both_modes_of_free_labels_are_in_the_evidence_of_quadrature() -> None:
    x = three_clumps()
    _, evidence = _by_quadrature(x)
    settings = jm.SamplerSpec(sampler="independence", draws=2000)
    model = replace(_two_means(settings), ordering="none")
    found = jm.log_evidence(jm.fit({"x": x}, model, progress=False))
    assert found.error < 0.02
    assert found.value == pytest.approx(evidence, abs=3.5 * found.error)


def test_copies_that_overlap_are_counted_as_far_as_they_do() -> None:
    """Of a posterior that is the symmetric proposal, every candidate says the mass."""
    rng = np.random.default_rng(2)
    x = rng.normal(size=40) + 0.5 * rng.integers(2, size=40)
    data = make_dataset({"x": x}, replace(_two_means(SETTINGS), ordering="none"))
    posterior = Posterior(data, None)
    census = fit_em(data, data.spec, 1)
    start = make_start(census.start, data, choose_ordering(census.start, data, 1))
    proposal = make_proposal(posterior, start.parameters, ())
    values, log_proposal = proposal.draw(500, rng)
    np.testing.assert_allclose(proposal.log_density(values), log_proposal, rtol=1e-9)
    swapped = proposal.log_density(values @ relabelling(data.spec, np.array([1, 0])).T)
    mass = 7.0
    log_density = mass + np.logaddexp(log_proposal, swapped) - np.log(2)
    found = symmetric_weights(proposal, data.spec, values, log_density)
    np.testing.assert_allclose(found, mass, atol=1e-8)
    # The other copy reaches some candidates: a factor of 2 for each would be wrong.
    assert (swapped - log_proposal).max() > np.log(0.05)
    log_density[3] = -np.inf
    assert symmetric_weights(proposal, data.spec, values, log_density)[3] == -np.inf


def test_of_seven_free_clusters_copies_are_too_many() -> None:
    few = jm.ModelSpec(n_clusters=6, features=["x"], ordering="none")
    many = replace(few, n_clusters=7)
    assert Copies(few, None).free
    assert Copies(many, None).free
    assert not Copies(few, np.ones(1)).free
    for model, kept in ((few, True), (many, False)):
        copies = Copies(model, None)
        copies.keep(np.zeros((0, 3)), np.zeros(0))
        assert bool(copies._parts) == kept


# Guards.


def test_a_wrong_curvature_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    made = StraightNormal.__init__

    def narrow(self, center, stretch, log_density, chart):  # type: ignore[no-untyped-def]
        made(self, center, 0.3 * stretch, log_density, chart)

    monkeypatch.setattr(StraightNormal, "__init__", narrow)
    tree = jm.fit(apart(1), spec(), progress=False)
    assert tree.attrs["verdict"] != "OK"
    assert {finding.status for finding in check(tree)} != {"ok"}


def test_a_wrong_volume_shows_in_the_posterior(monkeypatch: pytest.MonkeyPatch) -> None:
    right = Scaled.values

    def wrong(self, straight):  # type: ignore[no-untyped-def]
        found, log_volume = right(self, straight)
        return found, log_volume + 3 * straight[:, 0]

    table = apart(1, 60)
    before = jm.fit(table, spec(), progress=False)["posterior"]["sd"]
    monkeypatch.setattr(Scaled, "values", wrong)
    after = jm.fit(table, spec(), progress=False)["posterior"]["sd"]
    error = np.hypot(az.mcse(before, method="mean"), az.mcse(after, method="mean"))
    gap = abs(before.mean(("chain", "draw")) - after.mean(("chain", "draw"))) / error
    assert float(gap.max()) > 5


def test_a_heavy_tail_or_a_large_weight_is_named(fitted: xr.DataTree) -> None:
    for changes, subject, status in (
        ({"shape": 0.6}, "tail", "caution"),
        ({"shape": 0.8}, "tail", "fail"),
        ({"shape": None}, "tail", "fail"),
        ({"largest": 0.05}, "largest weight", "caution"),
        ({"largest": 0.3}, "largest weight", "fail"),
        ({"acceptance": 0.1}, "moves", "caution"),
        ({"acceptance": 0.01}, "moves", "fail"),
    ):
        tree = fitted.copy()
        stored = json.loads(fitted.attrs["proposal"]) | {"share": 0.5, **changes}
        tree.attrs["proposal"] = json.dumps(stored)
        found = {finding.subject: finding for finding in check(tree)}
        assert found[subject].status == status
        assert "nutpie" in found[subject].remedy


def test_candidates_of_nothing_are_never_drawn(fitted: xr.DataTree) -> None:
    assert np.isfinite(fitted["sample_stats"]["log_density"]).all()


def test_a_posterior_without_a_mode_is_refused() -> None:
    # Seven clusters of two rows each have spikes, or no peak at all.
    rng = np.random.default_rng(9)
    table = pd.DataFrame({"x": rng.normal(size=24), "y": rng.normal(size=24)})
    with pytest.raises(SamplingError, match="nutpie"):
        jm.fit(table, spec(n_clusters=6), progress=False)


# auto.


def _auto(table: object, **changes: object) -> xr.DataTree:
    settings = jm.SamplerSpec(draws=200, tune=200)
    return jm.fit(table, spec(settings, **changes), progress=False)


def test_auto_takes_them_where_the_posterior_is_nearly_normal() -> None:
    tree = _auto(apart(1))
    assert tree.attrs["backend"] == "independence on kernel"
    reason = tree.attrs["sampler_reason"]
    assert reason.startswith("independence, as the posterior is nearly normal in its coordinates")
    assert "are effective" in reason


def test_candidates_are_adapted_to_a_pilot() -> None:
    rng = np.random.default_rng(12)
    z = rng.integers(2, size=80)
    x = rng.normal(size=80) + 2.5 * z
    table = pd.DataFrame({"x": x, "y": (2 * z - 1) * x + 0.5 * rng.normal(size=80)})
    data = make_dataset(table, spec())
    census = fit_em(data, data.spec, 1)
    start = make_start(census.start, data, choose_ordering(census.start, data, 1))
    posterior = Posterior(data, start.direction)
    first = make_proposal(posterior, start.parameters, ())
    shares = []
    proposal = first
    for _ in range(2):
        values, log_proposal = proposal.draw(20_000, rng)
        usable = np.isfinite(log_proposal)
        log_weight = np.full(len(values), -np.inf)
        log_weight[usable] = posterior.log_densities(values[usable], None) - log_proposal[usable]
        shares.append(weigh(log_weight))
        proposal = first.adapted(values[:1000], log_weight[:1000])
    assert len(proposal.normals) == 2
    assert shares[1].share > shares[0].share
    # The same p(data) by both.
    gap = shares[1].log_mean - shares[0].log_mean
    assert gap == pytest.approx(0, abs=3.5 * np.hypot(shares[0].error, shares[1].error))


def test_of_many_rows_the_curvature_at_the_mode_is_asked_for_once(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    table = apart(3, 3_000)
    plain = jm.log_evidence(jm.fit(table, spec(), progress=False))
    monkeypatch.setattr("jointmix.modes.density._MANY_ROWS", 1_000)
    monkeypatch.setattr("jointmix.modes.density._SOME_ROWS", 500)
    # By EM, and not again by the proposal.
    monkeypatch.delattr("jointmix.modes.straight._curvature")
    tree = jm.fit(table, spec(), progress=False)
    found = jm.log_evidence(tree)
    assert found.value == pytest.approx(plain.value, abs=3.5 * np.hypot(plain.error, found.error))
    assert json.loads(tree.attrs["proposal"])["share"] > 0.8


@pytest.mark.parametrize("sign", [1.0, -1.0])
def test_a_known_mode_has_its_clusters_in_the_order_of_the_start(sign: float) -> None:
    data = make_dataset(apart(1), spec())
    census = fit_em(data, data.spec, 1)
    ordering = choose_ordering(census.start, data, 1)
    assert ordering.direction is not None
    turned = replace(ordering, direction=sign * ordering.direction)
    start = make_start(census.start, data, turned)
    (known,) = start.known
    assert known is not None
    np.testing.assert_allclose(known.parameters.mean, start.parameters.mean, atol=0.2)
    posterior = Posterior(data, start.direction)
    center = known.normal.center
    (density,) = posterior.log_densities(center[None], 1)
    assert density == pytest.approx(known.normal.log_density, rel=1e-12)
    np.testing.assert_allclose(posterior.point(known.parameters), center, atol=1e-9)


def test_auto_samples_by_nuts_where_it_is_not() -> None:
    rng = np.random.default_rng(10)
    x = rng.normal(size=40)
    weak = pd.DataFrame({"x": x, "y": x + rng.normal(size=40)})
    tree = _auto(weak)
    assert tree.attrs["backend"] == "nutpie on kernel"
    assert tree.attrs["sampler_reason"].startswith("nutpie, as ")
    settings = jm.SamplerSpec(sampler="nutpie", draws=200, tune=200)
    same = jm.fit(weak, spec(settings), progress=False)
    for name, values in same["posterior"].data_vars.items():
        np.testing.assert_array_equal(tree["posterior"][name], values)


def test_auto_keeps_to_what_was_asked_for() -> None:
    settings = jm.SamplerSpec(sampler="auto", draws=100, tune=100, adaptation="low_rank")
    tree = jm.fit(apart(1), spec(settings), progress=False)
    assert tree.attrs["backend"] == "nutpie on kernel"
    assert "was asked for" in tree.attrs["sampler_reason"]


# Interruptions.


def test_stopped_it_keeps_what_is_finished(monkeypatch: pytest.MonkeyPatch) -> None:
    control, right, calls = Control(), Proposal.draw, []

    def draw(self, n, rng):  # type: ignore[no-untyped-def]
        calls.append(n)
        if len(calls) == 2:
            control.stop()
        return right(self, n, rng)

    monkeypatch.setattr(Proposal, "draw", draw)
    tree = jm.fit(apart(1), spec(), progress=False, control=control)
    assert tree.attrs["partial"] == 1
    # The pilot, and one block of 250 steps of four chains.
    assert tree["posterior"].sizes["draw"] == 250


def test_an_interrupt_before_the_first_draws_is_one(monkeypatch: pytest.MonkeyPatch) -> None:
    right, calls = Proposal.draw, []

    def draw(self, n, rng):  # type: ignore[no-untyped-def]
        calls.append(n)
        if len(calls) == 2:
            raise KeyboardInterrupt
        return right(self, n, rng)

    monkeypatch.setattr(Proposal, "draw", draw)
    with pytest.raises(KeyboardInterrupt, match="before the first draws"):
        jm.fit(apart(1), spec(), progress=False)


def test_a_mode_that_the_proposal_misses_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    right = jm.fit({"x": three_clumps()}, _two_means(SETTINGS), progress=False)
    assert {each.status for each in mass.check(right)} == {"ok"}
    monkeypatch.setattr(
        independence, "make_proposal", lambda at, main, *_: make_proposal(at, main, ())
    )
    tree = jm.fit({"x": three_clumps()}, _two_means(SETTINGS), progress=False)
    assert json.loads(tree.attrs["proposal"])["modes"] == 1
    assert {each.status for each in mass.check(tree)} == {"caution"}
    assert tree.attrs["verdict"] != "OK"
