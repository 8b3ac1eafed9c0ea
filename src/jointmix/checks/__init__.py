"""Checks of a fitted tree, one a file, and the verdict they lead to."""

import json
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import replace

import numpy as np
import xarray as xr

from jointmix.base.codes import named
from jointmix.base.errors import SchemaError, SpecError
from jointmix.base.schema import CLUSTER, require_group
from jointmix.checks import (
    approximation,
    collapse,
    conflict,
    depth,
    divergences,
    duplicates,
    empty,
    energy,
    ess,
    floor,
    frozen,
    identification,
    mass,
    misfit,
    modes,
    notes,
    partial,
    proposal,
    rhat,
    scouts,
    separation,
    support,
    switching,
)
from jointmix.checks.diagnosis import Diagnosis, Verdict
from jointmix.checks.finding import Finding, listed, skipped
from jointmix.posterior.draws import fitted_spec
from jointmix.posterior.naming import explained, given_names

__all__ = [
    "Diagnosis",
    "Finding",
    "diagnose",
    "findings_from_dataset",
    "findings_to_dataset",
    "ignored_by",
    "judge",
    "put_aside",
    "run_checks",
    "stored_diagnosis",
    "verdict",
    "with_cluster_names",
]

CHECKS = (
    support,
    approximation,
    proposal,
    collapse,
    modes,
    mass,
    scouts,
    rhat,
    ess,
    divergences,
    frozen,
    energy,
    depth,
    separation,
    switching,
    identification,
    empty,
    duplicates,
    floor,
    conflict,
    misfit,
    partial,
    notes,
)
#: What several clusters only can have.
_BETWEEN_CLUSTERS = (collapse, separation, switching, identification, empty, duplicates)
#: What chains that follow a gradient only can have.
_OF_TRAJECTORIES = (divergences, energy, depth)
_TEXTS = ("code", "subject", "status", "message", "remedy", "source")
_NUMBERS = ("value", "threshold")


def run_checks(tree: xr.DataTree) -> tuple[Finding, ...]:
    """Run every check on a fitted tree, the gravest kind first.

    Raises
    ------
    SchemaError
        If the tree lacks a group, or its draws' labels were never identified.
    """
    with suppress(SpecError):
        # Of a model that is none, the checks that need it say so; the others do without.
        fitted_spec(tree)
    found, modules = list(support.check(tree)), list(CHECKS[1:])
    if tree.attrs.get("proposal"):
        modules = [module for module in modules if module not in _OF_TRAJECTORIES]
    if require_group(tree, "posterior").sizes.get(CLUSTER) == 1:
        modules = [module for module in modules if module not in _BETWEEN_CLUSTERS]
        found.append(_one_cluster())
    if found[0].status != "fail":
        return (*found, *(finding for module in modules for finding in module.check(tree)))
    # A failure already; what cannot be had of such draws is said.
    reason = "draws left what densities take"
    with np.errstate(all="ignore"):
        for module in modules:
            try:
                found += module.check(tree)
            except (ArithmeticError, ValueError):
                found.append(skipped(module.CODE, "draws", reason, module.SOURCE))
    return tuple(found)


def _one_cluster() -> Finding:
    codes = listed([module.CODE for module in _BETWEEN_CLUSTERS])
    source = "What several clusters only can have"
    return skipped("one cluster", "clusters", f"there is one cluster only: {codes}", source)


def judge(tree: xr.DataTree) -> xr.DataTree:
    """The same tree with its group ``checks`` and its verdict made anew.

    Raises
    ------
    SchemaError
        If the tree lacks a group, or its draws' labels were never identified.
    """
    findings = run_checks(tree)
    tree["checks"] = xr.DataTree(findings_to_dataset(findings))
    tree.attrs["verdict"] = verdict(findings, ignored_by(tree))
    return tree


def put_aside(tree: xr.DataTree, codes: Iterable[str]) -> xr.DataTree:
    """The same tree, judged, with findings put aside from now on (see `diagnose`).

    Raises
    ------
    SpecError
        If a code means no finding.
    """
    ignored = ignored_by(tree) | named(codes, "ignore")
    tree.attrs["ignored"] = json.dumps(sorted(ignored))
    tree.attrs["verdict"] = verdict(stored_diagnosis(tree).findings, ignored)
    return tree


def ignored_by(tree: xr.DataTree) -> frozenset[str]:
    """Names of the findings that a fit puts aside.

    Raises
    ------
    SchemaError
        If what the tree keeps of it is damaged.
    """
    try:
        return named(json.loads(tree.attrs.get("ignored", "[]")), "ignored")
    except (SpecError, TypeError, ValueError) as error:
        raise SchemaError(
            "The tree's attribute 'ignored' is damaged; state anew what is put aside."
        ) from error


