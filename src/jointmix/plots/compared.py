"""Models side by side: predictive densities and criteria over the number of clusters."""

from typing import Literal, get_args

import numpy as np
import pandas as pd
from matplotlib.axes import Axes

from jointmix.base.arguments import choice
from jointmix.base.errors import SchemaError, SpecError
from jointmix.fitting.candidates import N_CLUSTERS, least, parts_of
from jointmix.fitting.selection import Comparison
from jointmix.plots import marks
from jointmix.plots.style import INK, axis_label, canvas, keys, labelled, remark

#: Numbers of clusters, values and standard errors of curves, by their names.
Curves = dict[str, tuple[np.ndarray, np.ndarray, np.ndarray | None]]
Criterion = Literal["elpd", "conditional", "bic", "icl"]

_LABELS = {
    "elpd": "difference in elpd, nats",
    "conditional": "difference in elpd of y given x, nats",
    "bic": "−½ difference in BIC, nats",
    "icl": "−½ difference in ICL, nats",
}


def plot_comparison(
    comparison: Comparison, ax: object = None, *, criterion: Criterion = "elpd"
) -> Axes:
    """Draw how models compare over the number of clusters, one curve a structure.

    Differences to the best model in nats, so that higher is better: of the leave-one-out density
    with two standard errors of the difference on each side, or of BIC or ICL times −½, which
    estimate a log density as well. A ring marks the model that `compare` chose.

    Parameters
    ----------
    comparison
        What `compare` gave.
    ax
        Axes to draw on; None draws on those of a new figure.
    criterion
        "elpd", of x and y; "conditional", of y given x; "bic" or "icl" at EM's best modes, of
        models screened alone too.

    Returns
    -------
    matplotlib.axes.Axes
        The axes.

    Raises
    ------
    SchemaError
        If it is no comparison.
    SpecError
        If the criterion is unknown, or "conditional" and the models have no response.

    Examples
    --------
    >>> import jointmix as jm
    >>> table = jm.simulate(jm.four_clusters(2), 100, seed=1)
    >>> quick = jm.SamplerSpec(sampler="laplace", draws=100, chains=2)
    >>> spec = jm.ModelSpec(n_clusters=2, features=["x1", "x2"], sampler=quick)
    >>> jm.plot_comparison(jm.compare(table, spec, [1, 2])).get_xlabel()
    'clusters'
    """
    if not isinstance(comparison, Comparison):
        raise SchemaError(f"A Comparison is required, got {type(comparison).__name__}.")
    choice("criterion", criterion, get_args(Criterion))
    table = comparison.table
    if criterion == "conditional" and table["conditional_diff"].isna().all():
        raise SpecError("These models have no response, whose density would be compared.")
    series = curves(table, criterion)
    axes = canvas(ax)
    marks.over_numbers(axes, series)
    _ring(axes, comparison, series)
    labelled(axes, "clusters", _LABELS[criterion])
    _, names = axes.get_legend_handles_labels()
    if len(names) > 1:
        handles, names = axes.get_legend_handles_labels()
        for handle, name in zip(handles, names, strict=True):
            handle.set_label(axis_label(name, 28))
        keys(axes, handles, outside=ax is None)
    unsampled = int(table["elpd"].isna().sum())
    if unsampled and criterion in ("elpd", "conditional"):
        remark(axes, f"{len(table) - unsampled} of {len(table)} models were sampled")
    elif collapsed := int(table["collapsed"].sum()):
        remark(axes, f"{collapsed} of {len(table)} models collapsed")
    return axes


def curves(table: pd.DataFrame, criterion: Criterion) -> Curves:
    """One curve a structure, of the models that have the criterion."""
    if criterion in ("bic", "icl"):
        frame = pd.DataFrame({"value": below(table, criterion), "error": np.nan}, table.index)
    else:
        stem = "elpd_diff" if criterion == "elpd" else "conditional_diff"
        error = "diff_se" if criterion == "elpd" else "conditional_diff_se"
        frame = table[[stem, error]].set_axis(["value", "error"], axis="columns")
        frame = frame[frame["value"].notna()]
    if table.index.nlevels == 1:
        groups = [(_LABELS[criterion].split(",")[0], frame)]
    else:
        structures = table.index.droplevel(0)
        # In the whole table's order, so that a structure has one mark in every picture.
        groups = [
            (", ".join(map(str, np.atleast_1d(key))), frame[frame.index.droplevel(0) == key])
            for key in structures.unique()
        ]
    return {
        name: (
            numbers_of(part),
            part["value"].to_numpy(),
            None if part["error"].isna().all() else part["error"].to_numpy(),
        )
        for name, part in groups
    }


def numbers_of(table: pd.DataFrame) -> np.ndarray:
    """Numbers of clusters of a comparison's models."""
    return np.asarray(table.index.get_level_values(N_CLUSTERS))


def below(table: pd.DataFrame, criterion: str) -> np.ndarray:
    """How far a criterion is from its best value, multiplied by −½; NaN for collapsed modes."""
    found = (table.loc[least(table, criterion), criterion] - table[criterion]) / 2
    return np.asarray(found.where(~table["collapsed"]))


def _ring(axes: Axes, comparison: Comparison, series: Curves) -> None:
    """A ring around the model that was chosen."""
    table = comparison.table
    key = parts_of(table, comparison.best)
    own = ", ".join(str(value) for name, value in key.items() if name != N_CLUSTERS)
    names = list(series)
    name = own if own in series else names[0]
    numbers, values, _ = series[name]
    at = np.flatnonzero(numbers == key[N_CLUSTERS])
    if at.size:
        place = numbers[at[0]] + 0.07 * (names.index(name) - (len(names) - 1) / 2)
        axes.plot(place, values[at[0]], "o", markersize=15, markerfacecolor="none",
                  markeredgecolor=INK, markeredgewidth=1.2)  # fmt: skip
