"""What the independent twin of a family is, and the door to them.

A twin is one file a family: its parameters with what is fixed of them, its density as a NumPyro
distribution and by `scipy.stats`, how large the numbers are that enter it, and the mistakes that
are usually made with it. It takes nothing from the family's block but names, dims and priors of
the parameters. A family that is registered from outside the package brings its own: a class
derived from `Twin` at the top of an importable module, which the block names by a class attribute
``twin = "package.module:Class"``.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping
from importlib import import_module
from itertools import combinations
from typing import Any, ClassVar, Protocol

import numpy as np

from jointmix.base.errors import SpecError
from jointmix.families.parameters import Parameters
from jointmix.families.protocol import Block, Scaled
from jointmix.families.rows import Rows

Array = Any  # NumPy's or JAX's: naming the latter's type would import JAX.
Arrays = dict[str, Array]
#: What a mistake is called, and the log density that it gives, (point, obs, component).
Candidate = tuple[str, np.ndarray]
Density = Callable[[Parameters], np.ndarray]

_TWINS = {
    "mvnormal": "jointmix.validation.twin.mvnormal:GaussianTwin",
    "mvt": "jointmix.validation.twin.mvt:StudentTFeaturesTwin",
    "normal": "jointmix.validation.twin.normal:NormalTwin",
    "student_t": "jointmix.validation.twin.student_t:StudentTTwin",
    "bernoulli": "jointmix.validation.twin.binomial:BinomialTwin",
    "binomial": "jointmix.validation.twin.binomial:BinomialTwin",
    "poisson": "jointmix.validation.twin.poisson:PoissonTwin",
    "negative_binomial": "jointmix.validation.twin.negative_binomial:NegativeBinomialTwin",
    "negative_binomial_feature": (
        "jointmix.validation.twin.negative_binomial_feature:NegativeBinomialFeatureTwin"
    ),
    "gamma": "jointmix.validation.twin.gamma:GammaTwin",
    "inverse_gaussian": "jointmix.validation.twin.inverse_gaussian:InverseGaussianTwin",
    "categorical": "jointmix.validation.twin.categorical:CategoricalTwin",
    "poisson_feature": "jointmix.validation.twin.poisson_feature:PoissonFeatureTwin",
}


class Twin(ABC):
    """A family written a second time; see the module."""

    #: Whether the density is Gaussian about a linear function of the columns before it.
    gaussian: ClassVar[bool] = False
    #: What else a site of a users' model may hold, and the parameters that it is a function of.
    further: ClassVar[dict[str, tuple[str, ...]]] = {}

    def __init__(self, block: Block) -> None:
        self.spec, self.of_response = block.spec, block.of_response

    @property
    def column(self) -> str:
        """What the columns are called: y of a response, x of Gaussian features, else x[NAME]."""
        return "y" if self.of_response else "x"

    def observed(self, rows: Rows) -> Array:
        """The columns, as the distribution takes them."""
        return rows.y if self.of_response else rows.x

    @abstractmethod
    def complete(self, free: Mapping[str, Array], scaling: Scaled) -> Arrays:
        """What the density takes, with what the spec fixes, on the model's scale.

        Parameters
        ----------
        free
            The weights, and the free parameters, (..., component, *core), of NumPy or of JAX; of
            a correlation its Cholesky factor.
        scaling
            Of the columns.

        Returns
        -------
        dict
            (..., component, *core); of a correlation R its factor, under ``R_cholesky``.
        """

    @abstractmethod
    def distribution(self, own: Mapping[str, Array], rows: Rows) -> Array:
        """The NumPyro distribution of the columns, parameters and rows broadcast to each other."""

    def without(
        self, own: Mapping[str, Array], rows: Rows, present: np.ndarray
    ) -> tuple[Mapping[str, Array], Rows]:
        """Parameters and rows of what is left without the Gaussian features not ``present``."""
        del present
        return own, rows

    def lacks(self, there: np.ndarray) -> np.ndarray:
        """Whether rows lack Gaussian features that the density reads, (row,).

        Parameters
        ----------
        there
            Which features rows have, (row, feature).
        """
        return np.zeros(len(there), dtype=bool)

    def masked(
        self, own: Mapping[str, Array], rows: Rows, there: np.ndarray
    ) -> tuple[Mapping[str, Array], Rows]:
        """As `without` in JAX, of many patterns at once and in the shapes of all features.

        Parameters
        ----------
        own
            (component, *core).
        rows
            Zeros in the place of features that are not there.
        there
            Which features rows of each pattern have, (pattern, feature).

        Returns
        -------
        own, rows
            Parameters (pattern, component, *core), and rows for which they are.
        """
        del there
        return own, rows

    @abstractmethod
    def log_density(self, own: Mapping[str, np.ndarray], rows: Rows) -> np.ndarray:
        """Log density by `scipy.stats` at one value of the parameters, (obs, component)."""

    @abstractmethod
    def size(self, parameters: Parameters, rows: Rows) -> np.ndarray:
        """Sum of the magnitudes of what enters the log density, (point, obs, component).

        Any order of computing it rounds numbers of that size, each by 1e-16 of itself. Infinite
        where the package cuts the density off before float64 ends.
        """

    def mistakes(self, parameters: Parameters, rows: Rows, at: Density) -> Iterator[Candidate]:
        """What usual mistakes give, ``at`` being the right density of parameters (point, …)."""
        del parameters, rows, at
        return iter(())

    def quantity(self, name: str, found: Arrays) -> Array:
        """One of `further` from the parameters that it is a function of, in JAX."""
        raise NotImplementedError(name)

    def separated(self, given: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        """The inverse of `quantity`: parameters from draws (draw, ...) of those that are given."""
        del given
        return {}


class Specified(Protocol):
    """What has blocks."""

    @property
    def blocks(self) -> tuple[Block, ...]: ...


def twins(spec: Specified) -> tuple[Twin, ...]:
    """The twins of a model's blocks, in their order.

    Raises
    ------
    SpecError
        If a block has none.
    """
    return tuple(_twin_of(block) for block in spec.blocks)


def _twin_of(block: Block) -> Twin:
    place = getattr(block, "twin", _TWINS.get(block.family))
    if place is None:
        raise SpecError(
            f"The family {block.family!r} has no independent implementation; name it as the class "
            f"attribute twin = 'package.module:Class' of {type(block).__name__}."
        )
    module, _, name = place.partition(":")
    found: Twin = getattr(import_module(module), name)(block)
    return found


def orders(k: int) -> Iterator[tuple[np.ndarray, str]]:
    """Orders of components that mistakes produce: reversed, shifted by one, two exchanged."""
    seen = {tuple(range(k))}
    swaps = []
    for i, j in combinations(range(k), 2):
        order = np.arange(k)
        order[[i, j]] = j, i
        swaps.append(order)
    for order in (np.arange(k)[::-1], np.roll(np.arange(k), 1), np.roll(np.arange(k), -1), *swaps):
        if tuple(order) not in seen:
            seen.add(tuple(order))
            yield order, f"component k has those of {order.tolist()}[k]"
