"""Formulas and factors: the columns they make, what they refuse, and the same of new rows."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import formulaic
import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
import xarray as xr

import jointmix as jm
from jointmix.base.errors import ColumnTypeError, DataError, SpecError
from jointmix.fitting.recipe import Recipe, parse_recipe, recipe_text
from jointmix.model.dataset import Dataset, make_dataset
from jointmix.model.new_rows import model_rows
from jointmix.model.serialised import spec_from_dict, spec_to_dict
from jointmix.posterior.draws import fitted_spec
from jointmix.tables.formulas import parse_formula

N = 240


def made_table() -> pd.DataFrame:
    rng = np.random.default_rng(4)
    z = rng.integers(2, size=N)
    table = pd.DataFrame(
        {
            "bill": rng.normal(40, 4, N) + 20 * z,
            "flipper": rng.normal(200, 10, N),
            "hours": rng.gamma(2, 1, N) + 0.1,
            "sex": np.where(rng.random(N) < 0.5, "male", "female"),
            "island": rng.choice(["Biscoe", "Dream", "Torgersen"], N),
            "body mass": rng.normal(4, 1, N),
            "year": rng.integers(2007, 2010, N),
        }
    )
    rise = np.where(table["sex"] == "male", 30.0 + 40 * z, 0.0)
    table["mass"] = 10 * table["bill"] + rise + 20 * np.sin(table["flipper"] / 9)
    table["mass"] += 5 * rng.normal(size=N)
    table["visits"] = rng.poisson(table["hours"] * np.where(z == 1, 4.0, 1.5))
    return table


TABLE = made_table()


def dataset(formula: str, table: object = TABLE, **more: Any) -> Dataset:
    model = {"n_clusters": 1, "formula": formula} | more
    return make_dataset(table, jm.ModelSpec(**model))


def column(name: str) -> np.ndarray:
    return TABLE[name].to_numpy(dtype=float)


MALE = (TABLE["sex"] == "male").to_numpy(float)
DREAM, TORGERSEN = ((TABLE["island"] == name).to_numpy(float) for name in ("Dream", "Torgersen"))
BILL = column("bill")

BY_HAND: dict[str, dict[str, np.ndarray]] = {
    "bill": {"bill": BILL},
    "`body mass`": {"body mass": column("body mass")},
    "sex": {"sex[male]": MALE},
    "island": {"island[Dream]": DREAM, "island[Torgersen]": TORGERSEN},
    "bill * sex": {"bill": BILL, "sex[male]": MALE, "bill:sex[male]": BILL * MALE},
    "bill:sex": {"bill:sex[female]": BILL * (1 - MALE), "bill:sex[male]": BILL * MALE},
    "0 + sex": {"sex[female]": 1 - MALE, "sex[male]": MALE},
    "C(sex, contr.treatment('male'))": {"sex[female]": 1 - MALE},
    "C(sex, contr.sum)": {"sex[S.female]": 1 - 2 * MALE},
    "C(year)": {
        "year[2008]": (column("year") == 2008) * 1.0, "year[2009]": (column("year") == 2009) * 1.0,
    },
    "year + C(sex, levels=['male', 'female'])": {"year": column("year"), "sex[female]": 1 - MALE},
    "log(hours)": {"log(hours)": np.log(column("hours"))},
    "np.log(hours)": {"np.log(hours)": np.log(column("hours"))},
    "sqrt(hours) + exp(-hours)": {
        "sqrt(hours)": np.sqrt(column("hours")), "exp(-hours)": np.exp(-column("hours")),
    },
    "I(bill**2 / 2 - 1)": {"I(bill ** 2 / 2 - 1)": BILL**2 / 2 - 1},
    "log(`body mass`**2 + 1)": {"log(`body mass` ** 2 + 1)": np.log(column("body mass") ** 2 + 1)},
    "center(bill)": {"center(bill)": BILL - BILL.mean()},
    "(bill + sex + island)**2 - sex:island - bill:island - island": {
        "bill": BILL, "sex[male]": MALE, "bill:sex[male]": BILL * MALE,
    },
    "sex / bill": {
        "sex[male]": MALE, "sex[female]:bill": (1 - MALE) * BILL, "sex[male]:bill": MALE * BILL,
    },
}  # fmt: skip


@pytest.mark.parametrize("terms", BY_HAND)
def test_columns_are_those_made_by_hand(terms: str) -> None:
    found = dataset(f"mass ~ {terms}")
    assert found.spec.predictors == tuple(BY_HAND[terms])
    for name, values in BY_HAND[terms].items():
        np.testing.assert_array_equal(found.select([name])[:, 0], values)
    assert found.spec.intercept == (not terms.startswith("0"))


FORMULAS = [
    "bill * sex + bs(flipper, df=4)", "0 + sex*island + poly(bill, 2) + scale(hours)",
    "bs(flipper, knots=[195, 205], degree=2):sex", "sex:island", "sex:island:bill + sex",
    "0 + sex:bill + island:bill + sex/island", "island * sex * bill", "poly(bill, degree=3)",
    "cr(hours, df=4)", "cc(hours, df=3) + C(island, contr.sum):bill", "scale(bill):island",
    "0 + (sex + island + bill)**3 - sex:island", "center(bill) + I(bill**2) + log(hours)",
]  # fmt: skip


@pytest.mark.parametrize("terms", FORMULAS)
def test_columns_are_formulaics(terms: str) -> None:
    """Formulaic's own matrices, whose cubic splines are centred when asked for."""
    found = dataset(f"mass ~ {terms}")
    asked = terms
    for call in ("cr(hours, df=4", "cc(hours, df=3"):
        asked = asked.replace(call, f"{call}, constraints='center'")
    # Its first versions know texts of pandas 3 as categories only.
    table = TABLE.astype({"sex": "category", "island": "category"})
    matrix = formulaic.model_matrix(f"mass ~ {asked}", table).rhs.drop(
        columns="Intercept", errors="ignore"
    )
    # A product with an orthogonal matrix is rounded in another order.
    tolerance = 1e-14 if asked != terms else 0
    ours = found.select(found.spec.predictors)
    np.testing.assert_allclose(ours, matrix.to_numpy(float), rtol=0, atol=tolerance)


