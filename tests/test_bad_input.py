"""Hundreds of bad inputs: each is refused by a named error of one line, or gives a valid result."""

import itertools
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
import xarray as xr
from typer.testing import CliRunner

import jointmix as jm
import jointmix.cli.commands as cli
from jointmix.base.errors import (
    ColumnTypeError,
    DataError,
    JointmixError,
    SchemaError,
    SpecError,
    StorageError,
)
from jointmix.fitting.recipe import parse_recipe
from jointmix.model.dataset import make_dataset
from jointmix.model.settings import SamplerSpec
from jointmix.model.simulate import simulate
from jointmix.model.spec import ModelSpec
from jointmix.tables.reading import read_table

SMALL = SamplerSpec(draws=100, tune=100, chains=2, starts=4)
SPEC = ModelSpec(
    n_clusters=2, features=["a", "b"], predictors=["a"], response="y", sampler=SMALL
)  # fmt: skip
N = 60
Kinds = type[JointmixError] | tuple[type[JointmixError], ...]
#: Longest sentence: a list of twelve names, each cut at 80 characters, stands in some.
LONGEST = 1_500


def table(n: int = N) -> pd.DataFrame:
    rng = np.random.default_rng(1)
    z = np.arange(n) % 2
    a, b = 4 * z + rng.normal(size=n), -3 * z + rng.normal(size=n)
    return pd.DataFrame({"a": a, "b": b, "y": np.where(z, a, -a) + 0.3 * rng.normal(size=n)})


def assert_refused(
    call: Callable[[], object],
    kind: type[JointmixError] | tuple[type[JointmixError], ...],
    *words: str,
) -> None:
    began = time.monotonic()
    with pytest.raises(JointmixError) as caught:
        call()
    assert time.monotonic() - began < 60
    message = str(caught.value)
    assert isinstance(caught.value, kind), f"{type(caught.value).__name__}: {message}"
    assert message.isprintable()
    assert message.endswith((".", ".)", "?"))
    assert 15 < len(message) < LONGEST
    for word in words:
        assert word in message


ENTRIES: dict[str, tuple[Any, type[JointmixError]]] = {
    "nan": (np.nan, DataError),
    "none": (None, DataError),
    "pandas NA": (pd.NA, DataError),
    "not a time": (pd.NaT, DataError),
    "inf": (np.inf, DataError),
    "minus inf": (-np.inf, DataError),
    "huge": (1e300, DataError),
    "huge integer": (10**400, DataError),
    "text": ("red", ColumnTypeError),
    "number as text": ("3.5", ColumnTypeError),
    "decimal comma": ("3,5", ColumnTypeError),
    "thousands": ("1,234.5", ColumnTypeError),
    "percent": ("12%", ColumnTypeError),
    "money": ("$12", ColumnTypeError),
    "date": ("2024-01-01", ColumnTypeError),
    "error cell": ("#DIV/0!", ColumnTypeError),
    "dash": ("-", ColumnTypeError),
    "dot": (".", ColumnTypeError),
    "blank": (" ", ColumnTypeError),
    "NUL": ("\0", ColumnTypeError),
    "line breaks": ("1\n2\r3", ColumnTypeError),
    "escape codes": ("\x1b[31m", ColumnTypeError),
    "long text": ("9" * 100_000 + "x", ColumnTypeError),
    "bytes": (b"\xff\xfe", ColumnTypeError),
    "complex": (1j, ColumnTypeError),
    "list": ([1.0], ColumnTypeError),
    "dict": ({}, ColumnTypeError),
    "object": (object(), ColumnTypeError),
    "timestamp": (pd.Timestamp("2024"), ColumnTypeError),
    "duration": (pd.Timedelta("1s"), ColumnTypeError),
}


@pytest.mark.parametrize("column", ["a", "y"])
@pytest.mark.parametrize("name", ENTRIES)
def test_bad_entries(name: str, column: str) -> None:
    entry, kind = ENTRIES[name]
    entries = table()[column].tolist()
    entries[41] = entry
    bad = {**table().to_dict("list"), column: np.array([*entries, None], dtype=object)[:-1]}
    assert_refused(lambda: make_dataset(bad, SPEC), kind, f"'{column}'", "row 41")
    assert any(issue.column == column for issue in jm.check(bad, SPEC).errors)


