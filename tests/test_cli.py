"""The commands: what they write, print and exit with. No test samples."""

import csv
import json
import subprocess
import sys
import warnings
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import numpy as np
import pandas as pd
import pytest
import xarray as xr
from synthetic import fitted_tree
from typer.testing import CliRunner, Result

import jointmix.cli.commands as cli
from jointmix.base.errors import PrecisionWarning, SamplingError
from jointmix.base.schema import SCHEMA_VERSION
from jointmix.checks import diagnose
from jointmix.cli.output import put_csv
from jointmix.model.serialised import spec_to_dict
from jointmix.model.simulate import four_clusters, simulate
from jointmix.model.spec import ModelSpec
from jointmix.storage.trees import load, save
from jointmix.tables.reading import read_table

SPEC = """
[data]
path = "t.csv"
features = ["x1", "x2"]
predictors = ["x1", "x2"]
response = "y"
[model]
clusters = 2
"""


def fitted(verdict: str = "OK") -> xr.DataTree:
    checks = xr.Dataset(
        {
            "code": ("check", ["rhat", "ties", "ess"]),
            "subject": ("check", ["parameters", "y", "bulk"]),
            "source": ("check", ["A", "B", "C"]),
            "status": ("check", ["ok", "caution", "fail"]),
            "value": ("check", [1.0, np.nan, 3.5]),
            "threshold": ("check", [1.01, 0.3, np.inf]),
            "message": ("check", ["fine", "column '[red]x[/red]\n\x1b[31m' ties", "bad"]),
            "remedy": ("check", ["", "Look at it.", "Run longer."]),
        },
        coords={"check": ["rhat:parameters", "ties:y", "ess:bulk"]},
    )
    spec = ModelSpec(n_clusters=2, features=["x1", "x2"], response="y")
    attrs = {"verdict": verdict, "schema_version": SCHEMA_VERSION}
    root = xr.Dataset(attrs={**attrs, "spec": json.dumps(spec_to_dict(spec))})
    weight = xr.Dataset({"weight": (("chain", "draw", "cluster"), np.full((1, 4, 2), 0.5))})
    return xr.DataTree.from_dict({"/": root, "checks": checks, "posterior": weight})


class Engine:
    """Stands in for the modules that sample, predict and draw; keeps what it was called with."""

    def __init__(self) -> None:
        self.calls: list[tuple[str, tuple]] = []
        self.verdict = "OK"
        self.error: BaseException | None = None

    def fit(
        self, table, spec, seed=1, progress=None, stream=None, start=None, pool=None
    ) -> xr.DataTree:
        self.calls.append(("fit", (table, spec, seed, progress)))
        self.stream, self.start, self.pool = stream, start, pool
        if progress is not None:
            progress("sample", 10, 100, "0 divergences")
        if self.error is not None:
            raise self.error
        return fitted(self.verdict)

    def recover(self, table, spec, seed, stream, start=None) -> xr.DataTree:
        self.calls.append(("recover", (table, spec, seed, stream)))
        self.start = start
        return fitted("CAUTION")

    def report(self, tree, path, title=None, sections=None, short=False, csv=None) -> Path:
        self.calls.append(("report", (tree, path, title, sections)))
        self.short, self.csv = short, csv
        path.write_text("<html></html>")
        return path

    def predict(self, tree, table, quantiles=(0.05, 0.5, 0.95), weighting="equal") -> xr.Dataset:
        self.calls.append(("predict", (tree, table, weighting)))
        n = len(table)
        if weighting == "joint":
            warnings.warn("Few effective draws.", PrecisionWarning, stacklevel=2)
        return xr.Dataset(
            {
                "mean": ("obs", np.arange(n) + 0.1),
                "sd": ("obs", np.full(n, 1 / 3)),
                "extrapolated": ("obs", np.zeros(n, dtype=bool)),
                "quantiles": (("obs", "quantile"), np.arange(3.0 * n).reshape(n, 3)),
                "responsibility": (("obs", "cluster"), np.tile([0.25, 0.75], (n, 1))),
            },
            coords={"quantile": list(quantiles), "cluster": [1, 2]},
        )


