"""The commands, but for those that have a file of their own.

Exit codes: 0 done; 1 with ``--strict`` when the verdict is not OK or the input has warnings; 2 for
input that is refused; 130 when interrupted. Modules that load slowly are imported inside the
commands, so that ``jointmix --help`` answers at once.
"""

import sys
import time
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from typer.core import TyperGroup

from jointmix.base.errors import EXPECTED, lacks_memory, sentence
from jointmix.base.machine import leave_out, require_libraries
from jointmix.base.progress import show_progress
from jointmix.base.text import one_line
from jointmix.cli.ahead import compiling_ahead
from jointmix.cli.arguments import parse_part
from jointmix.cli.calibrating import calibrate_command
from jointmix.cli.checking import check_command
from jointmix.cli.comparing import compare_command, crosscheck_command, diff_command, score_command
from jointmix.cli.interrupts import INTERRUPTED, Interrupts
from jointmix.cli.judging import diagnose_command, explain_command
from jointmix.cli.options import (
    AgainstLast,
    AsJson,
    Dask,
    DaskRows,
    FitOut,
    Quiet,
    Seed,
    SpecPath,
    Stream,
    Strict,
)
from jointmix.cli.output import (
    conclude_fit,
    put_built,
    put_estimates,
)
from jointmix.cli.rows import predict_command, simulate_command
from jointmix.cli.written import report_command

if TYPE_CHECKING:
    import xarray as xr

    from jointmix.fitting.recipe import Recipe


#: How a command ends early by its own will.
_OF_COMMANDS = (typer.Exit, typer.Abort, typer.BadParameter)

_interrupts = Interrupts()


class _Commands(TyperGroup):
    """Turns the package's errors and Ctrl-C into one line and an exit code."""

    def invoke(self, ctx: Any) -> Any:
        try:
            require_libraries()
            return super().invoke(ctx)
        except KeyboardInterrupt as error:
            raise _interrupted() from error
        except (*EXPECTED, ImportError) as error:
            # A closed pipe at standard output ends a command as it does elsewhere.
            if isinstance(error, BrokenPipeError):
                raise
            if not isinstance(error, EXPECTED) and not lacks_memory(error):
                raise
            typer.echo(f"error: {one_line(sentence(error))}", err=True)
            raise typer.Exit(2) from error
        except Exception as error:
            # A library whose work was cut short may raise what it pleases.
            if not _interrupts.met or isinstance(error, _OF_COMMANDS):
                raise
            raise _interrupted() from error


def _interrupted() -> typer.Exit:
    typer.echo("interrupted", err=True)
    return typer.Exit(INTERRUPTED)


app = typer.Typer(
    cls=_Commands,
    add_completion=False,
    no_args_is_help=True,
    # Column names may hold what rich would read as markup.
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)


def main() -> None:
    """Run the command line.

    A request to end (SIGTERM) is answered as Ctrl-C is: finished draws are kept, half-written
    files and other processes are not.
    """
    if not any(word.startswith("--dask") for word in sys.argv):
        leave_out("dask")
    _interrupts.heed()
    app()


def _show_version(wanted: bool) -> None:
    if wanted:
        typer.echo(version("jointmix"))
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[
        bool, typer.Option("--version", callback=_show_version, is_eager=True, help="Version.")
    ] = False,
) -> None:
    """Bayesian joint mixtures of covariates and response, from a table to a report."""


@app.command("run")
def run_command(
    spec: SpecPath,
    seed: Seed = None,
    strict: Strict = False,
    quiet: Quiet = False,
    as_json: AsJson = False,
    stream: Stream = None,
    against_last: AgainstLast = False,
    dask: DaskRows = None,
) -> None:
    """Fit the model of SPEC, save the fit, and report on it.

    The report and the fit stand beside SPEC, unless it says otherwise.
    """
    from jointmix.fitting.recipe import read_recipe

    recipe = read_recipe(spec)
    with compiling_ahead(spec):
        from jointmix.cli.building import places, run_recipe

        at, started = places(recipe, spec), time.monotonic()
        with show_progress(not quiet) as progress:
            tree, since = run_recipe(recipe, at, seed, progress, stream, against_last, dask)
    if not (quiet or as_json):
        put_estimates(tree)
    written = {"report": at.report, "fit": at.fit}
    if since is not None:
        typer.echo(f"since the last fit: {one_line(since.text)}", err=True)
        written |= {} if since.page is None else {"changes": since.page}
    conclude_fit(tree, written, started, strict, as_json)


