"""What is to be fitted: frozen specifications of the model and of the sampler."""

import re
from collections.abc import Iterable
from dataclasses import dataclass, field

import numpy as np

from jointmix.arguments import shown, whole_number
from jointmix.errors import SpecError
from jointmix.priors import Fixed, Priors

COVARIANCES = ("full", "diagonal", "spherical", "tied", "fixed")
NOISES = ("cluster", "shared", "fixed")
#: Samplers, and the backends that each can run on.
SAMPLERS = {
    "nutpie": ("kernel", "numba", "jax"),
    "numpyro": ("jax",),
    "blackjax": ("jax",),
    "pymc": ("numba",),
    "laplace": ("kernel",),
    "pathfinder": ("jax",),
}
JAX_SAMPLERS = tuple(name for name, backends in SAMPLERS.items() if backends == ("jax",))
APPROXIMATIONS = ("laplace", "pathfinder")
#: Largest k̂ at which importance weights are reliable (Vehtari et al. 2024, JMLR 25(72)).
LARGEST_PARETO_SHAPE = 0.7
#: Candidates that an approximation weighs for each draw that is kept.
CANDIDATES = 4
BACKENDS = ("auto", "kernel", "numba", "jax")
CHAIN_METHODS = ("vectorized", "parallel")
MISSING = ("error", "drop")
ADAPTATIONS = ("auto", "laplace", "low_rank", "diag")

#: Constant parts that make the clusters distinguishable when they differ between clusters,
#: and the number of dims a value has when it is the same for all clusters.
_SHARED_DIMS = {"weight": 0, "mean": 1, "intercept": 0, "slope": 1, "sigma": 0, "covariance": 2}


def _choice(name: str, value: object, allowed: Iterable[str]) -> None:
    if not isinstance(value, str) or value not in tuple(allowed):
        raise SpecError(f"{name} must be one of {', '.join(allowed)}; got {shown(value)}.")


@dataclass(frozen=True, kw_only=True)
class SamplerSpec:
    """How to sample.

    Parameters
    ----------
    draws, tune, chains
        Kept draws and adaptation steps of each chain, and the number of chains.
    sampler
        "nutpie", "numpyro" (through ``pymc.sampling.jax``), "blackjax" or "pymc"; or a quick
        approximation, "laplace" (at the mode) or "pathfinder", marked as such in the result.
    backend
        "kernel" (the package's own compiled density), "numba" or "jax" (the PyMC model, compiled
        by PyTensor), or "auto": chosen by cost; the choice stands in the result.
    adaptation
        Of the metric: "low_rank" (dense with NumPyro and BlackJAX), "diag", or "laplace", with
        the kernel: values are first whitened by the curvature at the mode. "auto" takes the last
        where it can.
    chain_method
        How NumPyro runs chains, "vectorized" or "parallel".
    target_accept
        Target acceptance rate of the step-size adaptation, in (0, 1).
    starts
        Number of EM starts from which the chains' mode is chosen.
    scouts
        Number of further EM optima from each of which two chains are sent, to see where they end.
    cores
        Chains sampled at a time; None uses what the machine has.

    Raises
    ------
    SpecError
        If a count is too small or a name unknown.
    """

    draws: int = 1000
    tune: int = 1000
    chains: int = 4
    sampler: str = "nutpie"
    backend: str = "auto"
    adaptation: str = "auto"
    chain_method: str = "vectorized"
    target_accept: float = 0.8
    starts: int = 20
    scouts: int = 0
    cores: int | None = None

    def __post_init__(self) -> None:
        for name, least in (("draws", 4), ("tune", 1), ("chains", 1), ("starts", 1), ("scouts", 0)):
            object.__setattr__(self, name, whole_number(name, getattr(self, name), least))
        if self.cores is not None:
            object.__setattr__(self, "cores", whole_number("cores", self.cores, 1))
        _choice("sampler", self.sampler, SAMPLERS)
        _choice("backend", self.backend, BACKENDS)
        _choice("adaptation", self.adaptation, ADAPTATIONS)
        _choice("chain_method", self.chain_method, CHAIN_METHODS)
        if self.adaptation == "laplace" and (
            self.sampler != "nutpie" or self.backend not in ("auto", "kernel")
        ):
            raise SpecError(
                "adaptation='laplace' needs the sampler 'nutpie' on the kernel; got "
                f"sampler={shown(self.sampler)} and backend={shown(self.backend)}."
            )
        if self.backend not in ("auto", *SAMPLERS[self.sampler]):
            raise SpecError(
                f"The sampler {shown(self.sampler)} runs on {' or '.join(SAMPLERS[self.sampler])}; "
                f"got backend={shown(self.backend)}."
            )
        rate = self.target_accept
        if isinstance(rate, bool) or not isinstance(rate, int | float) or not 0 < rate < 1:
            raise SpecError(f"target_accept must lie in (0, 1); got {shown(self.target_accept)}.")


