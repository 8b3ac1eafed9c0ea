"""Contrasts of whole terms, against lines at rows that differ in what is contrasted."""

from collections.abc import Mapping
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import xarray as xr
from synthetic import fitted_tree
from test_formula import TABLE

import jointmix as jm
from jointmix.base.errors import SpecError
from jointmix.model.new_rows import model_rows
from jointmix.posterior.draws import fitted_spec

LAPLACE = jm.SamplerSpec(sampler="laplace", draws=50)
FORMULA = "visits ~ bill * sex + bs(flipper, df=4) + C(year, contr.sum) + I(hours / `body mass`)"


@pytest.fixture(scope="module")
def tree() -> xr.DataTree:
    return jm.fit(
        TABLE, FORMULA, n_clusters=2, features=["bill"], family="poisson", sampler=LAPLACE,
        progress=False,
    )  # fmt: skip


def lines(tree: xr.DataTree, **changed: object) -> np.ndarray:
    """The lines (sample, cluster) of the first row with some of its columns changed."""
    spec = fitted_spec(tree)
    made, _ = model_rows(TABLE.head(1).assign(**changed), spec)
    u = np.array([made[name][0] for name in spec.predictors])
    slope = tree["posterior"]["slope"].stack(sample=("chain", "draw"))
    return slope.transpose("sample", "cluster", "predictor").values @ u


def second_difference(
    tree: xr.DataTree, pairs: Mapping[str, tuple[object, object]], held: Mapping[str, object]
) -> np.ndarray:
    total = 0.0
    for corner in product((0, 1), repeat=len(pairs)):
        sign = (-1.0) ** (len(pairs) - sum(corner))
        at = {name: pair[side] for side, (name, pair) in zip(corner, pairs.items(), strict=True)}
        total = total + sign * lines(tree, **held, **at)
    return np.asarray(total)


CASES: list[tuple[str, dict[str, Any], dict[str, Any]]] = [
    ("C(year, contr.sum)", {"year": (2007, 2009)}, {}),
    ("bs(flipper,df=4)", {"flipper": (190.0, 210.0)}, {}),
    ("bill", {"bill": (38.0, 62.0)}, {"sex": "female"}),
    ("bill", {"bill": (38.0, 62.0)}, {"sex": "male"}),
    ("sex", {"sex": ("male", "female")}, {"bill": 41.5}),
    ("sex:bill", {"bill": (38.0, 62.0), "sex": ("female", "male")}, {}),
]


@pytest.mark.parametrize(("term", "between", "held"), CASES, ids=str)
def test_a_contrast_is_the_difference_of_lines(
    tree: xr.DataTree, term: str, between: dict[str, Any], held: dict[str, Any]
) -> None:
    table = jm.term_contrasts(tree, term, between, held or None, interval=0.5)
    gap = second_difference(tree, between, held)
    wanted = [gap[:, 0], gap[:, 1], gap[:, 0] - gap[:, 1]]
    assert len(table) == 3
    for (label, row), draws in zip(table.iterrows(), wanted, strict=True):
        assert row["mean"] == pytest.approx(draws.mean(), rel=1e-9), label
        assert row["sd"] == pytest.approx(draws.std(ddof=1), rel=1e-9)
        assert row["probability"] == (draws > 0).mean()
        assert row["ratio"] == pytest.approx(np.exp(draws).mean(), rel=1e-9)
        upper = np.exp(np.quantile(draws, 0.75))
        assert row["ratio_eti50_ub"] == pytest.approx(upper, rel=1e-3)


def test_a_term_alone_is_that_where_what_multiplies_it_is_nothing(tree: xr.DataTree) -> None:
    between = {"bill": (38.0, 62.0), "sex": ("female", "male")}
    alone = jm.term_contrasts(tree, "bill + sex", between)
    for term, name, other in (("bill", "sex", "female"), ("sex", "bill", 0.0)):
        held = jm.term_contrasts(tree, term, {term: between[term]}, {name: other})
        pd.testing.assert_frame_equal(
            alone[[label.startswith(f"{term}[") for label in alone.index]], held
        )


