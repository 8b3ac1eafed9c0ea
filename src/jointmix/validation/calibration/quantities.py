"""What is ranked: functions of the parameters, the same for the truth and for the draws.

Labels are settled by one rule for both, sorting, so that each quantity is a function of the
unlabelled mixture and its rank is uniform whatever constraint the sampler obeyed.
"""

from collections.abc import Mapping

import numpy as np
import xarray as xr

from jointmix.base.schema import POINT, VARIABLE
from jointmix.families.mixture import component_log_density, log_likelihood, log_terms
from jointmix.families.parameters import Parameters
from jointmix.families.protocol import Parameter
from jointmix.families.rows import Rows
from jointmix.labels.assignment import order_by, permute
from jointmix.model.spec import ModelSpec
from jointmix.posterior.allocations import draw_clusters
from jointmix.posterior.invariants import Points, invariants, outside_moments

#: Share of the two sides of a correlation matrix that is the same number.
_TOLERANCE = 1e-12

Arrays = Mapping[str, np.ndarray]


def sorting_variable(spec: ModelSpec) -> tuple[str, int | None] | None:
    """The parameter, and the place of its column, by which clusters are sorted.

    The specification's own where it names one, otherwise the first that is free; None where
    clusters have labels of their own.
    """
    if spec.n_clusters == 1 or not spec.exchangeable:
        return None
    name, column = spec.ordering_variable()
    if spec.ordering in ("auto", "none"):
        own = [item for item in spec.parameters.values() if item.n_own(spec.n_clusters)]
        # Locations, then whatever a cluster has for itself.
        first = [*(item for item in own if item.role == "location"), *own]
        name, column = (
            ("weight", None) if not first else (first[0].name, _columns(first[0], spec)[0])
        )
    place = None if column is None else _columns(spec.parameters[name], spec).index(column)
    return name, place


def _columns(parameter: Parameter, spec: ModelSpec) -> tuple[str | None, ...]:
    """Columns of a parameter's entries; one entry without a column where it has no dims."""
    return spec.entries[parameter.dims[0]] if parameter.dims else (None,)


def sorting(arrays: Arrays, spec: ModelSpec) -> np.ndarray:
    """The permutations (draw, cluster) that sort the clusters of each draw."""
    variable = sorting_variable(spec)
    if variable is None:
        return np.broadcast_to(np.arange(spec.n_clusters), arrays["weight"].shape)
    name, place = variable
    values = arrays[name] if place is None else arrays[name][..., place]
    return order_by(values)


def parameter_quantities(arrays: Arrays, spec: ModelSpec) -> dict[str, np.ndarray]:
    """Each parameter of each cluster, clusters sorted: name → (draw,).

    Parameters
    ----------
    arrays
        Parameters by name, as trees have them, (draw, cluster, ...).
    """
    order = sorting(arrays, spec)
    found: dict[str, np.ndarray] = {}
    for name, parameter in spec.parameters.items():
        values, columns = permute(arrays[name], order), _columns(parameter, spec)
        for k in range(spec.n_clusters):
            own = values[:, k]
            if len(parameter.dims) == 2:
                for i, row in enumerate(columns):
                    for j, column in enumerate(columns[:i]):
                        found[f"{name}[{k + 1}, {row}, {column}]"] = own[:, i, j]
            elif parameter.dims:
                for j, column in enumerate(columns):
                    found[f"{name}[{k + 1}, {column}]"] = own[:, j]
            else:
                found[f"{name}[{k + 1}]"] = own
    return found


def free_quantities(arrays: Arrays, spec: ModelSpec) -> tuple[str, ...]:
    """Names of the parameters that vary in the prior and repeat no earlier one."""
    kept: dict[str, np.ndarray] = {}
    for name, values in parameter_quantities(arrays, spec).items():
        scale = np.abs(values).max()
        constant = np.ptp(values) <= _TOLERANCE * scale
        gaps = [np.abs(values - other).max() for other in kept.values()]
        repeated = bool(gaps) and min(gaps) <= _TOLERANCE * scale
        # Of two weights the second is one minus the first.
        told = spec.n_clusters == 2 and name == "weight[2]"
        if not constant and not repeated and not told:
            kept[name] = values
    return tuple(kept)


