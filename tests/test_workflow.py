"""The whole fit: its tree, its scale, its scores, its reproducibility, and every structure."""

import dataclasses
import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import polars as pl
import pytest
import xarray as xr
from conftest import PARAMETERS, STRUCTURES, structures, table
from scipy.special import logsumexp
from scipy.stats import multivariate_normal, norm

import jointmix.fitting.workflow
from jointmix import fit, fit_em, load, log_density, predict, save
from jointmix.base.errors import ColumnTypeError, DataError
from jointmix.model.dataset import make_dataset
from jointmix.model.settings import SamplerSpec
from jointmix.model.spec import ModelSpec

TINY = SamplerSpec(draws=20, tune=20, chains=2, starts=4)
GROUPS = {
    "posterior": {name: ("chain", "draw", "cluster", *rest) for name, rest in PARAMETERS.items()},
    "sample_stats": dict.fromkeys(
        (
            *("log_density", "diverging", "tree_depth", "n_steps"),
            *("step_size", "energy", "acceptance_rate"),
        ),
        ("chain", "draw"),
    ),
    "invariant": {
        "log_likelihood": ("chain", "draw"),
        "density": ("chain", "draw", "point"),
        "prediction": ("chain", "draw", "point"),
        "overall_mean": ("chain", "draw", "variable"),
        "overall_covariance": ("chain", "draw", "variable", "variable_bis"),
    },
    "labels": dict.fromkeys(("permutation", "occupied"), ("chain", "draw", "cluster")),
    "allocation": {
        "responsibility": ("obs", "cluster"),
        "responsibility_features": ("obs", "cluster"),
        "allocation": ("obs",),
    },
    "checks": dict.fromkeys(
        (*("code", "subject", "status", "value"), *("threshold", "message", "remedy", "source")),
        ("check",),
    ),
    "observed_data": {"x": ("obs", "feature"), "y": ("obs",)},
    "constant_data": {"u": ("obs", "predictor"), "row": ("obs",)},
    "scaling": {"center": ("column",), "scale": ("column",)},
    "log_likelihood": {"joint": ("chain", "draw", "obs")},
}


def test_tree_has_the_groups_and_dims_of_the_schema(penguin_fit: xr.DataTree) -> None:
    assert set(penguin_fit.children) == {*GROUPS, "modes"}
    for group, variables in GROUPS.items():
        data = penguin_fit[group].to_dataset()
        assert {name: values.dims for name, values in data.data_vars.items()} == variables
    modes = penguin_fit["modes"].to_dataset()
    assert modes["chain_mode"].dims == ("chain",)
    assert modes["mean"].dims == ("mode", "cluster", "feature")
    assert set(json.loads(penguin_fit.attrs["seconds"])) == {
        *("data", "em", "compile", "sample", "labels", "checks")
    }


def test_penguins_lie_at_the_best_mode_of_the_likelihood(
    penguin_fit: xr.DataTree, penguins: pd.DataFrame, penguin_spec: ModelSpec
) -> None:
    best = fit_em(make_dataset(penguins, penguin_spec), penguin_spec, 1).best
    posterior, mode = penguin_fit["posterior"].to_dataset(), best.parameters.each()
    for name in ("weight", "mean", "intercept", "slope", "sigma"):
        draws = posterior[name]
        center, spread = draws.mean(("chain", "draw")).values, draws.std(("chain", "draw")).values
        # Weak priors and skewness move a posterior mean by less than its standard deviation.
        assert (np.abs(center - mode[name]) < spread).all(), name
    covariance = mode["cholesky"] @ np.swapaxes(mode["cholesky"], 1, 2)
    sd = posterior["sd"]
    expected = np.sqrt(np.diagonal(covariance, axis1=1, axis2=2))
    assert (np.abs(sd.mean(("chain", "draw")) - expected) < sd.std(("chain", "draw"))).all()
    assert (penguin_fit["modes"]["chain_mode"] == 1).all()


def test_penguins_are_in_grams_and_millimetres(
    penguin_fit: xr.DataTree, penguins: pd.DataFrame
) -> None:
    """The mixture's overall means are those of the columns, within their standard errors."""
    posterior = penguin_fit["posterior"].to_dataset()
    overall = (posterior["weight"] * posterior["mean"]).sum("cluster")
    for name in ("bill_length_mm", "flipper_length_mm"):
        error = penguins[name].std() / np.sqrt(len(penguins))
        assert abs(overall.sel(feature=name).mean() - penguins[name].mean()) < error
    line = posterior["intercept"] + (
        posterior["slope"] * posterior["mean"].rename(feature="predictor")
    ).sum("predictor")
    mass = (posterior["weight"] * line).sum("cluster").mean()
    error = penguins["body_mass_g"].std() / np.sqrt(len(penguins))
    assert abs(mass - penguins["body_mass_g"].mean()) < error