@pytest.mark.parametrize("terms", [*BY_HAND, *FORMULAS])
def test_new_rows_are_coded_as_the_fits_to_the_last_bit(terms: str) -> None:
    fitted = dataset(f"mass ~ {terms}")
    spec = spec_from_dict(json.loads(json.dumps(spec_to_dict(fitted.spec))))
    assert spec == fitted.spec
    for part in (slice(5, 6), slice(3, 14), slice(None)):
        rows, _ = model_rows(TABLE[part], spec)
        for name, values in rows.items():
            np.testing.assert_array_equal(values, fitted.select([name])[part, 0])


def test_another_process_codes_alike(tmp_path: Path) -> None:
    fitted = dataset("mass ~ bs(flipper, df=5) * sex + cr(hours, df=4) + poly(bill, 3)")
    TABLE.head(7).to_pickle(tmp_path / "t.pkl")
    (tmp_path / "spec.json").write_text(json.dumps(spec_to_dict(fitted.spec)))
    script = (
        "import json, sys, numpy as np, pandas as pd\n"
        "from pathlib import Path\n"
        "from jointmix.model.new_rows import model_rows\n"
        "from jointmix.model.serialised import spec_from_dict\n"
        "spec = spec_from_dict(json.loads(Path('spec.json').read_text()))\n"
        "rows, _ = model_rows(pd.read_pickle('t.pkl'), spec)\n"
        "np.save('rows.npy', np.stack([rows[name] for name in spec.predictors], axis=1))\n"
    )
    subprocess.run([sys.executable, "-c", script], cwd=tmp_path, check=True)
    other = np.load(tmp_path / "rows.npy")
    np.testing.assert_array_equal(other, fitted.select(fitted.spec.predictors)[:7])