def columns() -> Iterator[tuple[str, Any, type[JointmixError], str]]:
    """Column b in the place of a good one: name, values, error, word."""
    yield "constant", np.ones(N), DataError, "constant"
    yield "tiny", np.arange(N) * 1e-200, DataError, "varies by only"
    yield "empty", np.full(N, np.nan), DataError, "missing entries: 60"
    yield "copy", table()["a"], DataError, "collinear"
    yield "nearly a copy", table()["a"] + 1e-8 * table()["b"], DataError, "collinear"
    yield "affine copy", 5 - 3e-2 * table()["a"], DataError, "collinear"
    yield "one category", pd.Series(pd.Categorical(["u"] * N)), DataError, "one level only"
    yield "dates", pd.date_range("2020", periods=N), ColumnTypeError, "datetime64"
    yield "durations", pd.timedelta_range("1s", periods=N), ColumnTypeError, "timedelta64"
    yield "periods", pd.period_range("2020", periods=N), ColumnTypeError, "row 0"
    yield "intervals", pd.interval_range(0, N), ColumnTypeError, "row 0"
    yield "complex", 1j * np.arange(N), ColumnTypeError, "complex128"
    yield "texts", ["x"] * N, DataError, "one level only"
    yield "numbers as texts", [str(i) for i in range(N)], ColumnTypeError, "as text"
    yield "tuples", [(1, 2)] * N, (DataError), "'b'"
    yield "void", np.zeros(N, dtype="V4"), ColumnTypeError, "'b'"
    yield "structured", np.zeros(N, dtype=[("u", float)]), ColumnTypeError, "'b'"


@pytest.mark.parametrize(
    ("name", "values", "kind", "word"), list(columns()), ids=[each[0] for each in columns()]
)
def test_bad_columns(name: str, values: Any, kind: type[JointmixError], word: str) -> None:
    assert name
    bad = {**table().to_dict("list"), "b": values}
    assert_refused(lambda: make_dataset(bad, SPEC), kind, word)
    assert jm.check(bad, SPEC).errors


def shapes() -> Iterator[tuple[str, Any, str]]:
    """Tables that are none, or lack something: name, table, word."""
    good = table()
    lists = good.to_dict("list")
    yield "none", None, "NoneType"
    yield "number", 3, "int"
    yield "text", "t.csv", "no such file"
    yield "path", Path("t.csv"), "no such file"
    yield "list", [1, 2], "list"
    yield "records", good.to_dict("records"), "list"
    yield "series", good["a"], "Series"
    yield "array", good.to_numpy(), "shape (60, 3)"
    yield "array of one dimension", good["a"].to_numpy(), "shape (60,)"
    yield "generator", (i for i in range(3)), "generator"
    yield "class", pd.DataFrame, "type"
    yield "empty dict", {}, "no columns 'a', 'b', 'y'"
    yield "empty frame", pd.DataFrame(), "no columns 'a', 'b', 'y'"
    yield "no rows", good[:0], "no rows"
    yield "empty lists", {"a": [], "b": [], "y": []}, "no rows"
    yield "numbers for names", pd.DataFrame(good.to_numpy()), "no columns"
    yield "spaces in names", good.add_prefix(" "), "did you mean ' a'"
    yield "capitals", good.rename(columns=str.upper), "did you mean 'A'"
    yield "two of a name", good.set_axis(["a", "b", "b"], axis=1), "'b' more than once"
    yield "arrow, two of a name", pa.table([[1], [2]], names=["a", "a"]), "'a' more than once"
    yield (
        "levels of names",
        good.set_axis(pd.MultiIndex.from_tuples([("a", 1), ("b", 1), ("y", 1)]), axis=1),
        "no columns",
    )
    yield "lengths", {**lists, "y": [1.0]}, "'y' has 1"
    yield "scalar column", {**lists, "b": 1.0}, "'b' must be one-dimensional"
    yield "matrix column", {**lists, "b": np.ones((N, 2))}, "'b' must be one-dimensional"
    yield "frame column", {**lists, "b": good}, "'b'"
    yield "ragged column", {**lists, "b": [[1.0], [1.0, 2.0]]}, "'b'"
    yield "set column", {**lists, "b": set(range(N))}, "'b' must be one-dimensional"
    yield "none column", {**lists, "b": None}, "'b' must be one-dimensional"
    yield (
        "xarray of two dims",
        xr.Dataset({"a": (("u", "v"), np.ones((2, 2))), "b": ("u", [1, 2]), "y": ("u", [1, 2])}),
        "'a' must be one-dimensional",
    )
    for n in range(1, 6):
        yield f"{n} rows", good[:n], f"at least 6 rows (K = 2), got {n}"


