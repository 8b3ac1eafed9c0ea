"""The command line: the only place that prints and sets exit codes.

Exit codes: 0 done; 1 with ``--strict`` when the verdict is not OK; 2 for input that is refused;
130 when interrupted. Modules that load slowly are imported inside the commands, so that
``jointmix --help`` answers at once.
"""

import csv
import io
import json
import math
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from typer.core import TyperGroup

from jointmix.errors import JointmixError, SpecError

if TYPE_CHECKING:
    import pandas as pd
    import xarray as xr

    from jointmix.recipe import Recipe

QUIET_SECONDS = 2.0  # Work shorter than this shows no progress.

Progress = Callable[[str, float, float, str], None]


class _Commands(TyperGroup):
    """Turns the package's errors and Ctrl-C into one line and an exit code."""

    def invoke(self, ctx: Any) -> Any:
        try:
            return super().invoke(ctx)
        except JointmixError as error:
            typer.echo(f"error: {_one_line(str(error))}", err=True)
            raise typer.Exit(2) from error
        except KeyboardInterrupt as error:
            typer.echo("interrupted", err=True)
            raise typer.Exit(130) from error


app = typer.Typer(
    cls=_Commands,
    add_completion=False,
    no_args_is_help=True,
    # Column names may hold what rich would read as markup.
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)


def main() -> None:
    """Run the command line."""
    app()


def _one_line(text: str) -> str:
    """Text without line breaks and other signs that a terminal would act on."""
    return "".join(sign if sign.isprintable() else " " for sign in text)


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


SpecPath = Annotated[Path, typer.Argument(metavar="SPEC", help="Recipe, a .toml file.")]
FitPath = Annotated[Path, typer.Argument(metavar="FIT.nc", help="Fit that run or fit saved.")]
Seed = Annotated[int | None, typer.Option(help="Seed; overrides the recipe's.", min=0)]
Strict = Annotated[bool, typer.Option("--strict", help="Exit code 1 unless the verdict is OK.")]
Quiet = Annotated[bool, typer.Option("--quiet", help="No progress.")]
Stream = Annotated[
    Path | None,
    typer.Option(metavar="DIR", help="Write draws there as they come; see `recover`."),
]
AsJson = Annotated[bool, typer.Option("--json", help="The verdict as one JSON object.")]


@app.command("run")
def run_command(
    spec: SpecPath,
    seed: Seed = None,
    strict: Strict = False,
    quiet: Quiet = False,
    as_json: AsJson = False,
    stream: Stream = None,
) -> None:
    """Fit the model of SPEC, save the fit, and write its report beside it."""
    from jointmix.files import check_writable
    from jointmix.recipe import read_recipe

    recipe = read_recipe(spec)
    report_path = recipe.report_path() or spec.with_suffix(".html")
    if report_path.suffix not in (".html", ".htm"):
        raise SpecError(f"{spec}: the path of [report] must end in .html; got {report_path.name}.")
    fit_path = report_path.with_suffix(".nc")
    check_writable(report_path)
    started = time.monotonic()
    tree = _fit_and_save(recipe, seed, fit_path, quiet, stream)
    from jointmix.reporting import report

    written = report(tree, report_path, title=recipe.report.title, sections=recipe.report.sections)
    _conclude(tree, {"report": written, "fit": fit_path}, started, strict, as_json)


@app.command("fit")
def fit_command(
    spec: SpecPath,
    out: Annotated[
        Path | None, typer.Option(metavar="FIT.nc", help="Default: SPEC with the suffix .nc.")
    ] = None,
    seed: Seed = None,
    strict: Strict = False,
    quiet: Quiet = False,
    as_json: AsJson = False,
    stream: Stream = None,
) -> None:
    """Fit the model of SPEC and save the fit."""
    from jointmix.recipe import read_recipe

    recipe = read_recipe(spec)
    fit_path = out or spec.with_suffix(".nc")
    started = time.monotonic()
    tree = _fit_and_save(recipe, seed, fit_path, quiet, stream)
    _conclude(tree, {"fit": fit_path}, started, strict, as_json)


