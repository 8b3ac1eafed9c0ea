"""One table in any container becomes one Dataset; what cannot be used is refused by name."""

import decimal
import itertools
import re
import sys

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
import xarray as xr
from hypothesis import given, settings
from hypothesis import strategies as st

from jointmix.base.errors import ColumnTypeError, DataError, MissingExtraError
from jointmix.model.dataset import Dataset, make_dataset
from jointmix.model.demands import minimum_rows
from jointmix.model.new_rows import new_rows
from jointmix.model.notes import notes
from jointmix.model.spec import ModelSpec
from jointmix.tables.columns import read_columns
from jointmix.tables.reading import package_file, read_table

A = [3, 1, 4, 1, 5, 9, 2, 6]
B = [2, 7, 1, 8, 2, 8, 1, 8]
Y = [1, 4, 1, 4, 2, 1, 3, 5]
TABLE = {"a": A, "b": B, "y": Y}
SPEC = ModelSpec(n_clusters=1, features=["a", "b"], predictors=["a", "b"], response="y")
DROP = ModelSpec(
    n_clusters=1, features=["a", "b"], predictors=["a", "b"], response="y", missing="drop"
)
EXPECTED = np.array([A, B, Y], dtype=float).T


def replaced(column: str, values: object) -> dict[str, object]:
    return {**TABLE, column: values}


def with_entry(column: str, row: int, value: object) -> dict[str, object]:
    entries = list(TABLE[column])
    entries[row] = value
    return replaced(column, entries)


def structured(dtype: str) -> np.ndarray:
    rows = list(zip(A, B, Y, strict=True))
    return np.array(rows, dtype=[(name, dtype) for name in TABLE])


def read_only() -> dict[str, np.ndarray]:
    columns = {name: np.array(values, dtype=float) for name, values in TABLE.items()}
    for column in columns.values():
        column.flags.writeable = False
    return columns


CONTAINERS = {
    "dict of lists": TABLE,
    "dict of tuples": {name: tuple(values) for name, values in TABLE.items()},
    "dict of pandas series": {
        name: pd.Series(values, index=range(50, 58)) for name, values in TABLE.items()
    },
    "read-only arrays": read_only(),
    "strided arrays": {name: np.repeat(values, 2)[::2] for name, values in TABLE.items()},
    "Fortran order": pd.DataFrame(np.asfortranarray(EXPECTED), columns=list(TABLE)),
    "pandas int64": pd.DataFrame(TABLE),
    "pandas float32": pd.DataFrame(TABLE, dtype="float32"),
    "pandas uint8": pd.DataFrame(TABLE, dtype="uint8"),
    "pandas nullable": pd.DataFrame(TABLE, dtype="Int16"),
    "pandas nullable float": pd.DataFrame(TABLE, dtype="Float32"),
    "pandas arrow": pd.DataFrame(TABLE, dtype="int64[pyarrow]"),
    "pandas object": pd.DataFrame(TABLE, dtype=object),
    "pandas big-endian": pd.DataFrame(TABLE).astype(">i4"),
    "pandas odd index": pd.DataFrame(TABLE, index=list("stuvwxyz")),
    "pyarrow": pa.table(TABLE),
    "pyarrow half": pa.table(
        {name: np.array(values, dtype=np.float16) for name, values in TABLE.items()}
    ),
    "structured big-endian": structured(">f8"),
    "structured float16": structured("f2"),
    "structured long double": structured("g"),
    "xarray": xr.Dataset({name: ("row", values) for name, values in TABLE.items()}),
    "masked": {name: np.ma.array(values, mask=False) for name, values in TABLE.items()},
    "decimals": {name: [decimal.Decimal(v) for v in values] for name, values in TABLE.items()},
}


@pytest.mark.parametrize("table", CONTAINERS.values(), ids=CONTAINERS.keys())
def test_containers_give_the_same_dataset(table: object) -> None:
    dataset = make_dataset(table, SPEC)
    assert dataset.columns == ("a", "b", "y")
    np.testing.assert_array_equal(dataset.values, EXPECTED, strict=True)
    np.testing.assert_array_equal(dataset.row, np.arange(8), strict=True)
    assert dataset.digest == make_dataset(TABLE, SPEC).digest
    assert dataset.values.flags.c_contiguous
    assert not dataset.values.flags.writeable


