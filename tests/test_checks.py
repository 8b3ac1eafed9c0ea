"""Doctored trees are caught, clean ones raise no alarm."""

import json
from dataclasses import replace

import arviz_stats
import numpy as np
import pytest
import xarray as xr
from scipy.stats import multivariate_normal, norm
from synthetic import N_CHAINS, N_DRAWS, fitted_tree

import jointmix as jm
from jointmix.base.errors import SchemaError
from jointmix.checks import (
    Finding,
    divergences,
    duplicates,
    empty,
    energy,
    findings_from_dataset,
    findings_to_dataset,
    frozen,
    identification,
    modes,
    notes,
    rhat,
    run_checks,
    switching,
    verdict,
)
from jointmix.checks.duplicates import bhattacharyya, cluster_distances
from jointmix.checks.finding import above, below
from jointmix.model.serialised import spec_from_dict
from jointmix.posterior.summaries import moving_entries, statistics, summary


@pytest.fixture(scope="module")
def clean() -> xr.DataTree:
    return fitted_tree()


@pytest.fixture
def tree(clean: xr.DataTree) -> xr.DataTree:
    return clean.copy(deep=True)


def statuses(tree: xr.DataTree) -> dict[tuple[str, str], str]:
    return {(finding.code, finding.subject): finding.status for finding in run_checks(tree)}


@pytest.mark.parametrize("seed", range(5))
def test_clean_fits_raise_no_alarm(seed: int) -> None:
    findings = run_checks(fitted_tree(seed=seed))
    assert verdict(findings) == "OK", [f.message for f in findings if f.status != "ok"]


@pytest.mark.parametrize(
    "options",
    [
        {"response": False},
        {"features": False, "predictors": ["u1", "u2"]},
        {"n_clusters": 1},
        {"n_features": 1},
        {"predictors": ["x1", "outside"]},
    ],
)
def test_every_structure_is_checked(options: dict) -> None:
    assert verdict(run_checks(fitted_tree(**options))) == "OK"


@pytest.mark.parametrize(("count", "status"), [(0, "ok"), (1, "caution"), (10, "caution"),
                                               (11, "fail")])  # fmt: skip
def test_divergences_are_judged_from_both_sides(tree: xr.DataTree, count: int, status: str) -> None:
    diverging = tree["sample_stats"]["diverging"].values
    diverging.flat[:count] = True
    (finding,) = divergences.check(tree)
    assert (finding.status, finding.value) == (status, count)


def test_a_shifted_chain_is_in_another_mode(tree: xr.DataTree) -> None:
    tree["invariant"]["log_likelihood"].values[2] -= 30
    (finding,) = modes.check(tree)
    assert finding.status == "fail"
    assert "Chain 2 sits in another mode" in finding.message
    assert statuses(tree)["rhat", "label-free quantities"] == "fail"


def test_a_small_gap_is_no_other_mode(tree: xr.DataTree) -> None:
    values = tree["invariant"]["log_likelihood"].values
    values[:] = -1000 + np.random.default_rng(0).normal(0, 0.1, values.shape)
    values[1] -= 1.9
    # 1.9 units are hundreds of standard errors here, but of no consequence.
    assert modes.check(tree)[0].status == "ok"
    values[1] -= 0.4
    assert modes.check(tree)[0].status == "fail"


@pytest.mark.parametrize(("gap", "status"), [(4.0, "ok"), (7.0, "fail")])
def test_a_gap_is_measured_in_standard_errors(tree: xr.DataTree, gap: float, status: str) -> None:
    values = tree["invariant"]["log_likelihood"].values
    rng = np.random.default_rng(1)
    noise = rng.normal(size=values.shape)
    noise = (noise - noise.mean(axis=1, keepdims=True)) / noise.std(axis=1, keepdims=True)
    # Two means of 250 draws with sd 15: their difference has a standard error of about 1.3.
    values[:] = -1000 + 15 * noise
    values[2] -= gap
    (finding,) = modes.check(tree)
    assert finding.status == status
    assert finding.value == pytest.approx(gap / 1.34, rel=0.15)


def test_a_frozen_chain_fails(tree: xr.DataTree) -> None:
    tree["invariant"]["log_likelihood"].values[3] = -5.0
    found = statuses(tree)
    assert found["frozen", "chains"] == "fail"
    assert verdict(run_checks(tree)) == "DO NOT USE"


