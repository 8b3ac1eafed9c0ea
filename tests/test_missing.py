"""Rows with missing entries: densities against quadrature, gradients, EM, fits, imputed cells."""

from dataclasses import replace
from itertools import product
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import xarray as xr
from conftest import how_many

import jointmix as jm
from jointmix.base.errors import DataError
from jointmix.families.mixture import component_log_density, log_likelihood, responsibility
from jointmix.families.parameters import Parameters
from jointmix.families.rows import Rows
from jointmix.kernel.allocate import allocate
from jointmix.kernel.densities import densities
from jointmix.kernel.entry import value_and_gradient
from jointmix.kernel.problem import make_problem, n_free
from jointmix.kernel.values import parameters as expanded
from jointmix.model.dataset import Dataset, inspect_table, make_dataset
from jointmix.model.packing import packed
from jointmix.modes.climb import expect
from jointmix.modes.expected import expected_scores
from jointmix.modes.information import location_errors
from jointmix.modes.mstep import make_problem as em_problem
from jointmix.modes.mstep import maximise
from jointmix.modes.starts import allocations
from jointmix.posterior.draws import (
    fitted_spec,
    observed_rows,
    observed_table,
    posterior_parameters,
    spread,
)

FEATURES = ("a", "b", "c", "d")
STRUCTURES = [
    pytest.param(kind, d, predictors, family, id=f"{kind}-{d}-{'.'.join(predictors)}-{family}")
    for kind, d, predictors, family in [
        ("full", 1, ("a",), "normal"),
        ("full", 2, ("a", "b"), "normal"),
        ("full", 3, ("b", "u"), "normal"),
        ("full", 4, ("d", "u", "a"), "normal"),
        ("tied", 3, ("a", "c"), "normal"),
        ("diagonal", 3, ("a", "b", "c"), "normal"),
        ("spherical", 2, ("b",), "normal"),
        ("full", 3, ("u",), "student_t"),
        ("full", 2, ("u",), "poisson"),
        ("tied", 3, (), None),
    ]
]


def table_of(n: int, seed: int = 0, missing: float = 0.2) -> dict[str, np.ndarray]:
    """Two clusters in four features, a predictor besides, and two responses, with gaps."""
    rng = np.random.default_rng(seed)
    z = rng.integers(0, 2, n)
    mix = np.array([[1, 0, 0, 0], [0.6, 0.8, 0, 0], [-0.3, 0.2, 1, 0], [0.1, 0.4, -0.5, 0.7]])
    x = rng.normal(size=(n, 4)) @ mix.T + 2.5 * z[:, None]
    u = rng.normal(size=n)
    y = 1 + x[:, 0] * (1 - z) - 0.5 * x[:, 1] + 0.7 * u + 0.5 * rng.normal(size=n)
    table = dict(zip(FEATURES, x.T.copy(), strict=True)) | {"y": y}
    table["count"] = rng.poisson(np.exp(0.3 + 0.4 * u + 0.8 * z)).astype(float)
    for name in table:
        table[name][rng.random(n) < missing] = np.nan
    return table | {"u": u}


def spec_of(kind: str, d: int, predictors: tuple[str, ...], family: str | None) -> jm.ModelSpec:
    """A model of two clusters."""
    response = {None: None, "poisson": "count"}.get(family, "y")
    return jm.ModelSpec(
        n_clusters=2, features=FEATURES[:d], predictors=predictors, response=response,
        family=family or "normal", covariance=kind, missing="model",
    )  # fmt: skip


def at(dataset: Dataset, q: np.ndarray) -> Parameters:
    """Parameters on the model's scale at unconstrained values."""
    spec = dataset.spec
    found = expanded(make_problem(dataset), spec, q[None])
    return packed({name: value[0] for name, value in found.items()}, spec)