def test_values_are_a_copy() -> None:
    table = {name: np.array(values, dtype=float) for name, values in TABLE.items()}
    dataset = make_dataset(table, SPEC)
    rows = new_rows(table, ["a"])
    table["a"][:] = -1
    np.testing.assert_array_equal(dataset.values, EXPECTED)
    np.testing.assert_array_equal(rows["a"], A)


def test_float32_is_upcast_exactly() -> None:
    narrow = np.array([0.1, 1 / 3, 1e-40, 1e30], dtype=np.float32)
    column = read_columns({"a": narrow}, ["a"])["a"]
    # Every float32 is a float64: going back must give the same bits.
    np.testing.assert_array_equal(column.astype(np.float32), narrow)
    assert column[0] == float(narrow[0]) != 0.1


def test_bools_are_zero_and_one() -> None:
    for column in ([True, False], np.array([True, False]), pd.Series([True, False])):
        np.testing.assert_array_equal(read_columns({"a": column}, ["a"])["a"], [1.0, 0.0])


def test_columns_follow_the_spec_not_the_table() -> None:
    spec = ModelSpec(n_clusters=1, features=["b"], predictors=["a"], response="y")
    shuffled = {"y": Y, "unused": ["text"] * 8, "a": A, "b": B}
    dataset = make_dataset(shuffled, spec)
    assert dataset.columns == ("b", "a", "y")
    np.testing.assert_array_equal(dataset.values, EXPECTED[:, [1, 0, 2]])
    np.testing.assert_array_equal(dataset.select(["y", "b"]), EXPECTED[:, [2, 1]])


def test_select_names_the_unknown_column() -> None:
    with pytest.raises(DataError, match="no column 'c'"):
        make_dataset(TABLE, SPEC).select(["a", "c"])


def test_digest_depends_on_values_names_and_order_alone() -> None:
    def digest(names: tuple[str, ...], a: list[float]) -> str:
        spec = ModelSpec(n_clusters=1, features=names)
        return make_dataset(dict(zip(names, (a, B), strict=True)), spec).digest

    base = digest(("a", "b"), [0.0, *A[1:]])
    assert base == digest(("a", "b"), [-0.0, *A[1:]])
    different = [
        digest(("a", "c"), [0.0, *A[1:]]),
        digest(("a,b", "c"), [0.0, *A[1:]]),
        digest(("a", "b"), [1e-300, *A[1:]]),
        digest(("a", "b"), [A[1], 0.0, *A[2:]]),
    ]
    assert len({base, *different}) == 5
    assert re.fullmatch("[0-9a-f]{64}", base)


@pytest.mark.parametrize("nothing", [None, np.nan, pd.NA, pd.NaT, float("nan")])
def test_missing_rows_are_left_out_and_counted(nothing: object) -> None:
    table = with_entry("a", 2, nothing)
    table["y"] = [*Y[:5], nothing, nothing, Y[7]]
    dataset = make_dataset(table, DROP)
    np.testing.assert_array_equal(dataset.row, [0, 1, 3, 4, 7])
    np.testing.assert_array_equal(dataset.values, EXPECTED[[0, 1, 3, 4, 7]])
    assert dataset.missing == {"a": 1, "y": 2}
    assert dataset.n_rows == 8


@pytest.mark.parametrize(
    "table",
    [
        pa.table({"a": pa.array([1, None, 3])}),
        pd.DataFrame({"a": pd.array([1, None, 3], dtype="Int64")}),
        pd.DataFrame({"a": [1.0, np.nan, 3.0]}),
        {"a": np.ma.array([1, 2, 3], mask=[0, 1, 0])},
        {"a": [1, None, 3]},
    ],
)
def test_missing_is_nan_whatever_the_container(table: object) -> None:
    np.testing.assert_array_equal(read_columns(table, ["a"])["a"], [1.0, np.nan, 3.0])


