"""What a check returns: a judgement with its number, and what to do about it."""

from dataclasses import dataclass
from typing import Literal

from jointmix.base.codes import code_of

Status = Literal["ok", "caution", "fail", "skipped"]
Bound = Literal["at least", "at most"]

#: Checks whose number should be large; that of the others should be small.
_AT_LEAST = frozenset(
    {
        *("ess", "frozen", "energy", "empty clusters", "duplicate clusters", "separation"),
        *("prior scale", "misfit"),
    }
)


@dataclass(frozen=True, kw_only=True)
class Finding:
    """The result of one check on one subject.

    Parameters
    ----------
    code, subject
        What was checked, and on what; together they are unique within a tree.
    status
        "ok", "caution", "fail", or "skipped" where the check could not be computed.
    value, threshold
        The number, and the one from which it is no longer "ok"; NaN where there is none.
    message, remedy
        A sentence with the number, and a sentence with what to do ("" where nothing is).
    source
        Where the threshold comes from.
    """

    code: str
    subject: str
    status: Status
    value: float
    threshold: float
    message: str
    remedy: str
    source: str

    @property
    def number(self) -> str:
        """The code's stable number, such as "JM101"; `jointmix.explain` says what it means."""
        return code_of(self.code)

    @property
    def bound(self) -> Bound:
        """On which side of the threshold the number should be."""
        return "at least" if self.code in _AT_LEAST else "at most"


def above(value: float, caution: float, fail: float) -> Status:
    """Judge a number that should be small: beyond ``caution``, or beyond ``fail``."""
    if value > fail:
        return "fail"
    return "caution" if value > caution else "ok"


def below(value: float, caution: float, fail: float) -> Status:
    """Judge a number that should be large: under ``caution``, or under ``fail``."""
    if value < fail:
        return "fail"
    return "caution" if value < caution else "ok"


def skipped(code: str, subject: str, reason: str, source: str) -> Finding:
    """A check that could not be computed, and why."""
    return Finding(
        code=code,
        subject=subject,
        status="skipped",
        value=float("nan"),
        threshold=float("nan"),
        message=f"Not computed, because {reason}.",
        remedy="",
        source=source,
    )


def counted(n: int, singular: str, plural: str | None = None) -> str:
    """A count with its noun: "1 draw", "2 draws"."""
    return f"{n:,} {singular if n == 1 else plural or singular + 's'}"


def listed(items: list[str]) -> str:
    """Items as a sentence lists them: "1", "1 and 2", "1, 2 and 3"."""
    return items[0] if len(items) == 1 else f"{', '.join(items[:-1])} and {items[-1]}"