def ends(rows: Rows) -> tuple[int, int]:
    """The densest and the sparsest of the rows that a fit followed, in that order of density.

    A fit fills missing entries in with what its own mode expects, of which the truth knows nothing:
    of rows with some, the whole ones are taken, if there are any.
    """
    whole = np.flatnonzero(~np.isnan(np.column_stack([rows.x, rows.y])).any(axis=1))
    return (int(whole[0]), int(whole[-1])) if whole.size else (0, len(rows.y) - 1)


def invariant_quantities(invariant: xr.Dataset, places: tuple[int, int]) -> dict[str, np.ndarray]:
    """Quantities that labels do not enter, name → (chain, draw).

    Log likelihood, the mixture's means and covariances, and the density of the densest and of the
    sparsest row and the response expected there.

    Parameters
    ----------
    invariant
        As `invariants.invariants` gives it.
    places
        Of these rows among those that were followed, see `ends`.
    """
    found = {"log_likelihood": invariant["log_likelihood"].values}
    names = [str(name) for name in invariant[VARIABLE].values] if VARIABLE in invariant else []
    for i, name in enumerate(names):
        found[f"overall_mean[{name}]"] = invariant["overall_mean"].values[..., i]
        for j in range(i + 1):
            covariance = invariant["overall_covariance"].values[..., i, j]
            found[f"overall_covariance[{name}, {names[j]}]"] = covariance
    for label, place in zip(("densest row", "sparsest row"), places, strict=True):
        found[f"log_density[{label}]"] = invariant["density"].values[..., place]
        if "prediction" in invariant:
            found[f"expected_response[{label}]"] = invariant["prediction"].values[..., place]
    return found


def true_invariants(
    truth: Parameters, rows: Rows, invariant: xr.Dataset, spec: ModelSpec
) -> dict[str, float]:
    """`invariant_quantities` of the truth, at the rows that a fit chose.

    Parameters
    ----------
    truth
        With one leading dim of size one.
    rows
        Of the fit, on its scale.
    invariant
        The fit's group, which says which rows were followed.
    """
    place = invariant[POINT].values
    points = Points(place, rows.take(place), outside_moments(rows, spec))
    component = component_log_density(spec.blocks, rows, truth)
    likelihood = log_likelihood(component).sum(axis=-1)
    own = invariants(truth, likelihood.reshape(1, 1), points, spec)
    found = invariant_quantities(own, ends(points.rows))
    return {name: float(value[0, 0]) for name, value in found.items()}


def drawn_quantities(
    arrays: Arrays,
    parameters: Parameters,
    rows: Rows,
    allocation: np.ndarray,
    response: np.ndarray | None,
    spec: ModelSpec,
) -> dict[str, np.ndarray]:
    """Quantities of what is drawn given the parameters, name → (draw,).

    Parameters
    ----------
    arrays, parameters
        The same parameters by name and as `Parameters`.
    rows
        Of the fit, on the parameters' scale.
    allocation
        Cluster of each row, in the order of the parameters', from 0, (draw, obs).
    response
        A new response at the first row's features, (draw,), or None.

    Returns
    -------
    dict
        ``complete_log_likelihood``, log p(x, y, z); ``rows[k]``, how many rows belong to each but
        the last of the sorted clusters; ``new_response``.
    """
    found: dict[str, np.ndarray] = {}
    k = spec.n_clusters
    if k > 1:
        component = component_log_density(spec.blocks, rows, parameters)
        each = np.take_along_axis(component, allocation[..., None], axis=-1)
        found["complete_log_likelihood"] = each[..., 0].sum(axis=-1)
        counts = (allocation[:, :, None] == np.arange(k)).sum(axis=1)
        counts = permute(counts, sorting(arrays, spec))
        found |= {f"rows[{j + 1}]": counts[:, j].astype(float) for j in range(k - 1)}
    if response is not None:
        found["new_response"] = response
    return found


def new_response(
    truth: Parameters, rows: Rows, rng: np.random.Generator, spec: ModelSpec
) -> np.ndarray | None:
    """A response at the first row's features and predictors, (1,); None without a response."""
    if spec.response is None:
        return None
    first = rows.take(slice(0, 1))
    features, _ = log_terms(spec.blocks, first, truth)
    share = np.exp(features - log_likelihood(features)[..., None])
    z = draw_clusters(np.swapaxes(share, -1, -2), rng)[0]
    return spec.blocks[-1].draw(truth.take(0), first, z, rng)
