"""What the compiled kernel is given: one array of doubles that describes model, priors and rows.

It begins with a record of named numbers; tables of free parameters, blocks and outputs follow, and
what they point to (see `jointmix.kernel.records`). One compiled core thus serves all structures,
and nothing is compiled anew for another K, D, prior or table. Blocks hold addresses of compiled
functions: a problem belongs to the process that made it.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np

from jointmix.families import together
from jointmix.families.parameters import Parameters
from jointmix.families.priors import coefficients
from jointmix.families.priors.priors import LKJ, AnyPrior, Dirichlet, Fixed, ScalePrior
from jointmix.families.protocol import Parameter
from jointmix.families.rows import Rows
from jointmix.kernel.blocks import (
    Place,
    add_blocks,
    compiled_blocks,
    compiled_values,
    n_values,
    places,
    put,
    tiles_of,
)
from jointmix.kernel.patterns import add_patterns
from jointmix.kernel.records import (
    COLUMN,
    CONE,
    COPY,
    EXPONENTIAL,
    LINE,
    OUTPUT,
    PARAMETER,
    POSITIVE,
    PRODUCT,
    SIMPLEX,
    VINE,
    Tape,
)
from jointmix.model.dataset import Dataset
from jointmix.model.location import Coordinate, coordinates, householder
from jointmix.model.scaling import Scaling
from jointmix.model.spec import ModelSpec

Prior = Dirichlet | LKJ | ScalePrior | tuple[Coordinate, ...]


@dataclass(frozen=True)
class FreeParameter:
    """One free variable of the PyMC model.

    Attributes
    ----------
    name
        As the PyMC model has it.
    fills
        The parameter among the values that it fills; locations fill several.
    transform
        SIMPLEX, CONE, POSITIVE or VINE.
    shape
        Of its unconstrained values; (1, ...) serves all components, (..., 1) all columns.
    prior
        Or the locations, each with its own.
    """

    name: str
    fills: str
    transform: int
    shape: tuple[int, ...]
    prior: Prior

    @property
    def size(self) -> int:
        """Number of unconstrained values."""
        return int(np.prod(self.shape))

    @property
    def constant(self) -> float:
        """The log normalising constant that the compiled prior leaves out."""
        rows = self.shape[0]
        match self.prior:
            case Dirichlet():
                *several, n = self.shape
                constant = coefficients.simplex_constant(self.prior, n + 1)
                return int(np.prod(several)) * constant
            case LKJ():
                # D (D − 1)/2 pairs.
                side = (1 + int(np.sqrt(1 + 8 * self.shape[1]))) // 2
                return rows * coefficients.vine_constant(self.prior, side)
            case tuple():
                return rows * sum(coefficients.location_constant(c.prior) for c in self.prior)
            case _:
                return self.size * coefficients.positive_constant(self.prior)


def free_parameters(spec: ModelSpec) -> tuple[FreeParameter, ...]:
    """The free variables, in the PyMC model's order: locations together, behind the weights."""
    locations = coordinates(spec)
    found: list[FreeParameter] = []
    for parameter in spec.parameters.values():
        prior, own = parameter.prior, parameter.free
        behind = parameter.role != "weight"
        if behind and locations and all(each.name != "location" for each in found):
            shape = (spec.n_clusters, len(locations))
            found.append(FreeParameter("location", "location", CONE, shape, locations))
        match parameter.role:
            case "weight" | "probability" if isinstance(prior, Dirichlet) and own:
                name = parameter.name
                found.append(FreeParameter(name, name, SIMPLEX, own, prior))
            case "correlation" if isinstance(prior, LKJ) and own:
                found.append(FreeParameter(parameter.site, "factor", VINE, own, prior))
            case "scale" | "shape" if own:
                name = sampled_name(parameter)
                found.append(FreeParameter(name, parameter.name, POSITIVE, own, _positive(prior)))
    return tuple(found)


def sampled_name(parameter: Parameter) -> str:
    """What a positive parameter's free variable is called: scales say of what their prior is."""
    if parameter.role == "shape":
        return parameter.site
    return f"{parameter.site}_{'variance' if coefficients.of_variance(parameter.prior) else 'sd'}"


def _positive(prior: AnyPrior | None) -> ScalePrior:
    assert isinstance(prior, ScalePrior)
    return prior


def n_free(spec: ModelSpec) -> int:
    """Number of unconstrained values that are sampled."""
    return sum(parameter.size for parameter in free_parameters(spec))


def known_values(spec: ModelSpec, scaling: Scaling) -> Parameters:
    """Values of what is fixed, (component, ...), on the model's scale; elsewhere anything."""
    k, weight = spec.n_clusters, spec.priors.weight
    found = {"weight": weight.array if isinstance(weight, Fixed) else np.full(k, 1 / k)}
    sizes = spec.shapes
    for block in spec.blocks:
        variables = {item.name: np.ones(sizes[item.name]) for item in block.parameters}
        if "correlation" in variables:
            variables["correlation"] = np.zeros(sizes["correlation"]) + np.eye(len(spec.features))
        found |= block.packed(variables) | block.known(scaling)
    return Parameters(**found)


