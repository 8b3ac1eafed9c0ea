"""The shipped recipes and scripts: what they name exists."""

import ast
import runpy
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import more

import jointmix
from jointmix.fitting.recipe import read_recipe
from jointmix.model.dataset import make_dataset
from jointmix.model.notes import notes
from jointmix.model.simulate import four_clusters, simulate
from jointmix.tables.reading import read_table

ROOT = Path(__file__).parent.parent
SCRIPTS = sorted(ROOT.glob("examples/*.py"))
RECIPES = sorted([*ROOT.glob("examples/*.toml"), *ROOT.glob("reports/*.toml")])


@pytest.mark.parametrize("path", RECIPES, ids=lambda path: path.name)
def test_a_recipe_describes_its_table(path: Path) -> None:
    recipe = read_recipe(path)
    if recipe.path == "clinic.csv":
        table = runpy.run_path(str(ROOT / "examples" / "clinic.py"))["clinic"]()
    elif recipe.package is None:
        table = simulate(four_clusters(), 1000, seed=1)
    else:
        table = read_table(recipe.data_path())
    dataset = make_dataset(table, recipe.spec)
    assert recipe.spec.formula is not None or dataset.columns == recipe.spec.columns
    left_out = 2 if recipe.spec.missing == "drop" else 0
    assert len(dataset.values) == len(table) - left_out
    assert not [issue for issue in notes(dataset) if issue.severity == "error"]


@pytest.mark.parametrize("path", SCRIPTS, ids=lambda path: path.name)
def test_a_script_uses_public_names(path: Path) -> None:
    tree = ast.parse(path.read_text("utf-8"))
    used = {
        node.attr
        for node in ast.walk(tree)
        if isinstance(node, ast.Attribute)
        and isinstance(node.value, ast.Name)
        and node.value.id == "jm"
    }
    assert used
    assert used <= set(jointmix.__all__)


# The guide's page on NumPyro makes the same two checks.
@pytest.mark.slow
@more
def test_the_numpyro_script_agrees_and_its_wrong_axis_is_named() -> None:
    pytest.importorskip("funsor")
    done = subprocess.run(
        [sys.executable, ROOT / "examples" / "numpyro_script.py", "--quick"],
        capture_output=True,
        text=True,
        check=True,
        timeout=600,
    )
    right, wrong = done.stdout.split("DIFFER", maxsplit=1)
    assert right.startswith("AGREE: 9 implementations")
    assert "FAIL response" in wrong
    assert "ok   features" in wrong
    assert ".sum(axis=1) sums over rows" in wrong
