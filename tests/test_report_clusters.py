"""What reports say of clusters: traits, neighbours, rows; one cause; short, printed, to paste."""

import json
import re
import sys
from collections import Counter
from itertools import product
from pathlib import Path
from urllib.parse import unquote
from xml.etree import ElementTree

import numpy as np
import pandas as pd
import pytest
import xarray as xr
from scipy import stats
from synthetic import fitted_tree
from test_report_kinds import comparison
from test_report_words import emptied, specified

from jointmix.base.errors import MissingExtraError, SpecError
from jointmix.checks import judge
from jointmix.checks.duplicates import cluster_distances
from jointmix.checks.finding import Finding
from jointmix.posterior.draws import spread
from jointmix.reporting import figures, render_html, report
from jointmix.reporting.concerns import gathered, gathered_notes
from jointmix.reporting.documents import fit_document
from jointmix.reporting.dots import Dot, Strip, strips
from jointmix.reporting.elements import Callout, Code, Figure, Group, Table, flat
from jointmix.reporting.fitted import FittedView
from jointmix.reporting.flows import flows
from jointmix.reporting.pdf import require_pdf
from jointmix.reporting.sections import clusters, estimates, methods, moves, verdict
from jointmix.reporting.svg import address, smaller
from jointmix.reporting.telling import describe, expected, nearest, separation, telling, traits


@pytest.fixture(scope="module")
def tree() -> xr.DataTree:
    return fitted_tree(n_clusters=3, n_features=3, n_obs=120, seed=4)


@pytest.fixture(scope="module")
def view(tree: xr.DataTree) -> FittedView:
    return FittedView(tree)


@pytest.fixture(scope="module")
def failed() -> xr.DataTree:
    made = fitted_tree(n_clusters=2, n_obs=80)
    made["sample_stats"]["diverging"].values[0, :100] = True
    # Chains that sit apart, and few effective draws with them.
    made["invariant"]["log_likelihood"].values[0] += 1000.0
    return judge(made)


def test_traits_are_means_against_all_rows(tree: xr.DataTree, view: FittedView) -> None:
    for j, name in enumerate(("x1", "x2", "x3")):
        column = view.columns[name]
        draws = tree["posterior"]["mean"].sel(feature=name)
        for k in range(3):
            own = traits(view)[k][j]
            gaps = (draws.isel(cluster=k).values.ravel() - column.mean()) / column.std()
            assert own.column == name
            assert own.whole == pytest.approx(column.mean(), rel=1e-12)
            assert own.gap == pytest.approx(gaps.mean(), rel=1e-9)
            assert [own.lower, own.upper] == pytest.approx(
                np.quantile(gaps, [0.055, 0.945]), rel=1e-9
            )


def test_a_sentence_says_what_is_high_and_low(view: FittedView) -> None:
    for k in range(3):
        said = describe(view, k)
        for trait in telling(traits(view)[k]):
            if abs(trait.gap) < 0.5:
                continue
            assert f"{trait.column} ({trait.brief}, all rows {trait.whole_brief})" in said
            before = said[: said.index(f"{trait.column} (")].lower()
            assert (before.rfind("low") > before.rfind("high")) == (trait.gap < 0)


def test_the_response_is_expected_of_the_clusters_own_rows(
    tree: xr.DataTree, view: FittedView
) -> None:
    posterior = tree["posterior"].to_dataset()
    share = tree["allocation"]["responsibility"].transpose("obs", "cluster").values
    u = np.stack([view.columns[name] for name in view.predictors], axis=1)
    for k in range(3):
        slope = posterior["slope"].isel(cluster=k).values
        line = posterior["intercept"].isel(cluster=k).values[..., None] + slope @ u.T
        level = (line * share[:, k]).sum(axis=-1) / share[:, k].sum()
        assert expected(view)[k].mean == pytest.approx(level.mean(), rel=1e-9)
        assert expected(view)[k].lower == pytest.approx(np.quantile(level, 0.055), rel=1e-9)


