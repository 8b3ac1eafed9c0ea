"""Backends, reproducibility, reuse of what was compiled, starts, statistics, interruption."""

import dataclasses
import os
import signal
import subprocess
import sys
import textwrap
import threading
from collections.abc import Callable
from importlib import import_module
from typing import Any

import arviz_stats as az
import numpy as np
import nutpie
import pandas as pd
import pytest
import xarray as xr

from jointmix import sampling
from jointmix.data import Dataset, make_dataset
from jointmix.em import fit_em
from jointmix.errors import MissingExtraError, SamplingError
from jointmix.identify import make_rows, mode_share
from jointmix.initial import Start, draw_start, make_start, unconstrained
from jointmix.ordering import choose_ordering
from jointmix.sampling import STATISTICS, choose_backend, sample
from jointmix.scaling import model_scaling
from jointmix.schema import PARAMETERS
from jointmix.spec import ModelSpec, SamplerSpec

#: Unconstrained values of `spec_of()`: a weight, 2 × 3 locations, 2 + 2 variances.
NOWHERE = np.full(11, np.nan)


def two_lines(n: int = 150, seed: int = 0) -> pd.DataFrame:
    """Two clusters far apart in x, each with its own line."""
    rng = np.random.default_rng(seed)
    z = rng.random(n) < 0.4
    x = rng.normal(size=n) + 8 * z
    return pd.DataFrame({"x": x, "y": np.where(z, 4 - x, 1 + 2 * x) + 0.5 * rng.normal(size=n)})


def spec_of(n_clusters: int = 2, **sampler: Any) -> ModelSpec:
    settings = {"draws": 200, "tune": 200, "chains": 2, "cores": 2, "backend": "jax"} | sampler
    return ModelSpec(
        n_clusters=n_clusters,
        features=("x",),
        predictors=("x",),
        response="y",
        sampler=SamplerSpec(**settings),
    )


def prepared(table: pd.DataFrame, spec: ModelSpec) -> tuple[Dataset, Start]:
    dataset = make_dataset(table, spec)
    scaling, rows = model_scaling(dataset, spec), make_rows(dataset, spec)
    mode = fit_em(dataset, spec, 1).best
    share = mode_share(rows, scaling.to_model(mode.parameters))
    ordering = choose_ordering(mode, spec, scaling, share, rows.u, 1)
    return dataset, make_start(mode, spec, scaling, ordering, share, rows.u)


def draws_of(spec: ModelSpec, seed: int, table: pd.DataFrame | None = None) -> xr.DataTree:
    dataset, start = prepared(two_lines() if table is None else table, spec)
    return sample(dataset, spec, start, seed)


@pytest.fixture(scope="module")
def first() -> xr.DataTree:
    return draws_of(spec_of(), 1)


@pytest.mark.parametrize(
    ("sampler", "backend", "chosen"),
    [
        ("nutpie", "auto", "jax"),
        ("nutpie", "jax", "jax"),
        ("nutpie", "numba", "numba"),
        ("numpyro", "auto", "jax"),
        ("pymc", "auto", "numba"),
        ("pymc", "numba", "numba"),
    ],
)
def test_backend_with_jax(sampler: str, backend: str, chosen: str) -> None:
    assert choose_backend(spec_of(sampler=sampler, backend=backend))[0] == chosen


def test_backend_without_jax(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sampling, "find_spec", lambda _: None)
    assert choose_backend(spec_of(backend="auto"))[0] == "numba"
    assert choose_backend(spec_of(sampler="pymc", backend="auto"))[0] == "numba"
    with pytest.raises(MissingExtraError, match=r"jointmix\[jax\]"):
        choose_backend(spec_of(backend="jax"))
    with pytest.raises(MissingExtraError, match=r"jointmix\[jax\]"):
        choose_backend(spec_of(sampler="numpyro", backend="auto"))


def test_pymc_does_not_run_on_jax() -> None:
    with pytest.raises(MissingExtraError, match="numba only"):
        choose_backend(spec_of(sampler="pymc", backend="jax"))


