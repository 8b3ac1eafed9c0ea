"""Rootograms and features two by two: which are drawn, and the numbers beside them."""

import re
from itertools import combinations, pairwise
from xml.etree import ElementTree

import matplotlib as mpl
import numpy as np
import pytest
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from scipy.integrate import quad
from scipy.stats import norm
from synthetic import fitted_tree

from jointmix.plots.geometry import separating_features
from jointmix.reporting import figures
from jointmix.reporting.documents import fit_document
from jointmix.reporting.fitted import FittedView
from jointmix.reporting.pairs import pairs
from jointmix.reporting.render import render
from jointmix.reporting.sections import assignment
from jointmix.reporting.svg import smaller
from jointmix.reporting.text import decimals


def view_of(n_clusters: int, n_features: int) -> FittedView:
    return FittedView(fitted_tree(n_clusters=n_clusters, n_features=n_features, n_obs=60, seed=3))


def test_the_features_in_which_clusters_overlap_least_are_drawn() -> None:
    view = view_of(3, 7)
    mean, sd = view.point["mean"].values, view.point["sd"].values

    def overlap(feature: int) -> float:
        """∫ √(pq) of every two clusters, by quadrature."""
        return sum(
            quad(lambda x, a=a, b=b: np.sqrt(norm.pdf(x, mean[a, feature], sd[a, feature])
                                             * norm.pdf(x, mean[b, feature], sd[b, feature])),
                 mean[:, feature].min() - 9 * sd.max(), mean[:, feature].max() + 9 * sd.max(),
                 limit=200)[0]
            for a, b in combinations(view.occupied, 2)
        )  # fmt: skip

    best = sorted(sorted(range(7), key=overlap)[:5])
    assert separating_features(view, 5) == best
    found = pairs(view)
    assert len(found.panels) == len(found.table.rows) == 10
    assert found.caption.startswith("The 5 features, of 7, in which clusters overlap least")
    one, other = best[:2]
    row = [cell.text for cell in found.table.rows[0]]
    assert row[:2] == [view.features[one], view.features[other]]
    own = view.tree["posterior"]["correlation"].mean(("chain", "draw")).values[:, one, other]
    assert row[2:] == [decimals(float(value), 2) for value in own]
    assert f"correlation {row[2]}" in found.panels[0].alt


def test_one_cluster_shows_its_most_correlated_features() -> None:
    view = view_of(1, 4)
    size = np.abs(view.point["correlation"].values[0])
    np.fill_diagonal(size, 0)
    assert separating_features(view, 2) == sorted(np.argsort(-size.max(axis=1))[:2].tolist())
    assert "of the model" in pairs(view).caption


def test_rootograms_say_how_many_rows_they_hold() -> None:
    view = view_of(3, 2)
    found = assignment._rootograms(view)
    share = view.tree["allocation"]["responsibility"].transpose("obs", "cluster").values
    assert len(found.panels) == len(view.occupied)
    edges = (1e-4, 0.1, 0.5, 0.9, 1.0)
    for k, row, panel in zip(view.occupied, found.table.rows, found.panels, strict=True):
        inside = [
            int(((share[:, k] >= low) & (share[:, k] < high)).sum())
            for low, high in pairwise(edges)
        ]
        inside[-1] += int((share[:, k] == 1.0).sum())
        assert [cell.text for cell in row[1:]] == [str(count) for count in inside]
        assert f"{inside[-1]} rows between 0.9 and 1" in panel.alt


@pytest.mark.parametrize(
    ("low", "high", "most"), [(30.0, 60.0, 28), (9e7, 1.8e8, 4e7), (-3e-7, 2e-7, 1)]
)
def test_numbers_along_axes_are_matplotlibs_and_stand_where_they_say(
    low: float, high: float, most: float
) -> None:
    """Against its own ticks, on axes of the same place and limits."""
    edges = np.linspace(low, high, 11)
    kept: list[Axes] = []

    def plot(axes: Axes) -> None:
        kept.append(axes)
        axes.stairs(np.linspace(0, most, 10), edges)

    svg = figures.drawn(plot)
    axes = kept[0]
    with mpl.rc_context({"axes.formatter.useoffset": False, "axes.unicode_minus": True}):
        plain = Figure(figsize=figures.PANEL, dpi=72).add_axes(axes.get_position())
    plain.set(xlim=axes.get_xlim(), ylim=axes.get_ylim())
    for axis in (plain.xaxis, plain.yaxis):
        axis.get_major_formatter().set_useOffset(False)
    plain.figure.draw_without_rendering()
    inside = [
        (label.get_text(), at)
        for axis, (first, last) in (
            (plain.xaxis, plain.get_xlim()),
            (plain.yaxis, plain.get_ylim()),
        )
        for label, at in zip(axis.get_ticklabels(), axis.get_ticklocs(), strict=True)
        if first <= at <= last
    ]
    factors = [axis.get_offset_text().get_text() for axis in (plain.xaxis, plain.yaxis)]
    texts = [
        each.text for each in ElementTree.fromstring(svg).iter("{http://www.w3.org/2000/svg}text")
    ]
    assert sorted(texts) == sorted(
        [text for text, _ in inside] + [each for each in factors if each]
    )
    where = {
        text.get_text(): text.get_position()
        for text in axes.texts
        if text.get_text() not in factors
    }
    for text, at in inside:
        assert at in where[text]


def uses(svg: str) -> list[dict[str, str]]:
    found = re.findall(r'<use xlink:href="#p0" clip-path="[^"]*" style="([^"]*)"/>', svg)
    return [dict(each.split(":") for each in style.split(";")) for style in found]


def test_a_line_and_its_halo_are_one_path() -> None:
    path = "M0 0" + "".join(f"L{i} {i * i}" for i in range(1, 30))
    line = f'<path d="{path}" clip-path="url(#c)" style="fill:none;stroke-linecap:square;stroke:'
    svg = (
        '<svg xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink">'
        f'<defs><clipPath id="c"><rect x="0"/></clipPath></defs>{line}#fff"/>{line}#00f"/>'
        f'<path d="{path}" style="stroke:#0f0"/><path d="M0 0L1 1"/><path d="M0 0L1 1"/></svg>'
    )
    small = smaller(svg.encode()).decode()
    # Once for both; what has other ends stays, as does what is short.
    assert len(re.findall(r'd="M0 0L1 1 2 4', small)) == 2
    assert '<path id="p0" d="M0 0L1 1 2 4' in small
    assert small.count('style="stroke-linecap:square"/></defs>') == 1
    assert [use["stroke"] for use in uses(small)] == ["#fff", "#00f"]
    assert small.count('<path d="M0 0L1 1"/>') == 2


def test_on_paper_small_tables_stand_side_by_side_and_sources_in_columns() -> None:
    page = render(fit_document(fitted_tree(n_clusters=2, n_obs=60, seed=3)))
    tables = re.findall(r'<div class="scroll( small)?"[^>]*aria-label="([^"]*)"', page)
    small = {label for is_small, label in tables if is_small}
    assert {"Versions", "Seconds per stage"} <= small
    sources = page.split('<ul class="sentences sources">')
    assert len(sources) == 2
    assert "Gershenfeld" in sources[1].split("</ul>")[0]