def test_the_nearest_cluster_overlaps_most(tree: xr.DataTree, view: FittedView) -> None:
    distances = {pair: np.median(each) for pair, each in cluster_distances(tree).items()}
    for k, (other, overlap) in nearest(view).items():
        own = {pair: each for pair, each in distances.items() if k in pair}
        closest = min(own, key=lambda pair: own[pair])
        assert {k, other} == set(closest)
        assert overlap == pytest.approx(np.exp(-own[closest]), rel=1e-12)
        assert f"Nearest is cluster {other + 1}" in separation(view, k)


def test_densities_inside_clusters_are_scipys(
    tree: xr.DataTree, view: FittedView, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Averages of logs over some draws, also where the rows are taken seven at a time."""
    kept = spread(tree["posterior"].sizes["chain"] * tree["posterior"].sizes["draw"], 20)
    draws = tree["posterior"].to_dataset().stack(all=("chain", "draw")).isel(all=kept)
    x = np.stack([view.columns[name] for name in view.model.features], axis=1)
    u = np.stack([view.columns[name] for name in view.predictors], axis=1)
    expected = np.zeros((len(x), 3))
    for s, k in product(range(20), range(3)):
        own = draws.isel(all=s, cluster=k)
        line = float(own["intercept"]) + u @ own["slope"].values
        expected[:, k] += stats.norm.logpdf(view.columns["y"], line, float(own["sigma"])) / 20
        covariance = own["correlation"].values * np.outer(own["sd"], own["sd"])
        expected[:, k] += stats.multivariate_normal.logpdf(x, own["mean"], covariance) / 20
    np.testing.assert_allclose(clusters.densities(view, view.rows, 20), expected, rtol=1e-9)
    monkeypatch.setattr("jointmix.posterior.draws._BATCH_NUMBERS", 7 * 20 * 3)
    np.testing.assert_allclose(clusters.densities(view, view.rows, 20), expected, rtol=1e-9)


def test_the_most_typical_of_many_rows_are_those_of_all(
    tree: xr.DataTree, view: FittedView, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of many rows one draw chooses those that may be, and all draws say which are."""
    every = np.arange(len(view.rows.y))
    wanted = [clusters.most_typical(view, k, every) for k in range(3)]
    monkeypatch.setattr(clusters, "_MANY_ROWS", 10)
    monkeypatch.setattr(clusters, "_LIKELY", 40)
    many = FittedView(tree)
    for k, rows in enumerate(wanted):
        np.testing.assert_array_equal(clusters.most_typical(many, k, every), rows)
    assert not np.allclose(many.made["densities"], view.made["densities"])


def test_a_card_has_rows_of_its_cluster_with_their_values(view: FittedView) -> None:
    section = clusters.section(view)
    cards = [each for each in section.elements if isinstance(each, Group)]
    assert [card.title.cluster for card in cards] == [0, 1, 2]
    densities = clusters.densities(view, view.rows, 20)
    share = view.allocation["responsibility"].values
    for k, card in enumerate(cards):
        (table,) = (each for each in card.elements if isinstance(each, Table))
        own = np.flatnonzero(view.allocation["allocation"].values == k + 1)
        typical = [int(row[0].text) for row in table.rows if row[1].text == "most typical"]
        assert set(typical) == set(own[np.argsort(-densities[own, k])[:3]])
        least = [int(row[0].text) for row in table.rows if row[1].text == "least sure"]
        assert share[least, k].max() <= np.sort(share[own, k])[: 3 + len(typical)].max()
        first, columns = table.rows[0], [cell.text for cell in table.columns]
        shown = float(first[columns.index("y")].text.replace(",", "").replace("−", "-"))
        assert shown == pytest.approx(view.columns["y"][int(first[0].text)], rel=1e-3)


def test_empty_clusters_have_a_sentence_and_no_card() -> None:
    view = FittedView(emptied())
    assert "Cluster 3 holds no rows" in verdict.sentence(view, 2)
    cards = [each for each in clusters.section(view).elements if isinstance(each, Group)]
    assert len(cards) == 2


def test_what_clusters_share_is_printed_once() -> None:
    view = FittedView(specified(fitted_tree(n_obs=80), {"covariance": "tied"}))
    found = list(flat(estimates.section(view).elements))
    (matrix,) = (each for each in found if isinstance(each, Figure)
                 and each.caption.startswith("Correlations"))  # fmt: skip
    assert len(matrix.panels) == 1
    assert "all clusters" in matrix.panels[0].alt
    (shared,) = (each for each in found if isinstance(each, Table)
                 and each.caption == "Estimates that all clusters share")  # fmt: skip
    assert [row[0].text for row in shared.rows] == ["sd"] * 3
    own = next(each for each in found if isinstance(each, Table))
    assert "sd" not in [row[0].text for row in own.rows]


def test_a_failure_has_one_cause_and_one_action(failed: xr.DataTree) -> None:
    document = fit_document(failed, sections=["verdict", "clusters", "data"])
    first = document.sections[0]
    boxes = [each for each in first.elements if isinstance(each, Callout)]
    assert [box.tone for box in boxes] == ["fail", "note"]
    assert boxes[0].title.startswith("Cause: JM202 modes")
    folds = [each for each in first.elements if isinstance(each, Group) and each.form == "fold"]
    assert any("divergences" in item.text for item in folds[0].elements[0].items)
    opening = next(each for each in first.elements
                   if isinstance(each, Group) and each.form == "opening")  # fmt: skip
    assert opening.withheld
    assert [section.withheld for section in document.sections] == [False, True, False]
    assert "nothing in this section may be used" in document.sections[1].elements[0].text


def finding(code: str, subject: str, status: str = "caution") -> Finding:
    return Finding(
        code=code, subject=subject, status=status, value=1.0, threshold=0.5,
        message=f"{subject} is so.", remedy="Look.", source="",
    )  # fmt: skip


def test_findings_of_a_kind_are_one() -> None:
    found = gathered(
        [
            finding("ties", "a"), finding("ess", "draws", "fail"), finding("ties", "b"),
            finding("rhat", "draws", "fail"), finding("rhat", "x", "ok"),
        ],
        ("fail", "caution"),
    )  # fmt: skip
    assert [each.title for each in found] == [
        "JM101 rhat: draws", "JM102 ess: draws", "JM401 ties: a and b"
    ]  # fmt: skip
    assert found[2].message == "a is so. b is so."
    notes = [{"code": "ties", "subject": name, "message": f"{name}."} for name in "abc"]
    assert gathered_notes(notes) == [("ties: a, b and c", "a. b. c.")]


def test_dots_lie_where_their_numbers_are() -> None:
    values = [-2.0, 0.5, 3.0]
    lines = [
        Strip(label=f"<{v}>", value="v", dots=(Dot(cluster=0, lower=v - 1, mean=v, upper=v + 1),))
        for v in values
    ]
    svg = strips(lines, "units", 0.0)
    assert svg == strips(lines, "units", 0.0)
    found = ElementTree.fromstring(svg)
    space = "{http://www.w3.org/2000/svg}"
    x = [float(each.get("cx")) for each in found.iter(f"{space}circle")]
    # Places are given to a tenth of a point.
    assert np.polyval(np.polyfit(values, x, 1), values) == pytest.approx(x, abs=0.1)
    ticks = {each.text: float(each.get("x")) for each in found.iter(f"{space}text")}
    slope, start = np.polyfit(values, x, 1)
    assert ticks["2"] == pytest.approx(2 * slope + start, abs=0.15)
    assert "<-2.0>" in ticks
    width, height = map(float, found.get("viewBox").split()[2:])
    assert all(0 <= float(e.get("x")) <= width for e in found.iter(f"{space}text"))
    assert all(0 <= float(e.get("y")) <= height for e in found.iter(f"{space}text"))


def test_smaller_pictures_are_the_same_pictures() -> None:
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(2, 60))
    svg = figures.regression(x, y, np.zeros(60, dtype=int), {}, ("1.23456", "b"))
    less = smaller(svg)
    assert len(less) < 0.6 * len(svg)
    colours = re.compile(rb"#[0-9a-f]{6}(?=[;\"])")
    assert set(colours.findall(less)) == set(colours.findall(svg))
    space = "{http://www.w3.org/2000/svg}"
    one, other = (ElementTree.fromstring(each) for each in (svg, less))
    # Marks are as many of each shape, and lines are clipped by what is there.
    assert shapes(other) == shapes(one)
    named = {each.get("id") for each in other.iter() if each.get("id")}
    assert set(re.findall(r"url\(#([^)]*)", less.decode())) <= named
    for tag in ("text", "use", "path"):
        whole, few = (list(each.iter(f"{space}{tag}")) for each in (one, other))
        assert [each.text for each in whole] == [each.text for each in few]
        places = [[float(each.get(at, 0)) for at in ("x", "y")] for each in whole]
        # Two decimals of a point are kept.
        assert [[float(each.get(at, 0)) for at in ("x", "y")] for each in few] == [
            pytest.approx(place, abs=0.0051) for place in places
        ]
        for each, its in zip(whole, few, strict=True):
            wanted, found = strokes(each.get("d", "")), strokes(its.get("d", ""))
            assert [letter for letter, _ in found] == [letter for letter, _ in wanted]
            assert [at for _, ats in found for at in ats] == pytest.approx(
                [at for _, ats in wanted for at in ats], abs=0.0051
            )


