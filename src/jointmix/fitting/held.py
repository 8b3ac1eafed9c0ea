"""What workers of a cluster do with the parts of a table that they hold.

A part is read and converted once; what is asked of it then are sums over its rows.
"""

from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np

from jointmix.base.errors import DataError
from jointmix.families.parameters import Parameters
from jointmix.kernel.densities import prior_densities
from jointmix.kernel.entry import value_and_gradient
from jointmix.model.dataset import Dataset, inspect_table, make_dataset
from jointmix.model.scaling import Scaling, line_of_all
from jointmix.model.spec import ModelSpec
from jointmix.modes.curvature import curvature
from jointmix.modes.density import RowsDensity
from jointmix.posterior.scores import mean_density
from jointmix.tables.issues import Issue
from jointmix.tables.loaded import Loaded


def converted(part: Loaded, spec: ModelSpec) -> Dataset | None:
    """The columns of a model as numbers; None of a part without rows.

    Raises
    ------
    DataError, ColumnTypeError
        As `make_dataset` does, naming the part.
    """
    if part.n_rows == 0:
        return None
    try:
        return make_dataset(part.frame(), spec, demand="part")
    except DataError as error:
        raise type(error)(f"{part.name}: {error}") from error


@dataclass(frozen=True, eq=False)
class Counted:
    """What a part adds to what is said of all rows.

    Attributes
    ----------
    n, total, n_zeros
        Rows that are used, the same as often as each counts, and rows of weight 0.
    missing
        Column → missing entries of rows left out.
    digest
        Of its numbers.
    there, center, square
        Of each column's entries that are there: their number, each as often as it counts, their
        mean, and the sum of squares around it, (column,).
    line
        One row that stands for those of a linked response, as `jointmix.model.scaling.Known` has
        it.
    """

    n: int
    total: float
    n_zeros: int
    missing: dict[str, int]
    digest: str
    there: np.ndarray
    center: np.ndarray
    square: np.ndarray
    line: np.ndarray


def counted(part: Dataset | None) -> Counted | None:
    """Of one part; None of one without rows."""
    if part is None:
        return None
    weight = part.users_rows.weights[:, None]
    known = ~np.isnan(part.values)
    values, counts = np.where(known, part.values, 0.0), known * weight
    there = counts.sum(axis=0)
    center = (values * weight).sum(axis=0) / np.maximum(there, 1e-300)
    square = (counts * (values - center) ** 2).sum(axis=0)
    return Counted(
        len(values), float(weight.sum()), part.n_zeros, part.missing, part.digest,
        there, center, square, line_of_all(part.values, part.spec, part.users_rows.weight),
    )  # fmt: skip


@dataclass(frozen=True, eq=False)
class LookedAt:
    """What is found in a part before anything is fitted.

    Attributes
    ----------
    counted
        What it adds to all rows; None of a part without rows, and of one with errors.
    errors
        Why its rows cannot be fitted, naming it.
    """

    counted: Counted | None
    errors: tuple[Issue, ...] = ()


def looked_at(part: Loaded, spec: ModelSpec) -> LookedAt:
    """All errors of one part."""
    if part.n_rows == 0:
        return LookedAt(None)
    dataset, issues = inspect_table(part.frame(), spec, demand="part")
    errors = tuple(
        replace(each, message=f"{part.name}: {each.message}")
        for each in issues
        if each.severity == "error"
    )
    return LookedAt(counted(dataset), errors)


class Held:
    """The rows of one part on the model's scale.

    Parameters
    ----------
    part
        Its numbers.
    scaling
        That of all rows.
    """

    def __init__(self, part: Dataset, scaling: Scaling) -> None:
        self.dataset = part.scaled_by(scaling)

    def __getstate__(self) -> dict[str, Any]:
        """What other workers are given: addresses of compiled functions are this process'."""
        return {"dataset": self.dataset}

    @cached_property
    def density(self) -> RowsDensity:
        """The posterior density given these rows alone."""
        found = RowsDensity(self.dataset)
        _ = found.problem, found.alone
        if found.squared is None:
            # What the kernel is given has numbers of its own.
            self.dataset.release()
        return found


def scaled(part: Dataset | None, scaling: Scaling) -> Held | None:
    """Rows on the model's scale; None of a part of which none are used."""
    return None if part is None or not len(part.values) else Held(part, scaling)


def log_jacobian(part: Held | None) -> float:
    """What to add to a log likelihood on the model's scale for that on the users' scale."""
    return 0.0 if part is None else part.dataset.scaling.total_jacobian(part.dataset.users_rows)


def log_likelihoods(part: Held | None, points: np.ndarray) -> np.ndarray:
    """At unconstrained values (point, dim), (point,)."""
    if part is None:
        return np.zeros(len(points))
    own = part.density
    return np.asarray(own.many(points, 1) - prior_densities(own.alone, points))


def gradient(part: Held | None, point: np.ndarray) -> tuple[float, np.ndarray]:
    """The log likelihood at unconstrained values (dim,), and its gradient."""
    if part is None:
        return 0.0, np.zeros(len(point))
    value, slope = part.density(point)
    prior, own = value_and_gradient(part.density.alone, point)
    return value - prior, slope - own


def log_densities(part: Held | None, parameters: Parameters) -> dict[str, float]:
    """Sums over rows of log p(x, y) and log p(x), at parameters on the users' scale."""
    if part is None:
        return {"joint": 0.0, "feature": 0.0}
    rows = part.dataset.users_rows
    found = mean_density(rows, parameters.batched(), part.dataset.spec)
    return {name: float(rows.weights @ value) for name, value in found.items()}


def bend(part: Held | None, point: np.ndarray) -> np.ndarray:
    """Its negative Hessian at unconstrained values (dim,), (dim, dim)."""
    if part is None:
        return np.zeros((len(point), len(point)))
    return part.density.curvature(point) - curvature(part.density.alone, point)
