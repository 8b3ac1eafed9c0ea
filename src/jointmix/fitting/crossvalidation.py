"""Scores by fitting anew: without single influential rows, or without a fold at a time."""

import numpy as np
import xarray as xr
from joblib import delayed

from jointmix.base.arguments import jobs_number, progress_option, shown, whole_number
from jointmix.base.errors import SpecError
from jointmix.base.pools import Pool, other_pool, run_jobs, run_threads
from jointmix.base.progress import ProgressOption, show_progress
from jointmix.base.schema import CLUSTER, OBS, require_group
from jointmix.families.rows import Rows
from jointmix.fitting.workflow import fit
from jointmix.model.settings import LARGEST_PARETO_SHAPE
from jointmix.model.spec import ModelSpec
from jointmix.posterior.draws import fitted_spec, observed_rows, observed_table, source_table
from jointmix.posterior.scores import Scores, make_scores, score_new


def reloo(
    tree: xr.DataTree,
    scores: Scores,
    most_refits: int = 20,
    jobs: int = 1,
    progress: ProgressOption = None,
    *,
    pool: Pool = None,
) -> Scores:
    """Replace the densities of influential rows by those of fits without them.

    Each fit is made as the tree's was, its columns' scale being that of the rows kept. Of a row
    that stands for several, one is left out: the fit is made with its weight less one.

    Parameters
    ----------
    tree
        The fit.
    scores
        Its leave-one-out scores.
    most_refits
        Refused beyond that many rows with Pareto k > 0.7: `kfold` takes fewer fits.
    jobs
        Fits at a time, in threads.
    progress
        As for `fit`; a function is called as ``progress("reloo", done, total, "")`` after each fit.
    pool
        Where fits run besides this process, as `compare` takes it.

    Raises
    ------
    SpecError
        If more fits would be needed, or the scores leave out some rows only.

    Examples
    --------
    >>> tree = jm.load("penguins.nc")
    >>> scores = jm.loo(tree)
    >>> len(jm.reloo(tree, scores).influential)
    0
    """
    fitted_spec(tree)
    if not isinstance(scores, Scores):
        raise SpecError(f"reloo takes the scores that loo gave; got {shown(scores)}.")
    most_refits, jobs = whole_number("most_refits", most_refits, 0), jobs_number(jobs)
    progress_option(progress)
    pool = other_pool(pool, jobs)
    high = scores.influential
    if scores.pointwise.sizes[OBS] < scores.n_rows:
        raise SpecError("reloo needs scores of every row; raise most_rows.")
    if len(high) > most_refits:
        raise SpecError(
            f"{len(high)} rows have Pareto k above {LARGEST_PARETO_SHAPE}, more than "
            f"most_refits={most_refits}; use kfold, or raise most_refits."
        )
    if high.empty:
        return scores
    values = {str(name): array.values.copy() for name, array in scores.pointwise.items()}
    values.setdefault("feature", np.zeros(scores.n_rows))
    places = [np.array([place]) for place in high["place"]]
    refits = _each_without(tree, places, jobs, pool, "reloo", progress, one_copy=True)
    for place, found in zip(places, refits, strict=True):
        for name, value in found.items():
            values[name][place] = value
    return make_scores(tree, np.arange(scores.n_rows), values, f"{scores.method} with refits")


