"""How much memory a fit will take, estimated before it runs."""

from dataclasses import dataclass

import numpy as np

from jointmix.base.errors import MemoryLimitError
from jointmix.base.machine import available
from jointmix.kernel.problem import n_free
from jointmix.model.settings import APPROXIMATIONS, CANDIDATES
from jointmix.model.spec import ModelSpec
from jointmix.modes.em import BATCH_NUMBERS
from jointmix.sampling.backends import n_devices

_DOUBLE = 8
_GIB = 2**30
#: Bytes taken by Python and the libraries, whatever is fitted.
_LIBRARIES = {"kernel": 0.4e9, "numba": 1.0e9, "jax": 1.0e9}
#: Densities and predictions at fixed rows that are followed, and the log likelihood.
_FOLLOWED = 21
#: Copies of the draws that exist at the same time: sampled, identified, as densities take them, and
#: on their way to checks and disk.
_COPIES = 5
#: Arrays of a chain's densities, (row, component), that a gradient on a device holds.
_DEVICE_ARRAYS = 12
#: Arrays of EM's batches that exist at the same time; those of the labels are no larger.
_BATCH_ARRAYS = 8


@dataclass(frozen=True)
class Memory:
    """Bytes that a fit is expected to hold at its largest."""

    libraries: float
    draws: float
    rows: float

    @property
    def total(self) -> float:
        """All together."""
        return self.libraries + self.draws + self.rows


def estimate(spec: ModelSpec, n_rows: int, backend: str) -> Memory:
    """The memory a fit will hold, in bytes.

    Nothing of size chains × draws × rows × clusters is ever held: draws and rows are separate.
    """
    settings = spec.sampler
    n_draws = settings.chains * settings.draws
    width = sum(int(np.prod(shape)) for shape in spec.shapes.values())
    per_draw = _COPIES * width + (n_free(spec) if backend != "kernel" else 0) + 20
    followed = len(spec.features) + 1
    per_draw += _FOLLOWED + followed + followed**2 + 4 * spec.n_clusters
    columns = len(spec.columns)
    per_row = 6 * columns + 4 * spec.n_clusters
    if spec.linked:
        # The products of predictors that its M-step adds up.
        per_row += (1 + len(spec.predictors)) ** 2
    work = _BATCH_ARRAYS * BATCH_NUMBERS
    if settings.sampler in APPROXIMATIONS:
        per_draw += CANDIDATES * (n_free(spec) + 2)
    if settings.sampler in ("independence", "auto"):
        per_draw += 2 * n_free(spec)
    if backend != "kernel":
        terms = 1 + columns + columns * (columns + 1) // 2
        per_row += terms + 4 * spec.n_clusters
    return Memory(
        libraries=_LIBRARIES[backend],
        draws=n_draws * per_draw * _DOUBLE,
        rows=(n_rows * per_row + work) * _DOUBLE,
    )


def on_device(spec: ModelSpec, n_rows: int, n_devices: int) -> float:
    """Bytes that a device holds at its largest, of rows spread over so many of them."""
    settings, columns = spec.sampler, len(spec.columns)
    terms = 1 + columns + columns * (columns + 1) // 2
    # Chains run side by side, each with its own components' densities and their derivatives.
    densities = settings.chains * spec.n_clusters * _DEVICE_ARRAYS
    return -(-n_rows // n_devices) * (columns + 1 + terms + densities) * _DOUBLE


def require(spec: ModelSpec, n_rows: int, backend: str, completed: bool = False) -> Memory:
    """The estimate, if it fits.

    Raises
    ------
    MemoryLimitError
        If it exceeds what is free, here or on JAX's devices where it runs on those; the sentence
        says what takes most and what to do.
    """
    if backend == "jax":
        _require_devices(spec, n_rows, completed)
    needed, free = estimate(spec, n_rows, backend), available()
    if needed.total > free:
        settings = spec.sampler
        if needed.libraries > max(needed.draws, needed.rows):
            most = "most of it is taken by the libraries; free some memory"
        elif needed.draws > needed.rows:
            most = (
                f"{settings.chains} × {settings.draws} draws take {needed.draws / _GIB:.1f} GiB; "
                f"ask for at most {_fitting_draws(needed, free, settings.draws)} draws a chain"
            )
        else:
            most = f"{n_rows} rows take {needed.rows / _GIB:.1f} GiB; fit a sample of them"
        raise MemoryLimitError(
            f"The fit needs about {needed.total / _GIB:.1f} GiB of memory and "
            f"{free / _GIB:.1f} GiB are free: {most}."
        )
    return needed


def _require_devices(spec: ModelSpec, n_rows: int, completed: bool) -> None:
    """Refuse what would not fit where devices say how much they have, as accelerators do."""
    import jax

    devices = jax.local_devices()
    told = [found for found in (device.memory_stats() for device in devices) if found]
    if not told:
        return
    free = min(found["bytes_limit"] - found["bytes_in_use"] for found in told)
    n = n_devices(completed)
    needed = on_device(spec, n_rows, n)
    if needed > free:
        fitting = int(n_rows * free / needed)
        who = "A device of JAX" if n == 1 else f"Each of {n} devices of JAX"
        more = "or run fewer chains" if completed else "run fewer chains, or give it more devices"
        raise MemoryLimitError(
            f"{who} needs about {needed / _GIB:.1f} GiB of memory for {n_rows} rows and has "
            f"{free / _GIB:.1f} GiB free: fit at most {fitting} rows, {more}."
        )


def _fitting_draws(needed: Memory, free: float, draws: int) -> int:
    left = max(free - needed.libraries - needed.rows, 0.0)
    return max(int(draws * left / needed.draws), 4)
