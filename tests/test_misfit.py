"""Departures from the model within clusters are found and named; rows of the model raise none."""

from collections.abc import Callable

import numpy as np
import pandas as pd
import pytest
import xarray as xr
from conftest import how_many

import jointmix as jm
from jointmix.base.machine import limited_cores
from jointmix.checks import stored_diagnosis
from jointmix.checks.misfit import check
from jointmix.posterior.misfit import _standardised, deviations

QUICK = jm.SamplerSpec(sampler="laplace", draws=100, chains=2)
COLUMNS = ["x1", "x2"]
Rows = tuple[np.ndarray, np.ndarray]


def base(rng: np.random.Generator, n: int, noise: np.ndarray | None = None) -> Rows:
    """Features of two clusters, four standard deviations apart, and a response on two lines."""
    z, x = rng.integers(2, size=n), rng.normal(size=(n, 2))
    x[:, 0] += 4 * z
    noise = 0.5 * rng.normal(size=n) if noise is None else noise
    return x, np.where(z == 1, 1.5, -1.0) * x[:, 0] + 0.5 * x[:, 1] + noise


def curved(rng: np.random.Generator, n: int) -> Rows:
    x, y = base(rng, n)
    return x, y + 0.5 * x[:, 1] ** 2


def heavy(rng: np.random.Generator, n: int) -> Rows:
    return base(rng, n, 0.5 * rng.standard_t(2.5, size=n))


def skewed(rng: np.random.Generator, n: int) -> Rows:
    return base(rng, n, 0.5 * rng.exponential(size=n))


def absent(rng: np.random.Generator, n: int) -> Rows:
    x, y = base(rng, n)
    return x, y + x[:, 1]


def leaning(rng: np.random.Generator, n: int) -> Rows:
    x, y = base(rng, n)
    x[:, 1] = 0.7 * (x[:, 0] - 4 * (x[:, 0] > 2)) + 0.7 * x[:, 1]
    return x, y


def derived(rng: np.random.Generator, n: int) -> Rows:
    x, y = base(rng, n)
    return np.column_stack([x[:, 0], x[:, 0] ** 2]), y


def uneven(rng: np.random.Generator, n: int) -> Rows:
    x, y = base(rng, n, np.zeros(n))
    return x, y + 0.5 * np.exp(0.6 * x[:, 1]) * rng.normal(size=n)


def product(rng: np.random.Generator, n: int) -> Rows:
    x, y = base(rng, n)
    return x, y + 0.5 * (x[:, 0] - 2) * x[:, 1]


def counts(rng: np.random.Generator, n: int) -> Rows:
    """Counts of mean 2, whose logarithm follows the features."""
    x, _ = base(rng, n)
    return x, rng.poisson(2 * np.exp(0.4 * x[:, 1])).astype(float)


#: What is planted, what the model has besides the usual, what is said, and what is advised.
PLANTED: dict[str, tuple[Callable[..., Rows], dict[str, object], str, str]] = {
    "curved": (curved, {}, "'y' bends over 'x2' within clusters", "the square of 'x2'"),
    "heavy tails": (heavy, {}, "'y' is not spread within clusters", 'family="student_t"'),
    "skewed": (skewed, {}, "'y' is not spread within clusters", "transform it where"),
    "missing predictor": (
        absent, {"predictors": ["x1"]},
        "'y' changes with 'x2' within clusters, which is no predictor", "Add 'x2' to the pred",
    ),
    "wrong covariance": (
        leaning, {"covariance": "diagonal"},
        "'x1' and 'x2' are correlated within clusters beyond", 'covariance="full"',
    ),
    "derived column": (derived, {}, "'x2' bends over 'x1'", ""),
    "uneven noise": (uneven, {}, "the noise of 'y' changes with 'x2'", "logarithm"),
    "product": (product, {}, "the slope of 'y' on 'x1' changes with 'x2'", "product of"),
}  # fmt: skip


def fitted(rows: Rows, changes: dict[str, object]) -> xr.DataTree:
    x, y = rows
    options = {"features": COLUMNS, "predictors": COLUMNS, "response": "y"} | changes
    table = pd.DataFrame(x, columns=COLUMNS).assign(y=y)
    return jm.fit(table, jm.ModelSpec(n_clusters=2, sampler=QUICK, **options), progress=False)  # type: ignore[arg-type]


