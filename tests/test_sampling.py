"""Samplers: one set of names, one posterior, the same draws for the same seed, starts as told."""

import ctypes
import dataclasses
import json
import pickle
import threading
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import arviz_stats as az
import numpy as np
import nutpie
import pandas as pd
import pytest
import xarray as xr
from conftest import PARAMETERS, more
from scipy import stats

from jointmix import HalfNormal, Priors
from jointmix.base.errors import SamplingError
from jointmix.kernel.entry import compiled
from jointmix.model.dataset import Dataset, make_dataset
from jointmix.model.settings import APPROXIMATIONS, SamplerSpec
from jointmix.model.spec import ModelSpec
from jointmix.modes.em import fit_em
from jointmix.modes.initial import Start, make_start
from jointmix.modes.ordering import choose_ordering
from jointmix.sampling import STATISTICS, Control, Progress, Target, nutpie_runs, sample
from jointmix.sampling.nutpie_runs import adapted, models
from jointmix.sampling.result import Draws, normalised


def two_lines(n: int = 150, seed: int = 0) -> pd.DataFrame:
    """Two clusters far apart in x, each with its own line."""
    rng = np.random.default_rng(seed)
    z = rng.random(n) < 0.4
    x = rng.normal(size=n) + 8 * z
    return pd.DataFrame({"x": x, "y": np.where(z, 4 - x, 1 + 2 * x) + 0.5 * rng.normal(size=n)})


def one_line(n: int = 60, seed: int = 4) -> pd.DataFrame:
    rng = np.random.default_rng(seed)
    x = rng.normal(3, 2, n)
    return pd.DataFrame({"x": x, "y": 1 + 0.5 * x + rng.normal(size=n)})


def spec_of(n_clusters: int = 2, **sampler: Any) -> ModelSpec:
    usual = {"draws": 200, "tune": 200, "chains": 2, "cores": 2, "starts": 4, "sampler": "nutpie"}
    settings: dict[str, Any] = usual | sampler
    # The kernel is what most tests want: not to depend on what is expected to take less time.
    if settings["sampler"] == "nutpie":
        settings = {"backend": "kernel"} | settings
    return ModelSpec(
        n_clusters=n_clusters,
        features=("x",),
        predictors=("x",),
        response="y",
        sampler=SamplerSpec(**settings),
    )


def prepared(table: pd.DataFrame, spec: ModelSpec) -> tuple[Dataset, Start]:
    dataset = make_dataset(table, spec)
    mode = fit_em(dataset, spec, 1).best
    ordering = choose_ordering(mode, dataset, 1)
    return dataset, make_start(mode, dataset, ordering)


def draws_of(
    spec: ModelSpec,
    seed: int,
    table: pd.DataFrame | None = None,
    progress: Progress | None = None,
    control: Control | None = None,
) -> xr.DataTree:
    dataset, start = prepared(two_lines() if table is None else table, spec)
    return sample(dataset, start, seed, progress, control)


def same(first: xr.DataTree, second: xr.DataTree) -> bool:
    """Whether all parameters and statistics are equal to the last bit."""
    groups = ("posterior", "sample_stats")
    return all(first[group].to_dataset().identical(second[group].to_dataset()) for group in groups)


# Names.