BAD_TABLES = {
    "array without names": (EXPECTED, DataError, "shape (8, 3) has no column names"),
    "list": ([1, 2], DataError, "got list"),
    "none": (None, DataError, "got NoneType"),
    "absent": ({"A_": A, "b": B, "y": Y}, DataError, "no column 'a'"),
    "close": (
        pd.DataFrame({"a": A, "b": B, "Y": Y, "yy": Y}),
        DataError,
        "no column 'y' (did you mean 'yy'?)",
    ),
    "two absent": ({"a": A}, DataError, "no columns 'b', 'y'; it has 'a'"),
    "number for a name": (pd.DataFrame(EXPECTED), DataError, "no columns 'a', 'b', 'y'"),
    "repeated, pandas": (
        pd.DataFrame(EXPECTED, columns=["a", "a", "y"]),
        DataError,
        "names the column 'a' more than once",
    ),
    "repeated, pyarrow": (
        pa.table([pa.array(A)] * 3, names=["a", "y", "y"]),
        DataError,
        "names the column 'y' more than once",
    ),
    "lengths": (replaced("b", [1, 2]), DataError, "'a' has 8 rows and 'b' has 2"),
    "two-dimensional": (replaced("b", EXPECTED), DataError, "'b' must be one-dimensional"),
    "scalar": (replaced("b", 3), DataError, "'b' must be one-dimensional"),
    "generator": (replaced("b", (i for i in B)), DataError, "'b' must be one-dimensional"),
    "ragged": (replaced("b", [[1], [1, 2]]), DataError, "'b' is not a sequence of numbers"),
    "empty": ({"a": [], "b": [], "y": []}, DataError, "no rows"),
    "header only": (pd.DataFrame({"a": [], "b": [], "y": []}), DataError, "no rows"),
    "text": (with_entry("b", 3, "eight"), ColumnTypeError, "row 3 (from 0) holds the text 'eight'"),
    "decimal comma": (
        replaced("b", pd.Series(["2", "7", "1,5", *"82818"])),
        ColumnTypeError,
        "row 2 (from 0) holds the text '1,5'",
    ),
    "numbers as text": (
        replaced("b", [str(i) for i in B]),
        ColumnTypeError,
        "row 0 (from 0) holds the text '2'",
    ),
    "text after a gap": (
        replaced("b", [None, "x", *B[2:]]),
        ColumnTypeError,
        "row 1 (from 0) holds the text 'x'",
    ),
    "bytes": (replaced("b", [b"x"] * 8), ColumnTypeError, "holds the text b'x'"),
    "complex": (replaced("b", np.array(B) * 1j), ColumnTypeError, "got complex128"),
    "complex in objects": (
        with_entry("b", 7, 1j),
        ColumnTypeError,
        "'b' must hold real numbers, got complex128",
    ),
    "dates": (
        replaced("b", pd.date_range("2020", periods=8)),
        ColumnTypeError,
        "'b' must hold real numbers, got datetime64",
    ),
    "durations": (replaced("b", np.array(B, "m8[s]")), ColumnTypeError, "got timedelta64"),
    "date objects": (
        replaced("b", pd.period_range("2020", periods=8)),
        ColumnTypeError,
        "holds the Period",
    ),
    "categories": (replaced("y", pd.Series(pd.Categorical(B))), ColumnTypeError, "categories"),
    "arrow dictionary": (
        pa.table(replaced("y", pa.array(list("abababab")).dictionary_encode())),
        ColumnTypeError,
        "categories",
    ),
    "objects": (with_entry("b", 6, object()), ColumnTypeError, "row 6 (from 0) holds the object"),
    "nan": (
        with_entry("b", 5, np.nan),
        DataError,
        "'b' has missing entries: 1, the first in row 5 (from 0); fill them in or leave those rows "
        'out with missing="drop"',
    ),
    "none entry": (with_entry("y", 0, None), DataError, "'y' has missing entries: 1"),
    "all missing": (replaced("a", [None] * 8), DataError, "'a' has missing entries: 8"),
    "inf": (
        replaced("y", [*Y[:4], np.inf, -np.inf, 1, 2]),
        DataError,
        "'y' has infinite entries: 2, the first in row 4",
    ),
    "huge integer": (with_entry("a", 1, 10**400), DataError, "'a' has infinite entries: 1"),
    "magnitude": (with_entry("a", 1, -1e200), DataError, "entries beyond ±1e+150"),
    "constant": (replaced("y", [2.5] * 8), DataError, "'y' is constant: all of the 8 rows"),
    "spread that vanishes": (
        replaced("y", np.array(Y) * 1e-200),
        DataError,
        "'y' varies by only 4e-200",
    ),
    "collinear": (
        replaced("b", 3 - 2.5 * np.array(A)),
        DataError,
        "Columns 'a', 'b' are collinear",
    ),
    "few rows": (
        {name: values[:3] for name, values in TABLE.items()},
        DataError,
        "needs at least 4 rows (K = 1), got 3",
    ),
}