HOSTILE = {
    "import": ("y ~ __import__('os').system('true')", "cannot hold '.'"),
    "import inside": ("y ~ I(__import__('os'))", "none of the functions"),
    "attribute": ("y ~ log(a.b)", "'a.b'"),
    "dunder": ("y ~ I(a.__class__)", "'a.__class__'"),
    "subscript": ("y ~ a[0]", "cannot hold '['"),
    "subscript inside": ("y ~ I(a[0])", "'a[0]'"),
    "lambda": ("y ~ I(lambda: a)", "'lambda: a'"),
    "called lambda": ("y ~ (lambda: 1)()", "cannot be read"),
    "comprehension": ("y ~ I([b for b in a])", "no column, number"),
    "assignment": ("y ~ I(a := 3)", "no column, number"),
    "condition": ("y ~ I(a if b else c)", "no column, number"),
    "unknown function": ("y ~ eval(a)", "none of the functions"),
    "numpy's": ("y ~ np.load(a)", "none of the functions"),
    "numpy's submodule": ("y ~ np.linalg.inv(a)", "none of the functions"),
    "keyword": ("y ~ log(a, out=b)", "takes one argument"),
    "star": ("y ~ log(*a)", "first argument"),
    "text": ("y ~ 'a'", "cannot hold"),
    "text inside": ("y ~ log('a')", "where a column or a number belongs"),
    "truth value": ("y ~ I(True * a)", "where a column or a number belongs"),
    "long": ("y ~ " + "a + " * 2_500 + "a", "2000 characters"),
    "deep": ("y ~ " + "(" * 500 + "a", "inside one another"),
    "deep call": ("y ~ log(" + "(" * 90 + "a" + ")" * 90 + ")", "inside one another"),
    "deep sign": ("y ~ I(" + "-" * 1_900 + "a)", "nested too deeply"),
    "high power": ("y ~ (a + b + c) ** 999999999", "from 1 to 6"),
    "many factors": ("y ~ " + " * ".join("abcdefghijklmnop"), "6 factors"),
    "many terms": ("y ~ (" + " + ".join(f"x{i}" for i in range(99)) + ")**3", "100 terms"),
    "no left side": ("~ a", "one column to the left"),
    "no tilde": ("a + b", "one column to the left"),
    "transformed left": ("log(y) ~ a", "one column to the left"),
    "two tildes": ("y ~ a ~ b", "cannot be read at '~'"),
    "parts": ("y ~ a | b", "cannot hold '|'"),
    "braces": ("y ~ {a}", "cannot hold '{'"),
    "dot": ("y ~ .", "cannot hold '.'"),
    "dotted": ("y ~ a.b", "`a.b`"),
    "both sides": ("y ~ y + a", "both sides"),
    "number": ("y ~ 2 * a", "numbers 0 and 1"),
    "no column": ("y ~ I(1)", "names no column"),
    "NUL": ("y ~ \0", "cannot hold"),
    "open": ("y ~ log(a", "never closed"),
    "unfinished": ("y ~ a +", "at its end"),
    "contrasts": ("y ~ C(a, contr.helmert)", "contr.sum or contr.treatment"),
    "contrasts by call": ("y ~ C(a, open('x'))", "contr.sum or contr.treatment"),
    "basis inside": ("y ~ I(bs(a))", "by itself"),
    "wide basis": ("y ~ bs(a, df=100000)", "from 3 to 50"),
    "high degree": ("y ~ poly(a, 1000)", "from 1 to 10"),
    "text argument": ("y ~ bs(a, extrapolation='clip')", "takes df"),
    "two offsets": ("y ~ offset(a) + offset(b)", "one offset"),
    "no text": (3, "must be text"),
}  # fmt: skip


@pytest.mark.parametrize("name", HOSTILE)
def test_what_is_no_formula_is_refused_before_anything_runs(name: str) -> None:
    text, words = HOSTILE[name]
    with pytest.raises(SpecError) as caught:
        jm.ModelSpec(n_clusters=1, formula=text)  # type: ignore[arg-type]
    said = str(caught.value)
    assert words in said
    assert "\n" not in said
    assert len(said) < 500


def test_large_numbers_are_no_bomb() -> None:
    with pytest.raises(DataError, match="to be finite"):
        dataset("mass ~ I(9**9**9**9 * bill)")


