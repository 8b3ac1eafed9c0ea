"""Rows with missing entries: the implementations are one density, of what rows have."""

from dataclasses import replace
from itertools import product

import arviz_stats as az
import numpy as np
import pandas as pd
import pytest
import test_missing
import test_missing_levels
import test_mixed_gaps
from conftest import more
from scipy.stats import multivariate_normal, norm
from test_agreement import failures, points_of
from test_fused import with_gradient

import jointmix as jm
from jointmix.base.errors import SpecError
from jointmix.model.dataset import Dataset, make_dataset
from jointmix.validation.agreement.comparison import Comparison
from jointmix.validation.agreement.numpyro_side import numpyro_side
from jointmix.validation.agreement.plain_sides import kernel_side, numpy_side, scipy_side
from jointmix.validation.agreement.problem import Problem, random_points
from jointmix.validation.agreement.terms import Side
from jointmix.validation.twin import build_twin, twin_log_density
from jointmix.validation.twin.likelihood import component_terms, sample_parameters, scaled_rows

pytest.importorskip("funsor")

#: Name → structure, clusters' covariances, columns, predictors and family of `test_missing`.
OF_NUMBERS: dict[str, tuple[str, int, tuple[str, ...], str | None]] = {
    "predictors that are features": ("full", 4, ("d", "u", "a"), "normal"),
    "tied": ("tied", 3, ("a", "c"), "normal"),
    "counts as response": ("full", 2, ("u",), "poisson"),
    "no response": ("spherical", 3, (), None),
}

#: Of which the fused model is compared without ``--thorough`` too.
FUSED = ("counts as response", "no response")
#: And all implementations, besides those of the mixed table.
OWN = ("levels", "no response")


def dataset_of(name: str) -> Dataset:
    """Tables with holes in features and response; "mixed" has them in a word and a count too.

    "levels" has them in words of which predictors are made.
    """
    if name == "levels":
        return test_missing_levels.dataset_of("normal")
    if name in OF_NUMBERS:
        return make_dataset(test_missing.table_of(60), test_missing.spec_of(*OF_NUMBERS[name]))
    table = test_mixed_gaps.table_of(60)
    table["visits"] = np.random.default_rng(6).poisson(2.0, size=len(table)) * 1.0
    table.loc[[1, 7], "visits"] = np.nan
    features = {"a": "normal", "b": "normal", "word": "categorical", "visits": "poisson"}
    return make_dataset(table, test_mixed_gaps.spec_of(features=features))


@pytest.mark.parametrize(
    "name",
    [
        "mixed",
        *(
            pytest.param(name, marks=pytest.mark.slow if name in OWN else more)
            for name in (*OF_NUMBERS, "levels")
        ),
    ],
)
def test_all_implementations_agree_at_random_and_extreme_points(name: str) -> None:
    problem = Problem(dataset_of(name), None)
    twin = build_twin(problem.dataset, problem.spec)
    sides = [kernel_side(problem), numpy_side(problem), scipy_side(problem)]
    sides.append(numpyro_side(problem, "NumPyro", twin))
    differences = Comparison(problem, sides).run(points_of(problem, 150, seed=3))
    assert failures(differences) == []
    assert {"prior", "gradient", "rows", "features", "total"} <= {x.term for x in differences}


@pytest.mark.parametrize(
    ("name", "fused"),
    [("mixed", True), pytest.param("mixed", False, marks=more),
     *(pytest.param(name, told, marks=pytest.mark.slow if told and name in FUSED else more)
       for name in OF_NUMBERS for told in (True, False))],
)  # fmt: skip
def test_the_pymc_model_is_the_kernel(name: str, fused: bool) -> None:
    dataset = dataset_of(name)
    problem = Problem(dataset, None)
    found = with_gradient(jm.build_model(dataset, dataset.spec, fused=fused))
    q = random_points(problem, np.zeros(problem.dim), 3, seed=4)
    right, total = kernel_side(problem).evaluate(q), scipy_side(problem).evaluate(q).total
    for i, point in enumerate(q):
        own, *slopes = found(*(point[at].reshape(size) for at, size in problem.slices.values()))
        # Some thousand roundings, in gradients by the largest entry.
        assert abs(own - total[i]) <= 1e-12 * abs(total[i])
        gradient = np.concatenate([np.ravel(slope) for slope in slopes])
        far = np.abs(gradient - right.gradient[i]).max()
        assert far <= 1e-9 * np.abs(gradient).max()


