"""Names, paths and texts that others choose: none runs, overwrites or escapes."""

import ast
import csv
import os
from collections.abc import Callable
from pathlib import Path

import pytest
from test_architecture import FILES, SOURCE, parsed
from test_cli import assert_refused, call, names
from test_cli_scores import RECIPE

from jointmix.base.errors import SpecError
from jointmix.cli import arguments
from jointmix.cli.building import places
from jointmix.cli.output import put_csv
from jointmix.fitting.recipe import parse_recipe, read_recipe
from jointmix.model.simulate import four_clusters, simulate
from jointmix.storage.files import refuse_same, write_file

CALLS = {"eval", "exec", "compile", "__import__", "system", "popen", "execv", "literal_eval"}
MODULES = {"pickle", "cloudpickle", "dill", "marshal", "shelve", "yaml", "code", "runpy"}


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.relative_to(SOURCE).as_posix())
def test_no_text_is_run_as_code(path: Path) -> None:
    """But for ``--model FILE.py``, which is there to run what the user names."""
    for node in ast.walk(parsed(path)):
        if isinstance(node, ast.Import | ast.ImportFrom):
            roots = [alias.name.split(".")[0] for alias in node.names]
            if isinstance(node, ast.ImportFrom):
                roots = [str(node.module).split(".")[0]]
            assert not MODULES & set(roots)
        if not isinstance(node, ast.Call):
            continue
        name = node.func.id if isinstance(node.func, ast.Name) else None
        assert name not in CALLS, f"line {node.lineno}: {name}"
        if isinstance(node.func, ast.Attribute):
            owner = getattr(node.func.value, "id", "")
            assert (owner, node.func.attr) not in {("os", each) for each in CALLS}
            assert node.func.attr != "exec_module" or path == SOURCE / "cli" / "arguments.py"
            # NumPy's own files may hold pickles.
            if (owner, node.func.attr) == ("np", "load"):
                assert all(key.arg != "allow_pickle" for key in node.keywords)
        assert all(key.arg != "shell" for key in node.keywords)


# Recipes.

MODEL = '[data]\nfeatures = ["a"]\n[model]\nclusters = '


@pytest.mark.parametrize(
    "text",
    [
        "a = " + "[" * 10_000 + "]" * 10_000,
        "a = " + "{x = " * 10_000 + "1" + "}" * 10_000,
        "[" + ".".join("a" * 10_000) + "]",
        ".".join("a" * 10_000) + " = 1",
        MODEL + "9" * 5_000,
        MODEL + "0x" + "f" * 5_000,
        MODEL + "2024-01-01",
        MODEL + "2024-01-01T00:00:00Z",
        MODEL + "07:32:00",
        MODEL + "1e400",
        MODEL + "nan",
        MODEL + "true",
        MODEL + "'2'",
        MODEL + "[2]",
        MODEL + "-1",
        MODEL + "2\n[sampler]\ndraws = 2024-01-01",
        MODEL + "2\n[sampler]\nseed = 2024-01-01",
        MODEL + "2\n[sampler]\ntarget_accept = 2024-01-01",
        MODEL + "2\n[priors.mean]\nfamily = 'normal'\nscale = 2024-01-01",
        MODEL + "2\n[priors.mean]\nfamily = 'normal'\nscale = " + "9" * 5_000,
        MODEL + "2\n[priors]\nmean = 2024-01-01",
        MODEL + "2\n[report]\npath = 2024-01-01",
        MODEL + "2\n[report]\nsections = [2024-01-01]",
        MODEL + "2\n[data.features]\nx = 1",
        "model.clusters = 2\ndata = [1]",
        "data.features = ['a']\nmodel.clusters.x = 2",
        "\0",
        "a = '\x1b[31m'",
    ],
    ids=range(28),
)
def test_texts_that_are_no_recipe_are_refused_in_one_sentence(text: str, tmp_path: Path) -> None:
    path = tmp_path / "spec.toml"
    path.write_text(text)
    with pytest.raises(SpecError) as caught:
        read_recipe(path)
    assert len(str(caught.value)) < 2_000
    assert_refused(call("run", path), "spec.toml")


