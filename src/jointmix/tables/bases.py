"""Bases of splines and polynomials, and centring: formulaic's, with what they learn as numbers.

Each row's values depend on that row alone once a basis is learned.
"""

from typing import Any

import numpy as np

State = dict[str, Any]

#: Functions that learn from the rows and give one column.
CENTRED = ("center", "scale")
#: Those that give several: their arguments besides the column, the first of them by place too.
BASES: dict[str, tuple[str, ...]] = {
    "bs": ("df", "knots", "degree", "lower_bound", "upper_bound"),
    "cr": ("df", "knots", "lower_bound", "upper_bound"),
    "cc": ("df", "knots", "lower_bound", "upper_bound"),
    "poly": ("degree",),
}


def learned(name: str, x: np.ndarray, arguments: State) -> State:
    """What a function keeps of the rows that it was first given, as plain numbers."""
    from formulaic.transforms import basis_spline, center, poly, scale
    from formulaic.transforms.cubic_spline import cyclic_cubic_spline, natural_cubic_spline

    state: State = {}
    if name in CENTRED:
        (center if name == "center" else scale)(x, _state=state)
        kept = {"center": float(state["center"])}
        return kept if name == "center" else kept | {"scale": float(state["scale"])}
    if name == "poly":
        poly(x, **{"degree": 1} | arguments, _state=state)
        return {key: [float(state[key][i]) for i in sorted(state[key])] for key in state}
    if name == "bs":
        basis_spline(x, **arguments, _state=state)
        return {key: _plain(value) for key, value in state.items()}
    cubic = natural_cubic_spline if name == "cr" else cyclic_cubic_spline
    # One more, which the constraint of mean zero takes.
    more = {"df": arguments["df"] + 1} if "df" in arguments else {}
    free = _matrix(cubic(x, **arguments | more, _state=state))
    rotation, _ = np.linalg.qr(free.mean(axis=0)[:, None], mode="complete")
    kept = {key: _plain(state[key]) for key in ("knots", "lower_bound", "upper_bound")}
    return kept | {"rotation": rotation[:, 1:].tolist()}


def _plain(value: Any) -> Any:
    return [float(item) for item in value] if np.ndim(value) else float(value)


def scaled(x: np.ndarray, state: State) -> np.ndarray:
    return np.asarray((x - state["center"]) / state["scale"])


def basis(name: str, x: np.ndarray, state: State, arguments: State) -> np.ndarray:
    """Columns of a basis that is known, (N, m)."""
    from formulaic.transforms import basis_spline, poly
    from formulaic.transforms.cubic_spline import cyclic_cubic_spline, natural_cubic_spline

    known = dict(state)
    if name == "poly":
        known = {key: dict(enumerate(state[key])) for key in state}
        return np.asarray(poly(x, **{"degree": 1} | arguments, _state=known))
    if name == "bs":
        degree = {"degree": arguments["degree"]} if "degree" in arguments else {}
        return _matrix(basis_spline(x, **degree, _state=known))
    rotation = np.array(known.pop("rotation"))
    cubic = natural_cubic_spline if name == "cr" else cyclic_cubic_spline
    known |= {"constraints": None, "cyclic": name == "cc"}
    free = _matrix(cubic(x, _state=known))
    # Term by term: a matrix product's rounding depends on how many rows there are.
    parts = [free[:, [i]] * rotation[i] for i in range(len(rotation))]
    return np.asarray(sum(parts[1:], parts[0]))


def _matrix(found: Any) -> np.ndarray:
    return np.stack([np.asarray(found[key]) for key in found], axis=1)
