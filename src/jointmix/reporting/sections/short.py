"""Two to four pages: the first screen, the clusters' cards, calibration and limits."""

import numpy as np

from jointmix.base.numbers import percent
from jointmix.posterior.known_groups import crosstab, groups_name
from jointmix.reporting.elements import Bullets, Cell, Prose, Section
from jointmix.reporting.fitted import INTERVAL, FittedView
from jointmix.reporting.sections.reproduce import limits
from jointmix.reporting.text import decimals, with_minus

ID, TITLE = "limits", "Prediction and limits"


def section(view: FittedView) -> Section:
    """How well rows are predicted, how clusters agree with known groups, and the limits."""
    sentences = [predicted(view), _groups(view), _made(view)]
    prose = [Prose(text=with_minus(each)) for each in sentences if each]
    items = tuple(Cell(text=limit) for limit in limits(view))
    return Section(id=ID, title=TITLE, elements=(*prose, Bullets(items=items)))


def predicted(view: FittedView) -> str:
    """Calibration and predictive density in a line."""
    elpd, error = (decimals(view.scores.table.loc["joint", name], 1) for name in ("elpd", "se"))
    density = (
        f"The expected log predictive density of all rows is {elpd} ± {error} nats, by "
        "leave-one-out."
    )
    if view.response is None:
        return density
    pit, place = (view.scores.pointwise[name].values for name in ("pit", "place"))
    told = ~np.isnan(pit)
    scored = view.rows.take(place[told])
    shares = []
    for level in (0.5, 0.9):
        inside = np.abs(pit[told] - 0.5) <= level / 2
        error = np.sqrt(level * (1 - level) / scored.effective)
        share = float(np.average(inside, weights=scored.weight))
        shares.append(f"{percent(share)} in {level:.0%} intervals (± {percent(float(error))})")
    response = view.names[view.response]
    return f"Of the rows left out in turn, {response} lies for {' and '.join(shares)}. {density}"


def _groups(view: FittedView) -> str:
    if groups_name(view.tree) is None:
        return ""
    return crosstab(view.tree, interval=INTERVAL).text


def _made(view: FittedView) -> str:
    seed = int(view.tree.attrs["seed"])
    return f"Sampled by {view.tree.attrs['backend']}, seed {seed}; the long report has the rest."