def test_dotted_keys_are_tables() -> None:
    dotted = parse_recipe('data.features = ["a"]\nmodel.clusters = 2\nsampler.seed = 4')
    tables = parse_recipe('[data]\nfeatures = ["a"]\n[model]\nclusters = 2\n[sampler]\nseed = 4')
    assert dotted == tables


def test_large_and_endless_files_are_no_recipes(tmp_path: Path) -> None:
    (tmp_path / "large.toml").write_bytes(b"# \n" * 400_000)
    for path in (tmp_path / "large.toml", Path("/dev/zero")):
        with pytest.raises(SpecError, match="is larger than 1 MB"):
            read_recipe(path)


# Places.


@pytest.fixture
def recipe(tmp_path: Path) -> Path:
    (tmp_path / "spec.toml").write_text(RECIPE)
    simulate(four_clusters(2, 1), 40, 1).to_csv(tmp_path / "t.csv", index=False)
    return tmp_path / "spec.toml"


def data_is_the_verdict(recipe: Path) -> None:
    recipe.with_name("t.csv").rename(recipe.with_name("spec.json"))
    recipe.write_text(RECIPE.replace("t.csv", "spec.json"))


def data_is_the_fit(recipe: Path) -> None:
    recipe.with_name("t.csv").rename(recipe.with_name("spec.nc"))
    recipe.write_text(RECIPE.replace("t.csv", "spec.nc"))


def report_links_to_the_data(recipe: Path) -> None:
    recipe.with_suffix(".html").symlink_to("t.csv")


def fit_links_to_the_recipe(recipe: Path) -> None:
    recipe.with_suffix(".nc").symlink_to("spec.toml")


def verdict_links_to_the_report(recipe: Path) -> None:
    recipe.with_suffix(".json").symlink_to("spec.html")


def report_is_the_data_by_another_name(recipe: Path) -> None:
    os.link(recipe.with_name("t.csv"), recipe.with_suffix(".html"))


def data_link_to_the_report(recipe: Path) -> None:
    recipe.with_name("t.csv").rename(recipe.with_suffix(".html"))
    recipe.with_name("t.csv").symlink_to("spec.html")


def through_a_linked_folder(recipe: Path) -> None:
    recipe.with_name("here").symlink_to(".")
    recipe.with_name("t.csv").rename(recipe.with_name("r.html"))
    text = RECIPE.replace("t.csv", "r.html")
    recipe.write_text(text + '[report]\npath = "here/r.html"\n')


@pytest.mark.parametrize(
    ("arrange", "words"),
    [
        (data_is_the_verdict, "the verdict would be written over the data"),
        (data_is_the_fit, "the fit would be written over the data"),
        (report_links_to_the_data, "the report would be written over the data"),
        (fit_links_to_the_recipe, "the fit would be written over the recipe"),
        (verdict_links_to_the_report, "the verdict would be written over the report"),
        (report_is_the_data_by_another_name, "the report would be written over the data"),
        (data_link_to_the_report, "the report would be written over the data"),
        (through_a_linked_folder, "the report would be written over the data"),
    ],
)
def test_an_output_is_never_the_data_the_recipe_or_another_output(
    recipe: Path, arrange: Callable[[Path], None], words: str
) -> None:
    arrange(recipe)
    before = {path.name: path.read_bytes() for path in recipe.parent.iterdir() if path.is_file()}
    assert_refused(call("run", recipe), words, "rename one")
    found = {path.name: path.read_bytes() for path in recipe.parent.iterdir() if path.is_file()}
    assert found == before


