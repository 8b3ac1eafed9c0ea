"""This run against the last: the fit that is replaced is kept, and what changed is a page."""

from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import xarray as xr

from jointmix.base.errors import JointmixError, sentence
from jointmix.fitting.side_by_side import diff, same_posterior
from jointmix.reporting import report_changes
from jointmix.storage.files import write_file
from jointmix.storage.trees import load, save


@dataclass(frozen=True)
class Since:
    """What became of the comparison with the last fit.

    Attributes
    ----------
    page
        The page that was written; None where there was nothing to compare with, or not to be.
    text
        How much changed, or why there is no page.
    """

    page: Path | None
    text: str


def replace_fit(tree: xr.DataTree, fit: Path, last: Path) -> xr.DataTree | None:
    """Save a fit where another may stand, which is kept as ``last`` first, and returned.

    The last fit is that of other values or another model: a fit made again leaves it alone, and
    one that cannot be read does not take its place.

    Raises
    ------
    StorageError
        If one of them cannot be written; the fit that stood there is then still there.
    """
    replaced = None
    if fit.is_file():
        with suppress(JointmixError):
            earlier = load(fit)
            replaced = None if same_posterior(earlier, tree) else earlier
    if replaced is not None:
        write_file(last, fit.read_bytes())
    save(tree, fit)
    return replaced


def since_last(
    tree: xr.DataTree, last: Path, page: Path, title: str, replaced: xr.DataTree | None = None
) -> Since:
    """Write what changed since the last fit; its own faults do not undo the fit.

    Parameters
    ----------
    replaced
        The last fit where it has been read already; None reads it.
    """
    if replaced is None and not last.is_file():
        return Since(None, "no earlier fit to compare with")
    try:
        earlier = load(last) if replaced is None else replaced
        found = diff(earlier, tree)
        names = [
            f"{word} fit{f' ({day})' if (day := each.attrs.get('created')) else ''}"
            for word, each in (("last", earlier), ("this", tree))
        ]
        fits = dict(zip(names, (earlier, tree), strict=True))
        report_changes(found, fits, page, f"{title}: since the last fit")
    except JointmixError as error:
        return Since(None, f"not compared with the last fit: {sentence(error)}")
    moved = len(found.moved)
    if moved:
        return Since(page, f"{moved} of {len(found.table)} quantities changed")
    return Since(page, "the fits differ" if found.differing else "no change beyond error")
