"""Groups that are known from elsewhere, held against the clusters: cross table and Rand index."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd
import xarray as xr
from scipy.optimize import linear_sum_assignment
from scipy.special import comb

from jointmix.base.arguments import proportion, shown, whole_number
from jointmix.base.errors import DataError, SchemaError, SpecError
from jointmix.base.schema import CLUSTER, OBS, require_group
from jointmix.base.shown import WIDTH, Glance, Shown, shortened
from jointmix.families.rows import Rows
from jointmix.posterior.allocations import drawn_allocations
from jointmix.posterior.draws import (
    fitted_spec,
    observed_labels,
    observed_rows,
    posterior_parameters,
    spread,
)
from jointmix.posterior.naming import given_names
from jointmix.tables.groups import GROUP, Groups, joined_groups

#: Draws whose allocations are compared, evenly spaced.
_MOST_DRAWS = 500
#: Of the printed table: rows, and signs of a group's name.
_MOST_SHOWN, _LONGEST_NAME = 20, 30


@dataclass(frozen=True, eq=False, repr=False)
class CrossTab(Shown):
    """Known groups against clusters, over the rows of a fit whose group is known.

    Attributes
    ----------
    counts
        Rows by known group (index) and most probable cluster (columns).
    expected
        Sums of the rows' posterior probabilities instead, likewise.
    rand
        Adjusted Rand index of the known groups and the most probable allocation: 1 for the same
        partition, 0 for what chance would give.
    rand_mean, rand_interval
        Posterior mean of that index over drawn allocations, and its equal-tailed interval.
    interval
        Probability inside that interval.
    matching
        Cluster → known group, one to one, so that most rows agree; clusters and groups beyond the
        smaller number of the two have none.
    misclassified
        Rows whose most probable cluster is not the one matched to their group.
    n_rows
        Rows compared. With row weights, rows count as often as they weigh here and above.
    n_missing
        Rows of the fit whose group is not known: the column has no entry, or no row of that label.
    n_left_out
        Entries of the column whose row is not in the fit.
    called
        Names of clusters by number, of those that have one, by which tables are printed.

    Examples
    --------
    >>> found = jm.crosstab(jm.load("penguins.nc"), load_penguins()["species"])
    >>> found.counts.shape, found.rand > 0.9
    ((3, 3), True)
    """

    counts: pd.DataFrame
    expected: pd.DataFrame
    rand: float
    rand_mean: float
    rand_interval: tuple[float, float]
    interval: float
    matching: dict[int, Any]
    misclassified: float
    n_rows: float
    n_missing: int
    n_left_out: int
    called: Mapping[int, str] = field(default_factory=dict)

    @property
    def error_rate(self) -> float:
        """Share of the rows compared that are misclassified."""
        return self.misclassified / self.n_rows

    @property
    def text(self) -> str:
        """The agreement in sentences."""
        return " ".join(self._sentences())

    def _sentences(self) -> list[str]:
        low, high = self.rand_interval
        said = [
            f"Adjusted Rand index {self.rand:.3f} (posterior mean {self.rand_mean:.3f}, "
            f"{self.interval:.0%} interval {low:.3f} to {high:.3f}); {self.misclassified} of "
            f"{self.n_rows} rows ({self.error_rate:.1%}) are misclassified when each cluster is "
            "matched to one group."
        ]
        if self.n_missing:
            rows = "1 row" if self.n_missing == 1 else f"{self.n_missing} rows"
            said.append(f"The group of {rows} of the fit is not known.")
        if self.n_left_out:
            entries = "entry is" if self.n_left_out == 1 else "entries are"
            said.append(f"{self.n_left_out} {entries} of rows that the fit left out.")
        return said

    def _printed(self) -> list[str]:
        counts = self.counts.rename(
            index=lambda label: shortened(str(label), _LONGEST_NAME),
            columns=lambda number: shortened(self._name(number), _LONGEST_NAME),
        )
        counts.index.name = shortened(str(counts.index.name or ""), _LONGEST_NAME)
        shown = counts.to_string(line_width=WIDTH, max_rows=_MOST_SHOWN)
        return [*shown.splitlines(), self.text]

    def _name(self, number: int) -> str:
        return self.called.get(number, str(number))

    def _glance(self) -> Glance:
        agreement, *others = self._sentences()
        return Glance(
            head="Known groups against clusters",
            columns=(str(self.counts.index.name or "group"), *map(self._name, self.counts.columns)),
            rows=tuple(
                (str(group), *map(str, line))
                for group, line in zip(self.counts.index, self.counts.to_numpy(), strict=True)
            ),
            notes=(agreement, *others),
        )


def adjusted_rand(counts: np.ndarray) -> np.ndarray:
    """Adjusted Rand index of two partitions from their cross tables.

        (Σ C(n_ij, 2) − E) / (½ (Σ C(n_i., 2) + Σ C(n_.j, 2)) − E)

    with E = Σ C(n_i., 2) Σ C(n_.j, 2) / C(n, 2) (Hubert and Arabie 1985, doi:10.1007/BF01908075);
    1 where both are one group, or both are single rows.

    Parameters
    ----------
    counts
        (..., group, cluster), numbers of rows.

    Returns
    -------
    numpy.ndarray
        (...).
    """
    number = np.asarray(counts, dtype=float)
    both = comb(number, 2).sum((-2, -1))
    one = comb(number.sum(-1), 2).sum(-1)
    other = comb(number.sum(-2), 2).sum(-1)
    pairs = np.maximum(comb(number.sum((-2, -1)), 2), 1.0)
    expected = one * other / pairs
    most = (one + other) / 2
    trivial = most == expected
    index = (both - expected) / np.where(trivial, 1.0, most - expected)
    return np.asarray(np.where(trivial, 1.0, index))


def crosstab(
    tree: xr.DataTree, column: object = None, interval: float = 0.89, seed: int = 1
) -> CrossTab:
    """Known groups of the rows against the clusters that a fit puts them in.

    Parameters
    ----------
    tree
        A fitted tree.
    column
        The known group of each row: numbers, texts, truth values or categories. A pandas Series is
        joined by its row labels, in any order, with rows beside those of the fit; what has no
        labels must have an entry for each row of the table that was fitted, or for each row that
        the fit used. None takes what `with_groups` has kept.
    interval
        Probability inside the equal-tailed interval of the Rand index.
    seed
        Of the allocations, drawn from at most 500 draws of the parameters.

    Raises
    ------
    DataError
        If the column cannot be joined, holds no entry, or more than 100 different ones.
    SchemaError
        If the tree is no fit with identified draws, or keeps no groups where none are given.
    SpecError
        If ``interval`` is not in (0, 1) or ``seed`` no whole number.

    Examples
    --------
    >>> import jointmix as jm
    >>> from jointmix.model.simulate import simulate
    >>> table = simulate(jm.four_clusters(2), 100, seed=1)
    >>> quick = jm.SamplerSpec(sampler="laplace", draws=100, chains=2)
    >>> spec = jm.ModelSpec(n_clusters=2, features=["x1", "x2"], sampler=quick)
    >>> found = jm.crosstab(jm.fit(table, spec), table["cluster"])
    >>> found.misclassified
    0
    """
    interval, seed = proportion("interval", interval), whole_number("seed", seed, 0)
    codes, values, name, n_left_out = _kept(tree) if column is None else _read(tree, column)
    allocation = require_group(tree, "allocation")
    share = allocation["responsibility"].transpose(OBS, CLUSTER).values
    clusters = allocation[CLUSTER].values
    known = np.flatnonzero(codes >= 0)
    if not known.size:
        raise DataError("The column of known groups has no entry in any row of the fit.")
    group, k = codes[known], len(clusters)
    shape, rows = (len(values), k), observed_rows(tree, fitted_spec(tree)).take(known)
    counts = _tables(group, share[known].argmax(axis=1)[None], shape, rows)[0]
    expected = np.eye(len(values))[:, group] @ rows.weighted(share[known])
    # Of observations, the number of pairs of them being what the index is about.
    scale = rows.copies.sum() / rows.total
    rands = adjusted_rand(scale * _tables(group, _drawn(tree, seed)[:, known], shape, rows))
    low, high = np.quantile(rands, [(1 - interval) / 2, (1 + interval) / 2])
    one, other = linear_sum_assignment(counts, maximize=True)
    frame = {"index": pd.Index(values, name=name), "columns": pd.Index(clusters, name=CLUSTER)}
    return CrossTab(
        counts=pd.DataFrame(counts, **frame),
        expected=pd.DataFrame(expected, **frame),
        rand=float(adjusted_rand(scale * counts)),
        rand_mean=float(rands.mean()),
        rand_interval=(float(low), float(high)),
        interval=interval,
        matching={int(clusters[j]): values[i] for i, j in zip(one, other, strict=True)},
        misclassified=_plain_number(rows.total - counts[one, other].sum()),
        n_rows=_plain_number(rows.total),
        n_missing=len(codes) - len(known),
        n_left_out=n_left_out,
        called=given_names(tree),
    )


def with_groups(tree: xr.DataTree, column: object, name: str | None = None) -> xr.DataTree:
    """A fit that keeps the known groups of its rows, for `crosstab` and its report.

    Parameters
    ----------
    tree
        A fitted tree; it is not changed.
    column
        As `crosstab` takes it.
    name
        What the groups are called; None takes a Series' own name, or "group".

    Returns
    -------
    xarray.DataTree
        The same fit, its groups saved with it.

    Raises
    ------
    DataError
        As `crosstab` raises it.
    SpecError
        If the name is no text.

    Examples
    --------
    >>> tree = jm.with_groups(jm.load("penguins.nc"), load_penguins()["species"])
    >>> jm.crosstab(tree).matching[2]
    'Gentoo'
    """
    if name is not None and not isinstance(name, str):
        raise SpecError(f"name must be text or None; got {shown(name)}.")
    codes, values, own, n_left_out = _read(tree, column)
    kept = tree.copy()
    constant = require_group(kept, "constant_data")
    attributes = {
        "name": own if name is None else name,
        "values": json.dumps([_plain(value) for value in values]),
        "left_out": n_left_out,
    }
    constant[GROUP] = (OBS, codes.astype(np.int16), attributes)
    kept["constant_data"] = xr.DataTree(constant)
    return kept


def groups_name(tree: xr.DataTree) -> str | None:
    """What the known groups that a fit keeps are called; None if it keeps none."""
    constant = require_group(tree, "constant_data")
    return str(constant[GROUP].attrs["name"]) if GROUP in constant else None


def _kept(tree: xr.DataTree) -> Groups:
    """Codes (obs,) and values of the groups that a fit keeps, their name, and rows left out."""
    if groups_name(tree) is None:
        raise SchemaError("The fit keeps no known groups; give a column, or keep one: with_groups.")
    kept = require_group(tree, "constant_data")[GROUP]
    values = json.loads(kept.attrs["values"])
    return kept.values.astype(int), values, str(kept.attrs["name"]), int(kept.attrs["left_out"])


def _read(tree: xr.DataTree, column: object) -> Groups:
    """The same of a column that is joined to the rows of a fit."""
    row = require_group(tree, "constant_data")["row"].values
    return joined_groups(column, row, observed_labels(tree), int(tree.attrs["n_rows"]))


def _plain(value: Any) -> Any:
    return value if isinstance(value, str | int | float | bool) else str(value)


def _drawn(tree: xr.DataTree, seed: int) -> np.ndarray:
    spec, parameters = fitted_spec(tree), posterior_parameters(tree)
    thinned = parameters.take(spread(len(parameters.weight), _MOST_DRAWS).tolist())
    return drawn_allocations(observed_rows(tree, spec), thinned, spec, True, seed)


def _plain_number(value: float) -> float:
    """A count of rows, which is whole unless weights are not."""
    near = round(value)
    return near if abs(value - near) < 1e-9 else round(float(value), 6)


def _tables(group: np.ndarray, drawn: np.ndarray, shape: tuple[int, int], rows: Rows) -> np.ndarray:
    """Cross tables (draw, group, cluster) of allocations (draw, row), rows as often as they weigh.

    Counts are whole numbers unless weights are not.
    """
    size = shape[0] * shape[1]
    cell = group * shape[1]
    counts = np.stack([np.bincount(cell + each, rows.weight, size) for each in drawn])
    return (counts if rows.unit is not None else counts.astype(int)).reshape(-1, *shape)
