"""One reading of a fitted tree, shared by the sections: names, draws and estimates."""

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import xarray as xr

from jointmix.base.numbers import probability
from jointmix.base.schema import (
    CLUSTER,
    PREDICTOR,
    require_group,
)
from jointmix.checks import (
    Diagnosis,
    diagnose,
    findings_from_dataset,
    ignored_by,
    verdict,
    with_cluster_names,
)
from jointmix.checks.finding import listed
from jointmix.families.protocol import Block, Parameter
from jointmix.plots.reading import INTERVAL, Reading
from jointmix.posterior.draws import (
    id_columns,
    observed_labels,
    observed_table,
)
from jointmix.posterior.scores import Scores, loo
from jointmix.posterior.summaries import identified_parameters, invariant_quantities, statistics
from jointmix.reporting.elements import Cell
from jointmix.reporting.text import clean, decimals, entry_places, places_for, shorten
from jointmix.tables.labels import label_text

#: Rows that are left out one by one, and numbers in the tables that are drawn.
MOST_SCORED, _MOST_DRAWN = 2_000, 20_000_000
#: Tables that are drawn: enough for one in a hundred on either side to be seen; rows of each.
_LEAST_TABLES, _MOST_TABLES, _LEAST_ROWS = 100, 200, 100


@dataclass(frozen=True)
class Estimate:
    """Posterior mean of a scalar, its interval, and its sampling diagnostics.

    ``share`` is set where the scalar lies between 0 and 1 and is neither.
    """

    mean: float
    sd: float
    lower: float
    upper: float
    mcse_mean: float
    ess_bulk: float
    ess_tail: float
    r_hat: float
    share: bool = False

    @property
    def fixed(self) -> bool:
        """Whether the value was given, not sampled."""
        return self.sd == 0

    @property
    def value(self) -> str:
        """The mean, to the digits that the posterior sd supports."""
        return self._shown(self.mean)

    @property
    def bounds(self) -> str:
        """The interval, "[a, b]"."""
        if self.fixed:
            return "fixed"
        return f"[{self._shown(self.lower)}, {self._shown(self.upper)}]"

    def _shown(self, value: float) -> str:
        places = places_for(self.sd, self.mean)
        return probability(value, 10.0**-places) if self.share else decimals(value, places)

    @property
    def text(self) -> str:
        """The mean and the interval."""
        return f"{self.value} {self.bounds}" if not self.fixed else f"{self.value} (fixed)"


def estimate_of(entry: xr.Dataset, share: bool = False) -> Estimate:
    """The estimate of one entry of what `statistics` gives."""
    numbers = {str(name): float(value) for name, value in entry.data_vars.items()}
    return Estimate(**numbers, share=share)


