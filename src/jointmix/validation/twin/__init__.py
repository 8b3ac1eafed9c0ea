"""The joint mixture written a second time, as a NumPyro model on the model's scale.

    π ~ Dirichlet,  z_i ~ Categorical(π)
    μ, b, θ = loc + scale ξ  with ξ of the priors' standard form, iid over components
    scales or their squares, and shapes ~ families on positive numbers,  R ~ LKJ
    x_i | z, y_i | x_i, z ~ the families of the model's blocks, one file each

Nothing here is taken from the PyMC model or from the NumPy densities: agreement between this
model and those is evidence for both. Only the specification with its parameters' names, dims and
priors, the scaled data and the order and units of the location coordinates ξ are shared. JAX and
NumPyro are imported where they are used. `jointmix.validation.twin.family` says how a family
brings its own.
"""

from collections.abc import Callable
from importlib.util import find_spec
from typing import Literal

import numpy as np

from jointmix.base.errors import MissingExtraError, SpecError
from jointmix.model.dataset import Dataset, as_dataset
from jointmix.model.location import coordinates, householder
from jointmix.model.spec import ModelSpec
from jointmix.validation.twin.family import twins
from jointmix.validation.twin.likelihood import (
    LIKELIHOODS,
    component_terms,
    sample_parameters,
    scaled_rows,
)
from jointmix.validation.twin.priors import check_consistent, free_values

Form = Literal["marginal", "enumerated"]


def build_twin(
    table: object,
    spec: ModelSpec,
    form: Form = "marginal",
    direction: np.ndarray | None = None,
) -> Callable[[], None]:
    """The joint mixture as a NumPyro model with the data bound.

    The sites by the names of the spec's parameters, (component, *core), are on the model's scale,
    as in the PyMC model.

    Parameters
    ----------
    table
        As `fit` takes it, or a `Dataset` of it.
    spec
        The model.
    form
        "marginal" sums over the components, log p(x_i, y_i) being the log densities of the
        factor site `rows`; "enumerated" has the allocations as the discrete site `z`, and NumPyro
        sums over them (it needs funsor for that).
    direction
        Unit vector c, shape (location,): components are ordered, c'ξ_1 < … < c'ξ_K. The prior
        density of ξ inside this cone is that of the unordered model, not normalised anew, so the
        two log densities differ by nothing but the Jacobian of the unconstrained values. Such a
        model has a posterior, but no prior draws.

    Returns
    -------
    Callable
        A model without arguments, for `numpyro.infer`.

    Raises
    ------
    MissingExtraError
        If NumPyro is not installed, or funsor for the form "enumerated".
    SpecError
        If the form is unknown, or "enumerated" where rows have weights or miss Gaussian features
        or the response, the direction is no unit vector of the right length, or components that
        are not exchangeable are to be ordered.
    """
    _require("jax", "numpyro")
    dataset = as_dataset(table, spec)
    model = _model(dataset, form, direction)
    if form == "marginal":
        return model
    _require("funsor")
    from numpyro.contrib.funsor import config_enumerate

    return config_enumerate(model)