@pytest.mark.parametrize(("table", "kind", "words"), BAD_TABLES.values(), ids=BAD_TABLES.keys())
def test_bad_tables_are_refused_by_name(table: object, kind: type, words: str) -> None:
    with pytest.raises(DataError, match=re.escape(words)) as caught:
        make_dataset(table, SPEC)
    assert type(caught.value) is kind
    assert isinstance(caught.value, TypeError if kind is ColumnTypeError else ValueError)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("table", "words"),
    [
        (with_entry("a", 1, np.inf), "infinite"),
        (replaced("a", [1, 1, 1, 1, None, None, 1, 1]), "'a' is constant: all of the 6 rows"),
        (
            replaced("a", [1, 2, 3, *[None] * 5]),
            "at least 4 rows (K = 1), got 3 complete ones (of 8)",
        ),
        (replaced("a", [None] * 8), "got 0 complete ones (of 8)"),
    ],
)
def test_checks_hold_after_rows_are_dropped(table: object, words: str) -> None:
    with pytest.raises(DataError, match=re.escape(words)):
        make_dataset(table, DROP)


@pytest.mark.parametrize(
    ("parts", "least"),
    [
        ({"features": ["a", "b"]}, 3),
        ({"features": ["a", "b"], "covariance": "diagonal"}, 2),
        ({"predictors": ["a", "b"], "response": "y"}, 4),
        ({"features": ["a"], "predictors": ["a", "b"], "response": "y"}, 4),
        ({"features": list("abcdef"), "predictors": ["a"], "response": "y"}, 7),
        ({"response": "y"}, 2),
    ],
)
def test_minimum_rows_by_hand(parts: dict, least: int) -> None:
    assert minimum_rows(ModelSpec(n_clusters=1, **parts)) == least
    assert minimum_rows(ModelSpec(n_clusters=3, **parts)) == 3 * least


def test_collinearity_names_only_the_columns_involved() -> None:
    rng = np.random.default_rng(1)
    a, b, c = rng.normal(size=(3, 50))
    table = {"a": a, "b": b, "c": c, "sum": 1e6 * (a + c) + 3e6}
    spec = ModelSpec(n_clusters=1, features=list(table))
    with pytest.raises(DataError, match="Columns 'a', 'c', 'sum' are collinear"):
        make_dataset(table, spec)
    with pytest.raises(DataError, match="collinear"):
        make_dataset(
            {**table, "y": b}, ModelSpec(n_clusters=1, predictors=["a", "c", "sum"], response="y")
        )


def test_collinear_features_are_allowed_where_the_covariance_stays_regular() -> None:
    spec = ModelSpec(n_clusters=1, features=["a", "b"], covariance="diagonal")
    assert make_dataset(replaced("b", 2 * np.array(A)), spec).values.shape == (8, 2)


