"""One reading of a fitted tree, shared by all pictures: names, rows, clusters and draws."""

import json
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import xarray as xr

from jointmix.base.errors import SchemaError
from jointmix.base.schema import CHAIN, CLUSTER, DRAW, OBS, require_dims, require_group
from jointmix.base.text import short_labels
from jointmix.families.rows import Rows
from jointmix.families.words import BlockWords, LineWords, words_of
from jointmix.model.serialised import spec_from_dict
from jointmix.model.spec import ModelSpec
from jointmix.posterior.draws import expected_rows, observed_columns, observed_rows
from jointmix.posterior.naming import cluster_names, cluster_titles

#: Probability inside every interval of a picture and of the report.
INTERVAL = 0.89
#: Rows that a picture draws at most.
MOST_ROWS = 5_000


def thinned(n: int, limit: int) -> np.ndarray:
    """Positions of at most ``limit`` of ``n`` rows: always the same rows for the same n."""
    if n <= limit:
        return np.arange(n)
    # A regular step could fall in with a pattern in the table's order.
    return np.sort(np.random.default_rng(0).choice(n, limit, replace=False))


@dataclass(frozen=True)
class Reading:
    """A fitted tree as pictures read it; every derived quantity is computed once.

    Raises
    ------
    SchemaError
        On access of a quantity whose group is missing.
    """

    tree: xr.DataTree

    def attribute(self, name: str) -> Any:
        """A root attribute that is stored as JSON."""
        try:
            return json.loads(self.tree.attrs[name])
        except (KeyError, TypeError, ValueError) as error:
            raise SchemaError(
                f"The tree's attribute {name!r} is missing or damaged; fit the model again."
            ) from error

    @cached_property
    def model(self) -> ModelSpec:
        """The specification."""
        return spec_from_dict(self.attribute("spec"))

    @cached_property
    def words(self) -> tuple[BlockWords, ...]:
        """How people read each of the model's blocks."""
        return tuple(words_of(block) for block in self.model.blocks)

    @property
    def line_words(self) -> LineWords:
        """Those of the response's block."""
        words = self.words[-1]
        assert isinstance(words, LineWords)
        return words

    @property
    def features(self) -> tuple[str, ...]:
        """Names of the Gaussian features."""
        return tuple(self.model.features)

    @property
    def labels(self) -> dict[str, tuple[str, ...]]:
        """Labels of the codes of features that have levels, by column."""
        return {own.column: own.levels for own in self.model.discrete if own.levels}

    @property
    def predictors(self) -> tuple[str, ...]:
        """Names of the columns that explain the response."""
        return tuple(self.model.predictors)

    @property
    def response(self) -> str | None:
        """Name of the response."""
        return self.model.response

    @property
    def offset(self) -> str | None:
        """Name of the offset."""
        return self.model.offset

    @property
    def trials(self) -> str | None:
        """Name of the trials."""
        return self.model.trials

    @property
    def n_obs(self) -> int:
        """Number of rows that the fit holds."""
        return int(self.tree.attrs["n_obs"])

    @property
    def n_fitted(self) -> int:
        """Number of rows that the posterior is given: more where those held are a sample."""
        return int(self.tree.attrs.get("n_fitted", self.n_obs))

    @cached_property
    def rows(self) -> Rows:
        """The rows used, on the users' scale."""
        return observed_rows(self.tree, self.model)

    @property
    def total(self) -> float:
        """The sum of the rows' weights: their number where they have none."""
        return self.rows.total

    def average(self, values: np.ndarray | xr.DataArray) -> float:
        """Mean over the rows of values (obs,) that are there, as often as they weigh."""
        given = np.asarray(values)
        there = ~np.isnan(given)
        weight = None if self.rows.weight is None else self.rows.weight[there]
        return float(np.average(given[there], weights=weight))

    @cached_property
    def names(self) -> dict[str, str]:
        """Short label of each column."""
        return short_labels(self.model.columns)

    @cached_property
    def posterior(self) -> xr.Dataset:
        """Identified draws, [chain, draw, cluster, ...]."""
        posterior = require_group(self.tree, "posterior")
        for array in posterior.data_vars.values():
            require_dims(array, (CHAIN, DRAW, CLUSTER))
        return posterior

    @cached_property
    def point(self) -> xr.Dataset:
        """Posterior means."""
        return self.posterior.mean((CHAIN, DRAW))

    @cached_property
    def clusters(self) -> tuple[int, ...]:
        """Values of the coordinate ``cluster``."""
        return tuple(int(value) for value in self.posterior[CLUSTER].values)

    @cached_property
    def called(self) -> tuple[str, ...]:
        """What each cluster is called inside a sentence: its name, or "cluster 2"."""
        return tuple(cluster_names(self.tree).values())

    @cached_property
    def titles(self) -> tuple[str, ...]:
        """What each cluster is called where a line begins: its name, or "Cluster 2"."""
        return tuple(cluster_titles(self.tree).values())

    @cached_property
    def occupied(self) -> tuple[int, ...]:
        """Positions of the clusters that hold rows: at least one is expected there."""
        expected = expected_rows(self.tree).values
        return tuple(int(k) for k in np.flatnonzero(expected >= 1))

    @cached_property
    def allocation(self) -> xr.Dataset:
        """Responsibilities and allocation, [obs, cluster] and [obs]."""
        return require_group(self.tree, "allocation")

    @cached_property
    def share(self) -> np.ndarray:
        """Responsibilities, (obs, cluster)."""
        return self.allocation["responsibility"].transpose(OBS, CLUSTER).values

    @cached_property
    def chosen(self) -> np.ndarray:
        """Position of each row's most probable cluster, (obs,)."""
        return np.searchsorted(self.clusters, self.allocation["allocation"].values)

    @cached_property
    def columns(self) -> dict[str, np.ndarray]:
        """Values of each column used, by name, (obs)."""
        found = observed_columns(self.tree, self.model)
        return {name: found[name] for name in self.names}

    @cached_property
    def predictor_centers(self) -> np.ndarray:
        """Mean of each predictor in each cluster, by responsibility, (cluster, predictor).

        Of the entries that are there.
        """
        u = np.stack([self.columns[name] for name in self.predictors], axis=1)
        there = ~np.isnan(u)
        share = self.rows.weighted(self.share)
        total, known = share.T @ there, np.where(there, u, 0.0)
        every = self.rows.weights @ known / (self.rows.weights @ there)
        # A cluster that no row belongs to is drawn at the centre of all rows.
        return np.where(total > 0, share.T @ known / np.maximum(total, 1e-300), every)

    @cached_property
    def scaling(self) -> dict[str, tuple[float, float]]:
        """Centre and scale of each column."""
        group = require_group(self.tree, "scaling")
        triples = zip(
            group["column"].values.tolist(), group["center"].values, group["scale"].values,
            strict=True,
        )  # fmt: skip
        return {name: (float(center), float(scale)) for name, center, scale in triples}
