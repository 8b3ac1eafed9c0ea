"""Recipes: a model, its data and its report in one TOML file, in and out without loss."""

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

import tomli_w

from jointmix.base.arguments import file_path, shown
from jointmix.base.clusters import is_cluster
from jointmix.base.errors import SpecError
from jointmix.fitting.report_spec import ReportSpec, text_or_none
from jointmix.model.designed import sources
from jointmix.model.serialised import (
    DATA_KEYS,
    SAMPLER_KEYS,
    SPEC_TABLES,
    refuse_unknown,
    spec_from_dict,
    spec_to_dict,
    sub_table,
    without_none,
)
from jointmix.model.spec import ModelSpec, require_spec
from jointmix.storage.files import write_file
from jointmix.tables.groups import group_codes
from jointmix.tables.issues import quoted
from jointmix.tables.reading import (
    label_rows,
    package_file,
    read_table,
    require_column,
    require_unique_labels,
)

if TYPE_CHECKING:
    import pandas as pd
    import xarray as xr

    from jointmix.base.pools import Pool
    from jointmix.base.progress import ProgressOption

LARGEST_FILE = 1_000_000  # bytes

_PLACE = ("path", "package", "id", "start")


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """All that one run needs.

    Parameters
    ----------
    spec
        The model.
    path
        The data file, or a folder of Parquet files, relative to ``base``, or inside ``package`` if
        one is named.
    package
        An installed package that holds the data file.
    id
        The column that says what each row is called, or several that do so together; None takes
        the rows' numbers.
    start
        A column of groups, no part of the model, as many as clusters, from which EM starts
        besides, and chains start; None for none.
    seed
        Seed of the whole run, at least 0.
    report
        See `ReportSpec`.
    base
        Folder that relative paths start from; it is not written to the file.

    Raises
    ------
    SpecError
        If a part has the wrong type, a package is named without a path, or known groups are those
        of a column in the model.

    Examples
    --------
    >>> jm.Recipe(spec=jm.ModelSpec(n_clusters=2, features=["x"]), path="table.csv").seed
    1
    """

    spec: ModelSpec
    path: str | None = None
    package: str | None = None
    id: str | tuple[str, ...] | list[str] | None = None
    start: str | None = None
    seed: int = 1
    report: ReportSpec = field(default_factory=ReportSpec)
    base: Path = Path()

    def __post_init__(self) -> None:
        require_spec(self.spec)
        if not isinstance(self.report, ReportSpec):
            raise SpecError(f"report must be a ReportSpec; got {shown(self.report)}.")
        object.__setattr__(self, "base", file_path(self.base, SpecError))
        text_or_none("path of [data]", self.path)
        text_or_none("package of [data]", self.package)
        if self.package is not None and self.path is None:
            raise SpecError(f"The package {shown(self.package)} needs a path inside it; got none.")
        self._check_columns()
        if self.report.names is not None:
            # Trees load slowly, and most recipes name no cluster.
            from jointmix.posterior.naming import checked_names

            checked_names(self.report.names, tuple(range(1, self.spec.n_clusters + 1)))
        if isinstance(self.seed, bool) or not isinstance(self.seed, int) or self.seed < 0:
            raise SpecError(f"seed must be a whole number, at least 0; got {shown(self.seed)}.")

    def _check_columns(self) -> None:
        if self.id is not None:
            given = (self.id,) if isinstance(self.id, str) else self.id
            texts = isinstance(given, list | tuple) and all(isinstance(n, str) for n in given)
            if not texts or not given or len({*given}) < len(given):
                raise SpecError(
                    f"id of [data] must be a column's name, or several; got {shown(self.id)}."
                )
            for name in given:
                text_or_none("id of [data]", name)
            object.__setattr__(self, "id", tuple(given))
        text_or_none("start of [data]", self.start)
        for what, groups in (
            ("compare_with of [report]", self.report.compare_with),
            ("start of [data]", self.start),
        ):
            if groups in self.spec.columns:
                raise SpecError(
                    f"{what} must be a column that is not in the model; got {shown(groups)}."
                )

    @property
    def id_columns(self) -> tuple[str, ...]:
        """The columns that say what each row is called; empty if their numbers do."""
        return (self.id,) if isinstance(self.id, str) else tuple(self.id or ())

    def table(self) -> "pd.DataFrame":
        """The data, their rows labelled by the columns of ``id``.

        Raises
        ------
        SpecError
            If the recipe names none.
        DataError, MissingExtraError
            If the file cannot be read, lacks a column of labels or known groups, a row has no
            label or another's, or known groups are no groups.
        """
        weights = self.spec.row_weights
        others = (weights, self.report.compare_with, self.start, *self.id_columns)
        named = [*sources(self.spec), *(name for name in others if name is not None)]
        table = read_table(self.data_path(), list(dict.fromkeys(named)))
        for groups, purpose in (
            (self.report.compare_with, "to compare the clusters with"),
            (self.start, "to start from"),
        ):
            if groups is not None:
                require_column(table, groups, purpose)
                group_codes(table[groups])
        if self.id_columns:
            table = label_rows(table, self.id_columns)
            require_unique_labels(table, self.id_columns)
        return table

    def fit(
        self,
        seed: int | None = None,
        progress: "ProgressOption" = None,
        stream: Path | None = None,
        pool: "Pool" = None,
    ) -> "xr.DataTree":
        """The fit of its model, with what else the recipe says of its rows.

        Parameters
        ----------
        seed
            Overrides the recipe's.
        progress, stream, pool
            As `jointmix.fit` takes them.

        Raises
        ------
        SpecError
            As `rows` does.
        """
        from jointmix.fitting.workflow import fit

        table = self.rows(pool)
        tree = fit(
            table, self.spec, self.seed if seed is None else seed,
            progress=progress, stream=stream, start=self.start, pool=pool,
        )  # fmt: skip
        return self.completed(tree, table)

    def rows(self, pool: "Pool") -> "pd.DataFrame | Path":
        """Its `table`; or where its parts lie, if that is Parquet, which a cluster's workers hold.

        Raises
        ------
        SpecError
            If the recipe says of rows what a cluster's workers cannot hold.
        """
        path = self.data_path()
        if not is_cluster(pool) or not (path.is_dir() or path.suffix.lower() == ".parquet"):
            return self.table()
        for what, given in (
            ("id of [data]", self.id_columns),
            ("compare_with of [report]", self.report.compare_with),
        ):
            if given:
                raise SpecError(
                    f"{what} is of rows in one process: leave it out, or the cluster that holds "
                    "the table's parts."
                )
        return path

    def completed(self, tree: "xr.DataTree", table: "pd.DataFrame | Path") -> "xr.DataTree":
        """A fit of the recipe's model that keeps what else the recipe says of its rows.

        Parameters
        ----------
        tree
            The fit.
        table
            The recipe's `table`, to which it was fitted, or where its parts lie.
        """
        from jointmix.checks import put_aside
        from jointmix.posterior.draws import with_id_columns
        from jointmix.posterior.known_groups import with_groups
        from jointmix.posterior.naming import with_names

        if self.id_columns:
            tree = with_id_columns(tree, self.id_columns)
        if self.report.ignore:
            tree = put_aside(tree, self.report.ignore)
        groups = self.report.compare_with
        if groups is not None and not isinstance(table, Path):
            tree = with_groups(tree, table[groups])
        return tree if self.report.names is None else with_names(tree, self.report.names)

    def data_path(self) -> Path:
        """The data file.

        Raises
        ------
        SpecError
            If the recipe names none.
        DataError, MissingExtraError
            If the package or its file cannot be found.
        """
        if self.path is None:
            raise SpecError("The recipe names no data; add path to its table [data].")
        return package_file(self.package, self.path) if self.package else self.base / self.path

    def report_path(self) -> Path | None:
        """The report's file, or None if the recipe names none."""
        return None if self.report.path is None else self.base / self.report.path


