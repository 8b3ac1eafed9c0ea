"""Rows that count as often as a column says, held against rows that are repeated so often."""

import html
import re
from dataclasses import replace
from pathlib import Path

import arviz as az
import numpy as np
import pandas as pd
import pytest
import xarray as xr
from conftest import STRUCTURES, direction_of, more, table
from scipy.special import logsumexp
from scipy.stats import multivariate_normal, norm
from test_fused import assert_same, with_gradient
from test_kernel import target_of
from test_model import STUDENT, draw_points

from jointmix import (
    build_model,
    calibrate,
    compare,
    crosstab,
    diagnose,
    fit,
    load,
    loo,
    partition,
    predict,
    predictive_checks,
    r_squared,
    replicate,
    report,
    save,
    summary,
    with_log_likelihood,
)
from jointmix.base.errors import ColumnTypeError, DataError, SpecError
from jointmix.fitting.crossvalidation import _each_without
from jointmix.kernel.densities import densities
from jointmix.kernel.entry import value_and_gradient
from jointmix.kernel.problem import make_problem, n_free
from jointmix.model.dataset import make_dataset
from jointmix.model.packing import unpacked
from jointmix.model.serialised import spec_from_dict, spec_to_dict
from jointmix.model.spec import ModelSpec, SamplerSpec
from jointmix.modes.em import fit_em
from jointmix.reporting.text import rows_text
from jointmix.validation.agreement.comparison import Comparison
from jointmix.validation.agreement.numpyro_side import numpyro_side
from jointmix.validation.agreement.plain_sides import (
    kernel_side,
    numpy_side,
    scipy_side,
    sklearn_side,
)
from jointmix.validation.agreement.problem import Problem, random_points
from jointmix.validation.agreement.pymc_sides import pymc_side
from jointmix.validation.twin import build_twin, twin_log_density

#: More rows than one tile of the kernel holds.
N = 300


def weighted(n: int = N, seed: int = 11) -> pd.DataFrame:
    """The tests' rows with whole weights from 1 to 4, counts, yes or no, and an offset."""
    frame, rng = table(n), np.random.default_rng(seed)
    frame["w"] = rng.integers(1, 5, n)
    frame["o"] = rng.normal(0, 0.3, n)
    frame["count"] = rng.poisson(np.exp(0.2 * frame["p"].clip(-4, 4)))
    frame["yes"] = (frame["y"] > frame["y"].median()).astype(float)
    return frame


def repeated(frame: pd.DataFrame, name: str = "w") -> pd.DataFrame:
    """Each row as often as it counts."""
    return frame.loc[frame.index.repeat(frame[name])].reset_index(drop=True)


LINKED = {
    family: ModelSpec(
        n_clusters=2, features=["a", "b"], predictors=["p", "a"], response=response, offset="o",
        family=family,
    )
    for family, response in (("poisson", "count"), ("bernoulli", "yes"))
}  # fmt: skip
SPECS = (
    STRUCTURES
    | {f"student_t, {name}": spec for name, spec in STUDENT.items()}
    | LINKED
    | {f"{name}, own scale": replace(spec, standardize=False) for name, spec in LINKED.items()}
)


def some(*names: str) -> list[object]:
    """What only the slow tests run on."""
    return [pytest.param(name, marks=pytest.mark.slow) for name in names]


def pair(spec: ModelSpec) -> tuple[ModelSpec, ModelSpec]:
    """The model with row weights, and without."""
    return replace(spec, row_weights="w"), spec


#: One of each family, and of each structure of Σ and σ.
USUAL = (
    *("four clusters, overlapping", "one cluster", "no response", "no features", "only a response"),
    *("diagonal", "spherical", "tied", "fixed covariance, per cluster", "shared noise"),
    *("no intercept", "fixed mean", "fixed slope", "student_t, prior", "poisson", "bernoulli"),
)