@pytest.mark.parametrize(("distinct", "status"), [(126, "ok"), (124, "caution"), (24, "fail")])
def test_repeated_draws_are_judged_from_both_sides(
    tree: xr.DataTree, distinct: int, status: str
) -> None:
    values = tree["invariant"]["log_likelihood"].values
    values[0] = np.arange(N_DRAWS) % distinct
    assert frozen.check(tree)[0].status == status


def test_a_frozen_parameter_in_one_chain_is_seen_by_rhat(tree: xr.DataTree) -> None:
    tree["posterior"]["sigma"].values[0] = 3.0
    finding = rhat.check(tree)[1]
    assert finding.status == "fail"
    assert "sigma" in finding.message


def test_constants_are_skipped(tree: xr.DataTree) -> None:
    tree["posterior"]["sigma"].values[:] = 0.5
    assert verdict(run_checks(tree)) == "OK"
    rows = summary(tree).filter(like="sigma", axis=0)
    assert rows["r_hat"].isna().all()
    assert (rows["sd"] == 0).all()


def test_unidentified_draws_are_refused(tree: xr.DataTree) -> None:
    posterior = tree["posterior"].to_dataset().rename(cluster="component")
    raw = xr.DataTree.from_dict({"posterior": posterior})
    with pytest.raises(SchemaError, match="Identify the draws first"):
        summary(raw)


def test_few_effective_draws_are_seen(tree: xr.DataTree) -> None:
    values = tree["posterior"]["sigma"].values
    values[:, :, 0] += 0.02 * np.cumsum(
        np.random.default_rng(3).normal(size=(N_CHAINS, N_DRAWS)), axis=1
    )
    assert statuses(tree)["ess", "bulk"] == "fail"


def test_a_slow_energy_is_a_caution(tree: xr.DataTree) -> None:
    steps = np.random.default_rng(3).normal(size=(N_CHAINS, N_DRAWS))
    tree["sample_stats"]["energy"].values[:] = np.cumsum(steps, axis=1)
    assert energy.check(tree)[0].status == "caution"


def test_the_depth_limit_is_a_caution(tree: xr.DataTree) -> None:
    depth = tree["sample_stats"]["tree_depth"].values
    depth.flat[:10] = 10
    assert statuses(tree)["tree depth", "draws"] == "ok"
    depth.flat[:11] = 10
    assert statuses(tree)["tree depth", "draws"] == "caution"


@pytest.mark.parametrize(("count", "status"), [(10, "ok"), (11, "caution"), (100, "caution"),
                                               (101, "fail")])  # fmt: skip
def test_switches_within_chains(tree: xr.DataTree, count: int, status: str) -> None:
    identified(tree, agreement=0.98)
    permutation = tree["labels"]["permutation"].values
    permutation[0, : min(count, 100)] = [1, 0, 2]
    permutation[1, : max(0, count - 100)] = [1, 0, 2]
    assert switching.check(tree)[0].status == status
    # Where another method surely gives the same labels, no switch is a failure.
    identified(tree, agreement=0.995, switch_rate=count / (N_CHAINS * N_DRAWS))
    assert switching.check(tree)[0].status == ("ok" if status == "ok" else "caution")
    # What was known of other draws says nothing of these.
    identified(tree, switch_rate=0.0)
    assert switching.check(tree)[0].status == status


def test_sorted_clusters_are_judged_by_their_rows(tree: xr.DataTree) -> None:
    tree["labels"]["permutation"].values[:, :15] = [1, 0, 2]
    identified(tree, method="order_by", other="ecr", agreement=0.92)
    found = switching.check(tree)[0]
    assert (found.status, found.value) == ("caution", pytest.approx(0.08))
    assert found.message.startswith("Sorting gives the clusters of 6.00% of the draws other labels")
    assert "(ECR) contradicts it in 8.00% of the draws: clusters are exchanged" in found.message
    assert "put back" not in found.message
    assert 'identify(tree, "ecr")' in found.remedy
    assert "put back" not in identification.check(tree)[0].message
    assert 'identify(tree, "ecr")' in identification.check(tree)[0].remedy
    # The sampler's labels switched, and the variable told the clusters apart.
    identified(tree, agreement=1.0)
    assert switching.check(tree)[0].status == "ok"


def identified(tree: xr.DataTree, **changes: object) -> None:
    found = json.loads(tree.attrs["identification"]) | changes
    tree.attrs["identification"] = json.dumps(found)


