"""Whether a users' sites hold components first or last, where their shapes do not say."""

from collections.abc import Mapping

import numpy as np

from jointmix.validation.agreement.chart import Model
from jointmix.validation.agreement.numpyro_side import numpyro_side
from jointmix.validation.agreement.observed import ModelError
from jointmix.validation.agreement.ordered import find_order
from jointmix.validation.agreement.parts import TURNED
from jointmix.validation.agreement.plain_sides import kernel_side, numpy_side
from jointmix.validation.agreement.problem import Problem, random_points
from jointmix.validation.agreement.structure import inspect
from jointmix.validation.agreement.terms import Side

#: Points at which orientations are told apart, and how far values may lie from each other there.
_POINTS, _TOLERANCE = 3, 1e-8


def oriented(
    problem: Problem, model: Model, names: Mapping[str, str] | None
) -> Mapping[str, str] | None:
    """The names, with ``mean.T`` for ``mean`` and the like where the model's sites are transposed.

    With as many components as columns a site (column, component), as plates that count from the
    right make them, has the shape of one (component, column). Where the total is not that of the
    specification, but is with such sites turned, they are; else where that holds of the rows.

    A model that cannot be evaluated keeps its names: where it is compared, it is said why.

    Raises
    ------
    SpecError
        As `numpyro_side`.
    """
    try:
        chart = inspect(problem, model, names).chart
    except ModelError:
        return names
    square = [
        quantity
        for quantity, (_, shape) in chart.sites.items()
        if quantity not in chart.turned
        and [n for n in shape if n > 1] == [problem.spec.n_clusters] * 2
        and chart.may_turn(quantity)
    ]
    if not square:
        return names
    known = dict(names or {})
    choices = [(), tuple(square), *((one,) for one in square if len(square) > 1)]
    of_rows = None
    for turned in choices:
        tried = {
            f"{own}{TURNED}" if own in turned else own: site for own, site in known.items()
        } | {f"{own}{TURNED}": own for own in turned if own not in known}
        try:
            side = numpyro_side(problem, "", model, tried, gradient=False)
            total, rows = _agreement(problem, side)
        except ModelError:
            return names
        if total:
            return tried
        of_rows = tried if rows and of_rows is None else of_rows
    return names if of_rows is None else of_rows


def _agreement(problem: Problem, side: Side) -> tuple[bool, bool]:
    """Whether a model's totals are the specification's at a few points, and whether its rows are.

    Where it orders its components, at points in that order.
    """
    q, order = random_points(problem, np.zeros(problem.dim), _POINTS, 1), find_order(problem, side)
    if order is not None:
        q, side = order.arranged(q), order.applied(side)
    found, right = side.evaluate(q), numpy_side(problem).evaluate(q)
    return (
        _close(found.total, kernel_side(problem).evaluate(q).total),
        _close(found.rows, right.rows),
    )


def _close(found: np.ndarray | None, right: np.ndarray | None) -> bool:
    if found is None or right is None:
        return False
    return np.allclose(found, right, rtol=_TOLERANCE, atol=_TOLERANCE)