def diagnose(
    tree: xr.DataTree, *, ignore: Iterable[str] = (), select: Iterable[str] | None = None
) -> Diagnosis:
    """Run every check on a fitted tree and sum up.

    Parameters
    ----------
    tree
        A fitted tree, or part of one: ``tree.sel(chain=[0, 1])`` is judged by those chains.
    ignore
        Findings that are put aside: numbers such as "JM401", their beginnings ("JM4"), or names
        ("ties"). They are kept and shown as such, and a failure among them leaves CAUTION.
    select
        Findings that alone are looked at, in the same words; None for all.

    Returns
    -------
    Diagnosis
        The verdict and its findings: a value, a text (``str``) and JSON (``to_json``).

    Raises
    ------
    SchemaError
        If the tree lacks a group, or its draws' labels were never identified.
    SpecError
        If a code means no finding.

    Examples
    --------
    >>> import jointmix as jm
    >>> from jointmix.model.simulate import simulate
    >>> quick = jm.SamplerSpec(sampler="laplace")
    >>> spec = jm.ModelSpec(n_clusters=2, features=["x1"], sampler=quick)
    >>> tree = jm.fit(simulate(jm.four_clusters(2, 1), 100, seed=1), spec)
    >>> [each.number for each in jm.diagnose(tree, select=["approximation"]).concerns]
    ['JM109']
    """
    findings = run_checks(tree)
    ignored = ignored_by(tree) | named(ignore, "ignore")
    if select is not None:
        wanted = named(select, "select")
        findings = tuple(each for each in findings if each.code in wanted)
    return Diagnosis(verdict(findings, ignored), with_cluster_names(tree, findings), ignored)


def stored_diagnosis(tree: xr.DataTree) -> Diagnosis:
    """The diagnosis that a fitted tree carries in its group ``checks``.

    Raises
    ------
    SchemaError
        If the tree has no such group.
    """
    findings = findings_from_dataset(require_group(tree, "checks"))
    named_now = with_cluster_names(tree, findings)
    return Diagnosis(tree.attrs["verdict"], named_now, ignored_by(tree))


def with_cluster_names(tree: xr.DataTree, findings: Iterable[Finding]) -> tuple[Finding, ...]:
    """Findings whose sentences name the clusters that have names, behind their numbers."""
    given = given_names(tree)
    return tuple(
        replace(
            each,
            message=explained(each.message, given),
            remedy=explained(each.remedy, given),
        )
        for each in findings
    )


def verdict(findings: Iterable[Finding], ignored: frozenset[str] = frozenset()) -> Verdict:
    """Sum up: "DO NOT USE" if any check failed, "CAUTION" if any cautions, else "OK".

    Cautions that are ignored do not count, and failures that are ignored count as cautions.
    """
    found = [(finding.status, finding.code in ignored) for finding in findings]
    if ("fail", False) in found:
        return "DO NOT USE"
    return "CAUTION" if ("caution", False) in found or ("fail", True) in found else "OK"


def findings_to_dataset(findings: Iterable[Finding]) -> xr.Dataset:
    """Findings as the group ``checks``: one variable a field, [check]."""
    found = tuple(findings)
    columns = {name: [getattr(finding, name) for finding in found] for name in _TEXTS}
    numbers = {name: [getattr(finding, name) for finding in found] for name in _NUMBERS}
    labels = [f"{finding.code}:{finding.subject}" for finding in found]
    return xr.Dataset(
        {name: ("check", np.array(texts, dtype=object)) for name, texts in columns.items()}
        | {name: ("check", np.array(values, dtype=float)) for name, values in numbers.items()},
        coords={"check": np.array(labels, dtype=object)},
    )


def findings_from_dataset(checks: xr.Dataset) -> tuple[Finding, ...]:
    """Findings of the group ``checks``, in their order.

    Raises
    ------
    SchemaError
        If a variable is missing.
    """
    missing = [name for name in (*_TEXTS, *_NUMBERS) if name not in checks]
    if missing:
        raise SchemaError(f"The group 'checks' lacks {missing}; run the checks again.")
    fields = (*_TEXTS, *_NUMBERS)
    columns = [checks[name].values.tolist() for name in fields]
    return tuple(
        Finding(**dict(zip(fields, values, strict=True))) for values in zip(*columns, strict=True)
    )
