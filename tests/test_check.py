"""Everything wrong with a table is found at once, and `make_dataset` raises the first of it."""

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
import xarray as xr
from typer.testing import CliRunner

import jointmix as jm
import jointmix.cli.commands as cli
from jointmix.base.errors import ColumnTypeError, DataError, JointmixError
from jointmix.families.priors.priors import (
    Fixed,
    Gamma,
    HalfNormal,
    HalfStudentT,
    InverseGamma,
    LogNormal,
    Priors,
)
from jointmix.families.regression_checks import RegressionChecks
from jointmix.model.dataset import make_dataset
from jointmix.model.settings import SamplerSpec
from jointmix.model.simulate import four_clusters, simulate
from jointmix.model.spec import ModelSpec
from jointmix.modes.warnings import mode_warnings
from jointmix.tables.cells import kind_of, kinds_of
from jointmix.tables.screening import exact_ratio

SMALL = SamplerSpec(draws=100, tune=100, chains=2, starts=4)
SPEC = ModelSpec(
    n_clusters=2, features=["a", "b"], predictors=["a"], response="y", sampler=SMALL
)  # fmt: skip
DROP = replace(SPEC, missing="drop")
N = 60


def table(n: int = N, seed: int = 1) -> pd.DataFrame:
    rng = np.random.default_rng(seed)
    z = np.arange(n) % 2
    a, b = 4 * z + rng.normal(size=n), -3 * z + rng.normal(size=n)
    return pd.DataFrame({"a": a, "b": b, "y": np.where(z, a, -a) + 0.3 * rng.normal(size=n)})


def with_entry(column: str, row: int, entry: object) -> pd.DataFrame:
    changed = table().astype(object)
    changed.loc[row, column] = entry
    return changed


def with_column(column: str, values: object) -> pd.DataFrame:
    return table().assign(**{column: values})


def repeated(times: int) -> pd.DataFrame:
    return pd.concat([table()] * times, ignore_index=True)


def codes(found: jm.Inspection) -> list[str]:
    return [issue.code for issue in found.issues]


def only(found: jm.Inspection, code: str) -> jm.Issue:
    (issue,) = [issue for issue in found.issues if issue.code == code]
    return issue


def test_a_clean_table_has_no_issues() -> None:
    found = jm.check(table(), SPEC)
    assert found.issues == ()
    assert found.n_rows == N
    assert str(found) == "No problems: the model can be fitted."


TEXTS = {
    "3,5": "decimal_comma",
    "-0,25": "decimal_comma",
    ",5": "decimal_comma",
    "1.234,5": "decimal_comma",
    "12345,678": "decimal_comma",
    "1,5e3": "decimal_comma",
    "1,234.5": "thousands_separator",
    "1,234,567": "thousands_separator",
    "1 234.5": "thousands_separator",
    "1'234'567": "thousands_separator",
    "1\u00a0234": "thousands_separator",
    "(1,234.50)": "thousands_separator",
    "1,234": "thousands_separator",
    "#N/A": "spreadsheet_error",
    "#DIV/0!": "spreadsheet_error",
    "#REF!": "spreadsheet_error",
    "#VALUE!": "spreadsheet_error",
    "#NAME?": "spreadsheet_error",
    "#NUM!": "spreadsheet_error",
    "#NULL!": "spreadsheet_error",
    "########": "spreadsheet_error",
    "12%": "percent",
    "3.5 %": "percent",
    "$12": "currency",
    "€ 3,50": "currency",
    "12.5 EUR": "currency",
    "2024-05-01": "date",
    "01.05.2024": "date",
    "5/1/24": "date",
    "2024-05-01T12:00": "date",
    "12:30": "date",
    "1-May-2024": "date",
    "NA": "missing_as_text",
    "n/a": "missing_as_text",
    "-": "missing_as_text",
    ".": "missing_as_text",
    "": "missing_as_text",
    "  ": "missing_as_text",
    "nan": "missing_as_text",
    "−3.5": "typographic_minus",
    "yes": "yes_no",
    "TRUE": "yes_no",
    "12 kg": "unit",
    "3mm": "unit",
    "Total": "total_row",
    "Grand Total": "total_row",
    "12": "number_as_text",
    " 3.5 ": "number_as_text",
    "1e3": "number_as_text",
    "inf": "number_as_text",
    "red": "not_a_number",
    "x" * 5000: "not_a_number",
}


