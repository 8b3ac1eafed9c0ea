"""A check whose numbers are not there says so, and why; stated priors integrate to one."""

import json
from collections.abc import Callable

import numpy as np
import pytest
import xarray as xr
from scipy.integrate import quad
from synthetic import fitted_tree

from jointmix.checks import (
    depth,
    divergences,
    empty,
    identification,
    modes,
    notes,
    separation,
    switching,
)
from jointmix.checks.finding import Finding
from jointmix.families.priors.density import log_density
from jointmix.families.priors.priors import (
    Fixed,
    Gamma,
    HalfNormal,
    HalfStudentT,
    InverseGamma,
    LogNormal,
    Normal,
    StudentT,
)

Check = Callable[[xr.DataTree], tuple[Finding, ...]]


@pytest.fixture
def tree() -> xr.DataTree:
    return fitted_tree(2, 1, 60)


def without(tree: xr.DataTree, group: str, name: str) -> xr.DataTree:
    tree[group] = xr.DataTree(tree[group].to_dataset().drop_vars(name))
    return tree


@pytest.mark.parametrize(
    ("check", "group", "name", "reason"),
    [
        (depth.check, "sample_stats", "tree_depth", "the sampler did not report tree depths"),
        (divergences.check, "sample_stats", "diverging", "the sampler did not report divergences"),
        (empty.check, "labels", "occupied", "it was not followed while identifying"),
    ],
)
def test_numbers_that_are_absent_are_named(
    tree: xr.DataTree, check: Check, group: str, name: str, reason: str
) -> None:
    assert "skipped" not in {finding.status for finding in check(tree)}
    found = [each for each in check(without(tree, group, name)) if each.status == "skipped"]
    assert [each.message for each in found] == [f"Not computed, because {reason}."]
    assert np.isnan(found[0].value)
    assert found[0].remedy == ""


def test_ties_are_a_concern_where_no_prior_can_be_read(tree: xr.DataTree) -> None:
    tree.attrs["notes"] = json.dumps(
        [{"code": "ties", "subject": "x1", "value": 0.9, "message": "Tied.", "remedy": "Jitter."}]
    )
    assert [(each.status, each.remedy) for each in notes.check(tree)] == [("ok", "")]
    tree.attrs["spec"] = json.dumps(json.loads(tree.attrs["spec"]) | {"model": {"n_clusters": 0}})
    assert [(each.status, each.remedy) for each in notes.check(tree)] == [("caution", "Jitter.")]


def test_labels_without_permutations_cannot_switch(tree: xr.DataTree) -> None:
    del tree["labels"]
    (found,) = switching.check(tree)
    assert found.message == "Not computed, because no permutations are stored."
    (found,) = switching.check(fitted_tree(1, 1, 60))
    assert found.message == "Not computed, because one cluster has no labels to switch."


@pytest.mark.parametrize(
    ("stored", "reason"),
    [
        ({}, "no second method was tried"),
        ({"agreement": 1.0, "n_compared": 0}, "there are no labels to identify"),
    ],
)
def test_labels_that_no_second_method_saw(
    tree: xr.DataTree, stored: dict[str, float], reason: str
) -> None:
    tree.attrs["identification"] = json.dumps(stored)
    (found,) = identification.check(tree)
    assert (found.status, found.message) == ("skipped", f"Not computed, because {reason}.")


def test_one_chain_has_no_other_mode_to_be_in(tree: xr.DataTree) -> None:
    first = tree.isel(chain=[0])
    (found,) = modes.check(first)
    assert found.message == "Not computed, because there is one chain only."


@pytest.mark.parametrize(
    ("gap", "evidence", "status", "words"),
    [
        (12.0, 40.0, "ok", "12.0 standard errors apart; merging two of them raises BIC by 40.0"),
        (12.0, -3.0, "caution", "is superfluous: merging it with its neighbour lowers BIC by 3.0"),
        (12.0, None, "ok", "Neighbouring clusters lie at least 12.0 standard errors apart."),
        (0.5, 40.0, "caution", "at least 0.5 standard errors apart; merging"),
    ],
)
def test_separation_is_judged_with_and_without_evidence(
    tree: xr.DataTree, gap: float, evidence: float | None, status: str, words: str
) -> None:
    tree.attrs["ordering"] = json.dumps({"separation": gap, "evidence": evidence})
    (found,) = separation.check(tree)
    superfluous = evidence is not None and evidence < 0
    assert (found.status, found.value) == (status, evidence if superfluous else gap)
    assert (found.value < found.threshold) == (status == "caution")
    assert words in found.message
    tree.attrs["ordering"] = json.dumps({})
    (found,) = separation.check(tree)
    assert found.status == "skipped"


@pytest.mark.parametrize(
    "prior",
    [
        InverseGamma(shape=3, scale=2),
        HalfNormal(scale=0.7),
        HalfStudentT(df=3, scale=1.5),
        LogNormal(loc=-0.5, scale=0.6),
        Gamma(shape=2.5, rate=3),
        Normal(loc=0.4, scale=1.3),
        StudentT(df=3, loc=-0.2, scale=0.8),
    ],
    ids=lambda prior: prior.family,
)
def test_priors_integrate_to_one(prior: object) -> None:
    least = -np.inf if isinstance(prior, Normal | StudentT) else 0
    total, error = quad(lambda v: np.exp(log_density(prior, np.array(v))), least, np.inf)
    assert abs(total - 1) < 1e-7 + error


def test_a_fixed_value_has_no_density() -> None:
    with pytest.raises(TypeError, match="is no prior with a density"):
        log_density(Fixed(value=1.0), np.ones(1))