@pytest.mark.parametrize("name", [*USUAL, *some(*(name for name in SPECS if name not in USUAL))])
def test_weights_and_repeated_rows_have_one_log_density(name: str) -> None:
    with_weights, without = pair(SPECS[name])
    frame = weighted()
    one, many = make_dataset(frame, with_weights), make_dataset(repeated(frame), without)
    np.testing.assert_allclose(one.scaling.center, many.scaling.center, rtol=1e-12, atol=1e-13)
    np.testing.assert_allclose(one.scaling.scale, many.scaling.scale, rtol=1e-12)
    problems = [make_problem(each, direction_of(without)) for each in (one, many)]
    points = 0.4 * np.random.default_rng(2).normal(size=(3, n_free(without)))
    for point in points:
        found, expected = (value_and_gradient(problem, point) for problem in problems)
        assert found[0] == pytest.approx(expected[0], rel=1e-12)
        size = np.abs(expected[1]).max(initial=1.0)
        np.testing.assert_allclose(found[1], expected[1], rtol=1e-9, atol=1e-9 * size)
    level = densities(problems[0], points)
    assert level == pytest.approx(
        [value_and_gradient(problems[0], p)[0] for p in points], rel=1e-12
    )


def test_the_independent_model_weighs_rows_likewise() -> None:
    spec = pair(SPECS["student_t, prior"])[0]
    frame = weighted(40).assign(w=np.random.default_rng(4).gamma(2.0, 0.5, 40))
    problem = Problem(make_dataset(frame, spec), None)
    q = 0.3 * np.random.default_rng(1).normal(size=(1, problem.dim))
    parameters = problem.parameters(q)
    variables = {name: value[0] for name, value in unpacked(parameters, spec).items()}
    twin = twin_log_density(frame, spec, variables)
    rows = numpy_side(problem).evaluate(q).rows
    assert rows is not None
    np.testing.assert_allclose(twin["rows"], rows[0], rtol=1e-11)
    np.testing.assert_array_equal(problem.rows.weights, frame["w"])
    kernel = kernel_side(problem).evaluate(q).total
    assert kernel is not None
    prior = sum(scipy_side(problem).evaluate(q).prior.values())
    assert kernel == pytest.approx(prior + rows.sum(), rel=1e-12)


@pytest.mark.slow
@pytest.mark.parametrize(
    "name",
    [
        "student_t, prior",
        *(pytest.param(n, marks=more) for n in ("four clusters, overlapping", "poisson")),
    ],
)
def test_independent_implementations_agree(name: str) -> None:
    with_weights, without = pair(SPECS[name])
    frame = weighted(40)
    frame["w"] = np.random.default_rng(4).gamma(2.0, 0.5, len(frame))
    problem = Problem(make_dataset(frame, with_weights), direction_of(without))
    twin = build_twin(problem.dataset, with_weights, "marginal", problem.direction)
    sides = [
        kernel_side(problem),
        pymc_side(problem, "jax"),
        numpyro_side(problem, "NumPyro", twin),
        numpy_side(problem),
        scipy_side(problem),
    ]
    if (mixture := sklearn_side(problem)) is not None:
        sides.append(mixture)
    center = 0.3 * np.random.default_rng(1).normal(size=problem.dim)
    differences = Comparison(problem, sides).run(random_points(problem, center, 100, seed=3))
    assert [each for each in differences if not each.agrees] == []
    assert {"rows", "likelihood", "total", "gradient"} <= {each.term for each in differences}


def test_allocations_are_enumerated_for_rows_that_count_once_only() -> None:
    dataset = make_dataset(weighted(), pair(SPECS["no response"])[0])
    with pytest.raises(SpecError, match="form='marginal'"):
        build_twin(dataset, dataset.spec, "enumerated")


@pytest.mark.parametrize("name", ["four clusters, overlapping", *some("bernoulli", "one cluster")])
def test_the_fused_model_is_the_same(name: str) -> None:
    with_weights, without = pair(SPECS[name])
    models = [
        build_model(weighted(), with_weights, direction_of(without), fused=fused)
        for fused in (False, True)
    ]
    plain, fused = (with_gradient(model) for model in models)
    alone = target_of(make_dataset(weighted(), with_weights), direction_of(without))
    for point in draw_points(models[0], np.random.default_rng(3), 2):
        right = plain(**point)
        assert_same(fused(**point), right)
        q = np.concatenate([np.ravel(point[value.name]) for value in models[0].value_vars])
        assert alone.log_density(q)[0] == pytest.approx(float(right[0]), rel=1e-12)