@pytest.mark.parametrize(("text", "code"), TEXTS.items(), ids=[text[:12] for text in TEXTS])
def test_texts_are_told_apart_and_named(text: str, code: str) -> None:
    assert kind_of(text).code == code
    assert kind_of(text.encode("utf-8")).code in (code, "not_a_number")
    issue = only(jm.check(with_entry("b", 17, text), SPEC), code)
    assert (issue.severity, issue.column, issue.row, issue.value) == ("error", "b", 17, 1.0)
    assert "Column 'b' must hold numbers, but row 17 (from 0) holds the text" in issue.message
    assert issue.remedy[:-1].lower() in issue.message.lower()
    with pytest.raises(ColumnTypeError) as caught:
        make_dataset(with_entry("b", 17, text), SPEC)
    assert str(caught.value) == issue.message


def test_a_comma_that_may_be_either_is_judged_by_its_column() -> None:
    assert [kind.code for kind in kinds_of(["1,234", "2,5"])] == ["decimal_comma"] * 2
    assert [kind.code for kind in kinds_of(["1,234", "2,345.5"])] == ["thousands_separator"] * 2
    assert "or with a decimal comma" in kinds_of(["1,234"])[0].clause


def test_each_kind_of_text_is_one_issue_with_its_count() -> None:
    entries = ["#N/A", "3,5", "red", "4,5", *[1.0] * (N - 4)]
    found = jm.check(with_column("a", entries), SPEC)
    assert [(i.code, i.row, i.value) for i in found.errors] == [
        ("spreadsheet_error", 0, 1.0),
        ("decimal_comma", 1, 2.0),
        ("not_a_number", 2, 1.0),
    ]


def missing_pair() -> pd.DataFrame:
    changed = table()
    changed.loc[[3, 9], "b"] = np.nan
    return changed


def infinite() -> pd.DataFrame:
    changed = table()
    changed.loc[[5, 6, 7], "y"] = [np.inf, -np.inf, np.inf]
    return changed


def blank_end() -> pd.DataFrame:
    return pd.concat([table(), pd.DataFrame({"a": [np.nan] * 3})], ignore_index=True)


ERRORS = {
    # Code: table, spec, column, row, value, words of the sentence.
    "missing": (missing_pair(), SPEC, "b", 3, 2, "missing entries: 2, the first in row 3"),
    "infinite": (infinite(), SPEC, "y", 5, 3, "infinite entries: 3, the first in row 5"),
    "blank_rows": (blank_end(), SPEC, "", N, 3, "last 3 rows are blank in every column used"),
    "too_large": (with_column("a", table()["a"] * 1e200), SPEC, "a", 0, N, "beyond ±1e+150"),
    "small_spread": (
        with_column("a", np.arange(N) * 1e-160), SPEC, "a", None, 5.9e-159, "varies by only",
    ),
    "constant": (with_column("b", 2.5), SPEC, "b", None, 0, "all of the 60 rows used hold 2.5"),
    "few_rows": (table(5), SPEC, "", None, 5, "at least 6 rows (K = 2), got 5"),
    "no_rows": (table(0), SPEC, "", None, None, "no rows"),
    "categories": (
        with_column("y", pd.Categorical(["u", "v"] * 30)), SPEC, "y", None, None, "categories",
    ),
    "date": (
        with_column("b", pd.date_range("2020", periods=N)), SPEC, "b", None, None, "datetime64",
    ),
    "wrong_type": (with_column("b", 1j * np.arange(N)), SPEC, "b", None, None, "complex128"),
    "wrong_shape": (
        {**table().to_dict("list"), "b": np.ones((N, 2))}, SPEC, "b", None, None, "shape (60, 2)",
    ),
    "unequal_lengths": (
        {**table().to_dict("list"), "y": [1.0, 2.0]}, SPEC, "y", None, None, "'y' has 2",
    ),
    "absent_column": (
        table().rename(columns={"b": " b "}), SPEC, "b", None, 1, "did you mean ' b '",
    ),
    "repeated_column": (
        pd.DataFrame(np.ones((N, 3)), columns=["a", "y", "y"]), SPEC, "y", None, None,
        "'y' more than once",
    ),
    "no_names": (np.ones((N, 3)), SPEC, "", None, None, "shape (60, 3) has no column names"),
    "not_a_table": (3, SPEC, "", None, None, "got int"),
    "collinear": (
        with_column("b", 3 - 2 * table()["a"]), SPEC, "'a', 'b'", None, None, "are collinear",
    ),
    "exact_response": (
        with_column("y", 1 + 2 * table()["a"]),
        replace(SPEC, priors=Priors(sigma=HalfNormal())),
        "y", None, None, "exact linear function of 'a'",
    ),
    "nothing_free": (
        table(),
        ModelSpec(
            n_clusters=1, features=["a"], covariance="fixed",
            priors=Priors(mean=Fixed(value=0.0), covariance=Fixed(value=1.0)),
        ),
        "", None, None, "nothing to sample",
    ),
    "memory": (
        table(), replace(SPEC, sampler=SamplerSpec(draws=10**11)), "", None, None, "GiB",
    ),
}  # fmt: skip


