"""What PyMC's samplers are asked for, and what is made of their answer; nothing is sampled."""

import time
from types import SimpleNamespace
from typing import Any

import numpy as np
import pymc as pm
import pytest
import xarray as xr
from conftest import PARAMETERS
from test_sampling import one_line, prepared, spec_of

from jointmix.sampling import Target, backends, pymc_runs, sample

CHAINS, DRAWS = 3, 5
_INDEX = {"chain": np.arange(CHAINS), "draw": np.arange(DRAWS)}


def answer() -> xr.DataTree:
    """A trace as PyMC gives it, of positive numbers all different, but for correlations."""
    rng = np.random.default_rng(1)
    posterior = xr.Dataset(coords=_INDEX, attrs={"sampling_time": 0.25})
    for name, rest in PARAMETERS.items():
        dims = ("chain", "draw", "component", *rest)
        values = rng.uniform(0.5, 2, size=(CHAINS, DRAWS, 1, *[1] * len(rest)))
        posterior[name] = (dims, np.ones_like(values) if name == "correlation" else values)
    stats = xr.Dataset(coords=_INDEX)
    for name in ("lp", "n_steps", "energy"):
        stats[name] = (("draw", "chain"), rng.normal(size=(DRAWS, CHAINS)))
    return xr.DataTree.from_dict({"posterior": posterior, "sample_stats": stats})


def run(sampler: str, monkeypatch: pytest.MonkeyPatch) -> tuple[xr.DataTree, dict[str, Any], float]:
    """What `sample` makes of the answer, what it asked for, and its wall seconds."""
    asked: dict[str, Any] = {}

    def answered(**given: Any) -> xr.DataTree:
        asked.update(given)
        time.sleep(0.3)
        return answer()

    monkeypatch.setattr(pm, "sample", answered)
    monkeypatch.setattr(backends.pymc_jax(), "sample_numpyro_nuts", answered)
    # Whoever started JAX in this process may have given it several devices.
    monkeypatch.setattr(pymc_runs, "n_devices", lambda _: 1)
    spec = spec_of(1, sampler=sampler, draws=DRAWS, tune=7, chains=CHAINS, target_accept=0.9)
    dataset, start = prepared(one_line(), spec)
    began = time.perf_counter()
    tree = sample(dataset, start, 1)
    return tree, asked, time.perf_counter() - began


@pytest.mark.parametrize("sampler", ["pymc", "numpyro"])
def test_draws_and_statistics_keep_their_places(
    sampler: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    tree, _, _ = run(sampler, monkeypatch)
    expected = answer()
    for name, values in expected["posterior"].to_dataset().items():
        np.testing.assert_array_equal(tree["posterior"][name], values)
    stats = expected["sample_stats"].to_dataset().transpose("chain", "draw")
    # NumPyro's is a potential: the larger, the less likely.
    sign = -1 if sampler == "numpyro" else 1
    np.testing.assert_array_equal(tree["sample_stats"]["log_density"], sign * stats["lp"])
    np.testing.assert_array_equal(tree["sample_stats"]["n_steps"], stats["n_steps"])
    np.testing.assert_array_equal(tree["sample_stats"]["energy"], stats["energy"])


@pytest.mark.parametrize("sampler", ["pymc", "numpyro"])
def test_samplers_are_asked_for_what_was_specified(
    sampler: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    _, asked, _ = run(sampler, monkeypatch)
    wanted = {"draws": DRAWS, "tune": 7, "chains": CHAINS, "target_accept": 0.9, "random_seed": 1}
    assert wanted.items() <= asked.items()
    starts = [
        np.concatenate([np.ravel(v) for v in values.values()]) for values in asked["initvals"]
    ]
    assert len(np.unique(starts, axis=0)) == CHAINS


@pytest.mark.parametrize("n_draws", [DRAWS, DRAWS - 1])
def test_blackjaxs_positions_become_parameters(
    n_draws: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Chain by chain; fewer draws than were asked for are a part of a run."""
    spec = spec_of(1, sampler="blackjax", draws=DRAWS, tune=7, chains=CHAINS, target_accept=0.9)
    dataset, start = prepared(one_line(), spec)
    target, asked = Target(dataset, start), {}
    positions = np.random.default_rng(1).normal(size=(CHAINS, n_draws, target.dim))
    logp = np.array([[target.log_density(q)[0] for q in chain] for chain in positions])

    def answered(_: Any, starts: np.ndarray, **given: Any) -> Any:
        asked.update(given, starts=starts)
        return positions, {"logp": logp}

    density = SimpleNamespace(log_density=None, data=(), devices=1)
    monkeypatch.setattr(pymc_runs, "density_of", lambda *_: density)
    monkeypatch.setattr(pymc_runs, "nuts", answered)
    tree = sample(dataset, start, 1)
    for name, values in target.parameters(positions).items():
        np.testing.assert_array_equal(tree["posterior"][name], values)
    np.testing.assert_array_equal(tree["sample_stats"]["log_density"], logp)
    assert tree.attrs["partial"] == (n_draws < DRAWS)
    wanted = {"draws": DRAWS, "tune": 7, "target_accept": 0.9, "dense": True, "seed": 1}
    assert wanted.items() <= asked.items()
    np.testing.assert_array_equal(asked["starts"], target.points(1, CHAINS))


def test_pymcs_own_time_is_told_from_the_rest(monkeypatch: pytest.MonkeyPatch) -> None:
    tree, _, wall = run("pymc", monkeypatch)
    assert tree.attrs["sample_seconds"] == 0.25
    # The answer took 0.3 s; what came before it is no sampling either.
    assert 0.05 <= tree.attrs["compile_seconds"] <= wall - 0.25
