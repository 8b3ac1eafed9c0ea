"""Identification of whole DataTrees: the package's own fits, and those of any other mixture."""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace

import numpy as np
import xarray as xr

from jointmix.base.arguments import shown
from jointmix.base.errors import SchemaError, SpecError
from jointmix.base.schema import (
    CHAIN,
    CLUSTER,
    COMPONENT,
    DRAW,
    OBS,
    require_group,
)
from jointmix.checks import judge
from jointmix.families.parameters import Parameters
from jointmix.fitting.components import along, chosen, flat
from jointmix.fitting.groups import allocation_group
from jointmix.kernel.allocate import mode_share
from jointmix.labels.assignment import inverse, order_by, permute, switch_rate
from jointmix.labels.confidence import (
    Allocations,
    Responsibilities,
    confidence,
    label_parameters,
)
from jointmix.labels.gathering import Gathered, gather
from jointmix.labels.relabel import Draws, ecr, ecr_iterative, pivotal, stephens
from jointmix.model.rows import scaled_rows
from jointmix.posterior.draws import (
    draw_parameters,
    fitted_scaling,
    fitted_spec,
    observed_labels,
    observed_rows,
    posterior_parameters,
)
from jointmix.posterior.naming import carried_names
from jointmix.tables.issues import listed

METHODS = ("ecr", "ecr_iterative_1", "ecr_iterative_2", "stephens", "pivotal", "order_by")
_NAMES = {
    "ecr": "the allocation of a pivot (ECR)",
    "ecr_iterative_1": "the draws' most frequent allocation (iterative ECR, version 1)",
    "ecr_iterative_2": "the draws' mean responsibilities (iterative ECR, version 2)",
    "stephens": "the draws' mean responsibilities (Stephens' Kullback-Leibler algorithm)",
    "pivotal": "the parameters of a pivot (pivotal reordering)",
}
#: Names of the log posterior density in ``sample_stats``, whoever sampled.
_DENSITIES = ("log_density", "lp", "logp")


def identify(
    tree: xr.DataTree,
    method: str = "ecr",
    *,
    pivot: np.ndarray | str | None = None,
    by: str | None = None,
    allocations: xr.DataArray | str | None = None,
    responsibilities: xr.DataArray | str | None = None,
    dim: str = COMPONENT,
    dims: Mapping[str, str | None] | None = None,
) -> xr.DataTree:
    """Give each cluster the same label in all draws.

    A fit of this package is identified anew, its draws, allocations, checks and verdict with it.
    In any other tree the variables of ``posterior`` that have the dim ``dim`` are permuted.

    Parameters
    ----------
    tree
        A fitted tree; or any tree whose group ``posterior`` has variables with the dims chain,
        draw and ``dim``, and whose allocations or responsibilities are given.
    method
        "ecr", "ecr_iterative_1", "ecr_iterative_2", "stephens", "pivotal" or "order_by"; see the
        functions of these names.
    pivot
        For "ecr", the cluster of each row (obs,), from 0; for "pivotal", parameters (cluster,
        parameter); "map" takes the draw with the highest log density, "em" (a fit only, and its
        default for "ecr") the allocation at the best EM mode.
    by
        For "order_by", a variable: "weight", or "mean[width]" for one with a further dim.
    allocations, responsibilities
        Of a tree that is not a fit: component of each row, [chain draw obs], from 0, and
        p(k | row), [chain draw obs component], as arrays or names of variables in ``posterior``.
    dim
        The dim of such a tree's components.
    dims
        Variables of such a tree in which the components' dim has another name, as
        ``{"w": "w_dim_0"}``; None for a variable with a dim as long that is another one.

    Returns
    -------
    xarray.DataTree
        A copy. Its ``posterior`` has the dim ``cluster``, numbered from 1, in place of the
        components; ``labels`` holds the permutations (see `raw_draws`), and the text of its
        attribute ``identification`` says which variables were permuted.

    Raises
    ------
    SpecError
        If the method or a pivot is unknown, or the method lacks what it needs.
    SchemaError
        If the tree lacks a group, a variable or a dim, or a variable has a dim of the components'
        length under a name that ``dims`` does not explain.

    Examples
    --------
    >>> tree = jm.identify(jm.load("penguins.nc"), "order_by", by="weight")
    >>> bool(tree["posterior"]["weight"].mean(["chain", "draw"]).diff("cluster").min() > 0)
    True
    """
    if not isinstance(method, str) or method not in METHODS:
        raise SpecError(f"method must be one of {', '.join(METHODS)}; got {shown(method)}.")
    posterior = require_group(tree, "posterior")
    own = "spec" in tree.attrs
    if not own:
        posterior = along(posterior, dims, dim)
        tree = tree.copy()
        tree["posterior"] = xr.DataTree(posterior)
    material = _of_fit(tree) if own else _of_tree(posterior, allocations, responsibilities, dim)
    permutation = _permutations(tree, material, method, pivot, by)
    text = (
        f"Each draw's clusters are sorted by {by}."
        if method == "order_by"
        else f"Each draw's labels were matched to {_NAMES[method]}."
    )
    if own:
        return _identified_fit(tree, material, permutation, method, text)
    moved = [str(name) for name, item in posterior.data_vars.items() if dim in item.dims]
    text = f"{text[:-1]}, in {listed(moved)}."
    return _identified_tree(tree, posterior, permutation, method, text, dim)