def test_a_chain_with_other_labels_is_named(tree: xr.DataTree) -> None:
    tree["labels"]["permutation"].values[2] = [2, 0, 1]
    within, between = switching.check(tree)
    assert within.status == "ok"
    assert between.status == "caution"
    assert "Chain 2 has" in between.message


def test_permuted_draws_are_seen_by_rhat(tree: xr.DataTree) -> None:
    mean = tree["posterior"]["mean"].values
    mean[1] = mean[1][:, [1, 0, 2]]
    assert statuses(tree)["rhat", "parameters"] == "fail"


@pytest.mark.parametrize(
    ("expected", "status"), [(14.5, "ok"), (13.5, "caution"), (1.5, "caution"), (0.5, "fail")]
)
def test_empty_clusters(tree: xr.DataTree, expected: float, status: str) -> None:
    # A cluster has 3 means, 6 (co)variances, an intercept, 3 slopes and a noise: 14.
    share = expected / 342
    tree["posterior"]["weight"].values[:] = [share, (1 - share) / 2, (1 - share) / 2]
    tree["allocation"]["responsibility"].values[:] = [share, (1 - share) / 2, (1 - share) / 2]
    finding, _ = empty.check(tree)
    assert finding.status == status
    assert finding.value == pytest.approx(expected)
    assert f"weight {share:.2g}, 89% interval {share:.2g} to {share:.2g}" in finding.message


@pytest.mark.parametrize(
    ("model", "count"),
    [
        ({"covariance": "full"}, 14),
        ({"covariance": "diagonal"}, 11),
        ({"covariance": "spherical"}, 9),
        ({"covariance": "tied"}, 8),
        ({"covariance": "diagonal", "noise": "shared", "intercept": False}, 9),
    ],
)
def test_parameters_of_a_cluster_are_counted(clean: xr.DataTree, model: dict, count: int) -> None:
    spec = json.loads(clean.attrs["spec"])
    spec["model"] |= model
    assert spec_from_dict(spec).n_own_parameters == count


def test_duplicate_clusters_are_a_caution(tree: xr.DataTree) -> None:
    posterior = tree["posterior"]
    for name in posterior.data_vars:
        if name != "weight":
            posterior[name].values[:, :, 1] = posterior[name].values[:, :, 0]
    (finding,) = duplicates.check(tree)
    assert finding.status == "caution"
    assert finding.value == pytest.approx(0, abs=1e-9)


def test_equal_features_with_other_lines_are_no_duplicates() -> None:
    tree = fitted_tree(n_clusters=2, n_features=1, predictors=["outside"])
    posterior = tree["posterior"]
    for name in ("mean", "sd"):
        posterior[name].values[:, :, 1] = posterior[name].values[:, :, 0]
    assert duplicates.check(tree)[0].status == "ok"


def test_bhattacharyya_by_hand() -> None:
    one = np.eye(1)
    assert bhattacharyya(np.array([[2.0]]), one, one) == pytest.approx(4 / 8)
    assert bhattacharyya(np.zeros((1, 1)), one, 4 * one) == pytest.approx(
        0.5 * np.log(2.5 / np.sqrt(4))
    )
    # Units cancel.
    scale = np.array([[1e6]])
    assert bhattacharyya(2 * scale, scale**2, scale**2) == pytest.approx(4 / 8)


def test_distances_are_those_of_the_densities(tree: xr.DataTree) -> None:
    """exp(−distance) is ∫ √(p q), here the mean of √(q/p) over points drawn from p."""
    posterior = tree["posterior"].to_dataset().isel(chain=[0], draw=[5])
    # Clusters near each other, so that the mean has a small variance; correlations of their own.
    first, number = posterior.isel(cluster=0, drop=True), xr.DataArray(np.arange(3), dims="cluster")
    posterior["mean"] = first["mean"] + 0.3 * number * first["sd"]
    posterior["intercept"] = first["intercept"] + 0.4 * number * first["sigma"]
    for name, growth in (("sd", 0.1), ("sigma", 0.2), ("slope", 1e-3)):
        posterior[name] = first[name] * (1 + growth * number)
    tree["posterior"] = xr.DataTree(posterior)
    found = cluster_distances(tree)
    point = posterior.isel(chain=0, draw=0)
    rng = np.random.default_rng(0)

    def log_density(j: int, x: np.ndarray, y: np.ndarray) -> np.ndarray:
        own = point.isel(cluster=j)
        covariance = own["correlation"].values * np.outer(own["sd"], own["sd"])
        line = float(own["intercept"]) + x @ own["slope"].values
        return multivariate_normal.logpdf(x, own["mean"].values, covariance) + norm.logpdf(
            y, line, float(own["sigma"])
        )

    for (one, other), distance in found.items():
        own = point.isel(cluster=one)
        covariance = own["correlation"].values * np.outer(own["sd"], own["sd"])
        x = rng.multivariate_normal(own["mean"].values, covariance, size=100_000)
        line = float(own["intercept"]) + x @ own["slope"].values
        y = line + float(own["sigma"]) * rng.normal(size=len(x))
        root = np.exp((log_density(other, x, y) - log_density(one, x, y)) / 2)
        error = 4 * root.std() / np.sqrt(len(root))
        assert distance.shape == (1,)
        assert abs(np.exp(-distance[0]) - root.mean()) < error


