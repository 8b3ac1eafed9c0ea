"""Tasks after sampling: small ones, done right, and what becomes of them on the page."""

from typing import Any

import numpy as np
import pytest
from benchmark import runs
from benchmark.cases import Case
from benchmark.page import markdown
from benchmark.results import Results, Task
from benchmark.samplers import Settings
from benchmark.tasks import TASKS, Planted, run_task
from conftest import more
from test_benchmark import answered, one, tiny_plan

SMALL = Settings(draws=30, chains=2, tune=60)


#: Those that start a cluster.
CLUSTERS = {
    "compare-one-worker": more,
    "compare-two-workers": more,
    "fit-one-worker": more,
    "fit-two-workers": pytest.mark.slow,
}


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=CLUSTERS.get(name, ())) for name in TASKS]
)
def test_a_small_task(name: str) -> None:
    found = run_task(Case("full", 400, 3, 2), name, SMALL)
    assert (found.case, found.task, found.draws) == ("full-400-3-2", name, 60)
    assert found.seconds is not None
    assert found.seconds > 0
    assert found.peak_memory is not None
    assert 50 < found.peak_memory < 10_000
    if name == "predict":
        # Four binomial standard errors of 400 rows, and a few draws' poor tails.
        assert found.share == pytest.approx(0.9, abs=0.06)
    else:
        assert found.share == 1


def test_recovered_up_to_one_permutation() -> None:
    planted = Planted(20, 3, 50, seed=3)
    assert planted.recovered(planted.permutation) == 1
    assert planted.recovered(planted.permutation[:, [2, 0, 1]]) == 1
    wrong = planted.permutation.copy()
    wrong[7] = wrong[7][[1, 0, 2]]
    assert planted.recovered(wrong) == 0.98
    # Half of what is drawn would be another cluster's if labels had been left alone.
    still = np.tile(np.arange(3), (50, 1))
    assert planted.recovered(still) < 0.5


def test_tasks_run_alone_and_a_failure_is_a_row(monkeypatch: pytest.MonkeyPatch) -> None:
    done = {"case": "full-90-3-2", "task": "ecr", "draws": 40, "seconds": 2.0}
    found = done | {"peak_memory": 99.0, "share": 1.0, "problem": ""}

    def answer(cases: Any, names: Any, settings: Settings) -> dict[str, Any]:
        del cases, settings
        return found if names == ["ecr"] else {"problem": "not finished in 5 s"}

    asked = answered(monkeypatch, answer)
    case, settings = Case("full", 90, 3, 2), Settings(draws=20, chains=2)
    plan = tiny_plan(
        tasks=(("labels", case, "ecr", settings), ("prediction", case, "predict", settings))
    )
    results = runs.run_plan(plan, ["labels", "prediction"], lambda _: None, lambda _: None)
    assert [each[:3] for each in asked] == [
        ("full-90-3-2", ("ecr",), 20),
        ("full-90-3-2", ("predict",), 20),
    ]
    assert results.tasks == [
        Task(**found),
        Task(case="full-90-3-2", task="predict", draws=40, problem="not finished in 5 s"),
    ]
    only = runs.run_plan(plan, ["labels"], lambda _: None, lambda _: None)
    assert [task.task for task in only.tasks] == ["ecr"]
    text = markdown(Results(**{**vars(results), "machine": {}}))
    assert "| ECR | 90 | 3 | 40 | 2.00 | 99 | 100.0% | draws recovered |" in text
    assert "not finished in 5 s" in text


def test_plans_have_what_they_promise() -> None:
    full = [(part, case.n, name) for part, case, name, _ in runs.full_plan(60.0).tasks]
    assert ("labels", 100_000, "ecr") in full
    assert ("labels", 10_000, "stephens") in full
    assert ("prediction", 100_000, "predict") in full
    assert ("labels", 100_000, "stephens") not in full
    assert {case.n for _, case, _, _ in runs.quick_plan(60.0).tasks} == {10_000}


@pytest.mark.slow
def test_a_task_in_a_process_of_its_own() -> None:
    found = one("full-300-3-2", "ecr", "--draws", "20", "--chains", "2")
    assert found["share"] == 1