@pytest.mark.parametrize("name", ["four clusters, overlapping", "poisson"])
def test_a_weight_may_be_split_between_two_rows(name: str) -> None:
    with_weights, without = pair(SPECS[name])
    frame = weighted()
    frame["w"] = np.random.default_rng(8).gamma(1.0, 1.0, len(frame))
    half = frame.assign(w=0.25 * frame["w"])
    split = pd.concat([half, frame.assign(w=0.75 * frame["w"])], ignore_index=True)
    point = 0.3 * np.random.default_rng(2).normal(size=n_free(without))
    one, two = (
        value_and_gradient(make_problem(make_dataset(table, with_weights)), point)
        for table in (frame, split)
    )
    assert one[0] == pytest.approx(two[0], rel=1e-12)
    np.testing.assert_allclose(one[1], two[1], rtol=1e-9, atol=1e-9 * np.abs(two[1]).max())


def test_one_cluster_of_fractional_weights_is_weighted_least_squares() -> None:
    frame, rng = weighted(), np.random.default_rng(3)
    w = frame["w"] = rng.gamma(2.0, 0.5, len(frame))
    spec = ModelSpec(
        n_clusters=1, features=["a", "b"], predictors=["a", "p"], response="y", row_weights="w"
    )
    mode = fit_em(frame, spec).best
    x, y = frame[["a", "b"]].to_numpy(), frame["y"].to_numpy()
    mean, covariance = np.average(x, axis=0, weights=w), np.cov(x.T, aweights=w, bias=True)
    design = np.column_stack([np.ones(len(y)), frame[["a", "p"]]])
    root = np.sqrt(w)
    line = np.linalg.lstsq(root[:, None] * design, root * y, rcond=None)[0]
    sigma = np.sqrt(np.average((y - design @ line) ** 2, weights=w))
    found = mode.parameters
    np.testing.assert_allclose(found.mean[0], mean, rtol=1e-9)
    np.testing.assert_allclose(found.cholesky[0] @ found.cholesky[0].T, covariance, rtol=1e-6)
    np.testing.assert_allclose([found.intercept[0], *found.slope[0]], line, rtol=1e-7)
    assert found.sigma[0] == pytest.approx(sigma, rel=1e-7)
    each = multivariate_normal(mean, covariance).logpdf(x) + norm(design @ line, sigma).logpdf(y)
    assert mode.log_likelihood == pytest.approx(w @ each, rel=1e-7)
    assert mode.bic == pytest.approx(-2 * w @ each + 9 * np.log(w.sum()), rel=1e-7)


#: Draws of a normal approximation are the same where the posterior is. Without an ordering, as the
#: best of nearly equal directions is a matter of rounding.
QUICK = SamplerSpec(sampler="laplace", draws=200, chains=2)
JOINT = ModelSpec(
    n_clusters=2, features=["a", "b"], predictors=["a", "p"], response="y", ordering="none",
    sampler=QUICK,
)  # fmt: skip
FEW = 120


@pytest.fixture(scope="module")
def frame() -> pd.DataFrame:
    found = weighted(FEW)
    found["group"] = np.where(found["a"] > 6, "far", "near")
    return found


@pytest.fixture(scope="module")
def fits(frame: pd.DataFrame) -> tuple[xr.DataTree, xr.DataTree]:
    """The fit of weights, and that of repeated rows."""
    one, many = pair(JOINT)
    return fit(frame, one, progress=False), fit(repeated(frame), many, progress=False)


def close(found: pd.DataFrame, expected: pd.DataFrame, rel: float = 1e-4) -> None:
    """Equal, as far as EM and the climb to the mode converge."""
    assert list(found.index) == list(expected.index)
    ours = found.select_dtypes("number")
    theirs = expected.select_dtypes("number")
    np.testing.assert_allclose(ours, theirs, rtol=rel, atol=rel, equal_nan=True)


def test_fits_have_the_same_modes_and_draws(fits: tuple[xr.DataTree, xr.DataTree]) -> None:
    one, many = fits
    for name in ("log_likelihood", "bic", "icl"):
        ours, theirs = (tree["modes"][name].values[0] for tree in fits)
        assert ours == pytest.approx(theirs, rel=1e-9)
    columns = ["mean", "sd", "mcse_mean"]
    close(summary(one)[columns], summary(many)[columns])
    invariant = [tree["invariant"]["log_likelihood"].values for tree in fits]
    np.testing.assert_allclose(*invariant, rtol=1e-6)
    np.testing.assert_allclose(
        one["labels"]["occupied"].values, many["labels"]["occupied"].values, rtol=1e-6
    )


