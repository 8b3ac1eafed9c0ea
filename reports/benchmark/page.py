"""The results as a page and as Markdown: both are made of the same tables."""

from collections.abc import Callable, Iterable, Sequence

from benchmark.cases import MODELS, Case, parse_case
from benchmark.chart import dots
from benchmark.gradients import BARE, GRADIENTS, TEXTBOOK
from benchmark.measure import growth
from benchmark.results import Cost, Results, Row
from benchmark.samplers import SAMPLERS
from benchmark.task_section import task_section
from jointmix.base.numbers import percent
from jointmix.reporting.elements import (
    Bullets,
    Callout,
    Cell,
    Document,
    Element,
    Facts,
    Figure,
    Heading,
    Panel,
    Prose,
    Section,
    Table,
    number_cells,
    text_cells,
)
from jointmix.reporting.plain import markdown_table
from jointmix.reporting.render import render
from jointmix.reporting.text import MISSING, compact, decimals, number

#: Largest exponent in N, K and D at which the kernel's cost may grow.
LARGEST_EXPONENTS = {"n": 1.0, "k": 1.0, "d": 2.0}
_FOUR_CLUSTERS = Case("full", 1000, 4, 2)
_SIZE_NAMES = {"n": "rows N", "k": "clusters K", "d": "features D"}

_METHOD = (
    "Each row was measured in a process of its own. Warm is a run with the code on disk that a run "
    "before it had compiled; cold is a run with empty folders for what Numba and PyTensor keep. "
    "JAX keeps nothing on disk, so its cold and warm seconds differ by chance only.",
    "Seconds of sampling are those between the first gradient and the last draw, without what was "
    "compiled meanwhile; compilation is all else between model and draws. Imports, from Python's "
    "start on, and EM, from which our samplers start, are stated separately and are in no rate.",
    "ESS is the smallest bulk effective sample size of any entry of weight, mean, standard "
    "deviation, intercept, slope and sigma, on the model's scale, after labels were sorted out; "
    "R-hat is the largest. Without correlations: the peers' forms of them differ.",
    "Our samplers order the components along a direction, the peers leave labels free and start "
    "at the truth: the same posterior up to labels.",
    "Gradients are those of the kept draws; where a sampler reports them, those of its "
    "adaptation are added in the second number.",
    "nutpie and the NumPyro peers run as many chains at a time as there are cores, NumPyro and "
    "BlackJAX on our model advance all chains together, PyMC's NUTS takes one after another; BLAS "
    "has one thread.",
    "Peak memory is the largest resident set of the process.",
)


def render_page(results: Results) -> str:
    """The results as one HTML page that needs nothing else; the same results give the same."""
    machine = results.machine
    kind = "quick run" if results.quick else "full run"
    return render(
        Document(
            sections=tuple(sections(results)),
            kicker="Benchmark",
            title="Benchmark of samplers and gradients",
            subtitle=f"{kind} on {machine['processor']}, {machine['cores']} cores, "
            f"{machine['date']}",
            footer=f"Made by jointmix {machine['jointmix']}: python -m benchmark"
            f"{' --quick' if results.quick else ''}",
        )
    )


def markdown(results: Results) -> str:
    """The tables of the page as Markdown."""
    lines: list[str] = []
    for section in sections(results):
        tables = [element for element in section.elements if isinstance(element, Table)]
        if tables:
            lines += [f"## {section.title}", ""]
        for table in tables:
            lines += [markdown_table(table), ""]
    return "\n".join(lines)


def sections(results: Results) -> list[Section]:
    """What was measured, section by section; without the parts that were not."""
    found = []
    if results.rows:
        found.append(_samplers(results))
        found.append(_compilation(results))
    if results.costs:
        found.append(_gradients(results))
    if results.growth:
        found.append(_growth(results))
    if results.tasks:
        found.append(task_section(results.tasks))
    found.append(_how(results))
    return found


def _each_case(names: Iterable[str]) -> list[str]:
    return list(dict.fromkeys(names))


def _samplers(results: Results) -> Section:
    elements: list[Element] = []
    for name in _each_case(row.case for row in results.rows):
        rows = [row for row in results.rows if row.case == name]
        elements += _case_elements(name, rows)
    return Section(id="samplers", title="Samplers on the same posterior", elements=tuple(elements))


