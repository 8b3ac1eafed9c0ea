"""What prints in a script and shows in a notebook is short, and made for people."""

from dataclasses import replace
from importlib.metadata import version
from typing import Any

import html5lib
import numpy as np
import pandas as pd
import pytest
import xarray as xr
from synthetic import fitted_tree
from test_calibration import made_up
from test_certificate import certificate

import jointmix as jm
from jointmix.base.shown import SYMBOLS, WIDTH, Glance, shortened
from jointmix.posterior.printed import Estimates

MARKUP, LONG = "<b>&'\"" + "x" * 54, "spread over many " * 3 + "words here"
NAMES = (MARKUP, LONG)


def test_values_print_as_their_texts() -> None:
    tree = fitted_tree(2, 2, 60)
    table = pd.DataFrame(tree["observed_data"]["x"].values, columns=["x1", "x2"])
    spec = jm.ModelSpec(n_clusters=2, features=("x1", "x2"))
    for found in (jm.diagnose(tree), jm.loo(tree), jm.check(table, spec)):
        assert repr(found) == str(found)
        assert len(str(found)) < 1_000
        assert not str(found).startswith(type(found).__name__)


def comparison(tree: xr.DataTree) -> jm.Comparison:
    """Of three models, the second of which was not sampled."""
    columns = ("elpd", "elpd_diff", "diff_se", "bic", "icl")
    table = pd.DataFrame(
        [[-90.0, -4.26, 2.0, 210.5, 211.5], [np.nan] * 3 + [205.25, 240.0],
         [-85.74, 0.0, 0.0, 200.0, 202.0]],
        index=pd.Index([1, 2, 3], name="n_clusters"), columns=columns,
    )  # fmt: skip
    return jm.Comparison(table.assign(verdict=["OK", "", "CAUTION"]), {3: tree}, 3, f"{LONG}. " * 9)


def results() -> dict[str, Any]:
    """Results of columns, groups and sites with names of 60 signs, some of them markup."""
    tree = fitted_tree(2, 2, 60, names=NAMES, response_name="<script>alert(1)</script>")
    table = pd.DataFrame(tree["observed_data"]["x"].values, columns=list(NAMES))
    groups = pd.Series(np.array([MARKUP, "b"])[np.arange(60) % 2], name=LONG)
    text = table.assign(**{MARKUP: "n\x1b[31m" + "z" * 500})
    spec = jm.ModelSpec(n_clusters=2, features=NAMES)
    worst = certificate().differences[0]
    return {
        "loo": jm.loo(tree),
        "diagnose": replace(
            (sound := jm.diagnose(tree)),
            verdict="DO NOT USE",
            findings=tuple(
                replace(each, status="fail", subject=MARKUP, message=f"{LONG}.")
                for each in sound.findings[:3]
            ),
        ),
        "compare": comparison(tree),
        "check": jm.check(pd.concat([table] * 2), spec, em=False),
        "refused": jm.check(text, replace(spec, features=dict.fromkeys(NAMES, "normal"))),
        "certificate": certificate(
            differences=(replace(worst, size=1.0, block=MARKUP),), findings=(f"{LONG} {MARKUP}.",)
        ),
        "calibration": made_up(),
        "not calibrated": made_up(wrong=True),
        "crosstab": jm.crosstab(tree, groups),
        "diff": jm.diff(tree, tree),
        "evidence": jm.Evidence(-1234.5678, 0.0123),
        "summary": jm.summary(tree),
    }


@pytest.fixture(scope="module")
def shown() -> dict[str, Any]:
    return results()


def test_all_results_print_in_a_window(shown: dict[str, Any]) -> None:
    for name, found in shown.items():
        lines = repr(found).splitlines()
        assert str(found) == repr(found)
        assert max(map(len, lines)) <= WIDTH, name
        assert len(lines) <= 25, name
        assert all(sign.isprintable() for line in lines for sign in line), name


def cells(page: str) -> list[list[str]]:
    """The texts of a page's table, row by row."""
    root = html5lib.HTMLParser(strict=True, namespaceHTMLElements=False).parseFragment(page)
    assert {each.tag for each in root.iter() if isinstance(each.tag, str)} <= {
        *("DOCUMENT_FRAGMENT", "div", "p", "strong", "style"),
        *("table", "thead", "tbody", "tr", "th", "td"),
    }
    return [["".join(cell.itertext()) for cell in row] for row in root.iter("tr")]


def test_all_results_are_tables_in_a_notebook(shown: dict[str, Any]) -> None:
    found = {name: cells(each._repr_html_()) for name, each in shown.items()}
    for line, (name, own) in zip(found["loo"][1:], shown["loo"].table.iterrows(), strict=True):
        assert line == [str(name), *(f"{own[each]:.1f}" for each in ("elpd", "se", "p"))]
    assert found["crosstab"][1:] == [
        [str(group), *map(str, counts)] for group, counts in shown["crosstab"].counts.iterrows()
    ]
    assert found["evidence"][1] == ["this model", "-1,234.57", "0.012"]
    where = f"kernel and SciPy at point 3, {MARKUP}[1, 0]"
    assert found["certificate"][1] == ["✕ gradient", "1.0e+00", "1e-09", where]
    table = shown["not calibrated"].table
    first, p, *_ = found["not calibrated"][1]
    assert (first, p) == ("✕ mean[1, x]", f"{table.loc['mean[1, x]', 'p_holm']:.2g}")
    assert found["compare"][1:] == [
        ["1", "-90.0", "-4.3", "2.0", "210.5", "211.5", "OK"],
        ["2", "–", "–", "–", "205.2", "240.0", "–"],
        ["3", "-85.7", "0.0", "0.0", "200.0", "202.0", "CAUTION"],
    ]
    concerns = shown["diagnose"].concerns
    assert len(concerns) == 3
    assert [row[1] for row in found["diagnose"][1:]] == [each.message for each in concerns]
    issues = shown["check"].issues
    assert len(issues) > 1
    assert [row[0] for row in found["check"][1:]] == [f"! {issue.code}" for issue in issues]
    assert [row[0] for row in found["refused"][1:]] == ["✕ not_a_number"]
    assert f"mean[cluster 1, {MARKUP}]" in [row[0] for row in found["summary"]]


def test_a_glance_is_cut_after_twelve_rows() -> None:
    page = Glance(head="h", columns=("a",), rows=tuple((str(i),) for i in range(30))).html()
    assert [row[0] for row in cells(page)] == ["a", *map(str, range(12))]
    assert "18 more rows are left out." in page
    assert shortened("abcdefghij", 5) == "ab…ij"
    assert SYMBOLS["fail"] == "✕"


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
