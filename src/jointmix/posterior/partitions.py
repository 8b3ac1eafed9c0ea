"""One partition of the rows that is closest to all drawn ones."""

from typing import Literal, get_args

import numpy as np
import xarray as xr
from scipy.special import xlogy

from jointmix.base.arguments import shown, whole_number
from jointmix.base.errors import DataError, SpecError
from jointmix.base.schema import CLUSTER, OBS, require_group
from jointmix.kernel.partition import expected_loss, improve
from jointmix.posterior.allocations import drawn_allocations
from jointmix.posterior.draws import fitted_spec, posterior_parameters, spread, table_rows

Loss = Literal["vi", "binder"]

#: Rows and draws from which a partition is made.
_MOST_PARTITIONED, _PARTITION_DRAWS = 200_000, 500
#: Rows that the rows of a partition stand for.
_MOST_COPIES = 20_000_000
#: Drawn allocations from which the search for a partition starts, besides the best allocation.
_STARTS = 8


def partition(tree: xr.DataTree, loss: Loss = "vi", seed: int = 1) -> xr.Dataset:
    """The partition of the fit's rows that is closest to the drawn ones.

    Labels do not enter, so that it is defined where they switch. The search moves single rows and
    merges groups, from the most probable allocation and from several drawn ones, in the manner of
    Dahl, Johnson and Müller (2022, doi:10.1080/10618600.2022.2069779), over at most 500 draws. A
    row that stands for several counts as often, and they stay together; of weights that are no
    whole numbers, each row counts once.

    Parameters
    ----------
    tree
        A fitted tree.
    loss
        "vi", the variation of information in bits (Wade and Ghahramani 2018,
        doi:10.1214/17-BA1073); or "binder", the share of ordered pairs of rows, each row with
        itself among them, that are together in one partition only.
    seed
        Of the drawn allocations and the order of moves.

    Returns
    -------
    xarray.Dataset
        `partition` (obs), groups numbered from 1 by their size; `expected_loss`, of that
        partition; `best_allocation_loss`, of the most probable allocation; `n_groups`.

    Raises
    ------
    SpecError
        If the loss is unknown.
    DataError
        If the fit has more than 200,000 rows, or they stand for more than 20,000,000.

    Examples
    --------
    >>> int(jm.partition(jm.load("penguins.nc"))["n_groups"])
    3
    """
    if not isinstance(loss, str) or loss not in get_args(Loss):
        raise SpecError(f"loss must be one of {', '.join(get_args(Loss))}; got {shown(loss)}.")
    seed = whole_number("seed", seed, 0)
    spec, parameters = fitted_spec(tree), posterior_parameters(tree)
    rows, _ = table_rows(tree, spec, None, spec.response)
    n = len(rows.y)
    if n > _MOST_PARTITIONED:
        raise DataError(f"A partition takes at most {_MOST_PARTITIONED} rows; the fit has {n}.")
    used = spread(len(parameters.weight), _PARTITION_DRAWS)
    thinned = parameters.take(used.tolist())
    drawn = np.ascontiguousarray(drawn_allocations(rows, thinned, spec, True, seed).T)
    copies = rows.copies.round().astype(np.int64)
    total = int(copies.sum())
    if total > _MOST_COPIES:
        raise DataError(
            f"A partition takes rows that stand for at most {_MOST_COPIES}; these stand for "
            f"{total}."
        )
    number = np.arange(total + 1.0)
    f = xlogy(number, number) / (np.log(2) * total) if loss == "vi" else number**2 / total**2
    rng = np.random.default_rng(seed)
    best = (
        require_group(tree, "allocation")["responsibility"]
        .transpose(OBS, CLUSTER)
        .values.argmax(axis=1)
    )
    starts = [best, *(drawn[:, s] for s in spread(drawn.shape[1], _STARTS))]
    k = parameters.weight.shape[1]
    found = [improve(drawn, f, start, k, rng.permutation(n), copies) for start in starts]
    group, least = min(found, key=lambda each: each[1])
    sizes = np.bincount(group, copies, k)
    rank = np.empty(k, dtype=int)
    rank[np.argsort(-sizes, kind="stable")] = np.arange(1, k + 1)
    return xr.Dataset(
        {
            "partition": (OBS, rank[group]),
            "expected_loss": max(least, 0.0),
            "best_allocation_loss": expected_loss(drawn, f, best, copies),
            "n_groups": int((sizes > 0).sum()),
        },
        coords={OBS: rows.label},
        attrs={"loss": loss, "unit": "bit" if loss == "vi" else "share of pairs"},
    )
