"""The command that writes reports of saved fits."""

from pathlib import Path
from typing import Annotated

import typer

from jointmix.base.text import one_line


def report_command(
    fits: Annotated[
        list[Path],
        typer.Argument(metavar="FIT [FIT]", help="A saved fit; or two, the earlier first."),
    ],
    out: Annotated[
        Path | None,
        typer.Option(
            metavar="PATH",
            help="FIT.html by default, of two FIT.changes.html; .pdf, .md and .json work too.",
        ),
    ] = None,
    title: Annotated[str | None, typer.Option(help="Heading of the report.")] = None,
    sections: Annotated[
        list[str] | None, typer.Option("--section", metavar="ID", help="Only these; repeat.")
    ] = None,
    short: Annotated[bool, typer.Option("--short", help="Two to four pages.")] = False,
    csv: Annotated[
        Path | None,
        typer.Option(metavar="DIR", help="Every table and picture as CSV, into this folder too."),
    ] = None,
) -> None:
    """Write the report of a saved fit, or of what changed between two.

    Of two fits, such as last month's and this month's, clusters are matched and what changed
    beyond its error stands side by side, as `jointmix diff` says it.
    """
    from jointmix.storage.files import beside_fit, check_writable, refuse_same
    from jointmix.storage.trees import load

    ending = ".html" if len(fits) == 1 else ".changes.html"
    path = check_writable(out or beside_fit(fits[-1], ending))
    refuse_same({"the report": path}, {f"the fit {fit.name}": fit for fit in fits})
    names = [beside_fit(fit, "").name for fit in fits]
    if len(set(names)) < len(fits):
        names = [f"{i}: {fit}" for i, fit in enumerate(fits, 1)]
    trees = {name: load(fit) for name, fit in zip(names, fits, strict=True)}
    from jointmix.reporting import report

    result = trees if len(trees) > 1 else next(iter(trees.values()))
    typer.echo(f"report: {one_line(str(report(result, path, title, sections, short, csv)))}")
