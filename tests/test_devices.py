"""Rows spread over JAX's devices: the same density, and no device is told another's rows."""

import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import on_devices
import pytest
from conftest import more

import jointmix as jm
from jointmix.base.errors import MemoryLimitError
from jointmix.families.rows import Gaps, Rows
from jointmix.sampling import memory
from jointmix.sampling.devices import spread

pytest.importorskip("jax", reason="jax is not installed")


def on_two_devices(what: str) -> dict[str, Any]:
    """What `on_devices` prints where JAX takes this machine for two devices."""
    flags = "--xla_force_host_platform_device_count=2 --xla_cpu_multi_thread_eigen=false"
    done = subprocess.run(
        [sys.executable, str(Path(on_devices.__file__)), what],
        env=os.environ | {"XLA_FLAGS": flags, "JAX_PLATFORMS": "cpu"},
        capture_output=True,
        text=True,
        check=False,
        timeout=600,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    assert found["devices"] == 2
    return found


def told_of(devices: int) -> str:
    return f"--xla_force_host_platform_device_count={devices}"


# Whoever told JAX how many there are has them for rows, but for PyMC, whose 100 are for chains.
@pytest.mark.parametrize(
    ("told", "expected"),
    [("", "3 1 3 1 True"), (told_of(2), "2 2 2 2 True"), (told_of(100), "100 1 100 1 True")],
)
def test_devices_that_are_made_for_chains_hold_no_rows(told: str, expected: str) -> None:
    """After a cross-check a fit by JAX runs as it did, here and in other processes."""
    program = (
        "import os\nfrom jointmix.sampling.backends import n_devices, reserve_devices\n"
        "before = dict(os.environ)\nreserve_devices(3)\n"
        "import jax\nfirst = jax.device_count(), n_devices(completed=False)\n"
        "reserve_devices(4)\n"
        "print(*first, jax.device_count(), n_devices(completed=False), before == dict(os.environ))"
    )
    done = subprocess.run(
        [sys.executable, "-c", program],
        env=os.environ | {"XLA_FLAGS": told, "JAX_PLATFORMS": "cpu"},
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )
    assert done.stdout.split() == expected.split(), done.stderr


@pytest.mark.parametrize("told", [None, told_of(3)])
def test_pymcs_samplers_tell_jax_of_no_devices(told: str | None) -> None:
    program = (
        "import os\nfrom jointmix.sampling.backends import pymc_jax\n"
        "before = os.environ.get('XLA_FLAGS')\nfound = pymc_jax().sample_numpyro_nuts\n"
        "import jax\nprint(jax.device_count(), before == os.environ.get('XLA_FLAGS'))"
    )
    environment = {name: value for name, value in os.environ.items() if name != "XLA_FLAGS"}
    done = subprocess.run(
        [sys.executable, "-c", program],
        env=environment | {"JAX_PLATFORMS": "cpu"} | ({"XLA_FLAGS": told} if told else {}),
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )
    assert done.stdout.split() == ["3" if told else "1", "True"], done.stderr


@pytest.fixture(scope="module")
def densities() -> dict[str, Any]:
    return on_two_devices("densities")


@pytest.mark.parametrize("model", on_devices.MODELS)
def test_densities_and_gradients_are_the_kernels(model: str, densities: dict[str, Any]) -> None:
    # Sums of 2,001 terms in other orders.
    assert densities[model]["density"] < 1e-12
    assert densities[model]["gradient"] < 1e-12


@pytest.mark.parametrize("model", on_devices.MODELS)
def test_devices_tell_each_other_sums_alone(model: str, densities: dict[str, Any]) -> None:
    found = densities[model]
    assert found["collectives"] == ["all-reduce"]
    first, second = found["rows"]
    # 2,001 rows, and those that fill up: at most one for each of the four kinds of what is missing.
    assert first == second
    assert 2001 <= first + second <= 2005


def test_a_device_needs_no_more_than_is_estimated(densities: dict[str, Any]) -> None:
    for name, (_, spec) in on_devices.MODELS.items():
        one = replace(spec, sampler=jm.SamplerSpec(chains=1))
        assert densities[name]["bytes"] < memory.on_device(one, 2001, 2) + 2e4


@pytest.mark.parametrize("n", [1, 2, 3, 7])
def test_each_row_lies_once_on_one_device(n: int) -> None:
    places = [np.array([0, 2, 5, 6, 9]), np.array([1, 7]), np.array([3, 4, 8])]
    nothing = Rows(np.zeros((0, 1)), np.zeros((0, 0)), np.zeros(0))
    parts = [Gaps(place, nothing, np.ones(1, dtype=bool), True, {}) for place in places]
    found = spread(parts, n)
    assert sorted(found.taken[found.real]) == list(range(10))
    for own, real in zip(found.taken.reshape(n, -1), found.real.reshape(n, -1), strict=True):
        # All devices run one program: what lies where one pattern is has that pattern.
        assert len(own) == sum(len(part.place) for part in found.patterns)
        for part, place in zip(found.patterns, places, strict=True):
            assert set(own[part.place]) <= set(place)
            assert real[part.place].sum() <= -(-len(place) // n)


def test_what_a_device_has_no_room_for_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    import jax

    spec = on_devices.BASE
    room = {"bytes_limit": 3 * 2**30, "bytes_in_use": 2**30}
    device = SimpleNamespace(memory_stats=lambda: room)
    for name in ("devices", "local_devices"):
        monkeypatch.setattr(jax, name, lambda: [device] * 2)
    monkeypatch.setattr(memory, "available", lambda: 1e13)
    message = (
        r"^Each of 2 devices of JAX needs about \d+\.\d GiB of memory for 100000000 rows and has "
        r"2\.0 GiB free: fit at most (\d+) rows, run fewer chains, or give it more devices\.$"
    )
    with pytest.raises(MemoryLimitError, match=message) as caught:
        memory.require(spec, 10**8, "jax")
    fitting = int(str(caught.value).split("at most ")[1].split()[0])
    memory.require(spec, fitting, "jax")
    with pytest.raises(MemoryLimitError):
        memory.require(spec, fitting + fitting // 100, "jax")
    # Rows that are completed lie on one device, which holds half as many.
    message = r"^A device of JAX needs .* fit at most (\d+) rows, or run fewer chains\.$"
    with pytest.raises(MemoryLimitError, match=message) as caught:
        memory.require(spec, 10**8, "jax", completed=True)
    assert int(str(caught.value).split("at most ")[1].split()[0]) == pytest.approx(
        fitting / 2, abs=1
    )


def test_candidates_weighed_on_devices_make_the_kernels_chains() -> None:
    found = on_two_devices("independence:2")["independence:2"]
    assert found["backend"] == "independence on jax"
    assert found["reason"].endswith("The rows lie on 2 devices of JAX.")
    same = jm.SamplerSpec(sampler="independence", draws=20, tune=20, chains=2, starts=4)
    spec = replace(on_devices.BASE, sampler=same)
    own = jm.fit(on_devices.some_rows(), spec, seed=1, progress=False)
    # The same candidates, accepted by chances that differ in rounding.
    np.testing.assert_allclose(found["mean"], own["posterior"]["mean"].values.ravel(), rtol=1e-9)
    height = own["sample_stats"]["log_density"].values.ravel()
    np.testing.assert_allclose(found["log_density"], height, rtol=1e-12)


# BlackJAX is given the same density on one device, NumPyro by PyMC there.
@pytest.mark.slow
@pytest.mark.parametrize(
    ("sampler", "chains"),
    [("numpyro", 2), *(pytest.param(*each, marks=more)
                       for each in (("numpyro", 1), ("blackjax", 1), ("blackjax", 2)))],
)  # fmt: skip
def test_nuts_follows_the_density_on_devices(sampler: str, chains: int) -> None:
    asked = f"{sampler}:{chains}"
    found = on_two_devices(asked)[asked]
    assert found["reason"].endswith("The rows lie on 2 devices of JAX.")
    assert len(found["log_density"]) == 20 * chains
    assert np.isfinite(found["log_density"]).all()
    assert np.std(found["log_density"]) > 0
