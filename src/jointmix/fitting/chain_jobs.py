"""Chains of a fit as jobs of a pool, each of which draws one."""

from contextlib import closing

import xarray as xr
from joblib import delayed
from threadpoolctl import threadpool_limits

from jointmix.base.errors import SamplingError
from jointmix.base.machine import hidden_until_loaded
from jointmix.base.pools import Pool, run_jobs
from jointmix.base.progress import Progress
from jointmix.sampling import Control, Draws, Remaining


def drawn_chain(remaining: Remaining, chain: int) -> Draws | SamplingError:
    """A chain, or why there is none, which ends a fit where it is not its mending."""
    try:
        with threadpool_limits(1), hidden_until_loaded("jax"):
            return remaining.draw(chain)
    except SamplingError as error:
        return error


def drawn_in(
    remaining: Remaining,
    pool: Pool,
    progress: Progress | None = None,
    control: Control | None = None,
) -> xr.DataTree:
    """All chains, drawn by a pool; those that have ended when it is stopped.

    Parameters
    ----------
    pool
        As `jointmix.base.pools.run_jobs` takes it.
    progress, control
        As `jointmix.sampling.sample` takes them; a control stops between chains.

    Raises
    ------
    SamplingError
        If a chain could not start, or the pool is lost.
    KeyboardInterrupt
        If it is stopped before a chain has ended.
    """
    drawn: dict[int, Draws] = {}
    length, n = remaining.length, remaining.n

    def tell() -> None:
        if progress is not None:
            words = f"{len(drawn)} of {n} chains" if drawn else ""
            progress("sample", len(drawn) * length, n * length, words)

    tell()
    jobs = [delayed(drawn_chain)(remaining, chain) for chain in range(n)]
    try:
        with closing(run_jobs(jobs, pool)) as ended:
            for chain, found in ended:
                if isinstance(found, SamplingError):
                    raise found
                drawn[chain] = found
                tell()
                if control is not None and control.stopped:
                    break
    except KeyboardInterrupt:
        if not drawn:
            raise
    return remaining.gathered([drawn[chain] for chain in sorted(drawn)])
