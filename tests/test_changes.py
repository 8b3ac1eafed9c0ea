"""The page of two fits: what it says, whatever the two models have in common."""

import json
import shutil
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import html5lib
import numpy as np
import pytest
import xarray as xr
from synthetic import fitted_tree
from test_building import put
from test_cli import assert_refused, call, names

import jointmix as jm
from jointmix.base.errors import MissingExtraError, SchemaError, SpecError
from jointmix.cli import since
from jointmix.cli.building import build
from jointmix.cli.since import replace_fit, since_last
from jointmix.model.simulate import four_clusters, simulate
from jointmix.reporting import documents, report
from jointmix.reporting.both import Pair
from jointmix.reporting.documents import side_document
from jointmix.reporting.elements import Badge, Figure, Table, flat
from jointmix.reporting.pdf import require_pdf
from jointmix.reporting.plain import to_json, to_markdown
from jointmix.reporting.render import render


def moved(tree: xr.DataTree, by: float = 6.0) -> xr.DataTree:
    """The same fit, whose first cluster's first mean lies ``by`` standard deviations higher."""
    found = tree.copy(deep=True)
    mean = found["posterior"]["mean"]
    own = mean[{"cluster": 0, "feature": 0}]
    found["posterior"]["mean"][{"cluster": 0, "feature": 0}] = own + by * float(own.std())
    found.attrs["data_hash"] = "another table"
    return found


@pytest.fixture(scope="module")
def tree() -> xr.DataTree:
    return fitted_tree()


def document(one: xr.DataTree, other: xr.DataTree) -> Any:
    return side_document({"October": one, "November": other})


def badge(found: Any) -> Badge:
    return next(e for s in found.sections for e in flat(s.elements) if isinstance(e, Badge))


def test_the_page_says_what_diff_says(tree: xr.DataTree) -> None:
    other = moved(tree)
    side, found = jm.diff(tree, other), document(tree, other)
    name = tree["posterior"]["feature"].values[0]
    # 6 sd apart is 6/√2 errors: beyond the limit of about 3.3.
    assert list(side.moved.index) == [f"mean[cluster 1, {name}]"]
    assert badge(found).verdict == "CHANGED"
    assert badge(found).text.startswith(f"1 of {len(side.table)} quantities differs")
    tables = [e for s in found.sections for e in flat(s.elements) if isinstance(e, Table)]
    (own,) = [t for t in tables if t.caption.startswith("Quantities that changed")]
    (line,) = own.rows
    assert line[0].cluster == 0
    assert line[1].text == f"mean {name}"
    assert line[5].text == f"{6 / np.sqrt(2):.1f}"
    assert "1 of" in to_markdown(found)
    text = json.loads(to_json(found))
    assert [s["id"] for s in text["sections"]] == ["changes", "quantities", "rows", "checks",
                                                   "method"]  # fmt: skip


def test_one_fit_twice_has_not_changed(tree: xr.DataTree) -> None:
    found = document(tree, tree)
    assert (badge(found).status, badge(found).verdict) == ("ok", "NO CHANGE BEYOND ERROR")
    assert "No quantity changed by more than its error." in to_markdown(found)
    assert "100.0% of them stay" in to_markdown(found)


def test_counterparts_have_one_mark(tree: xr.DataTree) -> None:
    """Whatever their numbers: the second fit has its clusters the other way round."""
    other = tree.copy()
    k = tree["posterior"].sizes["cluster"]
    for group in ("posterior", "allocation"):
        data = tree[group].to_dataset().isel(cluster=slice(None, None, -1))
        data = data.assign_coords(cluster=np.arange(1, k + 1))
        if group == "allocation":
            data["allocation"] = k + 1 - data["allocation"]
        other[group] = xr.DataTree(data)
    found = document(tree, other)
    assert badge(found).status == "ok"
    section = found.sections[0]
    (figure,) = [e for e in flat(section.elements) if isinstance(e, Figure)]
    assert [(row[0].text, row[1].text) for row in figure.table.rows] == [
        (f"Cluster {i + 1}", f"Cluster {k - i}") for i in range(k)
    ]


def test_marks_follow_counterparts_and_others_get_new_ones() -> None:
    views: Any = (SimpleNamespace(clusters=(1, 2, 3)), SimpleNamespace(clusters=(1, 2, 3)))
    pair = Pair.of(views, {1: 3, 2: 1})
    assert pair.places == ({0: 0, 1: 1, 2: 2}, {2: 0, 0: 1, 1: 3})


KINDS: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "one cluster, then three": ({"n_clusters": 1}, {"n_clusters": 3}),
    "no response, then one": ({"response": False}, {}),
    "no features": ({"features": False}, {"features": False}),
    "no predictors, then some": ({"n_features": 1, "predictors": []}, {"n_features": 1}),
    "long names": ({"names": ["a rather long name of a column, " + c for c in "abc"]},) * 2,
}


@pytest.mark.parametrize("kinds", KINDS.values(), ids=KINDS)
def test_any_two_models(kinds: tuple[dict[str, Any], dict[str, Any]]) -> None:
    found = document(*(fitted_tree(n_obs=120, **kind) for kind in kinds))
    html5lib.HTMLParser(strict=True).parse(render(found))
    assert badge(found).status in ("ok", "caution")


