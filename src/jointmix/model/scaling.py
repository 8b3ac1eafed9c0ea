"""Centring and scaling of the columns, and its exact inverse on data and parameters."""

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from jointmix.families.parameters import Parameters
from jointmix.families.rows import Rows
from jointmix.model.spec import ModelSpec


@dataclass(frozen=True, eq=False)
class Scaling:
    """(value − center) / scale, column by column.

    Attributes
    ----------
    spec
        The model, which says which column plays which role.
    center, scale
        Shape (column,), in the order of ``spec.columns``, in the columns' units; of a linked
        response, where the line is centred, and its unit, mostly 1. Codes, an offset and trials
        stay as they are.
    """

    spec: ModelSpec
    center: np.ndarray
    scale: np.ndarray

    def _index(self, names: tuple[str, ...]) -> list[int]:
        return [self.spec.columns.index(name) for name in names]

    def _of(self, names: tuple[str, ...]) -> tuple[np.ndarray, np.ndarray]:
        index = self._index(names)
        return self.center[index], self.scale[index]

    @cached_property
    def feature(self) -> tuple[np.ndarray, np.ndarray]:
        """Centre and scale of the features, each (D,)."""
        return self._of(tuple(self.spec.features))

    @cached_property
    def predictor(self) -> tuple[np.ndarray, np.ndarray]:
        """Centre and scale of the predictors, each (R,)."""
        return self._of(tuple(self.spec.predictors))

    @cached_property
    def response(self) -> tuple[float, float]:
        """Centre and scale of the response; where the line of a linked one is centred, its unit."""
        center, scale = self._of((self.spec.response,) if self.spec.response else ())
        return (float(center[0]), float(scale[0])) if self.spec.response else (0.0, 1.0)

    @property
    def line(self) -> tuple[float, float]:
        """Centre and scale of the response's line: a link's has no unit."""
        center, scale = self.response
        return center, 1.0 if self.spec.linked else scale

    @property
    def level(self) -> float:
        """Where the line of a linked response is centred, the response in its own unit; else 0."""
        center, unit = self.response
        return center - float(np.log(unit)) if self.spec.linked else 0.0

    def transform(self, values: np.ndarray) -> np.ndarray:
        """Scaled columns of ``values`` (N, column); a linked response in its own unit."""
        center = self.center
        if self.spec.linked:
            center = np.append(center[:-1], 0.0)
        return (values - center) / self.scale

    @property
    def log_jacobian(self) -> float:
        """What to add to a complete row's log density on this scale for that on the users'."""
        _, response_scale = self.response
        return -float(np.log(self.feature[1]).sum() + np.log(response_scale))

    def total_jacobian(self, rows: Rows) -> float:
        """What to add to the rows' log likelihood on this scale for that on the users' scale."""
        if rows.complete:
            return rows.total * self.log_jacobian
        there = ~np.isnan(np.column_stack([rows.x, rows.y]))
        units = np.log([*self.feature[1], self.response[1]])
        return -float(rows.weights @ (there @ units))

    def to_users(self, parameters: Parameters) -> Parameters:
        """Parameters of scaled columns as parameters on the users' scale."""
        arrays = {name: value for block in self.spec.blocks
                  for name, value in block.to_users(parameters, self).items()}  # fmt: skip
        return parameters.replace(**arrays)

    def to_model(self, parameters: Parameters) -> Parameters:
        """Parameters on the users' scale as parameters of scaled columns."""
        arrays = {name: value for block in self.spec.blocks
                  for name, value in block.to_model(parameters, self).items()}  # fmt: skip
        return parameters.replace(**arrays)


@dataclass(frozen=True, eq=False)
class Known:
    """What is known of all rows where some of them are there.

    Attributes
    ----------
    center, scale
        Means and standard deviations of columns, (column,).
    line
        Of a linked response, rows that stand for many where its `level` is asked, each its
        response, offset, number and trials, (row, 4).
    """

    center: np.ndarray
    scale: np.ndarray
    line: np.ndarray


