"""The table that was fitted."""

import numpy as np

from jointmix.base.numbers import percent
from jointmix.checks.finding import counted
from jointmix.posterior.draws import observed_source
from jointmix.posterior.imputation import impute
from jointmix.reporting import figures
from jointmix.reporting.concerns import gathered_notes
from jointmix.reporting.elements import (
    Callout,
    Cell,
    Code,
    Element,
    Facts,
    Figure,
    Panel,
    Prose,
    Section,
    Table,
    number_cells,
    text_cells,
)
from jointmix.reporting.fitted import FittedView
from jointmix.reporting.tables_drawn import modelled
from jointmix.reporting.text import number, rows_text, shorten
from jointmix.tables.weights import weight_words

ID, TITLE = "data", "Data"
_MOST_PATTERNS, _IMPUTED_DRAWS = 20, 200


def section(view: FittedView) -> Section:
    """Rows used and left out, a table of the columns, their histograms, and the data's hash."""
    elements: list[Element] = [
        Prose(text=_rows_sentence(view)), _columns(view), *_levels(view), *_patterns(view)
    ]  # fmt: skip
    shortened = [name for name, label in view.names.items() if label != name]
    if shortened:
        lines = [f"{view.names[name]} = {name!r}" for name in shortened]
        elements.append(Code(caption="Names in full", text="\n".join(lines)))
    elements += [
        Callout(tone="note", title=shorten(title, 120), text=shorten(text, 600))
        for title, text in gathered_notes(view.attribute("notes"))
    ]
    elements += [_histograms(view), _facts(view)]
    return Section(id=ID, title=TITLE, elements=tuple(elements))


def _rows_sentence(view: FittedView) -> str:
    n_rows, n_used = int(view.tree.attrs["n_rows"]), view.n_fitted
    zeros = int(view.tree.attrs.get("n_zero_weight", 0))
    left_out = n_rows - n_used - zeros
    text = f"The table has {counted(n_rows, 'row')}; {n_used:,} were used."
    if left_out:
        text += f" {counted(left_out, 'row')} with missing entries {_were(left_out)} left out."
    if zeros:
        text += f" {counted(zeros, 'row')} of weight 0 {_were(zeros)} left out."
    return text + _weights_sentence(view) + _sample_sentence(view)


def _sample_sentence(view: FittedView) -> str:
    """What of this page is of fewer rows than the posterior is."""
    if "n_parts" not in view.tree.attrs:
        return ""
    said = f" They were read in {counted(int(view.tree.attrs['n_parts']), 'part')}."
    if view.n_fitted == view.n_obs:
        return said
    return (
        f"{said} The posterior is that of all of them; starts, labels, likelihoods of modes, "
        f"checks of single rows and all pictures are of {counted(view.n_obs, 'row')} at random, "
        "which this fit holds."
    )


def _weights_sentence(view: FittedView) -> str:
    name = view.model.row_weights
    if name is None:
        return ""
    if view.rows.unit is None:
        kind = "as if it were repeated"
    else:
        kind = "in a pseudo-posterior, whose intervals are as wide as the sum of the weights says"
    said = f" Each row counts as often as {shorten(name, 60)} says, {kind}: "
    return f"{said}{weight_words(view.rows.weights)}."


def _were(count: int) -> str:
    return "was" if count == 1 else "were"


def _roles(view: FittedView, name: str) -> str:
    roles = [
        role
        for role, members in (
            ("feature", view.model.clustering),
            ("predictor", view.predictors),
            ("response", (view.response,)),
            ("offset", (view.offset,)),
            ("trials", (view.trials,)),
        )
        if name in members
    ]
    return ", ".join(roles)


def _part(view: FittedView, name: str) -> str:
    """What a column takes part in that has no role by itself."""
    encoding = view.model.encoding
    offset = None if encoding is None else encoding.offset
    return "in the offset" if offset is not None and name in offset.columns else "in a term"


