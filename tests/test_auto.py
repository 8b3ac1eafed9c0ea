"""The default sampler: which one it takes, why, and that results are those of the one it takes."""

import json
from dataclasses import replace
from pathlib import Path

import arviz_stats as az
import numpy as np
import pandas as pd
import pytest
import xarray as xr
from test_independence import _two_means, apart, spec, three_clumps

import jointmix as jm
from jointmix.base.errors import SamplingError
from jointmix.fitting import scouts
from jointmix.fitting.clock import Clock
from jointmix.fitting.selection import sparse
from jointmix.fitting.stages import prepare
from jointmix.model.dataset import Dataset, make_dataset
from jointmix.model.serialised import spec_to_dict
from jointmix.sampling import Target, independence, sample
from jointmix.sampling.control import Control
from jointmix.sampling.independence import Sampler
from jointmix.sampling.target import LARGEST_DIM
from jointmix.validation.calibration import read_calibration
from jointmix.validation.calibration.result import spec_digest

FEW = jm.SamplerSpec(draws=100, tune=100, retry_budget=0)
CALIBRATIONS = Path(__file__).parents[1] / "reports" / "calibration"


def weak(n: int = 60, seed: int = 5) -> pd.DataFrame:
    """Two clusters in x that hardly show."""
    rng = np.random.default_rng(seed)
    return pd.DataFrame({"x": rng.normal(size=n) + 2.5 * rng.integers(2, size=n)})


def of_x(**changes: object) -> jm.ModelSpec:
    options = {"n_clusters": 2, "features": ["x"], "sampler": FEW, "ordering": "mean[x]"}
    return jm.ModelSpec(**(options | changes))  # type: ignore[arg-type]


def by(name: str, table: object, model: jm.ModelSpec, **options: object) -> xr.DataTree:
    named = replace(model, sampler=replace(model.sampler, sampler=name))
    return jm.fit(table, named, progress=False, **options)  # type: ignore[arg-type]


def assert_same_draws(one: xr.DataTree, other: xr.DataTree) -> None:
    for name, values in one["posterior"].data_vars.items():
        np.testing.assert_array_equal(other["posterior"][name], values)


@pytest.fixture(scope="module")
def usual() -> xr.DataTree:
    """A fit whose specification says nothing of the sampler."""
    model = jm.ModelSpec(n_clusters=2, features=["x"], predictors=["x"], response="y")
    return jm.fit(apart(1), model, progress=False)


def test_it_is_the_default_and_says_what_it_took(usual: xr.DataTree, tmp_path: Path) -> None:
    assert jm.SamplerSpec().sampler == "auto"
    assert json.loads(usual.attrs["spec"])["sampler"]["sampler"] == "auto"
    assert usual.attrs["backend"] == "independence on kernel"
    assert usual.attrs["verdict"] == "OK"
    jm.report(usual, tmp_path / "fit.md", sections=["computation"])
    page = (tmp_path / "fit.md").read_text()
    assert "independence, as the posterior is nearly normal in its coordinates" in page
    # Independence chains have no steps of adaptation.
    assert "4, 1000, none" in page


def test_what_is_compiled_is_told_apart(usual: xr.DataTree) -> None:
    assert set(json.loads(usual.attrs["seconds"])) >= {"compile", "sample"}


def test_progress_begins_with_compiling() -> None:
    told: list[tuple[str, float, float]] = []
    jm.fit(apart(1), spec(FEW), progress=lambda *each: told.append(each[:3]))
    stages = [stage for stage, *_ in told]
    assert stages.index("compile") < stages.index("sample")
    assert max(each[1:] for each in told if each[0] == "sample") == (400, 400)


# Where it takes nutpie.


def test_what_asks_for_gradients_gets_nutpie() -> None:
    prepared = prepare(apart(1), spec(FEW), 1, Clock(None))
    target = Target(prepared.dataset, prepared.start)

    def reason(backend: str = "kernel", streams: bool = False, **settings: object) -> str:
        sampler = replace(FEW, **settings)  # type: ignore[arg-type]
        dataset = prepared.dataset.under(replace(prepared.spec, sampler=sampler))
        return independence._unfit(replace(target, dataset=dataset), backend, streams)

    assert reason() == ""
    assert "its adaptation was asked for" in reason(adaptation="diag")
    assert "weighed by the kernel, not by jax" in reason("jax")
    assert "scouts follow" in reason(scouts=1)
    assert "streams" in reason(streams=True)
    free = replace(target, start=replace(prepared.start, direction=None))
    assert "labels are left free" in independence._unfit(free, "kernel", False)


def test_no_curvature_is_taken_of_too_many_values(monkeypatch: pytest.MonkeyPatch) -> None:
    prepared = prepare(apart(1), spec(FEW), 1, Clock(None))
    target = Target(prepared.dataset, prepared.start)
    monkeypatch.setattr(independence, "LARGEST_DIM", target.dim - 1)
    assert f"more than {target.dim - 1} values" in independence._unfit(target, "kernel", False)
    assert LARGEST_DIM > 1000


