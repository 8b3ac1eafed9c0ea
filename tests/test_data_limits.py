"""Where the checks of tables draw their lines, and the whole sentence on the other side."""

import tracemalloc

import numpy as np
import pandas as pd
import pytest

from jointmix.base.errors import ColumnTypeError, DataError, MissingExtraError
from jointmix.model.dataset import as_dataset, make_dataset
from jointmix.model.new_rows import new_rows
from jointmix.model.notes import notes
from jointmix.model.spec import ModelSpec
from jointmix.tables import levels
from jointmix.tables.columns import read_columns
from jointmix.tables.issues import listed, quoted
from jointmix.tables.reading import package_file, read_table
from jointmix.tables.screening import LARGEST, SMALLEST_SPREAD, condition_number

ONE = ModelSpec(n_clusters=1, features=["a"])
TWO = ModelSpec(n_clusters=1, features=["a", "b"])


def said(error: type[Exception], table: object, spec: ModelSpec = ONE, **options: bool) -> str:
    with pytest.raises(error) as caught:
        make_dataset(table, spec, **options)
    return str(caught.value)


@pytest.mark.parametrize(("length", "whole"), [(78, True), (79, False)])
def test_a_name_of_eighty_signs_in_quotes_is_the_longest_shown(length: int, whole: bool) -> None:
    name = "n" * length
    # The two quotes count; of a longer one, the opening quote and 59 signs are left.
    assert quoted(name) == (f"'{name}'" if whole else f"'{'n' * 59}…' (79 characters)")


def test_a_list_counts_what_it_leaves_out() -> None:
    assert listed("abc", most=3) == "'a', 'b', 'c'"
    assert listed("abcde", most=3) == "'a', 'b', 'c' and 2 more"
    assert listed(range(12)).endswith(", 11")
    assert listed(range(14)).endswith(", 11 and 2 more")


@pytest.mark.parametrize(
    ("table", "kind", "message"),
    [
        ({}, DataError, "The table has no column 'a'; it has none."),
        (
            {"a": [1, "2", 3]},
            ColumnTypeError,
            "Column 'a' must hold numbers, but row 1 (from 0) holds the text '2', a number "
            "kept as text; convert the column "
            "to numbers first.",
        ),
        (
            {"a": [1, "x", "2"]},
            ColumnTypeError,
            "Column 'a' must hold numbers, but row 1 (from 0) holds the text 'x'; convert the "
            "column first.",
        ),
        (
            {"a": [1, {}, 2]},
            ColumnTypeError,
            "Column 'a' must hold numbers, but row 1 (from 0) holds the dict {}; convert the "
            "column first.",
        ),
        (
            {"a": np.ma.array([1, 2j], mask=[0, 0])},
            ColumnTypeError,
            "Column 'a' must hold numbers, but row 0 (from 0) holds the complex (1+0j); convert "
            "the column first.",
        ),
        ({"a": []}, DataError, "The table has no rows; give at least one."),
        (
            {"a": [1, 2, 1.1 * LARGEST]},
            DataError,
            "Column 'a' has entries beyond ±1e+150, the first in row 2 (from 0); give it in "
            "another unit.",
        ),
        (
            {"a": [7.0]},
            DataError,
            "This model needs at least 2 rows (K = 1), got 1; use fewer clusters or columns.",
        ),
        (
            {"a": [2.5, 2.5]},
            DataError,
            "Column 'a' is constant: all of the 2 rows used hold 2.5; leave it out.",
        ),
        (
            {"a": [0, 1e-151]},
            DataError,
            "Column 'a' varies by only 1e-151, which vanishes when squared; give it in another "
            "unit.",
        ),
    ],
    ids=str,
)
def test_the_whole_sentence(table: object, kind: type[Exception], message: str) -> None:
    assert said(kind, table) == message


def test_categories_are_no_numbers() -> None:
    spec = ModelSpec(n_clusters=1, features={"a": "normal"})
    assert said(ColumnTypeError, {"a": pd.Series(pd.Categorical([1, 2]))}, spec) == (
        "Column 'a' holds categories; replace them by numbers or by columns of 0 and 1."
    )


def test_the_kinds_of_table_are_listed() -> None:
    assert said(DataError, np.zeros((2, 3))) == (
        "A NumPy array of shape (2, 3) has no column names; give a dict of columns, a DataFrame "
        "or a structured array."
    )
    assert said(DataError, 5) == (
        "A table must be a pandas, polars or pyarrow table, a dict of columns or a NumPy "
        "structured array; got int; convert it first."
    )


