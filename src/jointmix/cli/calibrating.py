"""The command that calibrates a model on tables drawn from its prior."""

from pathlib import Path
from typing import Annotated

import typer

from jointmix.base.progress import show_progress
from jointmix.base.text import one_line
from jointmix.cli.options import Quiet, Seed, SpecPath
from jointmix.cli.output import put_json


def calibrate_command(
    spec: SpecPath,
    rows: Annotated[
        int | None, typer.Option(min=1, help="Rows of each table; by default the data's.")
    ] = None,
    replicates: Annotated[int, typer.Option(min=2, help="Tables to draw and fit.")] = 100,
    jobs: Annotated[int, typer.Option(min=1, help="Fits at a time.")] = 1,
    dask: Annotated[
        str | None, typer.Option(metavar="ADDRESS", help="Dask scheduler whose workers fit.")
    ] = None,
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
    seed: Seed = None,
    quiet: Quiet = False,
    as_json: Annotated[bool, typer.Option("--json", help="The result as one JSON object.")] = False,
) -> None:
    """Fit tables drawn from SPEC's prior and rank the truths.

    Exit code 1 if not calibrated. What is finished is kept in the results' file, and the same
    command goes on from there.
    """
    from jointmix.fitting.recipe import read_recipe
    from jointmix.model.dataset import make_dataset
    from jointmix.storage.files import check_writable, refuse_same
    from jointmix.tables.reading import read_table

    recipe = read_recipe(spec)
    place = check_writable(out or spec.with_suffix(".calibration.json"))
    page = check_writable(report_path or place.with_suffix(".html"))
    inputs = {"the recipe": spec} | ({} if fit is None else {"the fit": fit})
    if recipe.path is not None:
        inputs["the data"] = recipe.data_path()
    refuse_same({"the results": place, "the report": page}, inputs)
    number = len(read_table(recipe.data_path())) if rows is None else rows
    from jointmix.reporting import report
    from jointmix.storage.trees import load, save
    from jointmix.validation.calibration import calibrate, keep_calibration, require_same_model

    model = recipe.spec
    if model.pending:
        model = make_dataset(recipe.table(), model).spec
    tree = None if fit is None else require_same_model(load(fit), model)
    with show_progress(not quiet) as progress:
        found = calibrate(
            model,
            number,
            replicates,
            seed=recipe.seed if seed is None else seed,
            jobs=jobs,
            store=place,
            dask=dask,
            progress=progress,
        )
    report(found, page)
    if tree is not None and fit is not None:
        save(keep_calibration(tree, found), fit)
    if as_json:
        put_json(found.as_dict() | {"results": str(place), "report": str(page)})
    else:
        verdict = "NO MISCALIBRATION FOUND" if found.passed else "NOT CALIBRATED"
        typer.echo(f"{verdict}: {one_line(found.text)}")
        for name in found.miscalibrated:
            line = found.table.loc[name]
            typer.echo(
                f"wrong: {one_line(name)}: mean rank {line['mean_rank']:.3f}, "
                f"p {line['p_holm']:.2g}, {100 * line['coverage90']:.1f}% in 90% intervals"
            )
        typer.echo(f"results: {one_line(str(place))}")
        typer.echo(f"report: {one_line(str(page))}")
    if not found.passed:
        raise typer.Exit(1)