@pytest.fixture
def engine(monkeypatch) -> Engine:
    import jointmix.cli.building

    # What is first imported here would keep the functions that stand in for others.
    import jointmix.posterior.frames

    made = Engine()
    monkeypatch.setattr(jointmix.cli.building, "report", made.report)
    fitting = "fitting.workflow"
    parts = ((fitting, "fit"), (fitting, "recover"), ("reporting", "report"))
    for name, function in (*parts, ("posterior.prediction", "predict")):
        module = sys.modules.get(f"jointmix.{name}")
        if module is None or hasattr(module, "__file__"):
            module = ModuleType(f"jointmix.{name}")
        setattr(module, function, getattr(made, function))
        monkeypatch.setitem(sys.modules, module.__name__, module)
    return made


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "spec.toml").write_text(SPEC)
    simulate(four_clusters(), 30, 1).to_csv(tmp_path / "t.csv", index=False)
    return tmp_path


def call(*arguments: object) -> Result:
    return CliRunner().invoke(cli.app, [str(argument) for argument in arguments])


def names(folder: Path) -> set[str]:
    return {entry.name for entry in folder.iterdir()}


def assert_refused(result: Result, *words: str) -> None:
    assert result.exit_code == 2
    assert result.stdout == ""
    assert result.stderr.startswith("error: ")
    assert result.stderr.count("\n") == 1
    for word in words:
        assert word in result.stderr


HEAVY = {
    "arviz", "jax", "matplotlib", "narwhals", "numpy", "nutpie", "pandas", "pymc", "pytensor",
    "scipy", "xarray",
}  # fmt: skip


def test_help_and_version_load_nothing_heavy() -> None:
    code = (
        "import sys\n"
        "from jointmix.cli import main\n"
        "sys.argv = ['jointmix', {option!r}]\n"
        "try:\n"
        "    main()\n"
        "finally:\n"
        "    print('loaded:', sorted({heavy!r} & set(sys.modules)))\n"
    )
    for option, word in (("--help", "predict"), ("--version", "0.1.0")):
        done = subprocess.run(
            [sys.executable, "-c", code.format(option=option, heavy=HEAVY)],
            capture_output=True,
            text=True,
        )
        assert done.returncode == 0, done.stderr
        assert word in done.stdout
        assert "loaded: []" in done.stdout


@pytest.mark.usefixtures("engine")
def test_estimates_go_to_standard_error_for_people(folder: Path) -> None:
    for command in ("run", "fit"):
        told = call(command, folder / "spec.toml")
        assert told.stderr.splitlines()[2:] == [
            "weight[cluster 0]  0.5  0   0.5   0.5",
            "weight[cluster 1]  0.5  0   0.5   0.5",
        ]
        assert "weight" not in told.stdout
        for option in ("--quiet", "--json"):
            silent = call(command, folder / "spec.toml", option)
            assert silent.stderr == ""
            assert "weight" not in silent.stdout


def test_run_writes_fit_and_report_and_prints_the_verdict(engine: Engine, folder: Path) -> None:
    engine.verdict = "CAUTION"
    result = call("run", folder / "spec.toml")
    assert result.exit_code == 0
    assert result.stdout.splitlines() == [
        "verdict: CAUTION",
        "fail: ess:bulk: bad Run longer. [JM102]",
        "caution: ties:y: column '[red]x[/red]  [31m' ties Look at it. [JM401]",
        f"report: {folder / 'spec.html'}",
        f"fit: {folder / 'spec.nc'}",
    ]
    assert names(folder) == {"spec.toml", "t.csv", "spec.html", "spec.nc"}
    xr.testing.assert_identical(load(folder / "spec.nc"), fitted("CAUTION"))
    (_, (table, spec, seed, _)), (_, (_, path, title, sections)) = engine.calls
    pd.testing.assert_frame_equal(table, pd.read_csv(folder / "t.csv"))
    assert (spec.n_clusters, seed) == (2, 1)
    assert (path, title, sections) == (folder / "spec.html", None, None)


def test_run_follows_the_recipe(engine: Engine, folder: Path) -> None:
    (folder / "out").mkdir()
    report = '[sampler]\nseed = 5\n[report]\npath = "out/r.html"\ntitle = "T"\nsections = ["model"]'
    (folder / "spec.toml").write_text(SPEC + report)
    assert call("run", folder / "spec.toml", "--quiet").exit_code == 0
    assert names(folder / "out") == {"r.html", "r.nc"}
    (_, (*_, seed, progress)), (_, (_, _, title, sections)) = engine.calls
    assert (seed, title, sections) == (5, "T", ("model",))
    assert progress("sample", 1, 2, "") is None
    assert call("run", folder / "spec.toml", "--seed", 9).exit_code == 0
    assert engine.calls[2][1][2] == 9


