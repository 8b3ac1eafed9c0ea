"""Components exchanged in some parameters alone, which a model that sorts these cannot tell.

A model whose parameters S are independent and alike over components, and sorted before they are
used, has a density f(sort S, R), the same for all K! orders of S. On each it is the
specification's in the order that S is sorted to; together the copies have the mass of all its
labels, so that (sort S, R) has the specification's posterior in that order. What is carried along
in S makes no difference, as its prior is the same in every order.
"""

from collections.abc import Callable, Iterator
from itertools import chain, combinations

import numpy as np

from jointmix.validation.agreement.problem import (
    LOCATION,
    WEIGHT,
    Problem,
    locations,
    random_points,
)

#: Parameters by name → which unconstrained values these are, (dim,).
Moves = dict[tuple[str, ...], np.ndarray]
Likelihood = Callable[[np.ndarray], np.ndarray]
#: From points to log densities by component, (point, obs, component); None if not told apart.
Components = Callable[[np.ndarray], np.ndarray | None]
_POINTS = 3
#: Relative differences of log likelihoods below which they are the same.
_SAME = 1e-9


def permuted(
    problem: Problem, q: np.ndarray, order: np.ndarray, moves: np.ndarray | None = None
) -> np.ndarray:
    """Points (point, dim) whose component k is ``order[point, k]`` of the given ones'.

    Parameters
    ----------
    moves
        Which unconstrained values are exchanged, (dim,), those of a parameter or of a column of
        one together; None for all.
    """
    found = q.copy()
    k, every = problem.spec.n_clusters, np.arange(len(q))[:, None]
    for name, (where, shape) in problem.slices.items():
        block = problem.block(q, name)
        if name == WEIGHT:
            full = np.column_stack([block, -block.sum(1)])
            found[:, where] = full[every, order][:, :-1]
        elif shape[0] == k:
            found[:, where] = block[every, order].reshape(len(q), -1)
    return found if moves is None else np.where(moves, found, q)


def exchanged_alone(problem: Problem, likelihood: Likelihood, components: Components) -> Moves:
    """The fewest parameters in which components can be exchanged without the rest.

    Parameters
    ----------
    likelihood
        Log likelihoods (point,) of points (point, dim).
    components
        What tells that all parameters are sorted, as the likelihood does not.

    Returns
    -------
    dict
        Empty for a model that sorts nothing: where all is exchanged its likelihood is the same,
        and its components are exchanged too. More than one entry is more than one order.
    """
    k = problem.spec.n_clusters
    q = random_points(problem, np.zeros(problem.dim), _POINTS, seed=3)
    order = np.stack([np.roll(np.arange(k), 1), [1, 0, *range(2, k)], np.arange(k)[::-1]])
    base = likelihood(q)
    exchanged = permuted(problem, q, order)
    if _same(likelihood(exchanged), base):
        before, after = components(q), components(exchanged)
        if before is None or after is None or np.ptp(before, axis=-1).max() == 0:
            return {}
        whole = np.ones(problem.dim, dtype=bool)
        return {tuple(_parameters(problem)): whole} if _same(after, before) else {}
    choices = dict(_choices(problem))
    points = [permuted(problem, q, order, moves) for moves in choices.values()]
    values = likelihood(np.concatenate(points)).reshape(len(choices), -1)
    found: Moves = {}
    for (names, moves), value in zip(choices.items(), values, strict=True):
        smaller = any(not (own & ~moves).any() for own in found.values())
        if not smaller and _same(value, base) and _enters(likelihood, q, moves, base):
            found[names] = moves
    return found


def sorted_columns(problem: Problem, likelihood: Likelihood) -> list[str]:
    """Location parameters whose columns can be exchanged inside a component."""
    q, found = random_points(problem, np.zeros(problem.dim), _POINTS, seed=4), []
    base = likelihood(q)
    for name, moves in _parameters(problem).items():
        columns = _columns(problem, name, moves)
        if problem.spec.parameters[name].role != "location" or len(columns) < 2:
            continue
        changed = q.copy()
        for own, other in zip(columns, columns[::-1], strict=True):
            changed[:, own] = q[:, other]
        if _same(likelihood(changed), base) and _enters(likelihood, q, moves, base):
            found.append(name)
    return found


def _same(a: np.ndarray, b: np.ndarray) -> bool:
    with np.errstate(invalid="ignore"):
        return bool((np.abs(a - b) <= _SAME * np.maximum(1, np.abs(b))).all())


def _enters(likelihood: Likelihood, q: np.ndarray, moves: np.ndarray, base: np.ndarray) -> bool:
    """Whether other values of some parameters change the likelihood: those left out do not."""
    return not _same(likelihood(np.where(moves, np.roll(q, 1, axis=0), q)), base)


def _choices(problem: Problem) -> Iterator[tuple[tuple[str, ...], np.ndarray]]:
    """What may be sorted: a column, or parameters whole, fewer before more, but not all."""
    whole = _parameters(problem)
    for name, moves in whole.items():
        columns = _columns(problem, name, moves)
        if len(columns) > 1:
            labels = _labels(problem, name, len(columns))
            for label, column in zip(labels, columns, strict=True):
                alone = np.zeros(problem.dim, dtype=bool)
                alone[column] = True
                yield (f"{name}[{label}]",), alone
    for names in chain.from_iterable(combinations(whole, n) for n in range(1, len(whole))):
        yield names, np.any([whole[name] for name in names], axis=0)


def _parameters(problem: Problem) -> dict[str, np.ndarray]:
    """Parameters that components have of their own, and which unconstrained values they are."""
    found: dict[str, np.ndarray] = {}
    for name, (where, shape) in problem.slices.items():
        if name != WEIGHT and shape[0] != problem.spec.n_clusters:
            continue
        index, place = np.arange(where.start, where.stop).reshape(shape), 0
        parts = locations(problem.spec) if name == LOCATION else [(name, None, None)]
        for own, _, width in parts:
            chosen = index if width is None else index[:, place : place + width]
            place += width or 0
            found[own] = np.isin(np.arange(problem.dim), chosen)
    return found


def _columns(problem: Problem, name: str, moves: np.ndarray) -> list[np.ndarray]:
    """Places of a parameter's unconstrained values by column, each (component,)."""
    if name == WEIGHT:
        return [np.flatnonzero(moves)]
    return list(np.flatnonzero(moves).reshape(problem.spec.n_clusters, -1).T)


def _labels(problem: Problem, name: str, n: int) -> list[str]:
    spec, item = problem.spec, problem.spec.parameters[name]
    labels = item.labels or (spec.entries[item.dims[0]] if len(item.dims) == 1 else ())
    return [str(label) for label in (labels if len(labels) == n else range(n))]
