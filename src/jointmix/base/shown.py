"""What a result prints in a script, in the width of a window, and shows in a notebook."""

import re
import textwrap
from collections.abc import Iterable
from dataclasses import dataclass
from html import escape

from jointmix.base.text import one_line

#: Columns of a window.
WIDTH = 80
#: What stands before a judgement, by its status.
SYMBOLS = {"ok": "✓", "caution": "!", "fail": "✕", "skipped": "–", "note": "i"}
_INDENT = "    "
#: A word that would not fit into a folded line.
_LONG_WORD = re.compile(rf"\S{{{WIDTH - len(_INDENT) + 1},}}")
_MOST_ROWS = 12
_LEFT = ' style="text-align:left"'


@dataclass(frozen=True, kw_only=True)
class Glance:
    """What a notebook shows of a result.

    Parameters
    ----------
    head
        What it comes to.
    columns, rows
        A table of texts, whose first cells name the rows; beyond twelve rows it is cut.
    notes
        Sentences below it.
    """

    head: str
    columns: tuple[str, ...] = ()
    rows: tuple[tuple[str, ...], ...] = ()
    notes: tuple[str, ...] = ()

    def html(self) -> str:
        """A fragment of HTML that needs nothing else, its texts escaped."""
        left_out = len(self.rows) - _MOST_ROWS
        more = (f"{left_out} more rows are left out.",) if left_out > 0 else ()
        parts = [f"<p><strong>{_escaped(self.head)}</strong></p>"]
        if self.rows:
            head = "".join(f'<th scope="col"{_LEFT}>{_escaped(each)}</th>' for each in self.columns)
            body = "".join(_row(row) for row in self.rows[:_MOST_ROWS])
            parts.append(
                f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>",
            )
        parts += [f"<p>{_escaped(note)}</p>" for note in (*more, *self.notes)]
        return f"<div>{''.join(parts)}</div>"


class Shown:
    """A result that prints as lines of at most 80 signs; in a notebook it is a small table.

    A dataclass that is one says ``repr=False``, as its own would come first.
    """

    def _printed(self) -> Iterable[str]:
        """Lines of any length."""
        raise NotImplementedError

    def _glance(self) -> Glance:
        raise NotImplementedError

    def __str__(self) -> str:
        """The lines, those that are too long folded."""
        return "\n".join(folded for line in self._printed() for folded in _folded(line))

    def __repr__(self) -> str:
        """The same as its text."""
        return str(self)

    def _repr_html_(self) -> str:
        return self._glance().html()


def marked(status: str, text: str) -> str:
    """A text after the symbol of its status."""
    return f"{SYMBOLS[status]} {text}"


def shortened(label: str, room: int) -> str:
    """A name with its middle left out, if it is longer than ``room``, on one line."""
    label = one_line(label)
    if len(label) <= room:
        return label
    end = (room - 1) // 2
    return f"{label[: room - 1 - end]}…{label[len(label) - end :]}"


def _clean(text: str) -> str:
    """On one line, with the middle of endless words left out."""
    return _LONG_WORD.sub(lambda word: shortened(word[0], WIDTH - len(_INDENT)), one_line(text))


def _folded(line: str) -> list[str]:
    line = _clean(line)
    if len(line) <= WIDTH:
        return [line]
    return textwrap.wrap(line, WIDTH, subsequent_indent=_INDENT, break_on_hyphens=False)


def _row(cells: tuple[str, ...]) -> str:
    first, *others = map(_escaped, cells)
    rest = "".join(f"<td{_LEFT}>{cell}</td>" for cell in others)
    return f'<tr><th scope="row"{_LEFT}>{first}</th>{rest}</tr>'


def _escaped(text: str) -> str:
    return escape(_clean(text))
