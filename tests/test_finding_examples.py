"""What codes.toml gives as examples of findings about tables: each is found in such a table."""

import numpy as np
import pandas as pd
import pytest
from palmerpenguins import load_penguins

import jointmix as jm
from jointmix.base.codes import references

N = 120
RNG = np.random.default_rng(1)
Z = np.arange(N) % 2
A, B = 4 * Z + RNG.normal(size=N), -3 * Z + RNG.normal(size=N)
TABLE = pd.DataFrame({"a": A, "b": B, "y": np.where(Z, A, -A) + 0.3 * RNG.normal(size=N)})
LENGTH = RNG.normal(170, 10, N)
MARK = RNG.integers(2, size=N)
WARD = RNG.choice(["north", "south"], N)
PENGUINS = load_penguins()
BILLS = {"features": ["bill_length_mm", "bill_depth_mm"], "predictors": ["bill_length_mm"]}
BILLS |= {"response": "body_mass_g", "missing": "drop"}


def strange_flipper() -> pd.DataFrame:
    lengths = PENGUINS["flipper_length_mm"]
    return PENGUINS.assign(flipper_length_mm=lengths.where(PENGUINS.index != 5, 2010.0))


#: Code: columns besides or instead of TABLE's, or a whole table; parts of the model.
CASES: dict[str, tuple[dict | pd.DataFrame, dict]] = {
    "ties": (PENGUINS, BILLS),
    "identical rows": (
        PENGUINS,
        BILLS | {"features": ["bill_length_mm", "flipper_length_mm"]},
    ),
    "rows left out": (PENGUINS, BILLS),
    "rows kept": (
        PENGUINS,
        {"features": ["bill_length_mm", "sex"], "predictors": [], "response": None},
    ),
    "outliers": (
        strange_flipper(),
        {"n_clusters": 1, **BILLS, "features": ["bill_length_mm", "flipper_length_mm"]},
    ),
    "binary": ({"smoker": MARK}, {"features": ["a", "smoker"]}),
    "counts": ({"children": RNG.integers(4, size=N)}, {"features": ["a", "children"]}),
    "derived": ({"area": A**2}, {"features": ["a", "area"], "predictors": ["b"]}),
    "digits lost": ({"t": 1.7e18 + RNG.uniform(0, 1e6, N)}, {"features": ["a", "t"]}),
    "duplicate rows": (pd.concat([TABLE, TABLE[:40]], ignore_index=True), {}),
    "empty level": (
        {"w": pd.Categorical(WARD, categories=["north", "south", "other"])},
        {"features": ["a", "w"]},
    ),
    "rare level": ({"w": ["west", *WARD[1:]]}, {"features": ["a", "w"]}),
    "many levels": ({"w": [f"zip {i}" for i in np.arange(N) // 2]}, {"features": ["a", "w"]}),
    "exact response": ({"y": 2 * A + B}, {"predictors": ["a", "b"]}),
    "exact in clusters": ({"y": np.where(Z, 3 * A + 1, RNG.normal(-A))}, {}),
    "small clusters": (
        pd.DataFrame(
            np.r_[RNG.normal(size=(100, 6)), RNG.normal(8, 1, (12, 6))], columns=list("abcdef")
        ),
        {"features": list("abcdef"), "predictors": [], "response": None},
    ),
    "repeated value": (
        {"income": np.where(np.arange(N) % 5 == 0, 0.0, RNG.normal(2500, 600, N))},
        {"features": ["income"], "predictors": [], "response": None},
    ),
    "improper": (
        {"b": np.where(Z, 1.0, B)},
        {"priors": jm.Priors(sd=jm.HalfNormal())},
    ),
    "near collinear": (
        {"mm": LENGTH.round(5), "inch": (LENGTH / 25.4).round(7)},
        {"features": ["mm", "inch"]},
    ),
    "no predictors": ({}, {"predictors": []}),
    "pseudo posterior": ({"w": RNG.uniform(0.3, 3, N)}, {"row_weights": "w"}),
    "row weights": ({"w": RNG.integers(1, 5, N)}, {"row_weights": "w"}),
    "zero weights": ({"w": [0.0, *[1.0] * (N - 1)]}, {"row_weights": "w"}),
    "total row": (
        pd.concat([TABLE.abs(), TABLE.abs().sum().to_frame().T], ignore_index=True),
        {},
    ),
    "unnamed columns": (pd.concat([pd.DataFrame({"Unnamed: 0": range(N)}), TABLE], axis=1), {}),
    "no overdispersion": (
        {"y": RNG.poisson(np.where(Z, 3, 9))},
        {"family": "negative_binomial"},
    ),
    "complete separation": (
        {"s": MARK, "y": np.where(Z, MARK, RNG.integers(2, size=N))},
        {"family": "bernoulli", "predictors": ["s"]},
    ),
}
#: Of how EM fared, which the tests of EM provoke.
OF_SEARCH = {"found once", "start lost"}


def test_every_finding_about_tables_has_its_case() -> None:
    of_tables = {name for name, each in references().items() if each.code.startswith("JM4")}
    assert set(CASES) | OF_SEARCH == of_tables


@pytest.mark.parametrize("name", CASES)
def test_the_example_is_found(name: str) -> None:
    given, model = CASES[name]
    table = given if isinstance(given, pd.DataFrame) else TABLE.assign(**given)
    usual = {"n_clusters": 2, "features": ["a", "b"], "predictors": ["a"], "response": "y"}
    found = jm.check(table, jm.ModelSpec(**(usual | model)))
    assert name.replace(" ", "_") in [issue.code for issue in found.issues]