def test_where_to_start_is_passed_on(engine: Engine, folder: Path) -> None:
    recipe = folder / "spec.toml"
    recipe.write_text(SPEC.replace("[model]", 'start = "cluster"\n[model]'))
    for arguments in (["run", recipe], ["fit", recipe]):
        assert call(*arguments).exit_code == 0
        assert engine.start == "cluster"


def test_fit_saves_where_it_is_told(engine: Engine, folder: Path) -> None:
    assert call("fit", folder / "spec.toml").stdout.endswith(f"fit: {folder / 'spec.nc'}\n")
    assert call("fit", folder / "spec.toml", "--out", folder / "other.nc").exit_code == 0
    assert names(folder) == {"spec.toml", "t.csv", "spec.nc", "other.nc"}
    assert [name for name, _ in engine.calls] == ["fit", "fit"]


def test_a_stream_is_passed_on_and_recovered(engine: Engine, folder: Path) -> None:
    for command in ("run", "fit"):
        call(command, folder / "spec.toml", "--stream", folder / "draws")
        assert engine.stream == folder / "draws"
    result = call("recover", folder / "spec.toml", "--stream", folder / "draws", "--seed", 4)
    assert result.exit_code == 0
    assert "CAUTION" in result.stdout
    assert engine.calls[-1][0] == "recover"
    assert engine.calls[-1][1][2:] == (4, folder / "draws")
    assert (folder / "spec.nc").exists()


@pytest.mark.parametrize("command", ["run", "fit"])
@pytest.mark.parametrize(("verdict", "code"), [("OK", 0), ("CAUTION", 1), ("DO NOT USE", 1)])
def test_strict_turns_the_verdict_into_the_exit_code(
    engine: Engine, folder: Path, command: str, verdict: str, code: int
) -> None:
    engine.verdict = verdict
    assert call(command, folder / "spec.toml").exit_code == 0
    assert call(command, folder / "spec.toml", "--strict").exit_code == code


def test_json_is_one_object(engine: Engine, folder: Path) -> None:
    engine.verdict = "DO NOT USE"
    result = call("run", folder / "spec.toml", "--json", "--strict")
    assert result.exit_code == 1
    found = json.loads(result.stdout, parse_constant=pytest.fail)
    assert found.pop("seconds") >= 0
    concerns = [
        {
            "check": "ess:bulk",
            "code": "JM102",
            "status": "fail",
            "value": 3.5,
            "threshold": None,
            "message": "bad",
            "remedy": "Run longer.",
            "source": "C",
            "bound": None,
        },
        {
            "check": "ties:y",
            "code": "JM401",
            "status": "caution",
            "value": None,
            "threshold": 0.3,
            "message": "column '[red]x[/red]\n\x1b[31m' ties",
            "remedy": "Look at it.",
            "source": "B",
            "bound": "at most",
        },
    ]
    fine = {
        "check": "rhat:parameters",
        "code": "JM101",
        "status": "ok",
        "value": 1.0,
        "threshold": 1.01,
        "message": "fine",
        "remedy": "",
        "source": "A",
        "bound": "at most",
    }
    assert found == {
        "schema": 1,
        "verdict": "DO NOT USE",
        "findings": concerns,
        "put_aside": [],
        "checks": [fine, *concerns[::-1]],
        "report": str(folder / "spec.html"),
        "fit": str(folder / "spec.nc"),
    }


def missing_data(folder: Path) -> None:
    (folder / "t.csv").unlink()


def ragged_data(folder: Path) -> None:
    (folder / "t.csv").write_text("x1,x2,y\n1,2\n")


def misspelt_key(folder: Path) -> None:
    (folder / "spec.toml").write_text(SPEC.replace("clusters", "cluster"))


def no_toml(folder: Path) -> None:
    (folder / "spec.toml").write_text("[data\n")


def report_in_no_folder(folder: Path) -> None:
    (folder / "spec.toml").write_text(SPEC + '[report]\npath = "no/r.html"')


def report_over_the_data(folder: Path) -> None:
    (folder / "spec.toml").write_text(SPEC + '[report]\npath = "t.csv"')