@app.command("report")
def report_command(
    fit: FitPath,
    out: Annotated[
        Path | None, typer.Option(metavar="PATH", help="Default: FIT with the suffix .html.")
    ] = None,
) -> None:
    """Write the report of a saved fit."""
    from jointmix.files import check_writable
    from jointmix.storage import load

    path = check_writable(out or fit.with_suffix(".html"))
    tree = load(fit)
    from jointmix.reporting import report

    typer.echo(f"report: {_one_line(str(report(tree, path)))}")


@app.command("predict")
def predict_command(
    fit: FitPath,
    table: Annotated[Path, typer.Argument(metavar="TABLE", help="New rows: .csv, .tsv, ….")],
    out: Annotated[
        Path | None, typer.Option(metavar="CSV", help="Default: standard output.")
    ] = None,
) -> None:
    """Predict the response, or the clusters, of new rows."""
    from jointmix.files import check_writable
    from jointmix.storage import load
    from jointmix.tables import read_table

    if out is not None:
        check_writable(out)
    tree = load(fit)
    rows = read_table(table)
    from jointmix.prediction import predict

    _put_csv(_prediction_columns(predict(tree, rows)), out)


@app.command("simulate")
def simulate_command(
    clusters: Annotated[int, typer.Option(min=1, help="Number of clusters.")] = 4,
    rows: Annotated[int, typer.Option(min=1, help="Number of rows.")] = 1000,
    features: Annotated[int, typer.Option(min=1, help="Number of features.")] = 2,
    seed: Annotated[int, typer.Option(min=0, help="Seed.")] = 1,
    out: Annotated[
        Path | None, typer.Option(metavar="CSV", help="Default: standard output.")
    ] = None,
) -> None:
    """Draw a table from the four-cluster example, or its like for other numbers."""
    from jointmix.files import check_writable
    from jointmix.simulate import four_clusters, simulate

    if out is not None:
        check_writable(out)
    table = simulate(four_clusters(clusters, features), rows, seed)
    _put_csv({name: table[name].tolist() for name in table.columns}, out)


@app.command("recover")
def recover_command(
    spec: SpecPath,
    stream: Annotated[Path, typer.Option(metavar="DIR", help="The folder given to the run.")],
    out: Annotated[
        Path | None, typer.Option(metavar="FIT.nc", help="Default: SPEC with the suffix .nc.")
    ] = None,
    seed: Seed = None,
    strict: Strict = False,
    as_json: AsJson = False,
) -> None:
    """Save the fit of the draws that an unfinished run has left in DIR."""
    from jointmix.files import check_writable
    from jointmix.recipe import read_recipe
    from jointmix.storage import save
    from jointmix.tables import read_table
    from jointmix.workflow import recover

    recipe = read_recipe(spec)
    fit_path = check_writable(out or spec.with_suffix(".nc"))
    started = time.monotonic()
    table: pd.DataFrame = read_table(recipe.data_path())
    tree = recover(table, recipe.spec, recipe.seed if seed is None else seed, stream)
    save(tree, fit_path)
    _conclude(tree, {"fit": fit_path}, started, strict, as_json)


def _fit_and_save(
    recipe: "Recipe", seed: int | None, fit_path: Path, quiet: bool, stream: Path | None
) -> "xr.DataTree":
    from jointmix.files import check_writable
    from jointmix.tables import read_table

    if fit_path.suffix != ".nc":
        raise SpecError(f"{fit_path}: the name of a fit must end in .nc.")
    check_writable(fit_path)
    table: pd.DataFrame = read_table(recipe.data_path())
    from jointmix.storage import save
    from jointmix.workflow import fit

    with _progress(quiet) as progress:
        tree = fit(
            table,
            recipe.spec,
            seed=recipe.seed if seed is None else seed,
            progress=progress,
            stream=stream,
        )
    save(tree, fit_path)
    return tree


def _findings(tree: "xr.DataTree") -> list[dict[str, Any]]:
    """The checks that are not ok, each as a dict of its name and its variables."""
    checks = tree["checks"].to_dataset()
    names = ("status", "value", "threshold", "message", "remedy")
    rows = zip(
        checks["check"].values.tolist(),
        *(checks[name].values.tolist() for name in names),
        strict=True,
    )
    return [dict(zip(("check", *names), row, strict=True)) for row in rows if row[1] != "ok"]


