"""The plan of a benchmark, and its runs, each in a process of its own."""

import json
import os
import platform
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from benchmark.cases import Case
from benchmark.results import Cost, Results, Row, Task, measured_from
from benchmark.samplers import SAMPLERS, Settings
from jointmix.base.machine import available_cores

#: Told what is about to run.
Tell = Callable[[str], None]

PARTS = ("samplers", "gradients", "growth", "labels", "prediction")
_SIZES = ((4, 2), (5, 5), (8, 10))
#: Draws and adaptation steps of a run whose compilation alone matters.
_SHORT = 10
_THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")
_XLA_ONE_THREAD = "--xla_cpu_multi_thread_eigen=false intra_op_parallelism_threads=1"
_PACKAGES = ("jointmix", "pymc", "pytensor", "nutpie", "numba", "numpyro", "blackjax", "jax")


@dataclass(frozen=True, kw_only=True)
class Plan:
    """What is to be measured.

    Attributes
    ----------
    rows
        Samplers by case, smaller cases first.
    gradients, functions
        Cases and functions whose gradient is timed, functions that share a process together.
    growth
        Cases along which the kernel's cost grows.
    tasks
        What follows sampling: the part it belongs to, its case, its name and its settings.
    seconds
        Spent on each timing.
    cold
        Samplers whose compilation is also measured with empty folders; None for all.
    """

    quick: bool
    settings: Settings
    limit: float
    rows: tuple[tuple[Case, tuple[str, ...]], ...]
    gradients: tuple[Case, ...]
    functions: tuple[tuple[str, ...], ...]
    growth: tuple[Case, ...]
    tasks: tuple[tuple[str, Case, str, Settings], ...]
    seconds: float
    cold: tuple[str, ...] | None


def quick_plan(limit: float) -> Plan:
    """The smallest size with few draws, in about three minutes on two cores.

    NumPyro and BlackJAX on the package's model, and Pathfinder, are left out: each compiles for
    half a minute.
    """
    script, full = Case("script", 1000, 4, 2), Case("full", 1000, 4, 2)
    return Plan(
        quick=True,
        settings=Settings(draws=200, tune=200, chains=2),
        limit=limit,
        rows=(
            (script, ("nutpie-kernel", "nutpie-jax", "peer-enumerated", "peer-textbook")),
            (full, ("nutpie-kernel", "laplace-kernel", "peer-marginal")),
        ),
        gradients=(full,),
        functions=(
            ("kernel", "evaluate"),
            ("bare-numpy", "bare-jax", "model-jax", "textbook-jax"),
        ),
        growth=growth_cases(n_doublings=4, k_doublings=3, d_doublings=3),
        tasks=planned_tasks((10_000,), draws=250),
        seconds=0.3,
        cold=("nutpie-kernel",),
    )


def full_plan(limit: float) -> Plan:
    """All samplers, posteriors and sizes: hours."""
    script = Case("script", 1000, 4, 2)
    heavy = (Case("student_t", 1000, 4, 2), ("nutpie-kernel", "nutpie-jax", "laplace-kernel"))
    rows = [(script, tuple(SAMPLERS)), heavy]
    slow = ("pymc-numba", "peer-enumerated")
    for n in (1000, 10_000, 100_000):
        for k, d in _SIZES:
            smallest = (n, k, d) == (1000, 4, 2)
            left_out = slow[1:] if smallest else slow
            names = tuple(name for name in SAMPLERS if name not in left_out)
            rows.append((Case("full", n, k, d), names))
    return Plan(
        quick=False,
        settings=Settings(),
        limit=limit,
        rows=tuple(rows),
        gradients=(
            *(
                Case("full", *size)
                for size in ((1000, 4, 2), (10_000, 5, 5), (10_000, 8, 10), (100_000, 8, 10))
            ),
            Case("student_t", 10_000, 5, 5),
        ),
        functions=(
            ("kernel", "evaluate"),
            ("bare-numpy", "bare-jax"),
            ("model-jax",),
            ("textbook-jax",),
            ("textbook-numba",),
        ),
        growth=growth_cases(n_doublings=6, k_doublings=3, d_doublings=4),
        tasks=planned_tasks((10_000, 100_000), draws=1_000),
        seconds=2.0,
        cold=None,
    )


def growth_cases(n_doublings: int, k_doublings: int, d_doublings: int) -> tuple[Case, ...]:
    """Sizes that double one at a time, N from 1,000, K from 2 and D from 2."""
    n = [Case("full", 1000 * 2**i, 4, 4) for i in range(n_doublings + 1)]
    k = [Case("full", 4000, 2 * 2**i, 4) for i in range(k_doublings + 1)]
    d = [Case("full", 4000, 4, 2 * 2**i) for i in range(d_doublings + 1)]
    return tuple(dict.fromkeys((*n, *k, *d)))


