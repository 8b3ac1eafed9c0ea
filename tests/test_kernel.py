"""The compiled kernel against the PyMC model, SciPy and plain NumPy, and as nutpie calls it."""

import ctypes
import shutil
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from pathlib import Path
from typing import Any

import numba
import numpy as np
import pytest
from conftest import STRUCTURES, built, direction_of, structures, table
from hypothesis import given, settings
from hypothesis import strategies as st
from pymc_values import USUAL, constrained, densities, joined, split, unconstrained
from test_model import log_prior, natural_parts, parameters_of, scipy_log_likelihood

from jointmix.families import compiling
from jointmix.families.loops import exponential
from jointmix.families.parameters import Parameters
from jointmix.families.priors.priors import (
    LKJ,
    Dirichlet,
    Fixed,
    Gamma,
    HalfNormal,
    HalfStudentT,
    InverseGamma,
    LogNormal,
    Normal,
    Priors,
    StudentT,
)
from jointmix.kernel.entry import (
    LOG_DENSITY,
    PARAMETERS,
    _log_density,
    _parameters,
    compiled,
    evaluate,
    is_compiled,
)
from jointmix.kernel.problem import free_parameters
from jointmix.kernel.records import HEADER, HEADER_SIZE
from jointmix.kernel.values import unconstrain
from jointmix.model.dataset import Dataset, make_dataset
from jointmix.model.location import coordinates
from jointmix.model.spec import ModelSpec
from jointmix.modes.initial import Start
from jointmix.sampling import Target

pytestmark = pytest.mark.kernel

Point = dict[str, np.ndarray]


def rows_of(spec: ModelSpec, n: int, seed: int = 3) -> Dataset:
    """Random rows of a model's columns: also fewer than a fit would take."""
    rng = np.random.default_rng(seed)
    width = len(spec.columns)
    values = rng.normal(size=(n, width)) * np.arange(1, width + 1) + rng.normal(size=width)
    return Dataset(spec, values, np.arange(n), n, {}, "")


def target_of(dataset: Dataset, direction: np.ndarray | None) -> Target:
    empty = np.zeros(0)
    return Target(dataset, Start(Parameters(weight=empty), empty, empty, empty, direction))


@cache
def target(name: str) -> Target:
    """The density of a structure and the tests' table, ordered where it can be."""
    spec = STRUCTURES[name]
    return target_of(make_dataset(table(), spec), direction_of(spec))


def named(spec: ModelSpec, ordered: bool, q: np.ndarray) -> Point:
    """A vector's parts under the names that PyMC gives the unconstrained values."""
    suffix = {"weight": "_simplex__", "location": "_cone__" if ordered else ""}
    suffix["partial_correlation"] = "_logodds__"
    blocks = free_parameters(spec)
    parts = np.split(q, np.cumsum([block.size for block in blocks])[:-1])
    return {
        block.name + suffix.get(block.name, "_log__"): part.reshape(block.shape)
        for block, part in zip(blocks, parts, strict=True)
    }


def scipy_density(at: Target, q: np.ndarray) -> float:
    """The log posterior density by SciPy's distributions."""
    direction = at.start.direction
    point = named(at.spec, direction is not None, q)
    users = parameters_of(at.spec, at.dataset, point, direction)
    rows = scipy_log_likelihood(at.spec, at.dataset, users)
    return float(rows.sum()) + log_prior(at.spec, point, direction)


def analytic_log_likelihood(at: Target, q: np.ndarray) -> complex:
    """The log likelihood of complex values, without a conjugate or a comparison of them."""
    spec, direction = at.spec, at.start.direction
    users = parameters_of(spec, at.dataset, named(spec, direction is not None, q), direction)
    terms = np.zeros((len(at.dataset.values), spec.n_clusters), complex) + np.log(users["weight"])
    for k in range(spec.n_clusters):
        if spec.features:
            away = at.dataset.select(spec.features) - users["mean"][k]
            covariance = users["cholesky"][k] @ users["cholesky"][k].T
            sign, log_size = np.linalg.slogdet(covariance)
            square = (away * np.linalg.solve(covariance, away.T).T).sum(1)
            terms[:, k] -= (square + log_size + np.log(sign)) / 2
        if spec.response is not None:
            line = users["intercept"][k] + at.dataset.select(spec.predictors) @ users["slope"][k]
            e = (at.dataset.select([spec.response])[:, 0] - line) / users["sigma"][k]
            terms[:, k] -= e**2 / 2 + np.log(users["sigma"][k])
    largest = terms.real.max(1)
    return (largest + np.log(np.exp(terms - largest[:, None]).sum(1))).sum()


