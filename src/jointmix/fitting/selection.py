"""How many clusters, and of which structure? Models screened, fitted, scored, side by side."""

import math
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import xarray as xr
from scipy.special import softmax

from jointmix.base.arguments import (
    jobs_number,
    progress_option,
    whole_number,
)
from jointmix.base.errors import SchemaError
from jointmix.base.pools import Pool, other_pool
from jointmix.base.progress import ProgressOption, show_progress
from jointmix.base.schema import (
    CHAIN,
    CLUSTER,
    DRAW,
    require_group,
)
from jointmix.base.shown import Glance, Shown
from jointmix.checks import stored_diagnosis
from jointmix.checks.empty import number_occupied
from jointmix.families.priors.priors import Dirichlet
from jointmix.families.rows import Rows
from jointmix.fitting.candidates import (
    Grid,
    Key,
    make_grid,
    short_words,
)
from jointmix.fitting.kept import kept_in
from jointmix.fitting.pooled import Pointwise, fit_all
from jointmix.fitting.ranking import choose, describe
from jointmix.model.settings import LARGEST_PARETO_SHAPE
from jointmix.model.spec import ModelSpec, require_spec
from jointmix.posterior.draws import fitted_spec, observed_rows
from jointmix.posterior.evidence import has_evidence, log_evidence
from jointmix.posterior.known_groups import crosstab, groups_name, with_groups
from jointmix.posterior.scores import sum_error
from jointmix.tables.groups import group_codes

#: Columns of a comparison's table, in their order.
_COLUMNS = (
    *("elpd", "se", "elpd_diff", "diff_se"),
    *("elpd_conditional", "conditional_diff", "conditional_diff_se", "high_k"),
    *("n_parameters", "log_likelihood", "bic", "icl", "collapsed"),
    *("log_evidence", "evidence_error", "probability"),
    *("occupied", "smallest", "adjusted_rand", "verdict"),
)
#: Those that a notebook shows of each model.
_GLANCED = ("elpd", "elpd_diff", "diff_se", "bic", "icl")


@dataclass(frozen=True, eq=False, repr=False)
class Comparison(Shown):
    """Models side by side: numbers of clusters, and structures where they are compared too.

    Attributes
    ----------
    table
        One row a model, the index ``n_clusters``, or the levels ``n_clusters``, ``covariance`` and
        ``noise``, those of them that were compared. Of every model, at EM's best mode:
        ``n_parameters``, free ones; ``log_likelihood``; ``bic``, −2 log L + p log N, and ``icl``,
        BIC plus twice the entropy −Σ_n Σ_k r_nk log r_nk of the responsibilities (not of hard
        allocations; Biernacki, Celeux and Govaert 2000, doi:10.1109/34.865189), both smaller for
        the better; ``collapsed``, whether that mode is a spike of the likelihood. Of the models
        that were sampled, NaN for others: ``elpd``, the joint expected log predictive density by
        leave-one-out in nats, with ``se``, ``elpd_diff`` to the best and ``diff_se`` of that
        difference; ``elpd_conditional`` of y given x likewise, ``conditional_diff`` and
        ``conditional_diff_se`` (NaN without a response); ``high_k``, rows whose Pareto k exceeds
        0.7; where a fit by independence chains knows it, ``log_evidence`` as of `log_evidence` and
        its Monte Carlo error ``evidence_error``, and where all fits do, ``probability``, the
        posterior one of each model sampled, all equally probable before; ``occupied``, posterior
        mean number of clusters that hold a row; ``smallest``, expected rows of the smallest
        cluster; ``adjusted_rand``, where known groups were given, the adjusted Rand index of them
        and the most probable allocation; ``verdict``, "" for models not sampled.
    trees
        The fits of those sampled, by K, or by tuples such as ``(3, "tied")``, as the index has
        them.
    best
        The key of the simplest model whose joint elpd is not clearly below the largest: by less
        than 4, or by less than two standard errors of the difference. Simplest is that with the
        fewest free parameters.
    text
        What the criteria say, and what it means where they disagree.

    Examples
    --------
    >>> table = jm.simulate(jm.four_clusters(2), 100, seed=1)
    >>> quick = jm.SamplerSpec(sampler="laplace", draws=100, chains=2)
    >>> spec = jm.ModelSpec(n_clusters=2, features=["x1", "x2"], sampler=quick)
    >>> jm.compare(table, spec, [1, 2]).spec.n_clusters
    2
    """

    table: pd.DataFrame
    trees: dict[Key, xr.DataTree]
    best: Key
    text: str

    @property
    def tree(self) -> xr.DataTree:
        """The fit of the model chosen."""
        return self.trees[self.best]

    @property
    def spec(self) -> ModelSpec:
        """The model chosen."""
        return fitted_spec(self.tree)

    def _printed(self) -> list[str]:
        return [self.text]

    def _glance(self) -> Glance:
        return Glance(
            head=f"Chosen: {short_words(self.table, self.best)}",
            columns=("model", "elpd", "difference", "se", "BIC", "ICL", "verdict"),
            rows=tuple(
                (
                    short_words(self.table, key),
                    *("–" if math.isnan(line[name]) else f"{line[name]:.1f}" for name in _GLANCED),
                    str(line["verdict"]) or "–",
                )
                for key, line in self.table.iterrows()
            ),
            notes=(self.text,),
        )


