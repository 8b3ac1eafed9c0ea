"""The command that calibrates a model on tables drawn from its prior."""

import glob
import re
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from jointmix.base.errors import StorageError
from jointmix.base.progress import show_progress
from jointmix.base.text import one_line
from jointmix.cli.arguments import parse_part, parse_shares
from jointmix.cli.options import Dask, Merge, Part, Quiet, Seed, SpecPath
from jointmix.cli.output import put_json, put_part

if TYPE_CHECKING:
    from jointmix.fitting.recipe import Recipe
    from jointmix.model.spec import ModelSpec
    from jointmix.validation.calibration import Calibration


def calibrate_command(
    spec: SpecPath,
    rows: Annotated[
        int | None, typer.Option(min=1, help="Rows of each table; by default the data's.")
    ] = None,
    replicates: Annotated[int, typer.Option(min=2, help="Tables to draw and fit.")] = 100,
    jobs: Annotated[int, typer.Option(min=1, help="Fits at a time.")] = 1,
    dask: Dask = None,
    store: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Where parts are kept; see --part.")
    ] = None,
    part: Part = None,
    merge: Merge = False,
    out: Annotated[
        Path | None,
        typer.Option(
            metavar="JSON", help="Results, and where to go on; default SPEC.calibration.json."
        ),
    ] = None,
    report_path: Annotated[
        Path | None,
        typer.Option("--report", metavar="PATH", help="By default the results' name in .html."),
    ] = None,
    fit: Annotated[
        Path | None,
        typer.Option(metavar="FIT", help="Saved fit of SPEC: keeps the calibration."),
    ] = None,
    missing: Annotated[
        str | None,
        typer.Option(metavar="SHARES", help="Entries to delete at random, such as x=.2,y=.1."),
    ] = None,
    seed: Seed = None,
    quiet: Quiet = False,
    as_json: Annotated[bool, typer.Option("--json", help="The result as one JSON object.")] = False,
) -> None:
    """Fit tables drawn from SPEC's prior and rank the truths.

    Exit code 1 if not calibrated. What is finished is kept in the results' file, and the same
    command goes on from there. A queue runs --part 1/N … N/N with one --store, and then --merge.
    """
    from jointmix.fitting.recipe import read_recipe
    from jointmix.storage.files import check_writable, made_folder, refuse_same
    from jointmix.tables.reading import read_table

    own, recipe = parse_part(part, store, merge), read_recipe(spec)
    shares = None if missing is None else parse_shares(missing)
    if own is not None and store is not None:
        out = store / f"{spec.stem}.part-{own[0]}-of-{own[1]}.json"
        made_folder(store)
    place = check_writable(out or spec.with_suffix(".calibration.json"))
    page = check_writable(report_path or place.with_suffix(".html"))
    inputs = {"the recipe": spec} | ({} if fit is None else {"the fit": fit})
    if recipe.path is not None:
        inputs["the data"] = recipe.data_path()
    refuse_same({"the results": place, "the report": page}, inputs)
    start = recipe.seed if seed is None else seed
    number = len(read_table(recipe.data_path())) if rows is None else rows
    from jointmix.reporting import report
    from jointmix.storage.trees import load, save
    from jointmix.validation.calibration import (
        calibrate,
        keep_calibration,
        merge_calibrations,
        require_same_calibration,
        require_same_model,
        write_calibration,
    )

    model = _model_of(recipe)
    tree = None if fit is None else require_same_model(load(fit), model)
    if merge and store is not None:
        found = merge_calibrations(_all_parts(store, spec.stem))
        require_same_calibration(found, model, number, start, store, shares)
        write_calibration(found, place)
    else:
        with show_progress(not quiet) as progress:
            found = calibrate(
                model, number, replicates, seed=start, jobs=jobs, store=place, pool=dask,
                part=own, progress=progress, missing=shares,
            )  # fmt: skip
    if own is not None and store is not None:
        n = len(found.replicates)
        put_part(own, f"{n} table" if n == 1 else f"{n} tables", store, as_json)
        return
    report(found, page)
    if tree is not None and fit is not None:
        save(keep_calibration(tree, found), fit)
    _put(found, place, page, as_json)
    if not found.passed:
        raise typer.Exit(1)


def _model_of(recipe: "Recipe") -> "ModelSpec":
    """The recipe's model, with what is learned of its table."""
    from jointmix.model.dataset import make_dataset

    model = recipe.spec
    return make_dataset(recipe.table(), model).spec if model.pending else model


def _put(found: "Calibration", results: Path, page: Path, as_json: bool) -> None:
    """Print what a calibration came to, what is wrong, and where it is written."""
    if as_json:
        put_json(found.as_dict() | {"results": str(results), "report": str(page)})
    else:
        verdict = "NO MISCALIBRATION FOUND" if found.passed else "NOT CALIBRATED"
        typer.echo(f"{verdict}: {one_line(found.text)}")
        for name in found.miscalibrated:
            line = found.table.loc[name]
            typer.echo(
                f"wrong: {one_line(name)}: mean rank {line['mean_rank']:.3f}, "
                f"p {line['p_holm']:.2g}, {100 * line['coverage90']:.1f}% in 90% intervals"
            )
        typer.echo(f"results: {one_line(str(results))}")
        typer.echo(f"report: {one_line(str(page))}")


def _all_parts(store: Path, stem: str) -> list[Path]:
    """The files of all parts of a calibration.

    Raises
    ------
    StorageError
        If there are none, one is missing, or they are of different numbers of parts.
    """
    found = {
        path: re.fullmatch(r"(\d+)-of-(\d+)", path.name.removeprefix(f"{stem}.part-")[:-5])
        for path in sorted(store.glob(f"{glob.escape(stem)}.part-*-of-*.json"))
    }
    numbers = {(int(match[1]), int(match[2])): path for path, match in found.items() if match}
    parts = {n for _, n in numbers}
    if len(parts) != 1:
        what = "no parts" if not parts else "parts of several divisions"
        raise StorageError(f"{store}: holds {what} of {stem}.")
    (n,) = parts
    for number in range(1, n + 1):
        if (number, n) not in numbers:
            raise StorageError(f"{store}: part {number} of {n} of {stem} is not there.")
    return list(numbers.values())