def prior_of(at: Target, q: np.ndarray) -> tuple[float, np.ndarray]:
    """The kernel's log prior density and its gradient: what it gives for no rows."""
    problem, gradient = at.problem.copy(), np.empty(at.dim)
    problem[:HEADER_SIZE].view(HEADER)["n_rows"] = 0
    return evaluate(problem, q, gradient), gradient


def assert_gradient(
    at: Target, q: np.ndarray, ways: np.ndarray, h: float = 1e-4, size: float = 1.0
) -> None:
    """The gradient along ``ways`` (way, dim) is that of differences of the density, steps h apart.

    ``size`` is what the density's rounding is relative to, beside the gradient's own terms.
    """
    gradient = at.log_density(q)[1]
    for way in ways:
        near, far = (
            at.log_density(q + step * way)[0] - at.log_density(q - step * way)[0]
            for step in (h, 2 * h)
        )
        scale = size + np.abs(gradient) @ np.abs(way)
        # 1e-16 of the density over the step; its fourth power times a fifth derivative.
        assert abs(gradient @ way - (8 * near - far) / (12 * h)) <= 1e-8 * scale


def check_gradient(at: Target, q: np.ndarray) -> None:
    """Derivatives along random directions: of the rows exact, of the prior by differences."""
    gradient, of_prior = at.log_density(q)[1], prior_of(at, q)[1]
    for way in np.random.default_rng(0).normal(size=(2, at.dim)):
        rows = analytic_log_likelihood(at, q + 1e-30j * way).imag / 1e-30
        # Thousands of terms that may cancel; the oracle inverts covariances of condition 1e3.
        scale = np.abs(gradient - of_prior) @ np.abs(way)
        assert abs((gradient - of_prior) @ way - rows) <= 1e-11 * scale
        near, far = (prior_of(at, q + step * way)[0] - prior_of(at, q - step * way)[0]
                     for step in (1e-3, 2e-3))  # fmt: skip
        # The step's fourth power times a fifth derivative; 1e-16 of the density over the step.
        scale = 1 + np.abs(of_prior) @ np.abs(way)
        assert abs(of_prior @ way - (8 * near - far) / 12e-3) <= 1e-8 * scale


# All structures are held against SciPy below, and in test_fused against PyMC.
@pytest.mark.parametrize("name", USUAL)
def test_density_and_gradient_equal_pymc(name: str) -> None:
    at, (_, model) = target(name), built(name)
    assert [block.name for block in free_parameters(at.spec)] == [v.name for v in model.free_RVs]
    values, gaps = [], []
    for q in np.random.default_rng(1).normal(size=(10, at.dim)):
        rows, prior, expected = densities(model)(q)
        value, gradient = at.log_density(q)
        values.append(value)
        gaps.append(value - rows.sum() - prior)
        # Sums over forty rows, each rounded a few dozen times: 6e-15 was the most seen.
        assert np.abs(gradient - expected).max() <= 1e-12 * np.abs(expected).max()
    if isinstance(at.spec.priors.sd, HalfStudentT):
        # PyMC rounds this family's log 2 to float32: the same constant at all points.
        assert abs(gaps[0]) < 1e-6
        gaps = np.array(gaps) - gaps[0]
    # The same: 1.2e-15 was the most seen.
    assert (np.abs(gaps) <= 1e-12 * np.abs(values)).all()


@pytest.mark.parametrize("name", structures(*USUAL))
def test_parameters_and_values_equal_pymc(name: str) -> None:
    at, (_, model) = target(name), built(name)
    q = np.random.default_rng(2).normal(size=(4, at.dim))
    found, expected = at.parameters(q), constrained(model)(split(model, q))
    assert set(found) == set(expected)
    for key, value in expected.items():
        # A few roundings of numbers of size one; correlations are sums of products.
        np.testing.assert_allclose(found[key], value, rtol=1e-12, atol=1e-14)
    natural = natural_parts(split(model, q[0]), at.start.direction)
    if "partial" in natural:
        natural["partial_correlation"] = (1 + natural.pop("partial")) / 2
    back = unconstrain(natural, at.spec, at.start.direction)
    # Logs of differences and of odds lose a digit or two.
    np.testing.assert_allclose(back, q[0], rtol=1e-12, atol=1e-12)
    np.testing.assert_allclose(back, joined(model, unconstrained(model)(natural)), atol=1e-12)