def test_same_seed_same_draws(first: xr.DataTree) -> None:
    again, other = draws_of(spec_of(), 1), draws_of(spec_of(), 2)
    for name, values in first["posterior"].data_vars.items():
        np.testing.assert_array_equal(again["posterior"][name], values)
    assert not np.array_equal(first["posterior"]["slope"], other["posterior"]["slope"])
    assert not np.array_equal(first["posterior"]["slope"][0], first["posterior"]["slope"][1])


def test_statistics_have_one_set_of_names(first: xr.DataTree) -> None:
    check_normalised(first, spec_of())


def check_normalised(tree: xr.DataTree, spec: ModelSpec) -> None:
    """Names, dims and types of the result, whichever sampler ran."""
    posterior, stats = tree["posterior"].to_dataset(), tree["sample_stats"].to_dataset()
    assert set(stats.data_vars) == set(STATISTICS)
    for values in stats.data_vars.values():
        assert values.dims == ("chain", "draw")
        assert isinstance(values.variable._data, np.ndarray)
        assert values.dtype.kind in "biuf"
        assert np.isfinite(values).all()
    for name, values in posterior.data_vars.items():
        assert values.dims == ("chain", "draw", "component", *PARAMETERS[name])
    assert set(posterior.data_vars) == set(PARAMETERS)
    assert posterior.sizes["draw"] == spec.sampler.draws
    assert tree.attrs["partial"] == 0


def unconstrained_log_density(tree: xr.DataTree, table: pd.DataFrame, spec: ModelSpec) -> Any:
    """The model's log density at the draws of a K = 1 fit, up to a constant: (chain, draw)."""
    from scipy import stats

    dataset = make_dataset(table, spec)
    x, y = model_scaling(dataset, spec).transform(dataset.values).T
    draws = {name: values.values for name, values in tree["posterior"].data_vars.items()}
    mean, sd = draws["mean"][..., 0], draws["sd"][..., 0]
    line = draws["intercept"] + draws["slope"][..., 0] * x
    total = stats.norm.logpdf(x, mean, sd).sum(-1)
    total = total + stats.norm.logpdf(y, line, draws["sigma"]).sum(-1)
    for name in ("mean", "intercept", "slope"):
        total = total + stats.norm.logpdf(draws[name].reshape(total.shape), 0, 2.5)
    for value, scale in ((sd, 0.05), (draws["sigma"], 0.01)):
        variance = value[..., 0] ** 2
        total = total + stats.invgamma(1, scale=scale).logpdf(variance) + np.log(variance)
    return total


def one_line(n: int = 60, seed: int = 4) -> pd.DataFrame:
    rng = np.random.default_rng(seed)
    x = rng.normal(3, 2, n)
    return pd.DataFrame({"x": x, "y": 1 + 0.5 * x + rng.normal(size=n)})


def check_sampler(spec: ModelSpec, reference: xr.DataTree) -> None:
    table = one_line()
    tree = draws_of(spec, 5, table)
    check_normalised(tree, spec)
    found = tree["sample_stats"]["log_density"].values
    expected = unconstrained_log_density(tree, table, spec)
    # A constant apart, as far as a log density of some 1e2 is rounded.
    np.testing.assert_allclose(found - found[0, 0], expected - expected[0, 0], rtol=0, atol=1e-8)
    for name in ("mean", "sd", "intercept", "slope", "sigma"):
        ours, theirs = tree["posterior"][name], reference["posterior"][name]
        for method, function in (("mean", np.mean), ("sd", np.std)):
            error = sum(
                float(az.mcse(part.squeeze(), method=method)) ** 2 for part in (ours, theirs)
            )
            # Four combined Monte Carlo errors: a false alarm in 1,600 for each of ten numbers.
            assert abs(function(ours.values) - function(theirs.values)) < 4 * np.sqrt(error)


@pytest.fixture(scope="module")
def one_cluster_draws() -> xr.DataTree:
    return draws_of(spec_of(1, draws=1000, tune=300), 3, one_line())


def test_nutpie_gives_the_log_density(one_cluster_draws: xr.DataTree) -> None:
    check_sampler(spec_of(1, draws=1000, tune=300), one_cluster_draws)


def test_numpyro_gives_the_same_posterior(one_cluster_draws: xr.DataTree) -> None:
    spec = spec_of(1, draws=1000, tune=300, sampler="numpyro", backend="auto")
    check_sampler(spec, one_cluster_draws)


