"""The joint mixture as a scikit-learn regressor: y from x through p(y | x) = ∫ p(y | x, θ) p(θ)."""

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import replace
from numbers import Integral
from typing import Literal, Self, overload

import numpy as np
import xarray as xr

from jointmix.base.errors import MissingExtraError, SamplingError
from jointmix.base.schema import CLUSTER
from jointmix.checks import stored_diagnosis
from jointmix.families.priors.priors import LKJ, Priors
from jointmix.fitting.workflow import fit
from jointmix.model.dataset import make_dataset
from jointmix.model.demands import minimum_rows
from jointmix.model.settings import SamplerSpec
from jointmix.model.spec import ModelSpec
from jointmix.posterior.draws import fitted_spec
from jointmix.posterior.prediction import predict
from jointmix.tables.weights import n_copies
from jointmix.tables.words_apart import split_columns, words_apart

try:
    from sklearn.base import BaseEstimator, RegressorMixin
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.utils import check_random_state
    from sklearn.utils.metaestimators import available_if
    from sklearn.utils.validation import (
        _check_sample_weight,
        check_array,
        check_is_fitted,
        validate_data,
    )
except ImportError as error:
    raise MissingExtraError(
        "JointMixtureRegressor needs the extra sklearn: pip install 'jointmix[sklearn]'."
    ) from error

_LARGEST_SEED = 2**31 - 1


def _has_clusters(estimator: "JointMixtureRegressor") -> bool:
    """Whether there is more than one cluster: scikit-learn expects of regressors no classes."""
    return bool(getattr(estimator, "n_clusters_", estimator.n_clusters) != 1)


