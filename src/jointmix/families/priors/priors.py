"""Prior families and the priors of a model, frozen and checked at construction.

Free parameters have priors on the modelling scale (standardised columns, unless
``standardize=False``); ``Fixed`` values are known constants on the users' scale.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field, fields
from typing import Any, ClassVar

import numpy as np

from jointmix.base.arguments import shown
from jointmix.base.errors import SpecError

Nested = float | tuple["Nested", ...]


def _positive(owner: object, **values: float) -> None:
    for name, value in values.items():
        ok = isinstance(value, int | float) and not isinstance(value, bool)
        if not ok or not 0 < value < float("inf"):
            raise SpecError(
                f"{type(owner).__name__} needs {name} > 0 and finite, got {name}={shown(value)}."
            )


def _finite(owner: object, **values: float) -> None:
    for name, value in values.items():
        ok = isinstance(value, int | float) and not isinstance(value, bool)
        if not ok or not abs(value) < float("inf"):
            raise SpecError(
                f"{type(owner).__name__} needs a finite {name}, got {name}={shown(value)}."
            )


@dataclass(frozen=True, kw_only=True)
class Normal:
    """Normal prior with mean ``loc`` and standard deviation ``scale``.

    Examples
    --------
    >>> jm.Priors(slope=jm.Normal(scale=1.0)).slope
    Normal(loc=0.0, scale=1.0)
    """

    family: ClassVar[str] = "normal"
    loc: float = 0.0
    scale: float = 2.5

    def __post_init__(self) -> None:
        _finite(self, loc=self.loc)
        _positive(self, scale=self.scale)


@dataclass(frozen=True, kw_only=True)
class StudentT:
    """Student-t prior with ``df`` degrees of freedom, centre ``loc`` and ``scale``.

    Examples
    --------
    >>> jm.Priors(slope=jm.StudentT(df=3.0)).slope
    StudentT(df=3.0, loc=0.0, scale=2.5)
    """

    family: ClassVar[str] = "student_t"
    df: float = 4.0
    loc: float = 0.0
    scale: float = 2.5

    def __post_init__(self) -> None:
        _finite(self, loc=self.loc)
        _positive(self, df=self.df, scale=self.scale)


@dataclass(frozen=True, kw_only=True)
class InverseGamma:
    """Inverse-gamma prior on the variance: density ∝ v^(−shape−1) exp(−scale/v).

    Examples
    --------
    >>> jm.Priors().sd == jm.InverseGamma()
    True
    """

    family: ClassVar[str] = "inverse_gamma"
    shape: float = 1.0
    scale: float = 0.05

    def __post_init__(self) -> None:
        _positive(self, shape=self.shape, scale=self.scale)


@dataclass(frozen=True, kw_only=True)
class HalfNormal:
    """Half-normal prior on the standard deviation.

    Examples
    --------
    >>> jm.Priors(sigma=jm.HalfNormal(scale=0.5)).sigma.scale
    0.5
    """

    family: ClassVar[str] = "half_normal"
    scale: float = 1.0

    def __post_init__(self) -> None:
        _positive(self, scale=self.scale)


@dataclass(frozen=True, kw_only=True)
class HalfStudentT:
    """Half-t prior on the standard deviation (``df=1`` is the half-Cauchy).

    Examples
    --------
    >>> jm.Priors(sd=jm.HalfStudentT(df=1.0)).sd
    HalfStudentT(df=1.0, scale=1.0)
    """

    family: ClassVar[str] = "half_student_t"
    df: float = 4.0
    scale: float = 1.0

    def __post_init__(self) -> None:
        _positive(self, df=self.df, scale=self.scale)


@dataclass(frozen=True, kw_only=True)
class LogNormal:
    """Log-normal prior on the standard deviation: log sd ~ N(loc, scale²).

    Examples
    --------
    >>> jm.Priors(sd=jm.LogNormal(scale=0.5)).sd
    LogNormal(loc=-1.0, scale=0.5)
    """

    family: ClassVar[str] = "log_normal"
    loc: float = -1.0
    scale: float = 1.0

    def __post_init__(self) -> None:
        _finite(self, loc=self.loc)
        _positive(self, scale=self.scale)


@dataclass(frozen=True, kw_only=True)
class Gamma:
    """Gamma prior with ``shape`` and ``rate``: of a scale, degrees of freedom, a size, a shape.

    Examples
    --------
    >>> jm.Priors(df=jm.Gamma(shape=2.0, rate=0.1)).df.rate
    0.1
    """

    family: ClassVar[str] = "gamma"
    shape: float = 2.0
    rate: float = 4.0

    def __post_init__(self) -> None:
        _positive(self, shape=self.shape, rate=self.rate)


@dataclass(frozen=True, kw_only=True)
class LKJ:
    """LKJ prior on correlation matrices: density ∝ det(R)^(eta−1).

    Examples
    --------
    >>> jm.Priors(correlation=jm.LKJ(eta=2.0)).correlation.eta
    2.0
    """

    family: ClassVar[str] = "lkj"
    eta: float = 1.0

    def __post_init__(self) -> None:
        _positive(self, eta=self.eta)


@dataclass(frozen=True, kw_only=True)
class Dirichlet:
    """Symmetric Dirichlet prior on weights or probabilities: the ``concentration`` of each.

    Examples
    --------
    >>> jm.Priors(weight=jm.Dirichlet(concentration=0.5)).weight.concentration
    0.5
    """

    family: ClassVar[str] = "dirichlet"
    concentration: float = 2.0

    def __post_init__(self) -> None:
        _positive(self, concentration=self.concentration)


def _freeze(value: Any) -> Nested:
    array = np.asarray(value)
    if array.dtype.kind not in "fiu" or array.size == 0 or not np.isfinite(array).all():
        raise SpecError(f"Fixed needs finite numbers in a rectangular array, got {shown(value)}.")
    nested = array.astype(float).tolist()

    def deep(part: Any) -> Nested:
        return tuple(deep(item) for item in part) if isinstance(part, list) else float(part)

    return deep(nested)


@dataclass(frozen=True, kw_only=True)
class Fixed:
    """A value that is known, on the users' scale: a number or a nested list of numbers.

    Examples
    --------
    >>> jm.Priors(sigma=jm.Fixed(value=0.5)).sigma.array.item()
    0.5
    """

    family: ClassVar[str] = "fixed"
    value: Nested | Sequence[Any]

    def __post_init__(self) -> None:
        try:
            object.__setattr__(self, "value", _freeze(self.value))
        except ValueError as error:
            if isinstance(error, SpecError):
                raise
            raise SpecError(f"Fixed needs a rectangular array, got {shown(self.value)}.") from error

    @property
    def array(self) -> np.ndarray:
        """The value as a float array, of the shape it was given in."""
        return np.asarray(self.value, dtype=float)


LocationPrior = Normal | StudentT | Fixed
ScalePrior = InverseGamma | HalfNormal | HalfStudentT | LogNormal | Gamma
AnyPrior = LocationPrior | ScalePrior | LKJ | Dirichlet

_LOCATION = (Normal, StudentT, Fixed)
_SCALE = (InverseGamma, HalfNormal, HalfStudentT, LogNormal, Gamma)

#: Families by the name they have in a specification file.
FAMILIES: dict[str, type[AnyPrior]] = {
    kind.family: kind for kind in (*_LOCATION, *_SCALE, LKJ, Dirichlet)
}

_ALLOWED: dict[str, tuple[type, ...]] = {
    "weight": (Dirichlet, Fixed),
    "mean": _LOCATION,
    "sd": _SCALE,
    "correlation": (LKJ,),
    "covariance": (Fixed, type(None)),
    "intercept": _LOCATION,
    "slope": _LOCATION,
    "sigma": (*_SCALE, Fixed),
    "df": (Gamma, Fixed),
    "feature_df": (Gamma, Fixed),
    "size": (Gamma, Fixed),
    "shape": (Gamma, Fixed),
    "probability": (Dirichlet,),
    "rate": (Gamma, LogNormal),
}


@dataclass(frozen=True, kw_only=True)
class Priors:
    """The prior of each parameter.

    The defaults are weakly informative on standardised columns. The inverse-gamma default of
    ``sd`` puts 90% of a within-cluster standard deviation between 0.13 and 0.99 of the column's
    own, that of ``sigma`` between 0.06 and 0.44, and both vanish at zero, so that tied rows
    cannot pull a variance there.

    Parameters
    ----------
    weight
        Dirichlet, or Fixed weights that sum to one.
    mean, intercept, slope
        Normal, StudentT or Fixed. The intercept's is that of the response where every predictor is
        0: of standardised columns, at the average of every predictor. Of a response with a link
        (bernoulli, binomial: logit or probit; others: log), of its line there, less the link of
        the mean of all rows; slopes then are per standard deviation of a predictor, on the link's
        scale.
    sd, sigma
        A scale family; ``sigma`` may be Fixed (with ``noise="fixed"``).
    correlation
        LKJ.
    df
        Of a Student-t response: Gamma (by default that of Juárez and Steel 2010,
        doi:10.1198/jbes.2009.07145), or Fixed.
    feature_df
        The same of Student-t features.
    size
        Of a negative binomial response or feature, variance m + m²/size: Gamma (by default 90% of
        it lies between 1, an sd of counts as large as their mean, and 60, from which counts below
        ten can hardly be told from Poisson's), or Fixed.
    shape
        Of a gamma response, variance m²/shape, or an inverse Gaussian one, variance m³/shape:
        Gamma, or Fixed. It stands for 1 over the squared coefficient of variation in a cluster,
        of which the default says what that of ``sigma`` says of σ²: 90% between 0.06 and 0.44. An
        inverse Gaussian's has the response's unit, and its prior is of shape over the mean of all
        rows (with ``standardize=False``: of shape itself), so that no unit changes the fit.
    probability
        Of the levels of a categorical or bernoulli feature in a cluster: Dirichlet, by default
        uniform over all probabilities. It says as much as ``concentration`` rows of each level.
    rate
        Of a feature of counts in a cluster, expected counts themselves, as counts have no unit:
        LogNormal, by default 90% between 0.1 and 73, or Gamma.
    covariance
        Fixed (with ``covariance="fixed"``): a variance, D variances, a D × D matrix,
        or K of those matrices.

    Raises
    ------
    SpecError
        If a parameter's family is not one of those.

    Examples
    --------
    >>> priors = jm.Priors(slope=jm.Normal(scale=1.0), sigma=jm.HalfNormal())
    >>> jm.ModelSpec(n_clusters=2, predictors=["u"], response="y", priors=priors).priors.sigma
    HalfNormal(scale=1.0)
    """

    weight: Dirichlet | Fixed = field(default_factory=Dirichlet)
    mean: LocationPrior = field(default_factory=Normal)
    sd: ScalePrior = field(default_factory=InverseGamma)
    correlation: LKJ = field(default_factory=LKJ)
    covariance: Fixed | None = None
    intercept: LocationPrior = field(default_factory=Normal)
    slope: LocationPrior = field(default_factory=Normal)
    sigma: ScalePrior | Fixed = field(default_factory=lambda: InverseGamma(scale=0.01))
    df: Gamma | Fixed = field(default_factory=lambda: Gamma(shape=2.0, rate=0.1))
    feature_df: Gamma | Fixed = field(default_factory=lambda: Gamma(shape=2.0, rate=0.1))
    size: Gamma | Fixed = field(default_factory=lambda: Gamma(shape=1.0, rate=0.05))
    shape: Gamma | Fixed = field(default_factory=lambda: Gamma(shape=1.0, rate=0.01))
    probability: Dirichlet = field(default_factory=lambda: Dirichlet(concentration=1.0))
    rate: Gamma | LogNormal = field(default_factory=lambda: LogNormal(loc=1.0, scale=2.0))

    def __post_init__(self) -> None:
        for item in fields(self):
            value, allowed = getattr(self, item.name), _ALLOWED[item.name]
            if not isinstance(value, allowed):
                names = ", ".join(kind.__name__ for kind in allowed if kind is not type(None))
                raise SpecError(
                    f"The prior of {item.name} must be one of {names}; got {shown(value)}."
                )
