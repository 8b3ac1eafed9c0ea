"""Findings as a reader takes them: those of a kind in one, the most basic first."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby

from jointmix.checks import Finding
from jointmix.checks.finding import Status, listed

#: Codes of checks, the causes before what follows from them; others come after.
BASIC = (
    "support",
    "approximation",
    "proposal",
    "frozen",
    "collapse",
    "modes",
    "scouts",
    "mass",
    "divergences",
    "rhat",
    "ess",
    "energy",
    "tree depth",
    "empty clusters",
    "duplicate clusters",
    "separation",
    "identification",
    "labels",
)
_MOST_SUBJECTS = 6


@dataclass(frozen=True, kw_only=True)
class Concern:
    """One or more findings of the same code and status."""

    code: str
    status: Status
    title: str
    message: str
    remedy: str


def gathered(findings: Sequence[Finding], statuses: tuple[Status, ...]) -> list[Concern]:
    """Findings of these statuses, those of one code together, the most basic first."""
    place = {code: i for i, code in enumerate(BASIC)}
    found = [each for each in findings if each.status in statuses]
    found.sort(key=lambda each: (place.get(each.code, len(BASIC)), each.code))
    return [
        _together(list(members))
        for _, members in groupby(found, key=lambda each: (each.code, each.status))
    ]


def gathered_notes(notes: Sequence[dict[str, object]]) -> list[tuple[str, str]]:
    """Titles and texts of what was seen in a table, notes of a kind in one."""
    ordered = sorted(notes, key=lambda note: str(note["code"]))
    found = []
    for code, group in groupby(ordered, key=lambda note: str(note["code"])):
        members = list(group)
        subjects = [str(note.get("subject") or "table") for note in members]
        messages = [str(note["message"]) for note in members]
        found.append((_title(code.replace("_", " "), subjects), _messages(messages)))
    return found


def _together(members: list[Finding]) -> Concern:
    first = members[0]
    remedies = list(dict.fromkeys(each.remedy for each in members if each.remedy))
    return Concern(
        code=first.code,
        status=first.status,
        title=_title(first.code, [each.subject for each in members], first.number),
        message=_messages([each.message for each in members]),
        remedy=remedies[0] if remedies else "",
    )


def _title(code: str, subjects: list[str], number: str = "") -> str:
    more = len(subjects) - _MOST_SUBJECTS
    shown = subjects[:_MOST_SUBJECTS] + ([f"{more} more"] if more > 0 else [])
    return f"{number} {code}: {listed(shown)}".lstrip()


def _messages(messages: list[str]) -> str:
    return " ".join(dict.fromkeys(messages))
