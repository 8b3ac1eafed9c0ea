"""Reports as Markdown and JSON, and those of comparisons and certificates."""

import json
import re
from pathlib import Path

import html5lib
import numpy as np
import pandas as pd
import pytest
import xarray as xr
from markdown_it import MarkdownIt
from synthetic import fitted_tree
from test_certificate import certificate
from test_report import HOSTILE, SHOWN, STRUCTURES, parsed, shared_document
from test_report_numbers import flattened

import jointmix as jm
from jointmix.base.errors import SchemaError, SpecError
from jointmix.fitting.ranking import choose, describe
from jointmix.reporting import render_html, report
from jointmix.reporting.elements import Figure, flat
from jointmix.reporting.plain import to_json, to_markdown
from jointmix.reporting.render import render
from jointmix.reporting.text import with_minus


def comparison(response: bool = True) -> jm.Comparison:
    """Three fits side by side, with numbers made up."""
    trees = {k: fitted_tree(n_clusters=k, n_obs=120, response=response) for k in (1, 2, 3)}
    frame = pd.DataFrame(
        {
            "elpd": [-812.4, -700.2, -701.5],
            "se": [20.1, 18.2, 18.3],
            "elpd_diff": [-112.2, 0.0, -1.3],
            "diff_se": [11.0, 0.0, 1.2],
            "elpd_conditional": [-312.4, -300.2, -300.1],
            "conditional_diff": [-12.3, -0.1, 0.0],
            "conditional_diff_se": [4.0, 0.3, 0.0],
            "high_k": [0, 0, 2],
            "n_parameters": [8, 17, 26],
            "log_likelihood": [-800.0, -680.0, -676.0],
            "bic": [1640.0, 1440.0, 1470.0],
            "icl": [1640.0, 1442.0, 1490.0],
            "collapsed": [False] * 3,
            "occupied": [1.0, 2.0, 2.9],
            "smallest": [120.0, 40.0, 9.5],
            "verdict": ["OK", "OK", "CAUTION"],
        },
        index=pd.Index([1, 2, 3], name="n_clusters"),
    )
    if not response:
        frame[["elpd_conditional", "conditional_diff", "conditional_diff_se"]] = np.nan
    best = choose(frame)
    return jm.Comparison(frame, trees, best, describe(frame, best))


def structures() -> jm.Comparison:
    """Four models, of which three were fitted, with numbers made up; one is a spike."""
    made = comparison()
    keys = [(1, "full"), (2, "full"), (3, "tied"), (3, "full")]
    frame = made.table.reindex([1, 2, 3, 3]).set_axis(
        pd.MultiIndex.from_tuples(keys, names=["n_clusters", "covariance"])
    )
    known = ["n_parameters", "log_likelihood", "bic", "icl", "collapsed", "verdict"]
    unsampled = [name for name in frame if name not in known]
    frame.loc[[keys[3]], unsampled] = np.nan
    frame.loc[[keys[3]], "bic"] = 1000.0
    frame["verdict"], frame["collapsed"] = ["OK", "OK", "CAUTION", ""], [False] * 3 + [True]
    trees = dict(zip(keys, made.trees.values(), strict=False))
    return jm.Comparison(frame, trees, choose(frame), describe(frame, choose(frame)))


def tokens(text: str) -> list:
    return MarkdownIt("commonmark").enable("table").parse(text)


