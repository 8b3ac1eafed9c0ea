"""Commands that judge a saved fit, and say what findings mean."""

import time
from typing import Annotated

import typer

from jointmix.cli.options import AsJson, FitPath, Ignore, Strict
from jointmix.cli.output import conclude


def diagnose_command(
    fit: FitPath,
    ignore: Ignore = None,
    select: Annotated[
        list[str] | None,
        typer.Option("--select", metavar="CODE", help="Look at this finding only; repeat."),
    ] = None,
    strict: Strict = False,
    as_json: AsJson = False,
) -> None:
    """Judge a saved fit again, and say what the verdict rests on."""
    from jointmix.checks import diagnose
    from jointmix.storage.trees import load

    started = time.monotonic()
    found = diagnose(load(fit), ignore=ignore or (), select=select)
    conclude(found, {"fit": fit}, started, strict, as_json)


def explain_command(
    code: Annotated[
        str | None, typer.Argument(metavar="CODE", help="Such as JM101, or rhat; default: a list.")
    ] = None,
) -> None:
    """Say what a finding means and what to do about it."""
    from jointmix.base.codes import explain, references

    if code is None:
        for each in references().values():
            typer.echo(f"{each.code}  {each.title} ({each.name})")
        return
    typer.echo(str(explain(code)))