@app.command("build")
def build_command(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="Folder of recipes (.toml).")],
    jobs: Annotated[int, typer.Option(min=1, help="Recipes at a time.")] = 1,
    dask: Dask = None,
    part: Annotated[
        str | None,
        typer.Option(metavar="I/N", help="The I-th of N parts of the recipes, without the index."),
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Also what has not changed.")] = False,
    strict: Annotated[
        bool, typer.Option("--strict", help="Exit code 1 unless every verdict is OK.")
    ] = False,
    quiet: Quiet = False,
    as_json: Annotated[bool, typer.Option("--json", help="A JSON list of what was built.")] = False,
    against_last: AgainstLast = False,
) -> None:
    """Make the reports of a folder of recipes, and an index.

    Only of what has changed; exit code 2 if one fails. With --against-last, or against_last = true
    in a recipe's [report], each fit is held against the one it replaces: this month's against last
    month's. A fit made again of the same values and model replaces no last one.
    """
    from jointmix.cli.building import build

    own = parse_part(part, folder, merge=False)
    with show_progress(not quiet) as progress:
        built = build(folder, jobs, force, progress, pool=dask, part=own, against_last=against_last)
    put_built(built, None if own is not None else folder, as_json)
    if any(each.status == "failed" for each in built):
        raise typer.Exit(2)
    if strict and any(each.verdict != "OK" for each in built):
        raise typer.Exit(1)


@app.command("fit")
def fit_command(
    spec: SpecPath,
    out: FitOut = None,
    seed: Seed = None,
    strict: Strict = False,
    quiet: Quiet = False,
    as_json: AsJson = False,
    stream: Stream = None,
    dask: DaskRows = None,
) -> None:
    """Fit the model of SPEC and save the fit."""
    from jointmix.fitting.recipe import read_recipe

    recipe = read_recipe(spec)
    fit_path = out or spec.with_suffix(".nc")
    started = time.monotonic()
    tree = _fit_and_save(spec, recipe, seed, fit_path, quiet, stream, dask)
    if not (quiet or as_json):
        put_estimates(tree)
    conclude_fit(tree, {"fit": fit_path}, started, strict, as_json)


app.command("predict")(predict_command)
app.command("check")(check_command)
app.command("report")(report_command)
app.command("score")(score_command)
app.command("compare")(compare_command)
app.command("diff")(diff_command)
app.command("crosscheck")(crosscheck_command)
app.command("calibrate")(calibrate_command)
app.command("diagnose")(diagnose_command)
app.command("explain")(explain_command)
app.command("simulate")(simulate_command)


@app.command("recover")
def recover_command(
    spec: SpecPath,
    stream: Annotated[Path, typer.Option(metavar="DIR", help="The folder given to the run.")],
    out: FitOut = None,
    seed: Seed = None,
    strict: Strict = False,
    as_json: AsJson = False,
) -> None:
    """Save the fit of the draws that a run left behind.

    Of a run that died and had been given --stream DIR.
    """
    from jointmix.fitting.recipe import read_recipe
    from jointmix.fitting.workflow import recover
    from jointmix.storage.files import refuse_same
    from jointmix.storage.trees import check_fit_path, save

    recipe = read_recipe(spec)
    fit_path = check_fit_path(out or spec.with_suffix(".nc"))
    refuse_same({"the fit": fit_path}, {"the recipe": spec, "the data": recipe.data_path()})
    started = time.monotonic()
    table = recipe.table()
    tree = recover(table, recipe.spec, recipe.seed if seed is None else seed, stream, recipe.start)
    tree = recipe.completed(tree, table)
    save(tree, fit_path)
    conclude_fit(tree, {"fit": fit_path}, started, strict, as_json)


def _fit_and_save(
    spec: Path,
    recipe: "Recipe",
    seed: int | None,
    fit_path: Path,
    quiet: bool,
    stream: Path | None,
    dask: str | None,
) -> "xr.DataTree":
    from jointmix.storage.files import refuse_same
    from jointmix.storage.trees import check_fit_path, save

    check_fit_path(fit_path)
    refuse_same({"the fit": fit_path}, {"the recipe": spec, "the data": recipe.data_path()})
    with show_progress(not quiet) as progress:
        tree = recipe.fit(seed, progress, stream, dask)
    save(tree, fit_path)
    return tree