@pytest.mark.parametrize(
    ("name", "bad", "word"), list(shapes()), ids=[each[0] for each in shapes()]
)
def test_bad_tables(name: str, bad: Any, word: str) -> None:
    assert name
    assert_refused(lambda: make_dataset(bad, SPEC), DataError, word)


def files() -> Iterator[tuple[str, bytes, str]]:
    """Files that hold no table: name, bytes, word."""
    yield "empty.csv", b"", "empty"
    yield "blank.csv", b"\n\n\n", "empty"
    yield "bom.csv", b"\xef\xbb\xbf", "empty"
    yield "header.csv", b"a,b,y\n", "no rows"
    yield "ragged.csv", b"a,b,y\n1,2,3\n4,5\n", "line 3"
    yield "long.csv", b"a,b,y\n1,2,3,4\n", "line 2"
    yield "twice.csv", b"a,b,b\n1,2,3\n", "'b' more than once"
    yield "semicolon.csv", b"a;b;y\n1;2;3\n", "needs commas"
    yield "tabs.csv", b"a\tb\ty\n1\t2\t3\n", "needs commas"
    yield "commas.tsv", b"a,b,y\n1,2,3\n", "need tabs"
    yield "nul.csv", b"a,b\n1,\x002\n", "NUL"
    yield "latin.csv", "a,b\n1,\xe9\n".encode("latin-1"), "line 2"
    yield "utf16.csv", "a,b\n1,2\n".encode("utf-16"), "line 1"
    yield "quote.csv", b'a,b\n"1,2\n', "line"
    yield "quoted.csv", b'a,b\n"1"2,3\n', "line 2"
    yield "table.xlsx", b"PK\x03\x04", "'.xlsx'"
    yield "table.json", b"{}", "'.json'"
    yield "table", b"a\n1\n", "''"
    yield "text.parquet", b"a,b\n1,2\n", "parquet"
    yield "empty.parquet", b"", "parquet"
    yield "cut.parquet", b"PAR1\x00\x00", "parquet"
    yield "binary.csv", bytes(range(256)), "NUL"
    yield "field.csv", b"a,b\n" + b"x" * 200_000 + b",1\n", "line 2"


@pytest.mark.parametrize(("name", "raw", "word"), list(files()), ids=[each[0] for each in files()])
def test_bad_files(name: str, raw: bytes, word: str, tmp_path: Path) -> None:
    (tmp_path / name).write_bytes(raw)
    assert_refused(lambda: read_table(tmp_path / name), DataError, name, word)


@pytest.mark.parametrize("path", ["no.csv", ".", "", "a\0b.csv", "x" * 300 + ".csv", None, 3, b"x"])
def test_bad_paths_of_tables(path: Any) -> None:
    assert_refused(lambda: read_table(path), DataError)


GOOD_RECIPE = """
[data]
path = "t.csv"
features = ["a", "b"]
predictors = ["a"]
response = "y"
[model]
clusters = 2
[sampler]
draws = 100
"""


