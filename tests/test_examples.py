"""The shipped recipes and scripts: what they name exists."""

import ast
from pathlib import Path

import pytest

import jointmix
from jointmix.data import make_dataset
from jointmix.recipe import read_recipe
from jointmix.simulate import four_clusters, simulate
from jointmix.tables import read_table

ROOT = Path(__file__).parent.parent
RECIPES = sorted([*ROOT.glob("examples/*.toml"), *ROOT.glob("reports/*.toml")])


@pytest.mark.parametrize("path", RECIPES, ids=lambda path: path.name)
def test_a_recipe_describes_its_table(path: Path) -> None:
    recipe = read_recipe(path)
    if recipe.package is None:
        table = simulate(four_clusters(), 1000, seed=1)
    else:
        table = read_table(recipe.data_path())
    dataset = make_dataset(table, recipe.spec)
    assert dataset.columns == recipe.spec.columns
    assert len(dataset.values) == (1000 if recipe.package is None else 342)


def test_the_script_uses_public_names() -> None:
    tree = ast.parse((ROOT / "examples" / "four_clusters.py").read_text("utf-8"))
    used = {
        node.attr
        for node in ast.walk(tree)
        if isinstance(node, ast.Attribute)
        and isinstance(node.value, ast.Name)
        and node.value.id == "jm"
    }
    assert used
    assert used <= set(jointmix.__all__)