def tied_share(values: np.ndarray) -> float:
    """Share of rows whose value another row has too, of those that have one."""
    values = values[~np.isnan(values)]
    _, inverse, counts = np.unique(values, return_inverse=True, return_counts=True)
    return float((counts[inverse] > 1).mean())


def _spread(view: FittedView, values: np.ndarray) -> float:
    """Standard deviation (n − 1) of rows as often as they count."""
    n, center = float(view.rows.copies.sum()), view.average(values)
    return float(np.sqrt(view.average((values - center) ** 2) * n / max(n - 1.0, 1.0)))


def _but_not(view: FittedView) -> str:
    if not view.model.linked:
        return ""
    _, unit = view.scaling[str(view.response)]
    how = "as it is" if unit == 1 else "over its scale"
    return f"; the response {how}, with the centre of its line"


def _of_table(view: FittedView) -> dict[str, np.ndarray]:
    """The columns of numbers that the table had: terms that are made of them stand elsewhere."""
    made, source = view.model.made, observed_source(view.tree)
    found = {name: values for name, values in view.columns.items()
             if name not in made and name not in view.labels}  # fmt: skip
    if source is not None:
        found |= {
            name: values
            for name, values in source.values.items()
            if name not in source.levels and name not in found and name not in view.labels
        }
    return found


def _levels(view: FittedView) -> list[Element]:
    """How many rows have each level, of the columns that hold levels."""
    source, missing, rows = observed_source(view.tree), view.attribute("excluded"), []
    columns = {name: (view.columns[name], labels) for name, labels in view.labels.items()}
    if source is not None and view.model.encoding is not None:
        for name, labels in source.levels.items():
            columns.setdefault(name, (source.values[name], labels))
    for name, (codes, labels) in columns.items():
        known = codes[~np.isnan(codes)]
        counts = np.bincount(known.astype(int), minlength=len(labels))
        held = [f"{label} {count:,}" for label, count in zip(labels, counts, strict=True) if count]
        absent = f"{int(missing.get(name, 0)) + int(np.isnan(codes).sum()):,}"
        role = _roles(view, name) or _part(view, name)
        cells = (shorten(name, 40), role, shorten(", ".join(held), 400))
        rows.append((*text_cells(*cells), *number_cells(absent)))
    if not rows:
        return []
    return [
        Table(
            caption="Columns of levels, with the rows of each",
            columns=(*text_cells("column", "role", "levels"), *number_cells("missing")),
            rows=tuple(rows),
        )
    ]


def _columns(view: FittedView) -> Table:
    missing = view.attribute("excluded")
    rows = []
    for name, values in _of_table(view).items():
        scaled = ["–", "–"]
        if name in view.columns:
            scaled = [number(each) for each in view.scaling[name]]
        rows.append(
            (
                Cell(text=view.names.get(name, shorten(name, 40))),
                Cell(text=_roles(view, name) or _part(view, name)),
                *number_cells(
                    number(view.average(values)),
                    number(_spread(view, values)),
                    number(np.nanmin(values)),
                    number(np.nanmax(values)),
                    percent(tied_share(values)),
                    f"{int(missing.get(name, 0)) + int(np.isnan(values).sum()):,}",
                    *scaled,
                ),
            )
        )
    headers = ("mean", "sd", "min", "max", "tied rows", "missing", "centre", "scale")
    over = "used" if view.n_fitted == view.n_obs else "that this fit holds"
    return Table(
        caption=f"Columns used, over the rows {over}",
        columns=(*text_cells("column", "role"), *number_cells(*headers)),
        rows=tuple(rows),
        notes=(
            "Tied rows share their value with another row. Missing counts entries of the whole "
            f"table. The model was fitted to (value − centre) / scale{_but_not(view)}.",
        ),
    )


