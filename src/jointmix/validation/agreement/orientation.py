"""Whether a users' sites hold components first or last, where their shapes do not say."""

from collections.abc import Mapping

import numpy as np

from jointmix.validation.agreement.chart import TURNED, Model
from jointmix.validation.agreement.numpyro_side import ModelError, inspect, numpyro_side
from jointmix.validation.agreement.plain_sides import kernel_side
from jointmix.validation.agreement.problem import Problem, random_points

#: Points at which orientations are told apart, and how far totals may lie from each other there.
_POINTS, _TOLERANCE = 3, 1e-8


def oriented(
    problem: Problem, model: Model, names: Mapping[str, str] | None
) -> Mapping[str, str] | None:
    """The names, with ``mean.T`` for ``mean`` and the like where the model's sites are transposed.

    With as many components as columns a site (column, component), as plates that count from the
    right make them, has the shape of one (component, column). Where the total is not that of the
    specification, but is with such sites turned, they are.

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
    q = random_points(problem, np.zeros(problem.dim), _POINTS, seed=1)
    expected = kernel_side(problem).evaluate(q).total
    assert expected is not None
    known = dict(names or {})
    choices = [(), tuple(square), *((one,) for one in square if len(square) > 1)]
    for turned in choices:
        tried = {
            f"{own}{TURNED}" if own in turned else own: site for own, site in known.items()
        } | {f"{own}{TURNED}": own for own in turned if own not in known}
        try:
            found = numpyro_side(problem, "", model, tried).evaluate(q).total
        except ModelError:
            return names
        if found is not None and np.allclose(found, expected, rtol=_TOLERANCE, atol=_TOLERANCE):
            return tried
    return names
