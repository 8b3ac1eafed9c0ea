"""What is to be fitted: frozen specifications of the model and of the sampler."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property

import numpy as np

from jointmix.base.arguments import choice, column_names, shown, whole_number
from jointmix.base.errors import SpecError
from jointmix.base.schema import FEATURE, FEATURE_BIS, PREDICTOR
from jointmix.families import (
    NORMAL,
    blocks_of,
    foreign_priors,
    has_levels,
    numeric_families,
    response_families,
)
from jointmix.families.membership.block import Weights
from jointmix.families.priors.priors import Fixed, Priors
from jointmix.families.protocol import (
    Block,
    Parameter,
    Predicted,
    count_parameters,
    own_parameters,
)
from jointmix.families.specified import Discrete
from jointmix.model.choices import check_families
from jointmix.model.discrete import numeric_family, typed_features
from jointmix.model.fixed import check_fixed
from jointmix.model.roles import check_roles, roles_of
from jointmix.model.settings import SamplerSpec
from jointmix.tables.design import Encoding

COVARIANCES = ("full", "diagonal", "spherical", "tied", "fixed")
NOISES = ("cluster", "shared", "fixed")
TAILS = ("cluster", "shared")
MISSING = ("error", "drop", "model")

#: Constant parts that make the clusters distinguishable when they differ between clusters,
#: and the number of dims a value has when it is the same for all clusters.
_SHARED_DIMS = {
    **{"weight": 0, "mean": 1, "covariance": 2},
    **{"intercept": 0, "slope": 1, "sigma": 0},
    **{"df": 0, "feature_df": 0, "size": 0, "shape": 0},
}


@dataclass(frozen=True, kw_only=True)
class ModelSpec:
    """A joint mixture of features x and a response y regressed on predictors u.

        p(x, y) = Σ_k π_k N(x | μ_k, Σ_k) N(y | b_k + u'θ_k, σ_k²)

    Parameters
    ----------
    n_clusters
        K, at least 1; K = 1 is a plain regression with Gaussian features.
    features
        Columns x that cluster; empty for a plain mixture of regressions. A list takes their
        families from the table: numbers are Gaussian together, words, categories and truth values
        "categorical". A mapping names them, {column: family}: all numbers "normal", or all
        "student_t", which rows far from their cluster neither move nor widen (`feature_family`);
        "categorical", "bernoulli" (of two levels), "poisson" (counts) or "negative_binomial"
        (counts spread more, variance m + m²/size): independent of the others
        inside a cluster.
        The attribute then holds the numbers, and `discrete` the others.
    predictors
        Columns u that explain the response inside a cluster; may overlap the features.
    response
        Column y; None for a plain Gaussian mixture.
    offset
        Column that is added to the line of a response that has a link, the log of an exposure;
        it is not scaled, and new rows need it too.
    trials
        Column of how many trials each row had, of which a binomial response is the successes;
        new rows need it too.
    row_weights
        Column that says how often each row counts in the likelihood, ≥ 0; rows of weight 0 do not
        enter. Whole numbers are frequencies, exactly as if rows were repeated; others make a
        pseudo-posterior, as wide as the sum of the weights says. New rows do not need it.
    feature_family
        Of the numeric features together: "normal", or "student_t", a multivariate t with the scale
        matrix Σ_k and the degrees of freedom ``feature_df``. A mapping of features says it too.
    tails
        ``feature_df``: one per "cluster", or one "shared".
    covariance
        Of the features: "full", "diagonal", "spherical", "tied" (one full matrix for all
        clusters) or "fixed" (``priors.covariance`` holds it).
    noise
        σ: one per "cluster", one "shared", or "fixed" (``priors.sigma`` holds it).
    family
        Of the response: "normal" or "student_t", about the same line b + u'θ; σ is then the scale
        of the t distribution and ``df`` its degrees of freedom, one a cluster. "poisson": counts
        whose expectation m is exp(b + u'θ + offset), without σ. "negative_binomial": the same
        with the variance m + m²/size, one ``size`` a cluster. "bernoulli": 0 or 1, 1 with
        probability g⁻¹(b + u'θ + offset), without σ. "binomial": so many of ``trials``, each with
        that probability. "gamma" and "inverse_gaussian": positive numbers with the mean
        m = exp(b + u'θ + offset) and, in place of σ, a ``shape`` in each cluster: their variance
        is m²/shape, and m³/shape.
    link
        g of a bernoulli or binomial response, "logit" (None is that too) or "probit".
    intercept
        False fixes b = 0 on the users' scale.
    standardize
        Centre and scale the columns inside; priors are then on that scale. A response with a link
        stays as it is, and the intercept's prior is of the line at the average of every predictor,
        less where all rows together have it: with a log link, the log of all responses over all
        exposure. An inverse Gaussian response is divided by the mean of all rows.
    ordering
        "auto": along the direction that separates the EM mode best; "none"; or a variable:
        "weight", "intercept", "sigma", "mean[column]", "sd[column]", "slope[column]".
    formula
        Response, predictors, offset and intercept in one, such as "mass ~ bill * sex + offset(t)",
        in place of those; see `jointmix.tables.formulas.parse_formula`.
    encoding
        How predictors are made of columns, which a table gives: leave it out.
    types
        Of features that are not Gaussian, with their levels, which a table gives: leave it out.
    missing
        Rows with missing entries: "error" refuses them, "drop" leaves them out and says so,
        "model" integrates over them, exactly, as they are missing at random: features, which
        may be predictors of a normal response too, and the response; over the levels of factors
        that are features too it sums, whatever the response's family. Other entries may not be
        missing; rows without any are left out.
    priors, sampler
        See `Priors` and `SamplerSpec`.

    Raises
    ------
    SpecError
        If a part is unknown or two parts contradict each other.

    Examples
    --------
    >>> jm.ModelSpec(n_clusters=2, formula="y ~ u * v", features=["u"]).response
    'y'
    """

    n_clusters: int
    features: tuple[str, ...] | list[str] | Mapping[str, str] = ()
    predictors: tuple[str, ...] | list[str] = ()
    response: str | None = None
    offset: str | None = None
    trials: str | None = None
    row_weights: str | None = None
    covariance: str = "full"
    noise: str = "cluster"
    family: str = "normal"
    feature_family: str = NORMAL
    tails: str = "cluster"
    link: str | None = None
    intercept: bool = True
    standardize: bool = True
    ordering: str = "auto"
    missing: str = "error"
    formula: str | None = None
    encoding: Encoding | None = None
    types: tuple[Discrete, ...] | None = None
    priors: Priors = field(default_factory=Priors)
    sampler: SamplerSpec = field(default_factory=SamplerSpec)

    def __post_init__(self) -> None:
        object.__setattr__(self, "n_clusters", whole_number("n_clusters", self.n_clusters, 1))
        choice("feature_family", self.feature_family, numeric_families())
        family = numeric_family(self.features, self.feature_family)
        object.__setattr__(self, "feature_family", family)
        features, types = typed_features(self.features, self.types)
        object.__setattr__(self, "features", features)
        object.__setattr__(self, "types", types)
        object.__setattr__(self, "predictors", column_names("predictors", self.predictors))
        for name, value in roles_of(self).items():
            object.__setattr__(self, name, value)
        choice("covariance", self.covariance, COVARIANCES)
        choice("noise", self.noise, NOISES)
        choice("tails", self.tails, TAILS)
        choice("family", self.family, response_families())
        choice("missing", self.missing, MISSING)
        for name in ("intercept", "standardize"):
            if not isinstance(getattr(self, name), bool):
                raise SpecError(f"{name} must be true or false; got {shown(getattr(self, name))}.")
        if not isinstance(self.priors, Priors):
            raise SpecError(f"priors must be a Priors object; got {shown(self.priors)}.")
        if not isinstance(self.sampler, SamplerSpec):
            raise SpecError(f"sampler must be a SamplerSpec object; got {shown(self.sampler)}.")
        check_roles(self)
        check_families(self)
        check_fixed(self, self.pending)
        self._check_ordering()

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
                  "sigma": "sigma" in self.parameters}  # fmt: skip
        if name == "slope" and self.pending:
            return
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

    @cached_property
    def blocks(self) -> tuple[Block, ...]:
        """The densities that make up log p(row | k): of the features, of the response."""
        return blocks_of(self, self.family)

    @property
    def predicted(self) -> Predicted:
        """The block of the response.

        Raises
        ------
        SpecError
            If there is no response.
        """
        if self.response is None:
            raise SpecError("This model has no response to predict.")
        block = self.blocks[-1]
        assert isinstance(block, Predicted)
        return block

    @cached_property
    def membership(self) -> Weights:
        """Who belongs where before the columns are seen."""
        return Weights(self)

    @cached_property
    def parameters(self) -> dict[str, Parameter]:
        """All parameters by name: the weights, then those of each block."""
        found = [*self.membership.parameters]
        for block in self.blocks:
            found += block.parameters
        return {parameter.name: parameter for parameter in found}

    @property
    def discrete(self) -> tuple[Discrete, ...]:
        """Features that are not Gaussian."""
        return self.types or ()

    @property
    def clustering(self) -> tuple[str, ...]:
        """All features, the Gaussian ones first."""
        return (*self.features, *(own.column for own in self.discrete))

    @property
    def entries(self) -> dict[str, tuple[str, ...]]:
        """What the entries of the parameters' dims are called, by dim."""
        features, predictors = tuple(self.features), tuple(self.predictors)
        found = {FEATURE: features, FEATURE_BIS: features, PREDICTOR: predictors}
        return found | {own.dim: own.levels for own in self.discrete if own.levels}

    @property
    def shapes(self) -> dict[str, tuple[int, ...]]:
        """Shapes of the parameters, (cluster, ...), by name, in their order."""
        entries = self.entries
        return {
            name: (self.n_clusters, *(len(entries[dim]) for dim in parameter.dims))
            for name, parameter in self.parameters.items()
        }

    @property
    def n_parameters(self) -> int:
        """Number of free parameters."""
        return count_parameters(self.parameters.values())

    @property
    def n_own_parameters(self) -> int:
        """Number of free parameters that one cluster's rows alone determine."""
        return own_parameters(self.parameters.values(), self.n_clusters)

    @property
    def foreign_priors(self) -> tuple[str, ...]:
        """Priors that only other families read."""
        return foreign_priors(self.family, self._families)

    @property
    def _families(self) -> tuple[str, ...]:
        return (self.feature_family, *(own.family for own in self.discrete))

    @property
    def free_intercept(self) -> bool:
        """Whether b is a parameter, neither absent nor known."""
        known = isinstance(self.priors.intercept, Fixed)
        return self.response is not None and self.intercept and not known

    @cached_property
    def linked(self) -> bool:
        """Whether the response's mean is a function of its line, the inverse of its link."""
        return self.response is not None and self.blocks[-1].linked

    @property
    def given(self) -> tuple[str, ...]:
        """Columns that a response is given besides its predictors: offset and trials, if any."""
        return tuple(name for name in (self.offset, self.trials) if name is not None)

    @property
    def pending(self) -> bool:
        """Whether a table has yet to say which predictors a formula makes, or levels there are."""
        unknown = any(has_levels(own.family) and not own.levels for own in self.discrete)
        return unknown or (self.formula is not None and self.encoding is None)

    @property
    def made(self) -> frozenset[str]:
        """Predictors and offset that are made of a table's columns, and are none by themselves."""
        return frozenset() if self.encoding is None else self.encoding.made

    @cached_property
    def derived(self) -> bool:
        """Whether predictors are made of features, or are counts, besides Gaussian features."""
        made = self.encoding is not None and self.encoding.derived(self.clustering)
        return made or any(own.column in self.predictors for own in self.discrete)

    @cached_property
    def plain(self) -> "ModelSpec":
        """The same model of the columns that were made, as columns of a table of numbers."""
        return replace(self, formula=None, encoding=None)

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

    @cached_property
    def columns(self) -> tuple[str, ...]:
        """All columns used, once each: `clustering`, further predictors, `given`, response."""
        extra = tuple(name for name in self.predictors if name not in self.clustering)
        last = () if self.response is None else (self.response,)
        return (*self.clustering, *extra, *self.given, *last)


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