def test_fits_have_the_same_scores(fits: tuple[xr.DataTree, xr.DataTree]) -> None:
    ours, theirs = (loo(tree) for tree in fits)
    close(ours.table, theirs.table, 1e-3)
    assert ours.text == theirs.text
    again = repeated(fits[0]["constant_data"].to_dataset()[["row_weight"]].to_dataframe(),
                     "row_weight")  # fmt: skip
    assert len(again) == theirs.n_rows
    assert ours.elpd_data().elpd_i.sum() == pytest.approx(ours.table.loc["joint", "elpd"])


def test_fits_have_the_same_findings(fits: tuple[xr.DataTree, xr.DataTree]) -> None:
    noted = {"row weights", "ties", "duplicate rows", "identical rows"}
    ours, theirs = (
        {(each.code, each.subject): each for each in diagnose(tree).findings
         if each.code not in noted} for tree in fits
    )  # fmt: skip
    assert ours.keys() == theirs.keys()
    for key, each in ours.items():
        assert each.status == theirs[key].status, key
        if key[0] in ("empty clusters", "misfit", "separation", "identification", "prior scale"):
            assert each.message == theirs[key].message
            assert each.value == pytest.approx(theirs[key].value, rel=1e-4, abs=1e-9, nan_ok=True)


def test_copies_are_no_duplicates(fits: tuple[xr.DataTree, xr.DataTree]) -> None:
    ours, theirs = ({each.code for each in diagnose(tree).findings} for tree in fits)
    assert "duplicate rows" in theirs - ours
    assert "ties" in theirs - ours
    # A cluster can close on copies all the same.
    assert "identical rows" in ours & theirs


def test_fits_predict_the_same(fits: tuple[xr.DataTree, xr.DataTree], frame: pd.DataFrame) -> None:
    new = frame.drop(columns=["w", "y"])
    ours, theirs = (predict(tree, new) for tree in fits)
    for name in ("mean", "quantiles", "extrapolated"):
        np.testing.assert_allclose(ours[name].astype(float), theirs[name].astype(float), rtol=1e-4)
    ours, theirs = (r_squared(tree) for tree in fits)
    for name in ("within", "between", "bayesian_r2", "cluster_r2"):
        np.testing.assert_allclose(ours[name].values, theirs[name].values, rtol=1e-4)


def test_fits_meet_known_groups_and_partitions_alike(
    fits: tuple[xr.DataTree, xr.DataTree], frame: pd.DataFrame
) -> None:
    tables = frame, repeated(frame)
    ours, theirs = (crosstab(tree, each["group"]) for tree, each in zip(fits, tables, strict=True))
    pd.testing.assert_frame_equal(ours.counts, theirs.counts)
    close(ours.expected, theirs.expected, 1e-4)
    assert ours.rand == pytest.approx(theirs.rand, abs=1e-12)
    assert (ours.misclassified, ours.n_rows) == (theirs.misclassified, theirs.n_rows)
    one, many = (partition(tree) for tree in fits)
    again = np.repeat(one["partition"].values, frame["w"])
    assert (again == many["partition"].values).mean() > 0.98
    # Copies of a row are drawn apart in one of them.
    assert float(one["expected_loss"]) == pytest.approx(float(many["expected_loss"]), abs=0.1)


def test_replicated_tables_hold_the_copies(fits: tuple[xr.DataTree, xr.DataTree]) -> None:
    ours, theirs = (predictive_checks(replicate(tree, 20)) for tree in fits)
    np.testing.assert_allclose(ours["observed"], theirs["observed"], rtol=1e-10)
    close(ours[["q05", "q50", "q95"]], theirs[["q05", "q50", "q95"]], 1e-3)


def test_some_rows_are_taken_in_proportion_to_their_copies(
    fits: tuple[xr.DataTree, xr.DataTree],
) -> None:
    ours, theirs = (replicate(tree, 4, rows=25)["observed_data"].to_dataset() for tree in fits)
    assert ours.sizes["obs"] == 25
    for name in ours.data_vars:
        np.testing.assert_array_equal(np.sort(ours[name]), np.sort(theirs[name]))


def test_one_copy_is_left_out(frame: pd.DataFrame, fits: tuple[xr.DataTree, xr.DataTree]) -> None:
    at = int(np.flatnonzero(frame["w"] == 3)[0])
    first = int(frame["w"].iloc[:at].sum())
    (ours,) = _each_without(fits[0], [np.array([at])], 1, None, "reloo", None, one_copy=True)
    (theirs,) = _each_without(fits[1], [np.array([first])], 1, None, "reloo", None, one_copy=True)
    for name in ("joint", "feature", "pit", "crps"):
        np.testing.assert_allclose(ours[name], theirs[name], rtol=1e-3, atol=1e-4)


