"""Tables of reports as CSV: plain numbers, the same bytes, and the values of the fit."""

import csv
import io
from pathlib import Path

import pytest
from synthetic import fitted_tree

import jointmix as jm
from jointmix.reporting.columns import table_csv
from jointmix.reporting.elements import Cell, Table, text_cells


def read(text: str) -> list[list[str]]:
    return list(csv.reader(io.StringIO(text)))


@pytest.mark.parametrize(
    ("text", "values"),
    [
        ("1,234.50", ["1234.50"]),
        ("\N{MINUS SIGN}0.5", ["-0.5"]),
        ("1.2×10\u207b\u2079", ["1.2e-9"]),
        ("12.3%", ["0.123"]),
        ("100.0%", ["1.000"]),
        ("\N{EN DASH}", [""]),
        ("6.1 [\N{MINUS SIGN}5.5, 1,006.7]", ["6.1", "-5.5", "1006.7"]),
        ("[1, 2]", ["1", "2"]),
        ("2.85 ± 0.70", ["2.85", "0.70"]),
        ("> 0.999", ["> 0.999"]),
        ("=1+1", ["'=1+1"]),
    ],
)
def test_numbers_are_plain(text: str, values: list[str]) -> None:
    table = Table(caption="c", columns=text_cells("row", "v"), rows=(text_cells("a", text),))
    assert read(table_csv(table))[1] == ["a", *values]


def test_details_that_are_intervals_have_columns() -> None:
    row = (Cell(text="a"), Cell(text="1.5", detail="[1.0, 2.0]"))
    found = read(table_csv(Table(caption="c", columns=text_cells("row", "v"), rows=(row,))))
    assert found == [["row", "v", "v, lower", "v, upper"], ["a", "1.5", "1.0", "2.0"]]


def test_every_table_has_a_file_of_the_fits_own_numbers(tmp_path: Path) -> None:
    tree = fitted_tree()
    for name in ("one", "two"):
        jm.report(tree, tmp_path / f"{name}.md", sections=["estimates"], csv=tmp_path / name)
    files = sorted(path.name for path in (tmp_path / "one").iterdir())
    assert files == sorted(path.name for path in (tmp_path / "two").iterdir())
    for name in files:
        assert (tmp_path / "one" / name).read_bytes() == (tmp_path / "two" / name).read_bytes()
    first = read((tmp_path / "one" / files[0]).read_text("utf-8"))
    line = dict(zip(first[0], next(row for row in first if row[0] == "weight"), strict=True))
    summary = jm.summary(tree).loc["weight[cluster 1]"]
    # Two digits of the standard deviation are shown.
    near = pytest.approx(summary["mean"], abs=summary["sd"] / 10)
    assert float(line["Cluster 1"]) == near
    assert float(line["Cluster 1, lower"]) == pytest.approx(
        summary["eti89_lb"], abs=summary["sd"] / 10
    )