def _conclude(
    tree: "xr.DataTree", paths: Mapping[str, Path], started: float, strict: bool, as_json: bool
) -> None:
    verdict, findings = str(tree.attrs["verdict"]), _findings(tree)
    places = {name: str(path) for name, path in paths.items()}
    if as_json:
        seconds = round(time.monotonic() - started, 3)
        result = {"verdict": verdict, "findings": findings, **places, "seconds": seconds}
        typer.echo(json.dumps(_without_nan(result), allow_nan=False))
    else:
        typer.echo(f"verdict: {verdict}")
        for finding in findings:
            line = "{status}: {check}: {message} {remedy}".format(**finding)
            typer.echo(_one_line(line).rstrip())
        for name, place in places.items():
            typer.echo(f"{name}: {_one_line(place)}")
    if strict and verdict != "OK":
        raise typer.Exit(1)


def _without_nan(value: Any) -> Any:
    """The value with numbers that JSON lacks replaced by None."""
    if isinstance(value, dict):
        return {name: _without_nan(item) for name, item in value.items()}
    if isinstance(value, list):
        return [_without_nan(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _prediction_columns(prediction: "xr.Dataset") -> dict[str, list[Any]]:
    """Columns of the predictions' table: row, mean, sd, quantiles, cluster probabilities."""
    columns: dict[str, list[Any]] = {"row": list(range(prediction.sizes["obs"]))}
    for name in ("mean", "sd"):
        if name in prediction:
            columns[name] = prediction[name].values.tolist()
    for variable in prediction.data_vars.values():
        if variable.dims == ("obs", "quantile"):
            for level in variable["quantile"].values.tolist():
                column = variable.sel(quantile=level)
                columns[f"q{100 * level:02.4g}"] = column.values.tolist()
    for cluster in prediction["cluster"].values.tolist():
        share = prediction["responsibility"].sel(cluster=cluster)
        columns[f"p({cluster})"] = share.values.tolist()
    return columns


def _put_csv(columns: Mapping[str, Sequence[Any]], out: Path | None) -> None:
    text = io.StringIO(newline="")
    writer = csv.writer(text)
    writer.writerow([_safe_cell(name) for name in columns])
    writer.writerows(zip(*columns.values(), strict=True))
    if out is None:
        typer.echo(text.getvalue(), nl=False)
        return
    from jointmix.files import write_file

    write_file(out, text.getvalue().encode())


def _safe_cell(text: str) -> str:
    """Text that a spreadsheet will not take for a formula."""
    return f"'{text}" if text.startswith(("=", "+", "-", "@", "\t", "\r")) else text


@contextmanager
def _progress(quiet: bool) -> Iterator[Progress | None]:
    """A callable to show progress with on standard error, or None."""
    if quiet:
        yield None
    elif sys.stderr.isatty():
        with _bars() as update:
            yield update
    else:
        yield _Lines()


@contextmanager
def _bars() -> Iterator[Progress]:
    from rich.console import Console
    from rich.progress import BarColumn, TaskID, TextColumn, TimeElapsedColumn
    from rich.progress import Progress as Bars

    columns = (
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        TextColumn("{task.completed:.0f}/{task.total:.0f} {task.fields[note]}", markup=False),
        TimeElapsedColumn(),
    )
    tasks: dict[str, TaskID] = {}
    lock = threading.Lock()
    with Bars(*columns, console=Console(stderr=True), transient=True) as bars:

        def update(event: str, done: float, total: float, note: str) -> None:
            with lock:
                if event not in tasks:
                    tasks[event] = bars.add_task(event, total=total, note="")
            bars.update(tasks[event], completed=done, total=total, note=_one_line(note))

        yield update


class _Lines:
    """Progress as plain lines, at most one every two seconds."""

    def __init__(self) -> None:
        self.last = time.monotonic()
        self.lock = threading.Lock()

    def __call__(self, event: str, done: float, total: float, note: str) -> None:
        with self.lock:
            now = time.monotonic()
            if now - self.last < QUIET_SECONDS:
                return
            self.last = now
        typer.echo(f"{event} {done:g}/{total:g} {_one_line(note)}".rstrip(), err=True)