class JointMixtureRegressor(RegressorMixin, BaseEstimator):
    """A joint mixture in which every column both clusters the rows and explains the response.

        p(x, y) = Σ_k π_k N(x | μ_k, Σ_k) N(y | b_k + x'θ_k, σ_k²)

    Columns of words or categories of a pandas or polars table are factors, held against their first
    level: they explain the response, and cluster no rows.

    Parameters are checked by `fit`. Predictions take x as given, `jointmix.predict`'s
    ``weighting="equal"``; its other one takes ``tree_``.

    Parameters
    ----------
    n_clusters
        K, at least 1.
    covariance
        Of the columns of X: "full", "diagonal", "spherical", "tied" or, with ``priors`` that hold
        it, "fixed".
    priors
        Of the parameters, on standardised columns; None takes the defaults of `Priors`, but
        LKJ(1 + D/2) for correlations: with LKJ(η), η > D/2, no cluster that shrinks to D rows or
        fewer makes the density infinite, so that there is a mode to approximate it at.
    sampler
        As in `SamplerSpec`: "laplace", a quick approximation whose verdict is never OK, or
        "nutpie" for a full fit.
    draws, tune, chains
        Kept draws and adaptation steps of each chain, and the number of chains. Approximations do
        not adapt; they give chains × draws draws.
    starts
        Number of EM starts from which the mode is chosen.
    random_state
        A whole number gives the same fit each time, the one that `jointmix.fit` gives with it as
        its seed; a `numpy.random.RandomState`, or with None NumPy's global one, is drawn from.

    Attributes
    ----------
    tree_ : xarray.DataTree
        What `jointmix.fit` returned, for `jointmix.diagnose`, `report`, `summary` and the like.
        Its columns are called as those of X, or x0, x1, …
    verdict_ : str
        "OK", "CAUTION" or "DO NOT USE".
    n_clusters_ : int
        Number of clusters fitted; fewer than ``n_clusters`` if the rows could not carry as many.
    n_features_in_ : int
        Number of columns of X, those of words among them.
    feature_names_in_ : numpy.ndarray
        Their names, (column,), where X is a table whose columns are all named by text.

    Examples
    --------
    >>> table = jm.simulate(jm.four_clusters(2), 100, seed=1)
    >>> model = jm.JointMixtureRegressor(n_clusters=2, draws=100, random_state=1)
    >>> model.fit(table[["x1", "x2"]], table["y"]).score(table[["x1", "x2"]], table["y"]) > 0.8
    True
    """

    def __init__(
        self,
        n_clusters: int = 3,
        *,
        covariance: str = "full",
        priors: Priors | None = None,
        sampler: str = "laplace",
        draws: int = 250,
        tune: int = 1000,
        chains: int = 4,
        starts: int = 20,
        random_state: int | np.random.RandomState | None = None,
    ) -> None:
        self.n_clusters = n_clusters
        self.covariance = covariance
        self.priors = priors
        self.sampler = sampler
        self.draws = draws
        self.tune = tune
        self.chains = chains
        self.starts = starts
        self.random_state = random_state

    def fit(self, X: object, y: object, sample_weight: object = None) -> Self:
        """Fit the mixture to rows that are complete.

        Where the rows are too few for K clusters with parameters of their own, as many clusters
        are fitted as they can carry, with a warning; and one less, where K clusters have no mode
        that could be approximated. A fit that must not be used warns too.

        Parameters
        ----------
        X
            (n, column), numbers; or a table whose columns hold numbers, words or categories.
        y
            (n,), numbers.
        sample_weight
            (n,), how often each row counts, 0 or more; None for once each. Whole numbers count
            exactly as if rows were repeated; others make a pseudo-posterior, as ``row_weights`` of
            `ModelSpec`.

        Raises
        ------
        DataError
            If a column or y is constant, columns are collinear, a weight is negative, or the rows
            too few for a single cluster. It is a ValueError, as scikit-learn raises for NaN,
            infinities and shapes.
        SpecError
            If a parameter of the estimator is out of its range; a ValueError too.
        MissingExtraError
            If the sampler needs a package that is not installed.
        SamplingError
            If no chain could start, or the posterior has no mode to approximate it at.
        """
        numbers, words = words_apart(X)
        columns, values = validate_data(
            self, numbers, y, dtype=np.float64, y_numeric=True, ensure_min_samples=2,
            ensure_min_features=0 if words else 1,
        )  # fmt: skip
        if words:
            # Names and number of all columns, which predictions are held to.
            validate_data(self, X, skip_check_array=True)
        table = self._table(columns, words)
        response, weight = _new_name(_response_name(y), table), _new_name("sample_weight", table)
        table[response] = values
        features = [name for name in self._names() if name not in words]
        spec = self._spec(features, self._names(), response)
        copies = None
        if sample_weight is not None:
            copies = _check_sample_weight(sample_weight, columns, dtype=np.float64)
            table[weight], spec = copies, replace(spec, row_weights=weight)
        spec = self._carried(spec, table, n_copies(copies, np.ones(len(values), dtype=bool)))
        self.tree_: xr.DataTree = self._fitted(table, spec, self._seed())
        self.n_clusters_ = self.tree_["posterior"].sizes[CLUSTER]
        self.verdict_ = str(self.tree_.attrs["verdict"])
        if self.verdict_ == "DO NOT USE":
            gravest = stored_diagnosis(self.tree_).concerns[0]
            warnings.warn(
                f"The verdict of this fit is DO NOT USE: {gravest.message} {gravest.remedy}",
                ConvergenceWarning,
                stacklevel=2,
            )
        return self

    @overload
    def predict(self, X: object, return_std: Literal[False] = False) -> np.ndarray: ...

    @overload
    def predict(self, X: object, return_std: Literal[True]) -> tuple[np.ndarray, np.ndarray]: ...

    def predict(
        self, X: object, return_std: bool = False
    ) -> np.ndarray | tuple[np.ndarray, np.ndarray]:
        """The mean of p(y | x), averaged over the posterior, x being given.

        Parameters
        ----------
        X
            (n, column), without missing entries.
        return_std
            Whether to give the standard deviations too, as scikit-learn's Bayesian regressors do.

        Returns
        -------
        mean
            (n,), in the units of y.
        std
            (n,), of the same distribution: noise, unknown cluster and unknown parameters.

        Raises
        ------
        sklearn.exceptions.NotFittedError
            If the estimator was not fitted.
        """
        found = self._predicted(X)
        mean = found["mean"].to_numpy()
        return (mean, found["sd"].to_numpy()) if return_std else mean

    def predict_quantiles(
        self, X: object, quantiles: Sequence[float] = (0.05, 0.5, 0.95)
    ) -> np.ndarray:
        """Quantiles of p(y | x), averaged over the posterior, x being given.

        Parameters
        ----------
        X
            (n, column), without missing entries.
        quantiles
            Probabilities in (0, 1).

        Returns
        -------
        numpy.ndarray
            (n, quantile), in the units of y.

        Raises
        ------
        sklearn.exceptions.NotFittedError
            If the estimator was not fitted.
        SpecError
            If a probability lies outside (0, 1).
        """
        return self._predicted(X, quantiles)["quantiles"].to_numpy()

    @available_if(_has_clusters)
    def predict_proba(self, X: object) -> np.ndarray:
        """The probabilities of the clusters given the features alone, p(k | x).

        As for scikit-learn's mixtures; not there for a single cluster.

        Parameters
        ----------
        X
            (n, column), without missing entries.

        Returns
        -------
        numpy.ndarray
            (n, cluster), posterior means; rows sum to one. Cluster 1, the first column, is the
            largest at the best mode.

        Raises
        ------
        sklearn.exceptions.NotFittedError
            If the estimator was not fitted.
        """
        return self._predicted(X)["responsibility"].to_numpy()

    def score_samples(self, X: object) -> np.ndarray:
        """The log density of the features, log p(x), as for scikit-learn's mixtures.

        Parameters
        ----------
        X
            (n, column), without missing entries.

        Returns
        -------
        numpy.ndarray
            (n,), the natural log of the posterior mean of p(x), on the scale of X.

        Raises
        ------
        sklearn.exceptions.NotFittedError
            If the estimator was not fitted.
        """
        return self._predicted(X)["log_density"].to_numpy()

    def _predicted(self, X: object, quantiles: Sequence[float] = ()) -> xr.Dataset:
        check_is_fitted(self)
        features = fitted_spec(self.tree_).features
        if len(features) == self.n_features_in_:
            columns = validate_data(self, X, dtype=np.float64, reset=False)
            return predict(self.tree_, self._table(columns, {}), quantiles)
        validate_data(self, X, skip_check_array=True, reset=False)
        numbers, words = split_columns(X, [name not in features for name in self._names()])
        columns = check_array(numbers, dtype=np.float64, estimator=self, ensure_min_features=0)
        return predict(self.tree_, self._table(columns, words), quantiles)

    def _names(self) -> list[str]:
        """Names of the columns of X, as scikit-learn would make them up where there are none."""
        made_up = [f"x{i}" for i in range(self.n_features_in_)]
        return [str(name) for name in getattr(self, "feature_names_in_", made_up)]

    def _table(self, numbers: np.ndarray, words: Mapping[str, object]) -> dict[str, object]:
        """The columns of X by name, in their order."""
        rest = iter(numbers.T)
        return {name: words[name] if name in words else next(rest) for name in self._names()}

    def _spec(self, features: list[str], predictors: list[str], response: str) -> ModelSpec:
        return ModelSpec(
            n_clusters=self.n_clusters,
            features=features,
            predictors=predictors,
            response=response,
            covariance=self.covariance,
            priors=self._priors(len(features)),
            sampler=SamplerSpec(
                sampler=self.sampler,
                draws=self.draws,
                tune=self.tune,
                chains=self.chains,
                starts=self.starts,
            ),
        )

    def _carried(self, spec: ModelSpec, table: Mapping[str, object], n_rows: int) -> ModelSpec:
        """The model, with as many clusters as the rows can carry."""
        # A table says how many columns its factors make.
        each = minimum_rows(make_dataset(table, replace(spec, n_clusters=1)).spec)
        carried = max(1, min(spec.n_clusters, n_rows // each))
        if carried < spec.n_clusters:
            warnings.warn(
                f"n_clusters={spec.n_clusters} needs at least {spec.n_clusters * each} rows with "
                f"{self.n_features_in_} columns, got {n_rows}; fitting n_clusters_={carried}.",
                UserWarning,
                stacklevel=3,
            )
        return replace(spec, n_clusters=carried)

    def _fitted(self, table: Mapping[str, object], spec: ModelSpec, seed: int) -> xr.DataTree:
        """The fit; with fewer clusters where more have no posterior to draw from."""
        try:
            return fit(table, spec, seed, progress=False)
        except SamplingError as error:
            if spec.n_clusters == 1:
                raise
            less = spec.n_clusters - 1
            message = f"{str(error).partition(';')[0].rstrip('.')}; fitting n_clusters_={less}."
            warnings.warn(message, UserWarning, stacklevel=3)
        return self._fitted(table, replace(spec, n_clusters=less), seed)

    def _priors(self, n_features: int) -> Priors:
        if self.priors is not None:
            return self.priors
        return Priors(correlation=LKJ(eta=1 + n_features / 2))

    def _seed(self) -> int:
        generator = check_random_state(self.random_state)
        if isinstance(self.random_state, Integral):
            return int(self.random_state)
        return int(generator.randint(_LARGEST_SEED))


def _response_name(y: object) -> str:
    """The name that a column has, or "y"."""
    name = getattr(y, "name", None)
    return name if isinstance(name, str) and name else "y"


def _new_name(name: str, table: Mapping[str, object]) -> str:
    """A name that no column has yet."""
    while name in table:
        name += "_"
    return name
