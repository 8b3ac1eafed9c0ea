"""Which backend runs, and the reason that is given for it."""

import dataclasses
import itertools
import re
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from conftest import STRUCTURES
from test_sampling import draws_of, prepared, spec_of, two_lines

from jointmix import sampling
from jointmix.base.errors import MissingExtraError, SpecError
from jointmix.families.priors.priors import Fixed, Normal, Priors
from jointmix.kernel.problem import n_free
from jointmix.model.settings import SAMPLERS, SamplerSpec
from jointmix.model.spec import ModelSpec
from jointmix.sampling import backends, choose_backend, memory, plan, plan_for, sample
from jointmix.sampling.backends import cores_used, expected_costs, has_accelerator
from jointmix.sampling.memory import estimate

#: Ten features, eight clusters.
WIDE = ModelSpec(n_clusters=8, features=tuple("abcdefghij"), predictors=("a",), response="y")


@pytest.fixture(autouse=True)
def _compiled_and_without_accelerator(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever this machine has."""
    monkeypatch.setattr(backends, "is_compiled", lambda: True)
    monkeypatch.setattr(backends, "has_accelerator", lambda: False)


def without(monkeypatch: pytest.MonkeyPatch, *packages: str) -> None:
    original = backends.is_installed
    monkeypatch.setattr(
        backends, "is_installed", lambda name: name not in packages and original(name)
    )


@pytest.mark.parametrize(
    ("sampler", "backend", "chosen"),
    [
        *(("nutpie", backend, backend) for backend in ("kernel", "numba", "jax")),
        *((sampler, "auto", first[0]) for sampler, first in SAMPLERS.items()),
        *((sampler, only[0], only[0]) for sampler, only in SAMPLERS.items() if len(only) == 1),
    ],
)
def test_each_sampler_has_its_backend(sampler: str, backend: str, chosen: str) -> None:
    found, reason = choose_backend(spec_of(sampler=sampler, backend=backend), 1000)
    assert found == chosen
    assert reason.endswith(".")


def test_samplers_run_on_their_own_backends_only() -> None:
    for sampler, backend in itertools.product(SAMPLERS, ("kernel", "numba", "jax")):
        if backend in SAMPLERS[sampler]:
            assert SamplerSpec(sampler=sampler, backend=backend).backend == backend
        else:
            message = f"The sampler '{sampler}' runs on {' or '.join(SAMPLERS[sampler])}; got "
            with pytest.raises(SpecError, match=re.escape(f"{message}backend='{backend}'.")):
                SamplerSpec(sampler=sampler, backend=backend)


def test_whitening_needs_the_kernel() -> None:
    spec = spec_of(backend="auto", adaptation="laplace")
    assert choose_backend(spec, 10**9)[0] == "kernel"
    for sampler in ({"backend": "jax"}, {"sampler": "numpyro"}):
        with pytest.raises(SpecError, match="needs the sampler 'nutpie' on the kernel"):
            spec_of(adaptation="laplace", **sampler)


@pytest.mark.parametrize("n_rows", [10, 1000, 10**6])
def test_the_kernel_is_chosen_for_its_time(n_rows: int) -> None:
    backend, reason = choose_backend(spec_of(backend="auto"), n_rows)
    assert backend == "kernel"
    # Each backend with its seconds, the quickest first.
    entry = r"(kernel|jax|numba) (\d+) s \((\d+) s to compile[^)]*\)"
    found = re.findall(entry, reason)
    assert re.fullmatch(rf"The least expected time: {entry}; {entry}; {entry}\.", reason)
    assert found[0][0] == "kernel"
    seconds = [int(total) for _, total, _ in found]
    assert seconds == sorted(seconds)
    assert all(int(total) >= int(compiling) for _, total, compiling in found)


def test_the_first_compilation_is_told_but_not_charged_to_one_fit(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(backends, "is_compiled", lambda: False)
    backend, reason = choose_backend(spec_of(backend="auto"), 100)
    assert backend == "kernel"
    assert "30 s to compile, once for all models" in reason
    monkeypatch.setattr(backends, "is_compiled", lambda: True)
    assert "1 s to compile, compiled before" in choose_backend(spec_of(backend="auto"), 100)[1]


def test_an_accelerator_is_chosen_for_many_rows_only(monkeypatch: pytest.MonkeyPatch) -> None:
    assert choose_backend(WIDE, 10**7)[0] == "kernel"
    monkeypatch.setattr(backends, "has_accelerator", lambda: True)
    backend, reason = choose_backend(WIDE, 10**7)
    assert backend == "jax"
    assert reason.startswith("The least expected time of nutpie: jax ")
    assert "on an accelerator" in reason
    assert choose_backend(WIDE, 200)[0] == "kernel"


@pytest.mark.parametrize(
    ("installed", "expected"),
    [
        (["jax", "jaxlib", "numpyro"], False),
        (["jax", "jax-cuda12-plugin"], True),
        (["jax_rocm7_plugin"], True),
        (["libtpu"], True),
        ([None, "jaxtyping", "my-jax-cuda"], False),
    ],
)
def test_accelerators_are_known_by_their_plugins(
    installed: list[str | None], expected: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = [SimpleNamespace(metadata={"Name": name}) for name in installed]
    monkeypatch.setattr(backends, "distributions", lambda: found)
    has_accelerator.cache_clear()
    try:
        assert has_accelerator() is expected
    finally:
        has_accelerator.cache_clear()


def test_costs_are_positive_and_grow_with_the_work() -> None:
    small = spec_of(backend="auto")
    larger: dict[str, tuple[ModelSpec, int]] = {
        "rows": (small, 10**5),
        "clusters": (dataclasses.replace(small, n_clusters=9), 100),
        "columns": (dataclasses.replace(small, features=tuple("abcdefgh")), 100),
        "draws": (spec_of(backend="auto", draws=10**4), 100),
        "cores": (spec_of(backend="auto", cores=1), 100),
    }
    base = {cost.backend: cost for cost in expected_costs(small, 100)}
    assert set(base) == {"kernel", "numba", "jax"}
    for cost in base.values():
        assert 0 < cost.compiling < 1000
        assert 0 < cost.sampling < 1000
        assert cost.total == cost.compiling + cost.sampling
    for name, (spec, n_rows) in larger.items():
        for cost in expected_costs(spec, n_rows):
            # JAX gains nothing from a second core: Python's lock.
            alike = name == "cores" and cost.backend == "jax"
            more = cost.sampling > base[cost.backend].sampling
            assert (cost.sampling == base[cost.backend].sampling) if alike else more


def test_the_plan_names_backend_reason_and_memory() -> None:
    spec = spec_of()
    found = plan(spec, 1000)
    assert (found.backend, found.reason) == choose_backend(spec, 1000)
    assert found.needed == estimate(spec, 1000, "kernel")


def test_a_dataset_is_planned_by_its_model_and_rows(monkeypatch: pytest.MonkeyPatch) -> None:
    spec = spec_of(draws=4, tune=4)
    dataset, _ = prepared(two_lines(), spec)
    assert plan_for(dataset) == plan(spec, 150)
    asked: list[bool] = []
    monkeypatch.setattr(memory, "require", lambda *given: asked.append(given[-1]))
    for more in (None, object()):
        plan_for(dataclasses.replace(dataset, completions=more))
    assert asked == [False, True]


def test_a_plan_is_not_made_twice(monkeypatch: pytest.MonkeyPatch) -> None:
    spec = spec_of(draws=4, tune=4)
    dataset, start = prepared(two_lines(), spec)
    planned = dataclasses.replace(plan(spec, 150), reason="Planned before.")

    def refuse(*_: object) -> None:
        raise AssertionError("planned again")

    monkeypatch.setattr(sampling, "choose_backend", refuse)
    tree = sample(dataset, start, 1, planned=planned)
    assert tree.attrs["backend_reason"] == "Planned before."
    with pytest.raises(AssertionError, match="planned again"):
        sample(dataset, start, 1)


def all_fixed(n_clusters: int, **free: Any) -> ModelSpec:
    """Nothing to sample but what ``free`` says."""
    known = {
        "weight": Fixed(value=np.full(n_clusters, 1 / n_clusters)),
        "mean": Fixed(value=(4.0, -1.0)),
        "covariance": Fixed(value=1.5),
        "intercept": Fixed(value=0.5),
        "slope": Fixed(value=2.0),
        "sigma": Fixed(value=0.7),
    }
    return ModelSpec(
        n_clusters=n_clusters, features=("a", "b"), predictors=("a",), response="y",
        covariance="fixed", noise="fixed", priors=Priors(**(known | free)),
    )  # fmt: skip


@pytest.mark.parametrize("n_clusters", [1, 2])
def test_a_model_without_free_values_is_refused(n_clusters: int) -> None:
    spec = all_fixed(n_clusters)
    with pytest.raises(SpecError) as caught:
        plan(spec, 100)
    assert str(caught.value) == (
        "Everything in the model is fixed, so that there is nothing to sample; leave at least "
        "one of its parameters free."
    )
    # One parameter of each cluster is enough.
    free = all_fixed(n_clusters, intercept=Normal(scale=2.5))
    assert n_free(free) == n_clusters
    assert plan(free, 100).backend == "kernel"
    assert plan(STRUCTURES["all locations fixed"], 100).backend == "kernel"


def test_cores_and_free_values() -> None:
    assert cores_used(spec_of(cores=3, chains=8)) == 3
    assert 1 <= cores_used(spec_of(cores=None, chains=2)) <= 2
    # A weight, 2 × 3 locations, 2 variances of the feature and 2 of the noise.
    assert n_free(spec_of()) == 11


def test_without_jax(monkeypatch: pytest.MonkeyPatch) -> None:
    without(monkeypatch, "jax", "numpyro", "blackjax")
    backend, reason = choose_backend(spec_of(backend="auto"), 1000)
    assert backend == "kernel"
    assert "jax" not in reason
    for sampler in ("pymc", "laplace"):
        assert choose_backend(spec_of(sampler=sampler), 1000)[0] == SAMPLERS[sampler][0]
    needs_jax: list[dict[str, Any]] = [{"backend": "jax"}]
    needs_jax += [{"sampler": sampler} for sampler in ("numpyro", "blackjax", "pathfinder")]
    for asked in needs_jax:
        name, value = next(iter(asked.items()))
        message = f"{name}='{value}' needs the extra jax: pip install 'jointmix[jax]'."
        with pytest.raises(MissingExtraError, match=re.escape(message)):
            choose_backend(spec_of(**asked), 1000)


@pytest.mark.parametrize(
    ("package", "sampler"),
    [("numpyro", "numpyro"), ("blackjax", "blackjax"), ("blackjax", "pathfinder")],
)
def test_without_one_package_the_others_run(
    package: str, sampler: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    without(monkeypatch, package)
    with pytest.raises(MissingExtraError, match=re.escape(f"sampler='{sampler}' needs")):
        draws_of(spec_of(sampler=sampler), 1)
    assert choose_backend(spec_of(backend="jax"), 1000)[0] == "jax"