def test_models_compare_the_same(frame: pd.DataFrame) -> None:
    one, many = pair(JOINT)
    ours = compare(frame, one, [1, 2], progress=False).table
    theirs = compare(repeated(frame), many, [1, 2], progress=False).table
    close(ours, theirs, 2e-3)


def test_weights_of_one_each_are_no_weights(frame: pd.DataFrame) -> None:
    one, many = pair(JOINT)
    ours = fit(frame.assign(w=1), one, progress=False)
    theirs = fit(frame, many, progress=False)
    for group in ("posterior", "invariant", "allocation", "modes", "scaling"):
        xr.testing.assert_identical(ours[group].to_dataset(), theirs[group].to_dataset())
    pd.testing.assert_frame_equal(loo(ours).table, loo(theirs).table)


@pytest.fixture(scope="module")
def pseudo(frame: pd.DataFrame) -> xr.DataTree:
    """A fit of sampling weights, one row of which does not enter."""
    w = np.random.default_rng(5).gamma(2.0, 0.5, FEW)
    w[7] = 0.0
    table = frame.assign(w=w)
    table.loc[7, "a"] = np.nan
    return fit(table, pair(JOINT)[0], progress=False)


def test_a_pseudo_posterior_says_so(pseudo: xr.DataTree) -> None:
    found = {each.code: each for each in diagnose(pseudo).findings}
    assert found["pseudo posterior"].status == "caution"
    message = found["pseudo posterior"].message
    assert "as wide as the sum of the weights says, not as the design" in message
    assert "119 rows of weights" in message
    assert "doi:10.1214/16-EJS1153" in message
    assert "Scale the weights to a mean of one" in found["pseudo posterior"].remedy
    assert found["zero weights"].status == "ok"
    assert found["zero weights"].message == (
        "1 of 120 rows does not enter, its weight 'w' being 0."
    )


def test_scores_of_a_pseudo_posterior(pseudo: xr.DataTree) -> None:
    scores, w = loo(pseudo), pseudo["constant_data"]["row_weight"].values
    each = scores.pointwise["joint"].values
    assert scores.table.loc["joint", "elpd"] == pytest.approx(w @ each)
    center, n = np.average(each, weights=w), len(w)
    se = np.sqrt(n / (n - 1) * ((w * (each - center)) ** 2).sum())
    assert scores.table.loc["joint", "se"] == pytest.approx(se)
    # All of a row's weight is left out: raw importance weights p^−w, here without smoothing.
    density = with_log_likelihood(pseudo)["log_likelihood"]["joint"].values.reshape(-1, n)
    ratio = -w * density
    raw = logsumexp(density + ratio, axis=0) - logsumexp(ratio, axis=0)
    good = scores.pointwise["pareto_k"].values < 0.3
    assert good.sum() > 30
    np.testing.assert_allclose(each[good], raw[good], atol=0.02)


def test_a_saved_fit_keeps_its_weights(pseudo: xr.DataTree, tmp_path: Path) -> None:
    save(pseudo, tmp_path / "fit.zarr")
    kept = load(tmp_path / "fit.zarr")
    np.testing.assert_array_equal(
        kept["constant_data"]["row_weight"], pseudo["constant_data"]["row_weight"]
    )
    pd.testing.assert_frame_equal(loo(kept).table, loo(pseudo).table)


def test_the_report_says_what_weights_are(
    pseudo: xr.DataTree, fits: tuple[xr.DataTree, xr.DataTree], tmp_path: Path
) -> None:
    for tree, words in (
        (pseudo, "in a pseudo-posterior, whose intervals are as wide as the sum of the weights"),
        (fits[0], "as if it were repeated: 120 rows of weights 1 to 4"),
    ):
        path = tmp_path / "report.html"
        report(tree, path, sections=("verdict", "data", "scores", "predictive"))
        text = html.unescape(path.read_text())
        assert words in text
        assert "with an effective number of" in text
        total = rows_text(float(tree["constant_data"]["row_weight"].sum()))
        assert f"rows of weight {total}" in text
        assert "Not computed" not in text
    assert "were left out" in text or "120 were used" in text


