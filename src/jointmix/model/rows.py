"""A table's columns by the role that they play."""

from dataclasses import replace

import numpy as np

from jointmix.families.rows import Rows, with_weight
from jointmix.model.completions import on_scale
from jointmix.model.scaling import Scaling
from jointmix.model.spec import ModelSpec


def of_column(values: np.ndarray, spec: ModelSpec, name: str) -> np.ndarray:
    """One column of those of a model, (obs,)."""
    return np.asarray(values[:, spec.columns.index(name)])


def by_role(
    values: np.ndarray,
    spec: ModelSpec,
    scaling: Scaling | None = None,
    weight: np.ndarray | None = None,
) -> Rows:
    """Columns (obs, column), in the order of ``spec.columns``, by role, and the rows' weights.

    Of columns that are scaled, by ``scaling``: a linked response's offset is from its level, and
    a count that is a predictor too is a scaled predictor and a feature as it was counted.
    """
    predictors = _together([spec.columns.index(name) for name in spec.predictors])
    y = values[:, -1] if spec.response is not None else np.zeros(len(values))
    offset = None
    if spec.linked:
        own = np.zeros(len(values)) if spec.offset is None else of_column(values, spec, spec.offset)
        offset = own if scaling is None else own + scaling.level
    trials = None if spec.trials is None else of_column(values, spec, spec.trials)
    d, x = len(spec.features), values[:, : len(spec.features)]
    rows = Rows(x, values[:, predictors], y, offset=offset, trials=trials)
    if spec.discrete:
        discrete = values[:, d : d + len(spec.discrete)]
        rows = replace(rows, discrete=_as_counted(discrete, spec, scaling))
    return with_weight(rows, weight)


def _together(places: list[int]) -> slice | list[int]:
    """Places as a slice, which copies nothing, if they follow one another."""
    if places and places == list(range(places[0], places[0] + len(places))):
        return slice(places[0], places[0] + len(places))
    return places


def _as_counted(discrete: np.ndarray, spec: ModelSpec, scaling: Scaling | None) -> np.ndarray:
    """Discrete features (obs, feature) of which those that are predictors too were scaled."""
    both = [i for i, own in enumerate(spec.discrete) if own.column in spec.predictors]
    if scaling is None or not both:
        return discrete
    found, places = discrete.copy(), [len(spec.features) + i for i in both]
    found[:, both] = np.rint(found[:, both] * scaling.scale[places] + scaling.center[places])
    return found


def scaled_rows(rows: Rows, scaling: Scaling) -> Rows:
    """Rows on the users' scale as rows on the model's."""
    (x, x_scale), (u, u_scale), (y, y_scale) = scaling.feature, scaling.predictor, scaling.response
    found = replace(rows, x=(rows.x - x) / x_scale, u=(rows.u - u) / u_scale)
    if rows.completions is not None:
        found = replace(found, completions=on_scale(rows.completions, scaling))
    if rows.offset is not None:
        return replace(found, y=rows.y / y_scale, offset=rows.offset + scaling.level)
    return replace(found, y=(rows.y - y) / y_scale)
