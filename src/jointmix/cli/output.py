"""What commands write: a verdict, places of files, and tables of predictions."""

import csv
import io
import json
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

if TYPE_CHECKING:
    import xarray as xr


def one_line(text: str) -> str:
    """Text without line breaks and other signs that a terminal would act on."""
    return "".join(sign if sign.isprintable() else " " for sign in text)


def conclude(
    tree: "xr.DataTree", paths: Mapping[str, Path], started: float, strict: bool, as_json: bool
) -> None:
    """Print the verdict and the findings behind it, and exit with 1 if that was asked for."""
    from jointmix.checks import stored_diagnosis

    diagnosis = stored_diagnosis(tree)
    places = {name: str(path) for name, path in paths.items()}
    if as_json:
        seconds = round(time.monotonic() - started, 3)
        typer.echo(json.dumps({**diagnosis.as_dict(), **places, "seconds": seconds}))
    else:
        for line in diagnosis.lines():
            typer.echo(one_line(line))
        for name, place in places.items():
            typer.echo(f"{name}: {one_line(place)}")
    if strict and diagnosis.verdict != "OK":
        raise typer.Exit(1)


def prediction_columns(prediction: "xr.Dataset") -> dict[str, list[Any]]:
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
    for name in ("extrapolated", "multimodal"):
        if name in prediction:
            columns[name] = prediction[name].values.astype(int).tolist()
    for cluster in prediction["cluster"].values.tolist():
        share = prediction["responsibility"].sel(cluster=cluster)
        columns[f"p({cluster})"] = share.values.tolist()
    return columns


def put_csv(columns: Mapping[str, Sequence[Any]], out: Path | None) -> None:
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