def shapes(picture: ElementTree.Element) -> Counter[int]:
    """How many marks there are of what is drawn with so many strokes."""
    drawn = {f"#{each.get('id')}": len(strokes(each.get("d", ""))) for each in picture.iter()}
    link = "{http://www.w3.org/1999/xlink}href"
    return Counter(drawn[each.get(link)] for each in picture.iter() if each.tag.endswith("}use"))


def strokes(path: str) -> list[tuple[str, list[float]]]:
    """The commands of a path and their numbers, those said once for several said for each."""
    length = {"M": 2, "L": 2, "C": 6, "Q": 4, "H": 1, "V": 1}
    found = []
    for letter, rest in re.findall(r"([A-Za-z])([^A-Za-z]*)", path):
        numbers = [float(each) for each in rest.split()]
        size = length.get(letter, 1)
        found += [(letter, numbers[i : i + size]) for i in range(0, max(len(numbers), 1), size)]
    return found


def test_an_address_holds_its_picture() -> None:
    name = """it's 5% <b> #é\\& style="a: b; c\""""
    svg = smaller(figures.regression(np.arange(3.0), np.ones(3), np.zeros(3, int), {}, (name, "b")))
    kind, held = address(svg).split(",", 1)
    assert kind == "data:image/svg+xml"
    assert held.isascii()
    assert not set(held) & set('"<>&#\n\\')
    one, other = ElementTree.fromstring(svg), ElementTree.fromstring(unquote(held))
    assert name in [each.text for each in other.iter()]
    for before, after in zip(one.iter(), other.iter(), strict=True):
        assert (before.tag, before.text) == (after.tag, after.text)
        assert {k: v.replace("'", '"') for k, v in before.attrib.items()} == after.attrib