def test_what_must_not_be_used_is_withheld(tree: xr.DataTree) -> None:
    failed = tree.copy()
    failed.attrs["verdict"] = "DO NOT USE"
    found = document(tree, failed)
    assert badge(found).verdict == "DO NOT USE"
    assert "the fit November failed" in badge(found).text
    assert {s.id for s in found.sections if s.withheld} == {"quantities", "rows"}


def test_a_list_of_two_fits_is_a_result(tree: xr.DataTree, tmp_path: Path) -> None:
    other = moved(tree)
    for ending in ("html", "md", "json"):
        places = [report([tree, other], tmp_path / f"{i}.{ending}") for i in range(2)]
        assert places[0].read_bytes() == places[1].read_bytes()
    assert "From the first fit to the second fit" in (tmp_path / "0.md").read_text("utf-8")
    with pytest.raises(SpecError, match="got 3 fits"):
        report([tree, tree, tree], tmp_path / "r.html")
    with pytest.raises(SpecError, match="one form only"):
        report([tree, tree], tmp_path / "r.html", short=True)
    with pytest.raises(SchemaError, match="two of them"):
        report([tree, "fit.nc"], tmp_path / "r.html")  # type: ignore[list-item]


def test_the_pdf_of_two_fits_is_the_same_each_time(tree: xr.DataTree, tmp_path: Path) -> None:
    try:
        require_pdf()
    except MissingExtraError as error:
        pytest.skip(str(error))
    other = moved(tree)
    first, again = (report([tree, other], tmp_path / f"{i}.pdf").read_bytes() for i in range(2))
    assert first.startswith(b"%PDF")
    assert first == again


def test_two_fits_on_the_command_line(tree: xr.DataTree, tmp_path: Path) -> None:
    one, other = jm.save(tree, tmp_path / "may.nc"), jm.save(moved(tree), tmp_path / "june.nc")
    done = call("report", one, other)
    assert done.exit_code == 0
    page = (tmp_path / "june.changes.html").read_text("utf-8")
    assert "From may to june" in page
    assert_refused(call("report", one, other, "--out", one), "written over the fit may.nc")


def test_the_last_fit_is_kept_until_the_next_one(tree: xr.DataTree, tmp_path: Path) -> None:
    fit, last, page = (tmp_path / name for name in ("a.nc", "a.last.nc", "a.changes.html"))
    replace_fit(tree, fit, last)
    assert names(tmp_path) == {"a.nc"}
    found = since_last(tree, last, page, "a")
    assert (found.page, found.text) == (None, "no earlier fit to compare with")
    may = fit.read_bytes()
    june = moved(tree)
    replace_fit(june, fit, last)
    assert last.read_bytes() == may
    found = since_last(june, last, page, "a")
    assert found.page == page
    assert found.text.startswith("1 of ")
    # The same values and model again: May stays the last.
    replace_fit(june, fit, last)
    assert last.read_bytes() == may
    fit.write_bytes(b"no fit")
    replace_fit(june, fit, last)
    assert last.read_bytes() == may
    last.write_bytes(b"no fit")
    assert since_last(june, last, page, "a").text.startswith("not compared with the last fit: ")


def test_the_last_fit_is_read_and_compared_once(
    tree: xr.DataTree, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str] = []

    def counted(name: str, make: Any) -> Any:
        def one(*given: Any) -> Any:
            asked.append(name)
            return make(*given)

        return one

    fit, last, page = (tmp_path / name for name in ("a.nc", "a.last.nc", "a.changes.html"))
    jm.save(tree, fit)
    june = moved(tree)
    for module, name in ((since, "load"), (since, "diff"), (documents, "diff")):
        monkeypatch.setattr(module, name, counted(name, getattr(module, name)))
    found = since_last(june, last, page, "a", replace_fit(june, fit, last))
    assert sorted(asked) == ["diff", "load"]
    once = page.read_bytes()
    # The page is that of the two fits read and compared anew.
    assert found == since_last(june, last, page, "a")
    assert page.read_bytes() == once


def test_builds_hold_each_fit_against_the_last(tmp_path: Path) -> None:
    simulate(four_clusters(2, 1), 80, 1).to_csv(tmp_path / "t.csv", index=False)
    put(tmp_path, "a", '[report]\nsections = ["verdict"]\nagainst_last = true\n')
    (built,) = build(tmp_path)
    assert (built.changes, built.since) == ("", "no earlier fit to compare with")
    first = (tmp_path / "a.nc").read_bytes()
    simulate(four_clusters(2, 1), 90, 2).to_csv(tmp_path / "t.csv", index=False)
    (built,) = build(tmp_path)
    assert built.changes == "a.changes.html"
    assert (tmp_path / "a.last.nc").read_bytes() == first
    index = (tmp_path / "index.html").read_text("utf-8")
    assert f'<a href="a.changes.html">{built.since}</a>' in index
    assert build(tmp_path)[0].status == "unchanged"
    shutil.copy(tmp_path / "a.toml", tmp_path / "a.changes.toml")
    with pytest.raises(SpecError, match="as does a"):
        build(tmp_path)