def raw_draws(tree: xr.DataTree) -> xr.Dataset:
    """The draws of ``posterior`` with the labels that the sampler gave them.

    Returns
    -------
    xarray.Dataset
        As ``posterior``, with the dim ``component``, from 0, in place of ``cluster``; exactly the
        numbers that were permuted.

    Raises
    ------
    SchemaError
        If the tree holds no permutations.

    Examples
    --------
    >>> jm.raw_draws(jm.load("penguins.nc"))["weight"].dims
    ('chain', 'draw', 'component')
    """
    posterior, labels = require_group(tree, "posterior"), require_group(tree, "labels")
    if "permutation" not in labels:
        raise SchemaError("The group 'labels' holds no permutations; identify the draws first.")
    back = inverse(flat(labels["permutation"], (CLUSTER,)))
    return _permuted(posterior, back, CLUSTER, COMPONENT, np.arange(back.shape[1]))


@dataclass(frozen=True, eq=False)
class _Material:
    """What methods work on; ``None`` where it is missing."""

    dim: str
    n_clusters: int
    allocations: Draws | None
    responsibilities: Draws | None
    parameters: Parameters | None = None
    weight: np.ndarray | None = None


def _of_fit(tree: xr.DataTree) -> _Material:
    spec = fitted_spec(tree)
    if not spec.exchangeable:
        raise SpecError("The clusters differ in their fixed values, so labels cannot switch.")
    scaling = fitted_scaling(tree, spec)
    parameters = scaling.to_model(posterior_parameters(tree))
    rows = scaled_rows(observed_rows(tree, spec), scaling)
    values = Responsibilities(rows, parameters, spec)
    hard, k = Allocations(values), spec.n_clusters
    return _Material(CLUSTER, k, hard, values, parameters, rows.weight)


def _of_tree(
    posterior: xr.Dataset,
    allocations: xr.DataArray | str | None,
    responsibilities: xr.DataArray | str | None,
    dim: str,
) -> _Material:
    if dim not in posterior.dims:
        raise SchemaError(
            f"The posterior has no dim {dim!r} (it has {sorted(map(str, posterior.dims))}); "
            "name that of the components (dim)."
        )
    hard = _array(posterior, allocations, "allocations")
    soft = _array(posterior, responsibilities, "responsibilities")
    flat_hard = flat_soft = None
    if soft is not None:
        if dim not in soft.dims:
            raise SchemaError(f"The responsibilities need the dim {dim!r}; got {list(soft.dims)}.")
        rows = [name for name in soft.dims if name not in (CHAIN, DRAW, dim)]
        flat_soft = flat(soft, (*rows, dim))
        flat_hard = flat_soft.argmax(axis=-1)
    if hard is not None:
        flat_hard = flat(hard, tuple(name for name in hard.dims if name not in (CHAIN, DRAW)))
    return _Material(dim, posterior.sizes[dim], flat_hard, flat_soft)


