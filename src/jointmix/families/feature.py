"""What features share that are beside the Gaussian ones: one column each, a block of its own."""

from dataclasses import replace
from typing import ClassVar

import numpy as np

from jointmix.families.parameters import Parameters
from jointmix.families.protocol import Block
from jointmix.families.rows import Rows
from jointmix.families.specified import Discrete, Scaled


class Feature(Block):
    """The density of one discrete feature; a row in which it is not known has the density one."""

    of_response: ClassVar[bool] = False
    #: What it is called in an equation.
    letter: ClassVar[str]
    #: Whether its distribution may be of another width or shape than the family's.
    shaped: ClassVar[bool] = False

    @classmethod
    def is_kind_of(cls, family: str) -> bool:
        """Whether features of a family are such blocks."""
        raise NotImplementedError

    @property
    def own(self) -> Discrete:
        """What the model says of it."""
        return self.spec.discrete[self.place]

    @property
    def name(self) -> str:
        """That of its parameter."""
        raise NotImplementedError

    @property
    def columns(self) -> tuple[str, ...]:
        """Its column."""
        return (self.own.column,)

    def column(self, rows: Rows) -> np.ndarray:
        """Its values, (obs,)."""
        assert rows.discrete is not None
        return rows.discrete[:, self.place]

    def overlap(self, parameters: Parameters, one: int, other: int) -> np.ndarray:
        """Bhattacharyya's coefficient Σ √(p_1 p_2) of two clusters, (...)."""
        raise NotImplementedError

    def told_apart(
        self, parameters: Parameters, rows: Rows, cluster: int, held: float
    ) -> np.ndarray:
        """Functions of it that say how it departs from the model in a cluster, (function, obs).

        There their means are zero, their variances one, and they are uncorrelated; where it is not
        known they are zero.

        Parameters
        ----------
        parameters
            Without batch dims.
        cluster
            From 0.
        held
            Rows that the cluster holds.
        """
        raise NotImplementedError

    def marginal(
        self, rows: Rows, parameters: Parameters, present: np.ndarray
    ) -> tuple[Rows, dict[str, np.ndarray]]:
        """Itself: inside a cluster it does not depend on other features."""
        reduced = replace(rows, x=rows.x[:, np.flatnonzero(present)], u=rows.u[:, :0])
        return reduced, {item.name: parameters[item.name] for item in self.parameters}

    def errors(self, parameters: Parameters, rows: Rows, share: np.ndarray) -> np.ndarray:
        """It has no locations."""
        del rows, share
        return np.zeros((len(parameters.weight), 0, 0))

    def to_users(self, parameters: Parameters, scaling: Scaled) -> dict[str, np.ndarray]:
        """The same: such features are not scaled."""
        del scaling
        return {item.name: parameters[item.name] for item in self.parameters}

    def to_model(self, parameters: Parameters, scaling: Scaled) -> dict[str, np.ndarray]:
        """The same."""
        return self.to_users(parameters, scaling)
