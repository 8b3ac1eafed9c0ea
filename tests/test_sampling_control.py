"""Pausing, resuming, stopping and Ctrl-C: what is finished comes back, and nothing hangs."""

import os
import signal
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from importlib import import_module
from typing import Any

import numpy as np
import pytest
import xarray as xr
from test_sampling import draws_of, same, spec_of

from jointmix.sampling import Control
from jointmix.sampling.nutpie_runs.traces import as_tree, finished

#: More than any of these tests waits for.
ENDLESS = 2_000_000


def check_partial(tree: xr.DataTree, chains: int) -> None:
    """Marked, with equally many finite draws of each chain that is kept."""
    assert tree.attrs["partial"] == 1
    posterior, stats = tree["posterior"].to_dataset(), tree["sample_stats"].to_dataset()
    assert 4 <= posterior.sizes["draw"] < ENDLESS
    assert posterior.sizes["draw"] == stats.sizes["draw"]
    assert 1 <= posterior.sizes["chain"] <= chains
    assert all(np.isfinite(values).all() for values in posterior.data_vars.values())
    assert all(np.isfinite(values).all() for values in stats.data_vars.values())


# Control.


class Watched:
    """Counts the draws that progress tells of."""

    def __init__(self) -> None:
        self.done = 0.0
        self.told = threading.Condition()

    def __call__(self, stage: str, done: float, *_: object) -> None:
        if stage == "sample":
            with self.told:
                self.done = done
                self.told.notify_all()

    def wait_for(self, done: float) -> None:
        with self.told:
            assert self.told.wait_for(lambda: self.done >= done, timeout=60)


@contextmanager
def running(control: Control, **sampler: Any) -> Iterator[tuple[Watched, Future[xr.DataTree]]]:
    """A run in a thread of its own, with what it has drawn."""
    watched = Watched()
    with ThreadPoolExecutor(1) as pool:
        run = pool.submit(
            draws_of, spec_of(draws=ENDLESS, **sampler), 1, progress=watched, control=control
        )
        try:
            yield watched, run
        finally:
            control.stop()


def test_control_is_a_switch() -> None:
    control = Control()
    assert (control.paused, control.stopped) == (False, False)
    control.pause()
    assert (control.paused, control.stopped) == (True, False)
    control.resume()
    assert (control.paused, control.stopped) == (False, False)
    control.pause()
    control.stop()
    assert (control.paused, control.stopped) == (False, True)


def test_paused_chains_draw_nothing_and_go_on_when_resumed() -> None:
    control = Control()
    with running(control) as (watched, run):
        watched.wait_for(1000)
        control.pause()
        # Chains obey within a tenth of a second, progress is told every half: later on a busy
        # machine, so that a count that stays is waited for, and then has to stay.
        held = -1.0
        while watched.done != held:
            held = watched.done
            time.sleep(0.8)
        time.sleep(0.8)
        assert watched.done == held
        assert not run.done()
        control.resume()
        watched.wait_for(held + 1)
        control.stop()
        check_partial(run.result(timeout=60), 2)


def test_a_pause_can_be_ended_by_stopping() -> None:
    control = Control()
    with running(control) as (watched, run):
        watched.wait_for(1000)
        control.pause()
        time.sleep(0.3)
        control.stop()
        check_partial(run.result(timeout=60), 2)


def test_a_pause_changes_no_draw() -> None:
    alone, control, told = draws_of(spec_of(), 1), Control(), []

    def progress(stage: str, *_: object) -> None:
        if stage == "sample" and not told:
            told.append(stage)
            control.pause()
            threading.Timer(0.5, control.resume).start()

    assert same(alone, draws_of(spec_of(), 1, progress=progress, control=control))
    assert told


@pytest.mark.filterwarnings("error")
def test_stopped_before_it_began() -> None:
    control = Control()
    control.stop()
    with pytest.raises(KeyboardInterrupt, match="before the first draws"):
        draws_of(spec_of(), 1, control=control)


# Ctrl-C.


def interrupting(after: Callable[[Any], None], monkeypatch: pytest.MonkeyPatch) -> None:
    """Ctrl-C once ``after`` has seen what it waits for."""

    def wait(sampler: Any, timeout: float | None = None) -> None:
        del timeout
        after(sampler)
        raise KeyboardInterrupt

    # The package's name `sample` is a function, which hides the module.
    background = import_module("nutpie.sample")._BackgroundSampler
    monkeypatch.setattr(background, "wait", wait)


def drawn(sampler: Any) -> int:
    """Draws after warm-up until now."""
    return int(as_tree(sampler.inspect())["sample_stats"].sizes.get("draw", 0))