@pytest.mark.parametrize("name", ["auto", "independence"])
def test_scouts_follow_gradients(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Candidates around the mode that a scout comes from would never leave it."""
    model, seen = _two_means(jm.SamplerSpec(sampler=name, scouts=1)), []

    def noted(dataset: Dataset, *_: object) -> None:
        seen.append((dataset.spec.sampler.sampler, dataset.spec.sampler.chains))
        raise SamplingError("noted")

    monkeypatch.setattr(scouts, "sample", noted)
    found = prepare({"x": three_clumps()}, model, 1, Clock(None))
    assert scouts.scout(found.dataset, found.census, found.ordering, 1) == ([], "noted")
    assert seen == [("nutpie", 2)]


def test_a_stream_is_nutpies_and_recovered_by_either_name(tmp_path: Path) -> None:
    tree = jm.fit(apart(1), spec(FEW), progress=False, stream=tmp_path / "draws")
    assert tree.attrs["backend"] == "nutpie on kernel"
    assert tree.attrs["sampler_reason"] == independence.STREAMED
    assert_same_draws(tree, by("nutpie", apart(1), spec(FEW)))
    named = spec(replace(FEW, sampler="nutpie"))
    for model, reason in ((spec(FEW), independence.STREAMED), (named, "")):
        found = jm.recover(apart(1), model, 1, tmp_path / "draws")
        assert found.attrs["sampler_reason"] == reason
        assert_same_draws(tree, found)


@pytest.mark.parametrize(
    ("table", "model", "words"),
    [
        (apart(1, 60), spec(FEW, n_clusters=3, ordering="mean[x]"), "not near enough"),
        (apart(1, 12), spec(FEW, ordering="none"), "labels are left free"),
        (weak(), of_x(), "not near enough"),
        (
            weak(),
            sparse(of_x(sampler=replace(FEW, draws=50, chains=2)), 3),
            "its adaptation was asked for",
        ),
    ],
    ids=["surplus cluster", "a dozen rows", "weak separation", "empty clusters"],
)
def test_what_is_not_nearly_normal_is_nutpies(
    table: pd.DataFrame, model: jm.ModelSpec, words: str
) -> None:
    tree = jm.fit(table, model, progress=False)
    assert tree.attrs["backend"] == "nutpie on kernel"
    assert words in tree.attrs["sampler_reason"]
    assert_same_draws(tree, by("nutpie", table, model))


def test_a_dozen_rows_in_order_are_those_of_nuts() -> None:
    table, model = apart(3, 14), spec(jm.SamplerSpec(retry_budget=0))
    tree, nuts = jm.fit(table, model, progress=False), by("nutpie", table, model)
    assert tree.attrs["backend"] == "independence on kernel"
    for name in ("weight", "mean", "sd", "intercept", "slope", "sigma"):
        one, other = np.log(abs(tree["posterior"][name])), np.log(abs(nuts["posterior"][name]))
        errors = [az.mcse(each, method="median") for each in (one, other)]
        gap = abs(one.median(("chain", "draw")) - other.median(("chain", "draw")))
        # Of twelve numbers the largest exceeds 4 once in 1,300 runs.
        assert float((gap / np.hypot(*errors)).max()) < 4


def test_what_turns_out_not_to_hold_ends_early(monkeypatch: pytest.MonkeyPatch) -> None:
    """The pilot of this posterior passes, and its weights get heavier as candidates come."""
    right, seen = Sampler._candidates, []

    def heavier(self: Sampler, steps: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        values, density, weight = right(self, steps)
        seen.append(steps)
        if len(seen) == 2:
            weight[0] += 20
        return values, density, weight

    monkeypatch.setattr(Sampler, "_candidates", heavier)
    model = spec(replace(FEW, draws=1000))
    tree = jm.fit(apart(1), model, progress=False)
    assert tree.attrs["backend"] == "nutpie on kernel"
    assert "2,000 candidates < 1%" in tree.attrs["sampler_reason"]
    assert seen == [250, 250]
    assert_same_draws(tree, by("nutpie", apart(1), model))


# Sampled again, and stopped.


def test_sampling_again_goes_on_with_nutpie() -> None:
    table = weak()
    model = of_x(ordering="none", sampler=jm.SamplerSpec())
    tree, nuts = jm.fit(table, model, progress=False), by("nutpie", table, model)
    assert json.loads(tree.attrs["retries"])[0]["outcome"] == "kept"
    assert tree.attrs["sampler_reason"] == "nutpie, as labels are left free."
    assert json.loads(tree.attrs["spec"])["sampler"]["sampler"] == "nutpie"
    assert_same_draws(tree, nuts)


def test_stopped_in_its_pilot_it_has_no_draws() -> None:
    prepared = prepare(apart(1), spec(FEW), 1, Clock(None))
    control = Control()
    control.stop()
    with pytest.raises(KeyboardInterrupt, match="before the first draws"):
        sample(prepared.dataset, prepared.start, 1, control=control)


# What was stored before.


@pytest.mark.parametrize("path", sorted(CALIBRATIONS.glob("*.toml")), ids=lambda path: path.stem)
def test_recipes_of_stored_calibrations_are_of_the_specifications_stored(path: Path) -> None:
    recipe = jm.read_recipe(path)
    stored, model = read_calibration(path.with_suffix(".json")), recipe.spec
    if model.pending:
        # Levels are those of the recipe's table.
        model = make_dataset(recipe.table(), model).spec
    assert spec_digest(replace(model, standardize=False)) == spec_digest(stored.spec)


def test_a_specification_says_which_sampler_it_means() -> None:
    assert spec_to_dict(of_x())["sampler"]["sampler"] == "auto"