@pytest.mark.parametrize("structure", ["full", "one cluster", "hostile"])
def test_markdown_says_what_the_page_says(
    structure: str, tmp_path: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    document = shared_document(structure, tmp_path_factory)
    text = to_markdown(document)
    if structure == "one cluster":
        place = report(fitted_tree(**STRUCTURES[structure]), tmp_path / "r.md")
        assert place.read_text("utf-8") == text
    read = tokens(text)
    kinds = [token.type for token in read]
    assert "html_block" not in kinds
    inline = [child.type for token in read for child in token.children or ()]
    assert "html_inline" not in inline
    assert "image" not in inline
    page = parsed(render(document))
    tables = list(page.iter("{http://www.w3.org/1999/xhtml}table"))
    assert kinds.count("table_open") == len(tables)
    rows = sum(len(list(t.iter("{http://www.w3.org/1999/xhtml}tr"))) for t in tables)
    assert kinds.count("tr_open") == rows
    titles = [read[i + 1].content for i, t in enumerate(read) if t.type == "heading_open"]
    for section in page.iter("{http://www.w3.org/1999/xhtml}h2"):
        assert "".join(section.itertext()) in titles
    if structure == "hostile":
        words = "".join(c.content for t in read for c in t.children or () if c.type == "text")
        assert HOSTILE[0] in words
        assert "\u202e" not in text


def test_json_holds_every_section_and_table(tmp_path_factory: pytest.TempPathFactory) -> None:
    tree = fitted_tree()
    found = json.loads(to_json(shared_document("full", tmp_path_factory)))
    assert [section["id"] for section in found["sections"]] == SHOWN
    assert found["title"] == "Cluster-weighted regression of y in 3 clusters"
    elements = flattened([each for section in found["sections"] for each in section["elements"]])
    assert elements[0]["verdict"] == tree.attrs["verdict"]
    figures = [element for element in elements if element["kind"] == "figure"]
    assert len(figures) > 10
    for figure in figures:
        assert figure["table"]["rows"]
        assert all(re.search(r"\d", alt) for alt in figure["panels"])
    estimates = next(e for e in elements if e.get("caption", "").startswith("Estimates by cluster"))
    weight = float(tree["posterior"]["weight"].isel(cluster=0).mean())
    assert float(estimates["rows"][0][2]["text"]) == pytest.approx(weight, abs=0.001)


@pytest.mark.parametrize("response", [True, False])
def test_a_comparison_has_its_report(response: bool, tmp_path: Path) -> None:
    found = comparison(response)
    text = report(found, tmp_path / "c.html").read_text("utf-8")
    html5lib.HTMLParser(strict=True).parse(text)
    assert with_minus(found.text)[:60] in text
    assert "−112.2" in text
    assert ("elpd of y given x" in text) == response
    assert text.count("CAUTION") == 1
    assert "NaN" not in text
    assert render_html(found) == text
    assert report(found, tmp_path / "c.json").stat().st_size > 1000


def test_a_comparison_of_structures_has_its_report(tmp_path: Path) -> None:
    found = structures()
    assert found.tree is found.trees[2, "full"]
    assert found.spec.n_clusters == 2
    text = report(found, tmp_path / "c.html").read_text("utf-8")
    html5lib.HTMLParser(strict=True).parse(text)
    assert "with 1 to 3 clusters and 2 structures" in text
    assert "screened, collapsed" in text
    assert "entropy of the responsibilities (not of hard allocations)" in text
    assert "--clusters 1-3 --covariance full,tied" in text
    assert "NaN" not in text
    read = json.loads(report(found, tmp_path / "c.json").read_text("utf-8"))
    tiles = read["sections"][0]["elements"][1]["items"]
    # The spike's BIC is the least by far, and is not asked.
    assert [value for value, _ in tiles] == ["2 (full)"] * 3


def test_a_certificate_has_its_report(tmp_path: Path) -> None:
    found = certificate()
    text = report(found, tmp_path / "c.html", title="Ours & <yours>").read_text("utf-8")
    html5lib.HTMLParser(strict=True).parse(text)
    assert "<h1>Ours &amp; &lt;yours&gt;</h1>" in text
    for item in found.differences:
        assert f"{item.size:.1e}" in text
    assert "All implementations agree" in text


def test_what_cannot_be_reported_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SpecError, match="report of a fit only"):
        report(certificate(), tmp_path / "c.html", sections=["verdict"])
    for other in (xr.DataTree(), {"a": 1}, None):
        with pytest.raises(SchemaError, match="fitted DataTree"):
            report(other, tmp_path / "c.html")
    assert list(tmp_path.iterdir()) == []


def test_minus_signs_are_for_numbers() -> None:
    assert with_minus("joint -12.5 ± 3, 1-6, leave-one-out, x-1 (-2)") == (
        "joint −12.5 ± 3, 1-6, leave-one-out, x-1 (−2)"
    )


def test_one_cluster_is_not_told_from_others(tmp_path_factory: pytest.TempPathFactory) -> None:
    opening = shared_document("one cluster", tmp_path_factory).sections[0]
    (figure,) = [each for each in flat(opening.elements) if isinstance(each, Figure)]
    assert "with ellipses that hold 50% and 90% of the model." in figure.caption
    assert "each" not in figure.caption
