"""Are all clusters supported by rows? Expected count of each cluster."""

import json
from typing import Any

import xarray as xr

from jointmix.checks.finding import Finding, below, counted, listed, skipped
from jointmix.schema import CLUSTER, require_group

CODE = "empty clusters"
SUBJECT = "clusters"
SOURCE = "Fewer expected rows than free parameters cannot determine a cluster"
FAIL = 1.0


def n_cluster_parameters(spec: dict[str, Any]) -> int:
    """Number of free parameters that one cluster has of its own, besides its weight."""
    data, model, priors = spec["data"], spec["model"], spec.get("priors", {})
    d, r = len(data.get("features") or ()), len(data.get("predictors") or ())
    covariance = model.get("covariance", "full")
    scales = {"full": d * (d + 1) // 2, "diagonal": d, "spherical": min(d, 1)}.get(covariance, 0)
    counts = {"mean": d, "sd": scales}
    if data.get("response"):
        counts["intercept"] = int(model.get("intercept", True))
        counts["slope"] = r
        counts["sigma"] = int(model.get("noise", "cluster") == "cluster")
    return sum(n for name, n in counts.items() if priors.get(name, {}).get("family") != "fixed")


def check(tree: xr.DataTree) -> tuple[Finding, ...]:
    """Judge the smallest expected count, posterior mean weight × rows.

    Fewer rows than the cluster has parameters is a caution, less than one row a failure.
    """
    posterior = require_group(tree, "posterior")
    if "weight" not in posterior or posterior.sizes[CLUSTER] == 1:
        return (skipped(CODE, SUBJECT, "one cluster holds all rows", SOURCE),)
    n_obs = int(tree.attrs["n_obs"])
    needed = n_cluster_parameters(json.loads(tree.attrs["spec"]))
    expected = posterior["weight"].mean(("chain", "draw")) * n_obs
    value = float(expected.min())
    short = [str(name) for name in expected[CLUSTER].values[expected.values < max(needed, FAIL)]]
    status = below(value, max(needed, FAIL), FAIL)
    message = (
        f"The smallest cluster has {value:,.1f} expected rows for its {needed} free parameters."
    )
    if short:
        noun, verb = ("Cluster", "is") if len(short) == 1 else ("Clusters", "are")
        message += f" {noun} {listed(short)} {verb} not supported by the data."
    return (
        Finding(
            code=CODE,
            subject=SUBJECT,
            status=status,
            value=value,
            threshold=float(max(needed, FAIL)),
            message=message,
            remedy="" if status == "ok" else _remedy(expected.size - len(short)),
            source=SOURCE,
        ),
    )


def _remedy(n_supported: int) -> str:
    if n_supported == 0:
        return "Fit with fewer clusters, or with a simpler covariance."
    return f"Fit with {counted(n_supported, 'cluster')}, or with a simpler covariance."