@pytest.mark.parametrize("code", ERRORS)
def test_errors_name_column_row_and_number(code: str, monkeypatch: pytest.MonkeyPatch) -> None:
    # What is free changes from moment to moment, and with it the number of draws that would fit.
    monkeypatch.setattr("jointmix.sampling.memory.available", lambda: 8e9)
    data, spec, column, row, value, words = ERRORS[code]
    found = jm.check(data, spec)
    issue = only(found, code)
    assert found.errors[0] == issue
    assert (issue.severity, issue.column, issue.row) == ("error", column, row)
    if value is not None:
        assert issue.value == pytest.approx(value)
    assert words in issue.message
    assert issue.remedy.endswith(".")
    assert found.text.endswith("the model cannot be fitted.")
    with pytest.raises(JointmixError) as caught:
        jm.fit(data, spec)
    assert str(caught.value) == issue.message


def test_a_missing_extra_is_an_issue(monkeypatch: pytest.MonkeyPatch) -> None:
    import jointmix.sampling.backends as backends

    monkeypatch.setattr(backends, "is_installed", lambda _: False)
    spec = replace(SPEC, sampler=SamplerSpec(sampler="numpyro"))
    issue = only(jm.check(table(), spec), "missing_extra")
    assert "pip install 'jointmix[jax]'" in issue.message


def test_all_errors_are_found_at_once_in_the_order_of_the_fit() -> None:
    data = table().astype(object).rename(columns={"a": "A"})
    data["b"] = 1.0
    data.loc[4, "y"] = "3,5"
    found = jm.check(data, replace(SPEC, sampler=SamplerSpec(draws=10**11)))
    assert codes(found) == ["absent_column", "decimal_comma", "constant", "memory"]
    with pytest.raises(DataError) as caught:
        make_dataset(data, SPEC)
    assert str(caught.value) == found.errors[0].message


def outlying() -> pd.DataFrame:
    changed = table(200)
    changed.loc[17, "y"] += 40
    changed.loc[110, "b"] -= 30
    return changed


def exact_lines() -> pd.DataFrame:
    data = table()
    return data.assign(y=np.where(np.arange(N) % 2, 5 + 2 * data["a"], 1 - data["a"]))


def totals() -> pd.DataFrame:
    data = table()
    data.loc[N] = data.sum()
    return data