def test_limits_themselves_are_allowed() -> None:
    largest = make_dataset({"a": [-LARGEST, LARGEST]}, ONE)
    np.testing.assert_array_equal(largest.values[:, 0], [-LARGEST, LARGEST])
    smallest = make_dataset({"a": [0.0, SMALLEST_SPREAD]}, ONE)
    np.testing.assert_array_equal(smallest.values[:, 0], [0.0, SMALLEST_SPREAD])


def test_a_dataset_cannot_be_written_to() -> None:
    dataset = make_dataset({"a": [1.0, 2.0]}, ONE)
    assert not dataset.values.flags.writeable
    assert not dataset.row.flags.writeable


def test_the_fewest_rows_bind_a_fit_alone() -> None:
    drop = ModelSpec(n_clusters=2, features=["a", "b"], missing="drop")
    table = {"a": [1, 2, None], "b": [2, 4, 1]}
    assert said(DataError, table, drop).endswith(
        "at least 6 rows (K = 2), got 2 complete ones (of 3); use fewer clusters or columns."
    )
    # Collinear as well, which does not matter where nothing is estimated.
    assert len(make_dataset(table, drop, demand="density").values) == 2
    assert "got 0 complete ones (of 1)" in said(
        DataError, {"a": [None], "b": [1]}, drop, demand="density"
    )


def test_missing_entries_of_new_rows_have_no_remedy_but_filling_in() -> None:
    with pytest.raises(DataError, match=r"row 1 \(from 0\); fill them in\.$"):
        new_rows({"a": [1, None]}, ["a"])
    with pytest.raises(DataError, match=r"^The table has no rows\.$"):
        new_rows({"a": []}, ["a"])
    rows = new_rows({"a": [1, None], "b": [1, 2]}, ["a", "b"], may_miss=["a"])
    np.testing.assert_array_equal(rows["a"], [1, np.nan])
    assert new_rows({"a": [1]}, [], optional=["b"]) == {}


def test_more_columns_than_rows_are_collinear() -> None:
    rng = np.random.default_rng(5)
    table = dict(zip("abcd", rng.normal(size=(4, 3)), strict=True))
    full = ModelSpec(n_clusters=1, features=list("abcd"))
    assert "needs at least 5 rows" in said(DataError, table, full)
    # One covariance for all clusters asks for fewer rows in each.
    tied = ModelSpec(n_clusters=1, features=list("abcd"), covariance="tied")
    message = said(DataError, table, tied)
    assert "are collinear (condition number inf, at most 3e+07 is allowed)" in message


def test_a_tied_covariance_cannot_be_collinear() -> None:
    tied = ModelSpec(n_clusters=1, features=["a", "b"], covariance="tied")
    message = said(DataError, {"a": [0, 1, 2, 5], "b": [0, 2, 4, 10]}, tied)
    assert message.startswith("Columns 'a', 'b' are collinear (condition number ")
    assert message.endswith(", at most 3e+07 is allowed); leave one of them out.")


@pytest.mark.parametrize("unit", [1e-140, 1e-100, 1.0, 1e100, 1e140])
def test_collinearity_has_no_unit(unit: float) -> None:
    rng = np.random.default_rng(6)
    a, b = rng.normal(size=(2, 30))
    make_dataset({"a": unit * a, "b": b}, TWO)
    assert "'a', 'b' are collinear" in said(DataError, {"a": unit * a, "b": 3 - 2 * a}, TWO)


def test_notes_begin_beyond_their_share() -> None:
    half = {"a": [1, 1, 2, 2, 3, 3.5, 4, 5], "b": range(8), "y": [3, 1, 4, 1.5, 9, 2, 6, 5]}
    spec = ModelSpec(n_clusters=1, features=["a"], predictors=["b"], response="y")
    assert notes(make_dataset(half, spec)) == ()
    more = half | {"a": [1, 1, 2, 2, 3, 3, 4, 5]}
    (note,) = notes(make_dataset(more, spec))
    assert (note.code, note.column, note.value) == ("ties", "a", 6 / 8)
    assert note.message == (
        "Column 'a' holds rounded values: 6 of 8 rows share theirs with another row (5 distinct "
        "values)."
    )