# Against SciPy.


@pytest.mark.parametrize("name", STRUCTURES)
def test_every_structure_equals_scipy(name: str) -> None:
    at = target(name)
    # Half a unit keeps correlations below 0.99: SciPy inverts covariances by their eigenvalues.
    for q in 0.5 * np.random.default_rng(4).normal(size=(2, at.dim)):
        # Rows of quadratic forms up to 1e4, SciPy's gamma functions to 1e-13.
        found, expected = at.log_density(q)[0], scipy_density(at, q)
        np.testing.assert_allclose(found, expected, rtol=1e-12, atol=1e-11)
        check_gradient(at, q)


@st.composite
def models(draw: st.DrawFn) -> tuple[ModelSpec, int, bool]:
    """Any model, a number of rows, and whether the components are ordered."""
    k, features = draw(st.integers(1, 5)), "abcd"[: draw(st.integers(0, 4))]
    response = draw(st.booleans()) or not features
    names = draw(st.permutations([*features, "p", "q"])) if response else []
    predictors = names[: draw(st.integers(0, len(names)))]
    free = draw(st.booleans()) or not predictors
    covariance = draw(st.sampled_from(("full", "diagonal", "spherical", "tied", "fixed")))
    noise = draw(st.sampled_from(("cluster", "shared", "fixed")))
    rng = np.random.default_rng(draw(st.integers(0, 99)))
    root = rng.normal(size=(k, len(features), len(features))) + 2 * np.eye(len(features))
    if not features:
        covariance = "full"
    scales = st.sampled_from(
        (InverseGamma(shape=2, scale=0.3), HalfNormal(scale=0.8), HalfStudentT(df=3, scale=1.3),
         LogNormal(loc=0.3, scale=0.7), Gamma(shape=1.5, rate=4))
    )  # fmt: skip
    locations = st.sampled_from((Normal(loc=0.5, scale=2), StudentT(df=3, loc=-0.2, scale=0.7)))
    fixed = Fixed(value=(root @ np.swapaxes(root, 1, 2)).tolist()) if features else None
    priors = Priors(
        weight=Dirichlet(concentration=draw(st.sampled_from((0.5, 1.0, 3.0)))),
        mean=draw(locations),
        sd=draw(scales),
        correlation=LKJ(eta=draw(st.sampled_from((0.5, 1.0, 4.0)))),
        covariance=fixed if covariance == "fixed" else None,
        intercept=draw(locations),
        slope=draw(locations),
        sigma=Fixed(value=rng.uniform(0.3, 2, k)) if noise == "fixed" else draw(scales),
    )
    spec = ModelSpec(
        n_clusters=k, features=tuple(features), predictors=tuple(predictors),
        response="y" if response else None, covariance=covariance, noise=noise, intercept=free,
        standardize=draw(st.booleans()), priors=priors,
    )  # fmt: skip
    ordered = bool(coordinates(spec)) and spec.exchangeable and k > 1 and draw(st.booleans())
    return spec, draw(st.integers(2, 70)), ordered


@given(model=models(), seed=st.integers(0, 10**6))
@settings(max_examples=80, deadline=None, derandomize=True)
def test_any_model_equals_scipy(model: tuple[ModelSpec, int, bool], seed: int) -> None:
    spec, n, ordered = model
    direction = np.cos(1 + np.arange(len(coordinates(spec))))
    direction = direction / np.linalg.norm(direction) if ordered else None
    at = target_of(rows_of(spec, n, seed), direction)
    q = 0.7 * np.random.default_rng(seed).normal(size=at.dim)
    # As above; SciPy's inverses of worse conditioned covariances.
    np.testing.assert_allclose(at.log_density(q)[0], scipy_density(at, q), rtol=1e-11, atol=1e-10)
    check_gradient(at, q)