def _array(
    posterior: xr.Dataset, given: xr.DataArray | str | None, role: str
) -> xr.DataArray | None:
    if isinstance(given, str):
        if given not in posterior:
            raise SchemaError(f"The posterior has no variable {given!r} to take as {role}.")
        given = posterior[given]
    if given is not None and not {CHAIN, DRAW} <= set(given.dims):
        raise SchemaError(f"The {role} need the dims chain and draw; got {list(given.dims)}.")
    return given


def _permutations(
    tree: xr.DataTree,
    material: _Material,
    method: str,
    pivot: np.ndarray | str | None,
    by: str | None,
) -> np.ndarray:
    """The permutations (draw, cluster) by a method."""
    hard, soft, k = material.allocations, material.responsibilities, material.n_clusters
    weight = material.weight
    if method == "order_by":
        return order_by(chosen(require_group(tree, "posterior"), by, material.dim))
    if method == "pivotal":
        points = _points(tree, material)
        at = points[_highest(tree)] if _is_map(pivot, "pivotal") else np.asarray(pivot)
        return pivotal(points, at)
    if method == "stephens":
        if soft is None:
            raise SpecError("The method 'stephens' needs responsibilities.")
        return stephens(soft, weight=weight)
    if hard is None:
        raise SpecError(f"The method {method!r} needs allocations or responsibilities.")
    if method == "ecr_iterative_1":
        return ecr_iterative(hard, n_clusters=k, weight=weight)
    if method == "ecr_iterative_2":
        if soft is None:
            raise SpecError("The method 'ecr_iterative_2' needs responsibilities.")
        return ecr_iterative(hard, soft, k, weight=weight)
    return ecr(hard, _pivot_allocation(tree, material, hard, pivot), k, weight)


def _is_map(pivot: np.ndarray | str | None, method: str) -> bool:
    if isinstance(pivot, str) and pivot != "map":
        raise SpecError(f"The pivot of {method!r} must be an array or 'map'; got {pivot!r}.")
    return pivot is None or isinstance(pivot, str)


def _pivot_allocation(
    tree: xr.DataTree, material: _Material, hard: Draws, pivot: np.ndarray | str | None
) -> np.ndarray:
    own = material.parameters is not None
    if own and (pivot is None or (isinstance(pivot, str) and pivot == "em")):
        assert isinstance(material.responsibilities, Responsibilities)
        spec = fitted_spec(tree)
        modes = require_group(tree, "modes")
        known = modes[list(spec.parameters)].isel(mode=[0]).rename({"mode": DRAW})
        point = draw_parameters(known.expand_dims(CHAIN), CLUSTER, spec).take(0)
        scaled = fitted_scaling(tree, spec).to_model(point)
        return mode_share(material.responsibilities.rows, scaled, spec.blocks).argmax(axis=-1)
    if _is_map(pivot, "ecr"):
        place = _highest(tree)
        return np.asarray(hard[place : place + 1])[0]
    return np.asarray(pivot)


def _highest(tree: xr.DataTree) -> int:
    """The draw with the highest log density, chains one after the other."""
    stats = require_group(tree, "sample_stats")
    for name in _DENSITIES:
        if name in stats:
            return int(stats[name].transpose(CHAIN, DRAW).values.argmax())
    raise SchemaError(
        f"The pivot 'map' needs one of {', '.join(_DENSITIES)} in sample_stats; give a pivot."
    )


def _points(tree: xr.DataTree, material: _Material) -> np.ndarray:
    """Parameters (draw, component, parameter) by which components are matched."""
    if material.parameters is not None:
        return label_parameters(material.parameters, fitted_spec(tree))
    posterior, dim = require_group(tree, "posterior"), material.dim
    parts = []
    for variable in posterior.data_vars.values():
        # Responsibilities have a value a row: they are no parameters.
        if {CHAIN, DRAW, dim} <= set(variable.dims) and OBS not in variable.dims:
            rest = [name for name in variable.dims if name not in (CHAIN, DRAW, dim)]
            values = flat(variable, (dim, *rest))
            parts.append(values.reshape(*values.shape[:2], -1))
    return np.concatenate(parts, axis=-1)


