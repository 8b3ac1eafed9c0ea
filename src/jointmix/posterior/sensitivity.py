"""How far results rest on the prior and on the likelihood: power scaling of identified draws."""

import numpy as np
import pandas as pd
import xarray as xr
from arviz_stats import psense

from jointmix.base.errors import SchemaError
from jointmix.base.schema import CHAIN, DRAW, require_group
from jointmix.families.priors.density import log_density
from jointmix.families.priors.priors import InverseGamma
from jointmix.families.protocol import Parameter
from jointmix.model.packing import unpacked
from jointmix.posterior.draws import fitted_scaling, fitted_spec, posterior_parameters
from jointmix.posterior.naming import cluster_names
from jointmix.posterior.summaries import entries, identified_parameters, is_constant

#: Kallioinen, Paananen, Bürkner and Vehtari (2024), section 4.
THRESHOLD = 0.05
_WEAK = "weak likelihood: the prior decides"
_CONFLICT = "prior and data may conflict"


def log_prior(tree: xr.DataTree) -> xr.DataArray:
    """Log prior density of the identified draws up to a constant, (chain, draw).

    On the model's scale, of the parameters as their priors are stated: weights, locations, standard
    deviations (variances under an inverse gamma), and correlation matrices, whose LKJ(η) density is
    det(R)^(η − 1). Parameters that clusters share count once.

    Raises
    ------
    SchemaError
        If the tree is not a fit with identified draws.
    """
    spec = fitted_spec(tree)
    parameters = fitted_scaling(tree, spec).to_model(posterior_parameters(tree))
    total = np.zeros(len(parameters.weight))
    variables = unpacked(parameters, spec)
    for parameter in spec.parameters.values():
        if parameter.free:
            values = variables[parameter.name]
            total += _log_prior(parameter, values).reshape(len(total), -1).sum(axis=1)
    posterior = tree["posterior"].to_dataset()
    shape = (posterior.sizes[CHAIN], posterior.sizes[DRAW])
    coords = {name: posterior[name].values for name in (CHAIN, DRAW)}
    return xr.DataArray(total.reshape(shape), coords=coords, dims=(CHAIN, DRAW), name="log_prior")


def _log_prior(parameter: Parameter, values: np.ndarray) -> np.ndarray:
    """Log prior density of draws (draw, cluster, ...), up to a constant; shared values once."""
    prior = parameter.prior
    if parameter.role == "correlation":
        return log_density(prior, values[:, : parameter.free[0]])
    if parameter.role in ("scale", "shape"):
        values = values[(slice(None), *(slice(size) for size in parameter.free))]
    return log_density(prior, values**2 if isinstance(prior, InverseGamma) else values)


def sensitivity(tree: xr.DataTree) -> pd.DataFrame:
    """Power-scaling sensitivity of each identified parameter to the prior and to the likelihood.

    Kallioinen, Paananen, Bürkner and Vehtari (2024, doi:10.1007/s11222-023-10366-5): the change of
    a parameter's marginal distribution when the prior, or the likelihood, is raised to a power near
    1, by importance sampling without a refit.

    Returns
    -------
    pandas.DataFrame
        One row an entry, such as "slope[1, width]": ``prior`` and ``likelihood``, the two
        sensitivities; ``diagnosis``, empty unless the prior's exceeds 0.05. Entries that never
        vary are left out.

    Raises
    ------
    SchemaError
        If the tree is not a fit with identified draws.

    Examples
    --------
    >>> jm.sensitivity(jm.load("penguins.nc")).columns.tolist()
    ['prior', 'likelihood', 'diagnosis']
    """
    likelihood = require_group(tree, "invariant")["log_likelihood"].transpose(CHAIN, DRAW)
    draws = {
        name: values
        for name, values in identified_parameters(tree).items()
        if not bool(is_constant(values).all())
    }
    lost = [name for name, values in draws.items() if not np.isfinite(values.values).all()]
    if lost:
        raise SchemaError(
            f"The draws of {', '.join(lost)} are not all finite; fit the model again."
        )
    groups = xr.DataTree.from_dict(
        {
            "posterior": xr.Dataset(draws),
            "log_prior": xr.Dataset({"log_prior": log_prior(tree)}),
            "log_likelihood": xr.Dataset({"log_likelihood": likelihood}),
        }
    )
    called = cluster_names(tree)
    # Entries that never vary have no distribution to change.
    with np.errstate(invalid="ignore", divide="ignore", over="ignore"):
        by_prior, by_data = (psense(groups, group=group) for group in ("prior", "likelihood"))
    lines = {
        label: (value, other)
        for name in draws
        for (label, value), (_, other) in zip(
            entries(_labelled(by_prior[name], draws[name]), name, called),
            entries(_labelled(by_data[name], draws[name]), name, called),
            strict=True,
        )
    }
    table = pd.DataFrame.from_dict(lines, orient="index", columns=["prior", "likelihood"]).dropna()
    weak = np.where(table["likelihood"] < THRESHOLD, _WEAK, _CONFLICT)
    table["diagnosis"] = np.where(table["prior"] > THRESHOLD, weak, "")
    return table.rename_axis("parameter")


def _labelled(found: xr.DataArray, draws: xr.DataArray) -> xr.DataArray:
    """With the coordinates of the draws, of which ArviZ keeps the dims' own only."""
    one = draws.isel({CHAIN: 0, DRAW: 0}, drop=True)
    return one.copy(data=found.transpose(*one.dims).values)