def test_weights_and_responsibilities_sum_to_one(penguin_fit: xr.DataTree) -> None:
    weight = penguin_fit["posterior"]["weight"].sum("cluster")
    np.testing.assert_allclose(weight, 1, rtol=0, atol=1e-14)
    for name in ("responsibility", "responsibility_features"):
        share = penguin_fit["allocation"][name].sum("cluster")
        np.testing.assert_allclose(share, 1, rtol=0, atol=1e-12)


def test_log_likelihood_is_the_density_of_the_users_rows(penguin_fit: xr.DataTree) -> None:
    likelihood = penguin_fit["invariant"]["log_likelihood"]
    rows = log_density(penguin_fit)["joint"]
    # Sums over 342 rows of numbers of size ten, by way of two scales.
    np.testing.assert_allclose(rows.sum("obs"), likelihood, rtol=1e-11)
    draw = penguin_fit["posterior"].to_dataset().isel(chain=2, draw=7)
    x, u, y = (
        penguin_fit[group][name].values
        for group, name in (("observed_data", "x"), ("constant_data", "u"), ("observed_data", "y"))
    )
    terms = np.empty((len(y), 3))
    for k in range(3):
        part = draw.isel(cluster=k)
        covariance = part["correlation"].values * np.outer(part["sd"], part["sd"])
        terms[:, k] = (
            np.log(part["weight"].item())
            + multivariate_normal.logpdf(x, part["mean"], covariance)
            + norm.logpdf(y, part["intercept"].item() + u @ part["slope"].values, part["sigma"])
        )
    expected = logsumexp(terms, axis=1).sum()
    np.testing.assert_allclose(likelihood.isel(chain=2, draw=7), expected, rtol=1e-11)


def test_permutation_undoes_the_identification(penguin_fit: xr.DataTree) -> None:
    permutation = penguin_fit["labels"]["permutation"].values
    np.testing.assert_array_equal(np.sort(permutation, axis=-1), np.broadcast_to(
        np.arange(3), permutation.shape
    ))  # fmt: skip


def test_saved_and_loaded_predicts_the_same(penguin_fit: xr.DataTree, tmp_path: Path) -> None:
    loaded = load(save(penguin_fit, tmp_path / "penguins.nc"))
    before, after = predict(penguin_fit), predict(loaded)
    for name, values in before.data_vars.items():
        np.testing.assert_array_equal(after[name], values)
    assert loaded.attrs["verdict"] == penguin_fit.attrs["verdict"]
    xr.testing.assert_identical(
        loaded["posterior"].to_dataset().drop_attrs(),
        penguin_fit["posterior"].to_dataset().drop_attrs(),
    )


@pytest.fixture(scope="module")
def disjoint() -> ModelSpec:
    """The one structure of the tests that need several fits, compiled once."""
    return dataclasses.replace(STRUCTURES["disjoint"], sampler=TINY)


@pytest.fixture(scope="module")
def disjoint_fit(disjoint: ModelSpec) -> xr.DataTree:
    return fit(table(), disjoint, seed=4)


def test_same_seed_same_tree(disjoint: ModelSpec, disjoint_fit: xr.DataTree) -> None:
    again, other = (fit(table(), disjoint, seed=seed) for seed in (4, 5))
    for group in ("posterior", "sample_stats", "invariant", "labels", "allocation", "modes"):
        xr.testing.assert_identical(again[group].to_dataset(), disjoint_fit[group].to_dataset())
    assert not np.array_equal(other["posterior"]["mean"], disjoint_fit["posterior"]["mean"])


@pytest.mark.slow
def test_four_clusters_are_recovered(four_cluster_fit: xr.DataTree) -> None:
    """Means, slopes and noise of the example, cluster by cluster, within five sds."""
    truth = jointmix.four_clusters()
    posterior = four_cluster_fit["posterior"].to_dataset()
    center = posterior.mean(("chain", "draw"))
    distance = np.linalg.norm(center["mean"].values[:, None] - truth.mean, axis=-1)
    match = distance.argmin(1)
    assert sorted(match) == [0, 1, 2, 3]
    for name in ("mean", "slope", "sigma", "intercept"):
        spread = posterior[name].std(("chain", "draw")).values
        gap = np.abs(center[name].values - getattr(truth, name)[match])
        # Five sds: a false alarm once in 1e5 for each of 32 numbers.
        assert (gap < 5 * spread).all(), name
    assert (four_cluster_fit["modes"]["chain_mode"] == 1).all()


