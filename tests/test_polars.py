"""Polars tables are read as all others are.

Apart from `test_data`, because threads that polars has started do not live on in the forked
processes of mutation testing.
"""

import re

import numpy as np
import polars as pl
import pytest
from test_data import EXPECTED, HOSTILE, SPEC, TABLE, A, B, replaced

from jointmix.base.errors import ColumnTypeError, DataError
from jointmix.model.dataset import make_dataset
from jointmix.model.spec import ModelSpec
from jointmix.tables.columns import read_columns

CONTAINERS = {
    "dict of series": {name: pl.Series(values) for name, values in TABLE.items()},
    "frame": pl.DataFrame(TABLE),
    "float32": pl.DataFrame(TABLE).cast(pl.Float32),
    "decimal": pl.DataFrame(TABLE).cast(pl.Decimal(10, 2)),
}


@pytest.mark.parametrize("table", CONTAINERS.values(), ids=CONTAINERS.keys())
def test_frames_give_the_same_dataset(table: object) -> None:
    dataset = make_dataset(table, SPEC)
    np.testing.assert_array_equal(dataset.values, EXPECTED, strict=True)
    assert dataset.digest == make_dataset(TABLE, SPEC).digest


def test_bools_are_zero_and_one() -> None:
    column = pl.Series([True, False])
    np.testing.assert_array_equal(read_columns({"a": column}, ["a"])["a"], [1.0, 0.0])


def test_null_is_nan() -> None:
    found = read_columns(pl.DataFrame({"a": [1, None, 3]}), ["a"])["a"]
    np.testing.assert_array_equal(found, [1.0, np.nan, 3.0])


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_names_pass(name: str) -> None:
    spec = ModelSpec(n_clusters=1, features=[name])
    assert make_dataset(pl.DataFrame({name: A}), spec).columns == (name,)


BAD_TABLES = {
    "text": (
        pl.DataFrame(replaced("y", list("abcdefgh"))),
        ColumnTypeError,
        "row 0 (from 0) holds the text 'a'",
    ),
    "enum": (
        replaced("y", pl.Series(list("abababab"), dtype=pl.Enum(["a", "b"]))),
        ColumnTypeError,
        "categories",
    ),
    "lists": (pl.DataFrame(replaced("b", [[i] for i in B])), ColumnTypeError, "row 0"),
}


@pytest.mark.parametrize(("table", "kind", "words"), BAD_TABLES.values(), ids=BAD_TABLES.keys())
def test_bad_tables_are_refused_by_name(table: object, kind: type, words: str) -> None:
    with pytest.raises(DataError, match=re.escape(words)) as caught:
        make_dataset(table, SPEC)
    assert type(caught.value) is kind