def by_quadrature(parameters: Parameters, rows: Rows, spec: jm.ModelSpec) -> np.ndarray:
    """log p of each row's entries that are there, by sums over a grid of the others.

    The product of trapezoidal rules over ±9 standard deviations of the missing features given
    nothing is exact to rounding, as the integrand is smooth and vanishes there.
    """
    features, response = spec.blocks[0], spec.blocks[-1]
    found = np.empty(len(rows.y))
    for n in range(len(rows.y)):
        row = rows.take(np.array([n]))
        gone = np.flatnonzero(np.isnan(row.x[0]))
        total = np.zeros(len(parameters.weight))
        for k in range(len(parameters.weight)):
            sd = np.sqrt((parameters.cholesky[k] ** 2).sum(-1))
            axes = [parameters.mean[k, i] + sd[i] * np.linspace(-9, 9, 181) for i in gone]
            grid = np.array(list(product(*axes)), ndmin=2)
            x = np.repeat(row.x, len(grid), axis=0)
            x[:, gone] = grid
            u = np.repeat(row.u, len(x), axis=0)
            for i, name in enumerate(spec.predictors):
                if name in spec.features:
                    u[:, i] = x[:, spec.features.index(name)]
            offset = None if row.offset is None else np.repeat(row.offset, len(x))
            whole = Rows(x, u, np.repeat(row.y, len(x)), offset=offset)
            value = features.log_density(parameters, whole)[:, k]
            if spec.response is not None and not np.isnan(row.y[0]):
                value = value + response.log_density(parameters, whole)[:, k]
            cell = np.prod([axis[1] - axis[0] for axis in axes])
            total[k] = parameters.weight[k] * np.exp(value).sum() * cell
        found[n] = np.log(total.sum())
    return found


@pytest.mark.parametrize(("kind", "d", "predictors", "family"), STRUCTURES)
def test_densities_are_integrals_over_the_missing_cells(
    kind: str, d: int, predictors: tuple[str, ...], family: str | None
) -> None:
    spec = spec_of(kind, d, predictors, family)
    dataset = make_dataset(table_of(200), spec)
    parameters = at(dataset, 0.4 * np.random.default_rng(1).normal(size=n_free(spec)))
    # Every pattern once, with at most two features missing: more would need too many points.
    chosen = [part.place[0] for part in dataset.rows.patterns if (~part.present).sum() <= 2]
    rows = dataset.rows.take(np.array(chosen))
    exact = by_quadrature(parameters, rows, spec)
    found = log_likelihood(component_log_density(spec.blocks, rows, parameters))
    assert np.abs(found - exact).max() < 1e-9
    _, _, compiled = allocate(rows, parameters.batched(), spec.blocks)
    assert compiled[0] == pytest.approx(exact.sum(), abs=1e-9 * len(rows.y))


@pytest.mark.parametrize(("kind", "d", "predictors", "family"), STRUCTURES)
def test_kernel_is_the_same_density_with_its_gradient(
    kind: str, d: int, predictors: tuple[str, ...], family: str | None
) -> None:
    spec = spec_of(kind, d, predictors, family)
    dataset = make_dataset(table_of(150), spec)
    few = replace(dataset, values=dataset.values[:60], row=dataset.row[:60])
    # The same scale for some of the rows, so that the priors are the same.
    vars(few)["scaling"] = dataset.scaling
    whole, part = make_problem(dataset), make_problem(few)
    q = 0.4 * np.random.default_rng(2).normal(size=n_free(spec))
    value, gradient = value_and_gradient(whole, q)
    assert densities(whole, q[None])[0] == pytest.approx(value, rel=1e-13)
    rows = dataset.rows.take(np.arange(60, len(dataset.values)))
    own = log_likelihood(component_log_density(spec.blocks, rows, at(dataset, q))).sum()
    assert value - value_and_gradient(part, q)[0] == pytest.approx(own, abs=1e-9)
    step = 1e-5
    for direction in np.eye(len(q)):
        up, down = densities(whole, np.stack([q + step * direction, q - step * direction]))
        difference = (up - down) / (2 * step)
        # Differences of 150 rows leave 1e-9 of the value over the step.
        assert gradient @ direction == pytest.approx(difference, abs=1e-7 * abs(value))