# As samplers see it.


def test_whitening_is_a_change_of_variables() -> None:
    at, rng = target("four clusters, overlapping"), np.random.default_rng(7)
    center = rng.normal(size=at.dim)
    stretch = np.tril(0.1 * rng.normal(size=(at.dim, at.dim))) + np.eye(at.dim)
    white = at.whitened(center, stretch)
    for z in 0.3 * rng.normal(size=(5, at.dim)):
        value, gradient = at.log_density(center + stretch @ z)
        found, slope = white.log_density(z)
        # The point itself is rounded in another order; gradients are of size 1e3.
        np.testing.assert_allclose(found, value, rtol=1e-12)
        scale = np.abs(stretch.T) @ np.abs(gradient)
        assert (np.abs(slope - stretch.T @ gradient) <= 1e-12 * scale.max()).all()
        for key, draw in at.parameters(center + stretch @ z).items():
            np.testing.assert_allclose(white.parameters(z)[key], draw, rtol=1e-12, atol=1e-13)


@pytest.mark.parametrize("name", STRUCTURES)
def test_far_points_have_a_finite_density_or_none(name: str) -> None:
    at, rng = target(name), np.random.default_rng(8)
    corners = [*30 * np.eye(at.dim), *-30 * np.eye(at.dim)]
    corners += list(rng.choice([-30.0, 0.0, 30.0], size=(100, at.dim)))
    for q in corners:
        value, gradient = at.log_density(q)
        # Scales and weights of e^±30 and correlations of 1 − 1e-13 are nothing to overflow.
        assert np.isfinite(value)
        assert np.isfinite(gradient).all()
        assert all(np.isfinite(draw).all() for draw in at.parameters(q).values())


def pointer(values: np.ndarray) -> Any:
    return values.ctypes.data_as(ctypes.POINTER(ctypes.c_double))


def called(at: Target, q: np.ndarray, dim: int | None = None) -> tuple[int, float, np.ndarray]:
    """The C function's code, value and gradient, as nutpie calls it; outputs begin as 7."""
    value, gradient = np.full(1, 7.0), np.full(len(q), 7.0)
    code = compiled()[0].ctypes(
        len(q) if dim is None else dim, *(pointer(a) for a in (q, gradient, value, at.problem))
    )
    return code, float(value[0]), gradient


needs_compilation = pytest.mark.skipif(
    bool(numba.config.DISABLE_JIT), reason="the kernel is interpreted (NUMBA_DISABLE_JIT)"
)


@needs_compilation
@pytest.mark.parametrize("name", ["four clusters, overlapping", "half-t"])
def test_c_functions_are_the_python_functions(name: str) -> None:
    at = target(name)
    q = np.random.default_rng(9).normal(size=at.dim)
    code, value, gradient = called(at, q)
    expected, slope = at.log_density(q)
    assert (code, value) == (0, expected)
    np.testing.assert_array_equal(gradient, slope)
    draws = at.parameters(q)
    flat = np.empty(sum(draw.size for draw in draws.values()))
    arguments = (pointer(q), pointer(flat), pointer(at.problem))
    assert compiled()[1].ctypes(at.dim, flat.size, *arguments) == 0
    np.testing.assert_array_equal(flat, np.concatenate([np.ravel(d) for d in draws.values()]))
    assert compiled()[1].ctypes(at.dim + 1, flat.size, *arguments) == -1
    for dim in (at.dim - 1, at.dim + 1):
        assert called(at, q, dim) == (-1, 7.0, pytest.approx(np.full(at.dim, 7.0)))


def test_c_functions_are_what_they_say_in_python() -> None:
    at = target("four clusters, overlapping")
    density, parameters = _log_density, _parameters
    q, value, gradient = np.random.default_rng(9).normal(size=at.dim), np.zeros(1), np.zeros(at.dim)
    arguments = [pointer(a) for a in (q, gradient, value, at.problem)]
    assert density(at.dim, *arguments) == 0
    expected, slope = at.log_density(q)
    assert value[0] == expected
    np.testing.assert_array_equal(gradient, slope)
    draws = np.concatenate([np.ravel(draw) for draw in at.parameters(q).values()])
    flat = np.empty(draws.size)
    places = [pointer(a) for a in (q, flat, at.problem)]
    assert parameters(at.dim, flat.size, *places) == 0
    np.testing.assert_array_equal(flat, draws)
    # Another model's dimension.
    assert density(at.dim + 1, *arguments) == -1
    assert parameters(at.dim + 1, flat.size, *places) == -1
    # Points to be rejected: of no density, and without a gradient.
    q[:] = np.nan
    assert density(at.dim, *arguments) == 3
    q[:] = 1e200
    with np.errstate(all="ignore"):
        assert density(at.dim, *arguments) in (3, 4)


