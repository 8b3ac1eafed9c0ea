"""How rows move between partitions, as SVG bytes: boxes of clusters, and ribbons between them."""

from collections.abc import Sequence
from html import escape

import numpy as np

from jointmix.plots.style import COLOURS, INK, MUTED, PAPER, glyph

#: Height of all rows, gap between boxes, width of a box, distance of two partitions, in points.
_HEIGHT, _GAP, _BOX, _STEP = 220.0, 8.0, 16.0, 150.0
_TOP, _SIDE = 26.0, 42.0
#: Share of the rows from which a box is named, and a ribbon drawn.
_NAMED, _SEEN = 0.015, 1e-9

Places = list[tuple[float, float]]


def flows(
    counts: Sequence[np.ndarray],
    titles: Sequence[str],
    places: Sequence[Sequence[int]] | None = None,
) -> bytes:
    """Partitions side by side, the same bytes each time.

    Parameters
    ----------
    counts
        Rows of each cluster of one partition by those of the next, (cluster, cluster) each.
    titles
        Of the partitions, one more.
    places
        For each partition the places of its clusters' marks; None for the clusters' own.
    """
    total = float(counts[0].sum())
    sizes = [counts[0].sum(axis=1), *(each.sum(axis=0) for each in counts)]
    marks = [range(len(each)) for each in sizes] if places is None else places
    orders = _orders(counts)
    tallest = max(len(each) for each in sizes)
    height = _HEIGHT + _GAP * (tallest - 1)
    columns = [
        _boxes(size / total, order, height) for size, order in zip(sizes, orders, strict=True)
    ]
    parts = []
    for i, table in enumerate(counts):
        ends = orders[i], orders[i + 1], columns[i], columns[i + 1]
        parts += _ribbons(table / total, _SIDE + i * _STEP + _BOX, *ends, marks[i])
    for i, (boxes, title, own) in enumerate(zip(columns, titles, marks, strict=True)):
        parts += _column(_SIDE + i * _STEP, boxes, title, own)
    wide = 2 * _SIDE + _BOX + _STEP * len(counts)
    tall = _TOP + height + 8
    head = (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{wide:.0f}" height="{tall:.0f}" '
        f'viewBox="0 0 {wide:.0f} {tall:.0f}" font-family="DejaVu Sans, Verdana, sans-serif" '
        'font-size="11">'
    )
    return f"{head}{''.join(parts)}</svg>".encode()


def _orders(counts: Sequence[np.ndarray]) -> list[np.ndarray]:
    """Clusters of each partition from the top: each where its rows come from, on average."""
    found = [np.arange(len(counts[0]))]
    for table in counts:
        place = np.argsort(found[-1], kind="stable")
        size = table.sum(axis=0)
        middle = np.where(size > 0, place @ table / np.maximum(size, 1e-300), np.inf)
        found.append(np.argsort(middle, kind="stable"))
    return found


def _boxes(shares: np.ndarray, order: np.ndarray, height: float) -> Places:
    """Top and height of each cluster's box, in the clusters' own order."""
    places: Places = [(0.0, 0.0)] * len(shares)
    top = _TOP + (height - _HEIGHT - _GAP * (len(shares) - 1)) / 2
    for k in order:
        places[k] = (top, float(shares[k]) * _HEIGHT)
        top += places[k][1] + _GAP
    return places


def _ribbons(
    shares: np.ndarray,
    left: float,
    above: np.ndarray,
    below: np.ndarray,
    start: Places,
    end: Places,
    marks: Sequence[int],
) -> list[str]:
    leaving, arriving = [top for top, _ in start], [top for top, _ in end]
    right, parts = left + _STEP - _BOX, []
    middle = (left + right) / 2
    for one in above:
        for other in below:
            width = float(shares[one, other]) * _HEIGHT
            if width <= _SEEN:
                continue
            y, z = leaving[one], arriving[other]
            leaving[one] += width
            arriving[other] += width
            parts.append(
                f'<path d="M{left:.1f} {y:.2f}C{middle:.1f} {y:.2f} {middle:.1f} {z:.2f} '
                f"{right:.1f} {z:.2f}V{z + width:.2f}C{middle:.1f} {z + width:.2f} "
                f'{middle:.1f} {y + width:.2f} {left:.1f} {y + width:.2f}Z" '
                f'fill="{COLOURS[marks[one] % 8]}" fill-opacity="0.35"/>'
            )
    return parts


def _column(left: float, boxes: Places, title: str, marks: Sequence[int]) -> list[str]:
    middle = left + _BOX / 2
    parts = [
        f'<text x="{middle:.1f}" y="14" text-anchor="middle" fill="{INK}">{escape(title)}</text>'
    ]
    for k, (top, height) in enumerate(boxes):
        parts.append(
            f'<rect x="{left:.1f}" y="{top:.2f}" width="{_BOX}" height="{max(height, 0.6):.2f}" '
            f'fill="{COLOURS[marks[k] % 8]}" stroke="{PAPER}" stroke-width="0.5"/>'
        )
        if height >= _NAMED * _HEIGHT:
            parts.append(
                f'<text x="{left - 5:.1f}" y="{top + height / 2 + 4:.2f}" text-anchor="end" '
                f'fill="{MUTED}">{glyph(marks[k])} {k + 1}</text>'
            )
    return parts