def _case_elements(name: str, rows: Sequence[Row]) -> list[Element]:
    title = parse_case(name).title
    counts = _each_case(f"{row.chains} × {row.draws:,}" for row in rows)
    quality = Table(
        caption=f"{title[0].upper()}{title[1:]}: {', '.join(counts)} kept draws after "
        f"{rows[0].tune:,} of adaptation",
        columns=(
            *text_cells("sampler", "result"),
            *number_cells("min bulk ESS", "R-hat", "gradients kept / all", "gradients a draw"),
            *number_cells("ESS/s sampling", "ESS/s warm", "ESS/s cold"),
        ),
        rows=tuple((*_named(row), _result_cell(row), *_quality_cells(row)) for row in rows),
    )
    cost = Table(
        caption=f"Seconds and memory of the same, {parse_case(name).size}",
        columns=(
            *text_cells("sampler"),
            *number_cells(
                "start, imports", "EM", "compile cold", "compile warm", "sampling", "peak MiB"
            ),
        ),
        rows=tuple((*_named(row), *_cost_of_row(row)) for row in rows if row.warm is not None),
    )
    shown = [row for row in rows if row.ess_per_second("warm") is not None]
    figure = [_rates_figure(title, shown)] if shown else []
    return [Heading(text=f"{title[0].upper()}{title[1:]}"), *figure, quality, cost]


def _named(row: Row) -> tuple[Cell, ...]:
    sampler = SAMPLERS[row.sampler]
    return (Cell(text=sampler.title, detail="without this package" if sampler.peer else ""),)


def _quality_cells(row: Row) -> tuple[Cell, ...]:
    warm = row.warm
    if warm is None:
        return number_cells(*[MISSING] * 7)
    gradients = _optional(warm.gradients, "{:,}".format)
    if warm.all_gradients is not None:
        gradients += f" / {warm.all_gradients:,}"
    return number_cells(
        _optional(warm.min_ess, "{:,.0f}".format),
        _optional(warm.r_hat, "{:.3f}".format),
        gradients,
        _number(row.gradients_a_draw),
        _number(row.ess_per_second()),
        _number(row.ess_per_second("warm")),
        _number(row.ess_per_second("cold")),
    )


def _cost_of_row(row: Row) -> tuple[Cell, ...]:
    warm = row.warm
    assert warm is not None
    seconds = (
        *(warm.import_seconds, warm.em_seconds, row.cold_compile_seconds),
        *(warm.compile_seconds, warm.sample_seconds),
    )
    return number_cells(*(_number(value) for value in seconds), f"{warm.peak_memory:,.0f}")


def _optional(value: float | None, write: Callable[[float], str]) -> str:
    return MISSING if value is None else write(value)


def _number(value: float | None) -> str:
    return _optional(value, lambda known: number(known, 3))


def _result_cell(row: Row) -> Cell:
    warm = row.warm
    if warm is None:
        return Cell(text=row.problem, status="caution")
    if SAMPLERS[row.sampler].approximate:
        shape = _optional(warm.pareto_shape, "{:.2f}".format)
        return Cell(text=f"approximate, k̂ = {shape}", status="note")
    problems = []
    if warm.switched:
        problems.append(f"labels switched in {percent(warm.switched)} of draws")
    if warm.divergences:
        problems.append(f"{warm.divergences:,} divergences")
    if problems:
        return Cell(text=", ".join(problems), status="caution")
    return Cell(text="no label switched", status="ok")


def _rates_figure(title: str, rows: Sequence[Row]) -> Figure:
    names = [SAMPLERS[row.sampler].title for row in rows]
    alone = [row.ess_per_second() for row in rows]
    warm = [row.ess_per_second("warm") for row in rows]
    said = "; ".join(
        f"{name}: {_number(a)} sampling alone, {_number(b)} with compilation"
        for name, a, b in zip(names, alone, warm, strict=True)
    )
    svg = dots(names, [alone, warm], "ESS a second: filled sampling alone, hollow with compilation")
    numbers = Table(
        caption="effective draws a second",
        columns=(*text_cells("sampler"), *number_cells("sampling alone", "with warm compilation")),
        rows=tuple(
            (Cell(text=name), *number_cells(_number(a), _number(b)))
            for name, a, b in zip(names, alone, warm, strict=True)
        ),
    )
    return Figure(
        caption=f"Effective draws a second of {title}",
        panels=(Panel(svg=svg, alt=f"Effective draws a second. {said}.", wide=True),),
        table=numbers,
    )


def _compilation(results: Results) -> Section:
    rows = []
    for row in results.rows:
        warm = row.warm
        case = parse_case(row.case)
        if warm is None or row.process_seconds is None or case.size != _FOUR_CLUSTERS.size:
            continue
        rows.append((
            Cell(text=SAMPLERS[row.sampler].title, detail=MODELS[case.model]),
            *number_cells(
                _number(row.cold_compile_seconds),
                _number(warm.compile_seconds),
                _number(row.cold_process_seconds),
                _number(row.process_seconds - warm.sample_seconds),
            ),
        ))  # fmt: skip
    table = Table(
        caption="Compilation, and the whole process but for sampling, in seconds, "
        f"{_FOUR_CLUSTERS.size}",
        columns=(
            *text_cells("sampler"),
            *number_cells("compile cold", "compile warm", "process cold", "process warm"),
        ),
        rows=tuple(rows),
        notes=(
            "The process begins with Python's start and includes imports and EM; cold it also "
            "takes the few draws of the short run.",
            "The kernel is compiled once for all models, data and structures of a machine.",
        ),
    )
    return Section(id="compilation", title="Compilation", elements=(table,))


