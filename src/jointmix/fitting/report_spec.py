"""What a recipe says of its report."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from jointmix.base.arguments import shown
from jointmix.base.codes import named
from jointmix.base.errors import SpecError
from jointmix.base.schema import SECTION_IDS


@dataclass(frozen=True, kw_only=True)
class ReportSpec:
    """Where the report goes and what it shows.

    Parameters
    ----------
    path
        File to write; None takes the recipe's own name with the suffix .html.
    title
        Heading of the report; None takes the default.
    sections
        Names of the sections, in order; None takes all.
    compare_with
        A column of known groups, no part of the model, that the clusters are held against; None
        for none.
    ignore
        Findings that the verdict puts aside, as `jointmix.diagnose` takes them.
    names
        What clusters are called, by number (see `with_names`); None for their numbers.
    against_last
        Whether `jointmix run` and `build` keep the fit that they are about to replace, and write
        what changed since.

    Raises
    ------
    SpecError
        If a part is not text, a section or a finding unknown, names are none of clusters, or
        ``against_last`` is neither true nor false.

    Examples
    --------
    >>> part = jm.ReportSpec(title="Bills", ignore=["JM401"])
    """

    path: str | None = None
    title: str | None = None
    sections: tuple[str, ...] | list[str] | None = None
    compare_with: str | None = None
    ignore: tuple[str, ...] | list[str] = ()
    names: Mapping[int, str] | None = field(default=None, hash=False)
    against_last: bool = False

    def __post_init__(self) -> None:
        named(self.ignore, "ignore of [report]")
        object.__setattr__(self, "ignore", tuple(self.ignore))
        text_or_none("compare_with of [report]", self.compare_with)
        text_or_none("path of [report]", self.path)
        text_or_none("title of [report]", self.title)
        if not isinstance(self.against_last, bool):
            raise SpecError(
                f"against_last of [report] must be true or false; got {shown(self.against_last)}."
            )
        if self.names is not None:
            object.__setattr__(self, "names", _by_number(self.names))
        if self.sections is None:
            return
        given = self.sections
        if not isinstance(given, list | tuple) or not all(isinstance(s, str) for s in given):
            raise SpecError(f"sections of [report] must be a list of names; got {shown(given)}.")
        unknown = [name for name in given if name not in SECTION_IDS]
        if unknown:
            allowed = ", ".join(SECTION_IDS)
            raise SpecError(
                f"sections of [report] must be among {allowed}; got {shown(unknown[0])}."
            )
        object.__setattr__(self, "sections", tuple(given))


def _by_number(names: object) -> dict[Any, Any]:
    """Names by whole numbers, which are texts in TOML."""
    if not isinstance(names, Mapping):
        raise SpecError(
            f'names of [report] must be a table such as {{ 1 = "small" }}; got {shown(names)}.'
        )
    return {
        int(number) if isinstance(number, str) and number.isdecimal() else number: name
        for number, name in names.items()
    }


def text_or_none(name: str, value: object) -> None:
    """Refuse what is neither a text of some length, which may be a path, nor None.

    Raises
    ------
    SpecError
        If it is not.
    """
    if value is not None and (not isinstance(value, str) or not value):
        raise SpecError(f"{name} must be text; got {shown(value)}.")
    # No file can be named so, and Python says it with an error that is not an OSError.
    if value is not None and "\0" in value:
        raise SpecError(f"{name} must not hold a NUL character; got {shown(value)}.")
