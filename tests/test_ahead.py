"""What a first run compiles in a process of its own."""

import subprocess
import sys
import textwrap
from pathlib import Path
from typing import Any

import pytest
from test_cli_scores import RECIPE

from jointmix.cli import ahead
from jointmix.kernel import entry
from jointmix.model.simulate import four_clusters, simulate


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "spec.toml").write_text(RECIPE)
    simulate(four_clusters(2, 1), 80, 1).to_csv(tmp_path / "t.csv", index=False)
    return tmp_path


def test_what_is_compiled_ahead_is_what_a_run_needs(folder: Path) -> None:
    code = """
        import sys
        from pathlib import Path
        from jointmix.cli.ahead import compile_for_later
        compile_for_later(Path("spec.toml"))
        from jointmix.kernel import allocate, densities, entry, pit_crps, predictive
        needed = predictive._predict, predictive._parts, pit_crps._pit_crps, densities._densities
        ahead = [list(each.signatures) for each in needed]
        assert all(len(each) == 1 for each in ahead), ahead
        from jointmix import fit, loo, predict, read_recipe
        recipe = read_recipe("spec.toml")
        tree = fit(recipe.table(), recipe.spec, progress=False)
        loo(tree)
        predict(tree)
        assert ahead == [list(each.signatures) for each in needed]
        # No loop over rows is compiled twice, for arrays of another layout.
        for loop in (allocate._allocate, entry.evaluate, entry.expand):
            assert len(loop.signatures) == 1, (loop, loop.signatures)
    """
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code)],
        cwd=folder, capture_output=True, text=True, timeout=300, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]


def test_another_process_compiles_while_nothing_is_compiled(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made: list[subprocess.Popen] = []

    class Recorded(subprocess.Popen):
        def __init__(self, *arguments: Any, **options: Any) -> None:
            super().__init__(*arguments, **options)
            made.append(self)

    monkeypatch.setattr(ahead.subprocess, "Popen", Recorded)
    monkeypatch.setattr(ahead, "available_cores", lambda: 2)
    with ahead.compiling_ahead(folder / "spec.toml"):
        assert made == []
    monkeypatch.setattr(entry, "is_compiled", lambda: False)
    with ahead.compiling_ahead(folder / "spec.toml"):
        assert made[0].wait(200) == 0
    # It does not outlive the run.
    with pytest.raises(KeyboardInterrupt), ahead.compiling_ahead(folder / "spec.toml"):
        raise KeyboardInterrupt
    assert made[1].poll() == -9
    monkeypatch.setattr(ahead, "available_cores", lambda: 1)
    with ahead.compiling_ahead(folder / "spec.toml"):
        assert len(made) == 2
