"""What a block reads of a model and of a table: no more than these names."""

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from jointmix.families.priors.priors import Priors


@dataclass(frozen=True)
class Discrete:
    """A feature beside the numeric ones, of which it is independent inside a cluster.

    Attributes
    ----------
    column, family
        Its name in the table, and what it is distributed as.
    stem
        Its name as it enters names of parameters.
    levels
        Labels of its codes, in their order; none where a table has yet to say.
    """

    column: str
    family: str
    stem: str
    levels: tuple[str, ...] = ()

    @property
    def dim(self) -> str:
        """The dim of its levels."""
        return f"level_{self.stem}"


class Specified(Protocol):
    """What a block reads of a model's specification."""

    @property
    def n_clusters(self) -> int: ...
    @property
    def features(self) -> Collection[str]: ...
    @property
    def discrete(self) -> Sequence[Discrete]: ...
    @property
    def predictors(self) -> Sequence[str]: ...
    @property
    def response(self) -> str | None: ...
    @property
    def offset(self) -> str | None: ...
    @property
    def trials(self) -> str | None: ...
    @property
    def link(self) -> str | None: ...
    @property
    def columns(self) -> tuple[str, ...]: ...
    @property
    def family(self) -> str: ...
    @property
    def feature_family(self) -> str: ...
    @property
    def covariance(self) -> str: ...
    @property
    def tails(self) -> str: ...
    @property
    def noise(self) -> str: ...
    @property
    def intercept(self) -> bool: ...
    @property
    def standardize(self) -> bool: ...
    @property
    def priors(self) -> Priors: ...
    @property
    def free_intercept(self) -> bool: ...
    def fixed_covariance(self) -> np.ndarray: ...


class Scaled(Protocol):
    """Centres and scales of a model's columns by role, and of the response's line."""

    @property
    def feature(self) -> tuple[np.ndarray, np.ndarray]: ...
    @property
    def predictor(self) -> tuple[np.ndarray, np.ndarray]: ...
    @property
    def response(self) -> tuple[float, float]: ...
    @property
    def line(self) -> tuple[float, float]: ...


class Table(Protocol):
    """Columns by name, (obs, name), on the users' scale."""

    def select(self, names: Iterable[str]) -> np.ndarray: ...