def test_complete_rows_take_the_usual_path() -> None:
    table = table_of(150, missing=0.0)
    spec = spec_of("full", 3, ("a", "u"), "normal")
    problems = [make_problem(make_dataset(table, replace(spec, missing=how)))
                for how in ("model", "error")]  # fmt: skip
    q = 0.3 * np.random.default_rng(3).normal(size=n_free(spec))
    ours, theirs = (value_and_gradient(problem, q) for problem in problems)
    assert ours[0] == theirs[0]
    assert np.array_equal(ours[1], theirs[1])


def test_weights_count_rows_with_gaps_as_often() -> None:
    table, rng = table_of(80), np.random.default_rng(4)
    table["w"] = rng.integers(1, 4, 80).astype(float)
    repeated = {name: np.repeat(value, table["w"].astype(int)) for name, value in table.items()}
    spec = replace(spec_of("full", 3, ("a", "u"), "normal"), standardize=False)
    q = 0.3 * rng.normal(size=n_free(spec))
    weighted = make_dataset(table, replace(spec, row_weights="w"))
    ours, own = value_and_gradient(make_problem(weighted), q)
    theirs, other = value_and_gradient(make_problem(make_dataset(repeated, spec)), q)
    assert ours == pytest.approx(theirs, rel=1e-12)
    assert np.allclose(own, other, rtol=1e-10, atol=1e-10)


def test_order_of_columns_and_rows_does_not_matter() -> None:
    table = table_of(120)
    spec = spec_of("full", 3, ("a", "b"), "normal")
    parameters = at(make_dataset(table, spec), np.full(n_free(spec), 0.2))
    rows = make_dataset(table, spec).rows
    order = np.array([2, 0, 1])
    turned = replace(spec, features=tuple(np.array(spec.features)[order]))
    covariance = parameters.cholesky @ np.swapaxes(parameters.cholesky, -1, -2)
    other = parameters.replace(
        mean=parameters.mean[:, order],
        cholesky=np.linalg.cholesky(covariance[:, order[:, None], order]),
    )
    ours = component_log_density(spec.blocks, rows, parameters)
    theirs = component_log_density(turned.blocks, replace(rows, x=rows.x[:, order]), other)
    assert np.allclose(ours, theirs, rtol=0, atol=1e-11)
    shuffled = np.random.default_rng(5).permutation(len(rows.y))
    again = component_log_density(spec.blocks, rows.take(shuffled), parameters)
    assert np.allclose(again, ours[shuffled], rtol=0, atol=1e-12)


def test_a_feature_without_entries_is_a_model_without_it() -> None:
    table = table_of(100)
    spec = spec_of("full", 3, ("a",), "normal")
    dataset = make_dataset(table, spec)
    parameters = at(dataset, 0.3 * np.random.default_rng(6).normal(size=n_free(spec)))
    x = dataset.rows.x.copy()
    x[:, 2] = np.nan
    known = ~np.isnan(np.column_stack([x[:, :2], dataset.rows.y])).all(axis=1)
    rows = replace(dataset.rows, x=x).take(known)
    less = replace(spec, features=FEATURES[:2])
    other = parameters.replace(mean=parameters.mean[:, :2], cholesky=parameters.cholesky[:, :2, :2])
    ours = component_log_density(spec.blocks, rows, parameters)
    theirs = component_log_density(less.blocks, replace(rows, x=rows.x[:, :2]), other)
    assert np.allclose(ours, theirs, rtol=0, atol=1e-11)


@pytest.mark.parametrize(("kind", "d", "predictors", "family"), STRUCTURES)
def test_em_climbs(kind: str, d: int, predictors: tuple[str, ...], family: str | None) -> None:
    spec = spec_of(kind, d, predictors, family)
    problem = em_problem(make_dataset(table_of(200), spec))
    rows, y = problem.starting, problem.told_apart
    assert np.isfinite(rows.x).all()
    hard = allocations(rows.x, rows.u, y, 2, 4, np.random.default_rng(7))
    share = np.eye(2)[:, hard].swapaxes(0, 1)
    parameters = maximise(problem, share, None)
    share, before = expect(problem, parameters)
    for _ in range(15):
        parameters = maximise(problem, share, parameters)
        share, after = expect(problem, parameters)
        # A Student-t's degrees of freedom climb by one step of Newton's, the floor adds 1e-8.
        assert (after - before > -1e-6).all()
        before = after


