"""Levels of which rows say little or nothing: too many, without a row, with one row only."""

from collections.abc import Mapping, Sequence

from jointmix.tables.issues import Issue, error, listed, quoted, warning

#: Levels from which a column is worth a word, and share of rows from which they are names.
_MANY_LEVELS, _NAMES_SHARE = 20, 0.5


def empty_levels(name: str, empty: Sequence[str], so: str) -> list[Issue]:
    """That levels of a column have no row and are left out, and what follows, ``so``."""
    if not empty:
        return []
    one = len(empty) == 1
    message = (
        f"No row used has the {'level' if one else 'levels'} {listed(empty)} of column "
        f"{quoted(name)}, which {'is' if one else 'are'} left out{so}."
    )
    return [warning("empty_level", message, "", name, None, float(len(empty)))]


def one_level(name: str, levels: Sequence[str]) -> Issue:
    """That all rows have the same."""
    statement = f"Column {quoted(name)} has one level only in the rows used, {listed(levels)}"
    return error("one_level", statement, "leave it out", name, None, 1.0)


def scarce_levels(
    name: str, levels: Sequence[str], counts: Mapping[str, int], many: str, instead: str, rare: str
) -> list[Issue]:
    """What is to be said of levels that rows have.

    Parameters
    ----------
    name
        Of the column.
    counts
        Rows of each level.
    many, instead
        What follows from many levels, and what to do if they are not joined, as clauses.
    rare
        What follows from one row of a level.
    """
    n = sum(counts.values())
    if len(levels) > _MANY_LEVELS and len(levels) > _NAMES_SHARE * n:
        statement = f"Column {quoted(name)} has {len(levels)} levels in {n} rows, as names have"
        return [error("name_like", statement, "leave it out", name, None, float(len(levels)))]
    found = []
    if len(levels) > _MANY_LEVELS:
        message = f"Column {quoted(name)} has {len(levels)} levels, {many}."
        remedy = f"Join levels, or {instead}."
        found.append(warning("many_levels", message, remedy, name, None, float(len(levels))))
    single = [level for level in levels if counts[level] == 1]
    if single:
        one = len(single) == 1
        message = (
            f"{'Level' if one else 'Levels'} {listed(single)} of column {quoted(name)} "
            f"{'has' if one else 'have'} one row only, {rare}."
        )
        remedy = "Join it to another level." if one else "Join them to other levels."
        found.append(warning("rare_level", message, remedy, name, None, float(len(single))))
    return found
