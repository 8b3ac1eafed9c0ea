"""How many clusters? A range of K fitted, scored and set side by side."""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from itertools import count

import numpy as np
import pandas as pd
import xarray as xr
from joblib import Parallel, delayed

from jointmix.base.arguments import (
    jobs_number,
    progress_option,
    several,
    whole_number,
)
from jointmix.base.errors import SchemaError, SpecError
from jointmix.base.progress import ProgressOption, show_progress
from jointmix.base.schema import (
    CHAIN,
    CLUSTER,
    DRAW,
    require_group,
)
from jointmix.checks.empty import number_occupied
from jointmix.families.priors.priors import Dirichlet
from jointmix.fitting.workflow import fit
from jointmix.model.settings import LARGEST_PARETO_SHAPE
from jointmix.model.spec import ModelSpec, require_spec
from jointmix.posterior.draws import observed_rows, posterior_parameters, spread
from jointmix.posterior.leave_one_out import loo_densities
from jointmix.sampling import Control

#: Draws from which leave-one-out densities are computed, evenly spaced.
_MOST_DRAWS = 2_000
#: A difference in elpd that is no reason to prefer the larger model (Sivula, Magnusson,
#: Matamoros and Vehtari 2020, arXiv:2008.10296), and the standard errors it must exceed.
LEAST_DIFFERENCE, STANDARD_ERRORS = 4.0, 2.0


@dataclass(frozen=True, eq=False)
class Comparison:
    """Fits with several numbers of clusters.

    Attributes
    ----------
    table
        One row a K, the index ``n_clusters``. ``elpd``, the joint expected log predictive density
        by leave-one-out, with ``se``, ``elpd_diff`` to the best and ``diff_se`` of that
        difference; ``elpd_conditional`` of y given x likewise, ``conditional_diff`` and
        ``conditional_diff_se`` (NaN without a response); ``high_k``, rows whose Pareto k exceeds
        0.7; ``log_likelihood``, ``bic`` and ``icl`` at EM's best mode; ``occupied``, posterior
        mean number of clusters that hold a row; ``smallest``, expected rows of the smallest
        cluster; ``verdict``.
    trees
        The fits, by K.
    best
        The smallest K whose joint elpd is not clearly below the largest: by less than 4, or by
        less than two standard errors of the difference.
    text
        What the criteria say, and what it means where they disagree.
    """

    table: pd.DataFrame
    trees: dict[int, xr.DataTree]
    best: int
    text: str

    def __str__(self) -> str:
        """The text."""
        return self.text

    def __repr__(self) -> str:
        """The text, which is what a notebook shows."""
        return str(self)


def compare(
    table: object,
    spec: ModelSpec,
    n_clusters: Iterable[int] = range(1, 7),
    seed: int = 1,
    jobs: int = 1,
    progress: ProgressOption = None,
) -> Comparison:
    """Fit a range of numbers of clusters, and score each fit.

    Parameters
    ----------
    table
        As `fit` takes it.
    spec
        The model; its own number of clusters is replaced.
    n_clusters
        The numbers to try.
    seed
        Of each fit.
    jobs
        Fits at a time, in threads that share the compiled model; each samples its chains in
        threads of its own.
    progress
        As for `fit`; a function is called as ``progress("compare", done, total, note)`` after each
        fit.

    Raises
    ------
    SpecError
        If fewer than two numbers are given, or a prior is fixed cluster by cluster.
    DataError
        If the table cannot be fitted.
    """
    require_spec(spec)
    seed, jobs = whole_number("seed", seed, 0), jobs_number(jobs)
    progress_option(progress)
    given = several("n_clusters", n_clusters, "numbers of clusters")
    numbers = sorted({whole_number("n_clusters", number, 1) for number in given})
    if len(numbers) < 2:
        raise SpecError(f"compare needs two numbers of clusters or more; got {numbers}.")
    specs = [_with_clusters(spec, number) for number in numbers]
    done, control = count(1), Control()

    def one(number: int, each: ModelSpec) -> xr.DataTree:
        if control.stopped:
            raise KeyboardInterrupt
        tree = fit(table, each, seed, False, control)
        if tree.attrs["partial"]:
            # Fits of unequal numbers of draws are not compared: Ctrl-C ends them all.
            control.stop()
            raise KeyboardInterrupt
        tell("compare", next(done), len(numbers), f"K = {number}: {tree.attrs['verdict']}")
        return tree

    with show_progress(progress) as tell:
        tell("compare", 0, len(numbers), "")
        try:
            # The first compiles what all others use.
            first = one(numbers[0], specs[0])
            pairs = zip(numbers[1:], specs[1:], strict=True)
            rest = Parallel(n_jobs=jobs, prefer="threads")(delayed(one)(*pair) for pair in pairs)
        finally:
            # Threads that still sample when another has failed would keep the process alive.
            control.stop()
    trees = dict(zip(numbers, [first, *rest], strict=True))
    scores = {number: _pointwise(tree, spec) for number, tree in trees.items()}
    frame = _table(trees, scores, spec)
    best = choose(frame)
    return Comparison(frame, trees, best, describe(frame, best))


def _with_clusters(spec: ModelSpec, number: int) -> ModelSpec:
    try:
        return replace(spec, n_clusters=number)
    except SpecError as error:
        raise SpecError(f"With {number} clusters: {error}") from error