def planned_tasks(sizes: Sequence[int], draws: int) -> tuple[tuple[str, Case, str, Settings], ...]:
    """Labels of eight clusters in four chains of so many draws, and predictions by 1,000 draws."""
    labels, prediction = Settings(draws=draws, chains=4), Settings(draws=250, chains=4)
    found = [
        ("labels", Case("full", n, 8, 10), name, labels)
        for n in sizes
        for name in ("ecr", "ecr-iterative", "stephens", "pivotal")
        # Stephens reads K numbers a row and draw, again and again; pivotal reads no rows.
        if n == sizes[0] or name.startswith("ecr")
    ]
    return (*found, ("prediction", Case("full", sizes[-1], 4, 2), "predict", prediction))


def chosen(
    plan: Plan, cases: Iterable[str] | None, samplers: Iterable[str] | None, settings: Settings
) -> Plan:
    """The plan with the rows of these cases and samplers alone; None leaves all.

    Parameters
    ----------
    settings
        Counts and seed in place of the plan's own.
    """
    kept_cases = None if cases is None else set(cases)
    kept = None if samplers is None else set(samplers)
    rows = tuple(
        (case, tuple(name for name in names if kept is None or name in kept))
        for case, names in plan.rows
        if kept_cases is None or case.name in kept_cases
    )
    rows = tuple((case, names) for case, names in rows if names)
    return replace(plan, rows=rows, settings=settings)


def run_plan(
    plan: Plan, parts: Sequence[str], tell: Tell, keep: Callable[[Results], None]
) -> Results:
    """Measure what is planned.

    Parameters
    ----------
    parts
        Of `PARTS`.
    tell
        Called before each run with what it is.
    keep
        Called with the results so far after each run.
    """
    results = Results(quick=plan.quick, limit=plan.limit, machine=machine())
    with tempfile.TemporaryDirectory(prefix="jointmix-benchmark-") as folder:
        if "samplers" in parts:
            for row in _rows(plan, Path(folder), tell):
                results.rows.append(row)
                keep(results)
        jobs: list[tuple[str, list[Cost], tuple[Case, ...], tuple[str, ...]]] = [
            ("gradients", results.costs, (case,), together)
            for case in plan.gradients
            for together in plan.functions
        ]
        jobs.append(("growth", results.growth, plan.growth, ("kernel",)))
        for part, found, cases, functions in jobs:
            if part in parts:
                tell(f"{part}: {', '.join(functions)} on {', '.join(case.name for case in cases)}")
                found += _costs(plan, cases, functions, Path(folder))
                keep(results)
        for part, case, name, settings in plan.tasks:
            if part in parts:
                tell(f"{part}: {name} on {case.name}")
                given = environment(Path(folder))
                answer, _ = run_one([case], [name], settings, plan.limit, given)
                draws = settings.draws * settings.chains
                found_task = {"case": case.name, "task": name, "draws": draws}
                results.tasks.append(Task(**{**found_task, **answer}))
                keep(results)
    return results


def _rows(plan: Plan, folder: Path, tell: Tell) -> Iterator[Row]:
    unfinished: dict[tuple[str, str, int, int], Case] = {}
    for case, names in plan.rows:
        for name in names:
            key = (name, case.model, case.k, case.d)
            if key in unfinished:
                reason = f"not run: not finished at {unfinished[key].size}"
                yield _row(plan, case, name, problem=reason)
                continue
            tell(f"{case.name}: {name}")
            row = _measured_row(plan, case, name, folder, tell)
            if row.problem == _unfinished(plan.limit):
                unfinished[key] = case
            yield row


def _row(plan: Plan, case: Case, name: str, **found: Any) -> Row:
    counts = asdict(plan.settings)
    del counts["seed"]
    return Row(case=case.name, sampler=name, **counts, **found)


def _measured_row(plan: Plan, case: Case, name: str, folder: Path, tell: Tell) -> Row:
    with _caches(folder, own=not plan.quick) as place:
        found: dict[str, Any] = {}
        if (plan.cold is None or name in plan.cold) and not any(place.iterdir()):
            tell(f"{case.name}: {name}, compiling from cold")
            short = replace(plan.settings, draws=_SHORT, tune=_SHORT)
            answer, seconds = run_one([case], [name], short, plan.limit, environment(place))
            if "problem" in answer:
                return _row(plan, case, name, problem=answer["problem"])
            found["cold_compile_seconds"] = answer["compile_seconds"]
            found["cold_process_seconds"] = seconds
        answer, seconds = run_one([case], [name], plan.settings, plan.limit, environment(place))
        if "problem" in answer:
            return _row(plan, case, name, problem=answer["problem"], **found)
        warm = measured_from(answer)
        return _row(plan, case, name, warm=warm, process_seconds=seconds, **found)


