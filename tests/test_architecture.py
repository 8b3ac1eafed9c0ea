"""Imports run one way, heavy libraries stay where they belong, and files stay short."""

import ast
import importlib
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import jointmix

SOURCE = Path(jointmix.__file__).parent

#: Each may import from those before it, never from those after it. What stands together in a
#: row is a package or one step of the way.
ORDER = (
    *("errors", "arguments", "schema", "machine", "processes", "files", "folders"),
    *("issues", "cells", "columns", "tables"),
    *("priors", "spec", "recipe", "screening", "data", "degenerate"),
    *("density", "scaling", "simulate"),
    *("location", "kernel"),
    *("starts", "mstep", "em", "rows", "mode_warnings", "information", "ordering"),
    *("initial", "component", "model", "sampling", "inspection", "numpyro_twin"),
    *("conditioning", "invariants", "summaries", "checks", "labels"),
    *("allocations", "prediction", "differences"),
    *("leave_one_out", "stacking", "scouts", "groups", "scores"),
    *("power_scaling", "replication"),
    *(
        "zarr_format",
        "storage",
        "workflow",
        "agreement",
        "calibration",
        "selection",
        "reporting",
        "building",
        "regressor",
        "crossvalidation",
        "benchmark",
        "cli",
    ),
)

#: The only modules that may import a library.
HOMES = {
    "pymc": {"component", "model", "sampling", "agreement", "benchmark"},
    "pytensor": {"component", "model", "sampling", "agreement", "benchmark"},
    "numba": {"kernel", "benchmark"},
    "nutpie": {"sampling", "benchmark"},
    "jax": {"sampling", "numpyro_twin", "agreement", "benchmark"},
    "blackjax": {"sampling"},
    "numpyro": {"numpyro_twin", "agreement", "benchmark"},
    "funsor": {"numpyro_twin", "agreement"},
    "matplotlib": {"reporting"},
    "mpl_toolkits": {"reporting"},
    "arviz_plots": {"reporting"},
    "jinja2": {"reporting"},
    "markupsafe": {"reporting"},
    "typer": {"cli"},
    "click": {"cli"},
    "rich": {"cli"},
    "h5py": {"storage"},
    "zarr": {"zarr_format"},
    "sklearn": {"regressor", "agreement"},
    "arviz": set(),
    "pickle": set(),
    "cloudpickle": set(),
}
LAZY = {"jax", "blackjax", "numpyro", "nutpie", "funsor"}
FILES = sorted(SOURCE.rglob("*.py"))


def module_of(path: Path) -> str:
    """The first part of a file's name below the package."""
    return path.relative_to(SOURCE).with_suffix("").parts[0]


def imported(node: ast.AST) -> Iterator[tuple[str, bool]]:
    """Dotted names that are imported at or below a node, and whether inside a function."""

    def walk(part: ast.AST, inside: bool) -> Iterator[tuple[str, bool]]:
        if isinstance(part, ast.Import):
            yield from ((alias.name, inside) for alias in part.names)
        elif isinstance(part, ast.ImportFrom):
            assert part.level == 0
            yield from ((f"{part.module}.{alias.name}", inside) for alias in part.names)
        inside = inside or isinstance(part, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda)
        for child in ast.iter_child_nodes(part):
            yield from walk(child, inside)

    return walk(node, False)


def parsed(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"))


def test_every_module_has_its_place() -> None:
    assert {module_of(path) for path in FILES} - {"__init__"} == set(ORDER)
    assert len(set(ORDER)) == len(ORDER)


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.relative_to(SOURCE).as_posix())
def test_imports_run_one_way(path: Path) -> None:
    own = module_of(path)
    if own == "__init__":
        return
    for name, _ in imported(parsed(path)):
        top, *rest = name.split(".")
        if top == "jointmix":
            assert rest, "a module imports from the package as a whole"
            target = rest[0]
            assert target == own or ORDER.index(target) < ORDER.index(own), f"{own} -> {name}"


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.relative_to(SOURCE).as_posix())
def test_libraries_stay_in_their_modules(path: Path) -> None:
    own = module_of(path)
    for name, inside in imported(parsed(path)):
        parts = name.split(".")
        for library in {parts[0], *(part for part in parts if part in LAZY)}:
            assert own in HOMES.get(library, {own}), f"{own} imports {name}"
            assert inside or library not in LAZY, f"{own} imports {name} at once"


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.relative_to(SOURCE).as_posix())
def test_only_the_command_line_prints(path: Path) -> None:
    names = {
        node.func.id
        for node in ast.walk(parsed(path))
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name)
    }
    assert "print" not in names or module_of(path) in ("cli", "benchmark")
    assert not {"eval", "exec"} & names


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.relative_to(SOURCE).as_posix())
def test_files_and_functions_are_short(path: Path) -> None:
    assert len(path.read_text(encoding="utf-8").splitlines()) <= 400
    for node in ast.walk(parsed(path)):
        if isinstance(node, ast.FunctionDef):
            first = node.body[1] if ast.get_docstring(node) and node.body[1:] else node.body[0]
            assert node.end_lineno - first.lineno < 60, node.name


@pytest.mark.parametrize("module", ["jointmix", "jointmix.cli"])
def test_importing_loads_nothing_heavy(module: str) -> None:
    heavy = ("pymc", "pytensor", "nutpie", "numba", "jax", "numpyro", "arviz", "matplotlib")
    heavy += ("xarray", "pandas", "scipy", "sklearn", "h5py")
    code = f"import sys, {module}; print(*(name for name in {heavy!r} if name in sys.modules))"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60
    )
    assert done.stdout.split() == []


def test_public_names_resolve() -> None:
    assert sorted(jointmix.__all__) == sorted(set(jointmix.__all__))
    assert dir(jointmix) == sorted(jointmix.__all__)
    for name in jointmix.__all__:
        value = getattr(jointmix, name)
        assert value.__name__ == name
        # A module of the same name would take its place once it is imported.
        assert getattr(jointmix, name) is value
        assert getattr(importlib.import_module(value.__module__), name) is value
        assert value.__module__.startswith("jointmix.")
        assert value.__doc__
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        _ = jointmix.nothing


def test_names_for_type_checkers_are_the_public_ones() -> None:
    tree = parsed(SOURCE / "__init__.py")
    named = {name.split(".")[-1] for name, _ in imported(tree) if name.startswith("jointmix.")}
    assert named == set(jointmix.__all__)
