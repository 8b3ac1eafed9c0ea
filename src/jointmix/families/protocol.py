"""What a family is: a block's parameters and duties, and every count of parameters.

A block is the density of some columns given others inside a cluster. log p(row | k) is the sum of
a model's blocks, log π_k comes from the membership, and whatever needs a density, a count, a name
or a scale asks them. To add a family, derive a class from `Block` (a response about a line b + u'θ:
from `jointmix.families.regression.Regression`; one whose mean is a function of a line: from
`jointmix.families.linked.Linked`), and name it in the door,
`jointmix.families`, or register it from elsewhere with `jointmix.families.register`.
"""

from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from types import MappingProxyType
from typing import Any, ClassVar, Literal, Protocol, runtime_checkable

import numpy as np

from jointmix.families.checks import Checks
from jointmix.families.moments import Imputed, Moments, Outside
from jointmix.families.parameters import Parameters
from jointmix.families.priors.priors import AnyPrior, Fixed
from jointmix.families.rows import Rows
from jointmix.families.specified import Scaled, Specified
from jointmix.families.steps import Scores, Step
from jointmix.families.straight import Straightened

Role = Literal["weight", "location", "scale", "correlation", "shape", "probability"]


@dataclass(frozen=True, kw_only=True)
class Parameter:
    """One parameter of a block, as people, trees, samplers and reports know it.

    Attributes
    ----------
    name, symbol
        In code (and in trees, where it has the dim cluster in front), and on paper.
    dims
        Besides cluster.
    role
        "location", on the real line, one entry a label; "scale", positive, in the columns' units;
        "shape", positive, without unit unless it is `measured`; "correlation"; "weight";
        "probability", of levels, which sum to one.
    prior
        What it has, or a `Fixed` value.
    free
        Shape of the free values behind it: (K, ...) one a cluster, (1, ...) one for all, () none.
    site
        Stem of the name under which a sampler knows the free values.
    labels
        Of a location: the column of each entry, None for an entry that has none.
    meaning
        What it is, in a few words.
    measured
        Of a shape: whether it has the columns' unit.
    stated
        The field of `Priors` that its prior stands in, where that is not its name.
    """

    name: str
    symbol: str
    dims: tuple[str, ...] = ()
    role: Role
    prior: AnyPrior | None
    free: tuple[int, ...]
    site: str = ""
    labels: tuple[str | None, ...] = ()
    meaning: str
    measured: bool = False
    stated: str = ""

    @property
    def n_free(self) -> int:
        """Number of free values, over all clusters."""
        return int(np.prod(self.free)) if self.free else 0

    @property
    def shared(self) -> bool:
        """Whether one value, free or fixed, holds for all clusters."""
        if self.free:
            return self.free[0] == 1
        return not isinstance(self.prior, Fixed) or self.prior.array.ndim <= len(self.dims)

    def n_own(self, n_clusters: int) -> int:
        """Number of free values that are one cluster's own."""
        own = len(self.free) > 0 and self.free[0] == n_clusters and self.role != "weight"
        return int(np.prod(self.free[1:])) if own else 0


