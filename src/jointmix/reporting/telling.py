"""What tells a cluster from all rows and from its neighbours: levels, gaps and sentences."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import xarray as xr

from jointmix.base.numbers import percent, probability
from jointmix.base.schema import CHAIN, CLUSTER, DRAW, FEATURE, OBS, PREDICTOR
from jointmix.checks.duplicates import cluster_distances
from jointmix.checks.finding import listed
from jointmix.families.words import LogLinkWords
from jointmix.posterior.draws import spread
from jointmix.posterior.summaries import statistics
from jointmix.reporting.fitted import INTERVAL, Estimate, FittedView, estimate_of
from jointmix.reporting.text import decimals, places_for, shorten

#: Standard deviations of all rows from which a cluster is called high or low.
NOTABLE = 0.5
#: Columns that a sentence names, rows over which lines are averaged, and draws of such averages.
_MOST_SAID, _MOST_ROWS, _MOST_DRAWS = 3, 500, 1_000


@dataclass(frozen=True, kw_only=True)
class Trait:
    """One column, or one of its levels, in one cluster against all rows.

    Attributes
    ----------
    column
        The feature's short label.
    level
        Label of the level, "" of a feature of numbers.
    estimate
        The cluster's mean, or the level's probability there.
    whole
        The mean of all rows that have an entry, or the level's share of them.
    sd
        Standard deviation of all rows.
    gap, lower, upper
        (Mean − whole) / sd, and its 89% interval.
    """

    column: str
    level: str
    estimate: Estimate
    whole: float
    sd: float
    gap: float
    lower: float
    upper: float

    @property
    def label(self) -> str:
        """The column, with its level."""
        return f"{self.column}: {self.level}" if self.level else self.column

    @property
    def value(self) -> str:
        """The cluster's value, without its interval."""
        return percent(self.estimate.mean) if self.level else self.estimate.value

    @property
    def bounds(self) -> str:
        """The value's interval."""
        if self.level and not self.estimate.fixed:
            return f"[{percent(self.estimate.lower)}, {percent(self.estimate.upper)}]"
        return self.estimate.bounds

    @property
    def brief(self) -> str:
        """The cluster's value, to the digits that tell rows apart."""
        return self._brief(self.estimate.mean)

    @property
    def whole_brief(self) -> str:
        """The value of all rows, likewise."""
        return self._brief(self.whole)

    def _brief(self, value: float) -> str:
        if self.level:
            return percent(value, 0)
        return decimals(value, places_for(self.sd, self.whole))

    @property
    def of_all(self) -> str:
        """The value of all rows, to as many digits."""
        if self.level:
            return percent(self.whole)
        return decimals(self.whole, places_for(self.estimate.sd, self.estimate.mean))


def traits(view: FittedView) -> tuple[tuple[Trait, ...], ...]:
    """Traits of each cluster, in the order of the columns, computed once a view."""
    if "traits" not in view.made:
        view.made["traits"] = tuple(zip(*_rows(view), strict=True)) or ((),) * len(view.clusters)
    found: tuple[tuple[Trait, ...], ...] = view.made["traits"]
    return found


def _rows(view: FittedView) -> Iterator[tuple[Trait, ...]]:
    """A column, or level, at a time: its trait in each cluster."""
    for j, name in enumerate(view.features):
        yield _across(
            view, name, "", view.posterior["mean"].isel({FEATURE: j}), "mean", {FEATURE: j}
        )
    for own in view.model.discrete:
        if not own.levels:
            stem = f"rate_{own.stem}"
            yield _across(view, own.column, "", view.posterior[stem], stem, {})
            continue
        stem = f"probability_{own.stem}"
        for j, level in enumerate(own.levels):
            draws = view.posterior[stem].isel({own.dim: j})
            yield _across(view, own.column, level, draws, stem, {own.dim: j}, code=j)