def recipes() -> Iterator[tuple[str, str, str]]:
    """Recipes that are none: name, text, word."""
    yield "nothing", "", "clusters"
    yield "not TOML", "clusters: 2", "not TOML"
    yield "unclosed", '[data]\npath = "t', "not TOML"
    yield "twice", "[model]\nclusters = 2\nclusters = 3", "not TOML"
    yield "deep", "a = " + "[" * 3000, "not TOML"
    yield "unknown table", "[mdoel]\nclusters = 2", "did you mean 'model'"
    yield "unknown key", "[model]\nclusters = 2\ncluster = 3", "did you mean 'clusters'"
    yield "table for text", "data = 3\n[model]\nclusters = 2", "[data] must be a table"
    replaced = [
        ("clusters = 2", f"clusters = {value}", "n_clusters")
        for value in ("0", "-1", "2.5", '"two"', "true", "nan", "[2]")
    ]
    replaced += [
        ('features = ["a", "b"]', f"features = {value}", "features")
        for value in ('"a"', "3", '["a", "a"]', "[1]", '[""]', '[["a"]]', "true")
    ]
    replaced += [('response = "y"', f"response = {v}", "response") for v in ('"a"', "3", '""')]
    replaced += [
        ("draws = 100", f"draws = {value}", "draws") for value in ("0", "3", "1.5", '"x"', "inf")
    ]
    replaced += [
        ("draws = 100", f"{key} = {value}", key)
        for key, value in (
            ("tune", "0"), ("chains", "0"), ("starts", "-1"), ("seed", "-1"), ("seed", "1.5"),
            ("scouts", "-1"), ("cores", "0"), ("sampler", '"hmc"'), ("sampler", "3"),
            ("backend", '"gpu"'), ("adaptation", '"none"'), ("target_accept", "1.0"),
            ("target_accept", '"x"'), ("target_accept", "nan"), ("chain_method", "[]"),
        )
    ]  # fmt: skip
    replaced += [
        ("[sampler]", f"{key} = {value}\n[sampler]", key)
        for key, value in (
            ("covariance", '"round"'), ("noise", '"loud"'), ("intercept", '"no"'),
            ("standardize", "1"), ("ordering", '"mean[z]"'), ("ordering", "3"),
            ("covariance", '"fixed"'), ("noise", '"fixed"'),
        )
    ]  # fmt: skip
    replaced += [
        ("[sampler]", f"[priors.{name}]\n{value}\n[sampler]", word)
        for name, value, word in (
            ("mean", "", "family"), ("mean", 'family = "cauchy"', "cauchy"),
            ("mean", 'family = "normal"\nscale = 0', "scale"),
            ("mean", 'family = "normal"\nscale = "x"', "scale"),
            ("mean", 'family = "normal"\nloc = inf', "loc"),
            ("mean", 'family = "normal"\nsd = 1', "sd"),
            ("mean", 'family = "gamma"', "mean"), ("sd", 'family = "normal"', "sd"),
            ("sigma", 'family = "fixed"', "value"),
            ("sigma", 'family = "fixed"\nvalue = []', "Fixed"),
            ("slope", 'family = "fixed"\nvalue = [1, [2]]', "Fixed"),
            ("slope", 'family = "fixed"\nvalue = [1, 2, 3]', "slope"),
            ("weight", 'family = "fixed"\nvalue = [0.5, 0.6]', "sum to 1"),
            ("weight", 'family = "dirichlet"\nconcentration = -1', "concentration"),
            ("correlations", 'family = "lkj"', "did you mean 'correlation'"),
            ("correlation", 'family = "lkj"\neta = nan', "eta"),
            ("covariance", 'family = "fixed"\nvalue = 1', "covariance"),
        )
    ]  # fmt: skip
    replaced += [
        ("[sampler]", f"[report]\n{value}\n[sampler]", "report")
        for value in ("path = 3", "title = []", 'sections = ["nothing"]', 'sections = "data"')
    ]
    for old, new, word in replaced:
        yield new.replace("\n", " ")[:50], GOOD_RECIPE.replace(old, new), word


@pytest.mark.parametrize(
    ("name", "text", "word"), list(recipes()), ids=[each[0] for each in recipes()]
)
def test_bad_recipes(name: str, text: str, word: str) -> None:
    assert name
    assert_refused(lambda: parse_recipe(text), SpecError, word)


@pytest.mark.parametrize(
    "raw", [b"\xff\xfe", b"x" * 1_000_001, b"\0", "[model] # \xe9".encode("latin-1")]
)
def test_bad_recipe_files(raw: bytes, tmp_path: Path) -> None:
    (tmp_path / "r.toml").write_bytes(raw)
    assert_refused(lambda: jm.read_recipe(tmp_path / "r.toml"), SpecError, "r.toml")


VALUES: dict[str, Any] = {
    "none": None,
    "negative": -1,
    "half": 0.5,
    "text": "x",
    "nan": float("nan"),
    "inf": float("inf"),
    "true": True,
    "empty list": [],
    "matrix": np.zeros((2, 2)),
    "object": object(),
}


@pytest.fixture(scope="module")
def small_fit() -> xr.DataTree:
    return jm.fit(table(), SPEC)