@dataclass(frozen=True)
class FittedView(Reading):
    """A fitted tree as the report reads it: what pictures read, and estimates in words.

    Raises
    ------
    SchemaError
        On access of a quantity whose group is missing.
    """

    @cached_property
    def made(self) -> dict[str, Any]:
        """What sections have made of it once, by what it is."""
        return {}

    @property
    def given(self) -> str:
        """What the response is predicted from: "features", "predictors", or both; "" if nothing."""
        further = set(self.predictors) - set(self.model.clustering)
        return " and ".join(
            ["features"] * bool(self.model.clustering) + ["predictors"] * bool(further)
        )

    def shortened(self, label: str) -> str:
        """A label such as "slope[cluster 1, width]" with its columns' short labels."""
        for name, short in self.names.items():
            if name != short:
                label = label.replace(name, short)
        return shorten(clean(label), 120)

    @cached_property
    def left_out(self) -> str:
        """A sentence, with a space before it, on clusters that pictures leave out; "" if none."""
        empty = [name for k, name in enumerate(self.called) if k not in self.occupied]
        if not empty:
            return ""
        one = len(empty) == 1
        text = (
            f"{listed(empty)} {'holds' if one else 'hold'} no rows: {'its' if one else 'their'} "
            "parameters are the prior's, and are not drawn."
        )
        return f" {text[:1].upper()}{text[1:]}"

    @property
    def marks(self) -> tuple[Cell, ...]:
        """A cell with each cluster's name and mark."""
        return tuple(
            Cell(text=shorten(clean(title), 60), cluster=i) for i, title in enumerate(self.titles)
        )

    @cached_property
    def entry_places(self) -> dict[str, int]:
        """Decimals of the entries of each column of numbers; see `entry_places`."""
        return {
            name: entry_places(values)
            for name, values in self.columns.items()
            if name not in self.labels
        }

    @cached_property
    def statistics(self) -> dict[str, xr.Dataset]:
        """Estimates and diagnostics by parameter; see `jointmix.posterior.summaries.statistics`."""
        return {
            name: statistics(draws, INTERVAL)
            for name, draws in identified_parameters(self.tree).items()
        }

    @cached_property
    def free_statistics(self) -> dict[str, xr.Dataset]:
        """Estimates and diagnostics of the quantities that labels do not enter, by name."""
        return {
            name: statistics(draws, INTERVAL)
            for name, draws in invariant_quantities(self.tree).items()
        }

    def estimate(self, parameter: str, **position: int) -> Estimate:
        """The estimate of one entry, at positions counted from 0 along each dim."""
        share = self.model.parameters[parameter].role in ("weight", "probability")
        return estimate_of(self.statistics[parameter].isel(position), share)

    @cached_property
    def levels(self) -> tuple[Estimate, ...]:
        """The response that each cluster expects at the average of every predictor over all rows.

        Empty without predictors; of a response with an offset, at an offset of 0.
        """
        if not self.predictors:
            return ()
        average = [self.average(self.columns[name]) for name in self.predictors]
        lines = (self.posterior["slope"] * xr.DataArray(average, dims=PREDICTOR)).sum(PREDICTOR)
        lines = self.line_words.expected(lines + self.posterior["intercept"])
        found = statistics(lines, INTERVAL)
        return tuple(estimate_of(found.isel({CLUSTER: k})) for k in range(len(self.clusters)))

    @cached_property
    def typical(self) -> tuple[Estimate, ...]:
        """The response that each cluster expects where there are no predictors."""
        found = statistics(self.line_words.expected(self.posterior["intercept"]), INTERVAL)
        return tuple(estimate_of(found.isel({CLUSTER: k})) for k in range(len(self.clusters)))

    @cached_property
    def _ratios(self) -> xr.Dataset:
        return statistics(xr.apply_ufunc(np.exp, self.posterior["slope"]), INTERVAL)

    def effect(self, cluster: int, predictor: int) -> Estimate:
        """A slope as people read it: its exponential where the words have a name for that."""
        if not self.line_words.block.ratio:
            return self.estimate("slope", cluster=cluster, predictor=predictor)
        return estimate_of(self._ratios.isel({CLUSTER: cluster, PREDICTOR: predictor}))

    def own(self, block: Block, cluster: int) -> dict[str, Estimate]:
        """Estimates of the scales and shapes that a cluster has one of, by name."""
        return {
            parameter.name: self.estimate(parameter.name, cluster=cluster)
            for parameter in block.parameters
            if parameter.role in ("scale", "shape") and not parameter.dims
        }

    def caption(self, parameter: Parameter) -> str:
        """What a picture of a parameter shows."""
        for words in self.words:
            if parameter in words.block.parameters:
                return words.caption(parameter)
        return f"{parameter.name.capitalize()}: {parameter.meaning}"

    @cached_property
    def diagnosis(self) -> Diagnosis:
        """What the checks come to: those stored, or computed where none are."""
        if "checks" not in self.tree.children:
            return diagnose(self.tree)
        stored = findings_from_dataset(require_group(self.tree, "checks"))
        found, ignored = with_cluster_names(self.tree, stored), ignored_by(self.tree)
        return Diagnosis(verdict(found, ignored), found, ignored)

    @cached_property
    def row_labels(self) -> np.ndarray | None:
        """What the table calls its rows, (obs,); None where that is no more than their number."""
        labels = observed_labels(self.tree)
        number = require_group(self.tree, "constant_data")["row"].values
        return None if np.array_equal(labels, number) else labels

    @property
    def row_header(self) -> str:
        """Header of a column of rows."""
        if self.row_labels is None:
            return "row of the table, from 0"
        return shorten(clean(", ".join(id_columns(self.tree)) or "row, by its label"), 60)

    def row_name(self, place: int) -> str:
        """What a row of the fit is called: its label, or its number in the table from 0."""
        if self.row_labels is None:
            return str(int(require_group(self.tree, "constant_data")["row"].values[place]))
        return shorten(clean(label_text(self.row_labels[place])), 60)

    @cached_property
    def scores(self) -> Scores:
        """Leave-one-out scores, of at most ``MOST_SCORED`` rows."""
        return loo(self.tree, MOST_SCORED)

    @property
    def n_tables(self) -> int:
        """How many tables are drawn for predictive checks."""
        most = _MOST_DRAWN // (self._standing * max(1, len(self.names)))
        return max(_LEAST_TABLES, min(_MOST_TABLES, most))

    @property
    def table_rows(self) -> int:
        """How many rows of the fit each of them has."""
        most = _MOST_DRAWN // (self.n_tables * max(1, len(self.names)))
        return min(self._standing, max(_LEAST_ROWS, most))

    @property
    def _standing(self) -> int:
        return round(self.rows.copies.sum())

    @property
    def tables_cut(self) -> str:
        """A sentence, with a space before it, on tables of fewer rows than the fit's; or ""."""
        if self.table_rows == self._standing:
            return ""
        return (
            f" Each has {self.table_rows:,} of the {self._standing:,} rows, in equal steps, and is "
            "held to the observed entries of the same rows."
        )

    @cached_property
    def replicates(self) -> xr.DataTree:
        """Tables drawn from the posterior predictive distribution."""
        from jointmix.posterior.replication import replicate

        return replicate(self.tree, self.n_tables, rows=self.table_rows)

    @cached_property
    def prior_tables(self) -> xr.DataTree:
        """Tables drawn from the prior, with the centres and scales of the fit's rows."""
        # PyMC, which draws them, loads slowly.
        from jointmix.posterior.replication import prior_predictive

        table = observed_table(self.tree, self.model)
        return prior_predictive(table, self.model.plain, self.n_tables, rows=self.table_rows)