@pytest.mark.parametrize("name", PLANTED)
def test_what_is_planted_is_named_with_what_to_try(name: str) -> None:
    make, changes, said, advice = PLANTED[name]
    (finding,) = check(fitted(make(np.random.default_rng(11), 500), changes))
    assert finding.status == "caution"
    assert finding.value < 0.01
    assert said in finding.message
    assert advice in finding.remedy


def test_the_verdict_has_it_and_what_helps_helps() -> None:
    x, y = absent(np.random.default_rng(12), 400)
    without = fitted((x, y), {"predictors": ["x1"]})
    codes = without["checks"]["code"].values[without["checks"]["status"].values == "caution"]
    assert "misfit" in codes
    assert without.attrs["verdict"] != "OK"
    (finding,) = check(fitted((x, y), {}))
    assert finding.status == "ok"


def test_chances_are_of_one_test_each_and_columns_are_told() -> None:
    tree = fitted(base(np.random.default_rng(13), 300), {})
    found = deviations(tree)
    kinds = [each.kind for each in found]
    assert [kinds.count(kind) for kind in ("shape", "correlated", "bent")] == [3, 1, 2]
    assert [kinds.count(kind) for kind in ("unused", "curved", "uneven", "interaction")] == [
        0, 2, 2, 1,
    ]  # fmt: skip
    chances = [each.p_value for each in found]
    assert chances == sorted(chances)
    assert all(0 <= chance <= 1 for chance in chances)


def test_cores_change_no_bit() -> None:
    tree = fitted(curved(np.random.default_rng(17), 400), {})
    found = []
    for cores in (1, 3):
        with limited_cores(cores):
            found.append(deviations(tree))
    assert found[0] == found[1]


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"response": None, "predictors": []}, 5),
        ({"features": [], "predictors": ["x1"]}, 3),
        ({"family": "student_t"}, 11),
    ],
)
def test_other_models(changes: dict[str, object], expected: int) -> None:
    tree = fitted(base(np.random.default_rng(14), 200), changes)
    assert len(deviations(tree)) == expected


def test_with_few_rows_nothing_is_computed() -> None:
    tree = fitted(base(np.random.default_rng(15), 24), {})
    (finding,) = check(tree)
    assert finding.status == "skipped"
    assert "no cluster has 20 rows" in finding.message


def test_sums_are_over_their_standard_errors() -> None:
    rng = np.random.default_rng(16)
    one, other, weight = rng.normal(size=(2, 30)), rng.normal(size=(3, 30)), rng.uniform(size=30)
    found = _standardised(one, other, weight)
    for i in range(2):
        for j in range(3):
            terms = weight * one[i] * other[j]
            expected = terms.sum() / np.sqrt((terms**2).sum())
            assert found[i, j] == pytest.approx(expected, rel=1e-12)


def names_counts(tree: xr.DataTree) -> bool:
    """Whether the fit's verdict has that y departs from the model, or that it holds counts.

    Of small counts the note of the table tells, which the fit carries; where their mean moves much
    with a column, the tests within clusters as well.
    """
    concerns = stored_diagnosis(tree).concerns
    return any(each.code == "misfit" or (each.code, each.subject) == ("counts", "y")
               for each in concerns)  # fmt: skip


def test_counts_as_gaussian_are_named_with_what_to_look_at() -> None:
    tree = fitted(counts(np.random.default_rng([31, 1]), 300), {})
    (finding,) = (each for each in stored_diagnosis(tree).concerns
                  if each.code == "counts")  # fmt: skip
    assert finding.subject == "y"
    assert "whole numbers only" in finding.message
    assert finding.remedy
    assert tree.attrs["verdict"] != "OK"


@pytest.mark.slow
def test_planted_misfits_are_found() -> None:
    missed = []
    seeds = how_many(3, 5)
    for seed in range(seeds):
        rng = [31, seed]
        for name, (make, changes, _, _) in PLANTED.items():
            tree = fitted(make(np.random.default_rng(rng), 300), changes)
            missed += [] if check(tree)[0].status == "caution" else [(name, seed)]
        named = names_counts(fitted(counts(np.random.default_rng(rng), 300), {}))
        missed += [] if named else [("counts", seed)]
    # One in ten.
    assert len(missed) <= 0.1 * seeds * (len(PLANTED) + 1), missed
