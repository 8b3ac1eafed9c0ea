"""Whether the package's PyMC model, its kernel, NumPy, SciPy and NumPyro are the same posterior."""

import time
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.metadata import version
from importlib.util import find_spec
from typing import Any

import numpy as np
import xarray as xr

from jointmix.base.errors import MissingExtraError, SchemaError, SpecError
from jointmix.base.progress import Progress, ProgressOption, show_progress
from jointmix.fitting.clock import Clock
from jointmix.fitting.stages import Prepared, prepare
from jointmix.model.dataset import Dataset, make_dataset
from jointmix.model.demands import minimum_rows
from jointmix.model.serialised import spec_to_dict
from jointmix.model.spec import ModelSpec
from jointmix.posterior.draws import fitted_spec
from jointmix.sampling.backends import reserve_devices
from jointmix.sampling.target import Target
from jointmix.validation.agreement.both import free_target, sample_both
from jointmix.validation.agreement.certificate import Certificate, attach, stored_certificate
from jointmix.validation.agreement.chart import Model
from jointmix.validation.agreement.comparison import Comparison, Difference
from jointmix.validation.agreement.implementations import (
    YOURS,
    explain,
    explain_order,
    make_sides,
)
from jointmix.validation.agreement.ordered import Order, find_order
from jointmix.validation.agreement.orientation import oriented
from jointmix.validation.agreement.problem import Problem, extreme_points, random_points
from jointmix.validation.agreement.structure import Structure, inspect
from jointmix.validation.agreement.terms import Side

__all__ = [
    "Certificate",
    "Difference",
    "attach",
    "crosscheck",
    "stored_certificate",
    "use_double_precision",
]

_PACKAGES = ("jointmix", "pymc", "pytensor", "numpyro", "jax", "funsor", "numpy", "scipy")
#: Points at which the mistakes of an implementation that differs are sought.
_EXPLAINED = 16


def crosscheck(
    table: object,
    spec: ModelSpec,
    *,
    model: Model | None = None,
    names: Mapping[str, str] | None = None,
    points: int = 1000,
    posterior: bool = True,
    fit: xr.DataTree | None = None,
    seed: int = 1,
    progress: ProgressOption = None,
) -> Certificate:
    """Certify that independent implementations of a model are the same posterior.

    Log densities of the priors (Jacobians included), of the rows, of x and y given each
    component, and gradients are evaluated by the compiled kernel, PyMC on Numba and on JAX,
    NumPyro with enumerated and with summed allocations, NumPy, SciPy and, where the predictors
    are the features, scikit-learn; at random and at extreme points. Then PyMC's and NumPyro's
    posteriors are sampled, labels identified alike, and compared.

    Parameters
    ----------
    table
        As `jointmix.fit` takes it.
    spec
        The model and the sampler's settings.
    model
        A NumPyro model of your own, without arguments, to be held against the others. Its sites
        are on the scale of the specification: the columns' own with ``standardize=False``.
        Its allocations may be a discrete site, which is then enumerated. Features may have a plate
        of their own, left or right of that of the rows. It may order its components by one number
        of each, by a site's support, by a factor of −inf, or by sorting parameters before it uses
        them; it is compared in that order, and its prior may be normalised there.
    names
        What your sites hold: quantity → site. What is left out is sought under its own name; a
        deterministic site stands for the one that ``numpyro.handlers.reparam`` puts behind it.
        Quantities are

        - the parameters: weight, mean, sd, correlation, intercept, slope, sigma, df,
          shape;
        - mean_xi, intercept_xi, slope_xi: (parameter − loc) / scale, with the loc and scale of
          its prior, a standard normal or t, as a model that is not centred samples them;
        - log_sd, log_sigma, log_df, log_shape; variance and noise_variance, the squares of sd and
          sigma;
        - correlation_cholesky, and covariance, covariance_cholesky, precision in place of sd and
          correlation;
        - the observed sites x, y, or rows for both: a factor of log p(x_i, y_i), or of its sum.

        Where a column or a cluster has a site of its own, ``mean[x1]`` is that of the feature x1,
        ``mean[2]`` that of cluster 2, ``mean[2, x1]`` that of both, ``x[x1]`` the observed x1.
        A site may hold the components last, as plates that count from the right make it;
        ``mean.T`` in place of ``mean`` says so.
    points
        Number of random points, at least 1.
    posterior
        Whether to sample and compare both posteriors; without it rows may be too few for a fit.
    fit
        A fit of the same table and specification, whose draws are taken instead of new ones, and
        which the certificate is attached to, for its report.
    seed
        Of the points and of sampling.
    progress
        As for `jointmix.fit`.

    Returns
    -------
    Certificate
        ``passed`` says whether all agree: densities to 1e-12 of the magnitude of what enters
        them, gradients to 1e-9 of their largest entry, summaries of the posteriors within what
        their Monte Carlo errors explain. A model of your own may factor covariances, and is given
        the condition number of the correlations as often. ``findings`` says what is wrong and
        where.

    Raises
    ------
    MissingExtraError
        If JAX, NumPyro or funsor is not installed.
    DataError, SpecError
        If the table cannot be fitted, or the names do not match model and specification.
    SchemaError
        If the fit is of other data or another specification.

    Examples
    --------
    >>> names = {"weight": "cluster_probs", "mean": "locs", "x": "obs_x"}
    >>> found = jm.crosscheck(table, spec, model=model, names=names)  # doctest: +SKIP
    >>> print(found)  # doctest: +SKIP
    """
    _require()
    if points < 1:
        raise SpecError(f"points must be at least 1; got {points}.")
    reserve_devices(spec.sampler.chains)
    began, compared = time.perf_counter(), None
    dataset = make_dataset(table, spec, demand="density")
    with show_progress(progress) as tell:
        prepared = _prepared(table, dataset, posterior, fit, seed, tell)
        if fit is not None:
            _check_fit(fit, dataset)
        problem, center = _problem(dataset, prepared, model, seed)
        seconds = {"prepare": time.perf_counter() - began}
        given = _implementations(problem, model, names, tell, seconds)
        densities = _compare_densities(problem, center, given, points, seed, tell, seconds)
        if posterior and prepared is not None and (model is None or given.structure is not None):
            began = time.perf_counter()
            compared = sample_both(
                prepared, fit, problem, model, given.names, given.order, seed, tell
            )
            seconds["posterior"] = time.perf_counter() - began
    certificate = Certificate(
        **densities,
        n_rows=len(problem.rows.y),
        n_components=spec.n_clusters,
        dim=problem.dim,
        posterior=compared,
        seconds={name: round(spent, 3) for name, spent in seconds.items()},
        digest=dataset.digest,
        versions={name: version(name) for name in _PACKAGES},
    )
    if fit is not None:
        attach(fit, certificate)
    return certificate