def _across(
    view: FittedView,
    column: str,
    level: str,
    draws: xr.DataArray,
    parameter: str,
    at: dict[str, int],
    code: int | None = None,
) -> tuple[Trait, ...]:
    values = view.columns[column]
    if code is not None:
        values = np.where(np.isnan(values), np.nan, values == code)
    whole = view.average(values)
    sd = float(np.sqrt(view.average((values - whole) ** 2))) or 1.0
    gaps = (draws.transpose(CHAIN, DRAW, CLUSTER).values - whole) / sd
    tails = np.quantile(gaps, [(1 - INTERVAL) / 2, (1 + INTERVAL) / 2], axis=(0, 1))
    return tuple(
        Trait(
            column=view.names[column],
            level=shorten(level, 40) if level else "",
            estimate=view.estimate(parameter, cluster=k, **at),
            whole=whole,
            sd=sd,
            gap=float(gaps[..., k].mean()),
            lower=float(tails[0, k]),
            upper=float(tails[1, k]),
        )
        for k in range(len(view.clusters))
    )


def expected(view: FittedView) -> tuple[Estimate, ...]:
    """The response that each cluster expects of its own rows, each with its responsibility.

    Of an offset, at one of 0; of trials, a trial's chance. Rows that miss a predictor are left out.
    """
    if "expected" not in view.made:
        found = statistics(_expected(view), INTERVAL)
        view.made["expected"] = tuple(
            estimate_of(found.isel({CLUSTER: k})) for k in range(len(view.clusters))
        )
    estimates: tuple[Estimate, ...] = view.made["expected"]
    return estimates