def twin_log_density(
    table: object, spec: ModelSpec, values: dict[str, np.ndarray], form: Form = "marginal"
) -> dict[str, np.ndarray]:
    """Parts of the twin's log density at given parameters.

    The prior's density is with respect to the free variables that priors are stated on: the first
    K − 1 weights; ξ, locations less the priors' loc, over their scale; squares of scales where the
    family is inverse gamma, else scales and shapes, each shared one once; the entries below the
    diagonal of the Cholesky factors of the correlation matrices. No Jacobian of a sampler's
    unconstrained values is in it, and what a spec fixes has no part in it.

    Parameters
    ----------
    table
        As `fit` takes it, or a `Dataset` of it.
    spec
        The model.
    values
        Parameters by name on the model's scale, component axis first; those that follow from the
        others or the spec may be absent.
    form
        Of the likelihood, as in `build_twin`; without funsor too.

    Returns
    -------
    dict
        `prior` and `likelihood`, scalars; `rows` (obs), w_i log p(x_i, y_i); `features` and
        `response` (obs, component), log p(x_i | k) and log p(y_i | x_i, k), zero where the model
        has none; `x[NAME]` (obs, component), what of the features' is that of a discrete one.
        Natural logs, float64, of densities on the model's scale; of rows with missing entries
        those of what is there.

    Raises
    ------
    MissingExtraError
        If NumPyro is not installed.
    SpecError
        If a needed value is absent, has another shape, or cannot occur under the spec.
    """
    _require("jax", "numpyro")
    _check_form(form)
    import numpyro
    from jax.scipy.special import logsumexp

    numpyro.enable_x64()
    dataset = as_dataset(table, spec)
    spec = dataset.spec
    _check_rows(dataset, form)
    free, scaling, rows = free_values(spec, values), dataset.scaling, scaled_rows(dataset)
    given = dict(free)
    if form == "enumerated":
        # What enumeration does: an axis of components to the left of that of the rows.
        given["z"] = np.arange(spec.n_clusters)[:, None]
    with numpyro.handlers.trace() as sites, numpyro.handlers.substitute(data=given):
        parameters = sample_parameters(spec, scaling, None)
        LIKELIHOODS[form](spec, parameters, rows)
    check_consistent(values, {name: site["value"] for name, site in sites.items()})
    samples = {name: site for name, site in sites.items() if site["type"] == "sample"}
    found = {name: site["fn"].log_prob(site["value"]) for name, site in samples.items()}
    if form == "marginal":
        terms, total = component_terms(spec, parameters, rows), found["rows"]
    else:
        terms = {twin.column: found[twin.column].T for twin in twins(spec)}
        total = logsumexp(sum(terms.values(), found["z"].T), axis=-1)
    none = np.zeros((len(rows.y), spec.n_clusters))
    parts = {
        "prior": sum((found[name].sum() for name in free), start=0.0),
        "likelihood": total.sum(),
        "rows": total,
        "features": sum((term for name, term in terms.items() if name != "y"), none),
        "response": terms.get("y", none),
    } | {name: term for name, term in terms.items() if name not in ("x", "y")}
    return {name: np.asarray(part) for name, part in parts.items()}


def _require(*packages: str) -> None:
    for package in packages:
        if find_spec(package) is None:
            raise MissingExtraError(
                f"The NumPyro model needs the package {package}: pip install 'jointmix[jax]'."
            )


def _check_form(form: str) -> None:
    if form not in LIKELIHOODS:
        raise SpecError(f"form must be one of {', '.join(LIKELIHOODS)}; got {form!r}.")


def forms_of(dataset: Dataset) -> tuple[Form, ...]:
    """The forms that a dataset's model has."""
    rows = dataset.rows
    enumerable = rows.weight is None and rows.complete
    return ("marginal", "enumerated") if enumerable else ("marginal",)


def _check_rows(dataset: Dataset, form: Form) -> None:
    if form not in forms_of(dataset):
        raise SpecError(
            "NumPyro sums over allocations of rows that count once each and have all their "
            "Gaussian entries; with row weights or missing entries take form='marginal'."
        )


def _model(dataset: Dataset, form: Form, direction: np.ndarray | None) -> Callable[[], None]:
    _check_form(form)
    _check_rows(dataset, form)
    import numpyro

    numpyro.enable_x64()
    spec, scaling = dataset.spec, dataset.scaling
    rows, reflection = scaled_rows(dataset), _reflection(spec, direction)

    def model() -> None:
        LIKELIHOODS[form](spec, sample_parameters(spec, scaling, reflection), rows)

    return model


def _reflection(spec: ModelSpec, direction: np.ndarray | None) -> np.ndarray | None:
    if direction is None:
        return None
    size = len(coordinates(spec))
    if direction.shape != (size,) or not np.isclose(direction @ direction, 1):
        raise SpecError(f"direction must be a unit vector of shape ({size},); got {direction!r}.")
    if not spec.exchangeable:
        raise SpecError("Clusters told apart by fixed values have no ordering; use None.")
    return householder(direction)
