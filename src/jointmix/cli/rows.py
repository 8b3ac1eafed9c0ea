"""Commands that write a line for each row: predictions, and drawn tables."""

import os
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, cast

import typer

from jointmix.base.errors import PrecisionWarning, SpecError
from jointmix.base.progress import show_progress
from jointmix.base.text import one_line
from jointmix.cli.arguments import parse_families, parse_quantiles, parse_shares
from jointmix.cli.options import Dask, FitPath, Quiet
from jointmix.cli.output import prediction_columns, put_csv, warn_of_extrapolation

if TYPE_CHECKING:
    import xarray as xr

    from jointmix.base.pools import Pool
    from jointmix.posterior.allocations import Weighting

#: How the names of text tables end.
_TEXTS = (".csv", ".tsv", ".txt")
_Out = Annotated[
    str | None,
    typer.Option(
        metavar="CSV|FOLDER/", help="A folder gets Parquet files. Default: standard output."
    ),
]


def _is_folder(out: str | None) -> bool:
    """Whether a folder is meant: one that is there, or written with a stroke at its end."""
    return out is not None and (out.endswith(("/", os.sep)) or Path(out).is_dir())


def predict_command(
    fit: FitPath,
    table: Annotated[
        Path,
        typer.Argument(metavar="TABLE", help="New rows: .csv, .tsv, …, or a folder of .parquet."),
    ],
    out: _Out = None,
    quantiles: Annotated[
        str, typer.Option(metavar="P,P,…", help="Of the response, each in (0, 1).")
    ] = "0.05,0.5,0.95",
    weighting: Annotated[
        str,
        typer.Option(
            metavar="equal|joint", help="Of draws: rows are given, or more of the population."
        ),
    ] = "equal",
    jobs: Annotated[int, typer.Option(min=1, help="Files of a folder at a time.")] = 1,
    dask: Dask = None,
    quiet: Quiet = False,
) -> None:
    """Predict the response of new rows, and their clusters.

    If the model has no response, the clusters alone. A folder of Parquet files is read a few rows
    at a time, and its predictions are a folder of as many files; the same command goes on where an
    interrupted one has stopped.
    """
    from jointmix.base.pools import chosen_pool
    from jointmix.storage.files import refuse_same
    from jointmix.storage.trees import load

    levels = parse_quantiles(quantiles)
    place = None if out is None else Path(out)
    if place is not None:
        refuse_same({"the predictions": place}, {"the fit": fit, "the table": table})
    by_parts = table.is_dir() and place is not None and place.suffix.lower() not in _TEXTS
    if place is not None and (by_parts or _is_folder(out)):
        pool = chosen_pool(dask, jobs)
        _predict_parts(load(fit), table, place, levels, weighting, quiet, pool)
    elif jobs > 1 or dask is not None:
        raise SpecError("--jobs and --dask write files side by side: give --out FOLDER/.")
    else:
        _predict_csv(fit, table, place, levels, weighting)


def _predict_parts(
    tree: "xr.DataTree", table: Path, out: Path, levels: list[float], weighting: str, quiet: bool,
    pool: "Pool",
) -> None:  # fmt: skip
    from jointmix.posterior.allocations import responsibilities
    from jointmix.posterior.draws import fitted_spec
    from jointmix.posterior.prediction import predict
    from jointmix.tables.reading import read_table

    rows = table if table.is_dir() or table.suffix.lower() == ".parquet" else read_table(table)
    with show_progress(not quiet) as progress, _telling():
        if fitted_spec(tree).response is None:
            _refuse_weighting(weighting)
            responsibilities(tree, rows, (), out=out, progress=progress, pool=pool)
        else:
            ways = cast("Weighting", weighting)
            predict(tree, rows, levels, ways, out=out, progress=progress, pool=pool)
    typer.echo(f"predictions: {one_line(str(out))}")


@contextmanager
def _telling() -> Iterator[None]:
    """Warnings of few draws as lines on standard error."""
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always", PrecisionWarning)
        yield
    for each in told:
        typer.echo(f"warning: {one_line(str(each.message))}", err=True)


def _refuse_weighting(weighting: str) -> None:
    if weighting != "equal":
        raise SpecError("A model without a response weighs all draws alike (--weighting equal).")


def _predict_csv(
    fit: Path, table: Path, out: Path | None, levels: list[float], weighting: str
) -> None:
    from jointmix.storage.files import check_writable
    from jointmix.storage.trees import load
    from jointmix.tables.reading import label_rows, read_table

    if out is not None:
        check_writable(out)
    tree = load(fit)
    rows = read_table(table)
    from jointmix.posterior.allocations import responsibilities
    from jointmix.posterior.draws import fitted_spec, id_columns
    from jointmix.posterior.prediction import predict

    names = id_columns(tree)
    if names and set(names) <= set(rows.columns):
        rows = label_rows(rows, names)
    if fitted_spec(tree).response is None:
        _refuse_weighting(weighting)
        found = responsibilities(tree, rows, quantiles=())
    else:
        with _telling():
            found = predict(tree, rows, levels, cast("Weighting", weighting))
        warn_of_extrapolation(found)
    put_csv(prediction_columns(found), out)


def simulate_command(
    clusters: Annotated[int, typer.Option(min=1, help="Number of clusters.")] = 4,
    rows: Annotated[int, typer.Option(min=1, help="Number of rows.")] = 1000,
    features: Annotated[int, typer.Option(min=1, help="Number of features.")] = 2,
    seed: Annotated[int, typer.Option(min=0, help="Seed.")] = 1,
    family: Annotated[str, typer.Option(help="Of the response.")] = "normal",
    link: Annotated[str | None, typer.Option(help="logit or probit.")] = None,
    offset: Annotated[
        str | None, typer.Option(metavar="NAME", help="Column added to the line, N(0, 1).")
    ] = None,
    trials: Annotated[
        str | None, typer.Option(metavar="NAME", help="Column of trials, 1 to 20.")
    ] = None,
    discrete: Annotated[
        str | None,
        typer.Option(metavar="NAME=FAMILY,...", help="Features of levels or counts besides."),
    ] = None,
    missing: Annotated[
        str | None,
        typer.Option(metavar="NAME=SHARE,...", help="Entries deleted at random."),
    ] = None,
    feature_family: Annotated[
        str, typer.Option(help="Of the numeric features: normal or student_t.")
    ] = "normal",
    out: _Out = None,
    quiet: Quiet = False,
) -> None:
    """Draw a table from the four-cluster example.

    Or from its like for other numbers of clusters, rows and features, and other families.
    """
    from jointmix.model.simulate import four_clusters, simulate
    from jointmix.storage.files import check_writable

    place = None if out is None else Path(out)
    others = None if discrete is None else parse_families(discrete)
    truth = four_clusters(clusters, features, family, link, offset, trials, others, feature_family)
    shares = None if missing is None else parse_shares(missing)
    if place is not None and _is_folder(out):
        with show_progress(not quiet) as progress:
            simulate(truth, rows, seed, missing=shares, out=place, progress=progress)
        return
    if place is not None:
        check_writable(place)
    table = simulate(truth, rows, seed, missing=shares)
    cells = table.astype(object).where(table.notna(), "")
    put_csv({name: cells[name].tolist() for name in cells.columns}, place)