def test_duplicates_in_most_draws_are_named(tree: xr.DataTree) -> None:
    posterior = tree["posterior"]
    for share, status in ((0.4, "ok"), (0.6, "caution")):
        changed = tree.copy(deep=True)
        count = int(share * N_DRAWS)
        for variable in changed["posterior"].data_vars.values():
            variable.values[:, :count, 2] = variable.values[:, :count, 0]
        (finding,) = duplicates.check(changed)
        assert finding.status == status
        assert "clusters, 1 and 3," in finding.message
        assert f"below 0.1 in {share:.0%} of the draws" in finding.message
    assert not np.array_equal(posterior["mean"][:, :, 2], posterior["mean"][:, :, 0])


def test_notes_are_carried_over(tree: xr.DataTree) -> None:
    tree.attrs["notes"] = json.dumps(
        [
            {"code": "near_collinear", "subject": "x1", "value": 1e7, "message": "Collinear."},
            {"code": "rows_left_out", "subject": "x2", "value": 3, "message": "3 rows left out."},
        ]
    )
    collinear, left_out = notes.check(tree)
    assert (collinear.status, collinear.value) == ("caution", 1e7)
    assert left_out.status == "ok"
    assert verdict(run_checks(tree)) == "CAUTION"


@pytest.mark.parametrize(("subject", "parameter"), [("x1", "sd"), ("y", "sigma")])
def test_ties_matter_where_the_prior_does_not_avoid_zero(
    tree: xr.DataTree, subject: str, parameter: str
) -> None:
    note = {"code": "ties", "subject": subject, "value": 0.97, "message": "97% of rows tie."}
    tree.attrs["notes"] = json.dumps([note])
    assert notes.check(tree)[0].status == "ok"
    spec = json.loads(tree.attrs["spec"])
    spec["priors"][parameter] = {"family": "half_normal", "scale": 1.0}
    tree.attrs["spec"] = json.dumps(spec)
    assert notes.check(tree)[0].status == "caution"


def test_interrupted_sampling_is_a_caution(tree: xr.DataTree) -> None:
    tree.attrs["partial"] = 1
    assert statuses(tree)["partial", "draws"] == "caution"


def test_a_check_without_its_numbers_is_skipped(tree: xr.DataTree) -> None:
    tree["sample_stats"] = tree["sample_stats"].to_dataset().drop_vars("energy")
    (finding,) = energy.check(tree)
    assert finding.status == "skipped"
    assert finding.message.startswith("Not computed, because")
    assert verdict([finding]) == "OK"


def test_findings_survive_the_dataset(clean: xr.DataTree) -> None:
    findings = tuple(f for f in run_checks(clean) if not np.isnan(f.threshold))
    assert findings_from_dataset(findings_to_dataset(findings)) == findings


def test_a_dataset_without_findings_is_refused() -> None:
    with pytest.raises(SchemaError, match="lacks"):
        findings_from_dataset(xr.Dataset())


def test_verdict_takes_the_gravest() -> None:
    def finding(status: str) -> Finding:
        return Finding(code="c", subject="s", status=status, value=0.0, threshold=0.0,
                       message="", remedy="", source="")  # fmt: skip

    assert verdict([]) == "OK"
    assert verdict([finding("ok"), finding("caution")]) == "CAUTION"
    assert verdict([finding("fail"), finding("caution")]) == "DO NOT USE"


