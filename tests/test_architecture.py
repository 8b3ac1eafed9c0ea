"""Imports run one way, heavy libraries stay where they belong, and files stay short."""

import ast
import importlib
import subprocess
import sys
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path

import pytest

import jointmix

SOURCE = Path(jointmix.__file__).parent

#: The house from the ground up, step by step: a folder may import from those on lower steps, never
#: from its neighbours on the same one.
STEPS = (
    ("base",),
    ("storage", "tables"),
    ("families",),
    ("model",),
    ("kernel",),
    ("modes", "posterior"),
    ("sampling", "labels", "checks"),
    ("fitting",),
    ("plots",),
    ("validation", "reporting"),
    ("cli",),
)
FLOOR = {folder: floor for floor, step in enumerate(STEPS) for folder in step}

#: The only places that may import a library; "families/**/graph" is a module of that name in any
#: folder below families.
HOMES = {
    "pymc": {"families/**/graph", "model", "kernel/fused", "sampling", "validation/agreement"},
    "pytensor": {"families/**/graph", "model", "kernel/fused", "sampling", "validation/agreement"},
    "numba": {"families", "kernel"},
    "nutpie": {"sampling"},
    "jax": {"sampling", "validation/twin", "validation/agreement"},
    "blackjax": {"sampling"},
    "numpyro": {"sampling/pymc_runs", "validation/twin", "validation/agreement"},
    "funsor": {"validation/twin", "validation/agreement"},
    "matplotlib": {"plots", "reporting"},
    "mpl_toolkits": {"plots"},
    "arviz_plots": {"reporting"},
    "jinja2": {"reporting"},
    "markupsafe": {"reporting"},
    "typer": {"cli"},
    "click": {"cli"},
    "rich": {"base/progress", "cli"},
    "h5py": {"storage/trees"},
    "zarr": {"storage/zarr_format"},
    "pyarrow": {
        "tables/parts",
        "tables/part_sources",
        "tables/gathering",
        "tables/loaded",
        "storage/part_folders",
        "sampling/nutpie_runs/traces",
        "model/drawn_parts",
        "posterior/in_parts",
        "posterior/frames",
        "posterior/densities",
        "posterior/prediction",
    },
    "filelock": {"storage/part_folders"},
    "sklearn": {"fitting/regressor", "validation/agreement"},
    "arviz": set(),
    "pickle": set(),
    "cloudpickle": set(),
}
LAZY = {"jax", "blackjax", "numpyro", "nutpie", "funsor"}
FILES = sorted(SOURCE.rglob("*.py"))


def of_all_files(rule: Callable[[Path], None]) -> Callable[[], None]:
    """A rule as a test of one file after the other: each as a test of its own would take longer."""

    def test() -> None:
        for path in FILES:
            rule(path)

    test.__name__ = rule.__name__
    return test


def name_of(path: Path) -> str:
    """A file's place below the package, without its suffix: "modes/em"."""
    return path.relative_to(SOURCE).with_suffix("").as_posix()


def folder_of(path: Path) -> str:
    """The first part of a file's place below the package."""
    return path.relative_to(SOURCE).parts[0]


def lives_in(path: Path, places: set[str]) -> bool:
    """Whether a file is one of ``places`` or lies below one."""
    folder, _, name = name_of(path).rpartition("/")
    return any(
        name_of(path) == place
        or name_of(path).startswith(f"{place}/")
        or (folder.startswith(place.partition("/**/")[0]) and place.endswith(f"/**/{name}"))
        for place in places
    )


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


@cache
def parsed(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"))


def test_every_file_has_a_folder_and_every_folder_its_step() -> None:
    flat = {path.name for path in SOURCE.iterdir() if path.is_file()}
    assert flat == {"__init__.py", "py.typed"}
    folders = {folder_of(path) for path in FILES} - {"__init__.py"}
    assert folders == set(FLOOR)
    assert len(folders) <= 16


@of_all_files
def test_imports_run_one_way(path: Path) -> None:
    own = folder_of(path)
    if own == "__init__.py":
        return
    for name, _ in imported(parsed(path)):
        top, *rest = name.split(".")
        if top == "jointmix":
            assert rest, "a module imports from the package as a whole"
            assert rest[0] == own or FLOOR[rest[0]] < FLOOR[own], f"{name_of(path)} -> {name}"


def test_no_circle_of_modules() -> None:
    """Not inside a folder either, imports inside functions included."""
    modules = {name_of(path).removesuffix("/__init__").replace("/", "."): path for path in FILES}
    arrows: dict[str, set[str]] = {}
    for module, path in modules.items():
        if module == "__init__":
            continue
        targets = set()
        for name, _ in imported(parsed(path)):
            dotted = name.removeprefix("jointmix.")
            parent = dotted.rpartition(".")[0]
            if name != dotted:
                targets |= {dotted if dotted in modules else parent} & set(modules)
        arrows[module] = targets - {module}
    # What imports nothing that is left may go; a circle stays.
    while free := {module for module, targets in arrows.items() if not targets & set(arrows)}:
        for module in free:
            del arrows[module]
    assert arrows == {}


@of_all_files
def test_libraries_stay_in_their_places(path: Path) -> None:
    for name, inside in imported(parsed(path)):
        parts = name.split(".")
        for library in {parts[0], *(part for part in parts if part in LAZY)}:
            homes = HOMES.get(library)
            assert homes is None or lives_in(path, homes), f"{name_of(path)} imports {name}"
            assert inside or library not in LAZY, f"{name_of(path)} imports {name} at once"


@of_all_files
def test_only_the_command_line_prints(path: Path) -> None:
    names = {
        node.func.id
        for node in ast.walk(parsed(path))
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name)
    }
    assert "print" not in names or folder_of(path) == "cli"
    assert not {"eval", "exec"} & names


@of_all_files
def test_files_and_functions_are_short(path: Path) -> None:
    assert len(path.read_text(encoding="utf-8").splitlines()) <= 400
    for node in ast.walk(parsed(path)):
        if isinstance(node, ast.FunctionDef):
            first = node.body[1] if ast.get_docstring(node) and node.body[1:] else node.body[0]
            assert node.end_lineno - first.lineno < 60, node.name


def compiled_functions(path: Path) -> Iterator[ast.FunctionDef]:
    for node in ast.walk(parsed(path)):
        if isinstance(node, ast.FunctionDef) and any(
            ast.unparse(each).startswith("jit(") for each in node.decorator_list
        ):
            yield node


@of_all_files
def test_compiled_functions_assign_no_array_to_a_slice(path: Path) -> None:
    # Numba compiles a message of both shapes for each: seconds of strings, in a loop over numbers.
    for function in compiled_functions(path):
        for node in ast.walk(function):
            if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Subscript):
                slices = [n for n in ast.walk(node.targets[0].slice) if isinstance(n, ast.Slice)]
                assert not slices or isinstance(node.value, ast.Constant), ast.unparse(node)


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


@of_all_files
def test_families_are_named_by_families_alone(path: Path) -> None:
    """Whoever needs something of a family asks the model's blocks."""
    if lives_in(path, {"families", "validation/twin"}):
        return
    own = {folder.name for folder in (SOURCE / "families").iterdir() if folder.is_dir()}
    own -= {"__pycache__", "priors", "membership"}
    tree = parsed(path)
    for name, _ in imported(tree):
        assert not any(f"{name}.".startswith(f"jointmix.families.{each}.") for each in own), name
    words = {node.value for node in ast.walk(tree) if isinstance(node, ast.Constant)}
    # "normal" is the family that a specification has by default.
    assert not words & (own - {"normal"})