def kfold(
    tree: xr.DataTree,
    folds: int = 10,
    seed: int = 1,
    jobs: int = 1,
    progress: ProgressOption = None,
    *,
    pool: Pool = None,
) -> Scores:
    """Scores of each row by fits without its fold, folds having the clusters' shares of rows.

    A row is in one fold with all of its weight: where weights stand for repeated rows, all copies
    are left out together, which asks more of the fit than leaving them out apart.

    Parameters
    ----------
    tree
        A fitted tree; each fit is made as it was, its columns' scale being that of the rows kept.
    folds
        Their number, from 2 to the number of rows.
    seed
        Of the rows' assignment to folds.
    jobs
        Fits at a time, in threads.
    progress
        As for `fit`; a function is called as ``progress("kfold", done, total, "")`` after each fit.
    pool
        Where fits run besides this process, as `compare` takes it.

    Raises
    ------
    SpecError
        If the number of folds is out of range.
    DataError
        If a fold leaves too few rows for the model.

    Examples
    --------
    >>> table = jm.simulate(jm.four_clusters(2), 60, seed=1)
    >>> quick = jm.SamplerSpec(sampler="laplace", draws=100, chains=2)
    >>> tree = jm.fit(table, "y ~ x1", n_clusters=2, sampler=quick)
    >>> jm.kfold(tree, folds=3).n_rows
    60
    """
    fitted_spec(tree)
    folds, seed = whole_number("folds", folds, 2), whole_number("seed", seed, 0)
    jobs, progress = jobs_number(jobs), progress_option(progress)
    pool = other_pool(pool, jobs)
    share = require_group(tree, "allocation")["responsibility"]
    allocation = share.transpose(OBS, CLUSTER).values.argmax(axis=1)
    n = len(allocation)
    if folds > n:
        raise SpecError(f"folds must lie between 2 and the number of rows, {n}; got {folds}.")
    places = stratified(allocation, folds, seed)
    values: dict[str, np.ndarray] = {}
    refits = _each_without(tree, places, jobs, pool, "kfold", progress)
    for place, found in zip(places, refits, strict=True):
        for name, value in found.items():
            values.setdefault(name, np.empty(n))[place] = value
    return make_scores(tree, np.arange(n), values, f"{folds}-fold cross-validation")


def stratified(allocation: np.ndarray, folds: int, seed: int) -> list[np.ndarray]:
    """Places of the rows of each fold; a cluster's rows are dealt out evenly.

    Parameters
    ----------
    allocation
        Cluster of each row, (obs,).
    """
    mixed = np.random.default_rng(seed).permutation(len(allocation))
    dealt = mixed[np.argsort(allocation[mixed], kind="stable")]
    return [np.sort(dealt[fold::folds]) for fold in range(folds)]


def _each_without(
    tree: xr.DataTree,
    places: list[np.ndarray],
    jobs: int,
    pool: Pool,
    stage: str,
    progress: ProgressOption,
    one_copy: bool = False,
) -> list[dict[str, np.ndarray]]:
    """Scores of the rows at each of ``places`` by a fit of all others.

    With ``one_copy``, other copies of these rows are kept.
    """
    if int(tree.attrs.get("n_fitted", 0)) > int(tree.attrs["n_obs"]):
        raise SpecError(
            "This fit holds a sample of the rows that it was fitted to, so that it cannot be "
            "fitted to all others again; leave rows out of a fit without pool."
        )
    # Predictors are made already: what was learned for them is of all rows.
    spec, seed = fitted_spec(tree).plain, int(tree.attrs["seed"])
    table, rows = observed_table(tree, spec), observed_rows(tree, fitted_spec(tree))
    if rows.completions is not None:
        # But where levels are missing of which they are made.
        spec = fitted_spec(tree)
        table |= source_table(tree)

    def without(place: np.ndarray) -> dict[str, np.ndarray]:
        left = rows.weights.copy()
        left[place] -= rows.units[place] if one_copy else left[place]
        inside = left > 0
        held = table | ({spec.row_weights: left} if spec.row_weights is not None else {})
        return {name: column[inside] for name, column in held.items()}

    tasks = (delayed(_score)(without(place), spec, seed, rows.take(place)) for place in places)
    found: dict[int, dict[str, np.ndarray]] = {}
    with show_progress(progress) as tell:
        tell(stage, 0, len(places), "")
        ended = run_threads(tasks, jobs) if pool is None else run_jobs(tasks, pool)
        for number, scores in ended:
            found[number] = scores
            tell(stage, len(found), len(places), "")
    return [found[number] for number in range(len(places))]


def _score(
    kept: dict[str, np.ndarray], spec: ModelSpec, seed: int, rows: Rows
) -> dict[str, np.ndarray]:
    """Scores of rows by a fit of others."""
    return score_new(fit(kept, spec, seed, progress=False), rows)