def check_tree(tree: xr.DataTree, spec: ModelSpec) -> None:
    """What holds of every fit, however short."""
    posterior = tree["posterior"].to_dataset()
    expected = {"weight"}
    expected |= {"mean", "sd", "correlation"} if spec.features else set()
    expected |= {"intercept", "slope", "sigma"} if spec.response else set()
    assert set(posterior.data_vars) == expected
    for name, values in posterior.data_vars.items():
        assert values.dims == ("chain", "draw", "cluster", *PARAMETERS[name])
        assert np.isfinite(values).all()
    assert posterior["cluster"].values.tolist() == list(range(1, spec.n_clusters + 1))
    likelihood = tree["invariant"]["log_likelihood"]
    # Sums over 40 rows, by way of two scales.
    np.testing.assert_allclose(log_density(tree)["joint"].sum("obs"), likelihood, rtol=1e-9)
    for name in ("mean", "intercept", "slope", "weight", "sigma"):
        prior = getattr(spec.priors, name)
        if prior.family == "fixed":
            held = np.broadcast_to(prior.array, posterior[name].shape[2:])
            np.testing.assert_allclose(posterior[name].isel(chain=1, draw=3), held, rtol=1e-12)
    if not spec.intercept:
        assert (posterior["intercept"] == 0).all()
    if spec.covariance == "tied":
        assert (posterior["sd"].std("cluster") < 1e-12 * posterior["sd"].mean()).all()
    if spec.covariance == "spherical":
        np.testing.assert_allclose(posterior["sd"][..., 0], posterior["sd"][..., 1], rtol=1e-12)
    if spec.noise == "shared":
        sigma = posterior["sigma"].values
        np.testing.assert_allclose(sigma, np.broadcast_to(sigma[..., :1], sigma.shape), rtol=1e-12)
    assert tree.attrs["verdict"] in ("OK", "CAUTION", "DO NOT USE")


@pytest.mark.parametrize(
    "name",
    structures("one cluster, no response", "only a response", "tied", "fixed mean, per cluster"),
)
def test_every_structure_runs(name: str) -> None:
    spec = dataclasses.replace(STRUCTURES[name], sampler=TINY)
    check_tree(fit(table(), spec, seed=2), spec)


@pytest.mark.parametrize("ordering", ["none", "mean[b]", "sigma"])
def test_orderings_run_and_hold(ordering: str, disjoint: ModelSpec) -> None:
    spec = dataclasses.replace(disjoint, ordering=ordering)
    tree = fit(table(), spec, seed=2)
    check_tree(tree, spec)
    name, column = spec.ordering_variable()
    if ordering == "none":
        return
    values = tree["posterior"][name]
    if column is not None:
        values = values.sel({PARAMETERS[name][0]: column})
    assert (values.diff("cluster") > 0).all()


@pytest.mark.parametrize("kind", ["dict", "polars"])
def test_tables_of_any_kind_give_the_same(
    kind: str, disjoint: ModelSpec, disjoint_fit: xr.DataTree
) -> None:
    given: Any = table()
    if kind == "dict":
        given = {name: values.tolist() for name, values in given.items()}
    else:
        given = pl.from_pandas(given)
    posterior = fit(given, disjoint, seed=4)["posterior"].to_dataset()
    xr.testing.assert_identical(posterior, disjoint_fit["posterior"].to_dataset())


@pytest.mark.parametrize(
    ("change", "error"),
    [
        (lambda data: data.drop(columns="a"), DataError),
        (lambda data: data.assign(a=np.where(data.index == 3, np.nan, data["a"])), DataError),
        (lambda data: data.assign(y=np.inf), DataError),
        (lambda data: data.assign(y="text"), ColumnTypeError),
        (lambda data: data.assign(b=1.0), DataError),
        (lambda data: data.assign(b=2 * data["a"]), DataError),
        (lambda data: data.iloc[:3], DataError),
    ],
)
def test_bad_tables_are_refused_before_sampling(
    change: Any, error: type[Exception], monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise AssertionError("sampled")

    monkeypatch.setattr(jointmix.fitting.workflow, "begin", refuse)
    with pytest.raises(error):
        fit(change(table()), dataclasses.replace(STRUCTURES["one feature"], features=("a", "b")))


def test_progress_names_each_stage(disjoint: ModelSpec) -> None:
    stages: list[str] = []
    fit(table(), disjoint, seed=1, progress=lambda stage, *_: stages.append(stage))
    # The sampler reports twice a second, from a thread: so short a run may be over before.
    named = [stage for stage in dict.fromkeys(stages) if stage != "sample"]
    assert named == ["data", "em", "compile", "labels", "checks"]
