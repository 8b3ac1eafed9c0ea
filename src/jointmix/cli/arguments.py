"""Arguments that hold several numbers."""

from jointmix.errors import SpecError


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


def parse_range(text: str) -> range:
    """The whole numbers of a range such as 1-6, both ends included.

    Raises
    ------
    SpecError
        If it is no such range, or holds fewer than two numbers.
    """
    first, _, last = text.partition("-")
    if not (first.isdecimal() and last.isdecimal()) or not 1 <= int(first) < int(last):
        raise SpecError(f"--clusters takes a range such as 1-6; got {text!r}.")
    return range(int(first), int(last) + 1)