def test_thresholds_are_not_yet_beyond() -> None:
    assert [above(v, 1.01, 1.05) for v in (1.01, 1.011, 1.05, 1.051)] == [
        "ok", "caution", "caution", "fail"]  # fmt: skip
    assert [below(v, 400, 100) for v in (400, 399, 100, 99)] == ["ok", "caution", "caution", "fail"]


def test_rhat_allows_for_chance_in_short_runs_only() -> None:
    assert rhat.chance_bound(4, 1000, 50) < rhat.CAUTION < rhat.chance_bound(4, 250, 50)
    rng = np.random.default_rng(11)
    draws = xr.DataArray(rng.normal(size=(4, 250, 500)), dims=("chain", "draw", "q"))
    assert float(statistics(draws)["r_hat"].max()) < rhat.chance_bound(4, 250, 500)


def test_rhat_allows_for_draws_that_follow_each_other() -> None:
    """Chains of one law whose spread mixes slowly: no alarm; one chain apart: an alarm."""
    alarms = plain = 0
    for seed in range(20):
        rng = np.random.default_rng(seed)
        level = np.zeros((4, 600, 5))
        for t in range(1, 600):
            level[:, t] = 0.9 * level[:, t - 1] + np.sqrt(0.19) * rng.normal(size=(4, 5))
        # The scale follows the chain, the sign is fresh: locations mix well, spreads slowly.
        values = np.exp(level) * rng.normal(size=level.shape)
        draws = xr.DataArray(values, dims=("chain", "draw", "q"), coords={"q": list("abcde")})
        alarms += rhat._judge("parameters", moving_entries({"p": draws})).status != "ok"
        plain += bool((arviz_stats.rhat(draws) > rhat.CAUTION).any())
        apart = draws.copy()
        apart[2] *= 2.5
        assert rhat._judge("parameters", moving_entries({"p": apart})).status != "ok"
    # Once in 1,000 runs is allowed for, where a bound for independent draws would cry each time.
    assert alarms <= 1
    assert plain == 20


def test_summary_rows_are_the_draws_own_numbers(clean: xr.DataTree) -> None:
    table = summary(clean, interval=0.5)
    draws = clean["posterior"]["mean"].values[:, :, 1, 2].ravel()
    row = table.loc["mean[cluster 2, x3]"]
    assert row["mean"] == pytest.approx(draws.mean(), rel=1e-12)
    assert row["sd"] == pytest.approx(draws.std(ddof=1), rel=1e-12)
    bounds = [row["eti50_lb"], row["eti50_ub"]]
    assert bounds == pytest.approx(np.quantile(draws, [0.25, 0.75]), rel=1e-12)
    # Independent draws: the standard error is sd/√1000, within its own error.
    assert row["mcse_mean"] == pytest.approx(draws.std() / np.sqrt(1000), rel=0.2)
    assert "correlation[cluster 1, x2, x1]" in table.index
    # 3 clusters of 1 + 3 + 3 + 3 + 1 + 3 + 1 quantities.
    assert len(table) == 45


def test_clusters_without_features_are_told_apart_by_the_response_alone() -> None:
    truth = jm.four_clusters(2, 1, "poisson")
    rows = jm.simulate(replace(truth, intercept=[0.0, 2.5]), 120, 1)
    spec = jm.ModelSpec(
        n_clusters=2, predictors=["x1"], response="y", family="poisson",
        sampler=jm.SamplerSpec(sampler="laplace", draws=25),
    )  # fmt: skip
    tree = jm.fit(rows, spec, progress=False)
    (finding,) = duplicates.check(tree)
    assert finding.status == "ok"
    posterior, at = tree["posterior"], tree["constant_data"]["u"].values[:, 0]
    intercept, slope = posterior["intercept"].values, posterior["slope"].values
    mean = [np.exp(intercept[..., k, None] + slope[..., k, :] * at) for k in range(2)]
    # Gaussians with the means and variances of Poisson numbers, averaged over the rows.
    apart = (mean[0] - mean[1]) ** 2 / (mean[0] + mean[1]) / 4
    apart += np.log((mean[0] + mean[1]) / 2 / np.sqrt(mean[0] * mean[1])) / 2
    assert finding.value == pytest.approx(np.median(apart.mean(axis=-1)), rel=1e-9)
    for name in ("intercept", "slope"):
        posterior[name].values[:, :, 1] = posterior[name].values[:, :, 0]
    (finding,) = duplicates.check(tree)
    assert finding.status == "caution"
    assert finding.value == pytest.approx(0, abs=1e-9)
