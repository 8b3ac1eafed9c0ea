"""Tables drawn from a joint mixture whose parameters are known."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from itertools import islice, product

import numpy as np
import pandas as pd

from jointmix.base.arguments import random_source, shown, whole_number
from jointmix.base.errors import SpecError
from jointmix.families.parameters import Parameters
from jointmix.model.rows import by_role
from jointmix.model.spec import ModelSpec

ORIGINAL_SLOPES = ((1.0, 4.0), (3.0, 2.0), (4.0, 1.0), (-3.0, -2.0))
SLOPE_SEED = 20240501
LARGEST_TABLE = 10**8  # rows
LARGEST_EXAMPLE = 1_000  # clusters, and features


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
        for none.
    features, predictors
        D and R column names; predictors that are no features are standard normal.
    response
        Name of the response.
    family
        Of the response, as in `ModelSpec`.
    shape
        What else the family has, each (K,) and positive: ``{"df": [3.0, 3.0]}`` of a Student-t.

    Raises
    ------
    SpecError
        If shapes or names contradict each other, or a value is outside its range.
    """

    weight: np.ndarray
    mean: np.ndarray
    covariance: np.ndarray
    intercept: np.ndarray
    slope: np.ndarray
    sigma: np.ndarray
    features: Sequence[str]
    predictors: Sequence[str]
    response: str
    family: str = "normal"
    shape: Mapping[str, np.ndarray] = field(default_factory=dict)

    @cached_property
    def spec(self) -> ModelSpec:
        """The model of which these are parameters."""
        return ModelSpec(
            n_clusters=np.size(self.weight),
            features=tuple(self.features),
            predictors=tuple(self.predictors),
            response=self.response,
            family=self.family,
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
            sigma=self.sigma,
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
            "sigma": (k,),
        }
        for name, shape in shapes.items():
            object.__setattr__(self, name, _array(name, getattr(self, name), shape))
        self._check_values()
        self._check_names()
        self._check_shape(k)

    def _check_values(self) -> None:
        if (self.weight <= 0).any() or abs(self.weight.sum() - 1) > 1e-9:
            raise SpecError(f"weight must be > 0 and sum to 1; got {self.weight.tolist()}.")
        if (self.sigma < 0).any():
            raise SpecError(f"sigma must be at least 0; got {self.sigma.tolist()}.")
        turned = np.swapaxes(self.covariance, -1, -2)
        if not np.allclose(self.covariance, turned, rtol=1e-12, atol=0) or (
            (np.linalg.eigvalsh(self.covariance) <= 0).any()
        ):
            raise SpecError("covariance must be symmetric and positive definite.")

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
        both = {*self.features, *self.predictors}
        if len(set(self.features)) < len(self.features) or len(set(self.predictors)) < len(
            self.predictors
        ):
            raise SpecError("features and predictors must each name a column only once.")
        if self.response in both or "cluster" in (*both, self.response):
            raise SpecError(
                "The response must differ from features and predictors, and no column may be "
                "called 'cluster'."
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


def simulate(truth: Truth, n: int, seed: int | np.random.Generator) -> pd.DataFrame:
    """Draw ``n`` independent rows.

        z ~ Categorical(π),  x ~ N(μ_z, Σ_z),  y ~ N(b_z + u'θ_z, σ_z²) or another family's

    Parameters
    ----------
    truth
        The parameters.
    n
        Number of rows, at least 1.
    seed
        A seed, or the generator to draw from.

    Returns
    -------
    pandas.DataFrame
        (n, ·): features, further predictors, response, and ``cluster``, the allocation z from 0.

    Raises
    ------
    SpecError
        If ``truth`` is no `Truth`, ``n`` lies outside 1 to 10⁸, or the seed is none.
    """
    if not isinstance(truth, Truth):
        raise SpecError(f"truth must be a Truth; got {shown(truth)}.")
    n = whole_number("The number of rows", n, 1, LARGEST_TABLE)
    rng = random_source(seed)
    cluster = rng.choice(len(truth.weight), size=n, p=truth.weight)
    values = pd.DataFrame(0.0, index=range(n), columns=list(truth.spec.columns))
    for block in truth.spec.blocks:
        if block.of_response:
            for name in truth.predictors:
                if name not in truth.features:
                    values[name] = rng.standard_normal(n)
        rows = by_role(values.to_numpy(), truth.spec)
        values[list(block.columns)] = block.draw(truth.parameters, rows, cluster, rng).reshape(
            n, len(block.columns)
        )
    return values.assign(cluster=cluster)


def four_clusters(n_clusters: int = 4, n_features: int = 2) -> Truth:
    """The four-cluster example, and its like for any number of clusters and features.

    Means are the corners (±1, …, ±1) in the order of `itertools.product`; when they are used
    up, those of the cubes (±3, …, ±3), (±5, …, ±5) and so on. Neighbours are at least 2 apart,
    6.3 times the standard deviation √0.1. Weights are equal, intercepts 0, covariances 0.1·I
    and sigma 0.5. Slopes are those of the example for K = 4 and D = 2, otherwise a fixed
    sequence of N(0, 3²) draws rounded to one decimal.

    Parameters
    ----------
    n_clusters
        K, at least 1.
    n_features
        D, at least 1; the features x1, …, xD are the predictors too.

    Returns
    -------
    Truth
        With the response y.

    Raises
    ------
    SpecError
        If a number lies outside 1 to 1,000.
    """
    k = whole_number("n_clusters", n_clusters, 1, LARGEST_EXAMPLE)
    d = whole_number("n_features", n_features, 1, LARGEST_EXAMPLE)
    names = tuple(f"x{i + 1}" for i in range(d))
    slope: np.ndarray = np.array(ORIGINAL_SLOPES)
    if slope.shape != (k, d):
        slope = np.random.default_rng(SLOPE_SEED).normal(scale=3.0, size=(k, d)).round(1)
    return Truth(
        weight=np.full(k, 1 / k),
        mean=_corners(k, d),
        covariance=np.tile(0.1 * np.eye(d), (k, 1, 1)),
        intercept=np.zeros(k),
        slope=slope,
        sigma=np.full(k, 0.5),
        features=names,
        predictors=names,
        response="y",
    )


def _corners(k: int, d: int) -> np.ndarray:
    """(K, D): the corners of nested cubes, the innermost first."""
    shells = (1.0 + 2.0 * shell for shell in range(k))
    corners = (
        corner for size in shells for corner in product((size, -size), repeat=d)
    )  # Generated one by one: a cube has 2^D corners.
    return np.array(list(islice(corners, k)))