WARNINGS = {
    # Code: table, spec, column, row, value, words of the sentence.
    "ties": (
        with_column("y", (2 * table()["y"]).round() / 2),
        *(SPEC, "y", None, None, "holds rounded values"),
    ),
    "near_collinear": (
        with_column("b", table()["a"] + 1e-6 * table()["b"]), SPEC, "'a', 'b'", None, None,
        "nearly collinear",
    ),
    "duplicate_rows": (repeated(2), SPEC, "", N, 0.5, "60 of 120 rows repeat"),
    "digits_lost": (
        with_column("b", 1e9 + 1e-5 * table()["b"]), SPEC, "b", None, None,
        "about 2 significant digits",
    ),
    "rows_left_out": (missing_pair(), DROP, "b", 3, 2 / N, "2 of 60 rows are left out"),
    "exact_response": (
        with_column("y", 1 + 2 * table()["a"]), SPEC, "y", None, None, "near 0.024 of",
    ),
    "exact_in_clusters": (exact_lines(), SPEC, "y", None, None, "2 of EM's 2 clusters (60 rows)"),
    "small_clusters": (
        table(30), replace(SPEC, n_clusters=5), "", None, None, "fewer than the 8 parameters",
    ),
    "outliers": (outlying(), SPEC, "", 17, 2, "2 of 200 rows are far"),
    "unnamed_columns": (
        with_column("Unnamed: 3", 1.0), SPEC, "", None, 1, "1 of 4 columns have no name (place 3",
    ),
    "total_row": (totals(), SPEC, "'a', 'b', 'y'", None, 61, "is the sum of all others"),
}  # fmt: skip


@pytest.mark.parametrize("code", WARNINGS)
def test_warnings_name_column_row_and_number(code: str) -> None:
    data, spec, column, row, value, words = WARNINGS[code]
    found = jm.check(data, spec)
    issue = only(found, code)
    assert found.errors == ()
    assert (issue.severity, issue.column) == ("warning", column)
    assert row is None or issue.row == row
    if value is not None:
        assert issue.value == pytest.approx(value)
    assert words in issue.message
    assert issue.message.endswith(".")
    assert found.text.endswith("the model can be fitted.")
    make_dataset(data, spec)


def test_a_row_that_another_column_calls_a_total() -> None:
    for last in (["Total"], ["sum"]):
        data = table().assign(name=["x"] * (N - 1) + last)
        for container in (data, pl.from_pandas(data), data.to_dict("list")):
            issue = only(jm.check(container, SPEC, em=False), "total_row")
            assert issue.column == "name"
            assert issue.severity == "warning"


def test_lost_digits_are_counted_by_hand() -> None:
    # Near 1e9 neighbours are 2**-23 apart (1e9 < 2**30): sd 1e-5 is 84 of them, log10 84 = 1.92.
    data = with_column("b", 1e9 + 1e-5 * table()["b"] / table()["b"].std(ddof=0))
    issue = only(jm.check(data, SPEC, em=False), "digits_lost")
    assert issue.value == pytest.approx(np.log10(1e-5 * 2**23), abs=0.02)  # 1% for the rounding
    wide = with_column("b", 1e9 + table()["b"])
    assert "digits_lost" not in codes(jm.check(wide, SPEC, em=False))


def test_features_and_predictors_have_limits_of_their_own() -> None:
    # Condition numbers of a and a + e b lie near 2 / e: 2e8 is between the limits 3e7 and 1e10.
    close = with_column("b", table()["a"] + 1e-8 * table()["b"])
    assert "at most 3e+07" in only(jm.check(close, SPEC), "collinear").message
    spec = ModelSpec(n_clusters=1, predictors=["a", "b"], response="y", sampler=SMALL)
    assert only(jm.check(close, spec), "near_collinear").value > 3e7


def test_outliers_are_listed_worst_first_and_do_not_hide_in_a_wide_cluster() -> None:
    issue = only(jm.check(outlying(), SPEC), "outliers")
    assert "rows 17, 110 (from 0)" in issue.message
    alone = ModelSpec(n_clusters=1, features=["a"], sampler=SMALL)
    data = pd.DataFrame({"a": np.random.default_rng(3).normal(size=40)})
    data.loc[[7, 8], "a"] = [1e6, 1.1e6]
    issue = only(jm.check(data, alone), "outliers")
    assert "rows 8, 7 (from 0)" in issue.message


def test_an_outlier_that_takes_a_cluster_for_itself_is_named() -> None:
    data = table()
    data.loc[23, ["a", "b", "y"]] = 1e6
    issue = only(jm.check(data, SPEC), "small_clusters")
    assert ", row 23 (from 0), " in issue.message
    assert issue.row == 23


def test_rows_are_those_of_the_table_after_rows_were_left_out() -> None:
    data = outlying()
    data.loc[[0, 2, 5], "a"] = np.nan
    assert "rows 17, 110 (from 0)" in only(jm.check(data, DROP), "outliers").message