def standard_scaling(
    values: np.ndarray,
    spec: ModelSpec,
    weight: np.ndarray | None = None,
    known: Known | None = None,
) -> Scaling:
    """Mean zero and standard deviation one of columns (obs, column); spherical features share one.

    They are those of the entries that are there.

    One scale for all features keeps a spherical covariance spherical on the users' scale. Means
    are weighted by ``weight`` (obs,).

    Parameters
    ----------
    known
        Of all rows, where ``values`` are some of them.
    """
    if known is None:
        center, scale = _spread(values, weight)
    else:
        center, scale = known.center.copy(), known.scale.copy()
    for place in np.flatnonzero(np.isnan(center)).tolist():
        there = ~np.isnan(values[:, place])
        counts = None if weight is None else weight[there]
        center[place], scale[place] = _spread(values[there, place], counts)
    d = len(spec.features)
    if spec.linked:
        for place in (spec.columns.index(name) for name in spec.given):
            center[place], scale[place] = 0.0, 1.0
        y, offset, counts, trials = (_line(values, spec, weight) if known is None else known.line).T
        block = spec.blocks[-1]
        center[-1] = block.level(y, offset, counts, None if spec.trials is None else trials)
        scale[-1] = block.unit(y, counts)
    # A count that is a predictor too is scaled for the line; its own density is of what it counts.
    for name in {own.column for own in spec.discrete} - {*spec.predictors}:
        place = spec.columns.index(name)
        center[place], scale[place] = 0.0, 1.0
    if spec.covariance == "spherical" and d:
        scale[:d] = np.sqrt((scale[:d] ** 2).mean())
    return Scaling(spec, center, scale)


def _line(values: np.ndarray, spec: ModelSpec, weight: np.ndarray | None) -> np.ndarray:
    """Response, offset, number and trials of the rows whose response is there, (row, 4)."""
    there = ~np.isnan(values[:, -1])
    given = [
        np.zeros(len(values)) if name is None else values[:, spec.columns.index(name)]
        for name in (spec.offset, spec.trials)
    ]
    counts = np.ones(len(values)) if weight is None else weight
    return np.column_stack([values[:, -1], given[0], counts, given[1]])[there]


def line_of_all(
    values: np.ndarray, spec: ModelSpec, weight: np.ndarray | None = None
) -> np.ndarray:
    """One row that stands for rows (obs, column) of a linked response, as `Known` has it, (1, 4).

    No row where no response is there, or the model's is not linked.
    """
    if not spec.linked:
        return np.zeros((0, 4))
    rows = _line(values, spec, weight)
    if not len(rows):
        return rows
    y, offset, counts, trials = rows.T
    common = spec.blocks[-1].common_offset(offset, counts)
    means = [float(np.average(each, weights=counts)) for each in (y, trials)]
    return np.array([[means[0], common, counts.sum(), means[1]]])


def _spread(values: np.ndarray, weight: np.ndarray | None) -> tuple[np.ndarray, np.ndarray]:
    """Means and standard deviations over rows (obs, ...) with weights (obs,)."""
    if weight is None:
        return values.mean(axis=0), values.std(axis=0)
    center = np.average(values, axis=0, weights=weight)
    return center, np.sqrt(np.average((values - center) ** 2, axis=0, weights=weight))


def model_scaling(
    values: np.ndarray,
    spec: ModelSpec,
    weight: np.ndarray | None = None,
    known: Known | None = None,
) -> Scaling:
    """The scale on which the model of columns (obs, column) and its priors are stated.

    Parameters
    ----------
    values, weight, known
        As `standard_scaling` takes them.
    """
    if spec.standardize:
        return standard_scaling(values, spec, weight, known)
    width = len(spec.columns)
    return Scaling(spec, np.zeros(width), np.ones(width))
