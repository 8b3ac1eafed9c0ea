"""What reports say of models with a part missing, of shared parameters, and of empty clusters."""

import json
import math
from pathlib import Path

import numpy as np
import pytest
import xarray as xr
from synthetic import fitted_tree

from jointmix.base.numbers import deciding, fixed, percent, probability
from jointmix.checks import (
    approximation,
    diagnose,
    energy,
    floor,
    identification,
    rhat,
    run_checks,
    separation,
)
from jointmix.checks.finding import Finding
from jointmix.posterior.draws import fitted_spec
from jointmix.reporting import report
from jointmix.reporting.elements import flat
from jointmix.reporting.fitted import FittedView
from jointmix.reporting.model_graph import model_graph
from jointmix.reporting.sections import clusters, convergence, estimates, model, scores
from jointmix.reporting.text import compact


def specified(tree: xr.DataTree, model: dict, priors: dict | None = None) -> xr.DataTree:
    """The tree as that of another model; its draws stay."""
    spec = json.loads(tree.attrs["spec"])
    spec["model"] |= model
    spec["priors"] = {**spec["priors"], **(priors or {})}
    tree.attrs["spec"] = json.dumps(spec)
    return tree


def emptied(mean: float = 0.0) -> xr.DataTree:
    """Three clusters, the last without rows and with any parameters."""
    tree = fitted_tree(n_obs=90, n_features=2)
    allocation = tree["allocation"].to_dataset().copy(deep=True)
    for name in ("responsibility", "responsibility_features"):
        allocation[name][:, 2] = 0.0
        allocation[name] /= allocation[name].sum("cluster").clip(1e-300)
    allocation["allocation"] = allocation["allocation"].clip(max=2)
    tree["allocation"] = xr.DataTree(allocation)
    posterior = tree["posterior"].to_dataset().copy(deep=True)
    for name in ("mean", "slope", "intercept"):
        posterior[name].loc[{"cluster": 3}] += mean
    tree["posterior"] = xr.DataTree(posterior)
    return tree


@pytest.mark.parametrize("n_clusters", [1, 2])
@pytest.mark.parametrize(
    ("changes", "priors", "where"),
    [
        ({}, {}, "at the average of every predictor"),
        ({"standardize": False}, {}, "where every predictor is 0"),
        ({"intercept": False}, {}, None),
        ({}, {"intercept": {"family": "fixed", "value": 0.5}}, None),
    ],
)
def test_where_the_intercepts_prior_is_that_of_the_response(
    n_clusters: int, changes: dict, priors: dict, where: str | None
) -> None:
    tree = specified(fitted_tree(n_clusters=n_clusters, n_obs=60), changes, priors)
    (table,) = model._priors(FittedView(tree))
    said = [note for note in table.notes if "intercept" in note]
    assert said == [f"The intercept's interval is that of the response {where}."] * (
        where is not None
    )


def test_the_bound_is_on_the_side_where_findings_pass() -> None:
    for tree in (fitted_tree(), fitted_tree(n_clusters=2, n_obs=200), fitted_tree(n_clusters=1)):
        judged = [each for each in run_checks(tree) if math.isfinite(each.threshold)]
        assert {"prior scale", "rhat", "ess"} <= {each.code for each in judged}
        for each in judged:
            above = each.value >= each.threshold
            below = each.value <= each.threshold
            if each.status == "ok":
                assert above if each.bound == "at least" else below, each.code
        found = {each["check"]: each["bound"] for each in diagnose(tree).as_dict()["checks"]}
        assert found["prior scale:clusters"] == "at least"
        assert found["rhat:parameters"] == "at most"


def test_a_scale_far_above_what_its_prior_lets_it_be_has_no_number() -> None:
    tree = fitted_tree()
    stored = json.loads(tree.attrs["spec"])
    stored["priors"] |= {"sigma": {"family": "inverse_gamma", "shape": 1.0, "scale": 0.01}}
    tree.attrs["spec"] = json.dumps(stored)
    spec = fitted_spec(tree)
    # Spreads of a hundredth, where the posterior lies far above the prior's floor.
    wide = tree["posterior"].to_dataset().map(lambda draws: draws)
    wide["sd"], wide["sigma"] = 1000 * wide["sd"], 1000 * wide["sigma"]
    tree["posterior"] = xr.DataTree(wide)
    assert all(each.ratio < 0.1 and not each.at_floor for each in floor.own_scales(tree, spec))
    (found,) = floor.check(tree)
    assert found.status == "ok"
    assert math.isnan(found.value)