def test_false_alarms_of_the_mode_are_rare() -> None:
    """Simulated from the model, of 100 tables no more than 3 may warn of anything.

    Chance of an outlier is 1e-4 a table by design; EM's estimates from 200 rows make it larger.
    """
    truth = four_clusters()
    spec = ModelSpec(
        n_clusters=4, features=truth.features, predictors=truth.predictors,
        response=truth.response, sampler=SamplerSpec(starts=6),
    )  # fmt: skip
    alarms = sum(bool(jm.check(simulate(truth, 200, seed), spec).issues) for seed in range(100))
    assert alarms <= 3


@pytest.mark.parametrize(
    ("prior", "severity"),
    [
        (HalfNormal(), "error"),
        (HalfStudentT(), "error"),
        (Gamma(), "error"),
        # Peaks at exp(−1 − 30): zero, as far as float64 residuals can tell.
        (LogNormal(), "error"),
        (LogNormal(scale=0.1), "warning"),
        (InverseGamma(), "warning"),
        (Fixed(value=0.1), "warning"),
    ],
)
def test_a_response_without_noise_needs_a_prior_that_avoids_zero(
    prior: object, severity: str
) -> None:
    noise = "fixed" if isinstance(prior, Fixed) else "cluster"
    spec = replace(SPEC, noise=noise, priors=Priors(sigma=prior))
    issue = only(jm.check(with_column("y", 1 + 2 * table()["a"]), spec), "exact_response")
    assert issue.severity == severity


def test_residuals_above_rounding_are_noise() -> None:
    rng = np.random.default_rng(6)
    a = table()["a"]
    for size, expected in ((1e-6, False), (1e-10, True)):
        data = with_column("y", 1 + 2 * a + size * rng.normal(size=N))
        assert ("exact_response" in codes(jm.check(data, SPEC, em=False))) is expected


def test_exact_ratio_against_numpy() -> None:
    rng = np.random.default_rng(7)
    u, y = rng.normal(size=(50, 3)) * [1, 1e6, 1e-6] + [0, 1e3, 5], rng.normal(size=50)
    design = np.column_stack([np.ones(50), u])
    residual = y - design @ np.linalg.pinv(design) @ y
    ratio, _ = exact_ratio(u, y, constant=True)
    # Conditioning of the plain design, 1e12, costs pinv that many of its 16 digits.
    assert ratio == pytest.approx(residual.std() / y.std(), rel=1e-3)
    ratio, rounding = exact_ratio(np.full((50, 1), 2.0) + u[:, :1], 3 * u[:, 0] + 6, constant=False)
    assert ratio < max(rounding, 1e-15)


def noise_floor(spec: ModelSpec) -> float | None:
    """Of 20 rows whose response has a standard deviation of 7."""
    checks = spec.blocks[-1].checks
    assert isinstance(checks, RegressionChecks)
    return checks.noise_floor(20, 7.0)


def test_noise_floor_is_the_peak_of_the_posterior() -> None:
    sigma = np.geomspace(1e-4, 1, 200_001)
    spec = replace(SPEC, n_clusters=1, priors=Priors(sigma=InverseGamma(shape=2, scale=0.3)))
    # Density of the variance v times v**(-n/2), n = 20.
    log = -(2 + 1 + 10) * np.log(sigma**2) - 0.3 / sigma**2
    # The grid's step is a relative 5e-5.
    assert noise_floor(spec) == pytest.approx(sigma[log.argmax()], rel=1e-4)
    raw = replace(spec, standardize=False)
    assert noise_floor(raw) == pytest.approx(sigma[log.argmax()] / 7, rel=1e-4)
    spec = replace(spec, priors=Priors(sigma=LogNormal(loc=-0.5, scale=0.2)))
    log = -20 * np.log(sigma) - (np.log(sigma) + 0.5) ** 2 / (2 * 0.2**2)
    assert noise_floor(spec) == pytest.approx(sigma[log.argmax()], rel=1e-4)
    assert noise_floor(replace(spec, priors=Priors(sigma=Gamma()))) == 0


