"""What intervals of shapes say of tails and of counts, in sentences."""

from jointmix.families.words import Estimated

#: Sizes from which counts well below them can hardly be told from Poisson's.
_POISSON = 30
#: With more degrees of freedom a t can hardly be told from a normal distribution; with no more
#: than two it has no variance.
_NORMAL, _NO_VARIANCE = 30, 2


def tails_remark(df: Estimated, symbol: str, without: str) -> str:
    """How heavy tails are, as far as the interval of degrees of freedom says.

    Parameters
    ----------
    without
        What there is none of up to two degrees of freedom, as "the response has no variance".
    """
    if df.upper <= _NO_VARIANCE:
        said = f"tails so heavy that {without}"
    elif df.upper <= _NORMAL:
        said = "heavier tails than normal"
    elif df.lower >= _NORMAL:
        said = "hardly different from normal"
    else:
        said = "the rows do not tell whether the tails are heavier than normal"
    return f"{symbol} = {df.text}: {said}"


def spread_remark(size: Estimated, counts: str) -> str:
    """How far counts are spread beyond Poisson's, as far as the size's interval says."""
    if size.upper <= _POISSON:
        said = f"{counts} spread more than Poisson's"
    elif size.lower >= _POISSON:
        said = f"{counts} well below {_POISSON} hardly spread more than Poisson's"
    else:
        said = f"the rows do not tell whether {counts} are spread more than Poisson's"
    return f"s = {size.text}: {said}"