@dataclass(frozen=True, eq=False)
class _Implementations:
    """What is compared, and what a model that was handed in is.

    Attributes
    ----------
    sides
        The implementations; the model handed in is one, if it can be evaluated.
    findings
        Why it cannot.
    names
        What its sites hold, those that hold components last marked.
    structure, order
        Of its sites and its components; None without one, the order also where it has none.
    """

    sides: list[Side]
    findings: list[str]
    names: Mapping[str, str] | None
    structure: Structure | None
    order: Order | None


def _implementations(
    problem: Problem,
    model: Model | None,
    names: Mapping[str, str] | None,
    tell: Progress,
    seconds: dict[str, float],
) -> _Implementations:
    if model is not None:
        names = oriented(problem, model, names)
    sides, findings = make_sides(problem, model, names, tell, seconds)
    yours = next((side for side in sides if side.name == YOURS), None)
    if model is None or yours is None:
        return _Implementations(sides, findings, names, None, None)
    structure, order = inspect(problem, model, names), find_order(problem, yours)
    return _Implementations(sides, findings, names, structure, order)


def _prepared(
    table: object,
    dataset: Dataset,
    posterior: bool,
    fit: xr.DataTree | None,
    seed: int,
    tell: Progress,
) -> Prepared | None:
    """Modes and starts; None where no posterior is wanted and rows are too few to have any."""
    spec = dataset.spec
    enough = len(dataset.row) >= minimum_rows(spec) and spec.n_parameters
    if not (posterior or enough):
        return None
    of_modes = seed if fit is None else int(fit.attrs["seed"])
    return prepare(table, spec, of_modes, Clock(tell))


def _problem(
    dataset: Dataset, prepared: Prepared | None, model: Model | None, seed: int
) -> tuple[Problem, np.ndarray]:
    """The posterior, ordered if its own is, and a point of high density (dim,).

    A model of somebody else's has no cone: its density is the unordered one everywhere. Where
    rows are too few for a fit no modes are known; zero takes their place.
    """
    if prepared is None:
        problem = Problem(dataset, None)
        return problem, np.zeros(problem.dim)
    problem = Problem(dataset, prepared.start.direction if model is None else None)
    return problem, free_target(Target(dataset, prepared.start), problem).point(seed)


def _compare_densities(
    problem: Problem,
    center: np.ndarray,
    given: _Implementations,
    n_points: int,
    seed: int,
    report: Progress,
    seconds: dict[str, float],
) -> dict[str, Any]:
    """All that a certificate says of densities and gradients, by its attributes' names."""
    at = random_points(problem, center, n_points, seed)
    extreme, sides, order = extreme_points(problem, center), given.sides, given.order
    if order is not None:
        at, extreme = order.arranged(at), order.arranged(extreme)
        sides = [order.applied(side) if side.name == YOURS else side for side in sides]
    report("points", 0, 1, f"{len(at) + len(extreme)} points")
    comparison = Comparison(problem, sides)
    differences = comparison.run(np.concatenate([at, extreme]))
    seconds |= {f"points: {name}": spent for name, spent in comparison.seconds.items()}
    findings = explain(problem, sides, differences, at[:_EXPLAINED], given.structure)
    findings += explain_order(problem, order, given.structure)
    notes = [note for side in sides for note in side.notes] + comparison.notes()
    return {
        "implementations": tuple(side.name for side in sides),
        "n_points": len(at),
        "n_extreme": len(extreme),
        "differences": tuple(differences),
        "findings": tuple(dict.fromkeys([*given.findings, *findings])),
        "notes": tuple(dict.fromkeys(notes)),
    }


def use_double_precision() -> None:
    """Have JAX compute in doubles from here on, as a cross-check does.

    Raises
    ------
    MissingExtraError
        If JAX, NumPyro or funsor is not installed.
    """
    _require()
    import numpyro

    numpyro.enable_x64()


def _require() -> None:
    for package in ("jax", "numpyro", "funsor"):
        if find_spec(package) is None:
            raise MissingExtraError(
                f"A cross-check needs the package {package}: pip install 'jointmix[jax]'."
            )


def _check_fit(fit: xr.DataTree, dataset: Dataset) -> None:
    if fit.attrs.get("data_hash") != dataset.digest:
        raise SchemaError("The fit is of other data than the table.")
    if spec_to_dict(fitted_spec(fit)) != spec_to_dict(dataset.spec):
        raise SchemaError("The fit is of another specification.")