@pytest.mark.parametrize(
    ("standardize", "most", "remedy"),
    [
        (True, 1e30, "give them priors with lighter tails."),
        (False, 1e60, "state priors in the columns' units, or let columns be standardised."),
    ],
)
@pytest.mark.parametrize("value", [np.inf, -np.inf, np.nan, "large", "small"])
def test_chains_that_left_float64_are_named(
    value: float | str, standardize: bool, most: float, remedy: str
) -> None:
    least = 1 / most
    value = {"large": 10 * most, "small": 0.1 * least}.get(value, value)
    spec = dataclasses.replace(spec_of(), standardize=standardize)
    arrays = {"weight": np.full((3, 5, 2), 0.5), "sigma": np.full((3, 5, 2), most)}
    arrays["sigma"][0] = least
    assert "sigma" in normalised(Draws(arrays, {}, np.arange(3)), spec)["posterior"]
    arrays["sigma"][2, 4, 1] = value
    with pytest.raises(SamplingError) as caught:
        normalised(Draws(arrays, {}, np.arange(3)), spec)
    said = "Chain 2 went to values of sigma whose products leave float64"
    assert str(caught.value) == f"{said}; {remedy}"
    arrays["weight"][0, 0] = np.nan
    with pytest.raises(SamplingError, match="Chains 0, 2 went to values of weight, sigma whose"):
        normalised(Draws(arrays, {}, np.arange(3)), spec)


def check_normalised(tree: xr.DataTree, spec: ModelSpec) -> None:
    """Names, dims and types of the result, whichever sampler ran."""
    posterior, statistics = tree["posterior"].to_dataset(), tree["sample_stats"].to_dataset()
    quick = spec.sampler.sampler in APPROXIMATIONS
    # Independence chains and Laplace's approximation know the likelihood.
    known = {"log_density"} | ({"log_likelihood"} if spec.sampler.sampler == "laplace" else set())
    every = set(STATISTICS) - {"log_likelihood"}
    assert set(statistics.data_vars) == (known if quick else every)
    for values in statistics.data_vars.values():
        assert values.dims == ("chain", "draw")
        assert isinstance(values.variable._data, np.ndarray)
        assert values.dtype.kind in "biuf"
        assert np.isfinite(values).all()
    for name, values in posterior.data_vars.items():
        assert values.dims == ("chain", "draw", "component", *PARAMETERS[name])
        assert isinstance(values.variable._data, np.ndarray)
    assert set(posterior.data_vars) == set(PARAMETERS)
    assert posterior["feature"].values.tolist() == ["x"]
    assert posterior["predictor"].values.tolist() == ["x"]
    assert posterior["component"].values.tolist() == list(range(spec.n_clusters))
    for sizes in (posterior.sizes, statistics.sizes):
        assert (sizes["chain"], sizes["draw"]) == (spec.sampler.chains, spec.sampler.draws)
    assert tree.attrs["partial"] == 0
    assert tree.attrs["backend"].startswith(f"{spec.sampler.sampler} on ")
    assert tree.attrs["backend_reason"].endswith(".")
    assert tree.attrs["sample_seconds"] > 0
    json.dumps(tree.attrs)


# The posterior.


def unconstrained_log_density(tree: xr.DataTree, table: pd.DataFrame, spec: ModelSpec) -> Any:
    """The model's log density at the draws of a K = 1 fit, up to a constant: (chain, draw)."""
    dataset = make_dataset(table, spec)
    x, y = dataset.scaling.transform(dataset.values).T
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


def mcse(values: np.ndarray, method: str, independent: bool) -> float:
    """Monte Carlo error of the mean or sd of draws (chain, draw)."""
    if not independent:
        return float(az.mcse(xr.DataArray(values, dims=("chain", "draw")), method=method))
    # Resampled draws repeat candidates. With k̂ < 0.7 the weighted candidates count for a quarter
    # of the draws at least; a standard deviation's error is at most that of twice as heavy tails.
    n = values.size / 5
    return values.std() * np.sqrt((1 if method == "mean" else 2) / n)


def check_sampler(spec: ModelSpec, reference: xr.DataTree) -> None:
    table = one_line()
    tree = draws_of(spec, 5, table)
    check_normalised(tree, spec)
    found = tree["sample_stats"]["log_density"].values
    expected = unconstrained_log_density(tree, table, spec)
    # A constant apart, as far as a log density of some 1e2 is rounded.
    np.testing.assert_allclose(found - found[0, 0], expected - expected[0, 0], rtol=0, atol=1e-8)
    quick = spec.sampler.sampler in APPROXIMATIONS
    assert not quick or tree.attrs["pareto_shape"] < 0.7
    for name in ("mean", "sd", "intercept", "slope", "sigma"):
        ours, theirs = (part["posterior"][name].values.squeeze() for part in (tree, reference))
        for method, function in (("mean", np.mean), ("sd", np.std)):
            error = np.hypot(mcse(ours, method, quick), mcse(theirs, method, False))
            # Four combined Monte Carlo errors: a false alarm in 1,600 for each of ten numbers.
            assert abs(function(ours) - function(theirs)) < 4 * error