@needs_compilation
def test_codes_reject_points_without_a_density(capfd: pytest.CaptureFixture[str]) -> None:
    """Codes above 0 reject a point; others would end the chain, or let a wrong value in."""
    at = target("half-t")
    assert called(at, np.full(at.dim, np.nan))[0] == 3
    # exp(2q) overflows, its derivative does not.
    q = np.zeros(at.dim)
    q[-1] = 400
    code, value, gradient = called(at, q)
    assert code == 4
    assert value == -np.inf
    assert np.isfinite(gradient).all()
    # A standard deviation, or the correlations' determinant, underflows to zero.
    for place in range(at.dim):
        for far in (-1e4, -800.0, 800.0, 1e4, -np.inf, np.inf):
            q = np.zeros(at.dim)
            q[place] = far
            code, value, gradient = called(at, q)
            finite = np.isfinite(value) and np.isfinite(gradient).all()
            assert code == 0 if finite else code in (3, 4)
            assert value != 7
    assert capfd.readouterr() == ("", "")


def test_threads_do_not_disturb_each_other() -> None:
    at = target("four clusters, overlapping")
    points = np.random.default_rng(10).normal(size=(400, at.dim))
    alone = [at.log_density(q) for q in points]
    with ThreadPoolExecutor(4) as pool:
        together = list(pool.map(at.log_density, points))
    for (value, gradient), (other, slope) in zip(alone, together, strict=True):
        assert value == other
        np.testing.assert_array_equal(gradient, slope)


# How it is compiled.


@pytest.mark.parametrize("changed", ["loops.py", "priors/rows.py", "student_t/rows.py"])
def test_a_changed_source_file_gives_another_digest(
    changed: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = shutil.copytree(Path(compiling.__file__).parent, tmp_path / "families")
    digest = compiling.source_digest.__wrapped__
    core = Path(evaluate.__code__.co_filename).parent
    before = digest(core), digest(folder / "student_t"), digest(folder / "normal")
    monkeypatch.setattr(compiling, "__file__", str(folder / "compiling.py"))
    assert digest(core) == before[0]
    with (folder / changed).open("a") as file:
        file.write("#")
    own = changed.startswith("student_t")
    assert (digest(core) == before[0]) == own
    assert digest(folder / "student_t") != before[1]
    # Another family's functions are left as they are.
    assert (digest(folder / "normal") == before[2]) == own


@needs_compilation
def test_the_digest_is_part_of_the_stamp_on_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    compiled()
    assert is_compiled()
    folder = Path(exponential.py_func.__code__.co_filename).parent
    stored = compiling._disk_cache(exponential.py_func)
    assert compiling.source_digest(folder) in stored._cache_file._source_stamp
    monkeypatch.setattr(compiling, "source_digest", lambda _: "another source")
    assert not compiling.is_stored(LOG_DENSITY, _log_density)


def test_without_a_folder_to_write_to_it_still_compiles(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(_: object) -> None:
        raise RuntimeError("cannot cache function: no locator available")

    def plus_one(_dim, _n, q, out, _problem):  # type: ignore[no-untyped-def]
        out[0] = q[0] + 1
        return 0

    monkeypatch.setattr(compiling, "FunctionCache", refuse)
    assert compiling._disk_cache(plus_one) is None
    q, out = np.ones(1), np.zeros(1)
    assert compiling.jit(inner=False)(plus_one)(1, 1, q, out, q) == 0
    assert out[0] == 2
    function = compiling.c_function(PARAMETERS, plus_one)
    assert function.ctypes(1, 1, pointer(2 * q), pointer(out), pointer(q)) == 0
    assert out[0] == 3
    assert not compiling.is_stored(PARAMETERS, plus_one)
