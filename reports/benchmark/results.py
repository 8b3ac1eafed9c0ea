"""What was measured, as plain data that JSON can hold."""

import json
from dataclasses import asdict, dataclass, field, fields
from typing import Any


@dataclass(frozen=True, kw_only=True)
class Measured:
    """What one run of a sampler took, and how good its draws are; None is unknown.

    Attributes
    ----------
    import_seconds, em_seconds, compile_seconds, sample_seconds
        Wall seconds of what followed one another. Imports begin with Python's start; compile and
        sample together go from model to draws.
    peak_memory
        Largest resident set of the process, MiB.
    gradients, all_gradients
        Of the kept draws, and with the adaptation's.
    divergences
        Of the kept draws.
    min_ess, r_hat, switched
        As `scores.Scores` has them.
    pareto_shape
        k̂ of an approximation.
    """

    import_seconds: float
    em_seconds: float | None
    compile_seconds: float
    sample_seconds: float
    peak_memory: float
    gradients: int | None = None
    all_gradients: int | None = None
    divergences: int | None = None
    min_ess: float | None = None
    r_hat: float | None = None
    switched: float | None = None
    pareto_shape: float | None = None


@dataclass(frozen=True, kw_only=True)
class Row:
    """A sampler on a posterior.

    Attributes
    ----------
    case, sampler
        Names.
    draws, tune, chains
        Counts, draws and adaptation steps of each chain.
    problem
        Why there is no result; empty if there is one.
    warm
        Measured with compiled code on disk as far as the sampler keeps any.
    process_seconds
        Of that whole process, from its start to its end.
    cold_compile_seconds, cold_process_seconds
        Of a short run before it, with empty folders; None if there was none.
    """

    case: str
    sampler: str
    draws: int
    tune: int
    chains: int
    problem: str = ""
    warm: Measured | None = None
    process_seconds: float | None = None
    cold_compile_seconds: float | None = None
    cold_process_seconds: float | None = None

    @property
    def gradients_a_draw(self) -> float | None:
        """Gradients for one kept draw."""
        if self.warm is None or self.warm.gradients is None:
            return None
        return self.warm.gradients / (self.draws * self.chains)

    def ess_per_second(self, compiling: str = "") -> float | None:
        """Smallest bulk ESS a wall second; None without a measured result.

        Parameters
        ----------
        compiling
            What is added to the seconds of sampling: "" nothing, "warm" or "cold" compilation.
        """
        if self.warm is None or self.warm.min_ess is None:
            return None
        added = {
            "": 0.0,
            "warm": self.warm.compile_seconds,
            "cold": self.cold_compile_seconds,
        }[compiling]
        if added is None:
            return None
        return self.warm.min_ess / (self.warm.sample_seconds + added)


@dataclass(frozen=True, kw_only=True)
class Cost:
    """What one gradient takes; microseconds, median and quartiles.

    Attributes
    ----------
    case, function
        Names.
    threads
        Processor seconds over wall seconds.
    problem
        Why there is no result; empty if there is one.
    """

    case: str
    function: str
    median: float | None = None
    lower: float | None = None
    upper: float | None = None
    calls: int = 0
    threads: float | None = None
    problem: str = ""


@dataclass(frozen=True, kw_only=True)
class Task:
    """What a task after sampling took.

    Attributes
    ----------
    case, task
        Names.
    draws
        Posterior draws, of all chains.
    seconds
        Of the task alone.
    peak_memory
        Largest resident set of the process, MiB.
    share
        Of draws or rows for which it did what it should.
    problem
        Why there is no result; empty if there is one.
    """

    case: str
    task: str
    draws: int
    seconds: float | None = None
    peak_memory: float | None = None
    share: float | None = None
    problem: str = ""


@dataclass(frozen=True, kw_only=True)
class Results:
    """All that a benchmark found, with what it ran on."""

    quick: bool
    limit: float
    machine: dict[str, str]
    rows: list[Row] = field(default_factory=list)
    costs: list[Cost] = field(default_factory=list)
    growth: list[Cost] = field(default_factory=list)
    tasks: list[Task] = field(default_factory=list)

    def to_json(self) -> str:
        """As text, which `results_from_json` reads back to an equal object."""
        return json.dumps(asdict(self), indent=1, allow_nan=False) + "\n"


def results_from_json(text: str) -> Results:
    """What `Results.to_json` wrote.

    Raises
    ------
    ValueError
        If the text is no JSON, or has other parts.
    """
    given: dict[str, Any] = json.loads(text)
    rows = [
        Row(**{**row, "warm": measured_from(row["warm"]) if row["warm"] else None})
        for row in given.pop("rows")
    ]
    costs = [Cost(**cost) for cost in given.pop("costs")]
    growth = [Cost(**cost) for cost in given.pop("growth")]
    tasks = [Task(**task) for task in given.pop("tasks")]
    return Results(**given, rows=rows, costs=costs, growth=growth, tasks=tasks)


def measured_from(values: dict[str, Any]) -> Measured:
    """From a dict that may hold other things besides."""
    return Measured(**{item.name: values[item.name] for item in fields(Measured)})