def _expected(view: FittedView) -> xr.DataArray:
    """Draws [chain, draw, cluster]."""
    words, posterior = view.line_words, view.posterior
    origin = xr.zeros_like(posterior["weight"])
    level = posterior.get("intercept", origin)
    if not view.predictors:
        return words.expected(level).transpose(CHAIN, DRAW, CLUSTER)
    u = np.stack([view.columns[name] for name in view.predictors], axis=1)
    kept = np.flatnonzero(~np.isnan(u).any(axis=1))
    if view.model.linked:
        kept = kept[spread(len(kept), _MOST_ROWS)]
        some = spread(posterior.sizes[DRAW], max(1, _MOST_DRAWS // posterior.sizes[CHAIN]))
        posterior, level = posterior.isel({DRAW: some}), level.isel({DRAW: some})
    share = view.allocation["responsibility"].transpose(OBS, CLUSTER).values[kept]
    share = share * view.rows.weights[kept, None]
    # A cluster that no row belongs to is looked at in all rows.
    share = np.where(share.sum(axis=0) > 0, share, view.rows.weights[kept, None])
    share = share / share.sum(axis=0)
    slope = posterior["slope"].transpose(CHAIN, DRAW, CLUSTER, PREDICTOR).values
    level = level.transpose(CHAIN, DRAW, CLUSTER)
    if not view.model.linked:
        return level + np.einsum("sdkp,kp->sdk", slope, share.T @ u[kept])
    found = [
        words.expected(level.values[..., k, None] + slope[..., k, :] @ u[kept].T) @ share[:, k]
        for k in range(len(view.clusters))
    ]
    return level.copy(data=np.stack(found, axis=-1))


def response_of_all(view: FittedView) -> float:
    """The response's mean over all rows; of a unit of exposure, or of a trial, if there are."""
    y = view.columns[view.response or ""]
    if view.trials is not None:
        return view.average(y) / view.average(view.columns[view.trials])
    if view.offset is not None and isinstance(view.line_words, LogLinkWords):
        exposure = np.where(np.isnan(y), np.nan, np.exp(view.columns[view.offset]))
        return view.average(y) / view.average(exposure)
    return view.average(y)


def telling(own: tuple[Trait, ...], most: int = _MOST_SAID) -> list[Trait]:
    """The columns in which a cluster is farthest from all rows, one trait each.

    Of a feature's levels the one that is more frequent than among all rows by most.
    """
    best: dict[str, Trait] = {}
    for trait in own:
        known = best.get(trait.column)
        if known is None or trait.gap > known.gap:
            best[trait.column] = trait
    return sorted(best.values(), key=lambda trait: -abs(trait.gap))[:most]


def describe(view: FittedView, cluster: int) -> str:
    """What is high and what is low in a cluster, against all rows, as a sentence; "" if nothing."""
    own = traits(view)[cluster]
    if not own:
        return ""
    if len(view.clusters) == 1:
        said = [f"{each.label} {each.brief}" for each in telling(own)]
        return f"On average: {listed(said)}."
    notable = [each for each in telling(own) if abs(each.gap) >= NOTABLE]
    if not notable:
        nearest = telling(own, 1)[0]
        return f"Near all rows in every feature; farthest in {_against(nearest)}."
    high = [_against(each) for each in notable if each.gap > 0 and not each.level]
    low = [_against(each) for each in notable if each.gap < 0 and not each.level]
    often = [_against(each) for each in notable if each.level]
    parts = [
        f"{word} {listed(items)}"
        for word, items in (("high", high), ("low", low), ("mostly", often))
        if items
    ]
    text = "; ".join(parts)
    return f"{text[0].upper()}{text[1:]}."


def _against(trait: Trait) -> str:
    name = f"{trait.column} {trait.level}" if trait.level else trait.column
    return f"{name} ({trait.brief}, all rows {trait.whole_brief})"


def nearest(view: FittedView) -> dict[int, tuple[int, float]]:
    """For each cluster that holds rows: its nearest neighbour by position, and their overlap.

    The overlap is exp(−Bhattacharyya distance), of the median draw: 1 for one and the same.
    """
    if "nearest" not in view.made:
        held = view.occupied
        overlap = np.zeros((len(view.clusters),) * 2)
        if len(held) > 1:
            for (one, other), distance in cluster_distances(view.tree).items():
                overlap[one, other] = overlap[other, one] = np.exp(-np.median(distance))
        view.made["nearest"] = {
            k: max(((j, float(overlap[k, j])) for j in held if j != k), key=lambda pair: pair[1])
            for k in held
            if len(held) > 1
        }
    found: dict[int, tuple[int, float]] = view.made["nearest"]
    return found


def separation(view: FittedView, cluster: int) -> str:
    """What separates a cluster from its nearest neighbour, as a sentence; "" if it has none."""
    if cluster not in nearest(view):
        return ""
    other, overlap = nearest(view)[cluster]
    mine, theirs = (traits(view)[k] for k in (cluster, other))
    gaps = _gaps(view, cluster, other)
    order = sorted(range(len(mine)), key=lambda i: -abs(gaps[i]))
    named: dict[str, str] = {}
    for i in order:
        if abs(gaps[i]) >= NOTABLE and mine[i].column not in named and len(named) < _MOST_SAID:
            what = f"{mine[i].column} {mine[i].level}" if mine[i].level else mine[i].column
            named[mine[i].column] = f"{what} ({mine[i].brief} against {theirs[i].brief})"
    parts = list(named.values())
    if view.response is not None:
        levels = expected(view)
        parts.append(
            f"{view.names[view.response]} ({levels[cluster].value} against {levels[other].value})"
        )
    shared = probability(overlap, 0.001)
    text = f"Nearest is {view.called[other]}, whose density overlaps with it by {shared}"
    return f"{text}; they differ in {listed(parts)}." if parts else f"{text}."


def _gaps(view: FittedView, one: int, other: int) -> list[float]:
    """Differences of two clusters' traits over their spread inside the two."""
    found = []
    sds = view.point["sd"].transpose(CLUSTER, FEATURE).values if view.features else None
    for i, (mine, theirs) in enumerate(zip(traits(view)[one], traits(view)[other], strict=True)):
        first, second = mine.estimate.mean, theirs.estimate.mean
        if sds is not None and i < len(view.features):
            variance = (sds[one, i] ** 2 + sds[other, i] ** 2) / 2
        elif mine.level:
            variance = (first * (1 - first) + second * (1 - second)) / 2
        else:
            variance = (first + second) / 2
        found.append(float((first - second) / np.sqrt(max(variance, 1e-12))))
    return found