class Block(ABC):
    """The density of some columns given others, inside a cluster; see the module."""

    #: What the family is called in a specification.
    family: ClassVar[str]
    #: Whether it is the density of the response; else of features.
    of_response: ClassVar[bool]
    #: In a sentence: "a Gaussian density of the features".
    words: ClassVar[str]
    #: Fields of `Priors` that it reads and not every response does, besides those of its bases.
    own_priors: ClassVar[tuple[str, ...]] = ()
    #: Of a response: whether its mean is a function of its line, the inverse of its link. The
    #: response then stays on its own scale, and its line is centred in its place.
    linked: ClassVar[bool] = False
    #: Links that it may have, the usual one first; empty where there is no choice.
    links: ClassVar[tuple[str, ...]] = ()
    #: Of a response: whether it may have several peaks.
    may_peak: ClassVar[bool] = True
    #: Of a response: whether it is a whole number; whether it is positive.
    whole: ClassVar[bool] = False
    positive: ClassVar[bool] = False
    #: Of a response: whether it is how many of a column of trials succeeded.
    counts_successes: ClassVar[bool] = False
    #: Whether `scores` are expectations given the rest where entries are missing.
    scores_gaps: ClassVar[bool] = False
    #: What can go wrong with it.
    checked: ClassVar[type[Checks]] = Checks

    def __init__(self, spec: Specified, place: int = 0) -> None:
        self.spec: Specified = spec
        #: Of a discrete feature: which of them it is.
        self.place = place

    @cached_property
    def columns(self) -> tuple[str, ...]:
        """The columns of which it is the density."""
        if self.of_response:
            return (str(self.spec.response),)
        return tuple(self.spec.features)

    @cached_property
    def checks(self) -> Checks:
        """What a table, a mode and draws are looked at for."""
        return self.checked(self.spec, self.columns)

    @property
    def ratio(self) -> str:
        """Of a response: what exponentials of differences of its line are called; "" if nothing."""
        return ""

    @property
    def integrates_predictors(self) -> bool:
        """Of a response: whether there is a closed form without predictors that are features."""
        return False

    @property
    @abstractmethod
    def parameters(self) -> tuple[Parameter, ...]:
        """All parameters, in the order in which trees, tables and samplers have them."""

    #: Which parameters straight coordinates change; others are nearly Gaussian as they are sampled.
    straight: ClassVar[tuple[Straightened, ...]] = ()

    @abstractmethod
    def log_density(self, parameters: Parameters, rows: Rows) -> np.ndarray:
        """Log density of the block's columns, (..., obs, component), natural log."""

    @abstractmethod
    def draw(
        self, parameters: Parameters, rows: Rows, cluster: np.ndarray, rng: np.random.Generator
    ) -> np.ndarray:
        """The block's columns drawn for rows of known clusters.

        Parameters
        ----------
        parameters
            Without batch dims.
        rows
            Of which what the block is given is read.
        cluster
            Of each row, from 0, (obs,).

        Returns
        -------
        numpy.ndarray
            (obs, column) of features, (obs,) of a response.
        """

    @abstractmethod
    def maximise(self, step: Step) -> dict[str, np.ndarray]:
        """The M-step: arrays (start, cluster, ...) of the block's parameters."""

    @abstractmethod
    def scores(self, parameters: Parameters, rows: Rows, share: np.ndarray) -> Scores:
        """Scores at parameters without batch dims, weighted by ``share`` (obs, cluster)."""

    @abstractmethod
    def errors(self, parameters: Parameters, rows: Rows, share: np.ndarray) -> np.ndarray:
        """Sampling covariance of the free locations given who belongs where.

        (cluster, location, location), at parameters without batch dims, rows with responsibilities
        times weights ``share`` (obs, cluster), in the parameters' own units.
        """

    @abstractmethod
    def to_users(self, parameters: Parameters, scaling: Scaled) -> dict[str, np.ndarray]:
        """The block's arrays of scaled columns as arrays on the users' scale."""

    @abstractmethod
    def to_model(self, parameters: Parameters, scaling: Scaled) -> dict[str, np.ndarray]:
        """The inverse of `to_users`."""

    def known(self, scaling: Scaled) -> dict[str, np.ndarray]:
        """Values on the scaled columns of what is fixed, (cluster, ...)."""
        del scaling
        return {}

    def follows(self, scaling: Scaled) -> dict[str, tuple[str, np.ndarray]]:
        """Fixed parameters that move with others: name → (other, coefficients (entry,)).

        On scaled columns the parameter is its `known` value plus the other's inner product with
        the coefficients.
        """
        del scaling
        return {}

    def spread(self, parameters: Parameters) -> np.ndarray | None:
        """Smallest standard deviation, (..., component); None where nothing can collapse."""
        del parameters
        return None

    def moments(self, before: Moments, parameters: Parameters, outside: Outside) -> Moments:
        """The moments of earlier blocks' columns with the block's own, where it has such."""
        del parameters, outside
        return before

    def marginal(
        self, rows: Rows, parameters: Parameters, present: np.ndarray
    ) -> tuple[Rows, dict[str, np.ndarray]] | None:
        """What is left of the block without the features that are not ``present`` (feature,).

        Returns
        -------
        rows, arrays
            The rows by role, predictors being the features present and then the predictors that
            are no features; the block's arrays there, none if nothing of it is left. None where
            there is no closed form.
        """
        del rows, parameters, present
        return None

    def impute(self, before: Imputed, parameters: Parameters, present: np.ndarray) -> Imputed:
        """What earlier blocks say of the features that are not ``present``, with its own."""
        del parameters, present
        return before

    def stretch(
        self, parameters: Parameters, rows: Rows, cluster: np.ndarray, rng: np.random.Generator
    ) -> np.ndarray | float:
        """Of numeric features: what missing entries' normal deviations are multiplied by, drawn.

        Parameters
        ----------
        parameters, rows
            Draws (draw,), and rows that all have the same entries.
        cluster
            Of each row in each draw, (draw, obs).

        Returns
        -------
        numpy.ndarray or float
            (draw, obs); 1 where what is missing is Gaussian given the rest.
        """
        del parameters, rows, cluster, rng
        return 1.0

    def region(self, probability: float, parameters: Parameters) -> np.ndarray:
        """How many scales from its centre an ellipse of two numeric features holds so much.

        (cluster,), at parameters without batch dims: as of a Gaussian where nothing else is said.
        """
        return np.full(len(parameters.weight), np.sqrt(-2 * np.log1p(-probability)))

    def squares(self, parameters: Parameters) -> tuple[np.ndarray, np.ndarray] | None:
        """A and c with log density c − ½|A w|² of rows w = (1, scaled columns); None of others.

        A is (..., component, form, 1 + column), c (..., component).
        """
        del parameters
        return None

    def reduction(self, present: np.ndarray) -> tuple[float, ...] | None:
        """What its compiled `reduce` is told where features are missing; None for as it is.

        Its rows are then those of `marginal`.
        """
        del present
        return None

    def level(
        self, y: np.ndarray, offset: np.ndarray, weight: np.ndarray, trials: np.ndarray | None
    ) -> float:
        """Where a linked response's line lies over rows (obs,) that count ``weight`` times."""
        del y, offset, weight, trials
        return 0.0

    def common_offset(self, offset: np.ndarray, weight: np.ndarray) -> float:
        """Of a linked response: that of one row that stands for all (obs,) where `level` is."""
        return float(np.average(offset, weights=weight))

    def unit(self, y: np.ndarray, weight: np.ndarray) -> float:
        """Of a linked response (obs,): what it is divided by in the model."""
        del y, weight
        return 1.0

    def working(self, rows: Rows) -> np.ndarray:
        """The columns (obs, …) in which rows differ, of a response or a discrete feature."""
        return rows.y

    def compiled_rows(self, rows: Rows) -> np.ndarray:
        """The columns that its compiled functions are given, (column, obs)."""
        return np.vstack([rows.u.T, rows.y]) if self.of_response else rows.x.T

    def compiled(self, parameters: Parameters) -> dict[str, np.ndarray]:
        """The block's arrays under the names that its compiled functions give them."""
        return {parameter.name: parameters[parameter.name] for parameter in self.parameters}

    #: Of compiled functions: what they call values that have other names among the parameters.
    aliases: Mapping[str, str] = MappingProxyType({})

    @property
    def compiled_size(self) -> int:
        """What its compiled functions are told in place of their number of columns; 0 for that."""
        return 0

    @property
    def compiled_parts(self) -> tuple[tuple[str, int], ...]:
        """Names and numbers of its compiled values, where its functions do not say them."""
        return ()

    def options(self, parameters: Parameters) -> tuple[float, ...]:
        """What its compiled functions are told besides their number of columns."""
        del parameters
        return ()

    def packed(self, variables: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        """A tree's variables as the arrays that densities take."""
        return {parameter.name: variables[parameter.name] for parameter in self.parameters}

    def variables(self, parameters: Parameters) -> dict[str, np.ndarray]:
        """The inverse of `packed`."""
        return {parameter.name: parameters[parameter.name] for parameter in self.parameters}


class Compiled(Protocol):
    """What the kernel reads of a block, or of several that it takes at once; see `Block`."""

    @property
    def family(self) -> str: ...
    @property
    def of_response(self) -> bool: ...
    @property
    def spec(self) -> Specified: ...
    @property
    def aliases(self) -> Mapping[str, str]: ...
    @property
    def compiled_size(self) -> int: ...
    @property
    def compiled_parts(self) -> tuple[tuple[str, int], ...]: ...
    def options(self, parameters: Parameters) -> tuple[float, ...]: ...
    def compiled(self, parameters: Parameters) -> dict[str, np.ndarray]: ...
    def compiled_rows(self, rows: Rows) -> np.ndarray: ...
    def reduction(self, present: np.ndarray) -> tuple[float, ...] | None: ...
    def marginal(
        self, rows: Rows, parameters: Parameters, present: np.ndarray
    ) -> tuple[Rows, dict[str, np.ndarray]] | None: ...


@runtime_checkable
class Predicted(Protocol):
    """A block of a response that can be predicted: its distribution in each component."""

    def mean(self, parameters: Parameters, rows: Rows) -> np.ndarray:
        """E[y | x, k], (..., obs, component)."""
        ...

    def variance(self, parameters: Parameters, rows: Rows) -> np.ndarray:
        """Var(y | x, k), broadcastable to (..., obs, component); infinite where there is none."""
        ...

    def squared_scale(self, parameters: Parameters) -> np.ndarray:
        """What stands for a variance where there is none, (..., component)."""
        ...


def count_parameters(parameters: Iterable[Parameter]) -> int:
    """Number of free values of a model."""
    return sum(parameter.n_free for parameter in parameters)


def own_parameters(parameters: Iterable[Parameter], n_clusters: int) -> int:
    """Number of free values that one cluster's rows alone determine, its weight left out."""
    return sum(parameter.n_own(n_clusters) for parameter in parameters)


def freed(prior: Any, *shape: int) -> tuple[int, ...]:
    """The shape of a parameter's free values: none where it is fixed."""
    return () if isinstance(prior, Fixed) or 0 in shape else shape
