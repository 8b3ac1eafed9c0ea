"""Pools that jobs are about to be given to: a client in place of a cluster's address."""

from contextlib import AbstractContextManager, nullcontext
from typing import Any

from joblib.parallel import BACKENDS, get_active_backend

from jointmix.base.arguments import shown
from jointmix.base.clusters import connected, is_cluster
from jointmix.base.errors import SpecError
from jointmix.base.pools import JOBLIB, Pool, chosen_pool, is_dask, other_pool

#: Backends of joblib's whose workers are processes or threads of this machine.
_OF_MACHINE = ("loky", "multiprocessing", "threading", "sequential")


def opened(pool: Any) -> AbstractContextManager[Any]:
    """The pool, with a client in place of the address of a scheduler.

    Raises
    ------
    SamplingError
        If the cluster has no workers, or its scheduler is lost.
    """
    return connected(pool) if isinstance(pool, str) else nullcontext(pool)


def opened_pool(pool: Pool) -> AbstractContextManager[Pool]:
    """The pool for jobs that threads of this process do as well: a client where it is a cluster.

    None is joblib's backend only where that reaches beyond this machine, and else stays None.

    Raises
    ------
    SpecError, SamplingError, MissingExtraError
        As `chosen_pool` does; or if a cluster has no workers, or is lost.
    """
    chosen, (backend, _) = other_pool(pool, 1), get_active_backend()
    if chosen is JOBLIB and isinstance(backend, tuple(BACKENDS[name] for name in _OF_MACHINE)):
        chosen = None
    elif chosen is JOBLIB and is_dask(backend):
        chosen = backend.client
    return connected(chosen) if is_cluster(chosen) else nullcontext(chosen)


def cluster_of(pool: Pool) -> AbstractContextManager[Any]:
    """A client of the Dask cluster that a pool is; None if there is no pool.

    Raises
    ------
    SpecError
        If it is another pool.
    SamplingError
        If no scheduler answers, or there are no workers.
    MissingExtraError
        If that needs Dask and it is not installed.
    """
    if pool is None:
        return nullcontext()
    if not is_cluster(pool):
        raise SpecError(
            "A check's pool must be a Dask client or its scheduler's address, whose workers hold "
            f"the table's parts; got {shown(pool)}."
        )
    return connected(chosen_pool(pool))
