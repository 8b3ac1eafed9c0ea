"""Run by tests/test_devices.py in a process whose JAX has two devices: prints what it found."""

import json
import re
import sys
from dataclasses import replace

import jax
import numpy as np
import pandas as pd

import jointmix as jm
from jointmix.kernel.densities import densities
from jointmix.kernel.entry import value_and_gradient
from jointmix.kernel.problem import make_problem, n_free
from jointmix.model.dataset import Dataset, make_dataset
from jointmix.sampling.devices import DeviceDensity, density_of

BASE = jm.ModelSpec(n_clusters=2, features=["a", "b"], predictors=["b"], response="y")


def table() -> pd.DataFrame:
    """2,001 rows, two of every five of which miss something, and how often each counts."""
    rng = np.random.default_rng(1)
    found = pd.DataFrame(rng.normal(size=(2001, 3)), columns=["a", "b", "y"])
    found["y"] += 2 * found["a"] - found["b"]
    found["w"] = rng.integers(1, 4, size=len(found))
    return found


def some_rows() -> pd.DataFrame:
    """So many as short fits take."""
    return table()[:301]


def with_gaps() -> pd.DataFrame:
    found = table()
    found.loc[::5, "a"] = np.nan
    found.loc[3::5, "y"] = np.nan
    return found


MODELS = {
    "student": (table(), replace(BASE, n_clusters=3, family="student_t")),
    "gaps": (with_gaps(), replace(BASE, missing="model", row_weights="w")),
}


def compared(dataset: Dataset, density: DeviceDensity) -> dict[str, object]:
    """The density on the devices against the kernel's, and what its program does with rows."""
    problem, dim = make_problem(dataset), n_free(dataset.spec)
    # More than one call's points, and no multiple of them.
    points = 0.3 * np.random.default_rng(2).normal(size=(70, dim))
    wanted, found = densities(problem, points), density.log_densities(points)
    log_density = density.log_density
    with jax.enable_x64(True):
        program = jax.jit(jax.value_and_grad(log_density)).lower(points[0], *density.data).compile()
        _, gradient = program(points[0], *density.data)
        _, kernels = value_and_gradient(problem, points[0])
    off = np.abs(np.asarray(gradient) - kernels).max() / np.abs(kernels).max()
    pattern = r"(all-reduce|all-gather|all-to-all|collective-permute|collective-broadcast)"
    return {
        "density": float(np.abs(found / wanted - 1).max()),
        "gradient": float(off),
        "collectives": sorted({*re.findall(pattern, program.as_text())}),
        "rows": [shard.data.shape[0] for shard in density.data[-1].addressable_shards],
        "bytes": program.memory_analysis().temp_size_in_bytes,
    }


def fitted(sampler: jm.SamplerSpec) -> dict[str, object]:
    """A short fit, and its draws' log densities against the kernel's of the same draws."""
    tree = jm.fit(some_rows(), replace(BASE, sampler=sampler), seed=1, progress=False)
    return {
        "backend": tree.attrs["backend"],
        "reason": tree.attrs["backend_reason"],
        "mean": tree["posterior"]["mean"].values.ravel().tolist(),
        "log_density": tree["sample_stats"]["log_density"].values.ravel().tolist(),
    }


def main(what: str) -> None:
    """Compare densities, or fit by samplers, named with their chains as in ``numpyro:2``."""
    found: dict[str, object] = {"devices": len(jax.devices())}
    if what == "densities":
        for name, (rows, spec) in MODELS.items():
            dataset = make_dataset(rows, spec)
            found[name] = compared(dataset, density_of(dataset, None))
    else:
        for name in what.split(","):
            sampler, chains = name.split(":")
            short = jm.SamplerSpec(
                sampler=sampler, backend="jax", draws=20, tune=20, chains=int(chains), starts=4
            )
            found[name] = fitted(short)
    print(json.dumps(found))


if __name__ == "__main__":
    main(sys.argv[1])
