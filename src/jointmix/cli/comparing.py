"""Commands that hold fits, models and implementations against one another."""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from jointmix.base.progress import show_progress
from jointmix.base.text import one_line
from jointmix.cli.arguments import load_model, parse_list, parse_names, parse_part, parse_range
from jointmix.cli.options import (
    Dask,
    FitPath,
    Merge,
    Part,
    Quiet,
    ReportPath,
    Seed,
    SpecPath,
    Store,
)
from jointmix.cli.output import put_certificate, put_comparison, put_json, put_part, put_scores

if TYPE_CHECKING:
    from jointmix.fitting.selection import Comparison
    from jointmix.validation.agreement import Certificate


def score_command(
    fit: FitPath,
    most_rows: Annotated[
        int, typer.Option(min=2, help="Rows left out one by one; of more, as many at random.")
    ] = 5_000,
    as_json: Annotated[bool, typer.Option("--json", help="The scores as one JSON object.")] = False,
) -> None:
    """Score a saved fit by leaving each row out.

    By the joint density, that of the features, and that of the response given them.
    """
    from jointmix.storage.trees import load

    tree = load(fit)
    from jointmix.posterior.scores import loo

    put_scores(loo(tree, most_rows), as_json)


def diff_command(
    first: Annotated[Path, typer.Argument(metavar="A", help="A saved fit.")],
    second: Annotated[Path, typer.Argument(metavar="B", help="Another.")],
    strict: Annotated[
        bool, typer.Option("--strict", help="Exit code 1 if anything changed beyond its error.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="All of it as one JSON object.")] = False,
) -> None:
    """Say what changed between two saved fits, cluster by cluster."""
    from jointmix.storage.trees import load

    trees = load(first), load(second)
    from jointmix.fitting.side_by_side import diff

    found = diff(*trees)
    if as_json:
        put_json(found.as_dict())
    else:
        for line in found.lines():
            typer.echo(one_line(line))
    if strict and found.changed:
        raise typer.Exit(1)


def compare_command(
    spec: SpecPath,
    clusters: Annotated[
        str, typer.Option(metavar="FIRST-LAST", help="Numbers of clusters to try.")
    ] = "1-6",
    covariance: Annotated[
        str | None,
        typer.Option(metavar="NAME,NAME,…", help="Of full, diagonal, spherical and tied."),
    ] = None,
    noise: Annotated[
        str | None, typer.Option(metavar="NAME,NAME", help="Of cluster and shared.")
    ] = None,
    seed: Seed = None,
    jobs: Annotated[int, typer.Option(min=1, help="Models at a time.")] = 1,
    dask: Dask = None,
    store: Store = None,
    part: Part = None,
    merge: Merge = False,
    quiet: Quiet = False,
    as_json: Annotated[bool, typer.Option("--json", help="The table as one JSON object.")] = False,
    report_path: ReportPath = None,
) -> None:
    """Screen numbers of clusters and structures by EM, fit the best, and say which predicts best.

    Sampled are the structure with the least BIC of each number of clusters, and the number with the
    least BIC of each structure. ICL is BIC plus twice the entropy of the responsibilities. A queue
    runs --part 1/N … N/N with one --store, and then --merge.
    """
    from jointmix.fitting.recipe import read_recipe
    from jointmix.storage.files import check_writable

    structures = {"covariance": parse_list(covariance), "noise": parse_list(noise)}
    numbers = parse_range(clusters, any(names is not None for names in structures.values()))
    own = parse_part(part, store, merge)
    if report_path is not None:
        check_writable(report_path)
    recipe = read_recipe(spec)
    _refuse_same(report_path, {"the recipe": spec, "the data": recipe.data_path()})
    table = recipe.table()
    from jointmix.fitting.pooled import fit_part
    from jointmix.fitting.selection import compare

    start = recipe.seed if seed is None else seed
    if own is not None and store is not None:
        with show_progress(not quiet) as progress:
            n = fit_part(table, recipe.spec, numbers, start, store, own, progress, **structures)
        put_part(own, f"{n} fit" if n == 1 else f"{n} fits", store, as_json)
        return
    known = recipe.report.compare_with
    groups = None if known is None else table[known]
    with show_progress(not quiet) as progress:
        found = compare(
            table,
            recipe.spec,
            numbers,
            start,
            jobs,
            progress,
            groups=groups,
            pool=dask,
            store=store,
            merge=merge,
            **structures,
        )
    put_comparison(found, as_json)
    _write_report(found, report_path)


def crosscheck_command(
    spec: SpecPath,
    model: Annotated[
        str | None,
        typer.Option(metavar="FILE.py:NAME", help="A NumPyro model of your own, no arguments."),
    ] = None,
    names: Annotated[
        list[str] | None,
        typer.Option("--name", metavar="QUANTITY=SITE", help="What a site of it holds; repeat."),
    ] = None,
    points: Annotated[int, typer.Option(min=1, help="Random points to compare at.")] = 1000,
    posterior: Annotated[
        bool, typer.Option(help="Sample both posteriors and compare them too.")
    ] = True,
    fit: Annotated[
        Path | None,
        typer.Option(metavar="FIT", help="Saved fit of SPEC: keeps the certificate."),
    ] = None,
    seed: Seed = None,
    quiet: Quiet = False,
    as_json: Annotated[
        bool, typer.Option("--json", help="The certificate as one JSON object.")
    ] = False,
    report_path: ReportPath = None,
) -> None:
    """Certify that independent implementations agree on SPEC.

    The compiled kernel, PyMC, NumPyro, NumPy and SciPy; exit code 1 if they do not.
    """
    from jointmix.fitting.recipe import read_recipe
    from jointmix.storage.files import check_writable

    recipe, sites = read_recipe(spec), parse_names(names or [])
    if report_path is not None:
        check_writable(report_path)
    inputs = {"the recipe": spec, "the data": recipe.data_path()}
    _refuse_same(report_path, inputs | ({} if fit is None else {"the fit": fit}))
    table = recipe.table()
    from jointmix.storage.trees import load, save
    from jointmix.validation.agreement import crosscheck, use_double_precision

    # Arrays that the model's file makes would otherwise be in single precision.
    use_double_precision()
    own = load_model(model)
    tree = None if fit is None else load(fit)
    with show_progress(not quiet) as progress:
        certificate = crosscheck(
            table,
            recipe.spec,
            model=own,
            names=sites,
            points=points,
            posterior=posterior,
            fit=tree,
            seed=recipe.seed if seed is None else seed,
            progress=progress,
        )
    if tree is not None and fit is not None:
        save(tree, fit)
    _write_report(certificate, report_path)
    put_certificate(certificate, as_json)


def _refuse_same(report_path: Path | None, inputs: Mapping[str, Path]) -> None:
    from jointmix.storage.files import refuse_same

    refuse_same({} if report_path is None else {"the report": report_path}, inputs)


def _write_report(result: "Comparison | Certificate", path: Path | None) -> None:
    if path is None:
        return
    from jointmix.reporting import report

    typer.echo(f"report: {one_line(str(report(result, path)))}", err=True)
