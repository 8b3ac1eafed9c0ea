"""What whole terms of a line do: level against level, and curves between two values."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from itertools import combinations, product

import numpy as np
import pandas as pd
import xarray as xr

from jointmix.base.arguments import several, shown
from jointmix.base.errors import SpecError
from jointmix.base.schema import CLUSTER, PREDICTOR, WEIGHT, require_group
from jointmix.model.completions import filled
from jointmix.model.spec import ModelSpec
from jointmix.posterior.differences import Differences
from jointmix.posterior.draws import fitted_spec, observed_rows, observed_source
from jointmix.posterior.naming import cluster_names
from jointmix.posterior.summaries import identified_parameters
from jointmix.tables.design import Encoding, Source, TermColumns
from jointmix.tables.factors import OutsideError
from jointmix.tables.issues import listed, quoted
from jointmix.tables.levels import coded_numbers, level_label

#: Shares of the rows below the two values between which a column of numbers is taken.
_QUARTILES = (0.25, 0.75)

#: What some columns hold, by name, and what that is called.
Setting = tuple[dict[str, float], str]


def term_contrasts(
    tree: xr.DataTree,
    terms: str | Iterable[str] | None = None,
    between: Mapping[str, Sequence[object]] | None = None,
    at: Mapping[str, object] | None = None,
    interval: float = 0.89,
) -> pd.DataFrame:
    """What whole terms change in the line, in each cluster and between clusters, draw by draw.

    A factor's levels are held against each other, whatever its coding; a spline, a polynomial or
    a number is taken at two values of its column. A product of terms is the difference of such
    differences: of "age:smoker", how much more the line changes with age for smokers.

    Parameters
    ----------
    tree
        A fitted tree with a response.
    terms
        As the formula has them, such as "treatment", "bs(age, df=4)" or "age * smoker"; or
        predictors that were listed. By default all.
    between
        Column → two or more of its levels or values; each is held against those before it. By
        default all levels, the reference first, and the quartiles of numbers in the fit's rows
        (least and greatest, where those are equal).
    at
        Column → the level or value at which it is held. A term that stands in products too counts
        alone by default, as where the columns that multiply it are 0 or at their reference; with
        ``at`` its products count as well, of all columns that multiply it.
    interval
        Probability inside the equal-tailed interval.

    Returns
    -------
    pandas.DataFrame
        Columns as `contrasts`; a row such as "treatment[cluster 1, drug − usual care]" for each
        cluster and, with the difference of two clusters, "treatment[cluster 1 − cluster 2, drug −
        usual care]". On the scale of the line: of the response, or of its link. ``ratio``, the
        exponential, is then the rate ratio, odds ratio or ratio of means.

    Raises
    ------
    SpecError
        If the model has no predictors or no such term, ``between`` or ``at`` names a column,
        level or value that cannot be taken, ``at`` leaves out a column that multiplies a term, or
        ``interval`` is not a probability.
    SchemaError
        If the draws' labels were never identified.

    Examples
    --------
    >>> import jointmix as jm
    >>> table = {"y": [1.0, 1.3, 2.9, 3.2, 1.1, 3.1], "ward": ["a", "a", "b", "b", "a", "b"]}
    >>> sampler = jm.SamplerSpec(sampler="laplace")
    >>> tree = jm.fit(table, "y ~ ward", n_clusters=1, sampler=sampler, progress=False)
    >>> jm.term_contrasts(tree, "ward").index.tolist()
    ['ward[cluster 1, b − a]']
    """
    spec = fitted_spec(tree)
    slope = identified_parameters(tree).get("slope")
    if slope is None:
        raise SpecError("A model without predictors has no terms to contrast.")
    encoding, source = _columns(tree, spec)
    asked, chosen = _between(between), _wanted(encoding, terms)
    _refuse_unread("between", asked, chosen)
    held = None if at is None else _held_at(encoding, source, chosen, at)
    ratio = bool(spec.blocks[-1].ratio)
    found, called = Differences(interval, ratio), cluster_names(tree)
    for term in chosen:
        axes = [_settings(tree, encoding, source, each, asked) for each in _axes(term)]
        for pairs in product(*(combinations(axis, 2) for axis in axes)):
            change = xr.DataArray(
                _change(encoding, source, term, pairs, held),
                dims=PREDICTOR,
                coords={PREDICTOR: [*spec.predictors]},
            )
            _add(found, called, term.label, _words(pairs), (slope * change).sum(PREDICTOR), ratio)
    return found.table()


def _columns(tree: xr.DataTree, spec: ModelSpec) -> tuple[Encoding, Source]:
    """How predictors are made, and the columns that they are made of; listed ones of themselves."""
    source = observed_source(tree)
    if spec.encoding is not None and source is not None:
        return spec.encoding, filled(source, spec.encoding)
    values = dict(zip(spec.predictors, observed_rows(tree, spec).u.T, strict=True))
    plain = Encoding(None, tuple(spec.predictors), spec.intercept, '{"levels": {}, "states": {}}')
    return plain, Source(values, {})


def _wanted(encoding: Encoding, terms: str | Iterable[str] | None) -> list[TermColumns]:
    if terms is None:
        return list(encoding.terms)
    names = (terms,) if isinstance(terms, str) else several("terms", terms, "terms of the formula")
    found = dict[str, TermColumns]()
    for name in names:
        own = encoding.named(name) if isinstance(name, str) else []
        if not own:
            labels = listed([each.label for each in encoding.terms])
            raise SpecError(f"The model's terms are {labels}; got {shown(name)}.")
        found |= {each.label: each for each in own}
    return list(found.values())


def _between(between: object) -> dict[str, list[object]]:
    if between is None:
        return {}
    if not isinstance(between, Mapping):
        raise SpecError(
            "between must be columns with their levels or values, such as "
            f"{{'age': (30, 60)}}; got {shown(between)}."
        )
    found = {}
    for name, values in between.items():
        chosen = list(values) if isinstance(values, list | tuple | np.ndarray) else []
        if len({*map(str, chosen)}) < max(2, len(chosen)):
            raise SpecError(
                f"between needs two or more different values of {shown(name)}, such as "
                f"(30, 60); got {shown(values)}."
            )
        found[name] = chosen
    return found


def _read(term: TermColumns) -> tuple[str, ...]:
    """The columns that a term reads."""
    return tuple(dict.fromkeys(name for each in term.factors for name in each.columns))


def _refuse_unread(argument: str, names: Iterable[str], terms: Sequence[TermColumns]) -> None:
    read = list(dict.fromkeys(name for term in terms for name in _read(term)))
    strange = [name for name in names if name not in read]
    if strange:
        raise SpecError(
            f"{argument} names {shown(strange[0])}, which these terms do not read; they read "
            f"{listed(read)}."
        )


def _held_at(
    encoding: Encoding, source: Source, terms: Sequence[TermColumns], at: object
) -> dict[str, float]:
    """Values of the columns that are held, among them all that multiply one of the terms."""
    if not isinstance(at, Mapping):
        raise SpecError(f"at must be columns with a level or value; got {shown(at)}.")
    _refuse_unread("at", at, encoding.terms)
    for term in terms:
        own = {*_read(term)}
        beside = [_read(each) for each in encoding.terms if own & {*_read(each)}]
        needed = [name for names in beside for name in names if name not in (*own, *at)]
        if needed:
            raise SpecError(
                f"at needs a value of {quoted(needed[0])} too, which stands in a product with "
                f"{quoted(term.label)}."
            )
    return {name: _taken(encoding, source, name, [value])[0][0] for name, value in at.items()}


def _axes(term: TermColumns) -> list[tuple[str, ...]]:
    """The columns of a term, those together that one factor reads together."""
    groups: list[tuple[str, ...]] = []
    for factor in term.factors:
        joined = [each for each in groups if {*each} & {*factor.columns}]
        apart = [each for each in groups if each not in joined]
        together = dict.fromkeys(name for each in (*joined, factor.columns) for name in each)
        groups = [*apart, tuple(together)]
    return groups


def _settings(
    tree: xr.DataTree,
    encoding: Encoding,
    source: Source,
    columns: tuple[str, ...],
    between: Mapping[str, list[object]],
) -> list[Setting]:
    """Where columns that change together are taken, one after the other."""
    chosen = [_choices(tree, encoding, source, name, between.get(name)) for name in columns]
    if len({len(each) for each in chosen}) > 1:
        raise SpecError(
            f"between needs as many values of {listed(columns)} as of each other: they change "
            "together."
        )
    return [
        (
            {name: value for name, (value, _) in zip(columns, each, strict=True)},
            " and ".join(label for _, label in each),
        )
        for each in zip(*chosen, strict=True)
    ]


def _choices(
    tree: xr.DataTree,
    encoding: Encoding,
    source: Source,
    name: str,
    asked: list[object] | None,
) -> list[tuple[float, str]]:
    """Values of a column, and what they are called: those asked for, levels, or quartiles."""
    usual = _levels(encoding, name) or _ends(tree, source.values[name])
    return _taken(encoding, source, name, usual if asked is None else asked)


def _levels(encoding: Encoding, name: str) -> tuple[str, ...]:
    """Of a column that is a factor; empty for one of numbers."""
    found = [encoding.levels[each.text] for each in encoding.factors if each.columns == (name,)]
    return found[0] if found else ()


def _taken(
    encoding: Encoding, source: Source, name: str, asked: Sequence[object]
) -> list[tuple[float, str]]:
    levels = _levels(encoding, name)
    if not levels:
        return [(value, f"{value:g}") for value in _numbers(name, asked)]
    found = [level_label(each) if isinstance(each, int | float) else str(each) for each in asked]
    for level in found:
        if level not in levels:
            raise SpecError(f"{quoted(name)} has the levels {listed(levels)}; got {quoted(level)}.")
    return [(_held(source, name, level), level) for level in found]


def _held(source: Source, name: str, level: str) -> float:
    """What a column holds where it has a level."""
    if name in source.levels:
        return float(source.levels[name].index(level))
    codes, labels = coded_numbers(source.values[name])
    return float(source.values[name][codes == labels.index(level)][0])


def _numbers(name: str, asked: Sequence[object]) -> list[float]:
    try:
        values = np.array(asked, dtype=float)
    except (TypeError, ValueError):
        values = np.array([np.nan])
    if not np.isfinite(values).all():
        raise SpecError(f"{quoted(name)} holds finite numbers; got {shown(asked)}.")
    return [float(value) for value in values]


def _ends(tree: xr.DataTree, column: np.ndarray) -> list[float]:
    """The quartiles of a column in the fit's rows, values that rows have."""
    constant = require_group(tree, "constant_data")
    known = ~np.isnan(column)
    weights, column = constant[WEIGHT].values[known] if WEIGHT in constant else None, column[known]
    low, high = np.quantile(column, _QUARTILES, weights=weights, method="inverted_cdf")
    return [float(low), float(high)] if low < high else [float(column.min()), float(column.max())]