@pytest.mark.parametrize("cores", [1, 2])
def test_interrupted_draws_come_back(cores: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also when a chain has not begun, as with fewer cores than chains."""

    def fifty(sampler: Any) -> None:
        while drawn(sampler) < 50:
            pass

    interrupting(fifty, monkeypatch)
    check_partial(draws_of(spec_of(draws=ENDLESS, cores=cores), 1), cores)


@pytest.mark.filterwarnings("error")
def test_interrupted_before_the_first_draw(monkeypatch: pytest.MonkeyPatch) -> None:
    interrupting(lambda _: None, monkeypatch)
    with pytest.raises(KeyboardInterrupt, match="before the first draws"):
        draws_of(spec_of(draws=1000, tune=ENDLESS), 1)


def test_interrupted_while_paused() -> None:
    control = Control()

    def progress(stage: str, done: float, *_: object) -> None:
        if stage == "sample" and done > 1000 and not control.paused:
            control.pause()
            threading.Timer(0.5, lambda: os.kill(os.getpid(), signal.SIGINT)).start()

    tree = draws_of(spec_of(draws=ENDLESS), 1, progress=progress, control=control)
    check_partial(tree, 2)


def traces(lengths: list[int], draws: int = 30) -> dict[int, xr.DataTree]:
    """Traces of chains that have the given numbers of draws."""
    found = {}
    for chain, length in enumerate(lengths):
        there = np.arange(draws)[None] < length
        logp = np.where(there, 10.0 * chain + np.arange(draws), np.nan)
        dims = ("chain", "draw")
        stats = xr.Dataset({"logp": (dims, logp), "n_steps": (dims, 7 * there)})
        slope = xr.DataArray(logp[..., None, None], dims=(*dims, "component", "predictor"))
        groups = {"sample_stats": stats, "posterior": xr.Dataset({"slope": slope})}
        found[chain] = xr.DataTree.from_dict(groups)
    return found


@pytest.mark.parametrize(
    ("lengths", "chains", "draws"),
    [
        ([30, 30, 0, 0], [0, 1], 30),
        ([30, 2, 29, 0], [0, 2], 29),
        ([20, 18, 19, 15], [0, 1, 2, 3], 15),
        ([0, 30, 3, 3], [1], 30),
    ],
)
def test_most_draws_are_kept(lengths: list[int], chains: list[int], draws: int) -> None:
    found = finished(traces(lengths))
    assert list(found) == chains
    for tree in found.values():
        stats = tree["sample_stats"].to_dataset()
        assert stats.sizes["draw"] == tree["posterior"].sizes["draw"] == draws
        assert np.isfinite(stats["logp"]).all()


def test_chains_that_never_began_are_no_harm() -> None:
    assert list(finished({2: traces([9])[0]})) == [2]


@pytest.mark.parametrize("group", ["posterior", "sample_stats"])
def test_a_draw_that_lacks_a_number_is_not_finished(group: str) -> None:
    given = traces([30, 30])
    name, missing = {"posterior": ("slope", np.nan), "sample_stats": ("n_steps", 0)}[group]
    given[1][group][name].values[0, 12] = missing
    given[0][group][name].values[0, 20] = missing
    found = finished(given)
    assert [tree["sample_stats"].sizes["draw"] for tree in found.values()] == [12, 12]


def test_too_few_draws_are_none() -> None:
    for given in (traces([3, 3, 0, 1]), {}):
        with pytest.raises(KeyboardInterrupt, match="before the first draws"):
            finished(given)


@pytest.mark.slow
def test_ctrl_c_in_a_process_of_its_own() -> None:
    script = """
        import numpy as np, pandas as pd, jointmix as jm
        def main():
            rng = np.random.default_rng(0)
            x = rng.normal(size=60)
            spec = jm.ModelSpec(
                n_clusters=1, features=["x"], predictors=["x"], response="y",
                sampler=jm.SamplerSpec(draws=2_000_000, tune=100, chains=2),
            )
            def progress(stage, done, total, note):
                if stage == "sample" and done > 400:
                    print("sampling", flush=True)
            table = pd.DataFrame({"x": x, "y": 1 + x + rng.normal(size=60)})
            tree = jm.fit(table, spec, seed=1, progress=progress)
            print("partial", tree.attrs["partial"], tree["posterior"].sizes["draw"], flush=True)
        main()
    """
    process = subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(script)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONUNBUFFERED": "1"},
    )
    try:
        assert process.stdout is not None
        for line in process.stdout:
            if line.startswith("sampling"):
                process.send_signal(signal.SIGINT)
                break
        output, errors = process.communicate(timeout=120)
    finally:
        process.kill()
    assert process.returncode == 0, errors
    last = output.splitlines()[-1].split()
    assert last[:2] == ["partial", "1"]
    assert int(last[2]) >= 4