def test_a_formula_stands_alone() -> None:
    with pytest.raises(SpecError, match="stand in the formula"):
        jm.ModelSpec(n_clusters=1, formula="y ~ a", predictors=["b"])
    with pytest.raises(SpecError, match="has the response 'y'"):
        jm.ModelSpec(n_clusters=1, formula="y ~ a", response="z")
    with pytest.raises(SpecError, match="An offset needs a response whose family has a link"):
        jm.ModelSpec(n_clusters=1, formula="y ~ a + offset(b)")
    with pytest.raises(SpecError, match="predictors or an intercept"):
        dataset("mass ~ 0")


REFUSED = {
    "unknown": (TABLE, "mass ~ bil", DataError, "did you mean 'bill'"),
    "log of zero": (
        TABLE.assign(hours=TABLE["hours"].where(TABLE.index != 3, 0)), "mass ~ log(hours)",
        DataError, "needs numbers > 0, but row 3 (from 0) holds 'hours' 0",
    ),
    "one level": (TABLE.assign(sex="male"), "mass ~ sex", DataError, "one level only"),
    "names": (
        TABLE.assign(sex=[f"bird {i}" for i in range(N)]), "mass ~ sex", DataError, "as names have",
    ),
    "text in arithmetic": (TABLE, "mass ~ sex + log(sex)", DataError, "holds levels, no numbers"),
    "no base": (TABLE, "mass ~ C(sex, contr.treatment('x'))", DataError, "no level 'x'"),
    "no level": (TABLE, "mass ~ C(sex, levels=['male', 'x'])", DataError, "'female'"),
    "numbers as text": (
        TABLE.assign(bill=TABLE["bill"].astype(str)), "mass ~ bill", ColumnTypeError, "as text",
    ),
    "text as numbers": (TABLE, "mass ~ log(sex)", ColumnTypeError, "must hold numbers"),
    "few values": (TABLE, "mass ~ cr(year, df=9)", DataError, "collinear"),
    "far knots": (TABLE, "mass ~ cr(year, knots=[1e9])", DataError, "cannot be made"),
}  # fmt: skip


@pytest.mark.parametrize("name", REFUSED)
def test_tables_that_a_formula_cannot_take(name: str) -> None:
    table, formula, kind, words = REFUSED[name]
    with pytest.raises(kind) as caught:
        dataset(formula, table)
    assert words in str(caught.value)


def test_new_rows_that_the_fit_does_not_know() -> None:
    spec = dataset("mass ~ bill * sex + bs(flipper, df=4) + log(hours)", features=["bill"]).spec
    row = TABLE.head(2)
    refused = {
        "holds the level 'chick' in row 0": row.assign(sex="chick"),
        "no column 'sex'": row.drop(columns="sex"),
        "needs numbers between its boundary knots": row.assign(flipper=400.0),
        "needs numbers > 0": row.assign(hours=[1.0, -1.0]),
        "'bill:sex' is made of it": row.assign(bill=[np.nan, 40.0]),
    }
    for words, table in refused.items():
        with pytest.raises(DataError) as caught:
            model_rows(table, spec, may_miss=["bill"])
        assert words in str(caught.value)
    with pytest.raises(ColumnTypeError, match="holds the text 'far'"):
        model_rows(row.assign(flipper=["far", "near"]), spec)


def test_a_feature_by_itself_may_be_missing() -> None:
    spec = dataset("mass ~ bill + sex", features=["bill"]).spec
    found, _ = model_rows(TABLE.head(2).assign(bill=[np.nan, 40.0]), spec, may_miss=["bill"])
    np.testing.assert_array_equal(found["bill"], [np.nan, 40])


CONTAINERS = {
    "text": TABLE["island"].tolist(),
    "pandas text": TABLE["island"],
    "pandas category": TABLE["island"].astype("category"),
    "polars text": pl.Series(TABLE["island"].tolist()),
    "polars Categorical": pl.Series(TABLE["island"].tolist(), dtype=pl.Categorical),
    "polars Enum": pl.Series(
        TABLE["island"].tolist(), dtype=pl.Enum(["Biscoe", "Dream", "Torgersen"])
    ),
    "arrow": pa.chunked_array([TABLE["island"].tolist()]),
    "arrow dictionary": pa.chunked_array([TABLE["island"].tolist()]).dictionary_encode(),
    "object array": TABLE["island"].to_numpy(dtype=object),
}