def test_the_authors_of_recipes_choose_any_place(tmp_path: Path) -> None:
    (tmp_path / "t.csv").touch()
    (tmp_path / "in" / "side").mkdir(parents=True)
    for place in ("../up.html", str(tmp_path / "absolute.html"), "side/r.html"):
        path = tmp_path / "in" / "spec.toml"
        path.write_text(RECIPE.replace("t.csv", "../t.csv") + f'[report]\npath = "{place}"\n')
        at = places(read_recipe(path), path)
        assert at.report.resolve() == (tmp_path / "in" / place).resolve()


def test_commands_do_not_write_over_what_they_read(recipe: Path, tmp_path: Path) -> None:
    fit, table = tmp_path / "fit.nc", tmp_path / "t.csv"
    fit.write_bytes(b"a fit")
    page = tmp_path / "page.html"
    page.symlink_to(fit)
    before = table.read_bytes()
    assert_refused(call("report", fit, "--out", page), "would be written over the fit")
    assert_refused(call("predict", fit, table, "--out", table), "written over the table")
    assert_refused(call("predict", fit, table, "--out", fit), "written over the fit")
    assert_refused(call("compare", recipe, "--report", table), "written over the data")
    assert_refused(call("crosscheck", recipe, "--report", recipe), "written over the recipe")
    assert_refused(call("calibrate", recipe, "--report", recipe), "written over the recipe")
    assert_refused(call("calibrate", recipe, "--report", table), "written over the data")
    assert_refused(call("calibrate", recipe, "--fit", fit, "--report", fit), "over the fit")
    results = tmp_path / "c.json"
    assert_refused(call("calibrate", recipe, "--out", results, "--report", results), "the results")
    data = tmp_path / "d.nc"
    data.symlink_to(table)
    assert_refused(call("fit", recipe, "--out", data), "written over the data")
    assert_refused(call("recover", recipe, "--stream", tmp_path, "--out", data), "over the data")
    assert (fit.read_bytes(), table.read_bytes()) == (b"a fit", before)


def test_places_that_do_not_exist_are_compared_by_name(tmp_path: Path) -> None:
    one = tmp_path / "none" / "x"
    with pytest.raises(SpecError, match="b would be written over a"):
        refuse_same({"a": one, "b": tmp_path / "none" / ".." / "none" / "x"}, {})
    refuse_same({"a": one}, {"b": tmp_path / "none" / "y"})


def test_a_link_is_replaced_and_its_target_left(tmp_path: Path) -> None:
    target = tmp_path / "target"
    target.write_text("mine")
    for name, there in (("link", target), ("dangling", tmp_path / "none")):
        (tmp_path / name).symlink_to(there)
        write_file(tmp_path / name, b"new")
        assert not (tmp_path / name).is_symlink()
        assert (tmp_path / name).read_bytes() == b"new"
    assert target.read_text() == "mine"
    assert names(tmp_path) == {"target", "link", "dangling"}


# Exported tables.


def test_texts_in_tables_are_no_formulas_and_numbers_stay_numbers(tmp_path: Path) -> None:
    texts = ["=1+1", "+1", "-1", "@x", "\tx", "\rx", "plain", "1-2"]
    columns = {"=cmd()": texts, "-x": [-1.5] * 8, "n": [-3] * 8}
    put_csv(columns, tmp_path / "t.csv")
    with (tmp_path / "t.csv").open(newline="") as stream:
        header, *rows = csv.reader(stream)
    assert header == ["'=cmd()", "'-x", "n"]
    assert [row[0] for row in rows] == [f"'{text}" for text in texts[:6]] + texts[6:]
    assert {(float(row[1]), int(row[2])) for row in rows} == {(-1.5, -3)}


def test_the_command_that_runs_a_file_runs_that_file_alone(tmp_path: Path) -> None:
    """``--model`` is the one way to run code, and says what went wrong in it."""
    path = tmp_path / "m.py"
    path.write_text("raise RuntimeError('mine')")
    with pytest.raises(SpecError, match=r"m\.py: fails with RuntimeError: mine"):
        arguments.load_model(f"{path}:model")
    assert arguments.load_model(None) is None