def _patterns(view: FittedView) -> list[Element]:
    """Which entries rows miss, how many rows there are of each kind, and what fills them."""
    columns = {view.names[name]: view.columns[name] for name in modelled(view)}
    gone = np.isnan(np.column_stack(list(columns.values())))
    if not gone.any():
        return []
    weight, found = view.rows.weights, []
    kinds, group, counts = np.unique(gone, axis=0, return_inverse=True, return_counts=True)
    for index in np.argsort(-counts, kind="stable"):
        missing = ", ".join(np.array(list(columns))[kinds[index]]) or "nothing"
        share = percent(weight[group.ravel() == index].sum() / weight.sum())
        found.append((Cell(text=missing), *number_cells(f"{counts[index]:,}", share)))
    left_out = len(found) - _MOST_PATTERNS
    notes = ["Rows count by the density of the entries that they have (missing at random)."]
    if left_out > 0:
        notes.append(f"{left_out} further patterns have fewer rows.")
    return [
        Table(
            caption="What rows miss",
            columns=(Cell(text="missing"), *number_cells("rows", "share")),
            rows=tuple(found[:_MOST_PATTERNS]),
            notes=tuple(notes),
        ),
        _imputed(view),
    ]


def _imputed(view: FittedView) -> Table:
    """What clusters say of missing entries, a row for each column that has such."""
    cells, rows = impute(view.tree, _IMPUTED_DRAWS), []
    for name in modelled(view):
        if name in view.labels:
            rows += _imputed_levels(view, name)
            continue
        own, column = cells.isel(cell=cells["column"].values == name), view.columns[name]
        if not own.sizes["cell"]:
            continue
        width = float(np.mean(own["sd"].values))
        numbers = (float(np.mean(own["mean"].values)), view.average(column), width)
        rows.append(
            (
                Cell(text=view.names[name]),
                *number_cells(
                    f"{own.sizes['cell']:,}",
                    percent(own.sizes["cell"] / len(column)),
                    *map(number, numbers),
                    percent(width / _spread(view, column)),
                ),
            )
        )
    headers = ("entries", "share", "mean, imputed", "mean, present", "sd", "sd of the column's")
    return Table(
        caption="What clusters say of missing entries",
        columns=(Cell(text="column"), *number_cells(*headers)),
        rows=tuple(rows),
        notes=(
            "The sd is that of an entry given those of its row, on average, and as a share of the "
            "column's. jointmix.impute gives entry by entry.",
        ),
    )


def _imputed_levels(view: FittedView, name: str) -> list[tuple[Cell, ...]]:
    """A row for a feature of levels: how many entries are missing, and no numbers."""
    gone = np.isnan(view.columns[name])
    if not gone.any():
        return []
    numbers = (f"{gone.sum():,}", percent(gone.mean()), *["–"] * 4)
    return [(Cell(text=view.names[name]), *number_cells(*numbers))]


def _histograms(view: FittedView) -> Figure:
    panels, rows = [], []
    for name, every in _of_table(view).items():
        there = ~np.isnan(every)
        values, weight = every[there], view.rows.weight
        label = view.names.get(name, shorten(name, 40))
        bins = min(30, max(8, int(np.sqrt(values.size))))
        weight = None if weight is None else weight[there]
        counts, edges = np.histogram(values, bins, weights=weight)
        top = int(counts.argmax())
        panels.append(
            Panel(
                svg=figures.histogram(edges, counts, label),
                alt=f"Histogram of {label}: from {number(values.min())} to "
                f"{number(values.max())}, most rows ({rows_text(counts[top])}) between "
                f"{number(edges[top])} and {number(edges[top + 1])}.",
            )
        )
        quartiles = [view.rows.quantile(every, at) for at in (0, 0.25, 0.5, 0.75, 1)]
        rows.append((Cell(text=label), *number_cells(*map(number, quartiles))))
    return Figure(
        caption="Distribution of each column.",
        panels=tuple(panels),
        table=Table(
            caption="Quartiles of each column",
            columns=(
                Cell(text="column"),
                *number_cells("min", "25%", "median", "75%", "max"),
            ),
            rows=tuple(rows),
        ),
    )


def _facts(view: FittedView) -> Facts:
    return Facts(items=(("SHA-256 of the values used", view.tree.attrs["data_hash"]),))
