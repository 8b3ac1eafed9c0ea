"""Recipes as reports: one of them, or a folder of them with an index page, only what changed."""

import hashlib
import json
import os
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any, Literal
from urllib.parse import quote

import xarray as xr
from joblib import delayed

from jointmix.base.errors import (
    EXPECTED,
    DataError,
    JointmixError,
    SamplingError,
    SpecError,
    sentence,
)
from jointmix.base.pools import Pool, chosen_pool, own_share, run_jobs
from jointmix.base.progress import Progress, ProgressOption
from jointmix.checks import stored_diagnosis
from jointmix.checks.diagnosis import STATUS_OF
from jointmix.cli.since import Since, replace_fit, since_last
from jointmix.fitting.recipe import Recipe, read_recipe
from jointmix.reporting import report
from jointmix.reporting.elements import Cell, Document, Section, Table, number_cells
from jointmix.reporting.render import render
from jointmix.storage.files import check_writable, refuse_same, write_file
from jointmix.storage.trees import save

INDEX = "index.html"
_PACKAGES = ("jointmix", "pymc", "nutpie", "arviz", "numpy")


@dataclass(frozen=True)
class Places:
    """Where a recipe's outputs are written.

    Attributes
    ----------
    report, fit, verdict
        The page, what it is of, and the verdict as JSON.
    last, changes
        The fit before, and the page of what changed since.
    """

    report: Path
    fit: Path
    verdict: Path
    last: Path
    changes: Path

    @property
    def outputs(self) -> dict[str, Path]:
        """By what they hold."""
        return {
            "the report": self.report,
            "the fit": self.fit,
            "the verdict": self.verdict,
            "the last fit": self.last,
            "what changed": self.changes,
        }


@dataclass(frozen=True)
class Built:
    """What became of one recipe.

    Attributes
    ----------
    recipe
        Its file's name.
    status
        "built", "unchanged" or "failed".
    verdict
        "OK", "CAUTION" or "DO NOT USE"; empty if it failed.
    title
        Of the report, as far as the recipe gives one.
    report
        The report's place from the folder of recipes; empty if it failed.
    n_obs, clusters
        Rows and clusters of the fit; 0 if it failed.
    message
        Why it failed, or how many concerns the verdict rests on.
    changes
        The place, from the folder of recipes, of the page of what changed since the last fit;
        empty if there is none.
    since
        How much changed, or why there is no such page; empty if none was asked for.
    """

    recipe: str
    status: Literal["built", "unchanged", "failed"]
    verdict: str = ""
    title: str = ""
    report: str = ""
    n_obs: int = 0
    clusters: int = 0
    message: str = ""
    changes: str = ""
    since: str = ""


def places(recipe: Recipe, path: Path) -> Places:
    """Where the outputs of a recipe go: beside its report.

    The report's place may be anywhere that the recipe's author may write to, above its folder too:
    it is he who runs it.

    Raises
    ------
    SpecError
        If the report's name does not end in .html, or an output is the recipe, the data or
        another output.
    StorageError
        If they cannot be written there.
    """
    page = recipe.report_path() or path.with_suffix(".html")
    if page.suffix not in (".html", ".htm"):
        raise SpecError(f"{path}: the path of [report] must end in .html; got {page.name}.")
    found = Places(
        report=page,
        fit=page.with_suffix(".nc"),
        verdict=page.with_suffix(".json"),
        last=page.with_suffix(".last.nc"),
        changes=page.with_suffix(".changes.html"),
    )
    for each in found.outputs.values():
        check_writable(each)
    inputs = {"the recipe": path}
    if recipe.path is not None:
        inputs["the data"] = recipe.data_path()
    refuse_same(found.outputs, inputs)
    return found


