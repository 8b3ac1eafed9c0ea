"""The benchmark's command line.

Exit codes: 0 done; 2 for arguments that are refused; 130 when interrupted, with the results until
then written.
"""

import argparse
import json
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict, fields
from pathlib import Path
from typing import NoReturn

from benchmark.cases import parse_case
from benchmark.results import Results
from benchmark.runs import PARTS, Plan, chosen, full_plan, quick_plan, run_plan
from benchmark.samplers import SAMPLERS, Settings, measure
from jointmix.base.errors import JointmixError, SpecError
from jointmix.storage.files import check_writable, write_file

DEFAULT_OUT = "benchmark-results"
_QUICK_LIMIT, _FULL_LIMIT = 75.0, 600.0


class _Parser(argparse.ArgumentParser):
    """Refuses arguments in one sentence."""

    def error(self, message: str) -> NoReturn:
        print(f"error: {message}", file=sys.stderr)
        raise SystemExit(2)


def _positive(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        message = f"must be a whole number, at least 1; got {text!r}"
        raise argparse.ArgumentTypeError(message)
    return int(text)


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(prog="python -m benchmark", description=__doc__, allow_abbrev=False)
    add = parser.add_argument
    out = f"folder for benchmark.json and benchmark.html (default {DEFAULT_OUT})"
    limit = f"of each run (default {_FULL_LIMIT:g}, with --quick {_QUICK_LIMIT:g})"
    one = "one sampler's row, a task, or gradients, in this process, as a line of JSON"
    add("--quick", action="store_true", help="the smallest size, about 3 minutes")
    add("--out", type=Path, default=Path(DEFAULT_OUT), metavar="DIR", help=out)
    add("--limit", type=_positive, metavar="SECONDS", help=limit)
    for item in fields(Settings):
        add(f"--{item.name}", type=_positive, metavar="N")
    add("--parts", nargs="+", choices=PARTS, default=PARTS)
    add("--cases", nargs="+", metavar="CASE", help="such as full-1000-4-2")
    names = ", ".join(SAMPLERS)
    add("--samplers", nargs="+", choices=tuple(SAMPLERS), metavar="SAMPLER", help=names)
    add("--one", nargs=2, metavar=("CASE", "NAME"), help=one)
    add("--seconds", type=float, default=1.0, help="for each gradient of --one")
    # When the process was started, by time.time: its imports begin before this is read.
    add("--began", type=float, default=time.time(), help=argparse.SUPPRESS)
    return parser


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; returns the exit code.

    Parameters
    ----------
    arguments
        Without the program's name; those of the process by default.
    """
    try:
        given = _parser().parse_args(arguments)
        if given.one is not None:
            print(json.dumps(_one(given)))
            return 0
        return _benchmark(given)
    except JointmixError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2


def _settings(given: argparse.Namespace, default: Settings) -> Settings:
    named = {item.name: getattr(given, item.name) for item in fields(Settings)}
    return Settings(**{**asdict(default), **{k: v for k, v in named.items() if v is not None}})


def _one(given: argparse.Namespace) -> dict[str, object]:
    """What one process of a benchmark found; failures of its run are results too."""
    from benchmark.gradients import GRADIENTS, measure_costs
    from benchmark.tasks import TASKS, run_task

    cases = [parse_case(text) for text in given.one[0].split(",")]
    names = given.one[1].split(",")
    alone = (*SAMPLERS, *TASKS)
    unknown = [name for name in names if name not in alone and name not in GRADIENTS]
    if unknown or (names[0] in alone and len(names) + len(cases) > 2):
        raise SpecError(
            "--one takes a case and a sampler or task, or cases and gradients joined by commas: "
            f"{', '.join((*alone, *GRADIENTS))}; got {given.one[1]!r}."
        )
    try:
        if names[0] in TASKS:
            return asdict(run_task(cases[0], names[0], _settings(given, Settings())))
        if names[0] in SAMPLERS:
            return asdict(measure(cases[0], names[0], _settings(given, Settings()), given.began))
        return {"costs": measure_costs(cases, names, given.seconds)}
    except ImportError as error:
        return {"problem": f"not installed: {error}"}
    except JointmixError as error:
        return {"problem": str(error)}


def _plan(given: argparse.Namespace) -> Plan:
    limit = given.limit or (_QUICK_LIMIT if given.quick else _FULL_LIMIT)
    plan = quick_plan(limit) if given.quick else full_plan(limit)
    known = [case.name for case, _ in plan.rows]
    for name in given.cases or ():
        if name not in known:
            raise SpecError(f"--cases takes any of {', '.join(known)}; got {name!r}.")
    return chosen(plan, given.cases, given.samplers, _settings(given, plan.settings))


def _benchmark(given: argparse.Namespace) -> int:
    from benchmark.page import markdown, render_page

    plan = _plan(given)
    try:
        given.out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise SpecError(f"--out {given.out}: cannot be made ({error.strerror}).") from error
    check_writable(given.out / "benchmark.html")
    latest: list[Results] = []

    def keep(results: Results) -> None:
        latest[:] = [results]
        write_file(given.out / "benchmark.json", results.to_json().encode())

    code = 0
    try:
        run_plan(plan, given.parts, lambda text: print(text, file=sys.stderr, flush=True), keep)
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        code = 130
    if latest:
        write_file(given.out / "benchmark.html", render_page(latest[0]).encode())
        print(markdown(latest[0]))
        print(f"written: {given.out / 'benchmark.html'}", file=sys.stderr)
    return code


if __name__ == "__main__":
    raise SystemExit(main())