def test_the_density_of_a_row_is_the_joint_gaussian_s_of_what_it_has() -> None:
    """Of (a, b, y) with y = b_0 + θ a, by SciPy from their joint mean and covariance."""
    table = pd.DataFrame(
        {"a": [0.3, np.nan, 0.5, np.nan, 1.0, -0.2], "b": [0.1, 0.4, np.nan, np.nan, 0.2, 1.1],
         "y": [0.7, 0.9, -0.3, 1.2, np.nan, 0.4]}
    )  # fmt: skip
    spec = jm.ModelSpec(
        n_clusters=1, features=["a", "b"], predictors=["a"], response="y", missing="model",
        standardize=False,
    )  # fmt: skip
    dataset = make_dataset(table, spec, demand="density")
    values = {
        "weight": np.ones(1), "mean": np.array([[0.2, 0.5]]), "sd": np.array([[1.2, 0.8]]),
        "correlation": np.array([[[1, 0.4], [0.4, 1]]]), "intercept": np.array([0.3]),
        "slope": np.array([[1.5]]), "sigma": np.array([0.6]),
    }  # fmt: skip
    covariance = np.outer([1.2, 0.8], [1.2, 0.8]) * [[1, 0.4], [0.4, 1]]
    of_y = covariance[0] * 1.5
    joint = np.block([[covariance, of_y[:, None]], [of_y, 0.36 + 1.5 * of_y[0]]])
    mean = np.array([0.2, 0.5, 0.3 + 1.5 * 0.2])
    rows = []
    for row in table.to_numpy():
        there = np.flatnonzero(~np.isnan(row))
        rows.append(
            multivariate_normal.logpdf(row[there], mean[there], joint[np.ix_(there, there)])
        )
    found = twin_log_density(dataset, spec, values)
    np.testing.assert_allclose(found["rows"], rows, rtol=1e-12)
    # A row without features has p(y) alone in its response's term.
    alone = norm.logpdf(1.2, mean[2], np.sqrt(joint[2, 2]))
    np.testing.assert_allclose([*found["features"][3], *found["response"][3]], [0, alone])


@more
def test_pymc_samples_holes_by_jax_as_the_kernel_does() -> None:
    """Means of one cluster's parameters, by both samplers, agree within their errors."""
    spec = test_missing.spec_of("full", 1, ("a", "u"), "normal")
    found = []
    for options in ({"sampler": "numpyro"}, {"sampler": "nutpie", "backend": "kernel"}):
        own = jm.SamplerSpec(chains=2, tune=300, draws=500, **options)
        tree = jm.fit(test_missing.table_of(60), replace(spec, sampler=own), seed=1, progress=False)
        group = tree["posterior"].to_dataset()[["mean", "sd", "intercept", "slope", "sigma"]]
        found.append((group.mean(("chain", "draw")), az.mcse(group)))
    (one, error), (other, second) = found
    for name in one:
        bound = np.hypot(error[name].values, second[name].values)
        # Some ten numbers: one of them lies five standard errors away once in 10⁵ seeds.
        assert (np.abs(one[name].values - other[name].values) < 5 * bound).all(), name


def n_operations(n_kinds: int) -> int:
    """Of the twin's terms of 90 rows of so many patterns."""
    import jax
    import numpyro

    rng = np.random.default_rng(n_kinds)
    kinds = np.array([kind for kind in product([False, True], repeat=5) if not all(kind)])
    x = rng.normal(size=(90, 5))
    x[kinds[np.arange(90) % n_kinds]] = np.nan
    table = pd.DataFrame(x, columns=list("abcde")).assign(y=rng.normal(size=90))
    spec = jm.ModelSpec(
        n_clusters=2, features=list("abcde"), predictors=["a", "e"], response="y", missing="model"
    )
    dataset = make_dataset(table, spec)
    assert len(dataset.rows.patterns) == n_kinds
    rows = scaled_rows(dataset)

    def terms() -> dict:
        with numpyro.handlers.seed(rng_seed=0):
            return component_terms(spec, sample_parameters(spec, dataset.scaling, None), rows)

    return len(jax.make_jaxpr(terms)().jaxpr.eqns)


def test_the_twin_is_one_program_of_any_number_of_patterns() -> None:
    assert n_operations(5) == n_operations(30)


def test_rows_with_holes_are_not_enumerated() -> None:
    dataset = dataset_of("tied")
    with pytest.raises(SpecError, match="missing entries take form='marginal'"):
        build_twin(dataset, dataset.spec, "enumerated")


def test_a_pattern_that_is_wrong_is_located() -> None:
    """Rows that lack a feature, taken for its mean, are found by their numbers."""
    problem = Problem(dataset_of("predictors that are features"), None)
    rows = problem.rows
    gone = np.isnan(rows.x[:, 1])
    filled = replace(rows, x=np.where(np.isnan(rows.x), 0.0, rows.x))
    other = Problem(problem.dataset, None)
    vars(other)["rows"] = replace(filled, x=np.where(gone[:, None], filled.x, rows.x))
    sides = [scipy_side(problem), kernel_side(problem), Side("wrong", numpy_side(other).evaluate)]
    q = random_points(problem, np.zeros(problem.dim), 5, seed=6)
    wrong = failures(Comparison(problem, sides).run(q))
    labels = problem.dataset.row[gone]
    assert {"features", "rows"} <= {item.term for item in wrong}
    assert all(item.row in labels for item in wrong if item.term == "features")
