"""One replicate: parameters and a table from the prior, a fit, and the truth's ranks in it."""

import math
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from types import MappingProxyType

import numpy as np
import xarray as xr
from threadpoolctl import threadpool_limits

from jointmix.base.chains import effective_sizes
from jointmix.base.errors import JointmixError
from jointmix.base.schema import (
    CHAIN,
    CLUSTER,
    DRAW,
    POINT,
)
from jointmix.families.parameters import Parameters
from jointmix.families.rows import Rows
from jointmix.model.dataset import make_dataset
from jointmix.model.demands import minimum_rows
from jointmix.model.discrete import labelled
from jointmix.model.holes import with_holes
from jointmix.model.packing import packed
from jointmix.model.prior_draws import prior_draws
from jointmix.model.spec import ModelSpec
from jointmix.posterior.allocations import allocation_draws
from jointmix.posterior.draws import draw_parameters, observed_rows
from jointmix.posterior.replication import drawn_tables, predictive_draws
from jointmix.validation.calibration.quantities import (
    drawn_quantities,
    ends,
    invariant_quantities,
    new_response,
    parameter_quantities,
    true_invariants,
)

#: Draws of the prior made at a time; a replicate's truth does not depend on how many are run.
BLOCK = 100
#: How often the draws are doubled where too few of them are effective.
_DOUBLINGS = 3

#: Gives the fit of a table, from the table, the model and a seed.
Analysis = Callable[[dict[str, np.ndarray], ModelSpec, int], xr.DataTree]


@dataclass(frozen=True)
class Replicate:
    """What one replicate gave.

    Attributes
    ----------
    number
        From 0.
    ranks
        Quantity → how many of the thinned draws lie below the truth; empty if the fit failed.
    ess
        Smallest bulk effective sample size of the quantities, over all draws.
    draws
        Draws of all chains, before thinning.
    divergences
        Their number.
    verdict
        Of the fit.
    seconds
        Of wall clock.
    failure
        Why there is no fit; empty if there is one.
    """

    number: int
    ranks: dict[str, int] = field(default_factory=dict)
    ess: float = 0.0
    draws: int = 0
    divergences: int = 0
    verdict: str = ""
    seconds: float = 0.0
    failure: str = ""


def true_arrays(spec: ModelSpec, block: int, seed: int) -> dict[str, np.ndarray]:
    """Parameters of one block of replicates, by name, (replicate, cluster, ...), from the prior."""
    rng = np.random.default_rng(seed)
    n = max(2 * len(spec.columns), minimum_rows(spec)) + 1
    # The model asks for rows; the prior does not depend on them.
    columns: dict[str, np.ndarray] = {name: rng.normal(size=n) for name in spec.columns}
    if spec.linked:
        # Zeros and ones are counts too; ones and twos are positive.
        columns[str(spec.response)] = np.arange(n) % 2.0 + spec.blocks[-1].positive
    if spec.trials is not None:
        columns[spec.trials] = np.full(n, 2.0)
    # Of two counts, which all that is discrete may be, or of all levels.
    codes = {own.column: np.arange(n) % (len(own.levels) or 2) for own in spec.discrete}
    columns |= {name: own.astype(float) for name, own in codes.items()}
    rows = make_dataset(columns | labelled(codes, spec.discrete), spec)
    own = int(np.random.SeedSequence([seed, block]).generate_state(1)[0])
    return prior_draws(rows, BLOCK, own)