@contextmanager
def _caches(folder: Path, own: bool) -> Iterator[Path]:
    """A folder for compiled code: one of a row's own, or one that all share."""
    if not own:
        yield folder
        return
    with tempfile.TemporaryDirectory(dir=folder) as place:
        yield Path(place)


def _costs(plan: Plan, cases: Sequence[Case], functions: Sequence[str], folder: Path) -> list[Cost]:
    answer, _ = run_one(
        cases,
        functions,
        plan.settings,
        plan.limit,
        one_thread(environment(folder)),
        seconds=plan.seconds,
    )
    if "problem" in answer:
        return [
            Cost(case=case.name, function=name, problem=answer["problem"])
            for case in cases
            for name in functions
        ]
    return [Cost(**cost) for cost in answer["costs"]]


def environment(folder: Path) -> dict[str, str]:
    """The environment with compiled code kept in a folder (JAX keeps none), and BLAS unthreaded.

    Chains run side by side: threads of BLAS that wait for each other made some of NumPyro's
    gradients a hundred times slower.
    """
    found = {name: value for name, value in os.environ.items() if not name.startswith("JAX_COMP")}
    found |= dict.fromkeys(_THREADS, "1")
    found["NUMBA_CACHE_DIR"] = str(folder / "numba")
    flags = [found.get("PYTENSOR_FLAGS", ""), f"base_compiledir={folder / 'pytensor'}"]
    return found | {"PYTENSOR_FLAGS": ",".join(flag for flag in flags if flag)}


def one_thread(given: Mapping[str, str]) -> dict[str, str]:
    """The environment in which XLA uses a single thread too."""
    return {**given, "XLA_FLAGS": f"{given.get('XLA_FLAGS', '')} {_XLA_ONE_THREAD}".strip()}


def run_one(
    cases: Sequence[Case],
    names: Sequence[str],
    settings: Settings,
    limit: float,
    given: Mapping[str, str],
    seconds: float = 0.0,
) -> tuple[dict[str, Any], float]:
    """Run ``python -m benchmark --one`` and read the line of JSON that it prints.

    Parameters
    ----------
    cases, names
        A case and a sampler, or cases and functions of `gradients.GRADIENTS`.
    limit
        Wall seconds after which the process is ended.
    given
        Its environment.
    seconds
        To spend on each timing of a gradient.

    Returns
    -------
    tuple
        What it printed, or a dict with the key "problem"; and its wall seconds.
    """
    command = [sys.executable, "-m", "benchmark", "--one"]
    command += [",".join(case.name for case in cases), ",".join(names)]
    for name, value in asdict(settings).items():
        command += [f"--{name}", str(value)]
    began = time.time()
    command += ["--seconds", str(seconds), "--began", str(began)]
    process = subprocess.Popen(
        command,
        cwd=Path(__file__).parents[1],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=dict(given),
        start_new_session=True,
    )
    try:
        out, err = process.communicate(timeout=limit)
        answer = _answer(process.returncode, out, err)
    except subprocess.TimeoutExpired:
        answer = {"problem": _unfinished(limit)}
    finally:
        if process.poll() is None:
            _end(process)
    return answer, time.time() - began


def _unfinished(limit: float) -> str:
    return f"not finished in {limit:g} s"


def _end(process: "subprocess.Popen[str]") -> None:
    """End the process and what it started: it leads a session of its own."""
    os.killpg(process.pid, signal.SIGKILL)
    process.communicate()


def _answer(code: int, out: str, err: str) -> dict[str, Any]:
    lines = [line for line in out.splitlines() if line.startswith("{")]
    if code == 0 and lines:
        answer: dict[str, Any] = json.loads(lines[-1])
        return answer
    said = [line.strip() for line in err.splitlines() if line.strip()]
    cause = f": {said[-1][:300]}" if said else ""
    return {"problem": f"ended with exit code {code}{cause}"}


def machine() -> dict[str, str]:
    """What the benchmark runs on, for people."""
    found = {
        "machine": f"{platform.system()} {platform.machine()}",
        "processor": _processor(),
        "cores": str(available_cores()),
        "Python": platform.python_version(),
        "date": time.strftime("%Y-%m-%d"),
    }
    for name in _PACKAGES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            found[name] = "not installed"
    return found


def _processor() -> str:
    information = Path("/proc/cpuinfo")
    if information.exists():
        for line in information.read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or "unknown"
