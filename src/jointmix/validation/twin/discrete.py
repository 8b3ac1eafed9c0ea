"""What twins of features beside the Gaussian ones share: one column, one parameter a component."""

from abc import abstractmethod
from collections.abc import Iterator, Mapping

import numpy as np

from jointmix.families.parameters import Parameters
from jointmix.families.protocol import Block, Scaled
from jointmix.families.rows import Rows
from jointmix.validation.twin.family import Array, Arrays, Candidate, Density, Twin, orders


class DiscreteTwin(Twin):
    """A row in which the feature is not known has the density one."""

    def __init__(self, block: Block) -> None:
        super().__init__(block)
        (self.parameter,), (self.label,) = block.parameters, block.columns
        self.name, self.place = self.parameter.name, block.place

    @property
    def column(self) -> str:
        """By its name in the table."""
        return f"x[{self.label}]"

    @abstractmethod
    def known(self, column: Array) -> Array:
        """Values of the column, any that is possible where none is known."""

    @abstractmethod
    def family(self, parameter: Array) -> Array:
        """The NumPyro distribution at a parameter (..., component, *core)."""

    @abstractmethod
    def log_pmf(self, value: np.ndarray, parameter: np.ndarray) -> np.ndarray:
        """Log probabilities (obs, component) of values (obs, 1), by SciPy."""

    @abstractmethod
    def magnitude(self, value: np.ndarray, parameter: np.ndarray) -> np.ndarray:
        """Of what enters them, (point, obs, component), parameters with a dim of points."""

    def column_of(self, rows: Rows) -> np.ndarray:
        """The feature, (obs, ...), NaN where it is not known."""
        assert rows.discrete is not None
        return np.asarray(rows.discrete[..., self.place])

    def observed(self, rows: Rows) -> Array:
        """The feature where it is known."""
        return self.known(self.column_of(rows))

    def complete(self, free: Mapping[str, Array], scaling: Scaled) -> Arrays:
        """The parameter: such features have no scale."""
        del scaling
        return {self.name: free[self.name]}

    def distribution(self, own: Mapping[str, Array], rows: Rows) -> Array:
        """Without those not known, which NumPyro's mask leaves out."""
        found, column = self.family(own[self.name]), self.column_of(rows)
        return found.mask(~np.isnan(column)) if np.isnan(column).any() else found

    def log_density(self, own: Mapping[str, np.ndarray], rows: Rows) -> np.ndarray:
        """Zero where the feature is not known."""
        column = self.column_of(rows)[:, None]
        found = self.log_pmf(self.known(column), own[self.name])
        return np.where(np.isnan(column), 0.0, found)

    def size(self, parameters: Parameters, rows: Rows) -> np.ndarray:
        """Of what enters the log probability."""
        return self.magnitude(self.known(self.column_of(rows)[:, None]), parameters[self.name])

    def mistakes(self, parameters: Parameters, rows: Rows, at: Density) -> Iterator[Candidate]:
        """Of components."""
        del rows
        own = parameters[self.name]
        for order, words in orders(own.shape[1]):
            sentence = f"The {self.parameter.meaning} belongs to other components: {words}."
            yield sentence, at(parameters.replace(**{self.name: own[:, order]}))