def run_replicate(
    spec: ModelSpec,
    arrays: Mapping[str, np.ndarray],
    n_rows: int,
    number: int,
    seed: int,
    n_ranked: int,
    names: tuple[str, ...],
    analyse: Analysis,
    missing: Mapping[str, float] = MappingProxyType({}),
) -> Replicate:
    """Draw a table at true parameters, fit it, and rank the truth among the draws.

    Parameters
    ----------
    spec
        The model, priors on the scale of the table.
    arrays
        The true parameters by name, (1, cluster, ...).
    n_rows
        Rows of the table.
    number, seed
        Of the replicate, and of the calibration: together they settle all randomness.
    n_ranked
        Draws among which the truth is ranked.
    names
        The parameters that are ranked; what is not drawn is left out.
    analyse
        The fit to be calibrated.
    missing
        Shares of the entries that are deleted at random, by column.
    """
    began = time.perf_counter()
    rng = np.random.default_rng([seed, number, 1])
    table, clusters = _table(spec, packed(arrays, spec), n_rows, rng)
    # A new response is drawn at the first row, which stays whole.
    table = with_holes(table, missing, spec, rng, n_whole=1)
    try:
        tree, ess = _fit(table, spec, int(rng.integers(2**31)), n_ranked, names, analyse)
    except JointmixError as error:
        failure = f"{type(error).__name__}: {error}"
        return Replicate(number, seconds=time.perf_counter() - began, failure=failure)
    ranks = _ranks(tree, arrays, clusters, spec, n_ranked, names, rng)
    posterior, stats = tree["posterior"], tree["sample_stats"].to_dataset()
    return Replicate(
        number=number,
        ranks=ranks,
        ess=ess,
        draws=posterior.sizes[CHAIN] * posterior.sizes[DRAW],
        divergences=int(stats["diverging"].sum()) if "diverging" in stats else 0,
        verdict=str(tree.attrs.get("verdict", "")),
        seconds=time.perf_counter() - began,
    )


def _table(
    spec: ModelSpec, truth: Parameters, n_rows: int, rng: np.random.Generator
) -> tuple[dict[str, np.ndarray], np.ndarray]:
    """Columns by name, and the cluster of each row, (1, obs).

    Predictors outside, and an offset, are N(0, 1); trials are 1 to 20, each as often.
    """
    u = rng.normal(size=(n_rows, len(spec.predictors)))
    none = np.zeros(n_rows)
    offset = rng.normal(size=n_rows) if spec.offset is not None else none
    trials = None if spec.trials is None else rng.integers(1, 21, n_rows).astype(float)
    x = np.zeros((n_rows, len(spec.features)))
    rows = Rows(x, u, none, offset=offset, trials=trials)
    drawn = drawn_tables(truth, rows, spec, int(rng.integers(2**31)))
    table = {name: u[:, i] for i, name in enumerate(spec.predictors)}
    table |= {} if spec.offset is None else {spec.offset: offset}
    table |= {} if spec.trials is None or trials is None else {spec.trials: trials}
    table |= {
        name: drawn[f"column {name}"][0] for name in spec.columns if f"column {name}" in drawn
    }
    table = {name: table[name] for name in spec.columns}
    return table | labelled(table, spec.discrete), drawn["cluster"]


def _fit(
    table: dict[str, np.ndarray],
    spec: ModelSpec,
    seed: int,
    n_ranked: int,
    names: tuple[str, ...],
    analyse: Analysis,
) -> tuple[xr.DataTree, float]:
    """The fit, with draws doubled until enough of them are effective, and how many are."""
    for doubling in range(_DOUBLINGS + 1):
        settings = replace(spec.sampler, draws=spec.sampler.draws * 2**doubling)
        # Sums over another number of threads round differently, and chains amplify it.
        with threadpool_limits(1):
            tree = analyse(table, replace(spec, sampler=settings), seed)
        ess = _least_ess(tree, spec, names)
        if ess >= n_ranked:
            break
    return tree, ess


def _smooth(tree: xr.DataTree, spec: ModelSpec, names: tuple[str, ...]) -> dict[str, np.ndarray]:
    """Parameters and invariants of all draws, name → (chain, draw)."""
    posterior = tree["posterior"].to_dataset()
    shape = (posterior.sizes[CHAIN], posterior.sizes[DRAW])
    own = parameter_quantities(_arrays(posterior), spec)
    found = {name: own[name].reshape(shape) for name in names}
    invariant = tree["invariant"].to_dataset()
    followed = observed_rows(tree, spec).take(invariant[POINT].values)
    return found | invariant_quantities(invariant, ends(followed))