@pytest.mark.parametrize("kind", CONTAINERS)
def test_factors_need_no_formula(kind: str) -> None:
    table = {"mass": TABLE["mass"].tolist(), "island": CONTAINERS[kind]}
    spec = jm.ModelSpec(n_clusters=1, predictors=["island"], response="mass")
    found = make_dataset(table, spec)
    assert found.spec.predictors == ("island[Dream]", "island[Torgersen]")
    np.testing.assert_array_equal(found.select(found.spec.predictors).T, [DREAM, TORGERSEN])
    assert spec_from_dict(json.loads(json.dumps(spec_to_dict(found.spec)))) == found.spec
    again, _ = model_rows(TABLE.head(4), found.spec)
    np.testing.assert_array_equal(again["island[Dream]"], DREAM[:4])


def test_the_reference_is_the_first_category() -> None:
    order = ["Torgersen", "Biscoe", "Dream"]
    table = TABLE.assign(island=pd.Categorical(TABLE["island"], [*order, "Anvers"]))
    found = dataset("mass ~ island", table)
    assert found.spec.predictors == ("island[Biscoe]", "island[Dream]")
    assert [issue.code for issue in found.warnings] == ["empty_level"]
    enum = pl.DataFrame({"mass": TABLE["mass"].to_numpy(), "island": pl.Series(
        TABLE["island"].tolist(), dtype=pl.Enum(order))})  # fmt: skip
    assert dataset("mass ~ island", enum).spec.predictors == found.spec.predictors


def test_levels_left_without_rows_are_dropped() -> None:
    table = TABLE.assign(mass=TABLE["mass"].where(TABLE["island"] != "Dream"))
    found = dataset("mass ~ C(island)", table, missing="drop")
    assert found.spec.predictors == ("island[Torgersen]",)
    assert "'Dream'" in next(x.message for x in found.warnings if x.code == "empty_level")


def codes(table: pd.DataFrame, formula: str, **more: Any) -> dict[str, str]:
    found = jm.check(table, formula, em=False, **({"n_clusters": 1} | more))
    return {issue.code: issue.message for issue in found.issues}


def test_check_says_what_is_odd_about_factors_and_nothing_of_made_columns() -> None:
    rare = TABLE["island"].where(TABLE.index != 8, "Anvers")
    assert "'Anvers'" in codes(TABLE.assign(island=rare), "mass ~ island")["rare_level"]
    many = [f"nest {i % 40}" for i in range(N)]
    assert "40 levels" in codes(TABLE.assign(island=many), "mass ~ island")["many_levels"]
    clean = "mass ~ bill * sex + I(bill**2) + bs(flipper, df=4) + island"
    assert codes(TABLE, clean, features=["bill"]) == {}


def test_rows_of_few_values_repeat_without_a_note() -> None:
    few = TABLE[["visits", "sex", "island"]].assign(visits=TABLE["visits"].clip(upper=3))
    assert "duplicate_rows" not in codes(few, "visits ~ sex + island", family="poisson")
    twice = pd.concat([TABLE, TABLE], ignore_index=True)
    assert "duplicate_rows" in codes(twice, "mass ~ bill + sex")


def test_check_says_that_nothing_explains_the_response() -> None:
    spec = jm.ModelSpec(n_clusters=1, features=["bill"], response="mass")
    found = {issue.code: issue.message for issue in jm.check(TABLE, spec, em=False).issues}
    assert "no predictors" in found["no_predictors"]
    assert "no_predictors" not in codes(TABLE, "mass ~ bill", features=["bill"])


def test_offsets_may_be_expressions() -> None:
    found = dataset("visits ~ bill + offset(log(hours))", family="poisson")
    assert found.spec.offset == "log(hours)"
    np.testing.assert_array_equal(found.select(["log(hours)"])[:, 0], np.log(column("hours")))
    by_column = dataset("visits ~ bill + offset(hours)", family="poisson").spec
    assert by_column.offset == "hours"


