"""What a first run needs after EM is compiled in a process of its own, while EM runs."""

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path

from jointmix.base.machine import available_cores

_COMMAND = f"""
import pathlib, sys
from {__name__} import compile_for_later
compile_for_later(pathlib.Path(sys.argv[1]))
"""


@contextmanager
def compiling_ahead(path: Path) -> Iterator[None]:
    """Another process compiles for sampling and report of a recipe, if nothing is compiled yet.

    Both write to Numba's cache on disk. What the other has not finished when it is needed, or
    cannot compile, this process compiles itself.
    """
    from jointmix.kernel.entry import is_compiled

    if available_cores() == 1 or is_compiled():
        yield
        return
    command = [sys.executable, "-P", "-c", _COMMAND, str(path)]
    quiet = subprocess.DEVNULL
    with subprocess.Popen(command, stdin=quiet, stdout=quiet, stderr=quiet) as other:
        try:
            yield
        finally:
            other.kill()


def compile_for_later(path: Path) -> None:
    """Compile densities, predictions and their scores, at draws from the prior of a recipe."""
    # Modules, too, are compiled when they are first imported. They come first, as the other process
    # compiles the functions of the families meanwhile, which all further ones call.
    import_module("jointmix.reporting.documents")
    import numpy as np

    from jointmix.fitting.recipe import read_recipe
    from jointmix.kernel.densities import densities
    from jointmix.kernel.pit_crps import pit_crps
    from jointmix.kernel.predictive import predictive
    from jointmix.kernel.problem import make_problem, n_free
    from jointmix.model.dataset import make_dataset
    from jointmix.model.packing import packed
    from jointmix.model.prior_draws import prior_draws

    recipe = read_recipe(path)
    dataset = make_dataset(recipe.table(), recipe.spec)
    spec = dataset.spec
    if spec.sampler.sampler in ("auto", "independence"):
        densities(make_problem(dataset), np.zeros((1, n_free(spec))))
    if spec.response is None:
        return
    parameters, rows = packed(prior_draws(dataset, 2, 1), spec), dataset.rows
    weight = np.zeros((2, len(rows.y), spec.n_clusters))
    predictive(rows, parameters, spec.blocks, np.array([0.5]))
    pit_crps(rows, weight, parameters, spec.blocks[-1])