LONG = {"draws": 1000, "tune": 300}


@pytest.fixture(scope="module")
def reference() -> xr.DataTree:
    return draws_of(spec_of(1, draws=4000, tune=500), 3, one_line())


@pytest.fixture(scope="module")
def on_jax() -> ModelSpec:
    """A model that nutpie has on JAX: compiled once for the tests of this file."""
    return spec_of(1, **LONG, backend="jax")


@pytest.mark.parametrize("adaptation", ["laplace", "low_rank", "diag"])
def test_kernel_gives_the_log_density(adaptation: str, reference: xr.DataTree) -> None:
    check_sampler(spec_of(1, **LONG, adaptation=adaptation), reference)


def test_jax_gives_the_same_posterior(reference: xr.DataTree, on_jax: ModelSpec) -> None:
    check_sampler(on_jax, reference)


def test_laplace_gives_the_same_posterior(reference: xr.DataTree) -> None:
    check_sampler(spec_of(1, **LONG, sampler="laplace"), reference)


# Each compiles for ten seconds or more; numpyro's two ways of running chains differ in the code.
@pytest.mark.slow
@pytest.mark.parametrize(
    "sampler",
    [
        {"backend": "numba"},
        {"sampler": "pymc"},
        {"sampler": "numpyro"},
        pytest.param(
            {"sampler": "numpyro", "adaptation": "diag", "chain_method": "parallel"}, marks=more
        ),
        {"sampler": "blackjax"},
        {"sampler": "pathfinder"},
    ],
    ids=lambda sampler: " ".join(sampler.values()),
)
def test_all_give_the_same_posterior(sampler: dict[str, str], reference: xr.DataTree) -> None:
    check_sampler(spec_of(1, **LONG, **sampler), reference)