def read_recipe(path: str | Path) -> Recipe:
    """The recipe in a TOML file; relative paths in it start from the file's folder.

    Raises
    ------
    SpecError
        If the file cannot be read, is larger than 1 MB, is not UTF-8 or not TOML, or holds
        tables, keys or values that a recipe cannot have.

    Examples
    --------
    >>> jm.read_recipe("penguins.toml").spec.n_clusters
    3
    """
    path = file_path(path, SpecError)
    try:
        with path.open("rb") as stream:
            raw = stream.read(LARGEST_FILE + 1)
    except OSError as error:
        raise SpecError(f"{path}: cannot be read ({error.strerror}).") from error
    if len(raw) > LARGEST_FILE:
        raise SpecError(f"{path}: is larger than 1 MB, so it is not a recipe.")
    try:
        return parse_recipe(raw.decode("utf-8-sig"), path.parent)
    except UnicodeDecodeError as error:
        line = raw.count(b"\n", 0, error.start) + 1
        raise SpecError(f"{path}, line {line}: is not UTF-8; save it as UTF-8.") from error
    except SpecError as error:
        raise SpecError(f"{path}: {error}") from error


def parse_recipe(text: str, base: str | Path = ".") -> Recipe:
    """The recipe in a TOML text; relative paths in it start from ``base``.

    Raises
    ------
    SpecError
        If the text is not TOML, or holds tables, keys or values that a recipe cannot have.
    """
    try:
        document = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise SpecError(f"This is not TOML: {error}.") from error
    except RecursionError as error:
        raise SpecError("This is not TOML that can be read: it is nested too deeply.") from error
    except ValueError as error:
        # Python refuses to read a number of thousands of digits.
        raise SpecError(
            "This is not TOML that can be read: a number has too many digits."
        ) from error
    _refuse_large(document)
    refuse_unknown("A recipe", "table", document, (*SPEC_TABLES, "report"))
    data, sampler = sub_table(document, "data"), sub_table(document, "sampler")
    report = sub_table(document, "report")
    refuse_unknown("[data]", "key", data, (*_PLACE, *DATA_KEYS))
    refuse_unknown("[sampler]", "key", sampler, ("seed", *SAMPLER_KEYS))
    refuse_unknown("[report]", "key", report, [item.name for item in fields(ReportSpec)])
    tables = {name: document[name] for name in SPEC_TABLES if name in document}
    place: dict[str, Any] = {key: data.pop(key) for key in _PLACE if key in data}
    seed = sampler.pop("seed", 1)
    spec = spec_from_dict({**tables, "data": data, "sampler": sampler})
    return Recipe(spec=spec, seed=seed, report=ReportSpec(**report), base=Path(base), **place)