#: Calls with one bad argument, and the values among those above that it may take.
ARGUMENTS: dict[str, tuple[Callable[[xr.DataTree, Any], object], set[str]]] = {
    "fit spec": (lambda _, v: jm.fit(table(), v), set()),
    "fit seed": (lambda _, v: jm.fit(table(), SPEC, seed=v), set()),
    "fit progress": (lambda _, v: jm.fit(table(), SPEC, progress=v), {"none", "true"}),
    "fit control": (lambda _, v: jm.fit(table(), SPEC, control=v), {"none"}),
    "check spec": (lambda _, v: jm.check(table(), v), set()),
    "check seed": (lambda _, v: jm.check(table(), SPEC, seed=v), set()),
    "check em": (lambda _, v: jm.check(table(), SPEC, em=v), {"true"}),
    "fit_em table": (lambda _, v: jm.fit_em(v, SPEC), set()),
    "build_model table": (lambda _, v: jm.build_model(v, SPEC), set()),
    "build_model spec": (lambda _, v: jm.build_model(table(), v), set()),
    "fit_em seed": (lambda _, v: jm.fit_em(table(), SPEC, v), set()),
    "compare spec": (lambda _, v: jm.compare(table(), v, [1, 2]), set()),
    "compare numbers": (lambda _, v: jm.compare(table(), SPEC, v), set()),
    "compare a number": (lambda _, v: jm.compare(table(), SPEC, [1, v]), set()),
    "compare seed": (lambda _, v: jm.compare(table(), SPEC, [1, 2], seed=v), set()),
    "compare jobs": (lambda _, v: jm.compare(table(), SPEC, [1, 2], jobs=v), {"negative"}),
    "compare covariance": (lambda _, v: jm.compare(table(), SPEC, [1, 2], covariance=v), {"none"}),
    "compare noise": (lambda _, v: jm.compare(table(), SPEC, [1, 2], noise=v), {"none"}),
    "crosstab column": (lambda t, v: jm.crosstab(t, v), set()),
    "crosstab interval": (lambda t, v: jm.crosstab(t, table()["a"] > 2, interval=v), {"half"}),
    "with_groups column": (lambda t, v: jm.with_groups(t, v), set()),
    "predict quantiles": (lambda t, v: jm.predict(t, None, v), {"half", "empty list"}),
    "density points": (
        lambda t, v: jm.predictive_density(t, None, v), {"negative", "half"},
    ),
    "responsibilities quantiles": (
        lambda t, v: jm.responsibilities(t, None, v), {"half", "empty list"},
    ),
    "allocation_draws seed": (lambda t, v: jm.allocation_draws(t, None, v), set()),
    "coclustering rows": (lambda t, v: jm.coclustering(t, v), {"none", "empty list"}),
    "coclustering most": (lambda t, v: jm.coclustering(t, most=v), set()),
    "partition loss": (lambda t, v: jm.partition(t, v), set()),
    "partition seed": (lambda t, v: jm.partition(t, seed=v), set()),
    "loo most_rows": (lambda t, v: jm.loo(t, v), set()),
    "loo seed": (lambda t, v: jm.loo(t, seed=v), set()),
    "kfold folds": (lambda t, v: jm.kfold(t, v), set()),
    "kfold seed": (lambda t, v: jm.kfold(t, 2, seed=v), set()),
    "kfold jobs": (lambda t, v: jm.kfold(t, 2, jobs=v), {"negative"}),
    "reloo scores": (lambda t, v: jm.reloo(t, v), set()),
    "contrasts parameters": (lambda t, v: jm.contrasts(t, v), {"none"}),
    "contrasts interval": (lambda t, v: jm.contrasts(t, interval=v), {"half"}),
    "summary interval": (lambda t, v: jm.summary(t, v), {"half"}),
    "identify method": (lambda t, v: jm.identify(t, method=v), set()),
    "report path": (lambda t, v: jm.report(t, v), {"text"}),
    "report title": (lambda t, v: jm.report(t, "never.html", title=v), {"none", "text"}),
    "report sections": (
        lambda t, v: jm.report(t, "never.html", sections=v), {"none"},
    ),
    "save path": (lambda t, v: jm.save(t, v), set()),
    "load path": (lambda _, v: jm.load(v), set()),
    "simulate truth": (lambda _, v: simulate(v, 5, 1), set()),
    "simulate n": (lambda _, v: simulate(jm.four_clusters(), v, 1), set()),
    "simulate seed": (lambda _, v: simulate(jm.four_clusters(), 5, v), set()),
    "four_clusters": (lambda _, v: jm.four_clusters(v), set()),
    "replicate draws": (lambda t, v: jm.replicate(t, v), set()),
    "replicate seed": (lambda t, v: jm.replicate(t, 3, v), set()),
    "predictive_draws draws": (lambda t, v: jm.predictive_draws(t, draws=v), set()),
    "predictive_draws seed": (lambda t, v: jm.predictive_draws(t, seed=v), set()),
    "predictive_checks": (lambda _, v: jm.predictive_checks(v), set()),
    "prior_predictive draws": (lambda _, v: jm.prior_predictive(table(), SPEC, v), set()),
    "prior_predictive seed": (lambda _, v: jm.prior_predictive(table(), SPEC, 3, v), set()),
    "sparse spec": (lambda _, v: jm.sparse(v), set()),
    "sparse clusters": (lambda _, v: jm.sparse(SPEC, v), set()),
    "sparse concentration": (lambda _, v: jm.sparse(SPEC, 3, v), {"half"}),
    "write_recipe": (lambda _, v: jm.write_recipe(v, "never.toml"), set()),
    "read_recipe": (lambda _, v: jm.read_recipe(v), set()),
}  # fmt: skip


