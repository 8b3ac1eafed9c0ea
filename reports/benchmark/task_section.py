"""The section on what follows sampling."""

from benchmark.cases import parse_case
from benchmark.results import Task
from benchmark.tasks import TASKS
from jointmix.base.numbers import percent
from jointmix.reporting.elements import Cell, Prose, Section, Table, number_cells, text_cells
from jointmix.reporting.text import MISSING, number

_HOW = (
    "Each task had a process of its own, whose largest resident set is stated, with what it labels "
    "or predicts in it. Labels were permuted at random in every draw, a tenth of the rows being "
    "drawn anew; recovered is the share of draws whose permutation came back. Predictions are of "
    "rows that a fit of 1,000 others has not seen, by all its draws."
)


def task_section(tasks: list[Task]) -> Section:
    """A table with a row for each task."""
    table = Table(
        caption="Labels and predictions of many draws",
        columns=(
            *text_cells("task"),
            *number_cells("rows N", "clusters K", "draws", "seconds", "peak MiB", "share"),
            *text_cells("of what"),
        ),
        rows=tuple(_cells(task) for task in tasks),
    )
    return Section(id="tasks", title="What follows sampling", elements=(Prose(text=_HOW), table))


def _cells(task: Task) -> tuple[Cell, ...]:
    title, meaning, _ = TASKS[task.task]
    case = parse_case(task.case)
    found = [MISSING] * 3
    if task.seconds is not None and task.peak_memory is not None and task.share is not None:
        found = [number(task.seconds, 3), f"{task.peak_memory:,.0f}", percent(task.share, 1)]
    unit = "rows" if task.task == "predict" else "draws"
    return (
        Cell(text=title, detail=task.problem),
        *number_cells(f"{case.n:,}", f"{case.k}", f"{task.draws:,}", *found),
        Cell(text=f"{unit} {meaning}"),
    )
