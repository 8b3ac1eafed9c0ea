"""Arguments that hold more than one value."""

import importlib.util
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import cast

from jointmix.base.errors import SpecError


def parse_quantiles(text: str) -> list[float]:
    """Probabilities separated by commas.

    Raises
    ------
    SpecError
        If one is no number in (0, 1).
    """
    try:
        levels = [float(part) for part in text.split(",")]
    except ValueError as error:
        raise SpecError(f"--quantiles takes numbers such as 0.05,0.5; got {text!r}.") from error
    if not all(0 < level < 1 for level in levels):
        raise SpecError(f"--quantiles must lie in (0, 1); got {text!r}.")
    return levels


def parse_shares(text: str) -> dict[str, float]:
    """Shares by column, such as x=.2,y=.1.

    Raises
    ------
    SpecError
        If one is no column and number.
    """
    try:
        return {name: float(share) for name, share in _by_name(text)}
    except ValueError as error:
        raise SpecError(
            f"--missing takes columns and shares such as x=.2,y=.1; got {text!r}."
        ) from error


def parse_families(text: str) -> dict[str, str]:
    """Families by column, such as word=categorical,visits=poisson.

    Raises
    ------
    SpecError
        If one is no column and family.
    """
    pairs = _by_name(text)
    if not all(name and family for name, family in pairs):
        raise SpecError(
            f"--discrete takes columns and families such as word=categorical; got {text!r}."
        )
    return dict(pairs)


def _by_name(text: str) -> list[tuple[str, str]]:
    """Names and what stands behind their last equals signs; the names are empty without one."""
    parts = [part.rpartition("=") for part in text.split(",")]
    return [(name.strip(), value.strip()) for name, _, value in parts]


def parse_range(text: str, may_be_one: bool = False) -> range:
    """The whole numbers of a range such as 1-6, both ends included.

    Parameters
    ----------
    may_be_one
        Whether 3, or 3-3, will do.

    Raises
    ------
    SpecError
        If it is no such range, or holds fewer than two numbers.
    """
    first, _, last = text.partition("-")
    last = last if "-" in text or not may_be_one else first
    least = 0 if may_be_one else 1
    if not (first.isdecimal() and last.isdecimal() and int(first) >= 1) or (
        int(last) - int(first) < least
    ):
        raise SpecError(f"--clusters takes a range such as 1-6; got {text!r}.")
    return range(int(first), int(last) + 1)


def parse_part(text: str | None, store: Path | None, merge: bool) -> tuple[int, int] | None:
    """The number of a part such as 1/4, and how many there are; None without a text.

    Raises
    ------
    SpecError
        If it is no part, there is no store, or parts are to be put together at the same time.
    """
    if (text is not None or merge) and store is None:
        raise SpecError("--part and --merge need --store DIR, which all parts share.")
    if text is None:
        return None
    if merge:
        raise SpecError("--part makes a part, --merge puts parts together: give one of them.")
    number, _, parts = text.partition("/")
    if not (number.isdecimal() and parts.isdecimal() and 1 <= int(number) <= int(parts)):
        raise SpecError(f"--part takes a number of so many, such as 1/4; got {text!r}.")
    return int(number), int(parts)


def parse_list(text: str | None) -> list[str] | None:
    """Words separated by commas; None without a text."""
    return None if text is None else [word.strip() for word in text.split(",")]


def parse_names(texts: Sequence[str]) -> dict[str, str]:
    """Pairs such as weight=cluster_probs as a dict.

    Raises
    ------
    SpecError
        If one is no such pair, or a quantity is named twice.
    """
    found: dict[str, str] = {}
    for text in texts:
        own, sign, site = text.partition("=")
        if not (own and sign and site) or own in found:
            raise SpecError(
                f"--name takes a pair such as weight=cluster_probs, once; got {text!r}."
            )
        found[own] = site
    return found


def load_model(text: str | None) -> Callable[[], object] | None:
    """The callable NAME of FILE.py:NAME, by running the file; None without a text.

    Raises
    ------
    SpecError
        If the file cannot be read or run, or holds no such callable.
    """
    if text is None:
        return None
    place, _, name = text.rpartition(":")
    path = Path(place)
    if path.suffix != ".py" or not name:
        raise SpecError(f"--model takes FILE.py:NAME; got {text!r}.")
    if not path.is_file():
        raise SpecError(f"{path}: is no file.")
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    try:
        spec.loader.exec_module(module)
    except Exception as error:
        raise SpecError(f"{path}: fails with {type(error).__name__}: {error}.") from error
    model = getattr(module, name, None)
    if not callable(model):
        raise SpecError(f"{path}: has no callable {name!r}.")
    return cast(Callable[[], object], model)
