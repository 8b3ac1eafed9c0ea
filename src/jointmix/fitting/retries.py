"""Fits that fall short of what the checks ask for, sampled again within a budget.

The budget is counted in gradients times rows and not in seconds, so that one seed gives one result
on every machine.
"""

import json
from dataclasses import asdict, dataclass, replace

import xarray as xr

from jointmix.base.errors import MemoryLimitError, SamplingError
from jointmix.base.schema import require_group
from jointmix.checks import divergences, ess, judge, stored_diagnosis
from jointmix.checks.finding import Finding, counted, listed
from jointmix.model.settings import SamplerSpec

ATTRIBUTE = "retries"
#: Times that a fit is sampled again at most, and draws in multiples of those asked for.
_MOST_RETRIES, _MOST_DRAWS = 2, 4
#: Gradients a draw at a higher target acceptance rate, in multiples; two are seen at 0.95.
_SMALLER_STEPS = 2.0
#: What became of a retry.
_KEPT = "kept"
_STOPPED = "was interrupted; these are the draws before"
_WORSE = "gave no better draws; these are those before"
#: Failures of these checks have causes that neither more draws nor smaller steps mend.
_BEYOND_MENDING = frozenset({"support", "collapse", "modes", "frozen", "rhat"})


@dataclass(frozen=True)
class Retry:
    """A fit sampled again, or why it was not.

    Attributes
    ----------
    reason
        What fell short, as a clause.
    draws, target_accept
        As they were, or would have been.
    cost
        Gradients times rows that it was estimated to take.
    outcome
        "kept", or what became of it, as a clause.
    """

    reason: str
    draws: int
    target_accept: float
    cost: float
    outcome: str

    @property
    def text(self) -> str:
        """It in a sentence."""
        how = f"{self.draws:,} draws a chain and target_accept = {self.target_accept:g}"
        if self.outcome == _KEPT:
            return f"Sampled again with {how}, because {self.reason}."
        return f"Sampling again with {how}, because {self.reason}, {self.outcome}."


def interrupted(tree: xr.DataTree) -> bool:
    """Whether sampling, or sampling again, was stopped before its end."""
    tried = json.loads(tree.attrs.get(ATTRIBUTE, "[]"))
    return bool(tree.attrs["partial"]) or any(each["outcome"] == _STOPPED for each in tried)


class Retrying:
    """A fit, and its being sampled again where its draws are short or a few diverged.

    Parameters
    ----------
    tree
        The fit, judged.
    settings
        How it was sampled.
    n_rows
        Rows of the fit.
    """

    #: What ends a run and is no fault of the fit before it.
    MISHAPS = (KeyboardInterrupt, MemoryLimitError, SamplingError)

    def __init__(self, tree: xr.DataTree, settings: SamplerSpec, n_rows: int) -> None:
        self.tree, self._settings, self._n_rows = tree, settings, n_rows
        self._left, self._most = float(settings.retry_budget), _MOST_DRAWS * settings.draws
        self._done: list[Retry] = []
        self._planned: tuple[Retry, SamplerSpec] | None = None
        self._plan()

    @property
    def settings(self) -> SamplerSpec | None:
        """How it is to be sampled now; None if it stays as it is."""
        return None if self._planned is None else self._planned[1]

    def take(self, found: xr.DataTree | BaseException) -> None:
        """What became of the run that `settings` asked for: a fit, or one of `MISHAPS`."""
        assert self._planned is not None
        attempt, changed = self._planned
        outcome = self._outcome(found)
        self._done.append(replace(attempt, outcome=outcome))
        self._planned = None
        if outcome == _KEPT and isinstance(found, xr.DataTree):
            self.tree, self._settings = found, changed
            self._plan()
        elif outcome == _WORSE:
            self._settings = replace(self._settings, target_accept=changed.target_accept)
            self._plan()

    def ended(self) -> xr.DataTree:
        """The last fit that was no worse than the one before it.

        Its attribute ``retries``, a JSON list, says what was done and why.
        """
        if self._done:
            said = [asdict(each) | {"text": each.text} for each in self._done]
            self.tree.attrs[ATTRIBUTE] = json.dumps(said)
            judge(self.tree)
        return self.tree

    def _plan(self) -> None:
        """What would mend the fit, within the budget."""
        self._planned = None
        if self._left and len(self._done) < _MOST_RETRIES:
            self._planned = _planned(self.tree, self._settings, self._n_rows, self._most)
        if self._planned is None:
            return
        attempt, _ = self._planned
        if attempt.cost > self._left:
            self._done.append(replace(attempt, outcome=_beyond(attempt.cost, self._left)))
            self._planned = None
        else:
            self._left -= attempt.cost

    def _outcome(self, found: xr.DataTree | BaseException) -> str:
        if isinstance(found, KeyboardInterrupt):
            return _STOPPED
        if isinstance(found, BaseException):
            return f"failed ({str(found).rstrip('.')})"
        if found.attrs["partial"]:
            return _STOPPED
        return _WORSE if _shortfalls(found) > _shortfalls(self.tree) else _KEPT


def _beyond(cost: float, left: float) -> str:
    return (
        f"would take about {cost:.1e} gradients × rows, and retry_budget leaves {left:.1e}: "
        "raise it, or ask for them"
    )


def _planned(
    tree: xr.DataTree, settings: SamplerSpec, n_rows: int, most: int
) -> tuple[Retry, SamplerSpec] | None:
    """What would mend a fit, unless nothing falls short or nothing would help."""
    if not _may(tree, settings):
        return None
    few, apart = _concerns(tree, ess.CODE), _concerns(tree, divergences.CODE)
    draws, rate = settings.draws, settings.target_accept
    reasons = [f"the smallest {each.subject} ESS was {each.value:.0f}" for each in few]
    if few:
        draws = min(ess.draws_for(draws, min(each.value for each in few)), most)
    if apart:
        rate = divergences.higher(rate)
        reasons.append(f"{counted(int(apart[0].value), 'draw')} diverged")
    changed = replace(settings, draws=draws, target_accept=rate)
    if changed == settings:
        return None
    steps = float(require_group(tree, "sample_stats")["n_steps"].mean())
    steps *= _SMALLER_STEPS if rate > settings.target_accept else 1.0
    cost = steps * settings.chains * (settings.tune + draws) * n_rows
    return Retry(listed(reasons), draws, rate, cost, ""), changed


def _may(tree: xr.DataTree, settings: SamplerSpec) -> bool:
    """Whether a fit was sampled as usual, and nothing is wrong that this would not mend."""
    usual = SamplerSpec()
    short = any(
        getattr(settings, name) < getattr(usual, name) for name in ("draws", "tune", "chains")
    )
    if short or tree.attrs["partial"] or tree.attrs["backend"] != "nutpie on kernel":
        return False
    findings = stored_diagnosis(tree).findings
    return not any(each.status == "fail" and each.code in _BEYOND_MENDING for each in findings)


def _concerns(tree: xr.DataTree, code: str) -> list[Finding]:
    found = [each for each in stored_diagnosis(tree).findings if each.code == code]
    return [each for each in found if each.status in ("caution", "fail")]


def _shortfalls(tree: xr.DataTree) -> tuple[int, int]:
    """How many findings are failures, and cautions, of draws and divergences."""
    found = [each.status for code in (ess.CODE, divergences.CODE) for each in _concerns(tree, code)]
    return found.count("fail"), found.count("caution")
