"""What prints in a script and shows in a notebook is short, and made for people."""

from importlib.metadata import version

import numpy as np
import pandas as pd
import pytest
from synthetic import fitted_tree

import jointmix as jm
from jointmix.posterior.printed import Estimates


def test_values_print_as_their_texts() -> None:
    tree = fitted_tree(2, 2, 60)
    table = pd.DataFrame(tree["observed_data"]["x"].values, columns=["x1", "x2"])
    spec = jm.ModelSpec(n_clusters=2, features=("x1", "x2"))
    for found in (jm.diagnose(tree), jm.loo(tree), jm.check(table, spec)):
        assert repr(found) == str(found)
        assert len(str(found)) < 1_000
        assert not str(found).startswith(type(found).__name__)


@pytest.mark.parametrize("long", [False, True])
def test_a_summary_fits_eighty_columns(long: bool) -> None:
    found = jm.summary(fitted_tree(2, 2, 60))
    if long:
        found.index = found.index.str.replace("x1", "a_very_long_name_of_a_column_in_millimetres")
    lines = repr(found).splitlines()
    assert len(lines) == 2 + len(found)
    assert max(map(len, lines)) <= 80
    assert lines[0].split() == ["eti89", "eti89", "mcse", "ess", "ess"]
    assert lines[1].split() == ["mean", "sd", "lb", "ub", "mean", "bulk", "tail", "r_hat"]
    assert len({line.split("  ")[0] for line in lines[2:]}) == len(found)
    # Beside a pandas table of the same numbers nothing is missing, and nothing is rounded.
    assert isinstance(found, pd.DataFrame)
    assert found.loc["weight[cluster 1]", "mean"] == found["mean"].iloc[0]
    assert "eti89_lb" in found._repr_html_()
    assert repr(found["mean"]) == repr(pd.Series(found["mean"]))
    assert repr(found[["mean"]]) == repr(pd.DataFrame(found[["mean"]]))
    assert repr(found.T) == repr(pd.DataFrame(found.T))


def test_estimates_are_rounded_by_their_sd() -> None:
    rows = [
        (1234567.8, 45.6, "1234568", "46"), (-0.0004, 0.04, "0.000", "0.040"),
        (0.123456, 0.00123, "0.1235", "0.0012"), (812345678.0, 5432.1, "812345700", "5400"),
        (3.2e-9, 1.4e-10, "3.2e-09", "1.4e-10"), (5400.0, 690.0, "5400", "690"),
        (2.5, 0.0, "2.5", "0"),
    ]  # fmt: skip
    table = Estimates([row[:2] for row in rows], columns=["mean", "sd"])
    shown = table.shown()
    assert shown["mean"].tolist()[:3] == [row[2] for row in rows[:3]]
    assert float(shown["mean"][3]) == 812345700
    assert shown["mean"].tolist()[4:] == [row[2] for row in rows[4:]]
    assert shown["sd"].tolist() == [row[3] for row in rows]


def test_long_summaries_leave_out_rows() -> None:
    many = Estimates({"mean": np.arange(200.0), "sd": np.ones(200)})
    with pd.option_context("display.max_rows", 10):
        lines = repr(many).splitlines()
    assert len(lines) == 2 + 10 + 1
    assert lines[7] == "… 190 rows …"
    assert lines[6].split() == ["4", "4.0", "1.0"]
    assert lines[8].split() == ["195", "195.0", "1.0"]


def test_the_version_is_that_of_the_package() -> None:
    assert jm.__version__ == version("jointmix")
