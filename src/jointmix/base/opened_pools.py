"""Pools that jobs are about to be given to: a client in place of a cluster's address."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from joblib.parallel import BACKENDS, get_active_backend

from jointmix.base.arguments import shown
from jointmix.base.clusters import connected, is_cluster
from jointmix.base.errors import SpecError
from jointmix.base.pools import JOBLIB, Pool, chosen_pool, is_dask, other_pool

#: Backends of joblib's whose workers are processes or threads of this machine.
_OF_MACHINE = ("loky", "multiprocessing", "threading", "sequential")


@contextmanager
def opened(pool: Any) -> Iterator[Any]:
    """The pool, with a client in place of the address of a scheduler.

    Raises
    ------
    SamplingError
        If the cluster has no workers, or its scheduler is lost.
    """
    if not isinstance(pool, str):
        yield pool
        return
    with connected(pool) as client:
        yield client


@contextmanager
def opened_pool(pool: Pool) -> Iterator[Pool]:
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
    if not is_cluster(chosen):
        yield chosen
        return
    with connected(chosen) as client:
        yield client


@contextmanager
def cluster_of(pool: Pool) -> Iterator[Any]:
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
        yield None
        return
    if not is_cluster(pool):
        raise SpecError(
            "A check's pool must be a Dask client or its scheduler's address, whose workers hold "
            f"the table's parts; got {shown(pool)}."
        )
    with connected(chosen_pool(pool)) as client:
        yield client