def compare(
    table: object,
    spec: ModelSpec,
    n_clusters: Iterable[int] = range(1, 7),
    seed: int = 1,
    jobs: int = 1,
    progress: ProgressOption = None,
    *,
    covariance: Iterable[str] | None = None,
    noise: Iterable[str] | None = None,
    groups: object = None,
    pool: Pool = None,
    store: str | Path | None = None,
    merge: bool = False,
) -> Comparison:
    """Screen models by EM, fit those that may be best, and score each fit.

    Every number of clusters under every structure is screened by multi-start EM, which starts from
    the optima of the models within it too, with clusters split. Sampled are, of
    each number of clusters, the structure with the least BIC, and of each structure, the number of
    clusters with the least BIC: as many fits as there are numbers and structures at most, not their
    product, and all models where only the number of clusters varies. The fits are ranked by their
    joint leave-one-out density; BIC and ICL are those of EM's modes. What is the same model (one
    cluster with its own or a tied covariance; one feature with any but a tied one) stands once,
    under the structure named first.

    Parameters
    ----------
    table
        As `fit` takes it.
    spec
        The model; what is compared is replaced in it.
    n_clusters
        The numbers to try.
    seed
        Of each fit.
    jobs
        Models at a time, in threads that share the compiled model; each fit samples its chains in
        threads of its own.
    progress
        As for `fit`; a function is called as ``progress("screen", done, total, note)`` after each
        model that EM has run on, and as ``progress("compare", done, total, note)`` after each fit.
    covariance
        Structures of the features' covariance to try: "full", "diagonal", "spherical", "tied";
        None takes the specification's.
    noise
        Structures of the response's noise to try: "cluster", "shared"; None takes the
        specification's.
    groups
        Known groups of the rows, as `crosstab` takes them, that no model sees; None for none.
    pool
        Where EM, fits and their scores run besides this process: a Dask client, or the address of
        its scheduler; an executor of concurrent.futures, such as mpi4py's; a number of processes;
        None for the backend that `joblib.parallel_config` names, where it names one, or else
        ``jobs`` threads. Results are the same whatever it is.
    store
        A folder that keeps each fit as it ends: the same comparison, asked for again, goes on from
        there, and so does one of more models.
    merge
        Whether all fits have to be in the store already, made by parts (`fit_part`).

    Raises
    ------
    SpecError
        If fewer than two models are asked for, a structure is unknown or of columns that the model
        has not, a prior is fixed cluster by cluster, or the pool is none.
    SamplingError
        If the pool's workers are lost; the message says how many fits the store keeps.
    StorageError
        If the store cannot be written, or what it holds is damaged.
    DataError
        If the table cannot be fitted, or the known groups are no groups.

    Examples
    --------
    >>> import jointmix as jm
    >>> from jointmix.model.simulate import simulate
    >>> table = simulate(jm.four_clusters(), 200, seed=1)
    >>> quick = jm.SamplerSpec(draws=100, tune=100, chains=2)
    >>> spec = jm.ModelSpec(n_clusters=1, features=["x1", "x2"], sampler=quick)
    >>> found = jm.compare(table, spec, [3, 4], covariance=["full", "spherical"])
    >>> found.best
    (4, 'spherical')
    """
    require_spec(spec)
    seed, jobs = whole_number("seed", seed, 0), jobs_number(jobs)
    progress_option(progress)
    pool, kept = other_pool(pool, jobs), kept_in(store, merge)
    grid = make_grid(spec, n_clusters, covariance, noise)
    if groups is not None:
        group_codes(groups)
    with show_progress(progress) as tell:
        frame, trees, scores = fit_all(table, grid, seed, jobs, pool, tell, kept)
    if groups is not None:
        trees = {key: with_groups(tree, groups) for key, tree in trees.items()}
    frame = frame.join(_scored(trees, scores, grid))
    frame = frame[[name for name in _COLUMNS if name in frame]]
    frame["verdict"] = frame["verdict"].fillna("")
    best = choose(frame)
    gravest = next(iter(stored_diagnosis(trees[best]).concerns), None)
    said = "" if gravest is None else f"{gravest.message} {gravest.remedy}".rstrip()
    return Comparison(frame, trees, best, describe(frame, best, said))