@pytest.mark.parametrize(
    ("asked", "done", "metric"),
    [
        ("auto", "laplace", "diag"),
        ("laplace", "laplace", "diag"),
        ("low_rank", "low_rank", "low_rank"),
        ("diag", "diag", "diag"),
    ],
)
def test_what_is_whitened_needs_a_diagonal_metric_only(
    asked: str, done: str, metric: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    given: list[str] = []
    original = nutpie.sample

    def noted(*args: Any, adaptation: str, **options: Any) -> Any:
        given.append(adaptation)
        return original(*args, adaptation=adaptation, **options)

    monkeypatch.setattr(nutpie, "sample", noted)
    tree = draws_of(spec_of(draws=4, tune=4, adaptation=asked), 1)
    assert tree.attrs["adaptation"] == done
    # A run a chain.
    assert given == [metric] * tree["posterior"].sizes["chain"]


def test_only_the_kernel_whitens(on_jax: ModelSpec) -> None:
    few = dataclasses.replace(on_jax.sampler, draws=4, tune=4)
    tree = draws_of(dataclasses.replace(on_jax, sampler=few), 1, one_line())
    assert few.adaptation == "auto"
    assert tree.attrs["adaptation"] == "low_rank"


# Reproducibility.


@pytest.fixture(scope="module")
def first() -> xr.DataTree:
    return draws_of(spec_of(chains=4), 1)


def test_same_seed_same_draws(first: xr.DataTree) -> None:
    """To the last bit, whichever thread takes which of four chains."""
    check_normalised(first, spec_of(chains=4))
    again, alone = draws_of(spec_of(chains=4), 1), draws_of(spec_of(chains=4, cores=1), 1)
    assert same(first, again)
    assert same(first, alone)
    other = draws_of(spec_of(chains=4), 2)["posterior"]["slope"].values
    slope = first["posterior"]["slope"].values
    assert len({draws.tobytes() for draws in (*slope, *other)}) == 8


def test_progress_is_told(first: xr.DataTree) -> None:
    told: list[tuple[str, float, float, str]] = []
    tree = draws_of(spec_of(chains=4), 1, progress=lambda *what: told.append(what))
    assert same(first, tree)
    assert [what[:3] for what in told[:2]] == [("compile", 0, 1), ("compile", 1, 1)]
    for stage, done, total, note in told[2:]:
        assert (stage, total) == ("sample", 4 * 400)
        assert 0 <= done <= total
        assert "gradients a draw" in note


def test_another_data_set_reuses_what_was_compiled(
    on_jax: ModelSpec, monkeypatch: pytest.MonkeyPatch
) -> None:
    few = dataclasses.replace(on_jax.sampler, draws=4, tune=4)
    draws_of(dataclasses.replace(on_jax, sampler=few), 1, one_line())

    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("compiled again")

    monkeypatch.setattr(nutpie, "compile_pymc_model", refuse)
    rng = np.random.default_rng(8)
    # As many rows: JAX itself compiles anew for another number of them.
    x = rng.normal(-4, 0.5, 60)
    table = pd.DataFrame({"x": x, "y": 3 - 2 * x + 0.2 * rng.normal(size=60)})
    tree = draws_of(on_jax, 1, table)
    slope = tree["posterior"]["slope"].squeeze()
    design = np.column_stack([np.ones(60), (x - x.mean()) / x.std()])
    y = (table["y"] - table["y"].mean()) / table["y"].std(ddof=0)
    variance = (tree["posterior"]["sigma"].values ** 2).mean()
    # Given σ² the slope is normal, its precision that of the rows and of the prior, N(0, 2.5²);
    # averaged over σ² the mean stays the same to 1e-6.
    precision = design.T @ design / variance + np.eye(2) / 2.5**2
    expected = np.linalg.solve(precision, design.T @ y / variance)[1]
    assert abs(slope.mean() - expected) < 4 * az.mcse(slope) + 1e-5


def test_a_target_goes_to_other_processes_without_addresses_of_this_one() -> None:
    target = Target(*prepared(two_lines(), spec_of()))
    at = target.point(1)
    value, _ = target.log_density(at)
    assert "problem" in vars(target)
    other = pickle.loads(pickle.dumps(target))
    assert "problem" not in vars(other)
    assert other.log_density(at)[0] == value


# Starts. nutpie has no interface for starts of one's own: these tests guard its private fields.


def recorded(points: list[bytes], lock: threading.Lock) -> Callable[[Target], Any]:
    """`kernel_model` with a density that notes at which points it is asked."""
    original, density = models.kernel_model, compiled()[0].ctypes
    pointer = ctypes.POINTER(ctypes.c_double)
    signature = ctypes.CFUNCTYPE(
        ctypes.c_int64, ctypes.c_uint64, pointer, pointer, pointer, ctypes.c_void_p
    )

    @signature
    def asked(dim: int, q: Any, gradient: Any, value: Any, problem: int) -> int:
        with lock:
            points.append(np.ctypeslib.as_array(q, (dim,)).tobytes())
        return density(dim, q, gradient, value, ctypes.cast(problem, pointer))

    def model(target: Target) -> Any:
        address = ctypes.cast(asked, ctypes.c_void_p).value
        function = SimpleNamespace(address=address, kept=asked)
        return dataclasses.replace(original(target), compiled_logp_func=function)

    return model


def test_kernel_chains_start_where_they_are_told(monkeypatch: pytest.MonkeyPatch) -> None:
    handed: list[bytes] = []
    seen: list[bytes] = []
    lock, point = threading.Lock(), Target.point

    def noted(target: Target, seed: Any) -> np.ndarray:
        found = point(target, seed)
        with lock:
            handed.append(found.tobytes())
        return found

    monkeypatch.setattr(models, "kernel_model", recorded(seen, lock))
    monkeypatch.setattr(Target, "point", noted)
    tree = draws_of(spec_of(draws=4, tune=4, chains=3), 1)
    assert tree["posterior"].sizes["chain"] == 3
    # One to see whether the model can be sampled, the same to look for the mode, one a chain.
    assert len(handed) == 5
    assert len(set(handed)) == 4
    assert set(handed[2:]) <= set(seen)


def test_jax_chains_start_where_they_are_told(
    on_jax: ModelSpec, monkeypatch: pytest.MonkeyPatch
) -> None:
    handed: list[bytes] = []
    seen: list[bytes] = []
    lock, original, point = threading.Lock(), models.pymc_model, Target.point

    def noted(target: Target, seed: Any) -> np.ndarray:
        found = point(target, seed)
        with lock:
            handed.append(found.tobytes())
        return found

    def observed(*given: Any) -> Any:
        found = original(*given)

        def make() -> Callable[..., Any]:
            function = found._make_logp_func()

            def log_density(x: np.ndarray, **data: Any) -> Any:
                with lock:
                    seen.append(np.array(x).tobytes())
                return function(x, **data)

            return log_density

        return dataclasses.replace(found, _make_logp_func=make)

    monkeypatch.setattr(models, "pymc_model", observed)
    monkeypatch.setattr(Target, "point", noted)
    settings = dataclasses.replace(on_jax.sampler, draws=4, tune=4)
    draws_of(dataclasses.replace(on_jax, sampler=settings), 1, one_line())
    # One to see whether the model can be sampled, the same to trace it, one a chain.
    assert len(handed) == 4
    assert len(set(handed)) == 3
    assert set(handed[2:]) <= set(seen)


def test_no_chain_can_start(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Target, "check_start", lambda *_: None)
    monkeypatch.setattr(Target, "point", lambda target, _: np.full(target.dim, np.nan))
    with pytest.raises(SamplingError) as caught:
        draws_of(spec_of(adaptation="low_rank"), 1)
    message = str(caught.value)
    assert message.startswith("The sampler 'nutpie' failed: All initialization points failed")
    assert "\n" not in message
    assert "backtrace" not in message


def test_a_panic_below_the_sampler_is_one_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    """nutpie's panics are no Exceptions."""

    class PanicException(BaseException):
        """As pyo3 names it."""

    for kind, expected in ((PanicException, SamplingError), (KeyboardInterrupt, KeyboardInterrupt)):

        def panic(*_: object, kind: type[BaseException] = kind) -> None:
            raise kind("called `unwrap()` on an `Err` value: Invalid initial point\n\nbacktrace")

        monkeypatch.setattr(nutpie_runs, "run_chains", panic)
        with pytest.raises(expected, match="Invalid initial point") as caught:
            draws_of(spec_of(adaptation="low_rank"), 1)
        if expected is SamplingError:
            assert str(caught.value) == (
                "The sampler 'nutpie' failed (Invalid initial point); state priors in the columns' "
                "units, or let columns be standardised."
            )


@pytest.mark.parametrize("adaptation", ["laplace", "auto"])
def test_a_mode_without_curvature(adaptation: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whitening is left out unless it was asked for."""
    monkeypatch.setattr(nutpie_runs, "normal_at", refuse_mode)
    spec = spec_of(adaptation=adaptation)
    if adaptation == "laplace":
        with pytest.raises(SamplingError, match="no mode"):
            draws_of(spec, 1)
        return
    assert draws_of(spec, 1).attrs["adaptation"] == "low_rank"


def refuse_mode(*_: object) -> None:
    raise SamplingError("no mode")


def one_row_apart(seed: int) -> pd.DataFrame:
    """Fifty-nine rows of one cluster and one of another, drawn from wide priors."""
    rng = np.random.default_rng(seed)
    z = np.repeat([0, 1], [59, 1])
    mean, slope, level = (
        3 * rng.normal(size=(2, 2)),
        2 * rng.normal(size=(2, 2)),
        rng.normal(size=2),
    )
    sigma, sd = np.abs(2 * rng.normal(size=2)), np.abs(2 * rng.normal(size=(2, 2)))
    x = mean[z] + sd[z] * rng.normal(size=(60, 2))
    y = level[z] + (x * slope[z]).sum(1) + sigma[z] * rng.normal(size=60)
    return pd.DataFrame({"x1": x[:, 0], "x2": x[:, 1], "y": y})


def bounded_by_nothing(**sampler: Any) -> ModelSpec:
    """Two clusters whose scales have priors that are positive at zero, on the columns' scale."""
    return ModelSpec(
        n_clusters=2,
        features=("x1", "x2"),
        predictors=("x1", "x2"),
        response="y",
        covariance="diagonal",
        standardize=False,
        priors=Priors(sd=HalfNormal(), sigma=HalfNormal()),
        sampler=SamplerSpec(backend="kernel", starts=10, **sampler),
    )


# Whitened, chains of the first went to an sd of 1e129 and a sigma of 1e-170.
@pytest.mark.parametrize("seed", [1, 12])
def test_the_curvature_of_a_spike_does_not_whiten(seed: int) -> None:
    spec = bounded_by_nothing()
    target = Target(*prepared(one_row_apart(seed), spec))
    same, adaptation, reason = adapted(target, "kernel", seed)
    assert same.whitening is None
    assert adaptation == "low_rank"
    # Up a spike the climb ends where rounding lets it, at what is no maximum or a useless one.
    assert reason in (
        "The curvature at the mode near the EM start does not describe the posterior around it.",
        "The posterior has no mode with curvature in all directions near the EM start.",
    )
    asked = bounded_by_nothing(adaptation="laplace")
    with pytest.raises(SamplingError, match="adaptation='auto'"):
        adapted(Target(*prepared(one_row_apart(seed), asked)), "kernel", seed)


@pytest.mark.slow
@pytest.mark.parametrize("seed", [1, 12])
def test_chains_from_a_spike_keep_to_scales_that_the_prior_allows(seed: int) -> None:
    """Half-normal: beyond twenty once in 1e88 draws, and below 1e-8 once in 1e8."""
    found = draws_of(bounded_by_nothing(chains=4, cores=2), seed, one_row_apart(seed))
    posterior = found["posterior"].to_dataset()
    for name in ("sd", "sigma"):
        assert posterior[name].min() > 1e-8
        assert posterior[name].max() < 20
        # No chain stands still.
        assert (posterior[name].std("draw") > 1e-3).all()


def test_what_adapts_and_why_is_told(first: xr.DataTree) -> None:
    assert first.attrs["adaptation"] == "laplace"
    assert first.attrs["adaptation_reason"] == "The curvature at the mode describes the posterior."
    dataset, start = prepared(two_lines(), spec_of())
    reasons = {
        name: adapted(Target(dataset.under(spec_of(adaptation=name)), start), backend, 1)[1:]
        for name, backend in (("diag", "kernel"), ("low_rank", "jax"), ("auto", "jax"))
    }
    assert reasons == {
        "diag": ("diag", "Asked for in the specification."),
        "low_rank": ("low_rank", "Asked for in the specification."),
        "auto": ("low_rank", "Whitening by the curvature at the mode needs the kernel."),
    }


@pytest.mark.parametrize("sampler", ["nutpie", "laplace"])
def test_a_start_of_no_density_is_named(sampler: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Target, "point", lambda target, _: np.full(target.dim, np.nan))
    with pytest.raises(SamplingError, match=r"^The log density at the start is nan"):
        draws_of(spec_of(sampler=sampler), 1)
