"""Arguments of public functions: what each must be, and a named error where it is not."""

import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np

from jointmix.base.errors import JointmixError, SpecError, StorageError
from jointmix.base.progress import ProgressOption
from jointmix.base.text import one_line

#: Largest whole number that compiled code takes.
LARGEST_COUNT = 2**63 - 1


def whole_number(name: str, value: object, least: int, most: int = LARGEST_COUNT) -> int:
    """The value as an int, if it is a whole number from ``least`` to ``most``.

    Raises
    ------
    SpecError
        If it is not; booleans are no numbers here.
    """
    if isinstance(value, bool) or not isinstance(value, int | np.integer) or value < least:
        limit = "" if most == LARGEST_COUNT else f" and at most {most}"
        raise SpecError(
            f"{name} must be a whole number, at least {least}{limit}; got {shown(value)}."
        )
    if value > most:
        raise SpecError(f"{name} must be at most {most}; got {shown(value)}.")
    return int(value)


def random_source(seed: object) -> np.random.Generator:
    """A generator of random numbers from a seed, or the generator given.

    Raises
    ------
    SpecError
        If it is neither a whole number, at least 0, nor a generator.
    """
    if isinstance(seed, np.random.Generator):
        return seed
    return np.random.default_rng(whole_number("seed", seed, 0))


def proportion(name: str, value: object) -> float:
    """The value as a float, if it lies in (0, 1).

    Raises
    ------
    SpecError
        If it does not, or is no number.
    """
    if isinstance(value, bool) or not isinstance(value, float | np.floating) or not 0 < value < 1:
        raise SpecError(f"{name} must lie in (0, 1); got {shown(value)}.")
    return float(value)


def number_list(name: str, value: object) -> np.ndarray:
    """The value as a 1-d float array, if it is a number or a list of numbers.

    Raises
    ------
    SpecError
        If it is not.
    """
    try:
        array = np.asarray(value)
    except (TypeError, ValueError):
        array = np.asarray(None)
    if array.dtype.kind not in "fiu" or array.ndim > 1:
        raise SpecError(f"{name} must be a number or a list of numbers; got {shown(value)}.")
    return np.atleast_1d(array).astype(float)


def probabilities(name: str, value: object) -> np.ndarray:
    """The value as a 1-d float array, if it is a list of numbers in (0, 1), or one.

    Raises
    ------
    SpecError
        If it is not.
    """
    array = number_list(name, value)
    if not ((array > 0) & (array < 1)).all():
        raise SpecError(f"{name} must lie in (0, 1); got {array.tolist()}.")
    return array


def jobs_number(value: object) -> int:
    """The value, if it can be a number of jobs: at least 1, or -1 for as many as there are cores.

    Raises
    ------
    SpecError
        If it cannot.
    """
    return -1 if type(value) is int and value == -1 else whole_number("jobs", value, 1)


def several(name: str, value: object, what: str) -> tuple[Any, ...]:
    """The value as a tuple, if it is a sequence that is neither text nor empty.

    Parameters
    ----------
    what
        What the sequence holds, such as "numbers in (0, 1)".

    Raises
    ------
    SpecError
        If it is not.
    """
    items: tuple[Any, ...] = ()
    if isinstance(value, Iterable) and not isinstance(value, str | bytes):
        items = tuple(value)
    if not items:
        raise SpecError(f"{name} must be a list of {what}, not empty; got {shown(value)}.")
    return items


def file_path(value: object, kind: type[JointmixError] = StorageError) -> Path:
    """The value as a path, if it is one.

    Parameters
    ----------
    kind
        The error that refuses it.

    Raises
    ------
    JointmixError
        Of that kind, if it is neither text nor a path, is empty, or holds a NUL.
    """
    if not isinstance(value, str | os.PathLike) or not os.fspath(value):
        raise kind(f"A path must be text or a Path, not empty; got {shown(value)}.")
    text = os.fspath(value)
    if not isinstance(text, str) or "\0" in text:
        raise kind(f"A path must be text without NUL; got {shown(value)}.")
    return Path(text)


def function_or_none(name: str, value: object) -> None:
    """Refuse what cannot be called.

    Raises
    ------
    SpecError
        If it is neither None nor a function.
    """
    if value is not None and not callable(value):
        raise SpecError(f"{name} must be a function or None; got {shown(value)}.")


def progress_option(value: object) -> ProgressOption:
    """The value, if it is a function, true, false or None.

    Raises
    ------
    SpecError
        If it is not.
    """
    if value is None or isinstance(value, bool) or callable(value):
        return value
    raise SpecError(f"progress must be true, false, a function or None; got {shown(value)}.")


def shown(value: object) -> str:
    """The value as an error names it: on one line, at most 80 characters."""
    text = one_line(" ".join(repr(value).split()))
    return text if len(text) <= 80 else f"{text[:79]}…"


def choice(name: str, value: object, allowed: Iterable[str]) -> None:
    """Refuse a value that is none of the texts allowed.

    Raises
    ------
    SpecError
        Naming those that are.
    """
    if not isinstance(value, str) or value not in tuple(allowed):
        raise SpecError(f"{name} must be one of {', '.join(allowed)}; got {shown(value)}.")


def is_name(value: object) -> bool:
    """Whether ``value`` can name a column in every file format: text, not empty, no NUL."""
    if not isinstance(value, str) or not value or "\0" in value:
        return False
    return not any("\ud800" <= sign <= "\udfff" for sign in value)


def column_names(role: str, value: object) -> tuple[str, ...]:
    """A list of column names, each once; None is empty.

    Raises
    ------
    SpecError
        If it is none.
    """
    if value is None:
        return ()
    if isinstance(value, str) or not isinstance(value, Iterable):
        raise SpecError(f"{role} must be a list of column names; got {shown(value)}.")
    names = tuple(value)
    for name in names:
        if not is_name(name):
            raise SpecError(f"{role} must hold column names as text; got {shown(name)}.")
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise SpecError(f"{role} names the column {shown(twice[0])} more than once.")
    return names