def structured(dtype: str) -> np.ndarray:
    rows = [tuple(row) for row in whole().to_numpy()]
    return np.array(rows, dtype=[(name, dtype) for name in whole().columns])


def whole() -> pd.DataFrame:
    """Whole numbers, which every type of numbers holds exactly; y is 0 or 1."""
    rng = np.random.default_rng(9)
    frame = pd.DataFrame(rng.integers(0, 100, size=(N, 2)), columns=["a", "b"])
    frame["a"] += 150 * (np.arange(N) % 2)
    return frame.assign(y=(rng.random(N) < 0.5).astype(int))


def read_only() -> dict[str, np.ndarray]:
    columns = {name: whole()[name].to_numpy(dtype=float).copy() for name in whole()}
    for column in columns.values():
        column.flags.writeable = False
    return columns


TYPES = {
    "float64": whole().astype(float),
    "float32": whole().astype("float32"),
    "int64": whole(),
    "int16": whole().astype("int16"),
    "uint8": whole().astype("uint8"),
    "bool response": whole().astype({"y": bool}),
    "object": whole().astype(object),
    "Int64": whole().astype("Int64"),
    "Float64": whole().astype("Float64"),
    "boolean": whole().astype({"y": "boolean"}),
    "arrow types": whole().astype("int32[pyarrow]"),
    "big-endian": whole().astype(">f8"),
    "big-endian int": whole().astype(">i4"),
    "Fortran": pd.DataFrame(np.asfortranarray(whole().to_numpy(float)), columns=list("aby")),
    "C order": pd.DataFrame(np.ascontiguousarray(whole().to_numpy(float)), columns=list("aby")),
    "strided": {name: np.repeat(whole()[name].to_numpy(), 3)[::3] for name in whole()},
    "reversed twice": {name: whole()[name].to_numpy()[::-1].copy()[::-1] for name in whole()},
    "read-only": read_only(),
    "dict of lists": whole().to_dict("list"),
    "polars": pl.from_pandas(whole()),
    "polars float32": pl.from_pandas(whole()).cast(pl.Float32),
    "pyarrow": pa.Table.from_pandas(whole()),
    "pyarrow chunks": pa.concat_tables([pa.Table.from_pandas(whole()[:20]),
                                        pa.Table.from_pandas(whole()[20:])]),
    "structured": structured("f8"),
    "structured big-endian": structured(">i4"),
    "xarray": xr.Dataset.from_dataframe(whole()),
}  # fmt: skip


@pytest.mark.parametrize("name", TYPES)
def test_containers_and_types_give_the_same_bytes(name: str) -> None:
    expected, got = make_dataset(whole(), SPEC), make_dataset(TYPES[name], SPEC)
    assert got.values.tobytes() == expected.values.tobytes()
    assert got.digest == expected.digest
    assert got.columns == expected.columns
    assert codes(jm.check(TYPES[name], SPEC)) == codes(jm.check(whole(), SPEC))


def test_fits_of_two_containers_are_equal_to_the_last_bit() -> None:
    one, other = (jm.fit(data, SPEC, seed=4) for data in (table(), pl.from_pandas(table())))
    for name, variable in one["posterior"].data_vars.items():
        assert variable.values.tobytes() == other["posterior"][name].values.tobytes()


def test_a_fit_keeps_the_warnings_and_its_report_shows_them(tmp_path: Path) -> None:
    data = outlying().assign(extra=1.0).rename(columns={"extra": "Unnamed: 3"})
    data["b"] = 1e9 + 1e-5 * data["b"]
    tree = jm.fit(data, SPEC, seed=2)
    kept = json.loads(tree.attrs["notes"])
    warned = jm.check(data, SPEC, seed=2).warnings
    assert [note["message"] for note in kept] == [issue.message for issue in warned]
    assert {issue.code for issue in warned} >= {"unnamed_columns", "digits_lost", "outliers"}
    status = {f.code: f.status for f in jm.diagnose(tree).findings}
    assert status["outliers"] == status["digits lost"] == "caution"
    assert status["unnamed columns"] == "ok"
    page = jm.report(tree, tmp_path / "fit.md").read_text(encoding="utf-8")
    for issue in warned:
        assert issue.message.split(",")[0].split("(")[0].strip() in page.replace("\\", "")