@pytest.mark.parametrize(
    ("call", "value"),
    [
        pytest.param(call, value, id=f"{call}={value}")
        for call, value in itertools.product(ARGUMENTS, VALUES)
        if value not in ARGUMENTS[call][1]
    ],
)
def test_bad_arguments(
    call: str, value: str, small_fit: xr.DataTree, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    kind = (SchemaError, DataError) if call in GIVEN else (SpecError, StorageError)
    if call == "coclustering rows":
        kind = (SpecError, DataError)
    assert_refused(lambda: ARGUMENTS[call][0](small_fit, VALUES[value]), kind)
    assert not list(tmp_path.iterdir())


#: Calls whose argument is neither a setting nor a path.
GIVEN = (
    *("predictive_checks", "fit_em table", "build_model table"),
    *("crosstab column", "with_groups column"),
)


NEEDS_A_FIT: dict[str, Callable[[Any], object]] = {
    "predict": jm.predict,
    "responsibilities": jm.responsibilities,
    "allocation_draws": jm.allocation_draws,
    "coclustering": jm.coclustering,
    "partition": jm.partition,
    "log_density": jm.log_density,
    "predictive_density": jm.predictive_density,
    "predictive_draws": jm.predictive_draws,
    "replicate": jm.replicate,
    "loo": jm.loo,
    "kfold": jm.kfold,
    "contrasts": jm.contrasts,
    "r_squared": jm.r_squared,
    "summary": jm.summary,
    "sensitivity": jm.sensitivity,
    "identify": jm.identify,
    "raw_draws": jm.raw_draws,
    "diagnose": jm.diagnose,
    "report": lambda tree: jm.report(tree, "never.html"),
    "save": lambda tree: jm.save(tree, "never.nc"),
}
NO_FIT: dict[str, Any] = {
    "none": None, "number": 3, "text": "x", "dict": {}, "xarray": xr.Dataset(),
    "empty tree": xr.DataTree(),
    "foreign": xr.DataTree.from_dict({"posterior": xr.Dataset({"mu": (("chain", "draw"),
                                                                      np.zeros((2, 9)))})}),
}  # fmt: skip


@pytest.mark.parametrize("tree", NO_FIT)
@pytest.mark.parametrize("function", NEEDS_A_FIT)
def test_trees_that_are_no_fits(function: str, tree: str, tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.chdir(tmp_path)
    if function == "save" and isinstance(NO_FIT[tree], xr.DataTree):
        pytest.skip("any tree can be stored")
    assert_refused(lambda: NEEDS_A_FIT[function](NO_FIT[tree]), (SchemaError, StorageError))
    assert not list(tmp_path.iterdir())


def damaged(tree: xr.DataTree) -> dict[str, xr.DataTree]:
    """A fit, damaged in one way each."""
    found = {}
    for group in ("posterior", "observed_data", "scaling", "invariant"):
        found[f"no {group}"] = tree.copy(deep=True)
        del found[f"no {group}"][group]
    for name in ("weight", "sigma"):
        found[f"no {name}"] = tree.copy(deep=True)
        found[f"no {name}"]["posterior"] = tree["posterior"].to_dataset().drop_vars(name)
    found["no draws"] = tree.sel(chain=[])
    found["components"] = tree.copy(deep=True)
    renamed = tree["posterior"].to_dataset().rename(cluster="component")
    found["components"]["posterior"] = renamed
    for name, spec in {"no spec": None, "broken spec": "{", "spec is a list": "[]"}.items():
        found[name] = tree.copy(deep=True)
        found[name].attrs["spec"] = spec
    return found


DAMAGES = ("no posterior", "no weight", "no sigma", "no draws", "components", "no spec",
           "broken spec", "spec is a list")  # fmt: skip


@pytest.mark.parametrize("damage", DAMAGES)
@pytest.mark.parametrize(
    "function", ["predict", "loo", "replicate", "coclustering", "r_squared", "allocation_draws"]
)
def test_damaged_fits(function: str, damage: str, small_fit: xr.DataTree) -> None:
    tree = damaged(small_fit)[damage]
    assert_refused(lambda: NEEDS_A_FIT[function](tree), SchemaError)


@pytest.mark.parametrize("function", ["predict", "loo", "replicate", "coclustering", "r_squared"])
def test_fits_without_their_rows(function: str, small_fit: xr.DataTree) -> None:
    tree = damaged(small_fit)["no observed_data"]
    assert_refused(lambda: NEEDS_A_FIT[function](tree), SchemaError, "observed_data")


def test_fits_without_scaling_or_what_was_followed(small_fit: xr.DataTree) -> None:
    found = damaged(small_fit)
    assert_refused(lambda: jm.identify(found["no scaling"]), SchemaError, "scaling")
    assert_refused(lambda: jm.sensitivity(found["no invariant"]), SchemaError, "invariant")


NEW_ROWS: dict[str, tuple[Any, type[JointmixError]]] = {
    "array": (np.zeros((3, 3)), DataError),
    "no rows": (table(0), DataError),
    "absent": (table()[["b"]], DataError),
    "infinite": (table().assign(a=np.inf), DataError),
    "huge": (table().assign(a=1e200), DataError),
    "text": (table().assign(a="x"), ColumnTypeError),
    "number": (3, DataError),
    "a fit": (xr.DataTree(), DataError),
}


@pytest.mark.parametrize("rows", NEW_ROWS)
@pytest.mark.parametrize(
    "function",
    [
        jm.predict, jm.responsibilities, jm.allocation_draws, jm.log_density,
        jm.predictive_density, jm.predictive_draws,
    ],
)  # fmt: skip
def test_bad_new_rows(function: Any, rows: str, small_fit: xr.DataTree) -> None:
    bad, kind = NEW_ROWS[rows]
    assert_refused(lambda: function(small_fit, bad), kind)


COMMANDS: dict[str, tuple[list[str], str]] = {
    "check, no recipe": (["check", "no.toml"], "no.toml"),
    "check, a folder": (["check", "."], "cannot be read"),
    "check, a table": (["check", "t.csv"], "not TOML"),
    "fit, no recipe": (["fit", "no.toml"], "no.toml"),
    "fit, no table": (["fit", "absent.toml"], "nothing.csv"),
    "fit, bad table": (["fit", "bad.toml"], "decimal comma"),
    "fit, name": (["fit", "good.toml", "--out", "fit.txt"], ".nc"),
    "fit, no folder": (["fit", "good.toml", "--out", "no/fit.nc"], "does not exist"),
    "fit, seed": (["fit", "good.toml", "--seed", "-1"], "seed"),
    "fit, text for a seed": (["fit", "good.toml", "--seed", "x"], "seed"),
    "run, bad table": (["run", "bad.toml"], "decimal comma"),
    "run, option": (["run", "good.toml", "--fast"], "--fast"),
    "report, no fit": (["report", "no.nc"], "no.nc"),
    "report, a table": (["report", "t.csv"], ".nc"),
    "report, damaged": (["report", "broken.nc"], "broken.nc"),
    "diagnose, no fit": (["diagnose", "no.nc"], "no.nc"),
    "predict, no fit": (["predict", "no.nc", "t.csv"], "no.nc"),
    "predict, quantile": (["predict", "no.nc", "t.csv", "--quantiles", "2"], "quantile"),
    "predict, text": (["predict", "no.nc", "t.csv", "--quantiles", "x"], "x"),
    "score, damaged": (["score", "broken.nc"], "broken.nc"),
    "score, rows": (["score", "broken.nc", "--most-rows", "0"], "most-rows"),
    "compare, range": (["compare", "good.toml", "--clusters", "3-1"], "3-1"),
    "compare, text": (["compare", "good.toml", "--clusters", "x"], "x"),
    "compare, jobs": (["compare", "good.toml", "--jobs", "0"], "jobs"),
    "simulate, rows": (["simulate", "--rows", "0"], "rows"),
    "simulate, features": (["simulate", "--features", "100000000"], "n_features"),
    "simulate, folder": (["simulate", "--out", "no/t.csv"], "does not exist"),
    "recover, no stream": (["recover", "good.toml", "--stream", "nothing"], "nothing"),
    "build, no folder": (["build", "nowhere"], "nowhere"),
    "unknown command": (["fti", "good.toml"], "fti"),
    "no argument": (["fit"], "SPEC"),
}


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    table().to_csv(tmp_path / "t.csv", index=False)
    bad = table().astype(object)
    bad.loc[3, "b"] = "3,5"
    bad.to_csv(tmp_path / "b.csv", index=False)
    (tmp_path / "good.toml").write_text(GOOD_RECIPE)
    (tmp_path / "bad.toml").write_text(GOOD_RECIPE.replace("t.csv", "b.csv"))
    (tmp_path / "absent.toml").write_text(GOOD_RECIPE.replace("t.csv", "nothing.csv"))
    (tmp_path / "broken.nc").write_bytes(b"\x89HDF\r\n" * 40)
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize("name", COMMANDS)
def test_bad_commands(name: str, folder: Path) -> None:
    arguments, word = COMMANDS[name]
    before = {path.name for path in folder.iterdir()}
    done = CliRunner().invoke(cli.app, arguments)
    assert done.exit_code == 2, done.output
    assert isinstance(done.exception, SystemExit)
    assert word in done.stderr
    assert "Traceback" not in done.stderr
    # Of typer's own messages the last line is the error; the package's are one line.
    assert done.stderr.strip().splitlines()[-1].lower().startswith("error: ")
    assert {path.name for path in folder.iterdir()} == before


@pytest.mark.parametrize("arguments", [["check", "bad.toml"], ["fit", "bad.toml"], ["run", "x"]])
def test_bad_commands_in_a_process_of_their_own(arguments: list[str], folder: Path) -> None:
    code = "import sys; from jointmix.cli import main; sys.argv[0] = 'jointmix'; main()"
    done = subprocess.run(
        [sys.executable, "-c", code, *arguments],
        capture_output=True, text=True, cwd=folder, timeout=60, check=False,
    )  # fmt: skip
    assert done.returncode == 2
    assert "Traceback" not in done.stdout + done.stderr


def nasty() -> Iterator[tuple[str, pd.DataFrame, ModelSpec]]:
    """Tables that can be fitted, however unlike a textbook's."""
    good = table()
    yield "offset of 1e9", good.assign(a=good["a"] + 1e9), SPEC
    yield "units of 1e6", good * 1e6, SPEC
    yield "units of 1e-12", good * 1e-12, SPEC
    yield "units of 1e100", good.assign(b=good["b"] * 1e100), SPEC
    yield "as few rows as can be", table(6), SPEC
    yield "one cluster, four rows", table(4), replace(SPEC, n_clusters=1)
    yield "heavy ties", good.round(0), SPEC
    yield "a column of 0 and 1", good.assign(b=(good["b"] > 0).astype(bool)), SPEC
    yield "each row ten times", pd.concat([table(12)] * 10, ignore_index=True), SPEC
    yield "an outlier", good.assign(b=good["b"].where(good.index != 5, 1e6)), SPEC
    yield "eight clusters", good, replace(SPEC, n_clusters=8)
    yield (
        "fixed noise beyond rounding",
        good.assign(y=2 * good["a"] + 1),
        replace(SPEC, noise="fixed", priors=jm.Priors(sigma=jm.Fixed(value=1e-9))),
    )
    yield "no noise", good.assign(y=2 * good["a"] + 1), SPEC
    yield "nearly collinear", good.assign(b=good["a"] + 1e-6 * good["b"]), SPEC
    yield "few digits", good.assign(b=1e9 + 1e-5 * good["b"]), SPEC


@pytest.mark.parametrize(("name", "data", "spec"), list(nasty()), ids=[each[0] for each in nasty()])
def test_nasty_tables_are_fitted(name: str, data: pd.DataFrame, spec: ModelSpec) -> None:
    began = time.monotonic()
    tree = jm.fit(data, spec)
    assert time.monotonic() - began < 60, name
    for variable in tree["posterior"].data_vars.values():
        assert np.isfinite(variable.values).all()
    weight = tree["posterior"]["weight"]
    # The sum of K rounded weights.
    np.testing.assert_allclose(weight.sum("cluster").values, 1, rtol=1e-12)
    assert tree.attrs["verdict"] in ("OK", "CAUTION", "DO NOT USE")
