"""The group ``log_likelihood``, as ArviZ reads it, computed where it is read."""

from dataclasses import dataclass
from typing import Any, Literal, get_args

import numpy as np
import xarray as xr
from xarray.backends import BackendArray
from xarray.core import indexing

from jointmix.base.arguments import shown
from jointmix.base.errors import SpecError
from jointmix.base.schema import CHAIN, CLUSTER, COMPUTED, DRAW, OBS, require_group
from jointmix.families.mixture import log_likelihood, log_terms
from jointmix.families.parameters import Parameters
from jointmix.families.rows import Rows
from jointmix.model.spec import ModelSpec
from jointmix.posterior.draws import draw_parameters, fitted_spec, observed_rows, row_batches

Density = Literal["joint", "feature", "conditional"]
GROUP = "log_likelihood"


def log_densities(rows: Rows, parameters: Parameters, spec: ModelSpec) -> dict[Density, np.ndarray]:
    """log p(x, y), log p(x) and log p(y | x) of each row in each draw, (draw, obs)."""
    joint, feature = [], []
    for _, part in row_batches(rows, parameters):
        first, second = log_terms(spec.blocks, part, parameters)
        feature.append(log_likelihood(first))
        joint.append(log_likelihood(first + second))
    both, given = np.concatenate(joint, axis=-1), np.concatenate(feature, axis=-1)
    return {"joint": both, "feature": given, "conditional": both - given}


def with_log_likelihood(tree: xr.DataTree, density: Density = "joint") -> xr.DataTree:
    """A fit with the group ``log_likelihood`` that `arviz.loo` and `arviz.compare` look for.

    Draws × rows are held by nobody: what is read is computed when it is read, again each time,
    and `save` leaves the group out. `fit` and `load` give it with the joint density. Densities are
    of one observation a row: ArviZ counts rows once each, whatever they weigh, and `loo` as often
    as they do.

    Parameters
    ----------
    tree
        A fitted tree.
    density
        "joint", log p(x, y); "feature", log p(x); or "conditional", log p(y | x).

    Returns
    -------
    xarray.DataTree
        A copy that shares its arrays; the group's variable has the density's name and the dims
        chain, draw, obs: natural log, on the users' scale.

    Raises
    ------
    SpecError
        If the density is unknown, or the model has no such columns.
    SchemaError
        If the tree is not a fit with identified draws.

    Examples
    --------
    >>> tree = jm.with_log_likelihood(jm.load("penguins.nc"), "conditional")
    >>> list(tree["log_likelihood"].data_vars)
    ['conditional']
    """
    if not isinstance(density, str) or density not in get_args(Density):
        raise SpecError(f"density must be one of {', '.join(get_args(Density))}; got "
                        f"{shown(density)}.")  # fmt: skip
    spec = fitted_spec(tree)
    if (density == "conditional" and spec.response is None) or (
        density == "feature" and not spec.clustering
    ):
        raise SpecError(f"This model has no {density} density.")
    posterior = require_group(tree, "posterior")
    rows = observed_rows(tree, spec)
    values = indexing.LazilyIndexedArray(_Computed(posterior, rows, spec, density))
    found = tree.copy()
    found[GROUP] = xr.DataTree(
        xr.Dataset(
            {density: xr.Variable((CHAIN, DRAW, OBS), values)},
            coords={
                CHAIN: posterior[CHAIN].values, DRAW: posterior[DRAW].values, OBS: rows.label,
            },
            attrs={COMPUTED: "when it is read"},
        )
    )  # fmt: skip
    return found


@dataclass(frozen=True, eq=False)
class _Computed(BackendArray):
    """log densities (chain, draw, obs), of which any part can be asked for."""

    posterior: xr.Dataset
    rows: Rows
    spec: ModelSpec
    density: Density

    @property
    def shape(self) -> tuple[int, int, int]:
        """Chains, draws and rows."""
        return (self.posterior.sizes[CHAIN], self.posterior.sizes[DRAW], len(self.rows.y))

    @property
    def dtype(self) -> np.dtype[np.float64]:
        """Doubles."""
        return np.dtype(np.float64)

    def __getitem__(self, key: indexing.ExplicitIndexer) -> Any:
        return indexing.explicit_indexing_adapter(
            key, self.shape, indexing.IndexingSupport.OUTER, self._read
        )

    def _read(self, key: tuple[Any, ...]) -> np.ndarray:
        places = [np.arange(size)[own] for size, own in zip(self.shape, key, strict=True)]
        chain, draw, obs = (np.atleast_1d(place) for place in places)
        some = self.posterior.isel({CHAIN: chain, DRAW: draw})
        parameters = draw_parameters(some, CLUSTER, self.spec)
        found = log_densities(self.rows.take(obs), parameters, self.spec)[self.density]
        whole = found.reshape(len(chain), len(draw), len(obs))
        return whole[tuple(0 if np.ndim(place) == 0 else slice(None) for place in places)]