def test_one_cluster_skips_in_one_line() -> None:
    skipped = [each for each in run_checks(fitted_tree(n_clusters=1)) if each.status == "skipped"]
    assert [each.code for each in skipped] == ["one cluster"]
    for code in ("collapse", "separation", "labels", "identification", "empty clusters"):
        assert code in skipped[0].message


@pytest.mark.parametrize(
    ("model", "priors", "shared", "fixed"),
    [
        ({}, {}, set(), set()),
        ({"covariance": "tied"}, {}, {"Σ"}, set()),
        ({"noise": "shared"}, {}, {"σ"}, set()),
        (
            {"noise": "fixed", "covariance": "fixed"},
            {
                "sigma": {"family": "fixed", "value": 0.5},
                "covariance": {"family": "fixed", "value": 0.1},
            },
            {"Σ", "σ"},
            {"Σ", "σ"},
        ),
        (
            {"noise": "fixed"},
            {"sigma": {"family": "fixed", "value": [0.5, 1.0, 2.0]}},
            set(),
            {"σ"},
        ),
    ],
    ids=["own", "tied", "shared noise", "fixed", "fixed by cluster"],
)
def test_what_clusters_share_stands_outside_their_plate(
    model: dict, priors: dict, shared: set[str], fixed: set[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    drawn = {}
    monkeypatch.setattr(
        "jointmix.reporting.diagrams.graph",
        lambda nodes, _, plates: drawn.update(nodes=nodes, plates=plates) or b"",
    )
    figure = model_graph(FittedView(specified(fitted_tree(n_obs=60), model, priors)))
    left, bottom, width, height = drawn["plates"]["3 clusters"]
    for label in ("μ", "Σ", "b, θ", "σ"):
        x, y, sign = drawn["nodes"][label]
        inside = left < x < left + width and bottom < y < bottom + height
        assert inside == (label not in shared), label
        assert (sign == "fixed") == (label in fixed), label
        assert (f"{label} (" in figure.caption) == (label in shared)
    assert ("Squares" in figure.caption) == bool(fixed)


def said(tree: xr.DataTree, folder: Path) -> str:
    """The report as Markdown, without the specification."""
    text = report(tree, folder / "r.md").read_text("utf-8")
    return text[: text.index("### Repeat this fit")]


def test_a_model_without_a_response_says_nothing_of_one(tmp_path: Path) -> None:
    text = said(fitted_tree(response=False, n_obs=90), tmp_path)
    for words in ("response", "p(x, y)", "y given x", "redict from", "Predictions", "intercept"):
        assert words not in text
    assert "features, p(x)" in text


def test_a_model_without_features_says_nothing_of_them(tmp_path: Path) -> None:
    tree = fitted_tree(features=False, predictors=["u1", "u2"], n_obs=90)
    text = said(tree, tmp_path)
    for words in ("feature", "p(x", "| x", "given x"):
        assert words not in text.replace("\\", "")
    assert "predicted from its predictors by the rest" in text
    assert list(scores._densities(FittedView(tree))) == ["joint"]


def test_levels_are_lines_at_the_average_of_all_rows() -> None:
    tree = fitted_tree(n_obs=120)
    view = FittedView(tree)
    average = tree["constant_data"]["u"].mean("obs").values
    for k, level in enumerate(view.levels):
        draws = tree["posterior"].to_dataset().isel(cluster=k)
        line = draws["intercept"].values + draws["slope"].values @ average
        assert level.mean == pytest.approx(line.mean())
        assert [level.lower, level.upper] == pytest.approx(np.quantile(line, [0.055, 0.945]))
    texts = [element for element in estimates.section(view).elements if hasattr(element, "notes")]
    overview = next(table for table in texts if table.caption.startswith("Estimates by cluster"))
    row = next(row for row in overview.rows if row[0].text == "intercept at the averages")
    assert [cell.text for cell in row[2:]] == [level.value for level in view.levels]
    shown = f"x1 {average[0]:.4g}"
    assert shown in overview.notes[0]


def test_empty_clusters_are_said_and_set_no_axes(tmp_path: Path) -> None:
    def pictures(tree: xr.DataTree) -> list[bytes]:
        view = FittedView(tree)
        elements = (*clusters.section(view).elements, *estimates.section(view).elements)
        return [panel.svg for each in flat(elements) for panel in getattr(each, "panels", ())]

    near, far = emptied(), emptied(1e6)
    assert pictures(near) == pictures(far)
    text = report(far, tmp_path / "r.md", sections=["verdict", "estimates"]).read_text("utf-8")
    assert "Cluster 3 holds no rows (89% interval" in text
    assert "Cluster 3 holds no rows: its parameters are the prior's, and are not drawn." in text
    assert "cluster 1 − cluster 2" in text
    assert "− cluster 3" not in text


@pytest.mark.parametrize(
    ("share", "places", "text"),
    [
        (0.0, 1, "0.0%"), (1e-9, 1, "< 0.1%"), (0.0004999, 1, "< 0.1%"), (0.123, 1, "12.3%"),
        (0.99999, 1, "> 99.9%"), (1.0, 1, "100.0%"), (0.001, 0, "< 1%"), (0.999, 0, "> 99%"),
        (1e-6, 2, "< 0.01%"), (float("nan"), 1, "–"),
    ],
)  # fmt: skip
def test_shares_are_not_rounded_to_none_or_all(share: float, places: int, text: str) -> None:
    assert percent(share, places) == text


@pytest.mark.parametrize(
    ("value", "resolution", "text"),
    [
        (0.0, 0.001, "< 0.001"), (0.0004, 0.001, "< 0.001"), (0.001, 0.001, "0.001"),
        (0.25, 0.001, "0.250"), (0.9999, 0.001, "> 0.999"), (1.0, 0.001, "> 0.999"),
        (0.999, 0.001, "0.999"), (0.0, 1 / 200, "< 0.005"), (0.005, 1 / 200, "0.005"),
        (1.0, 1 / 200, "> 0.995"), (float("nan"), 0.001, "–"),
    ],
)  # fmt: skip
def test_probabilities_are_neither_zero_nor_one(value: float, resolution: float, text: str) -> None:
    assert probability(value, resolution) == text


@pytest.mark.parametrize("limit", [1.05, 0.01, 0.1, 0.3, 4.0, 400.0, 1.0273])
@pytest.mark.parametrize("step", [1e-3, 1e-6, -1e-6, 1e-12])
def test_as_many_digits_are_shown_as_decide(limit: float, step: float) -> None:
    value = limit * (1 + step)
    shown = compact(value, limit), compact(limit, value)
    assert shown[0] != shown[1]
    assert (float(shown[0]) > float(shown[1])) == (value > limit)
    said = fixed(value, 2, limit)
    assert float(said) != float(fixed(limit, len(said.partition(".")[2])))
    if limit < 1:
        share = percent(value, 1, limit)
        assert share != percent(limit, len(share.partition(".")[2]) - 1)
    # What is equal, or has no limit, is as short as before.
    assert compact(limit, limit) == compact(limit)
    assert fixed(limit, 2, limit) == fixed(limit, 2) == f"{limit:.2f}"
    assert deciding(math.nan, (limit,), "{:.{}f}".format, 3) == 3


def test_findings_just_beyond_their_thresholds_say_so(monkeypatch: pytest.MonkeyPatch) -> None:
    tree = fitted_tree(n_obs=60)
    tree.attrs |= {"approximation": "laplace", "pareto_shape": 0.7000004}
    (found,) = approximation.check(tree)
    assert "(Pareto k = 0.7000004, above 0.7)" in found.message
    tree.attrs["approximation"] = ""
    known = json.loads(tree.attrs["identification"])
    tree.attrs["identification"] = json.dumps(known | {"agreement": 1 - 0.010000002})
    assert "the labels of 1.0000002% of" in identification.check(tree)[0].message
    tree.attrs["ordering"] = json.dumps({"separation": 3.9999, "evidence": 0.0004})
    (found,) = separation.check(tree)
    assert found.message == (
        "Neighbouring clusters lie at least 3.9999 standard errors apart; merging two of them "
        "raises BIC by 0.0004."
    )
    monkeypatch.setattr(energy.arviz_stats, "bfmi", lambda _: np.full(4, energy.CAUTION - 1e-5))
    assert f"is {energy.CAUTION - 1e-5:.5f} (chain" in energy.check(tree)[0].message
    monkeypatch.setattr(rhat, "r_hats", lambda draws: np.full(len(draws), 1.0500003))
    for found in rhat.check(tree):
        assert (found.status, "is 1.0500003, where up to" in found.message) == ("fail", True)
    cells = convergence._checks((found,)).rows[0]
    assert cells[2].text == "1.05"
    at = Finding(**(vars(found) | {"threshold": 1.05}))
    cells = convergence._checks((at,)).rows[0]
    assert [cell.text for cell in cells[2:4]] == ["1.0500003", "≤ 1.05"]
