"""A partition that agrees best, on average, with many others: greedy moves of single rows."""

import numpy as np

from jointmix.families.compiling import jit


@jit(inner=False)
def _sweep(
    drawn: np.ndarray,
    f: np.ndarray,
    copies: np.ndarray,
    group: np.ndarray,
    size: np.ndarray,
    count: np.ndarray,
    order: np.ndarray,
    most_sweeps: int,
) -> int:
    """Move rows one at a time to where the expected loss is least, until none moves.

    With n_g rows in group g, n_gk of which are in the drawn cluster k, the loss is
    Σ_g f(n_g) − 2 mean Σ_gk f(n_gk) and a constant. A row is moved with all its copies (obs,).
    """
    n, n_draws = drawn.shape
    n_groups = size.size
    inside = np.empty(n_groups)
    for sweep in range(most_sweeps):
        moved = 0
        for place in range(n):
            row = order[place]
            here, own = group[row], copies[row]
            size[here] -= own
            inside[:] = 0.0
            for s in range(n_draws):
                k = drawn[row, s]
                count[s, k, here] -= own
                for g in range(n_groups):
                    held = count[s, k, g]
                    inside[g] += f[held + own] - f[held]
            best, least = here, f[size[here] + own] - f[size[here]] - 2.0 * inside[here] / n_draws
            # A move must be worth more than rounding, or rows would circle for ever.
            margin = 1e-9 * (abs(least) + 1.0)
            for g in range(n_groups):
                cost = f[size[g] + own] - f[size[g]] - 2.0 * inside[g] / n_draws
                if cost < least - margin:
                    best, least = g, cost
            if best != here:
                moved += 1
            group[row] = best
            size[best] += own
            for s in range(n_draws):
                count[s, drawn[row, s], best] += own
        if moved == 0:
            return sweep + 1
    return most_sweeps


@jit(inner=False)
def _count(
    drawn: np.ndarray, copies: np.ndarray, group: np.ndarray, size: np.ndarray, count: np.ndarray
) -> None:
    """Rows of each group, (group,), and of each drawn cluster in it, (draw, cluster, group)."""
    size[:] = 0
    count[:] = 0
    for row in range(drawn.shape[0]):
        size[group[row]] += copies[row]
        for s in range(drawn.shape[1]):
            count[s, drawn[row, s], group[row]] += copies[row]


def improve(
    drawn: np.ndarray,
    f: np.ndarray,
    group: np.ndarray,
    n_groups: int,
    order: np.ndarray,
    copies: np.ndarray | None = None,
) -> tuple[np.ndarray, float]:
    """A partition from which no move of a row and no merger of two groups gains.

    Parameters
    ----------
    drawn
        Drawn allocations from 0, (obs, draw).
    f
        The loss's function of a number of rows, at 0, …, N.
    group
        Where to start, (obs,), from 0.
    n_groups
        Groups that may be used.
    order
        The order in which rows are moved, (obs,).
    copies
        How many equal rows each stands for, (obs,), whole numbers that sum to N; None for one.

    Returns
    -------
    group, loss
        (obs,), and mean over draws of Σ_g f(n_g) + Σ_k f(m_k) − 2 Σ_gk f(n_gk).
    """
    shape = (drawn.shape[1], int(drawn.max()) + 1, n_groups)
    size, count = np.empty(n_groups, dtype=np.int64), np.empty(shape, dtype=np.int64)
    best = group.astype(np.int64)
    copies = np.ones_like(best) if copies is None else copies
    while True:
        _count(drawn, copies, best, size, count)
        _sweep(drawn, f, copies, best, size, count, order, 100)
        pair = _merger(f, size, count)
        if pair is None:
            return best, _loss(f, size, count)
        best[best == pair[1]] = pair[0]


def expected_loss(
    drawn: np.ndarray, f: np.ndarray, group: np.ndarray, copies: np.ndarray | None = None
) -> float:
    """The loss of a partition; arguments as for `improve`."""
    n_groups = int(group.max()) + 1
    shape = (drawn.shape[1], int(drawn.max()) + 1, n_groups)
    size, count = np.empty(n_groups, dtype=np.int64), np.empty(shape, dtype=np.int64)
    own = group.astype(np.int64)
    _count(drawn, np.ones_like(own) if copies is None else copies, own, size, count)
    return _loss(f, size, count)


def _loss(f: np.ndarray, size: np.ndarray, count: np.ndarray) -> float:
    drawn = f[count.sum(axis=2)].sum() / len(count)
    return float(f[size].sum() + drawn - 2 * f[count].sum() / len(count))


def _merger(f: np.ndarray, size: np.ndarray, count: np.ndarray) -> tuple[int, int] | None:
    """The two groups whose merger lowers the loss most, if any does."""
    found, least = None, -1e-9
    used = np.flatnonzero(size)
    for i, a in enumerate(used):
        for b in used[i + 1 :]:
            together = f[count[..., a] + count[..., b]] - f[count[..., a]] - f[count[..., b]]
            change = f[size[a] + size[b]] - f[size[a]] - f[size[b]]
            change -= 2 * together.sum() / len(count)
            if change < least:
                found, least = (int(a), int(b)), float(change)
    return found