def test_all_terms_all_levels_and_quartiles_by_default(tree: xr.DataTree) -> None:
    names = jm.term_contrasts(tree).index.tolist()
    low, high = np.quantile(TABLE["bill"], [0.25, 0.75], method="inverted_cdf")
    assert names[0] == f"bill[cluster 1, {high:g} − {low:g}]"
    assert "sex[cluster 1 − cluster 2, male − female]" in names
    assert [name for name in names if name.startswith("year[cluster 1,")] == [
        "year[cluster 1, 2008 − 2007]",
        "year[cluster 1, 2009 − 2007]",
        "year[cluster 1, 2009 − 2008]",
    ]
    assert f"bill:sex[cluster 2, ({high:g} − {low:g}) × (male − female)]" in names
    # Both columns of a quotient change at once.
    both = [name for name in names if name.startswith("I(hours / `body mass`)[cluster 1,")]
    assert len(both) == 1
    assert both[0].count(" and ") == 2


def test_listed_predictors_are_terms_too() -> None:
    tree = fitted_tree(n_clusters=2, n_features=1, predictors=["x1", "outside"], seed=3)
    table = jm.term_contrasts(tree, ["outside"], {"outside": (1, 3)})
    assert table.index.tolist()[0] == "outside[cluster 1, 3 − 1]"
    slope = tree["posterior"]["slope"].values[..., 1]
    assert table["mean"].tolist()[:2] == pytest.approx((2 * slope.mean((0, 1))).tolist())
    assert "ratio" not in table


REFUSED: list[tuple[dict[str, Any], str]] = [
    ({"terms": "island"}, "terms are 'bill', 'sex'.*got 'island'"),
    ({"terms": "bill +"}, r"got 'bill \+'"),
    ({"terms": 3}, "terms must be a list"),
    ({"between": {"sex": ("female", "both")}}, "levels 'female', 'male'; got 'both'"),
    ({"between": {"island": ("a", "b")}}, "between names 'island'"),
    ({"between": {"bill": (1,)}}, "two or more different values of 'bill'"),
    ({"between": {"bill": (1, "a")}}, "'bill' holds finite numbers"),
    ({"between": {"flipper": (1, 200)}}, "no value at 'flipper = 1'"),
    ({"between": {"hours": (1, 2, 3)}}, "as many values of 'hours', 'body mass'"),
    ({"between": 3}, "between must be columns"),
    ({"terms": "bill", "at": {}}, "at needs a value of 'sex' too"),
    ({"terms": "bill", "at": {"island": 1}}, "at names 'island'"),
    ({"at": 3}, "at must be columns"),
    ({"interval": 2}, "interval"),
]


@pytest.mark.parametrize(("options", "message"), REFUSED, ids=str)
def test_refusals(tree: xr.DataTree, options: dict[str, Any], message: str) -> None:
    with pytest.raises(SpecError, match=message):
        jm.term_contrasts(tree, **options)


def test_a_model_without_predictors_is_refused() -> None:
    with pytest.raises(SpecError, match="without predictors"):
        jm.term_contrasts(fitted_tree(response=False))


def test_the_report_says_what_terms_change(tree: xr.DataTree, tmp_path: Path) -> None:
    jm.report(tree, tmp_path / "r.md", sections=["estimates"])
    text = (tmp_path / "r.md").read_text().replace("\\", "")
    assert "What terms change in the line" in text
    assert "| year[cluster 1, 2009 − 2007] |" in text
    assert "Ratio is the rate ratio" in text
    contrasts = text[text.index("Differences between pairs") : text.index("What terms change")]
    assert "slope[cluster 1 − cluster 2, bill]" in contrasts
    assert "bs(flipper" not in contrasts