def _gradients(results: Results) -> Section:
    tables = []
    for case in _each_case(cost.case for cost in results.costs):
        costs = [cost for cost in results.costs if cost.case == case]
        bare = _least(costs, BARE)
        textbook = _least(costs, TEXTBOOK)
        tables.append(
            Table(
                caption=f"One log density with its gradient, {parse_case(case).size}",
                columns=(
                    *text_cells("function"),
                    *number_cells("median, µs", "quartiles, µs", "over bare",
                        "over textbook", "calls", "threads"),
                ),
                rows=tuple(_cost_cells(cost, bare, textbook) for cost in costs),
            )
        )  # fmt: skip
    how = Prose(
        text="One thread each, called again and again at eight points around the truth in turn. "
        "The bare arithmetic is Φ·W′, logsumexp and R′·Φ on ready-made Φ, the products of the "
        "columns: no parameters, no priors, no Jacobians. Ratios are to the faster of the two bare "
        "functions, and to the faster textbook mixture. Threads are processor seconds over wall "
        "seconds; below one, other work had the processor."
    )
    return Section(id="gradients", title="The cost of one gradient", elements=(how, *tables))


def _least(costs: Iterable[Cost], names: Sequence[str]) -> float | None:
    found = [c.median for c in costs if c.function in names and c.median is not None]
    return min(found, default=None)


def _cost_cells(cost: Cost, bare: float | None, textbook: float | None) -> tuple[Cell, ...]:
    title = GRADIENTS[cost.function][0]
    if cost.median is None or cost.lower is None or cost.upper is None or cost.threads is None:
        return (Cell(text=title, detail=cost.problem), *number_cells(*[MISSING] * 6))
    return (
        Cell(text=title),
        *number_cells(
            number(cost.median),
            f"{number(cost.lower)} to {number(cost.upper)}",
            *(MISSING if other is None else f"{number(cost.median / other, 3)}×"
              for other in (bare, textbook)),
            f"{cost.calls:,}",
            decimals(cost.threads, 2),
        ),
    )  # fmt: skip


def _growth(results: Results) -> Section:
    found = [(parse_case(cost.case), cost) for cost in results.growth]
    done = [(case, cost.median) for case, cost in found if cost.median is not None]
    if len(done) < len(found):
        problem = next(cost.problem for _, cost in found if cost.problem)
        callout = Callout(tone="caution", title="Not measured", text=problem)
        return Section(id="growth", title="How the cost grows", elements=(callout,))
    rows, numbers = [], []
    medians = dict(done)
    for name, limit in LARGEST_EXPONENTS.items():
        line = _along(name, list(medians))
        costs = [medians[case] for case in line]
        sizes = [getattr(case, name) for case in line]
        fitted = growth(sizes, costs)
        # The fit's own noise must not decide: two standard errors.
        holds = not fitted.exponent - 2 * fitted.error > limit
        rows.append((
            Cell(text=_SIZE_NAMES[name], detail=f"{sizes[0]:,} to {sizes[-1]:,}"),
            *number_cells(decimals(fitted.exponent, 2), decimals(fitted.error, 2), compact(limit)),
            Cell(text="holds" if holds else "does not hold", status="ok" if holds else "caution"),
        ))  # fmt: skip
        numbers += [
            (Cell(text=case.size), *number_cells(number(cost)))
            for case, cost in zip(line, costs, strict=True)
        ]
    claim = Table(
        caption="Exponents of the kernel's cost, fitted to sizes that double",
        columns=(
            *text_cells("size"),
            *number_cells("exponent", "standard error", "no faster than"),
            *text_cells("claim"),
        ),
        rows=tuple(rows),
        notes=("No faster than linear in N and K, and quadratic in D.",),
    )
    costs_table = Table(
        caption="The kernel's gradient as sizes double, in microseconds",
        columns=(*text_cells("size"), *number_cells("median, µs")),
        rows=tuple(numbers),
    )
    return Section(id="growth", title="How the cost grows", elements=(claim, costs_table))


def _along(name: str, cases: Sequence[Case]) -> list[Case]:
    """The longest line of cases that differ in one size alone, in its order."""
    others = [other for other in LARGEST_EXPONENTS if other != name]
    lines: dict[tuple[int, ...], list[Case]] = {}
    for case in cases:
        lines.setdefault(tuple(getattr(case, other) for other in others), []).append(case)
    longest = max(lines.values(), key=lambda line: len(line))
    return sorted(longest, key=lambda case: getattr(case, name))


def _how(results: Results) -> Section:
    facts = tuple(results.machine.items())
    limit = f"A run that takes longer than {results.limit:g} s is ended, and its row says so."
    short = "With --quick draws are few: its effective sample sizes and rates are rough."
    items = (*_METHOD, limit, *((short,) if results.quick else ()))
    return Section(
        id="how",
        title="How this was measured",
        elements=(Bullets(items=text_cells(*items)), Facts(items=facts)),
    )
