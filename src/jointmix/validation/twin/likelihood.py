"""The observed rows of the NumPyro model, summed over components or with allocations."""

from collections.abc import Callable, Mapping
from dataclasses import replace

import numpy as np

from jointmix.families.protocol import Scaled
from jointmix.families.rows import Rows, with_weight
from jointmix.model.dataset import Dataset
from jointmix.model.spec import ModelSpec
from jointmix.validation.twin.family import Array, Arrays, Twin, twins
from jointmix.validation.twin.gaps import stacked_terms
from jointmix.validation.twin.priors import sample_free, site_of


def scaled_rows(dataset: Dataset) -> Rows:
    """The columns of a dataset by role, on the model's scale; y is zero without a response."""
    spec, scaled_values = dataset.spec, dataset.scaling.transform(dataset.values)
    scaled = dict(zip(spec.columns, scaled_values.T, strict=True))
    entered = dict(zip(spec.columns, dataset.values.T, strict=True))
    none = np.zeros(len(dataset.values))

    def stack(names: tuple[str, ...] | list[str], of: Mapping[str, np.ndarray]) -> np.ndarray:
        return np.column_stack([none[:, None][:, :0], *(of[name] for name in names)])

    y = scaled[spec.response] if spec.response is not None else none
    offset = None
    if spec.linked:
        offset = (none if spec.offset is None else scaled[spec.offset]) + dataset.scaling.level
    trials = None if spec.trials is None else scaled[spec.trials]
    u = stack(spec.predictors, scaled)
    rows = Rows(stack(list(spec.features), scaled), u, y, offset=offset, trials=trials)
    if spec.discrete:
        names = [own.column for own in spec.discrete]
        rows = replace(rows, discrete=stack(names, entered))
    # What rows with missing levels may be is made by the encoding, as their predictors are.
    return with_weight(replace(rows, completions=dataset.rows.completions), dataset.weight)


def sample_parameters(spec: ModelSpec, scaling: Scaled, reflection: np.ndarray | None) -> Arrays:
    """What the likelihood takes, (component, *core), as NumPyro statements.

    Parameters by the names that the spec has for them, where they are no sample sites themselves,
    are deterministic sites. With the reflection H of a direction components are ordered along it.
    """
    import jax.numpy as jnp
    import numpyro

    free = sample_free(spec, reflection)
    found = {"weight": free["weight"]}
    for twin in twins(spec):
        own = twin.complete(free, scaling)
        found |= {name: jnp.asarray(value) for name, value in own.items()}
    for name, parameter in spec.parameters.items():
        if parameter.role == "correlation":
            factor = found[f"{name}_cholesky"]
            numpyro.deterministic(name, factor @ jnp.swapaxes(factor, 1, 2))
        elif parameter.role != "weight" and not (parameter.free and site_of(parameter) == name):
            numpyro.deterministic(name, found[name])
    return found


def component_terms(spec: ModelSpec, parameters: Arrays, rows: Rows) -> Arrays:
    """Log densities given each component, (obs, component), by what twins call their columns."""
    if rows.complete:
        return {twin.column: _log_prob(twin, parameters, rows) for twin in twins(spec)}
    return stacked_terms(twins(spec), parameters, rows, _log_prob)


def _log_prob(twin: Twin, parameters: Mapping[str, Array], rows: Rows) -> Array:
    beside = {name: getattr(rows, name) for name in ("offset", "trials", "discrete")}
    beside = {name: column[:, None] for name, column in beside.items() if column is not None}
    across = Rows(rows.x[:, None, :], rows.u[:, None, :], rows.y[:, None], **beside)
    return twin.distribution(parameters, across).log_prob(twin.observed(across))


def marginal(spec: ModelSpec, parameters: Arrays, rows: Rows) -> None:
    """The rows as the factor site `rows`, w_i log p(x_i, y_i) = w_i logsumexp over components."""
    import jax.numpy as jnp
    import numpyro
    from jax.scipy.special import logsumexp

    joint = sum(component_terms(spec, parameters, rows).values(), jnp.log(parameters["weight"]))
    with numpyro.plate("data", len(rows.y)):
        numpyro.factor("rows", rows.weights * logsumexp(joint, axis=-1))


def enumerated(spec: ModelSpec, parameters: Arrays, rows: Rows) -> None:
    """The rows as the sites `x`, `x[NAME]` and `y` given their allocations `z`."""
    import numpyro
    import numpyro.distributions as dist

    with numpyro.plate("data", len(rows.y)):
        prior = dist.Categorical(parameters["weight"])
        z = numpyro.sample("z", prior, infer={"enumerate": "parallel"})
        own = {name: value[z] for name, value in parameters.items()}
        for twin in twins(spec):
            family = twin.distribution(own, rows)
            numpyro.sample(twin.column, family, obs=twin.observed(rows))


LIKELIHOODS: dict[str, Callable[[ModelSpec, Arrays, Rows], None]] = {
    "marginal": marginal,
    "enumerated": enumerated,
}
