"""Seconds of the stages of a fit, which may go on in other processes."""

import time

import numpy as np
import xarray as xr

from jointmix.base.progress import Progress


class Clock:
    """Seconds of each stage, passed on as progress."""

    def __init__(self, progress: Progress | None) -> None:
        self._progress = progress
        self._began: list[tuple[str, float]] = []
        self._paused = 0.0
        self._compiled = 0.0

    def pause(self) -> None:
        """Let time pass that belongs to no stage, until `resume`."""
        self._paused = time.perf_counter()

    def resume(self) -> None:
        gap = time.perf_counter() - self._paused
        self._began = [(stage, began + gap) for stage, began in self._began]

    def start(self, stage: str) -> None:
        self._began.append((stage, time.perf_counter()))
        if self._progress is not None and stage != "sample":
            self._progress(stage, 0, 1, "")

    def seconds(self, raw: xr.DataTree) -> dict[str, float]:
        """Seconds by stage, of all times that it was gone through.

        Compiling is told apart from sampling where the sampler says so.
        """
        stages, times = zip(*self._began, strict=True)
        spent = dict.fromkeys(stages, 0.0)
        for stage, seconds in zip(stages, np.diff([*times, time.perf_counter()]), strict=True):
            spent[stage] += float(seconds)
        if "compile_seconds" in raw.attrs:
            self._compiled += raw.attrs["compile_seconds"]
            spent["compile"] = self._compiled
            spent["sample"] -= self._compiled
        return {stage: round(value, 3) for stage, value in spent.items()}