def make_problem(
    dataset: Dataset,
    direction: np.ndarray | None = None,
    whitening: tuple[np.ndarray, np.ndarray] | None = None,
    rows: Rows | None = None,
) -> np.ndarray:
    """The array that the kernel reads.

    Parameters
    ----------
    dataset
        The model and its rows.
    direction
        Unit vector along which the components are ordered, (location,), or None.
    whitening
        Centre c (dim,) and lower triangular S (dim, dim): the kernel's argument is then z with
        c + S z the unconstrained values. None leaves them as they are.
    rows
        On the model's scale, in place of the dataset's.

    Returns
    -------
    numpy.ndarray
        One-dimensional, of doubles.
    """
    spec, scaling, table = dataset.spec, dataset.scaling, dataset.rows if rows is None else rows
    k, known = spec.n_clusters, known_values(spec, scaling)
    given = together(spec.blocks, table)
    blocks = compiled_blocks(given, table, known)
    free, place, width = free_parameters(spec), dict(places(blocks, k)), n_values(blocks, k)
    if coordinates(spec):
        # ξ itself, from which means, intercepts and slopes are filled.
        place["location"] = Place(width, len(coordinates(spec)), len(coordinates(spec)))
        width += k * len(coordinates(spec))
    tape, first = Tape(), table.patterns[0]
    whole = first.present.all() and first.answered and first.alternatives == 1
    parts = table.patterns[1:] if whole else table.patterns
    patterns, reduced = add_patterns(tape, given, blocks, parts, known, width)
    values = np.zeros(width + reduced)
    for name, value in compiled_values(given, known).items():
        put(values, place[name], value)
    filled = _rows(tape, free, place, direction)
    filled += _followers(tape, spec, scaling, place)
    outputs = _outputs(place, spec)
    shift, stretch = whitening or (np.zeros(0), np.zeros(0))
    complete = first.rows if whole else table.take(slice(0, 0))
    tiles = tiles_of(given, complete)
    return tape.problem(
        **add_blocks(tape, blocks, k, tiles, len(complete.y), weight=complete.weight), **patterns,
        dim=n_free(spec), n_values=len(values), known=tape.add(values),
        parameters=tape.table(PARAMETER, filled), n_parameters=len(filled),
        outputs=tape.table(OUTPUT, outputs), n_outputs=len(outputs),
        whitened=whitening is not None, shift=tape.add(shift), stretch=tape.add(stretch),
        constant=sum(parameter.constant for parameter in free),
    )  # fmt: skip


def _rows(
    tape: Tape, free: tuple[FreeParameter, ...], place: dict[str, Place],
    direction: np.ndarray | None,
) -> list[dict[str, Any]]:  # fmt: skip
    """The table of free parameters."""
    rows: list[dict[str, Any]] = []
    q = 0
    for parameter in free:
        own, shape = place[parameter.fills], parameter.shape
        if parameter.transform == SIMPLEX:
            # The weights are one row of all components.
            shape = (*((1,) if len(shape) == 1 else ()), *shape)
        row: dict[str, Any] = {
            "transform": parameter.transform,
            "q": q,
            "n_rows": shape[0],
            "n_columns": shape[1] if len(shape) > 1 else 1,
            "value": own.first,
            "step": own.step,
            "width": own.width,
        }
        match parameter.prior:
            case Dirichlet(concentration=a):
                row["concentration"] = a
            case LKJ(eta=eta):
                row |= {"concentration": eta, "side": int(np.sqrt(own.width))}
            case tuple():
                n = len(parameter.prior)
                reflection = np.eye(n) if direction is None else householder(direction)
                row |= {
                    "ordered": direction is not None,
                    "reflection": tape.add(reflection),
                    "columns": tape.table(COLUMN, _columns(parameter.prior, place)),
                }
            case _:
                row |= coefficients.positive(parameter.prior)
        rows.append(row)
        q += parameter.size
    return rows


def _columns(items: tuple[Coordinate, ...], place: dict[str, Place]) -> list[dict[str, Any]]:
    """Where each location goes, and its prior."""
    rows: list[dict[str, Any]] = []
    seen = dict.fromkeys((item.parameter for item in items), 0)
    for item in items:
        own, prior = place[item.parameter], item.prior
        rows.append(
            {
                "value": own.first + seen[item.parameter],
                "step": own.step,
                "loc": prior.loc,
                "scale": prior.scale,
                "df": getattr(prior, "df", 0.0),
            }
        )
        seen[item.parameter] += 1
    return rows


def _followers(
    tape: Tape, spec: ModelSpec, scaling: Scaling, place: dict[str, Place]
) -> list[dict[str, Any]]:
    """Fixed parameters that move with others."""
    rows = []
    for block in spec.blocks:
        for name, (other, share) in block.follows(scaling).items():
            own, source = place[name], place[other]
            rows.append({"transform": LINE, "value": own.first, "step": own.step,
                         "width": len(share), "source": source.first,
                         "source_step": source.step, "centre": tape.add(share)})  # fmt: skip
    return rows


def _outputs(place: dict[str, Place], spec: ModelSpec) -> list[dict[str, Any]]:
    """All parameters, in their order; correlations in place of their factors."""
    kinds = {"weight": EXPONENTIAL, "probability": EXPONENTIAL}
    found = {name: kinds.get(item.role, COPY) for name, item in spec.parameters.items()}
    found |= {"factor": PRODUCT}
    rows = []
    for name, own in place.items():
        kind = found.get(name, COPY)
        if name != "location":
            rows.append({"kind": kind, "value": own.first, "step": own.step, "width": own.width,
                         "side": int(np.sqrt(own.width))})  # fmt: skip
    return rows
