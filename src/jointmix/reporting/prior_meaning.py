"""What the priors say on the users' own scale: 90% of their mass, column by column."""

from itertools import groupby

import numpy as np

from jointmix.families.priors.priors import Fixed
from jointmix.families.priors.words import in_words, standard_interval
from jointmix.families.protocol import Parameter
from jointmix.posterior.draws import fitted_scaling
from jointmix.posterior.stated import on_users_scale
from jointmix.reporting.fitted import FittedView
from jointmix.reporting.text import number


def described(view: FittedView, parameter: Parameter) -> str:
    """A parameter's prior on the modelling scale; with its central 90% where that has no unit.

    What is not free has none, such as the only cluster's weight or correlations that are zero.
    """
    if parameter.prior is None or not _is_stated(parameter):
        return "–"
    words, bounds = in_words(parameter.prior), _standard(view, parameter)
    if parameter.role != "shape" or parameter.measured or bounds is None:
        return words
    lower, upper = (number(float(bound), 2) for bound in bounds)
    return f"{words}: 90% between {lower} and {upper}"


def meanings(view: FittedView) -> list[tuple[str, str, np.ndarray | None]]:
    """Parameter, column ("" for none), and central 90% (2,) on the users' scale, None if fixed.

    The intercept's is that of the response at the average of every predictor where columns are
    standardized, and elsewhere that where every predictor is 0.
    """
    entries = view.model.entries
    shown = [
        item
        for item in view.model.parameters.values()
        if _is_stated(item) and item.role != "probability"
    ]
    rows: list[tuple[str, str, np.ndarray | None]] = []
    for dims, group in groupby(shown, key=lambda parameter: parameter.dims):
        scaled = [(parameter.name, _on_users_scale(view, parameter)) for parameter in group]
        # What is known of one column stands together.
        columns = entries[dims[0]] if len(dims) == 1 else ("",)
        for j, column in enumerate(columns):
            rows += [
                (name, column, None if bounds is None else bounds[:, j]) for name, bounds in scaled
            ]
    return rows


def _is_stated(parameter: Parameter) -> bool:
    return parameter.n_free > 0 or isinstance(parameter.prior, Fixed)


def _standard(view: FittedView, parameter: Parameter) -> np.ndarray | None:
    if parameter.prior is None:
        return None
    return standard_interval(parameter.prior, view.model.n_clusters, len(view.features))


def _on_users_scale(view: FittedView, parameter: Parameter) -> np.ndarray | None:
    """Bounds (2, entry) of the first cluster's entries; of correlations and weights of any one."""
    bounds = _standard(view, parameter)
    if bounds is None or parameter.role in ("weight", "correlation"):
        return None if bounds is None else bounds[:, None]
    return on_users_scale(fitted_scaling(view.tree, view.model), parameter, bounds[:, None])
