"""Which variables of other packages' draws go along the components, whatever dims are called."""

import math
import re
from collections.abc import Mapping

import numpy as np
import xarray as xr

from jointmix.base.arguments import shown
from jointmix.base.errors import SchemaError, SpecError
from jointmix.base.schema import CHAIN, DRAW, OBS
from jointmix.tables.issues import listed


def along(posterior: xr.Dataset, dims: Mapping[str, str | None] | None, dim: str) -> xr.Dataset:
    """The draws with ``dim`` in every variable that goes along the components.

    Parameters
    ----------
    posterior
        Draws with the dims chain, draw and, in some variables, ``dim``.
    dims
        Variable → its dim that is the components' under another name, as ``{"w": "w_dim_0"}``;
        None for a variable that does not go along them.
    dim
        The components' dim.

    Raises
    ------
    SpecError
        If ``dims`` names what is not there.
    SchemaError
        If a variable lacks ``dim`` and has another one as long: which it is cannot be known.
    """
    if dims is not None and not isinstance(dims, Mapping):
        raise SpecError(f"dims must be a mapping from variables to dims; got {shown(dims)}.")
    given = dict(dims or {})
    for name, own in given.items():
        dims_there = set(posterior[name].dims) - {CHAIN, DRAW} if name in posterior else set()
        if name not in posterior.data_vars or (own is not None and own not in dims_there):
            raise SpecError(
                f"dims must name variables of the posterior and dims of theirs; got {name!r}: "
                f"{own!r}."
            )
    others = (posterior[name].sizes[own] for name, own in given.items() if own is not None)
    size = posterior.sizes.get(dim) or next(others, None)
    moved = {}
    for name, own in given.items():
        if own is None or own == dim:
            continue
        variable = posterior[name]
        if variable.sizes[own] != size:
            raise SpecError(
                f"{name!r} has {variable.sizes[own]} entries along {own!r}, and there are {size} "
                "components."
            )
        moved[name] = variable.drop_vars(own, errors="ignore").rename({own: dim})
    found = posterior.assign({name: (item.dims, item.values) for name, item in moved.items()})
    if size is None or size < 2:
        return found
    unclear = {
        str(name): _as_long(variable, dim, size)
        for name, variable in found.data_vars.items()
        if name not in given and dim not in variable.dims and _as_long(variable, dim, size)
    }
    if unclear:
        example = ", ".join(f"{name!r}: {own!r}" for name, own in unclear.items())
        raise SchemaError(
            f"{listed(unclear)} {'has' if len(unclear) == 1 else 'have'} no dim {dim!r}, but one "
            f"of its length, {size}: if that is the components', pass dims={{{example}}}, else "
            "None in its place."
        )
    return found


def _as_long(variable: xr.DataArray, dim: str, size: int) -> str:
    """The first dim of a variable of draws that is as long as the components', or ""."""
    if not {CHAIN, DRAW} <= set(variable.dims):
        return ""
    rest = [str(own) for own in variable.dims if own not in (CHAIN, DRAW, OBS, dim)]
    return next((own for own in rest if variable.sizes[own] == size), "")


def chosen(posterior: xr.Dataset, by: str | None, dim: str) -> np.ndarray:
    """Values (draw, component) of a variable such as "weight" or "mean[width]"."""
    match = re.fullmatch(r"([^\[]+)(?:\[(.*)\])?", by or "", flags=re.DOTALL)
    if match is None or match[1] not in posterior:
        names = ", ".join(sorted(map(str, posterior.data_vars)))
        raise SpecError(f"by must name one of {names}; got {by!r}.")
    variable = posterior[match[1]]
    rest = [name for name in variable.dims if name not in (CHAIN, DRAW, dim)]
    if len(rest) != (match[2] is not None) or dim not in variable.dims:
        raise SpecError(
            f"by must leave one value a component, as in 'mean[width]'; {match[1]!r} has the dims "
            f"{list(variable.dims)}, got {by!r}."
        )
    for name in rest:
        labels = [str(label) for label in variable[name].values]
        if match[2] not in labels:
            raise SpecError(f"{match[1]!r} has no {name} {match[2]!r}; it has {labels}.")
        variable = variable.isel({name: labels.index(match[2])})
    return flat(variable, (dim,))


def flat(array: xr.DataArray, rest: tuple[object, ...]) -> np.ndarray:
    """Values with chains one after the other, (draw, *rest)."""
    values = array.transpose(CHAIN, DRAW, *rest).values
    return values.reshape(math.prod(values.shape[:2]), *values.shape[2:])