@pytest.mark.slow
def test_pymc_gives_the_same_posterior(one_cluster_draws: xr.DataTree) -> None:
    check_sampler(
        spec_of(1, draws=1000, tune=300, sampler="pymc", backend="auto"), one_cluster_draws
    )


@pytest.mark.slow
def test_numba_gives_the_same_posterior(one_cluster_draws: xr.DataTree) -> None:
    check_sampler(spec_of(1, draws=1000, tune=300, backend="numba"), one_cluster_draws)


@pytest.mark.usefixtures("one_cluster_draws")
def test_another_data_set_reuses_what_was_compiled(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("compiled again")

    monkeypatch.setattr(nutpie, "compile_pymc_model", refuse)
    rng = np.random.default_rng(8)
    x = rng.normal(-4, 0.5, 200)
    table = pd.DataFrame({"x": x, "y": 3 - 2 * x + 0.2 * rng.normal(size=200)})
    spec = spec_of(1, draws=500, tune=300)
    tree = draws_of(spec, 1, table)
    slope = tree["posterior"]["slope"].squeeze()
    design = np.column_stack([np.ones(200), (x - x.mean()) / x.std()])
    y = (table["y"] - table["y"].mean()) / table["y"].std(ddof=0)
    variance = (tree["posterior"]["sigma"].values ** 2).mean()
    # Given σ² the slope is normal, its precision that of the rows and of the prior, N(0, 2.5²);
    # averaged over σ² the mean stays the same to 1e-6 here.
    precision = design.T @ design / variance + np.eye(2) / 2.5**2
    expected = np.linalg.solve(precision, design.T @ y / variance)[1]
    assert abs(slope.mean() - expected) < 4 * az.mcse(slope) + 1e-5


def test_chains_start_where_they_are_told(monkeypatch: pytest.MonkeyPatch) -> None:
    """Guards nutpie's private fields: each start handed over is a point whose density is asked."""
    spec = spec_of()
    dataset, start = prepared(two_lines(), spec)
    model, _ = sampling._compile(dataset, spec, start, "jax")
    handed: list[np.ndarray] = []
    starts = sampling._initial_point(model, spec, start)
    lock = threading.Lock()

    def noted(*_: object) -> Callable[[int | None], np.ndarray]:
        def point(seed: int | None) -> np.ndarray:
            with lock:
                handed.append(starts(seed))
                return handed[-1]

        return point

    seen: list[np.ndarray] = []
    original = sampling._compile

    def observed(*args: Any) -> Any:
        built, compiled = original(*args)
        make = compiled._make_logp_func

        def make_noted() -> Callable[..., Any]:
            function = make()

            def log_density(x: np.ndarray, **data: Any) -> Any:
                with lock:
                    seen.append(np.array(x))
                return function(x, **data)

            return log_density

        return built, dataclasses.replace(compiled, _make_logp_func=make_noted)

    monkeypatch.setattr(sampling, "_initial_point", noted)
    monkeypatch.setattr(sampling, "_compile", observed)
    sample(dataset, spec_of(draws=4, tune=4), start, 1)
    # One for warming up, one a chain; all of them different.
    assert len(handed) == 3
    assert len({point.tobytes() for point in handed}) == 3
    evaluated = {point.tobytes() for point in seen}
    assert all(point.tobytes() in evaluated for point in handed)


def test_start_vectors_are_in_the_models_order() -> None:
    spec = spec_of()
    dataset, start = prepared(two_lines(), spec)
    model, _ = sampling._compile(dataset, spec, start, "jax")
    flat = sampling._initial_point(model, spec, start)(5)
    twin = unconstrained(model)(draw_start(start, spec, np.random.default_rng(5)))
    expected = np.concatenate([twin[value.name].ravel() for value in model.value_vars])
    np.testing.assert_array_equal(flat, expected)
    assert flat.dtype == np.float64
    assert flat.flags.c_contiguous


def interrupting(after: Callable[[Any], None], monkeypatch: pytest.MonkeyPatch) -> None:
    """Ctrl-C once ``after`` has seen what it waits for."""

    def wait(sampler: Any, timeout: float | None = None) -> None:
        del timeout
        after(sampler)
        raise KeyboardInterrupt

    # The package's name `sample` is a function, which hides the module.
    background = import_module("nutpie.sample")._BackgroundSampler
    monkeypatch.setattr(background, "wait", wait)


def drawn(sampler: Any) -> np.ndarray:
    stats = sampler.inspect()["sample_stats"].to_dataset()
    return np.isfinite(stats["logp"].values).sum(1)


@pytest.mark.parametrize("cores", [1, 2])
def test_interrupted_draws_come_back(cores: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also when a chain has not begun, as with fewer cores than chains."""

    def fifty(sampler: Any) -> None:
        while drawn(sampler).max() < 50:
            pass

    interrupting(fifty, monkeypatch)
    spec = spec_of(draws=100_000, cores=cores)
    tree = draws_of(spec, 1)
    assert tree.attrs["partial"] == 1
    posterior, stats = tree["posterior"].to_dataset(), tree["sample_stats"].to_dataset()
    assert 4 <= posterior.sizes["draw"] < 100_000
    assert posterior.sizes["draw"] == stats.sizes["draw"]
    assert 1 <= posterior.sizes["chain"] <= cores
    assert all(np.isfinite(values).all() for values in posterior.data_vars.values())
    assert all(np.isfinite(values).all() for values in stats.data_vars.values())


def test_interrupted_before_the_first_draw(monkeypatch: pytest.MonkeyPatch) -> None:
    interrupting(lambda _: None, monkeypatch)
    with pytest.raises(KeyboardInterrupt, match="before the first draws"):
        draws_of(spec_of(draws=1000, tune=100_000), 1)


def aborted(finished: list[int], draws: int = 30) -> xr.DataTree:
    """A trace whose chains have the given numbers of draws."""
    logp = np.full((len(finished), draws), np.nan)
    for chain, count in enumerate(finished):
        logp[chain, :count] = 10 * chain + np.arange(count)
    stats = xr.Dataset(
        {"logp": (("chain", "draw"), logp)},
        coords={"chain": np.arange(len(finished)), "draw": np.arange(draws)},
    )
    return xr.DataTree.from_dict({"sample_stats": stats})


@pytest.mark.parametrize(
    ("finished", "chains", "draws"),
    [
        ([30, 30, 0, 0], [0, 1], 30),
        ([30, 2, 29, 0], [0, 2], 29),
        ([20, 18, 19, 15], [0, 1, 2, 3], 15),
        ([0, 30, 3, 3], [1], 30),
    ],
)
def test_most_draws_are_kept(finished: list[int], chains: list[int], draws: int) -> None:
    tree = sampling._finished(aborted(finished))
    stats = tree["sample_stats"].to_dataset()
    assert stats["chain"].values.tolist() == chains
    assert stats.sizes["draw"] == draws
    assert np.isfinite(stats["logp"]).all()


@pytest.mark.slow
def test_ctrl_c_in_a_process_of_its_own() -> None:
    script = """
        import numpy as np, pandas as pd, jointmix as jm
        def main():
            rng = np.random.default_rng(0)
            x = rng.normal(size=60)
            spec = jm.ModelSpec(
                n_clusters=1, features=["x"], predictors=["x"], response="y",
                sampler=jm.SamplerSpec(draws=1_000_000, tune=100, chains=2, backend="jax"),
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
        output, errors = process.communicate(timeout=60)
    finally:
        process.kill()
    last = output.splitlines()[-1].split()
    assert process.returncode == 0, errors
    assert last[:2] == ["partial", "1"]
    assert int(last[2]) >= 4


def test_no_chain_can_start(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sampling, "_warm", lambda *_: None)
    monkeypatch.setattr(sampling, "_initial_point", lambda *_: lambda _: NOWHERE)
    spec = spec_of()
    dataset, start = prepared(two_lines(), spec)
    with pytest.raises(SamplingError) as caught:
        sample(dataset, spec, start, 1)
    message = str(caught.value)
    assert message.startswith("The sampler 'nutpie' failed: All initialization points failed")
    assert "\n" not in message
    assert "backtrace" not in message


def test_a_start_of_no_density_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    spec = spec_of()
    dataset, start = prepared(two_lines(), spec)
    monkeypatch.setattr(sampling, "_initial_point", lambda *_: lambda _: NOWHERE)
    with pytest.raises(SamplingError, match=r"^The log density at the start is nan"):
        sample(dataset, spec, start, 1)
