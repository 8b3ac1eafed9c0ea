"""Tables drawn from a joint mixture whose parameters are known."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from itertools import islice, product

import numpy as np
import pandas as pd

from jointmix.base.arguments import random_source, shown, whole_number
from jointmix.base.errors import DataError, SpecError
from jointmix.families.parameters import Parameters
from jointmix.model.demands import require_possible
from jointmix.model.rows import by_role
from jointmix.model.spec import ModelSpec
from jointmix.tables.columns import read_columns

ORIGINAL_SLOPES = ((1.0, 4.0), (3.0, 2.0), (4.0, 1.0), (-3.0, -2.0))
SLOPE_SEED = 20240501
LARGEST_TABLE = 10**8  # rows
LARGEST_EXAMPLE = 1_000  # clusters, and features
#: Of rows whose trials are not given.
_MOST_TRIALS = 20
#: Of the examples whose response has a link: the largest line at a cluster's mean, and shapes.
_LARGEST_LINE, _SHAPE = 1.5, 4.0


@dataclass(frozen=True, eq=False)
class Truth:
    """The parameters of a joint mixture, and the names of its columns.

    Parameters
    ----------
    weight
        (K,), positive, summing to one.
    mean
        (K, D), of the features.
    covariance
        (K, D, D), symmetric and positive definite.
    intercept
        (K,).
    slope
        (K, R), of the predictors.
    sigma
        (K,), scale of the response around its line, its standard deviation if it is normal; 0
        for none. None for families that have no σ, such as counts.
    features, predictors
        D and R column names.
    response
        Name of the response.
    family, link
        Of the response, as in `ModelSpec`.
    shape
        What else the family has, each (K,) and positive: ``{"df": [3.0, 3.0]}`` of a Student-t.
    offset, trials
        Column names, as in `ModelSpec`, of what is added to the line and of how many trials a row
        had; None for none.

    Raises
    ------
    SpecError
        If shapes or names contradict each other, or a value is outside its range.

    Examples
    --------
    >>> truth = jm.four_clusters()
    >>> truth.mean.shape, truth.features
    ((4, 2), ('x1', 'x2'))
    """

    weight: np.ndarray
    mean: np.ndarray
    covariance: np.ndarray
    intercept: np.ndarray
    slope: np.ndarray
    sigma: np.ndarray | None
    features: Sequence[str]
    predictors: Sequence[str]
    response: str
    family: str = "normal"
    shape: Mapping[str, np.ndarray] = field(default_factory=dict)
    link: str | None = None
    offset: str | None = None
    trials: str | None = None

    @cached_property
    def spec(self) -> ModelSpec:
        """The model of which these are parameters."""
        return ModelSpec(
            n_clusters=np.size(self.weight),
            features=tuple(self.features),
            predictors=tuple(self.predictors),
            response=self.response,
            family=self.family,
            link=self.link,
            offset=self.offset,
            trials=self.trials,
        )

    @property
    def parameters(self) -> Parameters:
        """As densities take them, (K, ...)."""
        return Parameters(
            weight=self.weight,
            mean=self.mean,
            cholesky=np.linalg.cholesky(self.covariance),
            intercept=self.intercept,
            slope=self.slope,
            **({} if self.sigma is None else {"sigma": self.sigma}),
            **self.shape,
        )

    def __post_init__(self) -> None:
        for role in ("features", "predictors"):
            object.__setattr__(self, role, _names(role, getattr(self, role)))
        if not isinstance(self.response, str):
            raise SpecError(f"response must be one column name; got {shown(self.response)}.")
        k, d, r = np.size(self.weight), len(self.features), len(self.predictors)
        shapes = {
            "weight": (k,),
            "mean": (k, d),
            "covariance": (k, d, d),
            "intercept": (k,),
            "slope": (k, r),
        }
        for name, shape in shapes.items():
            object.__setattr__(self, name, _array(name, getattr(self, name), shape))
        self._check_values()
        self._check_names()
        self._check_sigma(k)
        self._check_shape(k)

    def _check_values(self) -> None:
        if (self.weight <= 0).any() or abs(self.weight.sum() - 1) > 1e-9:
            raise SpecError(f"weight must be > 0 and sum to 1; got {self.weight.tolist()}.")
        turned = np.swapaxes(self.covariance, -1, -2)
        if not np.allclose(self.covariance, turned, rtol=1e-12, atol=0) or (
            (np.linalg.eigvalsh(self.covariance) <= 0).any()
        ):
            raise SpecError("covariance must be symmetric and positive definite.")

    def _check_sigma(self, k: int) -> None:
        if "sigma" not in self.spec.parameters:
            if self.sigma is not None:
                raise SpecError(
                    f"sigma must be None for the family {self.family!r}, which has none; got "
                    f"{shown(self.sigma)}."
                )
            return
        found = _array("sigma", self.sigma, (k,))
        if (found < 0).any():
            raise SpecError(f"sigma must be at least 0; got {found.tolist()}.")
        object.__setattr__(self, "sigma", found)

    def _check_shape(self, k: int) -> None:
        """What the family has besides b, θ and σ, and nothing else."""
        wanted = [item.name for item in self.spec.blocks[-1].parameters if item.role == "shape"]
        if not isinstance(self.shape, Mapping) or sorted(self.shape) != sorted(wanted):
            raise SpecError(
                f"shape must hold {' and '.join(wanted) or 'nothing'} for the family "
                f"{self.family!r}; got {shown(self.shape)}."
            )
        found = {name: _array(name, value, (k,)) for name, value in self.shape.items()}
        for name, value in found.items():
            if (value <= 0).any():
                raise SpecError(f"{name} must be > 0; got {value.tolist()}.")
        object.__setattr__(self, "shape", found)

    def _check_names(self) -> None:
        both = {*self.features, *self.predictors, self.offset, self.trials}
        if len(set(self.features)) < len(self.features) or len(set(self.predictors)) < len(
            self.predictors
        ):
            raise SpecError("features and predictors must each name a column only once.")
        if self.response in both or "cluster" in (*both, self.response):
            raise SpecError(
                "The response must differ from the other columns, and no column may be called "
                "'cluster'."
            )


def _names(role: str, value: object) -> tuple[str, ...]:
    names = tuple(value) if isinstance(value, list | tuple) else (None,)
    if not all(isinstance(name, str) for name in names):
        raise SpecError(f"{role} must be a list of column names; got {shown(value)}.")
    return names


def _array(name: str, value: object, shape: tuple[int, ...]) -> np.ndarray:
    """A read-only float copy of the given shape."""
    try:
        array = np.array(value, dtype=float)
    except (TypeError, ValueError) as error:
        raise SpecError(f"{name} must hold numbers; got {shown(value)}.") from error
    if array.shape != shape or not np.isfinite(array).all():
        raise SpecError(
            f"{name} must hold finite numbers in the shape {shape}; got the shape {array.shape}."
        )
    array.flags.writeable = False
    return array


def simulate(
    truth: Truth, n: int, seed: int | np.random.Generator, given: object = None
) -> pd.DataFrame:
    """Draw ``n`` independent rows.

        z ~ Categorical(π),  x ~ N(μ_z, Σ_z),  y ~ N(b_z + u'θ_z, σ_z²) or another family's

    Predictors that are no features, and an offset, are standard normal, and trials 1 to 20, each
    as often, unless they are given.

    Parameters
    ----------
    truth
        The parameters.
    n
        Number of rows, at least 1.
    seed
        A seed, or the generator to draw from.
    given
        A table of n rows that holds some of the predictors that are no features, the offset or the
        trials; its other columns are not read.

    Returns
    -------
    pandas.DataFrame
        (n, ·): features, further predictors, offset, trials, response, and ``cluster``, the
        allocation z from 0; counts as whole numbers.

    Raises
    ------
    SpecError
        If ``truth`` is no `Truth`, ``n`` lies outside 1 to 10⁸, or the seed is none.
    DataError
        If ``given`` is no table, has another number of rows, or holds what cannot be.

    Examples
    --------
    >>> import jointmix as jm
    >>> truth = jm.four_clusters(family="poisson", offset="log_hours")
    >>> table = jm.simulate(truth, 100, seed=1, given={"log_hours": [0.5] * 100})
    >>> table.columns.tolist()
    ['x1', 'x2', 'log_hours', 'y', 'cluster']
    """
    if not isinstance(truth, Truth):
        raise SpecError(f"truth must be a Truth; got {shown(truth)}.")
    n = whole_number("The number of rows", n, 1, LARGEST_TABLE)
    rng = random_source(seed)
    cluster = rng.choice(len(truth.weight), size=n, p=truth.weight)
    spec = truth.spec
    values = pd.DataFrame(0.0, index=range(n), columns=list(spec.columns))
    outside = [name for name in (*spec.predictors, *spec.given) if name not in spec.features]
    known = _given(given, outside, n, spec)
    for block in spec.blocks:
        if block.of_response:
            for name in outside:
                if name in known:
                    values[name] = known[name]
                elif name == spec.trials:
                    values[name] = rng.integers(1, _MOST_TRIALS + 1, n).astype(float)
                else:
                    values[name] = rng.standard_normal(n)
        rows = by_role(values.to_numpy(), spec)
        values[list(block.columns)] = block.draw(truth.parameters, rows, cluster, rng).reshape(
            n, len(block.columns)
        )
    whole = [name for name in (spec.trials, spec.response) if name is not None]
    if spec.blocks[-1].whole:
        values = values.astype(dict.fromkeys(whole, np.int64))
    return values.assign(cluster=cluster)


def _given(given: object, outside: Sequence[str], n: int, spec: ModelSpec) -> dict[str, np.ndarray]:
    """The columns of a table that are not drawn, (n,) each."""
    if given is None or not outside:
        return {}
    known = read_columns(given, (), outside)
    for name, column in known.items():
        if len(column) != n:
            raise DataError(f"given must have {n} rows; column {name!r} has {len(column)}.")
        if not np.isfinite(column).all():
            raise DataError(f"Column {name!r} of given must hold finite numbers.")
    rest = {name: np.ones(n) for name in spec.given if name not in known}
    require_possible({**rest, **known}, spec)
    return known


def four_clusters(
    n_clusters: int = 4,
    n_features: int = 2,
    family: str = "normal",
    link: str | None = None,
    offset: str | None = None,
    trials: str | None = None,
) -> Truth:
    """The four-cluster example, and its like for any number of clusters and features.

    Means are the corners (±1, …, ±1) in the order of `itertools.product`; when they are used
    up, those of the cubes (±3, …, ±3), (±5, …, ±5) and so on. Neighbours are at least 2 apart,
    6.3 times the standard deviation √0.1. Weights are equal, intercepts 0, covariances 0.1·I
    and sigma 0.5. Slopes are those of the example for K = 4 and D = 2, otherwise a fixed
    sequence of N(0, 3²) draws rounded to one decimal. Of a response with a link they are divided
    by one number, so that the largest line at a cluster's mean is 1.5 from 0. Degrees of freedom,
    sizes and shapes are 4.

    Parameters
    ----------
    n_clusters
        K, at least 1.
    n_features
        D, at least 1; the features x1, …, xD are the predictors too.
    family, link, offset, trials
        Of the response, and names of its columns, as in `ModelSpec`.

    Returns
    -------
    Truth
        With the response y.

    Raises
    ------
    SpecError
        If a number lies outside 1 to 1,000, or the family, link, offset and trials do not go
        together.

    Examples
    --------
    >>> jm.four_clusters(3, 2).slope.shape
    (3, 2)
    """
    k = whole_number("n_clusters", n_clusters, 1, LARGEST_EXAMPLE)
    d = whole_number("n_features", n_features, 1, LARGEST_EXAMPLE)
    names = tuple(f"x{i + 1}" for i in range(d))
    slope: np.ndarray = np.array(ORIGINAL_SLOPES)
    if slope.shape != (k, d):
        slope = np.random.default_rng(SLOPE_SEED).normal(scale=3.0, size=(k, d)).round(1)
    mean = _corners(k, d)
    own = ModelSpec(
        n_clusters=k, features=names, predictors=names, response="y", family=family, link=link,
        offset=offset, trials=trials,
    )  # fmt: skip
    if own.linked:
        slope = slope * (_LARGEST_LINE / np.abs((slope * mean).sum(axis=1)).max())
    shapes = [item.name for item in own.blocks[-1].parameters if item.role == "shape"]
    return Truth(
        weight=np.full(k, 1 / k),
        mean=mean,
        covariance=np.tile(0.1 * np.eye(d), (k, 1, 1)),
        intercept=np.zeros(k),
        slope=slope,
        sigma=np.full(k, 0.5) if "sigma" in own.parameters else None,
        features=names,
        predictors=names,
        response="y",
        family=family,
        shape={name: np.full(k, _SHAPE) for name in shapes},
        link=link,
        offset=offset,
        trials=trials,
    )


def _corners(k: int, d: int) -> np.ndarray:
    """(K, D): the corners of nested cubes, the innermost first."""
    shells = (1.0 + 2.0 * shell for shell in range(k))
    corners = (
        corner for size in shells for corner in product((size, -size), repeat=d)
    )  # Generated one by one: a cube has 2^D corners.
    return np.array(list(islice(corners, k)))