def test_rows_move_as_a_cross_table_says() -> None:
    found = comparison()
    (section,) = moves.moves(found)
    figure, last = section.elements[1:]
    allocated = {k: found.trees[k]["allocation"]["allocation"].values for k in (1, 2, 3)}
    for table, one, other in ((figure.table, 1, 2), (last, 2, 3)):
        counts = pd.crosstab(allocated[one], allocated[other]).to_numpy()
        shown = [[int(cell.text) for cell in row[1:]] for row in table.rows]
        assert shown == counts.tolist()
    stays = pd.crosstab(allocated[2], allocated[3]).to_numpy().max(axis=1).sum() / 120
    assert f"From K = 2 to 3, {100 * stays:.1f}% of the rows stay" in section.elements[0].text


def test_ribbons_are_as_wide_as_their_rows() -> None:
    counts = np.array([[30.0, 10.0], [0.0, 60.0]])
    svg = flows([counts], ["K = 2", "K = 2"])
    assert svg == flows([counts], ["K = 2", "K = 2"])
    space = "{http://www.w3.org/2000/svg}"
    widths = []
    for path in ElementTree.fromstring(svg).iter(f"{space}path"):
        y = [float(part) for part in re.findall(r"-?[\d.]+", path.get("d"))]
        widths.append(y[-1] - y[1])
    total = 220.0
    # Places are given to a hundredth of a point.
    assert sorted(np.abs(widths)) == pytest.approx(
        [total * 0.1, total * 0.3, total * 0.6], abs=0.02
    )


