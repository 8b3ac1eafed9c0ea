"""The verdict with what it rests on: a value, text, and JSON."""

import json
import math
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
    """

    verdict: Verdict
    findings: tuple[Finding, ...]

    @property
    def concerns(self) -> tuple[Finding, ...]:
        """Findings that are not ok, failures first."""
        found = [finding for finding in self.findings if finding.status != "ok"]
        return tuple(sorted(found, key=lambda finding: _GRAVITY[finding.status]))

    def lines(self) -> list[str]:
        """The verdict, and a line for each concern: status, check, finding and remedy."""
        return [f"verdict: {self.verdict}"] + [
            f"{each.status}: {each.code}:{each.subject}: {each.message} {each.remedy}".rstrip()
            for each in self.concerns
        ]

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
        """Plain values, ready for JSON: the verdict, the concerns, and all checks."""
        return {
            "verdict": self.verdict,
            "findings": [_plain(finding) for finding in self.concerns],
            "checks": [_plain(finding) for finding in self.findings],
        }

    def to_json(self) -> str:
        """One JSON object; numbers that JSON lacks are null."""
        return json.dumps(self.as_dict(), allow_nan=False)


def _plain(finding: Finding) -> dict[str, Any]:
    fields = asdict(finding)
    name = f"{fields.pop('code')}:{fields.pop('subject')}"
    finite = {
        key: None if isinstance(value, float) and not math.isfinite(value) else value
        for key, value in fields.items()
    }
    bound = None if finite["threshold"] is None else finding.bound
    return {"check": name, **finite, "bound": bound}