def recipe_text(recipe: Recipe) -> str:
    """The recipe as TOML, which `parse_recipe` reads back to an equal one."""
    if not isinstance(recipe, Recipe):
        raise SpecError(f"A Recipe is required; got {shown(recipe)}.")
    tables = spec_to_dict(recipe.spec)
    # What a formula learned of a table is learned again of the recipe's.
    tables["data"].pop("encoding", None)
    encoding = recipe.spec.encoding
    codings = {} if encoding is None else encoding.codings
    said = [_comment(f"{quoted(name)} had the {words}.") for name, words in codings.items()]
    names = recipe.id_columns
    places = without_none({"path": recipe.path, "package": recipe.package, "start": recipe.start})
    if names:
        places["id"] = names[0] if len(names) == 1 else list(names)
    tables["data"] = {**places, **tables["data"]}
    tables["sampler"] = {"seed": recipe.seed, **tables["sampler"]}
    report = without_none(vars(recipe.report))
    if not report["against_last"]:
        del report["against_last"]
    if "names" in report:
        report["names"] = {str(number): name for number, name in report["names"].items()}
    text = tomli_w.dumps(tables | ({"report": report} if report else {}))
    return "".join([*said, text])


def _comment(text: str) -> str:
    """A line that TOML passes over, whatever signs the text holds."""
    kept = (sign if sign.isprintable() else "\N{REPLACEMENT CHARACTER}" for sign in text)
    return f"# {''.join(kept)}\n"


def write_recipe(recipe: Recipe, path: str | Path) -> Path:
    """Write the recipe as TOML; on failure the file that was there stays whole.

    Raises
    ------
    StorageError
        If the file cannot be written.

    Examples
    --------
    >>> path = jm.write_recipe(jm.read_recipe("penguins.toml"), "copy.toml")
    """
    return write_file(path, recipe_text(recipe).encode())


def _refuse_large(document: Mapping[str, Any]) -> None:
    """TOML's whole numbers have 64 bits; longer ones could not even be shown."""
    waiting: list[Any] = [document]
    while waiting:
        value = waiting.pop()
        if isinstance(value, Mapping):
            waiting += value.values()
        elif isinstance(value, list):
            waiting += value
        elif isinstance(value, int) and not -(2**63) <= value < 2**63:
            raise SpecError("A whole number has more than 64 bits; TOML has none so large.")