def test_check_with_em_is_what_em_says() -> None:
    data = outlying()
    dataset = make_dataset(data, SPEC)
    found = mode_warnings(dataset, jm.fit_em(dataset, SPEC, 1))
    assert found == jm.check(data, SPEC).warnings
    assert jm.check(data, SPEC, em=False).warnings == ()


def test_check_imports_neither_pymc_nor_what_compiles() -> None:
    code = (
        "import sys, numpy as np, jointmix as jm\n"
        "x = np.random.default_rng(1).normal(size=40)\n"
        "jm.check({'x': x}, jm.ModelSpec(n_clusters=2, features=['x']))\n"
        "print(*(n for n in ('pymc', 'pytensor', 'nutpie', 'jax') if n in sys.modules))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=120
    )
    assert done.stdout.split() == []


RECIPE = """
[data]
path = "t.csv"
features = ["a", "b"]
predictors = ["a"]
response = "y"
[model]
clusters = 2
"""


def call(folder: Path, *options: str) -> tuple[int, str, str]:
    (folder / "spec.toml").write_text(RECIPE)
    done = CliRunner().invoke(cli.app, ["check", str(folder / "spec.toml"), *options])
    return done.exit_code, done.stdout, done.stderr


def test_command_of_a_clean_table(tmp_path: Path) -> None:
    table().to_csv(tmp_path / "t.csv", index=False)
    assert call(tmp_path) == (0, "No problems: the model can be fitted.\n", "")
    assert call(tmp_path, "--strict")[0] == 0
    assert {path.name for path in tmp_path.iterdir()} == {"spec.toml", "t.csv"}


def test_command_of_warnings(tmp_path: Path) -> None:
    repeated(2).to_csv(tmp_path / "t.csv")
    code, out, err = call(tmp_path, "--no-em")
    assert (code, err) == (0, "")
    assert out.splitlines()[0].startswith("warning  unnamed_columns  1 of 4 columns")
    assert out.splitlines()[-1] == "5 warnings: the model can be fitted."
    assert call(tmp_path, "--no-em", "--strict")[0] == 1


def test_command_of_errors(tmp_path: Path) -> None:
    with_entry("b", 3, "3,5").rename(columns={"a": "a "}).to_csv(tmp_path / "t.csv", index=False)
    code, out, err = call(tmp_path)
    assert (code, err) == (2, "")
    assert [line.split()[:2] for line in out.splitlines()[:-1]] == [
        ["error", "absent_column"],
        ["error", "decimal_comma"],
    ]
    assert out.splitlines()[-1] == "2 errors: the model cannot be fitted."
    code, out, _ = call(tmp_path, "--json", "--strict")
    assert code == 2
    found = json.loads(out)
    assert (found["errors"], found["warnings"], found["n_rows"]) == (2, 0, None)
    fields = {"code", "severity", "message", "column", "row", "value", "remedy"}
    assert all(set(issue) == fields for issue in found["issues"])
    assert "NaN" not in out


def test_command_of_a_table_that_cannot_be_read(tmp_path: Path) -> None:
    code, out, err = call(tmp_path)
    assert (code, out) == (2, "")
    assert err.startswith("error: ")
    assert "t.csv: cannot be read" in err


def test_error_cells_of_a_file_are_errors_and_missing_words_are_missing(tmp_path: Path) -> None:
    data = table().astype(object)
    data.loc[3, "b"], data.loc[4, "a"], data.loc[5, "a"] = "#N/A", "NA", "n/a"
    data.to_csv(tmp_path / "t.csv", index=False)
    _, out, _ = call(tmp_path, "--json")
    found = {issue["code"]: issue for issue in json.loads(out)["issues"]}
    assert set(found) == {"spreadsheet_error", "missing"}
    assert (found["missing"]["column"], found["missing"]["value"]) == ("a", 2)


def test_numbers_that_are_not_finite_become_null() -> None:
    data = with_column("b", 2 * table()["a"])
    issue = only(jm.check(data, SPEC), "collinear")
    assert json.loads(jm.check(data, SPEC).to_json())["issues"][0]["code"] == "collinear"
    assert replace(issue, value=np.inf).as_dict()["value"] is None
