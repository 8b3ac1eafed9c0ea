"""What priors say on the users' own scale, and where the posterior lies in them."""

from dataclasses import dataclass

import numpy as np
import xarray as xr

from jointmix.base.schema import CLUSTER, require_group
from jointmix.families.priors.density import log_density
from jointmix.families.priors.priors import InverseGamma, Priors
from jointmix.families.priors.words import chance_below, standard_interval
from jointmix.families.protocol import Parameter
from jointmix.model.packing import packed, unpacked
from jointmix.model.scaling import Scaling
from jointmix.posterior.draws import (
    fitted_scaling,
    fitted_spec,
    posterior_parameters,
    spread,
)

#: Of more draws so many, spread over all, say where the posterior lies.
_MOST_DRAWS = 4_000


def on_users_scale(scaling: Scaling, parameter: Parameter, values: np.ndarray) -> np.ndarray:
    """Values of a location, scale or shape from the model's to the users' scale, (value, entry).

    An intercept's are those of the response at the average of every predictor where columns are
    standardised, and elsewhere where every predictor is 0.

    Parameters
    ----------
    values
        Shape (value, entry), or (value, 1) for the same of all entries.
    """
    spec, n = scaling.spec, len(values)
    shapes, variables = spec.shapes, {}
    for other in spec.parameters.values():
        shape = (n, *shapes[other.name])
        if other is parameter:
            value = values.reshape(n, 1, -1) if other.dims else values.reshape(n, 1)
        elif other.role == "correlation":
            value = np.eye(shape[-1])
        else:
            value = np.asarray(0.0 if other.role == "location" else 1.0)
        variables[other.name] = np.broadcast_to(value, shape)
    users = scaling.to_users(packed(variables, spec))
    return unpacked(users, spec)[parameter.name][:, 0].reshape(n, -1)


@dataclass(frozen=True, kw_only=True)
class Stated:
    """One entry of a parameter beside its prior.

    Attributes
    ----------
    parameter, prior
        Its name, and its prior on the model's scale.
    column, cluster
        Whose it is; "" where it is of no column, None where all clusters share it.
    own
        Whether the prior was stated for these columns: it is not the default, or columns are not
        standardised.
    interval, mean
        The prior's central 90%, and the posterior's mean, on the users' scale.
    model_mean
        The posterior's mean on the model's scale.
    tail
        Twice the prior's mass beyond the posterior's mean. Under a half-normal and a half-t, whose
        densities are highest at zero, beyond it upwards.
    pull, shift
        By how much the posterior's mean would move, to first order, were this prior flat: in
        posterior standard deviations, and on the model's scale. Of scales and shapes both are of
        the logarithm.
    """

    parameter: Parameter
    prior: object
    column: str
    cluster: int | None
    own: bool
    interval: tuple[float, float]
    mean: float
    model_mean: float
    tail: float
    pull: float
    shift: float


def stated(tree: xr.DataTree) -> tuple[Stated, ...]:
    """Each free location, scale and shape of a fit beside its prior.

    A prior's shift is |cov(θ, log p(θ))|, the derivative of the mean by the power of that prior
    alone (power scaling, Kallioinen et al. 2024, doi:10.1007/s11222-023-10366-5).

    Parameters
    ----------
    tree
        A fitted tree.

    Raises
    ------
    SchemaError
        If the tree is not a fit with identified draws.
    SpecError
        If its specification is no model.
    """
    spec = fitted_spec(tree)
    scaling = fitted_scaling(tree, spec)
    labels = require_group(tree, "posterior")[CLUSTER].values.tolist()
    parameters = posterior_parameters(tree)
    parameters = parameters.take(spread(len(parameters.weight), _MOST_DRAWS))
    variables = unpacked(scaling.to_model(parameters), spec)
    found: list[Stated] = []
    for parameter in spec.parameters.values():
        if not parameter.free or parameter.role not in ("location", "scale", "shape"):
            continue
        size = parameter.free[0]
        draws = variables[parameter.name][:, :size].reshape(-1, size, parameter.n_free // size)
        found += _beside(parameter, draws, scaling, [None] if parameter.shared else labels)
    return tuple(found)


def _beside(
    parameter: Parameter, draws: np.ndarray, scaling: Scaling, labels: list[int | None]
) -> list[Stated]:
    """Entries of draws (draw, cluster, entry) on the model's scale."""
    prior, spec = parameter.prior, scaling.spec
    assert prior is not None
    bounds = standard_interval(prior, spec.n_clusters, len(spec.features))
    assert bounds is not None
    interval = on_users_scale(scaling, parameter, bounds[:, None])
    mean = draws.mean(axis=0)
    users, (shift, sd) = on_users_scale(scaling, parameter, mean), _shift(parameter, draws)
    unitless = parameter.role == "shape" and not parameter.measured
    response = "" if unitless else spec.response
    names = spec.entries[parameter.dims[0]] if parameter.dims else [response]
    own = not spec.standardize or prior != getattr(Priors(), parameter.stated or parameter.name)
    return [
        Stated(
            parameter=parameter,
            prior=prior,
            column=str(names[j]),
            cluster=labels[k],
            own=own,
            interval=(float(interval[0, j]), float(interval[1, j])),
            mean=float(users[k, j]),
            model_mean=float(mean[k, j]),
            tail=_tail(prior, float(mean[k, j])),
            pull=float(shift[k, j] / sd[k, j]),
            shift=float(shift[k, j]),
        )
        for k in range(draws.shape[1])
        for j in range(draws.shape[-1])
    ]


def _tail(prior: object, value: float) -> float:
    below, above = chance_below(prior, value)
    return min(1.0, 2 * min(below, above))


def _shift(parameter: Parameter, draws: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """|cov(θ, log p(θ))| and sd(θ) of each entry, (cluster, entry)."""
    prior = parameter.prior
    at, place = draws, draws
    if parameter.role != "location":
        place = np.log(draws)
        at = draws**2 if isinstance(prior, InverseGamma) else draws
    log_prior = log_density(prior, at)
    if parameter.role != "location":
        # Of the density of the logarithm, whose flat prior favours no unit.
        log_prior = log_prior + np.log(at)
    centred = place - place.mean(axis=0)
    # Draws of one value have no spread.
    sd = np.maximum(centred.std(axis=0), 1e-300)
    return np.abs((centred * log_prior).mean(axis=0)), sd