def _change(
    encoding: Encoding,
    source: Source,
    term: TermColumns,
    pairs: Sequence[tuple[Setting, Setting]],
    held: Mapping[str, float] | None,
) -> np.ndarray:
    """Differences of differences (predictor,) of a term's columns, of all where some are held."""
    corners = list(product((0, 1), repeat=len(pairs)))
    values = {name: np.repeat(column[:1], len(corners)) for name, column in source.values.items()}
    for name, value in (held or {}).items():
        values[name][:] = value
    for place, corner in enumerate(corners):
        for side, pair in zip(corner, pairs, strict=True):
            for name, value in pair[side][0].items():
                values[name][place] = value
    try:
        rows = replace(source, values=values, labels=None, row=None)
        made = encoding.columns(rows, term if held is None else None)
    except OutsideError as outside:
        first = outside.rows[0]
        where = listed([f"{name} = {values[name][first]:g}" for name in outside.columns])
        raise SpecError(
            f"{quoted(outside.text)} needs {outside.needs}, so that it has no value at {where}."
        ) from outside
    sign = np.array([(-1.0) ** (len(pairs) - sum(corner)) for corner in corners])
    return np.array([sign @ made[name] if name in made else 0.0 for name in encoding.names])


def _words(pairs: Sequence[tuple[Setting, Setting]]) -> str:
    """Such as "drug − usual care", or "(60 − 30) × (yes − no)"."""
    said = [f"{second} − {first}" for (_, first), (_, second) in pairs]
    return said[0] if len(said) == 1 else " × ".join(f"({each})" for each in said)


def _add(
    found: Differences,
    called: Mapping[int, str],
    label: str,
    words: str,
    change: xr.DataArray,
    ratio: bool,
) -> None:
    """The change in each cluster, and differences of it between clusters."""
    clusters = [called[value] for value in change[CLUSTER].values.tolist()]
    found.add([f"{label}[{name}, {words}]" for name in clusters], change, ratio)
    for one, other in combinations(range(len(clusters)), 2):
        pair = f"{clusters[one]} − {clusters[other]}"
        gap = change.isel({CLUSTER: one}, drop=True) - change.isel({CLUSTER: other}, drop=True)
        found.add([f"{label}[{pair}, {words}]"], gap, ratio)
