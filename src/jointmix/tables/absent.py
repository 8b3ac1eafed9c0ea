"""Columns that are asked for and not there."""

import difflib
from collections.abc import Sequence

from jointmix.tables.issues import Issue, listed, quoted


def absent_issue(absent: Sequence[str], present: Sequence[object]) -> Issue:
    """What is said of a table without columns that are needed, and what may have been meant."""
    word = "column" if len(absent) == 1 else "columns"
    return Issue(
        code="absent_column",
        severity="error",
        message=f"The table has no {word} {listed(absent)}{_hint(absent[0], present)}; it has "
        f"{listed(present) or 'none'}.",
        column=absent[0] if len(absent) == 1 else listed(absent),
        value=float(len(absent)),
        remedy="Name columns that the table has, as the table writes them.",
    )


def _hint(absent: str, present: Sequence[object]) -> str:
    names = [name for name in present if isinstance(name, str)]
    spaced = [name for name in names if name.strip() == absent.strip()]
    if spaced:
        return f" (did you mean {quoted(spaced[0])}, with the spaces around it?)"
    close = difflib.get_close_matches(absent, names, n=1)
    close = close or [name for name in names if name.casefold() == absent.casefold()]
    return f" (did you mean {quoted(close[0])}?)" if close else ""