def run_recipe(
    recipe: Recipe,
    at: Places,
    seed: int | None = None,
    progress: ProgressOption = None,
    stream: Path | None = None,
    against_last: bool = False,
    pool: Pool = None,
) -> tuple[xr.DataTree, Since | None]:
    """Fit a recipe's model, save the fit, and write its report.

    Gives the fit, and what became of the comparison with the last one if that is asked for.

    Parameters
    ----------
    recipe, at
        The recipe, and where its outputs go.
    seed
        Overrides the recipe's.
    progress, stream, pool
        As `jointmix.fit` takes them.
    against_last
        Whether the fit that is replaced is kept, and what changed is written, whatever the recipe
        says.
    """
    tree = recipe.fit(seed, progress, stream, pool)
    compared, replaced = against_last or recipe.report.against_last, None
    if compared:
        replaced = replace_fit(tree, at.fit, at.last)
    else:
        save(tree, at.fit)
    title = recipe.report.title
    report(tree, at.report, title=title, sections=recipe.report.sections)
    if not compared:
        return tree, None
    return tree, since_last(tree, at.last, at.changes, title or at.report.stem, replaced)


def build(
    folder: str | os.PathLike[str],
    jobs: int = 1,
    force: bool = False,
    progress: Progress | None = None,
    *,
    pool: Pool = None,
    part: tuple[int, int] | None = None,
    against_last: bool = False,
) -> list[Built]:
    """Make the reports of all recipes in a folder, and an index page that links them.

    Beside each report stand its fit (.nc) and its verdict (.json). A recipe is left as it is when
    neither it nor its data, nor the packages, nor its report have changed since it was built. One
    that fails does not keep the others from being built.

    Parameters
    ----------
    folder
        Holds the recipes (.toml); the index is written there as index.html.
    jobs
        Recipes at a time, each in a process of its own if more than one.
    force
        Build what has not changed, too.
    progress
        Called as ``progress("build", done, total, recipe)``.
    pool
        Where recipes are built in the place of ``jobs`` processes, as `jointmix.calibrate` takes
        it; its workers must see the folder.
    part
        Only the i-th of n parts of the recipes, as ``(i, n)``, without the index; building the
        folder afterwards takes what the parts have made, and writes it.
    against_last
        Keep the fit that is about to be replaced beside it (NAME.last.nc), and write what changed
        since (NAME.changes.html), for recipes that do not ask for it too.

    Returns
    -------
    list of Built
        In the order of the recipes' names.

    Raises
    ------
    SpecError
        If the folder holds no recipes, or two of them would write the same file.
    StorageError
        If the index cannot be written.
    """
    folder = Path(folder)
    recipes = sorted(folder.glob("*.toml"))
    if not recipes:
        raise SpecError(f"{folder}: holds no recipes, files that end in .toml.")
    check_writable(folder / INDEX)
    _refuse_same_places(folder, recipes)
    tell = progress or (lambda *_: None)
    recipes = recipes if part is None else list(own_share(recipes, part))
    if not recipes:
        return []
    tell("build", 0, len(recipes), recipes[0].name)
    found: dict[str, Built] = {}
    # Processes, since matplotlib's settings are those of all threads.
    tasks = [delayed(_build_one)(path, force, against_last) for path in recipes]
    try:
        for _, built in run_jobs(tasks, chosen_pool(pool, min(jobs, len(recipes)))):
            found[built.recipe] = built
            tell("build", len(found), len(recipes), built.recipe)
    except SamplingError as error:
        # Workers died, and with them what they were building; what was built stays built.
        found = {path.name: _failed(path, sentence(error)) for path in recipes} | found
    ordered = [found[path.name] for path in recipes]
    if part is None:
        write_file(folder / INDEX, index_page(folder, ordered).encode())
    return ordered


def _refuse_same_places(folder: Path, recipes: Sequence[Path]) -> None:
    """Of recipes that can be read; the others fail one by one."""
    taken: dict[Path, str] = {(folder / INDEX).resolve(): "the index"}
    for path in recipes:
        try:
            at = places(read_recipe(path), path)
        except JointmixError:
            continue
        for place in (at.report, at.changes):
            page = place.resolve()
            if page in taken:
                raise SpecError(f"{path}: would write {place}, as does {taken[page]}.")
            taken[page] = path.name


