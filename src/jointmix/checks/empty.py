"""Are all clusters supported by rows? Expected count of each cluster."""

import numpy as np
import xarray as xr

from jointmix.base.numbers import fixed, percent, probability
from jointmix.base.schema import CLUSTER, require_group
from jointmix.checks.finding import Finding, Status, below, counted, listed, skipped
from jointmix.posterior.draws import expected_rows, fitted_spec

CODE = "empty clusters"
SUBJECT = "clusters"
SOURCE = "Fewer expected rows than free parameters cannot determine a cluster"
FAIL = 1.0
LEAST_OCCUPIED = 0.95
OCCUPIED_SOURCE = (
    "Malsiner-Walli, Frühwirth-Schnatter and Grün (2016), doi:10.1007/s11222-014-9500-2"
)


def check(tree: xr.DataTree) -> tuple[Finding, ...]:
    """Judge the smallest expected count, the sum of the rows' probabilities to belong there.

    Fewer rows than the cluster has parameters is a caution, less than one row a failure. Weights
    do not tell: a Dirichlet prior's share keeps that of an empty cluster from zero, 2 / (N + 2K)
    for one of concentration 2, and fixed weights say nothing of the rows.
    """
    posterior = require_group(tree, "posterior")
    if "weight" not in posterior or posterior.sizes[CLUSTER] == 1:
        return (skipped(CODE, SUBJECT, "one cluster holds all rows", SOURCE),)
    needed = fitted_spec(tree).n_own_parameters
    expected = expected_rows(tree)
    value = float(expected.min())
    weight = posterior["weight"].isel({CLUSTER: int(expected.values.argmin())})
    low, high = (float(bound) for bound in weight.quantile((0.055, 0.945)))
    short = [str(name) for name in expected[CLUSTER].values[expected.values < max(needed, FAIL)]]
    occupied = _occupied(tree, expected.size - len(short))
    status = below(value, max(needed, FAIL), FAIL)
    message = (
        f"The smallest cluster has {_rows(value, max(needed, FAIL))} for its {needed} free "
        f"parameters (weight {float(weight.mean()):.2g}, "
        f"89% interval {' to '.join(map(_share, (low, high)))})."
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
            # One number where both have something to advise.
            remedy=occupied.remedy or _remedy(expected.size - len(short)) if short else "",
            source=SOURCE,
        ),
        occupied,
    )


def _occupied(tree: xr.DataTree, supported: int) -> Finding:
    """Judge the posterior number of clusters that hold at least one row.

    Clusters with the rows for their parameters may be fewer, and no more are advised.
    """
    labels = require_group(tree, "labels")
    if "occupied" not in labels:
        return skipped(CODE, "occupied", "it was not followed while identifying", SOURCE)
    numbers = number_occupied(labels["occupied"].transpose(..., CLUSTER).values)
    k = len(numbers) - 1
    value = float(numbers[k])
    status: Status = "caution" if value < LEAST_OCCUPIED else "ok"
    usual = int(numbers.argmax())
    parts = [
        f"{number} ({percent(share, 1, LEAST_OCCUPIED)})"
        for number, share in sorted(enumerate(numbers), key=lambda item: -item[1])
        if share >= 5e-4
    ]
    return Finding(
        code=CODE,
        subject="occupied",
        status=status,
        value=value,
        threshold=LEAST_OCCUPIED,
        message=f"Posterior number of clusters that hold a row: {', '.join(parts)}.",
        remedy="" if status == "ok" else _remedy(min(supported, usual if usual < k else k - 1)),
        source=OCCUPIED_SOURCE,
    )


def number_occupied(occupied: np.ndarray) -> np.ndarray:
    """Posterior distribution of the number of occupied clusters, (K + 1,), from 0.

    Given a draw, clusters count as occupied independently of each other; the mean over draws of
    the Poisson-binomial distributions.

    Parameters
    ----------
    occupied
        Probability that the cluster holds a row, (..., cluster).
    """
    flat = occupied.reshape(-1, occupied.shape[-1])
    numbers = np.zeros((len(flat), flat.shape[1] + 1))
    numbers[:, 0] = 1
    for chance in flat.T[..., None]:
        more = chance * numbers
        numbers = (1 - chance) * numbers
        numbers[:, 1:] += more[:, :-1]
    return np.asarray(numbers.mean(axis=0))


def _rows(expected: float, needed: float) -> str:
    text = f"{fixed(expected, 1, needed, FAIL)} expected rows"
    return text if expected >= 0.05 else "less than 0.1 expected rows"


def _share(bound: float) -> str:
    return probability(bound, 1e-4) if bound < 1e-4 else f"{bound:.2g}"


def _remedy(n_supported: int) -> str:
    if n_supported == 0:
        return "Fit with fewer clusters, or with a simpler covariance."
    return f"Fit with at most {counted(n_supported, 'cluster')}, or with a simpler covariance."
