"""Quantiles of mixtures of what draws and clusters predict, from their distribution function."""

import math

import numpy as np

from jointmix.families.compiling import call, jit

_MOST_STEPS = 200
#: A step of Newton's method, in units of the spread, that is the last.
_CONVERGED = 1e-7
#: Spread of whole numbers from which the quantile of normal parts is a better place to begin, and
#: to which halves of them are doubles.
_MANY, _TOO_MANY = 50.0, 1e13
_ROOT_2 = math.sqrt(2.0)


@jit()
def quantile(predicted, target, at, middle, spread, weight, parts, n, found):  # type: ignore[no-untyped-def]
    """Newton's method on the distribution function of n parts, inside a bracket that it shrinks.

    It starts from `at`; heavy tails have no variance that would bound the quantile, so that steps
    are bounded instead, ever more widely.
    """
    low, high, reach = -np.inf, np.inf, 8.0 * spread
    for _ in range(_MOST_STEPS):
        call(predicted.distribution, at, n, weight, parts, found)
        if found[0] < target:
            low = at
        else:
            high = at
        step = (target - found[0]) / max(found[1], 1e-300)
        if abs(step) > reach:
            step = math.copysign(reach, step)
            reach *= 2.0
        newton = at + step
        if newton == at:
            break
        if low < newton < high:
            at = newton
            # The next step would be of the order of this one's square.
            if abs(step) <= _CONVERGED * spread:
                break
        else:
            at = 0.5 * (low + high)
            if high - low <= 1e-12 * (spread + abs(at - middle)):
                break
    return at


@jit()
def _normal_quantile(target, at, spread, weight, parts, n):  # type: ignore[no-untyped-def]
    """A quantile, to half a unit, of normal parts with the parts' means and deviations."""
    low, high = at - 8.0 * spread, at + 8.0 * spread
    for _ in range(_MOST_STEPS):
        if high - low <= 0.5:
            break
        middle, below = 0.5 * (low + high), 0.0
        for i in range(n):
            below += weight[i] * math.erfc((parts[i, 0] - middle) / (_ROOT_2 * parts[i, 1]))
        if 0.5 * below < target:
            low = middle
        else:
            high = middle
    return 0.5 * (low + high)


@jit()
def whole_quantile(predicted, target, at, spread, weight, parts, n, found):  # type: ignore[no-untyped-def]
    """The least whole number of which the distribution function of n parts reaches a probability.

    Steps that double lead to either side of it, from near `at`, or, where numbers are many, from
    the quantile of normal parts; halving leads to it.
    """
    # A rounding error below the probability is that probability.
    level = target * (1.0 - 1e-14)
    many = _MANY < spread < _TOO_MANY
    if many:
        at = _normal_quantile(target, at, spread, weight, parts, n)
    high, step = np.floor(max(at, 0.0)), np.ceil(0.1 * spread) + 1.0
    low = -1.0
    call(predicted.distribution, high, n, weight, parts, found)
    if many and found[1] > 0.0:
        # As far as the tangent says, and half as far again.
        step = min(step, np.ceil(1.5 * abs(level - found[0]) / found[1]) + 1.0)
    if found[0] >= level:
        while high - step > low:
            call(predicted.distribution, high - step, n, weight, parts, found)
            if found[0] < level:
                low = high - step
            else:
                high, step = high - step, 2.0 * step
    else:
        for _ in range(_MOST_STEPS):
            low, high = high, high + step
            call(predicted.distribution, high, n, weight, parts, found)
            if found[0] >= level:
                break
            step *= 2.0
    while high - low > 1.0:
        middle = np.floor(0.5 * (low + high))
        call(predicted.distribution, middle, n, weight, parts, found)
        if middle <= low or middle >= high:
            break
        if found[0] >= level:
            high = middle
        else:
            low = middle
    return high
