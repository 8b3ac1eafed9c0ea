"""The parameters of a joint mixture whose tables are drawn, checked."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np

from jointmix.base.arguments import shown
from jointmix.base.errors import SpecError
from jointmix.families import has_levels, most_levels, numeric_families
from jointmix.families.parameters import Parameters
from jointmix.families.specified import Discrete
from jointmix.model.discrete import made
from jointmix.model.spec import ModelSpec


@dataclass(frozen=True, eq=False)
class Truth:
    """The parameters of a joint mixture, and the names of its columns.

    Parameters
    ----------
    weight
        (K,), positive, summing to one.
    mean
        (K, D), of the numeric features.
    covariance
        (K, D, D), symmetric and positive definite; of Student-t features their scale matrices.
    intercept
        (K,).
    slope
        (K, R), of the predictors.
    sigma
        (K,), scale of the response around its line, its standard deviation if it is normal; 0
        for none. None for families that have no σ, such as counts.
    features
        D column names; or a mapping of names to families, as in `ModelSpec`, of which D are
        "normal" or D "student_t".
    predictors
        R column names, of numeric features or of columns that are no features.
    response
        Name of the response.
    family, link
        Of the response, as in `ModelSpec`.
    shape
        What else the families have, each (K,) and positive: ``{"df": [3.0, 3.0]}`` of a Student-t
        response, "feature_df" of Student-t features.
    offset, trials
        Column names, as in `ModelSpec`, of what is added to the line and of how many trials a row
        had; None for none.
    discrete
        What features have that are not Gaussian, by the names of the model's parameters:
        ``probability_NAME`` (K, L), rows summing to one, of one of L levels; ``rate_NAME`` (K,) of
        counts, and ``size_NAME`` (K,) of those that are negative binomial.
    levels
        Labels of the L levels, two or more, of each feature that has them, by column.

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
    features: Sequence[str] | Mapping[str, str]
    predictors: Sequence[str]
    response: str
    family: str = "normal"
    shape: Mapping[str, np.ndarray] = field(default_factory=dict)
    link: str | None = None
    offset: str | None = None
    trials: str | None = None
    discrete: Mapping[str, np.ndarray] = field(default_factory=dict)
    levels: Mapping[str, Sequence[str]] = field(default_factory=dict)

    @cached_property
    def spec(self) -> ModelSpec:
        """The model of which these are parameters."""
        return ModelSpec(
            n_clusters=np.size(self.weight),
            features=self.features if isinstance(self.features, Mapping) else tuple(self.features),
            types=self._types or None,
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
            **self.discrete,
        )

    @cached_property
    def _types(self) -> tuple[Discrete, ...]:
        """The features that are not Gaussian."""
        if not isinstance(self.features, Mapping):
            return ()
        numeric = numeric_families()
        families = {name: own for name, own in self.features.items() if own not in numeric}
        known = {(name, own): tuple(self.levels.get(name, ())) for name, own in families.items()}
        return made(families, known)

    def __post_init__(self) -> None:
        self._check_levels()
        for role in ("features", "predictors"):
            value = getattr(self, role)
            named = _names(role, list(value) if isinstance(value, Mapping) else value)
            if not isinstance(value, Mapping):
                object.__setattr__(self, role, named)
        if not isinstance(self.response, str):
            raise SpecError(f"response must be one column name; got {shown(self.response)}.")
        self._check_names()
        k, d, r = np.size(self.weight), len(self.spec.features), len(self.predictors)
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
        self._check_sigma(k)
        self._check_shape(k)
        self._check_discrete()

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
        """What the families have besides μ, Σ, b, θ and σ, and nothing else."""
        beside = {own.column for own in self.spec.discrete}
        blocks = [block for block in self.spec.blocks if beside.isdisjoint(block.columns)]
        every = (item for block in blocks for item in block.parameters)
        wanted = [item.name for item in every if item.role == "shape"]
        if not isinstance(self.shape, Mapping) or sorted(self.shape) != sorted(wanted):
            raise SpecError(
                f"shape must hold {' and '.join(wanted) or 'nothing'} for the family "
                f"{self.family!r}{self._of_features}; got {shown(self.shape)}."
            )
        found = {name: _array(name, value, (k,)) for name, value in self.shape.items()}
        for name, value in found.items():
            if (value <= 0).any():
                raise SpecError(f"{name} must be > 0; got {value.tolist()}.")
        object.__setattr__(self, "shape", found)

    @property
    def _of_features(self) -> str:
        family = self.spec.feature_family
        return "" if family == numeric_families()[0] else f" and features of the family {family!r}"

    def _check_levels(self) -> None:
        """Levels of the features that have them, and of no other."""
        if not isinstance(self.levels, Mapping):
            raise SpecError(f"levels must map columns to labels; got {shown(self.levels)}.")
        families = self.features if isinstance(self.features, Mapping) else {}
        wanted = [name for name, family in families.items() if has_levels(family)]
        if sorted(self.levels) != sorted(wanted):
            raise SpecError(
                f"levels must hold the labels of {', '.join(wanted) or 'no column'}, the features "
                f"that have levels; got {shown(self.levels)}."
            )
        found = {name: _names(f"The levels of {name!r}", own) for name, own in self.levels.items()}
        for name, own in found.items():
            most = most_levels(families[name]) or len(own)
            if not 2 <= len(own) <= most or len(set(own)) < len(own):
                raise SpecError(
                    f"The levels of {name!r} must be different texts, two or more and of a "
                    f"bernoulli feature two; got {shown(list(own))}."
                )
        object.__setattr__(self, "levels", found)

    def _check_discrete(self) -> None:
        """What features have that are not Gaussian, and nothing else."""
        spec, columns = self.spec, {own.column for own in self.spec.discrete}
        blocks = [block for block in spec.blocks if columns.issuperset(block.columns)]
        wanted = {item.name: item.role for block in blocks for item in block.parameters}
        if not isinstance(self.discrete, Mapping) or sorted(self.discrete) != sorted(wanted):
            raise SpecError(
                f"discrete must hold {', '.join(wanted) or 'nothing'} for these features; got "
                f"{shown(self.discrete)}."
            )
        shapes = spec.shapes
        found = {name: _array(name, own, shapes[name]) for name, own in self.discrete.items()}
        for name, value in found.items():
            if wanted[name] == "probability":
                if (value < 0).any() or (abs(value.sum(axis=1) - 1) > 1e-9).any():
                    raise SpecError(
                        f"{name} must be at least 0 and sum to 1 in each cluster; got "
                        f"{value.tolist()}."
                    )
            elif (value <= 0).any():
                raise SpecError(f"{name} must be > 0; got {value.tolist()}.")
        object.__setattr__(self, "discrete", found)

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
        families = self.features if isinstance(self.features, Mapping) else {}
        for name in self.predictors:
            if name in families and families[name] not in numeric_families():
                raise SpecError(
                    f"The predictor {name!r} is a feature of the family {families[name]!r}; "
                    "predictors are numeric features or columns that are no features."
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