def _build_one(path: Path, force: bool, against_last: bool) -> Built:
    try:
        recipe = read_recipe(path)
        at = places(recipe, path)
        mark = fingerprint(path, recipe)
        known = None if force else _unchanged(at, mark)
        if known is not None:
            return Built(**known | {"status": "unchanged"})
        tree, since = run_recipe(recipe, at, progress=False, against_last=against_last)
        diagnosis = stored_diagnosis(tree)
        built = Built(
            recipe=path.name,
            status="built",
            verdict=diagnosis.verdict,
            title=recipe.report.title or path.stem,
            report=_relative(at.report, path),
            n_obs=int(tree.attrs.get("n_fitted", tree.attrs["n_obs"])),
            clusters=recipe.spec.n_clusters,
            message=_concerns(len(diagnosis.concerns)),
            changes="" if since is None or since.page is None else _relative(since.page, path),
            since="" if since is None else since.text,
        )
        content = diagnosis.as_dict() | {
            "built": asdict(built),
            "fingerprint": mark,
            "report_sha256": _digest(at.report),
        }
        write_file(at.verdict, json.dumps(content, indent=1).encode())
    except EXPECTED as error:
        return _failed(path, sentence(error))
    return built


def _relative(place: Path, recipe: Path) -> str:
    return Path(os.path.relpath(place, recipe.parent)).as_posix()


def _failed(path: Path, message: str) -> Built:
    return Built(recipe=path.name, status="failed", title=path.stem, message=message)


def _concerns(n: int) -> str:
    return "no concerns" if n == 0 else f"{n} concern{'s' if n > 1 else ''}"


def fingerprint(path: Path, recipe: Recipe) -> str:
    """SHA-256 over the recipe, its data file or files, and the versions of the packages.

    Raises
    ------
    DataError
        If there is no data file.
    """
    data = recipe.data_path()
    if not data.exists():
        raise DataError(f"{data}: is no file.")
    files = sorted(each for each in data.rglob("*") if each.is_file()) if data.is_dir() else [data]
    parts = [str(file.relative_to(data)).encode() for file in files if file != data]
    parts += [f"{name} {version(name)}".encode() for name in _PACKAGES]
    digests = [_digest(path), *map(_digest, files)]
    digests += [hashlib.sha256(part).hexdigest() for part in parts]
    return hashlib.sha256(b"".join(map(bytes.fromhex, digests))).hexdigest()


def _digest(path: Path) -> str:
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def _unchanged(at: Places, mark: str) -> dict[str, Any] | None:
    """What was built, if the same would be built again; a verdict that cannot be read is not."""
    try:
        content = json.loads(at.verdict.read_text("utf-8"))
        same = content["fingerprint"] == mark and content["report_sha256"] == _digest(at.report)
        return dict(content["built"]) if same and at.fit.is_file() else None
    except (OSError, ValueError, KeyError, TypeError):
        return None


def index_page(folder: Path, built: Sequence[Built]) -> str:
    """The page that lists and links the reports; the same reports give the same bytes."""
    compared = any(each.since for each in built)
    rows = tuple(
        (
            Cell(text=each.title, href=quote(each.report) or None),
            Cell(text=each.verdict or "failed", status=STATUS_OF.get(each.verdict, "fail")),
            *number_cells(f"{each.n_obs:,}" if each.n_obs else "–", str(each.clusters or "–")),
            Cell(text=each.message),
            *([Cell(text=each.since or "–", href=quote(each.changes) or None)] if compared else []),
            Cell(text=each.recipe),
        )
        for each in built
    )
    count = sum(each.verdict == "OK" for each in built)
    table = Table(
        caption="Reports by recipe",
        columns=(
            *(Cell(text="report"), Cell(text="verdict")),
            *number_cells("rows", "clusters"),
            Cell(text="why"),
            *([Cell(text="since the last fit")] if compared else []),
            Cell(text="recipe"),
        ),
        rows=rows,
    )
    return render(
        Document(
            sections=(Section(id="reports", title="Reports", elements=(table,)),),
            title=f"Reports of {folder.resolve().name}",
            subtitle=f"{count} of {len(built)} verdicts are OK",
            footer=f"Made by jointmix {version('jointmix')}.",
            kicker="Joint mixture reports",
        )
    )