def test_one_duplicate_row_in_ten_is_allowed_and_two_are_noted() -> None:
    rng = np.random.default_rng(7)
    a, b = rng.normal(size=(2, 10))
    table = {"a": a, "b": b}
    table["a"][9], table["b"][9] = a[0], b[0]
    assert notes(make_dataset(table, TWO)) == ()
    table["a"][8], table["b"][8] = a[0], b[0]
    (note,) = notes(make_dataset(table, TWO))
    assert (note.code, note.column, note.value) == ("duplicate_rows", "", 0.2)
    assert note.message == (
        "2 of 10 rows repeat another row in every column used, the first row 8 (from 0)."
    )


def test_a_nearly_collinear_column_is_described() -> None:
    rng = np.random.default_rng(8)
    a, c, e = rng.normal(size=(3, 50))
    spec = ModelSpec(n_clusters=1, features=["a", "b", "c"])
    (note,) = notes(make_dataset({"a": a, "b": a + 1e-7 * e, "c": c}, spec))
    assert note.column == "'a', 'b'"
    assert note.message == (
        f"Columns 'a', 'b' are nearly collinear (condition number {note.value:.2g}), so their "
        "separate slopes or variances are known poorly."
    )


def test_rows_left_out_name_their_columns() -> None:
    spec = ModelSpec(n_clusters=1, features=["a"], predictors=["b"], response="y", missing="drop")
    table = {"a": [1, None, 3, 4, 5], "b": [2, 1, 9, 4, None], "y": [3, 1, 4, 1.5, 5]}
    (note,) = notes(make_dataset(table, spec))
    assert (note.code, note.column, note.value) == ("rows_left_out", "a, b", 2 / 5)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"\0a\n1\n", "line 1: holds a NUL byte, so it is not a text table."),
        (b"a\n1\0\n2\0\n", "line 2: holds a NUL byte, so it is not a text table."),
        (b"\na\n1\0\n", "line 3: holds a NUL byte, so it is not a text table."),
        (b"\na\n\xff\n", "line 3: is not UTF-8 (byte 0xff); save the file as UTF-8."),
        (
            b"a;b\n1;2\n",
            "line 1: the header is one name, 'a;b'; .csv needs commas between columns, .tsv and "
            ".txt need tabs.",
        ),
    ],
)
def test_files_are_refused_at_the_line(content: bytes, message: str, tmp_path) -> None:
    path = tmp_path / "t.csv"
    path.write_bytes(content)
    with pytest.raises(DataError) as caught:
        read_table(path)
    assert str(caught.value) == f"{path}, {message}"


def test_packages_and_paths_are_named_in_full() -> None:
    with pytest.raises(DataError, match=r"as in 'import name'; got 'a-b'\.$"):
        package_file("a-b", "x.csv")
    with pytest.raises(MissingExtraError) as caught:
        package_file("no_such_package_here", "x.csv")
    assert str(caught.value) == (
        "The package 'no_such_package_here', which holds the data 'x.csv', is not installed."
    )
    with pytest.raises(DataError, match=r"must not leave it; got '\.\./x\.csv'\.$"):
        package_file("json", "../x.csv")
    with pytest.raises(DataError, match=r"^The package 'json' has no file 'x\.csv'\.$"):
        package_file("json", "x.csv")


def test_a_table_is_read_once_however_often_a_column_is_asked_for() -> None:
    columns = read_columns({"a": [1, 2], "b": [3, 4]}, ["b"], optional=["b", "c", "a"])
    assert list(columns) == ["b", "a"]


def codes(table: dict[str, object], spec: ModelSpec) -> list[tuple[str, str]]:
    return [(note.code, note.column) for note in notes(make_dataset(table, spec))]


def test_each_note_of_a_table_is_passed_on_once() -> None:
    spec = ModelSpec(n_clusters=1, features=["a", "b"], predictors=["a"], response="y")
    rng = np.random.default_rng(3)
    table: dict[str, object] = {"a": rng.normal(size=20), "b": rng.normal(size=20)}
    table["y"] = rng.normal(size=20)
    assert codes(table, spec) == []
    unnamed = {**table, "": np.ones(20)}
    assert codes(unnamed, spec) == [("unnamed_columns", "")]
    offset = {**unnamed, "b": table["b"] + 1e14}
    assert codes(offset, spec) == [("unnamed_columns", ""), ("digits_lost", "b")]
    exact = {**table, "y": 3 * table["a"] + 1}
    assert codes(exact, spec) == [("exact_response", "y")]