BAD = {
    "negative": (-1.0, DataError, "Row weights must be 0 or more, and column 'w' has negative"),
    "missing": (np.nan, DataError, "Column 'w' has missing entries: 1, the first in row 3"),
    "infinite": (np.inf, DataError, "Column 'w' has infinite entries: 1, the first in row 3"),
    "text": ("many", ColumnTypeError, "'w'"),
}


@pytest.mark.parametrize("kind", BAD)
def test_bad_weights_are_named(kind: str) -> None:
    value, error, words = BAD[kind]
    frame = weighted(40)
    frame["w"] = frame["w"].astype(object)
    frame.loc[3, "w"] = value
    for missing in ("error", "drop"):
        with pytest.raises(error, match=re.escape(words)):
            make_dataset(frame, replace(pair(JOINT)[0], missing=missing))


def test_weights_that_are_all_zero_are_named() -> None:
    with pytest.raises(DataError, match="Every row has the weight 0 in column 'w'"):
        make_dataset(weighted(40).assign(w=0), pair(JOINT)[0])


def test_a_table_without_the_weights_is_named() -> None:
    with pytest.raises(DataError, match="'w'"):
        make_dataset(weighted(40).drop(columns="w"), pair(JOINT)[0])


def test_row_weights_have_no_other_role() -> None:
    with pytest.raises(SpecError, match="The row weights 'y' cannot also have another role"):
        replace(JOINT, row_weights="y")
    with pytest.raises(SpecError, match="row_weights must be one column name; got 3"):
        replace(JOINT, row_weights=3)  # type: ignore[arg-type]


def test_few_rows_may_stand_for_enough() -> None:
    frame = weighted(6)
    with pytest.raises(DataError, match="needs at least"):
        make_dataset(frame.assign(w=0.5), pair(JOINT)[0])
    assert make_dataset(frame.assign(w=4), pair(JOINT)[0]).rows.total == 24


def test_a_specification_keeps_its_weights() -> None:
    one, many = pair(JOINT)
    tables = spec_to_dict(one)
    assert tables["model"]["row_weights"] == "w"
    assert spec_from_dict(tables) == one
    assert "row_weights" not in spec_to_dict(many)["model"]


@pytest.mark.slow
@pytest.mark.parametrize("name", ["joint", "poisson"])
def test_posteriors_are_the_same(name: str) -> None:
    settings = SamplerSpec(draws=1000, tune=500, chains=4)
    base = JOINT if name == "joint" else LINKED[name]
    one, many = pair(replace(base, sampler=settings))
    frame = weighted(FEW)
    ours = fit(frame, one, progress=False)["posterior"].to_dataset()
    theirs = fit(repeated(frame), many, seed=2, progress=False)["posterior"].to_dataset()
    # A rare mode that chains pass through makes standard deviations the less certain.
    for method in ("mean", "sd"):
        found = [getattr(each, {"sd": "std"}.get(method, method))(("chain", "draw"))
                 for each in (ours, theirs)]  # fmt: skip
        # Of what never moves, as a correlation with itself, there is none.
        error = [az.mcse(each, method=method).fillna(0) for each in (ours, theirs)]
        for name in ours.data_vars:
            gap = np.abs(found[0][name] - found[1][name])
            assert (gap <= 4 * np.hypot(error[0][name], error[1][name]) + 1e-12).all(), name


@pytest.mark.slow
@pytest.mark.parametrize("backend", [pytest.param("numba", marks=more), "jax"])
def test_nutpie_samples_the_pymc_model_with_other_weights(backend: str) -> None:
    """One compiled model serves other rows, and their weights."""
    settings = SamplerSpec(draws=300, tune=300, chains=2, sampler="nutpie", backend=backend)
    one = replace(pair(JOINT)[0], sampler=settings)
    kernel = replace(one, sampler=replace(settings, backend="auto"))
    for seed in (1, 2):
        frame = weighted(FEW, seed)
        ours = summary(fit(frame, one, progress=False))
        theirs = summary(fit(frame, kernel, seed=3, progress=False))
        error = np.hypot(ours["mcse_mean"], theirs["mcse_mean"])
        assert (np.abs(ours["mean"] - theirs["mean"]) < 4.5 * error).all()


def test_calibration_draws_rows_that_count_once() -> None:
    with pytest.raises(SpecError, match="leave out row_weights"):
        calibrate(replace(pair(JOINT)[0], standardize=False), 50, replicates=2)