def _permuted(
    posterior: xr.Dataset, permutation: np.ndarray, dim: str, new: str, labels: np.ndarray
) -> xr.Dataset:
    """The draws with ``dim`` reordered draw by draw and renamed."""
    variables = {}
    for name, variable in posterior.data_vars.items():
        if {CHAIN, DRAW, dim} <= set(variable.dims):
            rest = [other for other in variable.dims if other not in (CHAIN, DRAW, dim)]
            ordered = variable.transpose(CHAIN, DRAW, dim, *rest)
            values = permute(flat(ordered, (dim, *rest)), permutation)
            changed = (
                (CHAIN, DRAW, new, *rest),
                values.reshape(ordered.shape),
                variable.attrs,
            )
            variables[name] = changed
        else:
            variables[name] = (variable.dims, variable.values, variable.attrs)
    coords = {
        name: coord for name, coord in posterior.coords.items() if dim not in posterior[name].dims
    }
    return xr.Dataset(variables, coords={**coords, new: labels}, attrs=posterior.attrs)


def _labels_group(posterior: xr.Dataset, permutation: np.ndarray, labels: np.ndarray) -> xr.Dataset:
    shape = (posterior.sizes[CHAIN], posterior.sizes[DRAW], len(labels))
    chains = {name: posterior[name] for name in (CHAIN, DRAW) if name in posterior.coords}
    return xr.Dataset(
        {"permutation": ((CHAIN, DRAW, CLUSTER), permutation.reshape(shape))},
        coords={**chains, CLUSTER: labels},
    )


def _identified_tree(
    tree: xr.DataTree,
    posterior: xr.Dataset,
    permutation: np.ndarray,
    method: str,
    text: str,
    dim: str,
) -> xr.DataTree:
    """A copy of a tree that is not a fit, its posterior permuted."""
    labels = np.arange(1, permutation.shape[1] + 1)
    result = tree.copy()
    result["posterior"] = xr.DataTree(_permuted(posterior, permutation, dim, CLUSTER, labels))
    result["labels"] = xr.DataTree(_labels_group(posterior, permutation, labels))
    result.attrs["identification"] = json.dumps(
        {"method": method, "switch_rate": switch_rate(permutation), "text": text}
    )
    return result


def _identified_fit(
    tree: xr.DataTree, material: _Material, permutation: np.ndarray, method: str, text: str
) -> xr.DataTree:
    """A copy of a fit with new labels, and with all that depends on them."""
    spec, values = fitted_spec(tree), material.responsibilities
    assert isinstance(values, Responsibilities)
    posterior, labels = require_group(tree, "posterior"), require_group(tree, "labels")
    clusters = posterior[CLUSTER].values

    def choose(part: slice | np.ndarray, *_: object) -> tuple[np.ndarray, np.ndarray]:
        return permutation[part], np.ones(len(permutation[part]), dtype=bool)

    likelihood = flat(require_group(tree, "invariant")["log_likelihood"], ())
    found = gather(
        values.rows, values.parameters, posterior.sizes[CHAIN], choose, values.spec,
        require_group(tree, "allocation")["allocation"].values - 1, likelihood,
    )  # fmt: skip
    pivot = None
    if method == "order_by":
        pivot = _pivot_allocation(tree, material, Allocations(values), "em")
    sure = confidence(values.rows, values.parameters, permutation, spec, method, pivot)
    # Component → old cluster → new cluster.
    together = np.take_along_axis(flat(labels["permutation"], (CLUSTER,)), permutation, axis=1)
    result = tree.copy()
    result["posterior"] = xr.DataTree(_permuted(posterior, permutation, CLUSTER, CLUSTER, clusters))
    group = _labels_group(posterior, together, clusters)
    result["labels"] = xr.DataTree(group.assign(occupied=_occupied(group, found)))
    result["allocation"] = xr.DataTree(allocation_group(found, clusters, observed_labels(tree)))
    sure = replace(sure, switch_rate=switch_rate(together))
    identification = {"method": method, "text": text, **asdict(sure)}
    result.attrs["identification"] = json.dumps(identification)
    return judge(carried_names(tree, result))


def _occupied(group: xr.Dataset, found: Gathered) -> xr.DataArray:
    like = group["permutation"]
    return xr.DataArray(found.occupied.reshape(like.shape), coords=like.coords, dims=like.dims)
