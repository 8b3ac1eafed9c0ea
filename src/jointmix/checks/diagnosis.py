"""The verdict with what it rests on: a value, text, and JSON."""

import json
import math
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from typing import Any, Literal

from jointmix.base.shown import Glance, Shown, marked
from jointmix.checks.finding import Finding

Verdict = Literal["OK", "CAUTION", "DO NOT USE"]
#: A finding's status that stands for each verdict: what it looks like.
STATUS_OF: dict[str, Literal["ok", "caution", "fail"]] = {
    "OK": "ok",
    "CAUTION": "caution",
    "DO NOT USE": "fail",
}
#: Version of the verdict's JSON.
VERDICT_SCHEMA = 1
_GRAVITY = {"fail": 0, "caution": 1, "skipped": 2, "ok": 3}


@dataclass(frozen=True, repr=False)
class Diagnosis(Shown):
    """What the checks make of a fit.

    Attributes
    ----------
    verdict
        "OK", "CAUTION" or "DO NOT USE".
    findings
        Of all checks, in their order.
    ignored
        Names of the findings that the verdict puts aside.

    Examples
    --------
    >>> found = jm.diagnose(jm.load("penguins.nc"))
    >>> found.verdict, found.concerns
    ('OK', ())
    """

    verdict: Verdict
    findings: tuple[Finding, ...]
    ignored: frozenset[str] = frozenset()

    @property
    def concerns(self) -> tuple[Finding, ...]:
        """Findings that are neither ok nor put aside, failures first."""
        return _gravest(each for each in self.findings if each.code not in self.ignored)

    @property
    def put_aside(self) -> tuple[Finding, ...]:
        """Findings that are not ok, and were put aside; a failure leaves CAUTION."""
        return _gravest(each for each in self.findings if each.code in self.ignored)

    def lines(self) -> list[str]:
        """The verdict, and a line for each concern: status, check, finding, remedy and number."""
        concerns = [
            f"{_line(each)} {each.remedy}".rstrip() + (f" [{each.number}]" if each.number else "")
            for each in self.concerns
        ]
        aside = [f"put aside: {_line(each)} [{each.number}]" for each in self.put_aside]
        return [f"verdict: {self.verdict}", *concerns, *aside]

    def _printed(self) -> list[str]:
        return self.lines()

    def _glance(self) -> Glance:
        return Glance(
            head=marked(STATUS_OF[self.verdict], f"verdict: {self.verdict}"),
            columns=("check", "finding", "remedy"),
            rows=tuple(
                (marked(each.status, f"{each.code}:{each.subject}"), each.message, each.remedy)
                for each in self.concerns
            ),
        )

    def as_dict(self) -> dict[str, Any]:
        """Plain values, ready for JSON.

        Returns
        -------
        dict
            ``schema``, the version of what follows, which changes only where a key goes or means
            something else; ``verdict``; and ``findings`` (the concerns, gravest first),
            ``put_aside`` and ``checks`` (all), each a list of dicts: ``check``, code and subject;
            ``code``, such as "JM101"; ``status``, "ok", "caution", "fail" or "skipped"; ``value``,
            ``threshold`` and ``bound``, the number, from where on it is no longer ok, and whether
            it should be "at least" or "at most" that, None where there are none; ``message``,
            ``remedy`` and ``source``, texts.
        """
        return {
            "schema": VERDICT_SCHEMA,
            "verdict": self.verdict,
            "findings": [_plain(finding) for finding in self.concerns],
            "put_aside": [_plain(finding) for finding in self.put_aside],
            "checks": [_plain(finding) for finding in self.findings],
        }

    def to_json(self) -> str:
        """One JSON object; numbers that JSON lacks are null."""
        return json.dumps(self.as_dict(), allow_nan=False)


def _gravest(findings: Iterable[Finding]) -> tuple[Finding, ...]:
    """Those that are not ok, failures first."""
    found = [finding for finding in findings if finding.status != "ok"]
    return tuple(sorted(found, key=lambda finding: _GRAVITY[finding.status]))


def _line(finding: Finding) -> str:
    return f"{finding.status}: {finding.code}:{finding.subject}: {finding.message}"


def _plain(finding: Finding) -> dict[str, Any]:
    fields = asdict(finding)
    name = f"{fields.pop('code')}:{fields.pop('subject')}"
    finite = {
        key: None if isinstance(value, float) and not math.isfinite(value) else value
        for key, value in fields.items()
    }
    bound = None if finite["threshold"] is None else finding.bound
    return {"check": name, "code": finding.number or None, **finite, "bound": bound}
