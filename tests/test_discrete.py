"""Features of levels beside the Gaussian ones, and without any."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import xarray as xr

import jointmix as jm
from jointmix.base.errors import ColumnTypeError, DataError, SpecError
from jointmix.families.mixture import component_log_density, log_likelihood
from jointmix.kernel.entry import value_and_gradient
from jointmix.kernel.problem import free_parameters, make_problem, n_free
from jointmix.kernel.records import HEADER, HEADER_SIZE
from jointmix.kernel.values import parameters as expanded
from jointmix.model.dataset import Dataset, make_dataset
from jointmix.model.packing import packed
from jointmix.model.serialised import spec_from_dict, spec_to_dict
from jointmix.modes.em import fit_em
from jointmix.posterior.draws import fitted_spec, posterior_parameters

N = 240
LEVELS = ("high", "low", "mid")


def table_of(seed: int = 1, n: int = N) -> pd.DataFrame:
    """Two clusters that differ in two numbers, a word and a truth value, and y on a line."""
    rng = np.random.default_rng(seed)
    z = rng.integers(2, size=n)
    x = rng.normal(size=(n, 2)) + 2.5 * z[:, None]
    level = np.where(rng.random(n) < 0.8, z, 2)
    smokes = rng.random(n) < np.where(z == 1, 0.8, 0.2)
    y = np.where(z == 1, 1.0 - x[:, 0], x[:, 0]) + 0.3 * rng.normal(size=n)
    return pd.DataFrame(
        {"a": x[:, 0], "b": x[:, 1], "level": np.array(LEVELS)[level], "smokes": smokes,
         "y": y, "z": z}
    )  # fmt: skip


def spec_of(**options: object) -> jm.ModelSpec:
    given: dict = {"n_clusters": 2, "features": ["a", "b", "level", "smokes"],
                   "predictors": ["a"], "response": "y",
                   "sampler": jm.SamplerSpec(draws=300, tune=300, chains=2, starts=6),
                   **options}  # fmt: skip
    return jm.ModelSpec(**given)


STRUCTURES = {
    "mixed": {},
    "one cluster": {"n_clusters": 1},
    "latent classes": {
        "features": ["level", "smokes"], "predictors": [], "response": None, "n_clusters": 2,
    },
    "latent classes with y": {"features": {"level": "categorical", "smokes": "bernoulli"}},
    "linked": {"response": "z", "family": "bernoulli", "features": ["level", "smokes"]},
    "raw": {"standardize": False, "covariance": "diagonal"},
}  # fmt: skip
STRUCTURE = pytest.mark.parametrize("name", STRUCTURES)


def dataset_of(name: str) -> Dataset:
    return make_dataset(table_of(), spec_of(**STRUCTURES[name]))


@pytest.fixture(scope="module")
def tree() -> xr.DataTree:
    return jm.fit(table_of(), spec_of(), seed=1)


@pytest.fixture(scope="module")
def classes() -> xr.DataTree:
    """A latent class analysis of four truth values."""
    rng = np.random.default_rng(4)
    z = rng.integers(2, size=(300, 1))
    truths = rng.random((300, 5)) < np.where(z == 1, 0.85, 0.15)
    table = pd.DataFrame(truths, columns=list("abcde"))
    sampler = jm.SamplerSpec(draws=300, tune=300, chains=2, starts=6)
    return jm.fit(table, jm.ModelSpec(n_clusters=2, features=list("abcde"), sampler=sampler))


def test_a_list_takes_its_families_from_the_table() -> None:
    spec = dataset_of("mixed").spec
    assert spec.features == ("a", "b")
    assert [(own.column, own.family, own.levels) for own in spec.discrete] == [
        ("level", "categorical", LEVELS),
        ("smokes", "categorical", ("False", "True")),
    ]
    assert spec.columns == ("a", "b", "level", "smokes", "y")
    # Numbers alone leave a specification as it was.
    plain = spec_of(features=["a", "b"])
    assert make_dataset(table_of(), plain).spec is plain


def test_a_mapping_names_families() -> None:
    table = table_of().assign(code=lambda own: (own["a"] > 0) + 7.0)
    features = {"a": "normal", "code": "categorical", "z": "bernoulli"}
    dataset = make_dataset(table, spec_of(features=features))
    assert [own.levels for own in dataset.spec.discrete] == [("7", "8"), ("0", "1")]
    assert set(dataset.select(["code"]).ravel()) == {0.0, 1.0}
    with pytest.raises(SpecError, match="The family of the feature 'a'"):
        spec_of(features={"a": "cauchy"})
    # A column that is said to hold numbers must.
    with pytest.raises(ColumnTypeError, match="level"):
        make_dataset(table, spec_of(features={"level": "normal", "z": "bernoulli"}))


@STRUCTURE
def test_a_specification_comes_back(name: str) -> None:
    spec = dataset_of(name).spec
    assert spec_from_dict(json.loads(json.dumps(spec_to_dict(spec)))) == spec


@STRUCTURE
def test_gradients_are_those_of_differences(name: str) -> None:
    problem, dim = make_problem(dataset_of(name)), n_free(dataset_of(name).spec)
    rng = np.random.default_rng(3)
    for _ in range(3):
        at = 0.5 * rng.normal(size=dim)
        value, slope = value_and_gradient(problem, at)
        steps = 1e-5 * np.eye(dim)
        found = [
            (value_and_gradient(problem, at + s)[0] - value_and_gradient(problem, at - s)[0]) / 2e-5
            for s in steps
        ]
        # Rounding of a total of this size, over the step.
        assert np.allclose(slope, found, rtol=1e-7, atol=1e-7 * (1 + abs(value)))


def kernel_prior(dataset: Dataset, at: np.ndarray) -> float:
    """The density without rows: of one row of weight 0, so to say."""
    problem = make_problem(dataset)
    header = problem[:HEADER_SIZE].view(HEADER)[0]
    header.n_rows = 0
    return value_and_gradient(problem, at)[0]


@STRUCTURE
def test_kernel_numpy_and_pymc_agree(name: str) -> None:
    dataset = dataset_of(name)
    spec, problem = dataset.spec, make_problem(dataset)
    model = jm.build_model(dataset, spec)
    variables = {each.name: model.rvs_to_values[each] for each in model.free_RVs}
    logp = model.compile_logp(mode="FAST_COMPILE")
    rng = np.random.default_rng(5)
    for _ in range(2):
        at = 0.4 * rng.normal(size=n_free(spec))
        kernel = value_and_gradient(problem, at)[0]
        parameters = packed(expanded(problem, spec, at), spec)
        rows = log_likelihood(component_log_density(spec.blocks, dataset.rows, parameters)).sum()
        point, first = {}, 0
        for each in free_parameters(spec):
            value = at[first : first + each.size].reshape(each.shape)
            point[variables[each.name].name] = value
            first += each.size
        pymc = float(logp(point))
        assert abs(kernel - pymc) < 1e-10 * (1 + abs(kernel))
        # Without the prior, which the model has besides the rows.
        prior = kernel_prior(dataset, at)
        assert abs(kernel - prior - rows) < 1e-10 * (1 + abs(kernel))


@STRUCTURE
def test_em_climbs_and_is_stationary(name: str) -> None:
    census = fit_em(table_of(), spec_of(**STRUCTURES[name]), seed=1)
    assert np.isfinite(census.best.log_likelihood)


def test_permuted_levels_and_columns_change_nothing() -> None:
    table = table_of()
    found = [
        fit_em(table, spec_of(features=features), seed=1).best.log_likelihood
        for features in (["a", "b", "level", "smokes"], ["smokes", "level", "b", "a"])
    ]
    turned = table.assign(level=pd.Categorical(table["level"], categories=["mid", "low", "high"]))
    found.append(fit_em(turned, spec_of(), seed=1).best.log_likelihood)
    assert np.ptp(found) < 1e-5


def test_a_fit_holds_probabilities_by_level(tree: xr.DataTree) -> None:
    found = tree["posterior"]["probability_level"]
    assert found.dims == ("chain", "draw", "cluster", "level_level")
    assert tuple(found["level_level"].values) == LEVELS
    assert np.allclose(found.sum("level_level"), 1)
    mean = found.mean(("chain", "draw")).sel(level_level="mid")
    assert np.allclose(mean, 0.2, atol=0.1)
    total = tree["invariant"]["overall_probability_smokes"].sum("level_smokes")
    assert np.allclose(total, 1)


def test_a_saved_fit_predicts_the_same(tree: xr.DataTree, tmp_path: Path) -> None:
    table = table_of(2, 30)
    jm.save(tree, tmp_path / "fit.nc")
    again = jm.load(tmp_path / "fit.nc")
    for call in (lambda *given: jm.predict(*given, (0.5,)), jm.responsibilities):
        xr.testing.assert_identical(call(tree, table), call(again, table))


def test_unknown_features_drop_out(tree: xr.DataTree) -> None:
    """p(k | x) where a level is not known is that of the other features."""
    table = table_of(3, 20)
    table["level"] = table["level"].astype(object)
    table.loc[:, "level"] = None
    found = jm.responsibilities(tree, table.drop(columns="y"))
    parameters, spec = posterior_parameters(tree), fitted_spec(tree)
    rows = make_dataset(table_of(3, 20), spec, demand="density").users_rows
    rows = replace(rows, discrete=np.where([True, False], np.nan, rows.discrete))
    blocks = [block for block in spec.blocks if not block.of_response]
    joint = component_log_density(blocks, rows, parameters)
    share = np.exp(joint - joint.max(-1, keepdims=True))
    expected = (share / share.sum(-1, keepdims=True)).mean(0)
    assert np.allclose(found["responsibility_features"], expected, atol=1e-10)


def test_a_new_level_is_named(tree: xr.DataTree) -> None:
    table = table_of(3, 5)
    table.loc[2, "level"] = "huge"
    with pytest.raises(
        DataError, match=r"'level' holds the level 'huge' in row 2 .from 0., which no row"
    ):
        jm.predict(tree, table)


def test_levels_are_warned_of() -> None:
    table = table_of()
    table["level"] = pd.Categorical(table["level"], categories=[*LEVELS, "none"])
    table.loc[0, "level"] = "none"
    table["level"] = table["level"].cat.add_categories("never")
    many = np.random.default_rng(1).permutation(np.arange(N) % 60)
    table["many"] = [f"town {i}" for i in many]
    table["name"] = [f"person {i}" for i in range(N)]
    codes = [note.code for note in make_dataset(table, spec_of()).warnings]
    assert codes == ["empty_level", "rare_level"]
    (note,) = make_dataset(table, spec_of(features=["a", "many"])).warnings
    assert note.code == "many_levels"
    assert "60 rows in each cluster" in note.message
    with pytest.raises(DataError, match="as names have"):
        make_dataset(table, spec_of(features=["a", "name"]))
    with pytest.raises(DataError, match="one level only"):
        make_dataset(table.assign(level="low"), spec_of())
    with pytest.raises(DataError, match="a bernoulli feature at most 2"):
        make_dataset(table_of(), spec_of(features={"level": "bernoulli"}))


def test_a_feature_may_be_a_factor_of_the_line_too() -> None:
    spec = spec_of(predictors=[], response=None, formula="y ~ a * level")
    tree = jm.fit(table_of(), spec, seed=2)
    assert {"level[low]", "a:level[low]"} <= {*fitted_spec(tree).predictors}
    drawn = jm.replicate(tree, draws=4)
    values = drawn["posterior_predictive"]["level"].values
    assert set(np.unique(values)) <= {0.0, 1.0, 2.0}


def test_latent_classes(classes: xr.DataTree) -> None:
    means = classes["posterior"]["probability_a"].sel(level_a="True").mean(("chain", "draw"))
    assert np.allclose(np.sort(means), [0.15, 0.85], atol=0.1)
    assert classes.attrs["verdict"] != "DO NOT USE" if "verdict" in classes.attrs else True


@pytest.mark.parametrize("fixture", ["tree", "classes"])
def test_reports_show_levels(fixture: str, request: pytest.FixtureRequest, tmp_path: Path) -> None:
    found = request.getfixturevalue(fixture)
    jm.report(found, tmp_path / "fit.html")
    text = (tmp_path / "fit.html").read_text(encoding="utf-8")
    assert "probability_" in text
    assert "Not computed</p>" not in text


def test_association_is_cramers_v(tree: xr.DataTree) -> None:
    draws = tree["posterior"].to_dataset()
    joint = draws["weight"] * draws["probability_smokes"]
    # Of two by two levels V is the correlation of two indicators.
    one, other = joint.sum("level_smokes"), joint.sum("cluster")
    both = joint.sel(cluster=1, level_smokes="True")
    gap = both - one.sel(cluster=1) * other.sel(level_smokes="True")
    sd = np.sqrt(one.prod("cluster") * other.prod("level_smokes"))
    found = jm.association(tree)
    assert list(found.index) == ["level", "smokes"]
    assert abs(found.loc["smokes", "mean"] - float((abs(gap) / sd).mean())) < 1e-10


def test_contrasts_are_of_probabilities(tree: xr.DataTree) -> None:
    found = jm.contrasts(tree)
    line = found.loc["probability_smokes[cluster 1 − cluster 2, True]"]
    draws = tree["posterior"]["probability_smokes"].sel(level_smokes="True")
    gap = draws.sel(cluster=1) - draws.sel(cluster=2)
    assert abs(line["mean"] - float(gap.mean())) < 1e-12
