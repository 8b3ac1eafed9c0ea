"""What a comparison of implementations came to, as a value, text and JSON."""

import json
from dataclasses import asdict, dataclass, field
from typing import Any, ClassVar

import xarray as xr

from jointmix.base.errors import SchemaError
from jointmix.base.shown import Glance, Shown, marked
from jointmix.validation.agreement.comparison import Difference

SCHEMA = 1
#: Name of the fitted tree's attribute that holds a certificate.
ATTRIBUTE = "certificate"


@dataclass(frozen=True)
class Run:
    """One implementation's sampling.

    Attributes
    ----------
    name
        Of the implementation.
    draws
        Of all chains.
    seconds, compile_seconds
        Of sampling alone, and of compiling.
    ess
        Smallest bulk effective sample size of the parameters.
    """

    name: str
    draws: int
    seconds: float
    compile_seconds: float
    ess: float

    @property
    def ess_per_second(self) -> float:
        """Smallest effective sample size over the seconds of sampling alone."""
        return self.ess / self.seconds


@dataclass(frozen=True)
class PosteriorAgreement:
    """Two posteriors compared, in units of their combined Monte Carlo standard error.

    Attributes
    ----------
    n
        Comparisons: mean, sd, 5% and 95% quantile of each parameter that is free.
    n_parameters
        Number of those parameters.
    largest
        Largest |z|, and `bound`, exceeded by chance in 1% of such certificates (Bonferroni).
    where
        The parameter and the summary with the largest |z|.
    above_four
        How many exceed 4.
    rms, rms_bound
        Root mean square of z, and what it exceeds by chance in 0.1%, were the parameters
        independent and each one's four summaries alike.
    runs
        Both implementations' sampling.
    """

    n: int
    n_parameters: int
    largest: float
    bound: float
    where: str
    above_four: int
    rms: float
    rms_bound: float
    runs: tuple[Run, ...]

    @property
    def agrees(self) -> bool:
        """Whether no difference is larger than chance explains."""
        return self.largest <= self.bound and self.rms <= self.rms_bound