def test_formulas_in_recipes() -> None:
    text = '[data]\npath = "t.csv"\nfeatures = ["bill"]\n[model]\nclusters = 2\n' + (
        'formula = "mass ~ bill * sex"\n'
    )
    recipe = parse_recipe(text)
    assert recipe.spec.response == "mass"
    assert parse_recipe(recipe_text(recipe)) == recipe
    fitted = make_dataset(TABLE, recipe.spec).spec
    assert parse_recipe(recipe_text(Recipe(spec=fitted))).spec == recipe.spec
    with pytest.raises(SpecError, match="none of the functions"):
        parse_recipe(text.replace("bill * sex", "system(bill)"))


def test_the_fields_beside_a_formula() -> None:
    with pytest.raises(SpecError, match="did you mean 'features'"):
        jm.fit(TABLE, "mass ~ bill", n_clusters=2, feature=["bill"])  # type: ignore[call-arg]
    with pytest.raises(SpecError, match="needs n_clusters"):
        jm.fit(TABLE, "mass ~ bill")
    with pytest.raises(SpecError, match="set n_clusters in it"):
        jm.fit(TABLE, jm.ModelSpec(n_clusters=2, formula="mass ~ bill"), n_clusters=2)


def test_terms_without_a_common_constant_may_add_up_to_one() -> None:
    """All levels are collinear with an intercept alone."""
    assert dataset("mass ~ 0 + sex + bill").spec.predictors[:2] == ("sex[female]", "sex[male]")
    with pytest.raises(DataError, match="collinear"):
        make_dataset(
            {"mass": column("mass"), "one": MALE, "two": 1 - MALE},
            jm.ModelSpec(n_clusters=1, predictors=["one", "two"], response="mass"),
        )


def test_parsed_terms() -> None:
    said = parse_formula("`body mass` ~ a*b + offset(log(`t 1`)) - b")
    assert [term.label for term in said.terms] == ["a", "a:b"]
    assert said.response == "body mass"
    assert said.offset is not None
    assert said.offset.columns == ("t 1",)


QUICK = jm.SamplerSpec(draws=100, tune=100, chains=2)
FORMULA = "mass ~ bill * sex + bs(flipper, df=4)"


@pytest.fixture(scope="module")
def tree() -> xr.DataTree:
    return jm.fit(TABLE, FORMULA, n_clusters=2, features=["bill"], sampler=QUICK, progress=False)


def test_a_fit_is_that_of_the_columns_made_by_hand(tree: xr.DataTree) -> None:
    found = dataset(FORMULA, n_clusters=2, features=["bill"])
    columns = {name: found.select([name])[:, 0] for name in found.columns}
    spec = jm.ModelSpec(
        n_clusters=2, features=["bill"], predictors=found.spec.predictors, response="mass",
        sampler=QUICK,
    )  # fmt: skip
    other = jm.fit(columns, spec, progress=False)
    for name, draws in other["posterior"].data_vars.items():
        np.testing.assert_array_equal(tree["posterior"][name].values, draws.values)
    assert "bill:sex[male]" in tree["posterior"].coords["predictor"].values


def test_functions_of_new_rows_take_the_tables_own_columns(
    tree: xr.DataTree, tmp_path: Path
) -> None:
    jm.save(tree, tmp_path / "fit.nc")
    loaded, rows = jm.load(tmp_path / "fit.nc"), TABLE.head(6)
    for function in (jm.predict, jm.responsibilities):
        whole, few = function(tree, TABLE), function(loaded, rows)
        for name, values in few.data_vars.items():
            np.testing.assert_array_equal(values.values, whole[name].values[:6])
    assert np.isfinite(jm.log_density(loaded, rows).to_array()).all()
    assert jm.predictive_draws(loaded, rows, draws=10).sizes["obs"] == 6
    assert jm.predictive_density(loaded, rows.head(1)).sizes["obs"] == 1
    found = jm.assign(rows.assign(sex=[None, *rows["sex"][1:]]), loaded)
    assert found["cluster"].isna().tolist() == [True] + [False] * 5
    assert jm.predict(loaded, rows.iloc[0]).sizes["obs"] == 1