def fit_is_a_folder(folder: Path) -> None:
    (folder / "spec.nc").mkdir()


def no_data_named(folder: Path) -> None:
    (folder / "spec.toml").write_text(SPEC.replace('path = "t.csv"', ""))


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (missing_data, "t.csv: cannot be read"),
        (ragged_data, "line 2: has 2 entries"),
        (misspelt_key, "did you mean 'clusters'?"),
        (no_toml, "(at line 1, column 6)"),
        (report_in_no_folder, "does not exist; create it first"),
        (report_over_the_data, "must end in .html"),
        (fit_is_a_folder, "is a folder"),
        (no_data_named, "names no data"),
    ],
)
def test_run_refuses_before_it_fits(
    engine: Engine, folder: Path, spoil: Callable[[Path], None], words: str
) -> None:
    spoil(folder)
    before = names(folder)
    assert_refused(call("run", folder / "spec.toml"), words)
    assert engine.calls == []
    assert names(folder) == before


@pytest.mark.parametrize("out", ["no/fit.nc", "fit.html", "."])
def test_fit_refuses_before_it_fits(engine: Engine, folder: Path, out: str) -> None:
    assert_refused(call("fit", folder / "spec.toml", "--out", folder / out))
    assert engine.calls == []


def test_errors_of_the_fit_are_one_line_and_nothing_is_written(
    engine: Engine, folder: Path
) -> None:
    engine.error = SamplingError("bad\nline \x1b[31m")
    result = call("run", folder / "spec.toml", "--quiet")
    assert_refused(result, "error: bad line  [31m\n")
    assert names(folder) == {"spec.toml", "t.csv"}


def test_ctrl_c_is_130_and_nothing_is_written(engine: Engine, folder: Path) -> None:
    engine.error = KeyboardInterrupt()
    result = call("run", folder / "spec.toml")
    assert (result.exit_code, result.stdout) == (130, "")
    assert names(folder) == {"spec.toml", "t.csv"}


def test_report_of_a_saved_fit(engine: Engine, tmp_path: Path) -> None:
    save(fitted(), tmp_path / "fit.nc")
    assert call("report", tmp_path / "fit.nc").stdout == f"report: {tmp_path / 'fit.html'}\n"
    assert call("report", tmp_path / "fit.nc", "--out", tmp_path / "r.html").exit_code == 0
    assert names(tmp_path) == {"fit.nc", "fit.html", "r.html"}
    xr.testing.assert_identical(engine.calls[0][1][0], fitted())
    assert_refused(call("report", tmp_path / "fit.nc", "--out", tmp_path / "no" / "r.html"))
    (tmp_path / "fit.nc").write_bytes(b"x")
    assert_refused(call("report", tmp_path / "fit.nc"), "not written by jointmix.save")
    assert len(engine.calls) == 2


HEADER = ["row", "mean", "sd", "q05", "q50", "q95", "extrapolated", "p(1)", "p(2)"]


@pytest.mark.usefixtures("engine")
def test_predictions_as_csv(tmp_path: Path) -> None:
    save(fitted(), tmp_path / "fit.nc")
    (tmp_path / "new.csv").write_text("x1,x2\n1,2\n3,4\n")
    result = call("predict", tmp_path / "fit.nc", tmp_path / "new.csv")
    assert result.exit_code == 0
    header, *rows = csv.reader(result.stdout.splitlines())
    assert header == HEADER
    np.testing.assert_array_equal(
        np.array(rows, dtype=float),
        [[0, 0.1, 1 / 3, 0, 1, 2, 0, 0.25, 0.75], [1, 1.1, 1 / 3, 3, 4, 5, 0, 0.25, 0.75]],
    )
    joint = call("predict", tmp_path / "fit.nc", tmp_path / "new.csv", "--weighting", "joint")
    assert (joint.stdout, joint.stderr) == (result.stdout, "warning: Few effective draws.\n")
    out = tmp_path / "p.csv"
    quiet = call("predict", tmp_path / "fit.nc", tmp_path / "new.csv", "--out", out)
    assert (quiet.exit_code, quiet.stdout) == (0, "")
    assert out.read_bytes() == result.stdout_bytes