def _pointwise(tree: xr.DataTree, spec: ModelSpec) -> dict[str, np.ndarray]:
    """Leave-one-out log densities and Pareto k of each row, (obs,)."""
    parameters = posterior_parameters(tree)
    used = spread(len(parameters.weight), _MOST_DRAWS)
    joint, feature, shape = loo_densities(
        observed_rows(tree, spec), parameters.take(used.tolist()), spec
    )
    return {"joint": joint, "conditional": joint - feature, "shape": shape}


def _difference(one: np.ndarray, best: np.ndarray) -> tuple[float, float]:
    """Sum of the rows' differences, and its standard error."""
    gap = one - best
    return float(gap.sum()), float(np.sqrt(len(gap) * gap.var()))


def _table(
    trees: dict[int, xr.DataTree], scores: dict[int, dict[str, np.ndarray]], spec: ModelSpec
) -> pd.DataFrame:
    top = {
        name: max(scores, key=lambda number: scores[number][name].sum())
        for name in ("joint", "conditional")
    }
    rows = []
    for number, tree in trees.items():
        own = scores[number]
        joint, conditional = own["joint"], own["conditional"]
        diff, diff_se = _difference(joint, scores[top["joint"]]["joint"])
        y_diff, y_se = _difference(conditional, scores[top["conditional"]]["conditional"])
        mode = tree["modes"].to_dataset().isel(mode=0)
        weight = tree["posterior"]["weight"].mean((CHAIN, DRAW))
        numbers = number_occupied(tree["labels"]["occupied"].transpose(..., CLUSTER).values)
        row = {
            "n_clusters": number,
            "elpd": joint.sum(),
            "se": np.sqrt(len(joint) * joint.var()),
            "elpd_diff": diff,
            "diff_se": diff_se,
            "elpd_conditional": conditional.sum(),
            "conditional_diff": y_diff,
            "conditional_diff_se": y_se,
            "high_k": int((own["shape"] > LARGEST_PARETO_SHAPE).sum()),
            **{name: float(mode[name]) for name in ("log_likelihood", "bic", "icl")},
            "occupied": float(numbers @ np.arange(len(numbers))),
            "smallest": float(weight.min()) * int(tree.attrs["n_obs"]),
            "verdict": str(tree.attrs["verdict"]),
        }
        rows.append(row)
    frame = pd.DataFrame(rows).set_index("n_clusters")
    if spec.response is None:
        frame[["elpd_conditional", "conditional_diff", "conditional_diff_se"]] = np.nan
    return frame


def choose(table: pd.DataFrame) -> int:
    """The smallest K whose joint elpd is not clearly below the largest.

    Parameters
    ----------
    table
        With ``elpd_diff`` and ``diff_se``, one row a K.
    """
    allowed = np.maximum(LEAST_DIFFERENCE, STANDARD_ERRORS * table["diff_se"])
    return int(table.index[(-table["elpd_diff"] <= allowed).to_numpy()].min())


def describe(table: pd.DataFrame, best: int) -> str:
    """What the criteria say, and what it means where they disagree.

    Parameters
    ----------
    table
        Of a `Comparison`.
    best
        The K chosen by the joint elpd.
    """
    bic, icl = int(table["bic"].idxmin()), int(table["icl"].idxmin())
    sentences = [
        f"The rows are predicted about as well with {_clusters(best)} as with any number tried "
        f"(joint elpd {table.loc[best, 'elpd']:,.1f}); BIC favours {bic}, ICL {icl}."
    ]
    if table["elpd_conditional"].notna().all():
        top = int(table["elpd_conditional"].idxmax())
        allowed = np.maximum(LEAST_DIFFERENCE, STANDARD_ERRORS * table["conditional_diff_se"])
        enough = int(table.index[(-table["conditional_diff"] <= allowed).to_numpy()].min())
        sentences.append(
            f"The response given the features is predicted best with {_clusters(top)}"
            + (f", and not clearly worse with {enough}." if enough != top else ".")
        )
        if enough < best:
            sentences.append(
                "The clusters beyond that describe the features, not the regression: fewer will do "
                "if prediction of the response is all that is wanted."
            )
    if bic < best:
        sentences.append(
            "BIC asks more of each parameter than prediction does: the further clusters may "
            "describe a shape that is not Gaussian rather than groups."
        )
    if bic > best:
        sentences.append(
            "BIC sees more clusters than predict better: they may be few rows near a mode of the "
            "likelihood."
        )
    if icl < min(bic, best):
        sentences.append(
            "ICL counts separate groups: some of the others' clusters overlap, and together "
            "describe one group."
        )
    unreliable = [str(number) for number in table.index[table["high_k"] > 0]]
    if unreliable:
        sentences.append(
            f"Some rows have Pareto k above {LARGEST_PARETO_SHAPE} (K = {', '.join(unreliable)}): "
            "their leave-one-out densities are optimistic."
        )
    warned = [str(number) for number in table.index[table["verdict"] == "DO NOT USE"]]
    if warned:
        sentences.append(f"The fits with K = {', '.join(warned)} are not to be used.")
    return " ".join(sentences)


def _clusters(number: int) -> str:
    return "1 cluster" if number == 1 else f"{number} clusters"


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
    """
    labels = require_group(tree, "labels")
    if "occupied" not in labels:
        raise SchemaError("The group 'labels' does not say which clusters are occupied.")
    numbers = number_occupied(labels["occupied"].transpose(..., CLUSTER).values)
    index = pd.RangeIndex(1, len(numbers), name="n_clusters")
    return pd.Series(numbers[1:], index=index, name="probability")
