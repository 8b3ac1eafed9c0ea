"""What commands write: a verdict, places of files, and tables of predictions."""

import csv
import io
import json
import math
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from jointmix.base.text import one_line

if TYPE_CHECKING:
    import xarray as xr

    from jointmix.checks import Diagnosis
    from jointmix.cli.building import Built
    from jointmix.fitting.selection import Comparison
    from jointmix.posterior.scores import Scores
    from jointmix.validation.agreement import Certificate


def put_json(content: Mapping[str, Any] | Sequence[Any]) -> None:
    """Print a value as one JSON text; numbers that JSON lacks are null."""
    # What is neither dict, list, text nor number of Python's own is a number of NumPy's.
    typer.echo(json.dumps(_finite(content), allow_nan=False, default=lambda number: number.item()))


def _finite(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _finite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def conclude(
    diagnosis: "Diagnosis",
    paths: Mapping[str, Path],
    started: float,
    strict: bool,
    as_json: bool,
) -> None:
    """Print the verdict and the findings behind it, and exit with 1 if that was asked for."""
    places = {name: str(path) for name, path in paths.items()}
    if as_json:
        seconds = round(time.monotonic() - started, 3)
        put_json({**diagnosis.as_dict(), **places, "seconds": seconds})
    else:
        for line in diagnosis.lines():
            typer.echo(one_line(line))
        for name, place in places.items():
            typer.echo(f"{name}: {one_line(place)}")
    if strict and diagnosis.verdict != "OK":
        raise typer.Exit(1)


def conclude_fit(
    tree: "xr.DataTree", paths: Mapping[str, Path], started: float, strict: bool, as_json: bool
) -> None:
    """`conclude` with the diagnosis that a fit carries."""
    from jointmix.checks import stored_diagnosis

    conclude(stored_diagnosis(tree), paths, started, strict, as_json)


def put_estimates(tree: "xr.DataTree") -> None:
    """Show weights and, cluster by cluster, the response's regression (else means) to a person.

    And how a fit was sampled again. On standard error: standard output holds what pipelines read.
    """
    from jointmix.posterior.draws import fitted_spec
    from jointmix.posterior.summaries import summary

    locations = [each.name for each in fitted_spec(tree).blocks[-1].parameters
                 if each.role == "location"]  # fmt: skip
    for each in json.loads(tree.attrs.get("retries", "[]")):
        typer.echo(one_line(str(each["text"])), err=True)
    table = summary(tree)
    rows = [name for name in table.index if name.partition("[")[0] in ("weight", *locations)]
    for line in repr(table.loc[rows].iloc[:, :4]).splitlines():
        typer.echo(one_line(line), err=True)


def prediction_columns(prediction: "xr.Dataset") -> dict[str, list[Any]]:
    """Columns of the predictions' table: row, mean, sd, quantiles, cluster probabilities."""
    from jointmix.posterior.wide import to_frame

    frame = to_frame(prediction)
    order = ["mean", "sd", *(name for name in frame if name.startswith("q"))]
    order += [
        "extrapolated",
        "multimodal",
        "effective_draws",
        *(name for name in frame if name.startswith("p(")),
    ]
    flags = frame.select_dtypes(bool).columns
    frame = frame.astype(dict.fromkeys(flags, int))
    return {"row": frame.index.tolist()} | {
        name: frame[name].tolist() for name in order if name in frame
    }


def warn_of_extrapolation(prediction: "xr.Dataset") -> None:
    """Say on standard error when most rows are unlike those of the fit."""
    outside = prediction["extrapolated"].values
    if 2 * outside.sum() > outside.size:
        typer.echo(
            f"warning: {outside.sum()} of {outside.size} rows are unlike those of the fit "
            "(column extrapolated): are their columns in the same units?",
            err=True,
        )


def put_scores(scores: "Scores", as_json: bool) -> None:
    """Print the scores of a fit, and the rows that sway it."""
    if as_json:
        put_json(
            {
                "method": scores.method,
                "densities": scores.table.to_dict(orient="index"),
                "influential": _influential(scores),
                "text": scores.text,
            }
        )
        return
    typer.echo(scores.table.round(2).to_string())
    typer.echo(one_line(scores.text))


def _influential(scores: "Scores") -> list[dict[str, Any]]:
    from jointmix.tables.labels import label_text

    frame = scores.influential
    labels = [label_text(label) for label in frame.index.to_numpy()]
    return frame.assign(label=labels).to_dict(orient="records")


def put_part(part: tuple[int, int], what: str, store: Path, as_json: bool) -> None:
    """Say what a part of a job has left in its store."""
    if as_json:
        put_json({"part": part[0], "parts": part[1], "store": str(store), "holds": what})
    else:
        typer.echo(f"part {part[0]} of {part[1]}: {what} in {store}")


def put_comparison(comparison: "Comparison", as_json: bool) -> None:
    """Print the table of a comparison, one line a model, and what it says."""
    table = comparison.table
    if as_json:
        rows = table.reset_index().to_dict(orient="records")
        put_json({"best": comparison.best, "table": rows, "text": comparison.text})
        return
    shown = ["elpd", "elpd_diff", "diff_se", "conditional_diff", "conditional_diff_se"]
    shown += ["high_k", "bic", "icl", "occupied", "smallest"]
    if "log_evidence" in table:
        shown.insert(shown.index("occupied"), "log_evidence")
    if "probability" in table:
        table = table.assign(
            probability=table["probability"].map("{:.3f}".format, na_action="ignore")
        )
        shown.insert(shown.index("occupied"), "probability")
    if "adjusted_rand" in table:
        # Two decimals more than the other columns have.
        table = table.assign(adjusted_rand=[f"{value:.3f}" for value in table["adjusted_rand"]])
        shown.append("adjusted_rand")
    shown.append("verdict")
    typer.echo(table[shown].round(1).to_string(na_rep="–", sparsify=False))
    typer.echo(one_line(comparison.text))


def put_built(built: "Sequence[Built]", folder: Path | None, as_json: bool) -> None:
    """Print what became of each recipe of a folder, and where the index is, if it was written."""
    if as_json:
        put_json([asdict(each) for each in built])
        return
    for each in built:
        text = f"{each.status:<9} {each.verdict or '–':<10} {each.recipe}: {each.message}"
        typer.echo(one_line(text))
    if folder is not None:
        typer.echo(f"index: {one_line(str(folder / 'index.html'))}")


def put_certificate(certificate: "Certificate", as_json: bool) -> None:
    """Print a certificate, and exit with 1 if it is not passed."""
    lines = [certificate.to_json()] if as_json else certificate.lines()
    for line in lines:
        typer.echo(one_line(line))
    if not certificate.passed:
        raise typer.Exit(1)


def put_csv(columns: Mapping[str, Sequence[Any]], out: Path | None) -> None:
    text = io.StringIO(newline="")
    writer = csv.writer(text)
    writer.writerow([_safe_cell(name) for name in columns])
    cells = ([_safe_cell(value) for value in column] for column in columns.values())
    writer.writerows(zip(*cells, strict=True))
    if out is None:
        typer.echo(text.getvalue(), nl=False)
        return
    from jointmix.storage.files import write_file

    write_file(out, text.getvalue().encode())


def _safe_cell(value: Any) -> Any:
    """A text that a spreadsheet will not take for a formula; numbers stay as they are."""
    formula = isinstance(value, str) and value.startswith(("=", "+", "-", "@", "\t", "\r"))
    return f"'{value}" if formula else value