def test_units_and_offsets_do_not_make_columns_collinear() -> None:
    rng = np.random.default_rng(2)
    x = rng.normal(size=(100, 3)) * [1e-6, 1.0, 1e9] + [0.0, 1e9, -1e12]
    spec = ModelSpec(n_clusters=1, features=list("abc"))
    dataset = make_dataset(dict(zip("abc", x.T, strict=True)), spec)
    assert notes(dataset) == ()


def by_code(dataset: Dataset) -> dict[str, list]:
    found = sorted(notes(dataset), key=lambda note: note.code)
    return {code: list(group) for code, group in itertools.groupby(found, lambda note: note.code)}


def test_ties_are_counted_by_hand() -> None:
    spec = ModelSpec(n_clusters=1, features=["a"], predictors=["b"], response="y")
    # a: 1, 1 tie. b: 7 ties of 8, but a predictor has no density. y: 1 1 1 and 4 4 tie.
    note = by_code(make_dataset(TABLE, spec))["ties"]
    assert [(n.column, n.value) for n in note] == [("y", 5 / 8)]
    assert "5 of 8 rows" in note[0].message
    assert "5 distinct values" in note[0].message


def test_near_collinear_columns_are_noted_with_their_condition_number() -> None:
    rng = np.random.default_rng(3)
    start = rng.normal(size=(40, 3))
    # Orthonormal columns of mean zero.
    a, e, c = np.linalg.qr(start - start.mean(axis=0))[0].T
    table = {"a": a, "b": a + 1e-7 * e, "c": c}
    spec = ModelSpec(n_clusters=1, features=list("abc"))
    (note,) = by_code(make_dataset(table, spec))["near_collinear"]
    assert note.column == "'a', 'b'"
    # The correlation of a and b is r = 1 − 1e-14 / 2, and sqrt((1 + r) / (1 − r)) = 2e7 the
    # condition number; b carries rounding errors of 1e-16 / 1e-7 of the difference.
    assert note.value == pytest.approx(2e7, rel=1e-6)


def test_duplicate_rows_and_rows_left_out_are_noted() -> None:
    table = {name: [*values, *values[:2], None] for name, values in TABLE.items()}
    found = by_code(make_dataset(table, DROP))
    assert [n.value for n in found["duplicate_rows"]] == [2 / 10]
    assert [n.value for n in found["rows_left_out"]] == [1 / 11]
    assert found["rows_left_out"][0].message == (
        "1 of 11 rows are left out because entries are missing ('a' 1, 'b' 1, 'y' 1)."
    )


def test_clean_data_have_no_notes() -> None:
    rng = np.random.default_rng(4)
    table = dict(zip("aby", rng.normal(size=(3, 60)), strict=True))
    assert notes(make_dataset(table, SPEC)) == ()


def test_new_rows_reads_what_is_asked_for() -> None:
    table = pd.DataFrame({"text": ["x", "y"], "b": [1, 2], "a": [True, False], "y": [3.5, 4.5]})
    rows = new_rows(table, ["a", "b"], optional=["y", "z"])
    assert list(rows) == ["a", "b", "y"]
    np.testing.assert_array_equal(rows["a"], [1.0, 0.0], strict=True)
    np.testing.assert_array_equal(rows["y"], [3.5, 4.5], strict=True)
    assert list(new_rows({"a": [1]}, ["a"])) == ["a"]


@pytest.mark.parametrize(
    ("table", "words"),
    [
        ({"a": [1]}, "no column 'b'"),
        ({"a": [], "b": []}, "no rows"),
        ({"a": [1, np.nan], "b": [1, 2]}, "'a' has missing entries: 1, the first in row 1"),
        ({"a": [1, 2], "b": [1, np.inf]}, "'b' has infinite entries: 1, the first in row 1"),
        ({"a": [1, 2], "b": [1, "x"]}, "row 1 (from 0) holds the text 'x'"),
        ({"a": [1, 2], "b": [1, 2], "y": [None, 1]}, "'y' has missing entries: 1"),
    ],
)
def test_new_rows_refuses(table: object, words: str) -> None:
    with pytest.raises(DataError, match=re.escape(words)):
        new_rows(table, ["a", "b"], optional=["y"])


