"""The command that looks at a recipe and its table without fitting."""

from pathlib import Path
from typing import Annotated

import typer

from jointmix.base.text import one_line
from jointmix.cli.options import DaskRows, SpecPath


def check_command(
    spec: SpecPath,
    em: Annotated[bool, typer.Option(help="Run EM, for what only clusters show.")] = True,
    strict: Annotated[
        bool, typer.Option("--strict", help="Exit code 1 if there are warnings.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="The problems as one JSON object.")] = (
        False
    ),
    dask: DaskRows = None,
) -> None:
    """List all problems of SPEC and its table before a fit.

    Exit code 2 for errors.
    """
    from jointmix.fitting.recipe import read_recipe

    recipe = read_recipe(spec)
    table = recipe.rows(dask)
    from jointmix.fitting.inspection import check

    pool = dask if isinstance(table, Path) else None
    found = check(table, recipe.spec, em, recipe.seed, pool)
    for line in [found.to_json()] if as_json else found.lines():
        typer.echo(one_line(line))
    if found.errors:
        raise typer.Exit(2)
    if strict and found.warnings:
        raise typer.Exit(1)