def test_predict_refuses(engine: Engine, tmp_path: Path) -> None:
    save(fitted(), tmp_path / "fit.nc")
    (tmp_path / "new.csv").write_text("x1,x2\n")
    fit, new = tmp_path / "fit.nc", tmp_path / "new.csv"
    assert_refused(call("predict", fit, new), "has a header but no rows")
    assert_refused(call("predict", fit, tmp_path / "no.csv"), "cannot be read")
    assert_refused(call("predict", tmp_path / "no.nc", new), "cannot be read")
    assert_refused(call("predict", fit, new, "--out", tmp_path / "no" / "p.csv"), "does not exist")
    assert engine.calls == []


def test_simulate_writes_the_table(tmp_path: Path) -> None:
    arguments = ["simulate", "--rows", 20, "--clusters", 3, "--features", 4, "--seed", 8]
    assert call(*arguments, "--out", tmp_path / "t.csv").exit_code == 0
    expected = simulate(four_clusters(3, 4), 20, 8)
    written = read_table(tmp_path / "t.csv")
    pd.testing.assert_frame_equal(written, expected)
    assert call(*arguments).stdout_bytes == (tmp_path / "t.csv").read_bytes()
    assert_refused(call(*arguments, "--out", tmp_path / "no" / "t.csv"), "does not exist")


def test_simulate_writes_features_with_heavy_tails(tmp_path: Path) -> None:
    arguments = ["simulate", "--rows", 20, "--seed", 8, "--feature-family"]
    assert call(*arguments, "student_t", "--out", tmp_path / "t.csv").exit_code == 0
    expected = simulate(four_clusters(feature_family="student_t"), 20, 8)
    pd.testing.assert_frame_equal(read_table(tmp_path / "t.csv"), expected)
    assert_refused(call(*arguments, "cauchy"), "must be one of normal, student_t")


def test_simulate_writes_features_of_levels_and_holes(tmp_path: Path) -> None:
    arguments = ["simulate", "--rows", 50, "--seed", 8, "--discrete", "word=categorical,n=poisson"]
    out = tmp_path / "t.csv"
    assert call(*arguments, "--missing", "word=.3,n=.2", "--out", out).exit_code == 0
    truth = four_clusters(discrete={"word": "categorical", "n": "poisson"})
    expected = simulate(truth, 50, 8, missing={"word": 0.3, "n": 0.2})
    # Which of NaN and None stands for a hole is the reader's affair.
    written = read_table(out)
    pd.testing.assert_frame_equal(written.isna(), expected.isna())
    for name in expected:
        known = ~expected[name].isna()
        assert written[name][known].tolist() == expected[name][known].tolist()
    assert_refused(call(*arguments, "--missing", "z=.1"), "no feature and no response")
    assert_refused(call("simulate", "--discrete", "word"), "columns and families such as")


@pytest.mark.parametrize(
    "arguments",
    [["simulate", "--rows", "0"], ["simulate", "--rows", "x"], ["run"], ["nonsense"], ["--what"]],
)
def test_wrong_usage_is_2(arguments: list[str]) -> None:
    result = call(*arguments)
    assert result.exit_code == 2
    assert "Traceback" not in result.output


@pytest.mark.parametrize("name", ["=cmd", "+1", "-1", "@x", "\tx", "\rx"])
def test_text_cells_are_no_formulas_and_numbers_stay(name: str, tmp_path: Path) -> None:
    put_csv({name: [-1.5, 2.0], "safe": [3, -4]}, tmp_path / "t.csv")
    with (tmp_path / "t.csv").open(newline="") as stream:
        assert list(csv.reader(stream)) == [["'" + name, "safe"], ["-1.5", "3"], ["2.0", "-4"]]


def test_diagnose_judges_a_saved_fit_again(tmp_path: Path) -> None:
    tree = fitted_tree(2, 1, 60)
    found = diagnose(tree)
    # What is stored does not count.
    tree.attrs["verdict"] = "OK" if found.verdict != "OK" else "DO NOT USE"
    save(tree, tmp_path / "fit.nc")
    result = call("diagnose", tmp_path / "fit.nc", "--json")
    assert result.exit_code == 0
    assert json.loads(result.stdout)["verdict"] == found.verdict
    result = call("diagnose", tmp_path / "fit.nc")
    assert result.stdout.startswith(f"verdict: {found.verdict}\n")
    assert call("diagnose", tmp_path / "fit.nc", "--strict").exit_code == (found.verdict != "OK")