def _sum(values: np.ndarray, rows: Rows) -> tuple[float, float]:
    """Sum of values of the rows, and its standard error."""
    return float(rows.weights @ values), sum_error(values, rows, ddof=0)


def _scored(
    trees: dict[Key, xr.DataTree], scores: dict[Key, Pointwise], grid: Grid
) -> pd.DataFrame:
    """Scores of the models sampled, one row each."""
    first = next(iter(trees.values()))
    rows = observed_rows(first, fitted_spec(first))
    top = {
        name: max((scores[key] for key in trees), key=lambda own: rows.weights @ own[name])[name]
        for name in ("joint", "conditional")
    }
    lines = [_row(tree, scores[key], top, rows) for key, tree in trees.items()]
    found = pd.DataFrame(lines, index=grid.index(trees))
    if "log_evidence" in found and found["log_evidence"].notna().all():
        found["probability"] = softmax(found["log_evidence"].to_numpy())
    return found


def _row(tree: xr.DataTree, own: Pointwise, top: Pointwise, rows: Rows) -> dict[str, Any]:
    joint, conditional = own["joint"], own["conditional"]
    elpd, se = _sum(joint, rows)
    diff, diff_se = _sum(joint - top["joint"], rows)
    y_diff, y_se = _sum(conditional - top["conditional"], rows)
    if fitted_spec(tree).response is None:
        y_diff = y_se = np.nan
    weight = tree["posterior"]["weight"].mean((CHAIN, DRAW))
    numbers = number_occupied(tree["labels"]["occupied"].transpose(..., CLUSTER).values)
    return {
        "elpd": elpd,
        "se": se,
        "elpd_diff": diff,
        "diff_se": diff_se,
        "elpd_conditional": np.nan if np.isnan(y_diff) else _sum(conditional, rows)[0],
        "conditional_diff": y_diff,
        "conditional_diff_se": y_se,
        "high_k": int((own["shape"] > LARGEST_PARETO_SHAPE).sum()),
        "occupied": float(numbers @ np.arange(len(numbers))),
        "smallest": float(weight.min()) * rows.total,
        **(_evidence(tree) if has_evidence(tree) else {}),
        **({"adjusted_rand": crosstab(tree).rand} if groups_name(tree) is not None else {}),
        "verdict": str(tree.attrs["verdict"]),
    }


def _evidence(tree: xr.DataTree) -> dict[str, float]:
    found = log_evidence(tree)
    return {"log_evidence": found.value, "evidence_error": found.error}


def sparse(spec: ModelSpec, n_clusters: int = 10, concentration: float = 0.05) -> ModelSpec:
    """The model with more clusters than are needed, of which the prior empties what it can.

    A sparse finite mixture (Malsiner-Walli, Frühwirth-Schnatter and Grün 2016,
    doi:10.1007/s11222-014-9500-2): one fit in place of a range of them. `occupied_clusters` of the
    fit is the posterior of the number of clusters. The fit's verdict names the empty clusters: its
    table of clusters is not what it is for.

    Where the sampler's adaptation is left open it becomes "low_rank": the curvature at the mode
    says nothing of clusters that come and go (four clusters of seven: 28 gradients a draw against
    456).

    Parameters
    ----------
    spec
        The model; its prior of the weights, number of clusters and ordering are replaced.
    n_clusters
        K, generously.
    concentration
        Of the symmetric Dirichlet prior of the weights; smaller empties more.

    Examples
    --------
    >>> spec = jm.sparse(jm.ModelSpec(n_clusters=2, features=["x1"]), n_clusters=8)
    >>> spec.n_clusters, spec.priors.weight.concentration
    (8, 0.05)
    """
    require_spec(spec)
    weight = Dirichlet(concentration=concentration)
    sampler = spec.sampler
    if sampler.adaptation == "auto":
        sampler = replace(sampler, adaptation="low_rank")
    return replace(
        spec,
        n_clusters=n_clusters,
        ordering="none",
        priors=replace(spec.priors, weight=weight),
        sampler=sampler,
    )


def occupied_clusters(tree: xr.DataTree) -> pd.Series:
    """Posterior distribution of the number of clusters that hold at least one row.

    Returns
    -------
    pandas.Series
        Probability of each number from 1 to K, the index ``n_clusters``.

    Raises
    ------
    SchemaError
        If the tree lacks the group ``labels`` or what was followed there.

    Examples
    --------
    >>> jm.occupied_clusters(jm.load("penguins.nc")).idxmax()
    3
    """
    labels = require_group(tree, "labels")
    if "occupied" not in labels:
        raise SchemaError("The group 'labels' does not say which clusters are occupied.")
    numbers = number_occupied(labels["occupied"].transpose(..., CLUSTER).values)
    index = pd.RangeIndex(1, len(numbers), name="n_clusters")
    return pd.Series(numbers[1:], index=index, name="probability")