def test_em_ends_where_the_likelihood_is_flat() -> None:
    spec = replace(spec_of("full", 3, ("a", "b"), "normal"), n_clusters=1)
    problem = em_problem(make_dataset(table_of(150), spec))
    share = np.ones((1, 1, 150))[..., : len(problem.values)]
    parameters = maximise(problem, share, None)
    for _ in range(400):
        parameters = maximise(problem, share, parameters)
    _, (top,) = expect(problem, parameters)
    for name in ("mean", "slope", "sigma", "intercept"):
        for sign in (-1, 1):
            moved = parameters.replace(**{name: parameters[name] * (1 + sign * 1e-4)})
            assert expect(problem, moved)[1][0] <= top + 1e-9


def test_scores_of_rows_with_gaps_are_derivatives() -> None:
    spec = spec_of("full", 3, ("a", "b"), "normal")
    dataset = make_dataset(table_of(150), spec)
    parameters = at(dataset, 0.2 * np.random.default_rng(8).normal(size=n_free(spec)))
    rows = dataset.rows
    share = responsibility(component_log_density(spec.blocks, rows, parameters))
    step = 1e-6
    for block, name in ((spec.blocks[0], "mean"), (spec.blocks[1], "slope")):
        found = expected_scores(block, rows, parameters, share, spec).location[name]
        for k, i in product(range(2), range(2)):
            ends = []
            for sign in (1, -1):
                moved = parameters[name].copy()
                moved[k, i] += sign * step
                value = component_log_density(
                    spec.blocks, rows, parameters.replace(**{name: moved})
                )
                ends.append(log_likelihood(value))
            assert np.allclose((ends[0] - ends[1]) / (2 * step), found[:, k, i], atol=1e-6)
    assert np.isfinite(location_errors(rows, parameters, spec)).all()


