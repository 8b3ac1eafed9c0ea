"""Whether predictions, or fits, say as often as they should where the truth lies."""

from typing import Any, Literal, get_args

import numpy as np
import xarray as xr
from arviz_stats.ecdf_utils import ecdf_pit
from matplotlib.axes import Axes

from jointmix.base.arguments import choice
from jointmix.base.errors import SchemaError, SpecError
from jointmix.plots import marks
from jointmix.plots.reading import thinned
from jointmix.plots.style import BLUE, GREY, INK, canvas, labelled, remark
from jointmix.posterior.draws import fitted_spec
from jointmix.posterior.scores import Scores, loo
from jointmix.tables.weights import is_frequency

What = Literal["pit", "coverage"]

#: Rows left out one by one; rows, simulations and probability of the band.
_MOST_SCORED, _MOST_ROWS, _SIMULATIONS, _BAND = 2_000, 1_000, 1_000, 0.95
_LEVELS = np.linspace(0.05, 0.95, 19)
#: Standard errors of chance, and the intervals of a calibration.
_ERRORS, _EXPECTED = 3.0, 0.9


def plot_calibration(result: object, ax: object = None, *, what: What = "pit") -> Axes:
    """Draw whether predictions are calibrated, or whether fits find what made the data.

    Of a fit or its scores, each row being predicted by the others: "pit", the distribution
    function of F(y | x, rest) minus the uniform one, which stays inside the grey 95% simultaneous
    band if the model is calibrated (Säilynoja, Bürkner and Vehtari 2022,
    doi:10.1007/s11222-022-10090-6); "coverage", the share of rows inside their central intervals
    against the intervals' probability, with three binomial standard errors.

    Of what `calibrate` gave: "pit", the same of the ranks of the truth among posterior draws, one
    line a quantity, that farthest from uniform thick and named; "coverage", the share of 90%
    intervals that hold the truth, quantity by quantity.

    Parameters
    ----------
    result
        A fitted tree with a response, what `loo`, `reloo` or `kfold` gave, or a Calibration.
    ax
        Axes to draw on; None draws on those of a new figure.
    what
        "pit" or "coverage".

    Returns
    -------
    matplotlib.axes.Axes
        The axes.

    Raises
    ------
    SpecError
        If the model has no response, or what to draw is unknown.
    SchemaError
        If the result is none of these, or a calibration has no fits.

    Examples
    --------
    >>> import jointmix as jm
    >>> table = jm.simulate(jm.four_clusters(2), 100, seed=1)
    >>> quick = jm.SamplerSpec(sampler="laplace", draws=100, chains=2)
    >>> tree = jm.fit(table, "y ~ x1", n_clusters=2, sampler=quick)
    >>> jm.plot_calibration(jm.loo(tree), what="coverage").get_ylabel()
    'rows inside'
    """
    choice("what", what, get_args(What))
    if getattr(result, "kind", None) == "calibration":
        return _of_fits(result, ax, what)
    if isinstance(result, xr.DataTree):
        if fitted_spec(result).response is None:
            raise SpecError("This model has no response, whose predictions would be calibrated.")
        result = loo(result, _MOST_SCORED)
    if not isinstance(result, Scores):
        raise SchemaError(
            f"A fitted DataTree, Scores or a Calibration is required, got {type(result).__name__}."
        )
    if "pit" not in result.pointwise:
        raise SpecError("These scores are of a model without a response, which has no PIT.")
    return _of_rows(result, ax, what)


def _of_rows(scores: Scores, ax: object, what: What) -> Axes:
    told = scores.pointwise.isel(obs=~np.isnan(scores.pointwise["pit"].values))
    pit = told["pit"].values
    weight = told["weight"].values if "weight" in told else np.ones(pit.size)
    # Whole weights are so many rows, others one row each.
    copies = weight if is_frequency(weight) else np.ones(pit.size)
    axes = canvas(ax)
    if what == "pit":
        _, at, ecdf, lower, upper = pit_band(pit, copies)
        marks.band(axes, at, ecdf - at, lower - at, upper - at)
        labelled(axes, f"PIT ({scores.method})", "ECDF − uniform")
    else:
        inside = np.array(
            [np.average(np.abs(pit - 0.5) <= level / 2, weights=weight) for level in _LEVELS]
        )
        n = weight.sum() ** 2 / (weight @ (weight / copies))
        error = _ERRORS * np.sqrt(_LEVELS * (1 - _LEVELS) / n)
        axes.fill_between(_LEVELS, _LEVELS - error, _LEVELS + error, color=GREY, lw=0)
        axes.plot(_LEVELS, _LEVELS, color=INK, linewidth=0.8)
        axes.plot(_LEVELS, inside, "o-", color=BLUE, linewidth=1.5, markersize=4)
        axes.set(xlim=(0, 1), ylim=(0, 1))
        labelled(axes, "probability of the central interval", "rows inside")
    remark(axes, "" if pit.size == scores.n_rows else f"{pit.size:,} of {scores.n_rows:,} rows")
    return axes


def pit_band(
    pit: np.ndarray, copies: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """The distribution function of PIT values (row,), and its 95% simultaneous band.

    Parameters
    ----------
    copies
        How many rows each stands for, (row,): it is taken as often. Of many rows some are taken.

    Returns
    -------
    kept
        Places of the rows that were taken.
    at, ecdf, lower, upper
        Points in (0, 1), and the function and its band there.
    """
    ends = copies.cumsum()
    kept = np.searchsorted(ends, thinned(round(ends[-1]), _MOST_ROWS), side="right")
    at, ecdf, lower, upper = ecdf_pit(pit[kept], _BAND, _SIMULATIONS)
    return kept, at, ecdf, lower, upper


def _of_fits(calibration: Any, ax: object, what: What) -> Axes:
    plain: dict[str, Any] = calibration.plain()
    if not plain["curves"]:
        raise SchemaError("The calibration has no fits to draw.")
    table = {line["quantity"]: line for line in plain["quantities"]}
    fitted = plain["replicates"] - plain["failed"]
    worst = min(table, key=lambda name: min(table[name]["p_holm"], table[name]["p_coverage"]))
    if what == "pit":
        axes = canvas(ax)
        band = {name: np.array(values) for name, values in plain["band"].items()}
        curves = {name: np.array(values) for name, values in plain["curves"].items()}
        limits = np.array([band["lower"], band["upper"]]) - band["at"]
        marks.rank_functions(axes, band["at"], curves, limits, worst)
        labelled(axes, "rank, as a share", "ECDF − uniform", worst)
        axes.title.set_color(BLUE)
    else:
        axes = canvas(ax, (6.4, 1.2 + 0.2 * len(table)))
        shares = np.array([line["coverage90"] for line in table.values()])
        error = _ERRORS * float(np.sqrt(_EXPECTED * (1 - _EXPECTED) / fitted))
        marks.coverages(axes, list(table), shares, _EXPECTED, error)
        labelled(axes, "share of 90% intervals with the truth")
    remark(axes, f"{fitted:,} tables")
    return axes