@dataclass(frozen=True, repr=False)
class Certificate(Shown):
    """Whether implementations of one posterior agree, and where they do not.

    Attributes
    ----------
    implementations
        Names of those compared.
    n_points, n_extreme
        Random points and extreme ones.
    n_rows, n_components, dim
        Rows of the table, components, unconstrained values.
    differences
        The largest difference of each pair in each term.
    findings
        What is wrong, in sentences; empty if nothing is.
    notes
        What was left out, and why.
    posterior
        The comparison of the draws; None if none was asked for.
    seconds
        Part → seconds.
    digest, versions
        Of the data, and of the packages.

    Examples
    --------
    >>> found = jm.crosscheck(table, spec, model=model, names=names)  # doctest: +SKIP
    >>> found.passed, found.findings  # doctest: +SKIP
    """

    kind: ClassVar[str] = "certificate"
    implementations: tuple[str, ...]
    n_points: int
    n_extreme: int
    n_rows: int
    n_components: int
    dim: int
    differences: tuple[Difference, ...]
    findings: tuple[str, ...]
    notes: tuple[str, ...]
    posterior: PosteriorAgreement | None
    seconds: dict[str, float] = field(default_factory=dict)
    digest: str = ""
    versions: dict[str, str] = field(default_factory=dict)

    @property
    def passed(self) -> bool:
        """Whether all implementations agree in all that was compared."""
        agree = all(item.agrees for item in self.differences)
        return agree and not self.findings and (self.posterior is None or self.posterior.agrees)

    def worst(self) -> dict[str, Difference]:
        """The largest difference in each term, over all pairs, in units of its bound."""
        found: dict[str, Difference] = {}
        for item in self.differences:
            if item.term not in found or item.size > found[item.term].size:
                found[item.term] = item
        return found

    def plain(self) -> dict[str, Any]:
        """What a report shows: `as_dict`."""
        return self.as_dict()

    def as_dict(self) -> dict[str, Any]:
        """Everything as dicts, lists, texts and numbers, fit for JSON: no NaN, no infinity."""
        found = {"schema": SCHEMA, "passed": self.passed} | asdict(self)
        for entry, item in zip(found["differences"], self.differences, strict=True):
            entry |= {"agrees": item.agrees, "place": item.place}
        if self.posterior is not None:
            found["posterior"]["agrees"] = self.posterior.agrees
        return dict(_plain(found))

    def to_json(self) -> str:
        """`as_dict` as a JSON text."""
        return json.dumps(self.as_dict(), allow_nan=False)

    def lines(self) -> list[str]:
        """What it says, for people: the verdict, then a line a term, then what is wrong."""
        lines = [f"{self._head()} ({', '.join(self.implementations)})"]
        for term, item in self.worst().items():
            sign = "ok  " if item.agrees else "FAIL"
            lines.append(
                f"{sign} {term:<10} {item.size:8.1e} of {item.bound:.0e}: {item.left} and "
                f"{item.right} at {item.place}: {item.values[0]:.15g}, {item.values[1]:.15g}"
            )
        lines += self._posterior_lines()
        lines += [f"wrong: {text}" for text in self.findings]
        lines += [f"note: {text}" for text in self.notes]
        return lines

    def _head(self) -> str:
        return (
            f"{'AGREE' if self.passed else 'DIFFER'}: {len(self.implementations)} implementations "
            f"at {self.n_points:,} random and {self.n_extreme} extreme points"
        )

    def _printed(self) -> list[str]:
        return self.lines()

    def _glance(self) -> Glance:
        rows = [
            (_judged(item.agrees, term), f"{item.size:.1e}", f"{item.bound:.0e}",
             f"{item.left} and {item.right} at {item.place}")
            for term, item in self.worst().items()
        ]  # fmt: skip
        if (found := self.posterior) is not None:
            rows.append(
                (_judged(found.agrees, "posterior"), f"|z| {found.largest:.2f}",
                 f"{found.bound:.2f}", found.where)
            )  # fmt: skip
        return Glance(
            head=_judged(self.passed, self._head()),
            columns=("term", "largest difference", "bound", "where"),
            rows=tuple(rows),
            notes=(*(f"Wrong: {text}" for text in self.findings), *self.notes),
        )

    def _posterior_lines(self) -> list[str]:
        found = self.posterior
        if found is None:
            return []
        sign = "ok  " if found.agrees else "FAIL"
        lines = [
            f"{sign} posterior  largest |z| {found.largest:.2f} of {found.bound:.2f} in {found.n} "
            f"comparisons ({found.where}), rms {found.rms:.2f} of {found.rms_bound:.2f}"
        ]
        lines += [
            f"     {run.name}: {run.draws:,} draws in {run.seconds:.1f} s after "
            f"{run.compile_seconds:.1f} s of compiling, least ESS {run.ess:,.0f}, "
            f"{run.ess_per_second:,.0f} a second"
            for run in found.runs
        ]
        return lines


def _judged(right: bool, text: str) -> str:
    return marked("ok" if right else "fail", text)


def _plain(value: Any) -> Any:
    """Tuples as lists, numbers of NumPy as Python's, infinite ones as text."""
    if isinstance(value, dict):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    if isinstance(value, float) and (value != value or value in (float("inf"), float("-inf"))):
        return str(value)
    return value


def attach(tree: xr.DataTree, certificate: Certificate) -> xr.DataTree:
    """Keep a certificate in a fitted tree, for its report; returns the tree.

    Raises
    ------
    SchemaError
        If the certificate is of other data than the fit.
    """
    if tree.attrs.get("data_hash", certificate.digest) != certificate.digest:
        raise SchemaError("The certificate is of other data than the fit.")
    tree.attrs[ATTRIBUTE] = certificate.to_json()
    return tree


def stored_certificate(tree: xr.DataTree) -> dict[str, Any] | None:
    """What `Certificate.as_dict` gave, or None if the tree holds no certificate."""
    text = tree.attrs.get(ATTRIBUTE)
    return None if text is None else dict(json.loads(text))