HOSTILE = ["<script>", "=1+1", "../../x", "\u202eabc", "a\nb", "x" * 10_000, "{{7*7}}", "a/b"]


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_names_pass_and_errors_stay_one_short_line(name: str) -> None:
    spec = ModelSpec(n_clusters=1, features=[name])
    for table in ({name: A}, pd.DataFrame({name: A})):
        assert make_dataset(table, spec).columns == (name,)
    with pytest.raises(DataError) as caught:
        make_dataset({name: ["x"] * 8}, spec)
    assert len(str(caught.value)) < 300
    assert str(caught.value).isprintable()


@settings(max_examples=50, deadline=None)
@given(st.lists(st.floats(-1e100, 1e100), min_size=4, max_size=20, unique=True))
def test_text_files_keep_every_bit(values: list[float]) -> None:
    text = "".join(f"{value!r}\n" for value in values)
    frame = pd.DataFrame({"a": values})
    assert frame.to_csv(index=False, lineterminator="\n") == "a\n" + text
    np.testing.assert_array_equal(read_columns(frame, ["a"])["a"], values)


GOOD_FILES = {
    "plain.csv": b"a,b\n1,2\n3,4\n",
    "bom.csv": b"\xef\xbb\xbfa,b\n1,2\n3,4\n",
    "crlf.csv": b"a,b\r\n1,2\r\n3,4\r\n",
    "bom_crlf.CSV": b"\xef\xbb\xbfa,b\r\n1,2\r\n3,4",
    "quoted.csv": b'"a","b"\n"1",2\n3,"4"\n',
    "blank_lines.csv": b"a,b\n\n1,2\n\n3,4\n\n",
    "tabs.tsv": b"a\tb\n1\t2\n3\t4\n",
    "tabs.txt": b"a\tb\n1\t2\n3\t4\n",
}


@pytest.mark.parametrize("name", GOOD_FILES)
def test_files_that_read(name: str, tmp_path) -> None:
    (tmp_path / name).write_bytes(GOOD_FILES[name])
    table = read_table(tmp_path / name)
    assert list(table.columns) == ["a", "b"]
    np.testing.assert_array_equal(table.to_numpy(dtype=float), [[1, 2], [3, 4]])


def test_file_values_are_read_to_the_last_bit(tmp_path) -> None:
    rng = np.random.default_rng(5)
    values = rng.normal(size=200) * 10.0 ** rng.integers(-30, 30, size=200)
    path = tmp_path / "bits.csv"
    path.write_text("a\n" + "".join(f"{float(value)!r}\n" for value in values))
    np.testing.assert_array_equal(read_table(path)["a"].to_numpy(), values)


def test_missing_entries_of_a_file_are_missing(tmp_path) -> None:
    path = tmp_path / "gaps.csv"
    path.write_text("a,b\n1,NA\n,2\n")
    np.testing.assert_array_equal(
        read_table(path).to_numpy(dtype=float), [[1, np.nan], [np.nan, 2]]
    )


def test_parquet_reads_and_names_bad_files(tmp_path) -> None:
    path = tmp_path / "t.parquet"
    pd.DataFrame(TABLE).to_parquet(path)
    np.testing.assert_array_equal(read_table(path).to_numpy(dtype=float), EXPECTED)
    path.write_bytes(b"PAR1 nonsense PAR1")
    with pytest.raises(DataError, match=r"t\.parquet: is not a readable"):
        read_table(path)


def test_parquet_without_an_engine_says_what_to_install(tmp_path, monkeypatch) -> None:
    def refuse(*_: object) -> None:
        raise ImportError("no engine")

    (tmp_path / "t.parquet").write_bytes(b"")
    monkeypatch.setattr(pd, "read_parquet", refuse)
    with pytest.raises(MissingExtraError, match="needs pyarrow"):
        read_table(tmp_path / "t.parquet")


