"""Columns of two values, counts and codes, functions of features, and clusters of one number."""

import numpy as np
import pandas as pd
import pytest

import jointmix as jm
from jointmix.fitting.inspection import Inspection
from jointmix.tables.kinds import derived_warnings, kind_warning

N = 150


def table() -> pd.DataFrame:
    rng = np.random.default_rng(3)
    x, z = rng.normal(3, 1, N), rng.gamma(3, 1, N)
    return pd.DataFrame(
        {
            "x": x, "z": z, "y": rng.normal(size=N), "line": 2 * x + 1, "plane": x - 3 * z,
            "square": x**2, "centred": 2 * (x - 3) ** 2 + 1, "cube": x**3 - x, "log": np.log(z),
            "exp": np.exp(z), "root": np.sqrt(z), "inverse": 1 / z, "product": x * z,
            "nearly": x**2 + 1e-4 * rng.normal(size=N),
            "flag": rng.integers(2, size=N), "count": rng.poisson(2, N),
            "likert": rng.integers(1, 6, N), "years": rng.integers(18, 80, N),
            "half": rng.integers(0, 4, N) / 2,
        }
    )  # fmt: skip


TABLE = table()


def derived(names: list[str], features: list[str], response: str | None = None) -> dict[str, str]:
    found = derived_warnings(TABLE[names].to_numpy(), names, features, response)
    assert all(issue.code == "derived" for issue in found)
    return {issue.column: issue.message for issue in found}


@pytest.mark.parametrize(
    ("target", "said"),
    [
        ("square", "a polynomial in 'x'"), ("centred", "a polynomial in 'x'"),
        ("cube", "a polynomial in 'x'"), ("log", "the logarithm of 'z'"),
        ("exp", "the exponential of 'z'"), ("root", "the root of 'z'"),
        ("inverse", "the inverse of 'z'"), ("product", "the product of 'x' and 'z'"),
    ],
)  # fmt: skip
def test_functions_of_features_are_named(target: str, said: str) -> None:
    found = derived(["x", "z", target, "y"], ["x", "z"], "y")
    assert found.keys() == {target}
    assert found[target].startswith(f"Predictor '{target}' is {said}, exactly")
    feature = derived(["x", "z", target], ["x", "z", target])
    assert len(feature) == 1
    assert "no Gaussian has such a curve" in next(iter(feature.values()))


def test_a_response_that_is_a_function_has_no_noise() -> None:
    found = derived(["x", "z", "product"], ["x", "z"], "product")
    assert "no noise is left to model" in found["product"]


@pytest.mark.parametrize("target", ["line", "plane", "nearly", "y", "flag", "count", "years"])
def test_lines_and_near_functions_are_not(target: str) -> None:
    assert not derived(["x", "z", target], ["x", "z", target])


def test_few_rows_give_no_functions() -> None:
    rows = TABLE[["x", "y"]].to_numpy()[:5]
    assert not derived_warnings(rows, ["x", "y"], ["x", "y"], None)


def test_functions_of_part_of_the_rows_only_are_none() -> None:
    own = np.random.default_rng(4).normal(size=(4_000, 2))
    own[:, 1] = own[:, 0] ** 2
    own[7, 1] += 0.1
    assert not derived_warnings(own, ["a", "b"], ["a", "b"], None)


@pytest.mark.parametrize(
    ("name", "code", "said"),
    [
        ("flag", "binary", "holds two values only, 0 and 1"),
        ("count", "counts", "whole numbers only, from 0 to"),
        ("likert", "counts", "holds 5 whole numbers only, from 1 to 5"),
        ("half", None, ""), ("years", None, ""), ("x", None, ""),
    ],
)  # fmt: skip
def test_kinds_of_columns(name: str, code: str | None, said: str) -> None:
    for of_response in (False, True):
        found = kind_warning(*np.unique(TABLE[name], return_counts=True), name, of_response)
        assert (found and found.code) == code
        if found is not None:
            assert said in found.message
            assert ("Gaussian" in found.message) is not of_response


def check(features: list[str], predictors: list[str], response: str | None) -> Inspection:
    return jm.check(
        TABLE,
        jm.ModelSpec(
            n_clusters=2, features=features, predictors=predictors, response=response,
            sampler=jm.SamplerSpec(starts=4),
        ),
    )  # fmt: skip


def test_check_names_them_once() -> None:
    issues = check(["x", "likert"], ["flag", "square"], "count").issues
    codes = [(issue.code, issue.column) for issue in issues]
    assert ("counts", "likert") in codes
    assert ("counts", "count") in codes
    assert ("derived", "square") in codes
    # A predictor has no density, and what is a count is not rounded besides.
    assert not {("binary", "flag"), ("ties", "likert"), ("ties", "count")} & {*codes}


def test_a_cluster_of_one_number_is_named() -> None:
    rng = np.random.default_rng(6)
    value = np.r_[rng.normal(2, 0.3, 100), np.full(53, 4.0)]
    rows = pd.DataFrame({"a": value, "b": rng.normal(size=153) + value})
    spec = jm.ModelSpec(n_clusters=2, features=["a", "b"], sampler=jm.SamplerSpec(starts=8))
    found = {issue.code: issue.message for issue in jm.check(rows, spec).issues}
    assert found["repeated_value"].startswith(
        "53 of the 53 rows of one cluster of EM's best mode hold the same number, 4, in column 'a'"
    )