def _arrays(posterior: xr.Dataset) -> dict[str, np.ndarray]:
    """Parameters by name, (draw, cluster, ...), chains one after the other."""
    found = {}
    for name, draws in posterior.data_vars.items():
        values = draws.transpose(CHAIN, DRAW, CLUSTER, ...).values
        found[str(name)] = values.reshape(math.prod(values.shape[:2]), *values.shape[2:])
    return found


def _least_ess(tree: xr.DataTree, spec: ModelSpec, names: tuple[str, ...]) -> float:
    # A variance may be infinite. Effective sizes are of ranks, which the largest number has too.
    stacked = np.minimum(np.stack(list(_smooth(tree, spec, names).values())), np.finfo(float).max)
    return float(effective_sizes(stacked).min())


def _ranks(
    tree: xr.DataTree,
    truth: Mapping[str, np.ndarray],
    clusters: np.ndarray,
    spec: ModelSpec,
    n_ranked: int,
    names: tuple[str, ...],
    rng: np.random.Generator,
) -> dict[str, int]:
    rows, point = observed_rows(tree, spec), packed(truth, spec)
    invariant = tree["invariant"].to_dataset()
    smooth = {name: values.ravel() for name, values in _smooth(tree, spec, names).items()}
    total = len(next(iter(smooth.values())))
    kept = ((np.arange(n_ranked) + 0.5) * total / n_ranked).astype(int)
    own = parameter_quantities(truth, spec)
    true = {name: float(own[name][0]) for name in names}
    true |= true_invariants(point, rows, invariant, spec)
    drawn = {name: values[kept] for name, values in smooth.items()}
    response = new_response(point, rows, rng, spec)
    of_truth = drawn_quantities(truth, point, rows, clusters, response, spec)
    true |= {name: float(value[0]) for name, value in of_truth.items()}
    drawn |= _drawn(_thinned(tree, kept), rows, spec, int(rng.integers(2**31)))
    return {name: _rank(true[name], drawn[name], rng) for name in true}


def _rank(true: float, draws: np.ndarray, rng: np.random.Generator) -> int:
    """How many draws lie below; of equal ones a random number."""
    equal = int((draws == true).sum())
    return int((draws < true).sum() + rng.integers(equal + 1))


def _thinned(tree: xr.DataTree, kept: np.ndarray) -> xr.DataTree:
    """The fit with these draws alone, as one chain."""
    posterior = tree["posterior"].to_dataset()
    chain, draw = np.divmod(kept, posterior.sizes[DRAW])
    place = {CHAIN: xr.DataArray(chain, dims="kept"), DRAW: xr.DataArray(draw, dims="kept")}
    bare = posterior.drop_vars([CHAIN, DRAW], errors="ignore").isel(place)
    one = bare.rename({"kept": DRAW}).expand_dims(CHAIN)
    result = tree.copy()
    result["posterior"] = xr.DataTree(one.assign_coords({CHAIN: [0], DRAW: np.arange(len(kept))}))
    return result


def _drawn(tree: xr.DataTree, rows: Rows, spec: ModelSpec, seed: int) -> dict[str, np.ndarray]:
    """`drawn_quantities` of a fit, by the functions that users call."""
    posterior = tree["posterior"].to_dataset()
    labels = allocation_draws(tree, seed=seed).values[0]
    allocation = np.searchsorted(posterior[CLUSTER].values, labels)
    response = None
    if spec.response is not None:
        # Of the fit's own rows the first: a model without columns beside y has no table to give.
        response = predictive_draws(tree, None, len(labels), seed + 1).values[0, :, 0]
    parameters = draw_parameters(posterior, CLUSTER, spec)
    return drawn_quantities(_arrays(posterior), parameters, rows, allocation, response, spec)
