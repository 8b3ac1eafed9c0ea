"""The observed rows of the NumPyro model, summed over components or with allocations."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from jointmix.model.dataset import Dataset
from jointmix.model.scaling import Scaling
from jointmix.model.spec import ModelSpec
from jointmix.validation.twin.parameters import Array, Parameters


@dataclass(frozen=True, eq=False)
class Rows:
    """The data on the model's scale: x (obs, feature), u (obs, predictor), and y (obs) if any."""

    x: np.ndarray
    u: np.ndarray
    y: np.ndarray | None


def scaled_rows(dataset: Dataset, spec: ModelSpec, scaling: Scaling) -> Rows:
    """The columns of a dataset by role, on the model's scale."""
    scaled = dict(zip(spec.columns, scaling.transform(dataset.values).T, strict=True))

    def stack(names: tuple[str, ...] | list[str]) -> np.ndarray:
        none = np.zeros((len(dataset.values), 0))
        return np.column_stack([none, *(scaled[name] for name in names)])

    y = scaled[spec.response] if spec.response is not None else None
    return Rows(stack(spec.features), stack(spec.predictors), y)


def component_terms(parameters: Parameters, rows: Rows) -> tuple[Array, Array]:
    """log p(x_i | k) and log p(y_i | x_i, k), each (obs, component); zeros for what is absent."""
    import jax.numpy as jnp
    import numpyro.distributions as dist

    features = response = jnp.zeros((len(rows.x), len(parameters["weight"])))
    if "mean" in parameters:
        normal = dist.MultivariateNormal(parameters["mean"], scale_tril=parameters["cholesky"])
        features = normal.log_prob(rows.x[:, None, :])
    if rows.y is not None:
        line = parameters["intercept"] + (rows.u[:, None, :] * parameters["slope"]).sum(-1)
        response = dist.Normal(line, parameters["sigma"]).log_prob(rows.y[:, None])
    return features, response


def marginal(parameters: Parameters, rows: Rows) -> None:
    """The rows as the factor site `rows`, log p(x_i, y_i) = logsumexp over components."""
    import jax.numpy as jnp
    import numpyro
    from jax.scipy.special import logsumexp

    features, response = component_terms(parameters, rows)
    joint = jnp.log(parameters["weight"]) + features + response
    with numpyro.plate("data", len(rows.x)):
        numpyro.factor("rows", logsumexp(joint, axis=-1))


def enumerated(parameters: Parameters, rows: Rows) -> None:
    """The rows as the sites `x` and `y` given their allocations `z`."""
    import numpyro
    import numpyro.distributions as dist

    with numpyro.plate("data", len(rows.x)):
        prior = dist.Categorical(parameters["weight"])
        z = numpyro.sample("z", prior, infer={"enumerate": "parallel"})
        if "mean" in parameters:
            mean, cholesky = parameters["mean"][z], parameters["cholesky"][z]
            numpyro.sample("x", dist.MultivariateNormal(mean, scale_tril=cholesky), obs=rows.x)
        if rows.y is not None:
            # Enumeration puts components in front, (K, 1, R): only the last axis is sure.
            line = parameters["intercept"][z] + (rows.u * parameters["slope"][z]).sum(-1)
            numpyro.sample("y", dist.Normal(line, parameters["sigma"][z]), obs=rows.y)


LIKELIHOODS: dict[str, Callable[[Parameters, Rows], None]] = {
    "marginal": marginal,
    "enumerated": enumerated,
}