def _is_name(value: object) -> bool:
    """Whether ``value`` can name a column in every file format: text, not empty, no NUL."""
    if not isinstance(value, str) or not value or "\0" in value:
        return False
    return not any("\ud800" <= sign <= "\udfff" for sign in value)


def _names(role: str, value: object) -> tuple[str, ...]:
    if value is None:
        return ()
    if isinstance(value, str) or not isinstance(value, Iterable):
        raise SpecError(f"{role} must be a list of column names; got {shown(value)}.")
    names = tuple(value)
    for name in names:
        if not _is_name(name):
            raise SpecError(f"{role} must hold column names as text; got {shown(name)}.")
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise SpecError(f"{role} names the column {shown(twice[0])} more than once.")
    return names


@dataclass(frozen=True, kw_only=True)
class ModelSpec:
    """A joint mixture of features x and a response y regressed on predictors u.

        p(x, y) = Σ_k π_k N(x | μ_k, Σ_k) N(y | b_k + u'θ_k, σ_k²)

    Parameters
    ----------
    n_clusters
        K, at least 1; K = 1 is a plain regression with Gaussian features.
    features
        Columns x that cluster; empty for a plain mixture of regressions.
    predictors
        Columns u that explain the response inside a cluster; may overlap the features.
    response
        Column y; None for a plain Gaussian mixture.
    covariance
        Of the features: "full", "diagonal", "spherical", "tied" (one full matrix for all
        clusters) or "fixed" (``priors.covariance`` holds it).
    noise
        σ: one per "cluster", one "shared", or "fixed" (``priors.sigma`` holds it).
    intercept
        False fixes b = 0 on the users' scale.
    standardize
        Centre and scale the columns inside; priors are then on that scale.
    ordering
        "auto": along the direction that separates the EM mode best; "none"; or a variable:
        "weight", "intercept", "sigma", "mean[column]", "sd[column]", "slope[column]".
    missing
        Rows with missing entries: "error" refuses them, "drop" leaves them out and says so.
    priors, sampler
        See `Priors` and `SamplerSpec`.

    Raises
    ------
    SpecError
        If a part is unknown or two parts contradict each other.
    """

    n_clusters: int
    features: tuple[str, ...] | list[str] = ()
    predictors: tuple[str, ...] | list[str] = ()
    response: str | None = None
    covariance: str = "full"
    noise: str = "cluster"
    intercept: bool = True
    standardize: bool = True
    ordering: str = "auto"
    missing: str = "error"
    priors: Priors = field(default_factory=Priors)
    sampler: SamplerSpec = field(default_factory=SamplerSpec)

    def __post_init__(self) -> None:
        object.__setattr__(self, "n_clusters", whole_number("n_clusters", self.n_clusters, 1))
        object.__setattr__(self, "features", _names("features", self.features))
        object.__setattr__(self, "predictors", _names("predictors", self.predictors))
        _choice("covariance", self.covariance, COVARIANCES)
        _choice("noise", self.noise, NOISES)
        _choice("missing", self.missing, MISSING)
        for name in ("intercept", "standardize"):
            if not isinstance(getattr(self, name), bool):
                raise SpecError(f"{name} must be true or false; got {shown(getattr(self, name))}.")
        if not isinstance(self.priors, Priors):
            raise SpecError(f"priors must be a Priors object; got {shown(self.priors)}.")
        if not isinstance(self.sampler, SamplerSpec):
            raise SpecError(f"sampler must be a SamplerSpec object; got {shown(self.sampler)}.")
        self._check_roles()
        self._check_fixed()
        self._check_ordering()

    def _check_roles(self) -> None:
        response = self.response
        if response is not None and not _is_name(response):
            raise SpecError(f"response must be one column name; got {shown(response)}.")
        if response is None and not self.features:
            raise SpecError("A model needs features, a response, or both; got neither.")
        if response is None and self.predictors:
            raise SpecError("Predictors need a response; got response=None.")
        if response in (*self.features, *self.predictors):
            raise SpecError(
                f"The response {shown(response)} cannot also be a feature or predictor."
            )
        if response is not None and not self.intercept and not self.predictors:
            raise SpecError("A response needs predictors or an intercept; got neither.")

    def _check_fixed(self) -> None:
        priors, n, d = self.priors, self.n_clusters, len(self.features)
        for name, mode in (("covariance", self.covariance), ("sigma", self.noise)):
            field_name = "noise" if name == "sigma" else name
            given = isinstance(getattr(priors, name), Fixed)
            if given != (mode == "fixed"):
                raise SpecError(
                    f"{field_name}='fixed' and a Fixed prior of {name} go together; got "
                    f"{field_name}={shown(mode)} and the prior {shown(getattr(priors, name))}."
                )
        if not self.intercept and isinstance(priors.intercept, Fixed):
            raise SpecError("intercept=False already fixes the intercept; leave out its prior.")
        shapes: dict[str, list[tuple[int, ...]]] = {
            "weight": [(n,)],
            "mean": [(), (d,), (n, d)],
            "covariance": [(), (d,), (d, d), (n, d, d)],
            "intercept": [(), (n,)],
            "slope": [(), (len(self.predictors),), (n, len(self.predictors))],
            "sigma": [(), (n,)],
        }
        for name, allowed in shapes.items():
            prior = getattr(priors, name)
            if isinstance(prior, Fixed) and prior.array.shape not in allowed:
                raise SpecError(
                    f"The fixed {name} must have one of the shapes {allowed}; "
                    f"got {prior.array.shape}."
                )
        if isinstance(priors.weight, Fixed):
            weight = priors.weight.array
            if (weight <= 0).any() or abs(weight.sum() - 1) > 1e-9:
                raise SpecError(f"Fixed weights must be > 0 and sum to 1; got {weight.tolist()}.")
        if isinstance(priors.sigma, Fixed) and (priors.sigma.array <= 0).any():
            raise SpecError(f"The fixed sigma must be > 0; got {priors.sigma.array.tolist()}.")
        if priors.covariance is not None:
            matrices = self.fixed_covariance()
            if not np.allclose(matrices, np.swapaxes(matrices, -1, -2), rtol=0, atol=1e-12) or (
                np.linalg.eigvalsh(matrices).min() <= 0
            ):
                raise SpecError("The fixed covariance must be symmetric and positive definite.")

    def _check_ordering(self) -> None:
        if not isinstance(self.ordering, str):
            raise SpecError(
                f"ordering must be auto, none or a variable, as text; got {shown(self.ordering)}."
            )
        if self.ordering in ("auto", "none"):
            return
        name, column = self.ordering_variable()
        columns = {"mean": self.features, "sd": self.features, "slope": self.predictors}
        scalar = {"weight": True, "intercept": self.response is not None and self.intercept,
                  "sigma": self.response is not None}  # fmt: skip
        known = column in columns[name] if name in columns else column is None and scalar.get(name)
        if not known:
            raise SpecError(
                "ordering must be auto, none, weight, intercept, sigma, mean[column], sd[column] "
                f"or slope[column], of a column the model has; got {shown(self.ordering)}."
            )
        if not self.exchangeable:
            raise SpecError("Clusters told apart by fixed values have no ordering; use 'none'.")

    def ordering_variable(self) -> tuple[str, str | None]:
        """The parameter and the column that ``ordering`` names."""
        match = re.fullmatch(r"(\w+)(?:\[(.*)\])?", str(self.ordering), flags=re.DOTALL)
        return (match[1], match[2]) if match else (str(self.ordering), None)

    def fixed_covariance(self) -> np.ndarray:
        """The fixed covariance, (cluster, feature, feature_bis), on the users' scale."""
        if self.priors.covariance is None:
            raise SpecError("The model has no fixed covariance.")
        value, d = self.priors.covariance.array, len(self.features)
        if value.ndim <= 1:
            value = np.diag(np.broadcast_to(value, (d,)))
        return np.broadcast_to(value, (self.n_clusters, d, d)).copy()

    @property
    def free_intercept(self) -> bool:
        """Whether b is a parameter, neither absent nor known."""
        known = isinstance(self.priors.intercept, Fixed)
        return self.response is not None and self.intercept and not known

    @property
    def exchangeable(self) -> bool:
        """Whether permuting the clusters leaves the prior as it is."""
        if self.n_clusters == 1:
            return True
        for name, shared in _SHARED_DIMS.items():
            prior = getattr(self.priors, name)
            if not isinstance(prior, Fixed) or prior.array.ndim <= shared:
                continue
            if np.ptp(prior.array, axis=0).max() > 0:
                return False
        return True

    @property
    def columns(self) -> tuple[str, ...]:
        """All columns used, once each: features, further predictors, response."""
        extra = tuple(name for name in self.predictors if name not in self.features)
        return (*self.features, *extra, *((self.response,) if self.response else ()))


def require_spec(spec: object) -> ModelSpec:
    """Return ``spec`` if it is a specification.

    Raises
    ------
    SpecError
        If it is something else.
    """
    if not isinstance(spec, ModelSpec):
        raise SpecError(f"spec must be a ModelSpec; got {type(spec).__name__}.")
    return spec