def test_a_row_of_totals_is_told_once() -> None:
    rng = np.random.default_rng(4)
    table = {name: rng.normal(5, 1, 20) for name in ("a", "b")}
    total = {name: np.append(values, values.sum()) for name, values in table.items()}
    assert codes(total, TWO) == [("total_row", "'a', 'b'")]
    assert codes({**total, "": np.ones(21)}, TWO) == [
        ("unnamed_columns", ""),
        ("total_row", "'a', 'b'"),
    ]
    # The name that another column gives the row says it already.
    assert codes({**total, "who": [*"abcdefghijklmnopqrst", "Total"]}, TWO) == [
        ("total_row", "who")
    ]


def test_rows_left_out_begin_where_the_first_entry_is_missing() -> None:
    values = [3.0, 1.0, None, 4.0, 1.5, None, 9.0]
    spec = ModelSpec(n_clusters=1, features=["a"], missing="drop")
    (note,) = notes(make_dataset({"a": values}, spec))
    assert (note.code, note.row, note.remedy, note.value) == ("rows_left_out", 2, "", 2 / 7)


def test_rows_to_predict_for_cannot_be_dropped() -> None:
    with pytest.raises(DataError) as caught:
        new_rows({"a": [1.0, None]}, ["a"])
    assert str(caught.value) == (
        "Column 'a' has missing entries: 1, the first in row 1 (from 0); fill them in."
    )


def test_a_dataset_is_taken_as_it_is_and_a_table_becomes_one() -> None:
    table = {"a": [1.0, 2.0, 4.0, 3.0]}
    dataset = make_dataset(table, ONE)
    assert as_dataset(dataset, ONE) is dataset
    assert as_dataset(table, ONE).digest == dataset.digest
    with pytest.raises(DataError) as caught:
        as_dataset(dataset, ModelSpec(n_clusters=1, features=["b"]))
    assert str(caught.value) == "The dataset has the columns ('a',); the model needs ('b',)."


@pytest.mark.parametrize("n", [2, 3, 4, 16_384, 16_385])
@pytest.mark.parametrize("constant", [True, False])
def test_condition_numbers_are_those_of_all_rows_at_once(n: int, constant: bool) -> None:
    """Of fewer rows than columns, of a whole number of blocks and of one row more."""
    rng = np.random.default_rng(n)
    for noise in (1.0, 1e-3, 1e-7, 1e-9, 1e-12, 0.0):
        x = rng.normal(size=(n, 3)) * [1e-6, 1.0, 1e9] + [1.0, 50.0, 0.0]
        x[:, 2] = 3 * x[:, 0] + noise * x[:, 0].std() * x[:, 2] / 1e9
        scaled = x - x.mean(axis=0) if constant else x
        scaled = scaled / np.sqrt((scaled**2).mean(axis=0))
        singular = np.linalg.svd(scaled, compute_uv=False)
        found, involved = condition_number(x, constant)
        expected = singular[0] / max(singular[-1], 1e-300) if n >= 3 else np.inf
        if expected < 1e11:
            # Singular values are known to a rounding error of the largest.
            assert found == pytest.approx(expected, rel=1e-14 * expected + 1e-12)
        else:
            assert found > 1e11
        if 1e4 < expected < 1e11:
            # The columns that the direction of the smallest singular value is made of.
            direction = np.abs(np.linalg.svd(scaled, full_matrices=False)[2][-1])
            np.testing.assert_array_equal(involved, direction > 0.05 * direction.max())


@pytest.mark.parametrize("kind", ["f8", "i4", "u1"])
def test_arrays_of_numbers_are_not_looked_through_for_levels(
    kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Entry by entry a million rows of ten columns would take ten seconds."""
    monkeypatch.setattr(levels, "is_missing", lambda item: pytest.fail(f"looked at {item!r}"))
    assert levels.coded_column(np.ones(3, dtype=kind), anything=True, truths=True) is None


def test_condition_numbers_of_many_rows_take_the_memory_of_few() -> None:
    x = np.random.default_rng(1).normal(size=(300_000, 4))
    tracemalloc.start()
    condition_number(x)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < x.nbytes / 4
