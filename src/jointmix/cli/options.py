"""Arguments and options that several commands share."""

from pathlib import Path
from typing import Annotated

import typer

SpecPath = Annotated[Path, typer.Argument(metavar="SPEC", help="Recipe, a .toml file.")]
FitPath = Annotated[
    Path, typer.Argument(metavar="FIT", help="A saved fit: .nc, .zarr or .zarr.zip.")
]
FitOut = Annotated[
    Path | None,
    typer.Option(metavar="FIT", help=".nc, .zarr or .zarr.zip; default: SPEC with the suffix .nc."),
]
Seed = Annotated[int | None, typer.Option(help="Seed; overrides the recipe's.", min=0)]
Strict = Annotated[bool, typer.Option("--strict", help="Exit code 1 unless the verdict is OK.")]
Quiet = Annotated[bool, typer.Option("--quiet", help="No progress, no estimates.")]
Stream = Annotated[
    Path | None,
    typer.Option(metavar="DIR", help="Write draws there as they come; see `recover`."),
]
Dask = Annotated[
    str | None, typer.Option(metavar="ADDRESS", help="Dask scheduler whose workers do the work.")
]
DaskRows = Annotated[
    str | None,
    typer.Option(
        "--dask",
        metavar="ADDRESS",
        help="Dask scheduler whose workers hold the parts of Parquet and draw NUTS' chains.",
    ),
]
Part = Annotated[
    str | None,
    typer.Option(metavar="I/N", help="The I-th of N parts only, for a queue; needs --store."),
]
Store = Annotated[
    Path | None,
    typer.Option(metavar="DIR", help="Keep what is finished there, and go on from it."),
]
Merge = Annotated[
    bool, typer.Option("--merge", help="All parts are in --store: put them together.")
]
Ignore = Annotated[
    list[str] | None,
    typer.Option("--ignore", metavar="CODE", help="Finding to put aside, such as JM401; repeat."),
]
AgainstLast = Annotated[
    bool,
    typer.Option(
        "--against-last",
        help="Keep the fit that is replaced as NAME.last.nc, and write what changed since as "
        "NAME.changes.html; in a recipe against_last = true of [report].",
    ),
]
AsJson = Annotated[bool, typer.Option("--json", help="The verdict as one JSON object.")]
ReportPath = Annotated[
    Path | None,
    typer.Option("--report", metavar="PATH", help="Write a report: .html, .md or .json."),
]