BAD_FILES = {
    "ragged.csv": (b"a,b\n1,2\n3\n", "line 3: has 1 entries, but the header names 2"),
    "long.csv": (b"a,b\n1,2,3\n", "line 2: has 3 entries"),
    "rownames.csv": (b'a,b\n"1",1,2\n', "line 2: has 3 entries"),
    "latin1.csv": ("a,b\n1,2\n3,é\n".encode("latin-1"), "line 3: is not UTF-8 (byte 0xe9)"),
    "utf16.csv": ("a,b\n1,2\n".encode("utf-16"), "holds a NUL byte"),
    "binary.csv": (b"\x89PNG\r\n\x1a\n\0\0", "line 3: holds a NUL byte"),
    "empty.csv": (b"", "is empty"),
    "blank.csv": (b"\n\n\n", "is empty"),
    "bom_only.csv": (b"\xef\xbb\xbf", "is empty"),
    "header.csv": (b"a,b\n", "has a header but no rows"),
    "twice.csv": (b"a,b,a\n1,2,3\n", "line 1: names the column 'a' more than once"),
    "renamed.csv": (b"a,a.1,a\n1,2,3\n", "names the column 'a' more than once"),
    "semicolons.csv": (b"a;b\n1,5;2\n", "the header is one name, 'a;b'"),
    "commas.tsv": (b"a,b\n1,2\n", "the header is one name, 'a,b'"),
    "open_quote.csv": (b'a,b\n1,"2\n', "line 2: unexpected end of data"),
    "table.xlsx": (b"PK", "a table must be one of .csv, .tsv, .txt, .parquet; got '.xlsx'"),
    "table.pkl": (b"cos\nsystem\n(S'echo hi'\ntR.", "a table must be one of"),
    "table": (b"a\n1\n", "got ''"),
}


@pytest.mark.parametrize("name", BAD_FILES)
def test_bad_files_are_refused_by_name_and_line(name: str, tmp_path) -> None:
    content, words = BAD_FILES[name]
    (tmp_path / name).write_bytes(content)
    with pytest.raises(DataError, match=re.escape(words)) as caught:
        read_table(tmp_path / name)
    assert name in str(caught.value)


def test_absent_files_and_folders_are_refused(tmp_path) -> None:
    with pytest.raises(DataError, match=r"no\.csv: cannot be read \(No such file"):
        read_table(tmp_path / "no.csv")
    (tmp_path / "folder.csv").mkdir()
    with pytest.raises(DataError, match=r"folder\.csv: holds no \.parquet file"):
        read_table(tmp_path / "folder.csv")


def test_package_file_finds_data_without_importing(tmp_path, monkeypatch) -> None:
    package = tmp_path / "boxed_data_package"
    (package / "data").mkdir(parents=True)
    (package / "__init__.py").write_text("raise RuntimeError('imported')\n")
    (package / "data" / "t.csv").write_text("a\n1\n")
    (tmp_path / "outside.csv").write_text("a\n1\n")
    (package / "link.csv").symlink_to(tmp_path / "outside.csv")
    monkeypatch.syspath_prepend(tmp_path)
    assert package_file("boxed_data_package", "data/t.csv") == package / "data" / "t.csv"
    assert "boxed_data_package" not in sys.modules
    for path, words in {
        "../outside.csv": "must not leave it",
        "data/../../outside.csv": "must not leave it",
        str(tmp_path / "outside.csv"): "must not leave it",
        "link.csv": "has no file",
        "data": "has no file",
        "data/other.csv": "has no file 'data/other.csv'",
    }.items():
        with pytest.raises(DataError, match=words):
            package_file("boxed_data_package", path)


@pytest.mark.parametrize("package", ["os.path", "../x", "", "a b", "/etc"])
def test_package_names_are_checked(package: str) -> None:
    with pytest.raises(DataError, match="A package must be named"):
        package_file(package, "x.csv")


def test_absent_packages_are_named() -> None:
    with pytest.raises(MissingExtraError, match="'no_such_package_here'"):
        package_file("no_such_package_here", "x.csv")
    with pytest.raises(DataError, match="has no file"):
        package_file("this", "x.csv")