def test_what_is_made_of_drawn_features_is_made_anew(tree: xr.DataTree) -> None:
    """Else bill:sex would be that of other bills, and the tables' correlations too small."""
    drawn = jm.predictive_checks(jm.replicate(tree, 40))
    assert not drawn.loc["correlation[bill, mass]", "unusual"]
    prior = jm.prior_predictive(TABLE, jm.ModelSpec(n_clusters=2, formula=FORMULA), draws=5)
    assert prior["prior"]["slope"].sizes["predictor"] == 7
    assert 0.9 < float(jm.r_squared(tree)["bayesian_r2"].mean()) < 1


def test_a_report_of_curves_alone_has_a_sentence_for_each_cluster(tmp_path: Path) -> None:
    found = jm.fit(
        TABLE, "mass ~ bs(flipper, df=4)", n_clusters=2, features=["bill"], sampler=QUICK,
        progress=False,
    )  # fmt: skip
    jm.report(found, tmp_path / "r.md", sections=["verdict"])
    assert (tmp_path / "r.md").read_text().count("its curves are drawn below") == 2


def test_the_report_reads_by_terms(tree: xr.DataTree, tmp_path: Path) -> None:
    jm.report(tree, tmp_path / "r.md")
    text = (tmp_path / "r.md").read_text()
    assert FORMULA in text
    assert "levels male, held against female" in text
    assert "female" in text
    assert "Expected mass along each column that the terms read" in text
    assert "B-spline" in text
    assert "encoding" not in text
    assert not [code for code in json.loads(tree.attrs["notes"]) if code["code"] == "binary"]


def test_a_fit_by_formula_can_be_scored_and_started_from(tree: xr.DataTree) -> None:
    found = jm.kfold(tree, folds=2)
    assert np.isfinite(found.pointwise["joint"]).all()
    again = jm.fit(
        TABLE, FORMULA, n_clusters=2, features=["bill"], start=tree,
        sampler=jm.SamplerSpec(sampler="laplace"), progress=False,
    )  # fmt: skip
    assert again.attrs["started"] == "another fit"


def test_calibration_needs_to_know_the_columns() -> None:
    with pytest.raises(SpecError, match=r"calibrate draws its own tables.*table=table"):
        jm.calibrate(jm.ModelSpec(n_clusters=1, formula="mass ~ bill"), 50)


def test_prints_name_the_reference_levels(tree: xr.DataTree) -> None:
    fitted = fitted_spec(tree)
    assert "Encoding('sex': levels male, held against female)" in repr(fitted)
    assert "encoding=None" in repr(jm.ModelSpec(n_clusters=1, features=["bill"]))
    found = jm.check(TABLE, fitted, em=False)
    assert "'sex' has the levels male, held against female." in str(found)
    assert "held against female" in found._repr_html_()
    assert found.as_dict()["factors"] == ["'sex' has the levels male, held against female."]
    recipe = Recipe(spec=fitted, path="t.csv")
    text = recipe_text(recipe)
    assert text.startswith("# 'sex' had the levels male, held against female.\n")
    assert parse_recipe(text).spec.formula == FORMULA


@pytest.mark.parametrize(
    ("formula", "words"),
    [
        ("mass ~ 0 + sex", "levels female, male, each by itself"),
        ("mass ~ C(island, contr.treatment('Dream'))",
         "levels Biscoe, Torgersen, held against Dream"),
        ("mass ~ C(island, contr.sum)",
         "levels Biscoe, Dream, Torgersen, each against the mean of all"),
    ],
)  # fmt: skip
def test_codings_in_words(formula: str, words: str) -> None:
    encoding = dataset(formula).spec.encoding
    assert encoding is not None
    assert list(encoding.codings.values()) == [words]


def test_signs_that_end_a_line_do_not_end_a_comment() -> None:
    table = TABLE.assign(sex=np.where(TABLE["sex"] == "male", "m\nx = 1", "f"))
    text = recipe_text(Recipe(spec=dataset("mass ~ sex", table).spec, path="t.csv"))
    assert parse_recipe(text).spec.formula == "mass ~ sex"