REFUSED = {
    "outside": ({"features": ("b", "c")}, "a", "it is no feature"),
    "product": ({"predictors": (), "formula": "y ~ a * u"}, "a", "'a:u' is made of it"),
    "curve": ({"predictors": (), "formula": "y ~ poly(a, 2)"}, "a", "'poly(a, 2)' is made of it"),
    "family": ({"family": "student_t"}, "a", "of the family 'student_t'"),
    "offset": (
        {"family": "poisson", "response": "count", "offset": "d", "predictors": ("u",)},
        "d", "it is no feature, so that nothing says what the entry was",
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", REFUSED.values(), ids=REFUSED.keys())
def test_what_has_no_exact_integral_is_refused(case: tuple[dict[str, object], str, str]) -> None:
    changes, column, words = case
    usual = {"features": ("a", "b", "c"), "predictors": ("a",), "response": "y"}
    spec = jm.ModelSpec(**{"n_clusters": 2, "missing": "model", **usual, **changes})
    with pytest.raises(DataError, match="missing") as caught:
        make_dataset(table_of(100), spec)
    assert f"Column '{column}' has missing entries" in str(caught.value)
    assert words in str(caught.value)
    assert 'missing="drop"' in str(caught.value)


def test_rows_without_any_entry_are_counted_and_left_out() -> None:
    table = table_of(100)
    for name in ("a", "b", "c", "y"):
        table[name][:3] = np.nan
    spec = spec_of("full", 3, ("u",), "normal")
    dataset = make_dataset(table, spec)
    blank = np.isnan(np.column_stack([table[name] for name in ("a", "b", "c", "y")])).all(axis=1)
    assert len(dataset.values) == 100 - blank.sum()
    assert dataset.n_rows == 100
    assert dataset.gaps["a"] == np.isnan(table["a"][~blank]).sum()
    found = {issue.code: issue.message for issue in jm.check(table, spec, em=False).issues}
    assert f"{blank.sum()} of 100 rows are left out" in found["rows_left_out"]


def test_columns_without_an_entry_are_refused() -> None:
    table = table_of(100) | {"b": np.full(100, np.nan)}
    _, issues = inspect_table(table, spec_of("full", 3, ("u",), "normal"))
    assert [issue.message for issue in issues] == [
        "Column 'b' has no entry in any row used; leave it out."
    ]


@pytest.fixture(scope="module")
def fitted() -> xr.DataTree:
    spec = replace(
        spec_of("full", 3, ("a", "u"), "normal"), sampler=jm.SamplerSpec(sampler="laplace")
    )
    return jm.fit(table_of(160), spec, seed=1, progress=False)


def test_a_fit_keeps_its_gaps_and_scores_what_is_there(fitted: xr.DataTree, tmp_path: Path) -> None:
    jm.save(fitted, tmp_path / "fit.nc")
    tree, table = jm.load(tmp_path / "fit.nc"), table_of(160)
    place = tree["constant_data"]["row"].values
    assert np.array_equal(np.isnan(tree["observed_data"]["y"].values), np.isnan(table["y"][place]))
    scores = jm.loo(tree)
    assert np.isfinite(scores.pointwise["joint"].values).all()
    silent = np.isnan(table["y"][place])
    assert (np.abs(scores.pointwise["conditional"].values[silent]) < 1e-9).all()
    assert np.array_equal(np.isnan(scores.pointwise["pit"].values), silent)
    assert np.isfinite(jm.predict(tree)["mean"].values).all()
    drawn = jm.replicate(tree, 20)
    for name in ("a", "b", "c", "y"):
        gone = np.isnan(drawn["observed_data"][name].values)
        assert (np.isnan(drawn["posterior_predictive"][name].values) == gone).all()
    assert np.isfinite(jm.predictive_checks(drawn).drop(columns="unusual").values).all()


def test_responsibilities_of_rows_with_gaps_are_bayes_rule(fitted: xr.DataTree) -> None:
    found = jm.responsibilities(fitted)["responsibility"].values
    spec = fitted_spec(fitted)
    parameters, rows = posterior_parameters(fitted), observed_rows(fitted, spec)
    each = responsibility(component_log_density(spec.blocks, rows, parameters))
    assert np.allclose(found, each.mean(axis=0), atol=1e-9)


def test_new_rows_may_have_the_holes_that_rows_of_the_fit_have(fitted: xr.DataTree) -> None:
    spec = fitted_spec(fitted)
    table = pd.DataFrame(observed_table(fitted, spec))
    assert table[[*spec.features, "y"]].isna().to_numpy().any()
    for function in (jm.responsibilities, jm.log_density):
        own, new = function(fitted), function(fitted, table)
        for name, array in own.data_vars.items():
            np.testing.assert_array_equal(new[name].values, array.values)


def test_imputed_entries_are_conditional_expectations(fitted: xr.DataTree) -> None:
    """Against sums over a grid of one missing entry in each of 200 draws."""
    found = jm.impute(fitted, draws=200, seed=3)
    spec = fitted_spec(fitted)
    rows, gone = observed_rows(fitted, spec), {}
    for index, (label, column) in enumerate(
        zip(found["obs"].values, found["column"].values, strict=True)
    ):
        gone.setdefault(int(label), []).append((column, index))
    alone = {label: cells[0] for label, cells in gone.items() if len(cells) == 1}
    chosen = [
        next(label for label, (c, _) in alone.items() if c == name) for name in ("a", "b", "y")
    ]
    used = found["draws"].sizes["draw"]
    every = posterior_parameters(fitted)
    total = fitted["posterior"].sizes["draw"]
    step = spread(total, used)
    n_chains = fitted["posterior"].sizes["chain"]
    places = (np.arange(n_chains)[:, None] * total + step).ravel().tolist()
    parameters = every.take(places)
    for label in chosen:
        name, index = alone[label]
        place = int(np.flatnonzero(rows.label == label)[0])
        grid = np.linspace(-12, 14, 1500)
        part = rows.take(np.full(len(grid), place))
        x, u, y = part.x.copy(), part.u.copy(), part.y.copy()
        if name == "y":
            y = grid
        else:
            x[:, spec.features.index(name)] = grid
        if name in spec.predictors:
            u[:, spec.predictors.index(name)] = grid
        density = log_likelihood(component_log_density(spec.blocks, Rows(x, u, y), parameters))
        weight = np.exp(density - density.max(axis=1, keepdims=True))
        expected = (weight @ grid / weight.sum(axis=1)).mean()
        assert found["mean"].values[index] == pytest.approx(expected, abs=1e-6)
    sd = found["sd"].values / np.sqrt(used * n_chains)
    centre = found["draws"].mean(("chain", "draw")).values
    # Of some hundred cells one may lie four standard errors away.
    assert (np.abs(centre - found["mean"].values) < 5 * sd).all()


def test_report_shows_patterns_and_no_hole(fitted: xr.DataTree, tmp_path: Path) -> None:
    jm.report(fitted, tmp_path / "fit.md", sections=["verdict", "data", "clusters", "predictive"])
    text = (tmp_path / "fit.md").read_text()
    assert "What rows miss" in text
    assert "What clusters say of missing entries" in text
    assert " nan" not in text.lower()


def test_check_says_what_the_model_would_keep() -> None:
    table = table_of(200)
    spec = replace(spec_of("full", 3, ("a", "u"), "normal"), missing="drop")
    found = {issue.code: issue for issue in jm.check(table, spec, em=False).issues}
    gone = np.isnan(np.column_stack([table[name] for name in ("a", "b", "c", "y")]))
    kept = gone[gone.any(axis=1) & ~gone.all(axis=1)]
    assert found["rows_left_out"].remedy == (
        f'With missing="model" {len(kept)} of them enter too, by what they have '
        f"({len(np.unique(kept, axis=0))} patterns of missing entries)."
    )


def test_check_says_what_both_ways_out_of_an_error_keep() -> None:
    table = table_of(200)
    spec = replace(spec_of("full", 3, ("a", "u"), "normal"), missing="error")
    found = {issue.code: issue for issue in jm.check(table, spec, em=False).issues}
    gone = np.isnan(np.column_stack([table[name] for name in ("a", "b", "c", "y")]))
    some, whole = gone[gone.any(axis=1) & ~gone.all(axis=1)], int((~gone.any(axis=1)).sum())
    assert found["missing"].severity == "error"
    assert found["rows_kept"].message == (
        f'missing="drop" would keep {whole} of 200 rows, and missing="model" {whole + len(some)}: '
        f"{len(some)} by what they have, in {len(np.unique(some, axis=0))} patterns of missing "
        "entries."
    )
    count = replace(spec_of("full", 2, ("a",), "poisson"), missing="error")
    found = {issue.code: issue for issue in jm.check(table, count, em=False).issues}
    assert (
        "rows without 'a' would have to go first, as it is a predictor of a response of the family "
        "'poisson', over which there is no exact integral."
    ) in found["rows_kept"].message
    with pytest.raises(DataError, match=r"Column 'a' has missing entries.*'poisson'.*fill them in"):
        make_dataset(table, replace(count, missing="model"))


def test_a_table_without_gaps_has_nothing_to_impute() -> None:
    spec = replace(spec_of("full", 1, ("a",), "normal"), sampler=jm.SamplerSpec(sampler="laplace"))
    tree = jm.fit(table_of(60, missing=0.0), replace(spec, n_clusters=1), progress=False)
    with pytest.raises(DataError, match="nothing to impute"):
        jm.impute(tree)


@pytest.mark.slow
def test_intervals_of_imputed_entries_hold_what_they_say() -> None:
    inside, total = 0, 0
    for seed in range(how_many(3, 8)):
        table, whole = table_of(300, seed), table_of(300, seed, missing=0.0)
        spec = replace(
            spec_of("full", 3, ("a", "b", "u"), "normal"),
            sampler=jm.SamplerSpec(sampler="laplace"),
        )
        found = jm.impute(jm.fit(table, spec, seed=seed, progress=False))
        cells = zip(found["column"].values, found["obs"].values, strict=True)
        truth = np.array([whole[name][label] for name, label in cells])
        low, _, high = found["quantiles"].values.T
        inside += int(((truth >= low) & (truth <= high)).sum())
        total += len(truth)
    assert total > 600
    assert inside / total == pytest.approx(0.9, abs=3 * np.sqrt(0.09 / total))
