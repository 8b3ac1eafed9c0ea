"""The PyMC model against itself with the kernel inside it, and against the kernel alone."""

import pickle
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pymc as pm
import pytensor
import pytensor.tensor as pt
import pytest
from conftest import STRUCTURES, direction_of, more, table
from test_kernel import target_of
from test_model import STUDENT, draw_points

from jointmix import build_model
from jointmix.families.priors.priors import HalfStudentT
from jointmix.kernel.fused import RowSum
from jointmix.model.dataset import make_dataset
from jointmix.model.spec import ModelSpec, SamplerSpec
from jointmix.modes.em import fit_em
from jointmix.modes.initial import make_start
from jointmix.modes.ordering import choose_ordering
from jointmix.sampling import sample

SPECS = {f"Student-t, {name}": spec for name, spec in STUDENT.items()} | STRUCTURES
USUAL = ("four clusters, overlapping", "tied", "no intercept", "Student-t, prior")
NAMES = [
    name if name in USUAL else pytest.param(name, marks=pytest.mark.slow)
    for name in SPECS
    if name not in ("all locations fixed",)
]


def both(spec: ModelSpec, n: int = 600) -> tuple[pm.Model, pm.Model]:
    """The model without and with the kernel, of enough rows for more than one tile."""
    return tuple(
        build_model(table(n), spec, direction_of(spec), fused=fused) for fused in (False, True)
    )


def with_gradient(
    model: pm.Model, mode: str = "FAST_COMPILE", gradient: bool = True
) -> Callable[..., list[Any]]:
    """The log posterior density and its gradient."""
    total = model.logp()
    slopes = pt.grad(total, model.value_vars) if gradient else []
    with pytensor.config.change_flags(mode=mode):
        return pytensor.function(model.value_vars, [total, *slopes])


def assert_same(found: list[Any], expected: list[Any]) -> None:
    np.testing.assert_allclose(found[0], expected[0], rtol=1e-12)
    if len(expected) == 1:
        return
    one, other = (
        np.concatenate([np.ravel(part) for part in each[1:]]) for each in (found, expected)
    )
    # The quadratic form of the PyMC model loses digits where a gradient's parts cancel.
    np.testing.assert_allclose(one, other, rtol=1e-9, atol=1e-9 * np.abs(other).max())


@pytest.mark.parametrize("name", NAMES)
def test_fused_equals_unfused(name: str) -> None:
    """The PyMC model against the kernel; where it is usual, against itself with the kernel too.

    Gradients, which take long to compile, are those of SciPy's densities in test_kernel.
    """
    spec = SPECS[name]
    plain = build_model(table(600), spec, direction_of(spec))
    expected = with_gradient(plain, gradient=name in USUAL)
    found = None
    if name in USUAL:
        found = with_gradient(build_model(table(600), spec, direction_of(spec), fused=True))
    alone, lost = target_of(make_dataset(table(600), spec), direction_of(spec)), None
    for point in draw_points(plain, np.random.default_rng(3), 3):
        right = expected(**point)
        if found is not None:
            assert_same(found(**point), right)
        values = [np.ravel(point[value.name]) for value in plain.value_vars]
        total, gradient = alone.log_density(np.concatenate(values))
        if lost is None:
            # PyMC rounds the half-t's log 2 to float32: the same constant at all points.
            lost = right[0] - total if isinstance(spec.priors.sd, HalfStudentT) else 0.0
            assert abs(lost) < 1e-6
        assert_same([total + lost, gradient], right)


@more
@pytest.mark.parametrize("name", ["four clusters, overlapping", "Student-t, prior"])
def test_numba_runs_the_same_without_python(name: str) -> None:
    _, fused = both(SPECS[name])
    found, expected = with_gradient(fused, "NUMBA"), with_gradient(fused)
    for point in draw_points(fused, np.random.default_rng(3), 3):
        assert_same(found(**point), expected(**point))


def test_other_rows_are_taken() -> None:
    plain, fused = both(SPECS["disjoint"], 50)
    functions = [with_gradient(model) for model in (plain, fused)]
    rng = np.random.default_rng(4)
    (point,) = draw_points(plain, rng, 1)
    for n in (1, 255, 700):
        rows, extra = rng.normal(size=(n, 3)), rng.normal(size=(n, 2))
        for model in (plain, fused):
            with model:
                pm.set_data({"rows": rows, "extra": extra})
        expected, found = (function(**point) for function in functions)
        assert_same(found, expected)


def test_a_changed_prior_counts() -> None:
    spec = replace(SPECS["shared noise"], n_clusters=2)
    plain, fused = both(spec)
    (point,) = draw_points(plain, np.random.default_rng(5), 1)
    for model in (plain, fused):
        with model:
            pm.Potential("similar", -3.0 * (model["slope"] ** 2).sum())
    assert_same(with_gradient(fused)(**point), with_gradient(plain)(**point))


def test_addresses_do_not_travel() -> None:
    """An operation that is sent to another process says which families, not where they are."""
    _, fused = both(SPECS["four clusters, overlapping"], 50)
    (operation,) = (
        node.op
        for node in pytensor.graph.traversal.applys_between([], [fused.logp()])
        if isinstance(node.op, RowSum)
    )
    assert vars(pickle.loads(pickle.dumps(operation))) == vars(operation)
    assert set(vars(operation)) == {"blocks", "n_clusters", "positive", "weighted"}


def test_second_derivatives_are_refused() -> None:
    _, fused = both(SPECS["one cluster, no features"], 50)
    (first, *_) = pt.grad(fused.logp(), fused.value_vars)
    with pytest.raises(Exception, match="no second derivatives"):
        pt.grad(first.sum(), fused.value_vars)


@more
def test_nutpie_samples_a_changed_model() -> None:
    """With a prior of ν lowered, as draws of the model as it is say when they are weighted."""
    import nutpie

    spec = replace(SPECS["Student-t, one cluster"], sampler=SamplerSpec(draws=4000))
    with build_model(table(200), spec, fused=True) as model:
        pm.Potential("low", -0.5 * (model["df"] / 3.0).sum())
    compiled = nutpie.compile_pymc_model(model)
    trace = nutpie.sample(compiled, draws=300, tune=300, chains=2, seed=1, progress_bar=False)
    dataset = make_dataset(table(200), spec)
    mode = fit_em(dataset, spec, 1).best
    start = make_start(mode, dataset, choose_ordering(mode, dataset, 1))
    known = sample(dataset, start, 1)["posterior"].to_dataset().stack(one=("chain", "draw"))
    weight = np.exp(-known["df"].sum("component") / 6)
    for name in ("slope", "df"):
        found = trace.posterior[name]
        expected = (known[name] * weight).sum("one") / weight.sum()
        # 600 draws, of which one in four counts: five standard errors.
        error = found.std(("chain", "draw")) / np.sqrt(150)
        assert (abs(found.mean(("chain", "draw")) - expected) < 5 * error).all()