def test_what_is_cited_is_listed_and_no_more(view: FittedView) -> None:
    codes = {each.caption: each.text for each in methods.section(view).elements
             if isinstance(each, Code)}  # fmt: skip
    entries = set(re.findall(r"@\w+\{(\w+),", codes["BibTeX of what this fit used"]))
    cited = {key.strip() for group in re.findall(r"\[([a-z][\w; ]*\d*)\]", codes["Methods"])
             for key in group.split(";")}  # fmt: skip
    assert cited <= entries
    assert {"jointmix", "arviz", "vehtari2017", "papastamoulis2010"} <= entries
    assert "zhang2022" not in entries
    assert entries - cited <= {"stephens2000"}


def test_results_of_a_failed_fit_are_not_worded(failed: xr.DataTree) -> None:
    codes = [each for each in methods.section(FittedView(failed)).elements
             if isinstance(each, Code)]  # fmt: skip
    assert codes[1].text.startswith("The checks found that these draws must not be used")


def test_the_short_form_says_the_same_in_fewer_sections(tree: xr.DataTree, tmp_path: Path) -> None:
    place = report(tree, tmp_path / "s.json", short=True)
    found = json.loads(place.read_text("utf-8"))
    assert [each["id"] for each in found["sections"]] == ["verdict", "clusters", "limits"]
    whole = fit_document(tree, sections=["verdict"]).sections[0]
    assert found["sections"][0]["elements"][0]["text"] == whole.elements[0].text
    again = render_html(tree, short=True)
    assert report(tree, tmp_path / "s.html", short=True).read_text("utf-8") == again
    with pytest.raises(SpecError, match="has its own sections"):
        report(tree, tmp_path / "s.html", sections=["data"], short=True)
    of_numbers = report(comparison(), tmp_path / "c.json", short=True)
    ids = [each["id"] for each in json.loads(of_numbers.read_text("utf-8"))["sections"]]
    assert ids == ["choice", "verdict", "clusters", "limits"]


def test_a_pdf_is_the_same_each_time(tree: xr.DataTree, tmp_path: Path) -> None:
    try:
        require_pdf()
    except MissingExtraError as error:
        pytest.skip(str(error))
    first = report(tree, tmp_path / "a.pdf", sections=["verdict", "model"]).read_bytes()
    assert first.startswith(b"%PDF")
    assert report(tree, tmp_path / "b.pdf", sections=["verdict", "model"]).read_bytes() == first


def test_without_weasyprint_the_extra_is_named(
    tree: xr.DataTree, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "weasyprint", None)
    with pytest.raises(MissingExtraError, match=re.escape("pip install 'jointmix[pdf]'")):
        report(tree, tmp_path / "r.pdf")
    assert list(tmp_path.iterdir()) == []
