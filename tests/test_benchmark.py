"""The benchmark's pieces against independent calculations, and its page from made-up results."""

import dataclasses
import json
import re
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import benchmark
import html5lib
import numpy as np
import pymc as pm
import pytensor
import pytest
from benchmark import __main__ as command
from benchmark import runs
from benchmark.bare import (
    jax_densities,
    jax_gradient,
    natural_parameters,
    numpy_gradient,
    statistics,
)
from benchmark.bare_families import bare_parameters, family_gradient
from benchmark.cases import Case, make_posterior, make_spec, parse_case, start_at_truth
from benchmark.chart import dots
from benchmark.measure import covered, growth, peak_memory, timed
from benchmark.page import markdown, render_page, sections
from benchmark.results import Cost, Measured, Results, Row, Task, results_from_json
from benchmark.runs import Plan, full_plan, quick_plan, run_one, run_plan
from benchmark.samplers import SAMPLERS, Sampler, Settings, _all_gradients, spec_of
from benchmark.scores import score
from benchmark.textbook import textbook_model, textbook_point, textbook_start
from densities import component_log_density
from scipy import stats

from jointmix.base.errors import SamplingError, SpecError
from jointmix.families import mixture, response_families
from jointmix.families.mixture import log_likelihood
from jointmix.fitting.recipe import read_recipe
from jointmix.kernel.fused import build_model
from jointmix.kernel.values import unconstrain
from jointmix.modes.initial import draw_start

EXAMPLES = Path(__file__).parent.parent / "examples"
XHTML = "{http://www.w3.org/1999/xhtml}"
SMALL = Case("full", 60, 3, 3)


def test_growth_is_a_regression_of_logs() -> None:
    sizes = np.array([1, 2, 4, 8, 16])
    exact = growth(sizes, 3.0 * sizes**1.5)
    assert exact.exponent == pytest.approx(1.5, abs=1e-12)
    assert exact.error == pytest.approx(0, abs=1e-12)
    costs = sizes * np.exp([0.1, -0.2, 0.05, 0.15, -0.1])
    expected = stats.linregress(np.log(sizes), np.log(costs))
    noisy = growth(sizes, costs)
    assert noisy.exponent == pytest.approx(expected.slope, rel=1e-12)
    assert noisy.error == pytest.approx(expected.stderr, rel=1e-12)
    assert np.isnan(growth([1, 2], [1, 3]).error)


def test_spans_inside_others_count_once() -> None:
    spans = [(4.0, 5.0), (0.0, 3.0), (1.0, 2.0), (2.5, 4.5), (9.0, 12.0)]
    assert covered(spans, 0.0, 10.0) == 6.0
    assert covered(spans, 2.0, 4.0) == 2.0
    assert covered([], 0.0, 1.0) == 0.0
    assert covered(spans, 6.0, 8.0) == 0.0


def test_peak_memory_is_in_mebibytes() -> None:
    before = peak_memory()
    block = np.ones(2**20 * 2**6 // 8)  # 64 MiB
    while peak_memory() < before + 1:
        block = np.concatenate([block, block])
    # The process holds at least the block, and not a thousand times as much.
    assert block.nbytes / 2**20 < peak_memory() < block.nbytes / 2**10


def test_a_timing_is_in_microseconds() -> None:
    asked: list[int] = []

    def call(index: int) -> None:
        asked.append(index)
        time.sleep(0.002)

    timing = timed(call, 0.05)
    # A sleep lasts as long as it was asked to, or longer on a busy machine.
    assert 2000 <= timing.lower <= timing.median <= timing.upper < 100_000
    assert asked == [0, 1, *range(timing.calls)]
    assert timing.threads < 0.5
    assert timed(call, 0.0).calls == 7


def test_cases_have_names() -> None:
    assert parse_case("full-1000-4-2") == Case("full", 1000, 4, 2)
    for plan in (quick_plan(1.0), full_plan(1.0)):
        cases = [case for case, _ in plan.rows]
        assert [parse_case(case.name) for case in cases] == cases
        assert {name for _, names in plan.rows for name in names} <= set(SAMPLERS)
    assert {name for _, names in full_plan(1.0).rows for name in names} == set(SAMPLERS)
    for text in ("full-1000-4", "half-10-2-2", "full-1000-4-2-", ""):
        with pytest.raises(SpecError, match="full-1000-4-2"):
            parse_case(text)


def test_the_scripts_model_is_that_of_the_example() -> None:
    recipe = read_recipe(EXAMPLES / "original_script.toml")
    assert make_spec(Case("script", 1000, 4, 2)) == recipe.spec


def test_the_truth_is_on_the_models_scale() -> None:
    posterior = make_posterior(Case("full", 4000, 3, 2))
    rows = posterior.dataset.scaling.transform(posterior.dataset.values)
    weight, mean = posterior.values["weight"], posterior.values["mean"]
    # Rows are standardised: 4,000 of them give a mean to 1/√4000 = 0.016.
    assert np.abs(weight @ mean - rows[:, :2].mean(0)).max() < 0.08
    assert posterior.values["sd"].max() < 1
    np.testing.assert_allclose(posterior.values["correlation"], np.eye(2)[None].repeat(3, 0))


def bare_inputs(case: Case) -> tuple[np.ndarray, np.ndarray, Any]:
    posterior = make_posterior(case)
    scaling = posterior.dataset.scaling
    rows, parameters = (
        scaling.transform(posterior.dataset.values),
        scaling.to_model(posterior.truth),
    )
    return rows, natural_parameters(parameters), parameters


def test_bare_arithmetic_is_the_likelihood() -> None:
    rows, natural, parameters = bare_inputs(SMALL)
    joint = component_log_density(rows[:, :3], rows[:, :3], rows[:, 3], parameters)
    np.testing.assert_allclose(statistics(rows) @ natural.T, joint, rtol=1e-10, atol=1e-9)
    value, _ = numpy_gradient(statistics(rows), natural)
    assert value == pytest.approx(log_likelihood(joint).sum(), rel=1e-12)


def test_bare_gradients_are_derivatives() -> None:
    import jax
    import jax.numpy as jnp

    rows, natural, _ = bare_inputs(SMALL)
    phi = statistics(rows)
    value, gradient = numpy_gradient(phi, natural)
    compiled = jax_gradient()(phi, natural)
    alone = np.asarray(jax_densities()(phi, np.stack([natural, natural])))
    np.testing.assert_allclose(alone, value, rtol=1e-12)

    def likelihood(w: Any) -> Any:
        return jax.scipy.special.logsumexp(jnp.asarray(phi) @ w.T, axis=1).sum()

    expected = jax.value_and_grad(likelihood)(jnp.asarray(natural))
    # Sums of 60 terms of up to 1e2, rounded to 1e-16 each.
    for found in (compiled, expected):
        assert np.asarray(found[1]).dtype == np.float64
        assert float(found[0]) == pytest.approx(value, rel=1e-12)
        np.testing.assert_allclose(found[1], gradient, rtol=1e-10, atol=1e-10)


def log_density(model: pm.Model) -> Any:
    values = [model.rvs_to_values[variable] for variable in model.free_RVs]
    with pytensor.config.change_flags(mode="FAST_COMPILE"):
        function = pytensor.function(values, model.logp())
    ends = np.cumsum([np.prod(value.type.shape, dtype=int) for value in values])

    def called(q: np.ndarray) -> float:
        parts = np.split(q, ends[:-1])
        return float(
            function(*(p.reshape(v.type.shape) for p, v in zip(parts, values, strict=True)))
        )

    return called


@pytest.mark.parametrize("case", [SMALL, Case("script", 50, 4, 2)], ids=lambda case: case.name)
def test_the_textbook_model_has_our_density(case: Case) -> None:
    posterior = make_posterior(case)
    spec, priors = posterior.spec, posterior.spec.priors
    theirs = log_density(textbook_model(posterior))
    ours = log_density(build_model(posterior.dataset, spec, None, "dot"))
    start = start_at_truth(posterior, 1)
    # Ours has the locations in units of their priors: a constant Jacobian.
    scales = [priors.mean.scale] * case.d + [priors.intercept.scale]
    scales += [priors.slope.scale] * case.d
    jacobian = case.k * np.log(scales).sum()
    for rng in np.random.default_rng(3).spawn(5):
        values = draw_start(start, spec, rng)
        values["location"] = values["location"] + rng.normal(size=values["location"].shape)
        found = theirs(textbook_point(textbook_start(posterior, values))) + jacobian
        # Our model's quadratic form is a difference of terms up to 1e4 times as large.
        assert found == pytest.approx(ours(unconstrain(values, spec, None)), rel=1e-9)


def draws_around(values: dict[str, np.ndarray], rng: np.random.Generator) -> dict[str, np.ndarray]:
    return {
        name: value + 0.01 * rng.normal(size=(2, 200, *value.shape))
        for name, value in values.items()
    }


def test_scores_do_not_depend_on_labels() -> None:
    rng = np.random.default_rng(5)
    values = make_posterior(SMALL).values
    draws = draws_around(values, rng)
    plain = score(draws, values)
    assert plain.switched == 0
    # 400 independent draws, whose smallest estimate of 30 is within a factor of two.
    assert 200 < plain.min_ess < 600
    assert 0.98 < plain.r_hat < 1.05
    order = np.array([1, 2, 0])
    renamed = {name: value[:, :, order] for name, value in draws.items()}
    assert score(renamed, values) == plain
    mixed = {name: value.copy() for name, value in draws.items()}
    for value in mixed.values():
        value[1, 150:] = value[1, 150:][:, order]
    assert score(mixed, values) == dataclasses.replace(plain, switched=50 / 400)


def test_scores_leave_constants_out() -> None:
    values = make_posterior(Case("script", 60, 3, 3)).values
    draws = draws_around(values, np.random.default_rng(6))
    draws |= {name: np.broadcast_to(values[name], draws[name].shape) for name in ("sd", "sigma")}
    found = score(draws, values)
    assert np.isfinite([found.min_ess, found.r_hat]).all()
    constant = {name: np.broadcast_to(value, draws[name].shape) for name, value in values.items()}
    with pytest.raises(ValueError, match="constant"):
        score(constant, values)
    with pytest.raises(ValueError, match="4 draws"):
        score({name: value[:, :3] for name, value in draws.items()}, values)


def test_a_chain_elsewhere_shows_in_r_hat() -> None:
    values = make_posterior(SMALL).values
    draws = draws_around(values, np.random.default_rng(7))
    draws["slope"][1] += 0.1
    assert score(draws, values).r_hat > 1.5


def test_gradients_of_nutpies_last_report() -> None:
    report = (1600.0, 1600.0, "0 divergences, 11.3 gradients a draw")
    assert _all_gradients([report], "nutpie") == 18080
    assert _all_gradients([(1500.0, *report[1:])], "nutpie") is None
    assert _all_gradients([report], "blackjax") is None
    assert _all_gradients([], "nutpie") is None


def test_every_sampler_has_settings() -> None:
    for name, sampler in SAMPLERS.items():
        spec = spec_of(name, Settings(draws=10, tune=20, chains=3))
        assert (spec.draws, spec.tune, spec.chains) == (10, 20, 3)
        assert sampler.peer or name == f"{spec.sampler}-{spec.backend}"


def test_a_picture_has_a_logarithmic_axis() -> None:
    picture = dots(["a <b>", "c", "d"], [[1.0, 10.0, 100.0], [None, 5.0, None]], "unit")
    places = [float(x) for x in re.findall(rb'circle cx="([\d.]+)"', picture)]
    assert len(places) == 4
    assert places[1] - places[0] == pytest.approx(places[3] - places[1], abs=0.2)
    assert b"a &lt;b&gt;" in picture
    with pytest.raises(ValueError, match="number"):
        dots(["a"], [[None]], "unit")


MEASURED = Measured(
    import_seconds=2.0,
    em_seconds=0.5,
    compile_seconds=1.0,
    sample_seconds=4.0,
    peak_memory=512.0,
    gradients=14_000,
    all_gradients=30_000,
    divergences=0,
    min_ess=1000.0,
    r_hat=1.01,
    switched=0.0,
)


def row(sampler: str, case: str = "full-1000-4-2", **found: Any) -> Row:
    return Row(case=case, sampler=sampler, draws=1000, tune=1000, chains=2, **found)


@pytest.fixture
def results() -> Results:
    plan = quick_plan(60.0)
    approximate = dataclasses.replace(
        MEASURED, gradients=None, all_gradients=None, min_ess=None, r_hat=None, switched=None,
        divergences=None, pareto_shape=0.42,
    )  # fmt: skip
    switched = dataclasses.replace(MEASURED, switched=0.25, divergences=3, all_gradients=None)
    warm = {"process_seconds": 9.0, "cold_process_seconds": 30.0, "cold_compile_seconds": 21.0}
    return Results(
        quick=True,
        limit=60.0,
        machine={"processor": "a <b>", "cores": "2", "date": "2026-01-01", "jointmix": "0"},
        rows=[
            row("nutpie-kernel", warm=MEASURED, **warm),
            row("laplace-kernel", warm=approximate, process_seconds=9.0),
            row("peer-textbook", warm=switched, process_seconds=9.0),
            row("nutpie-numba", problem="not finished in 60 s"),
            row("blackjax-jax", problem="<script>alert(1)</script> | it failed"),
            row("peer-enumerated", "script-1000-4-2", problem="not installed: No module named 'x'"),
        ],
        costs=[
            Cost(case="full-1000-4-2", function="kernel", median=50.0, lower=49.0, upper=51.0,
                 calls=100, threads=1.0),
            Cost(case="full-1000-4-2", function="bare-jax", median=100.0, lower=99.0, upper=110.0,
                 calls=100, threads=1.0),
            Cost(case="full-1000-4-2", function="textbook-jax", problem="not finished in 60 s"),
        ],
        growth=[
            Cost(case=case.name, function="kernel", lower=0.0, upper=0.0, calls=7, threads=1.0,
                 median=case.n * case.k * case.d**2.5 / 1000)
            for case in plan.growth
        ],
        tasks=[
            Task(case="full-100000-8-10", task="ecr", draws=4000, seconds=0.5, peak_memory=600.0,
                 share=1.0),
            Task(case="full-100000-4-2", task="predict", draws=1000, problem="it <ran> out"),
        ],
    )  # fmt: skip


def test_rates_count_what_they_say(results: Results) -> None:
    first, laplace, _, failed, *_ = results.rows
    assert first.ess_per_second() == 250
    assert first.ess_per_second("warm") == 200
    assert first.ess_per_second("cold") == 40
    assert first.gradients_a_draw == 7
    for other in (laplace, failed):
        assert other.ess_per_second("warm") is None
        assert other.gradients_a_draw is None
    assert results.rows[2].ess_per_second("cold") is None


def test_results_survive_json(results: Results) -> None:
    assert results_from_json(results.to_json()) == results


def texts(element: Any) -> str:
    return " ".join("".join(element.itertext()).split())


def test_the_page_is_valid_and_needs_nothing_else(results: Results) -> None:
    page = render_page(results)
    assert render_page(results) == page
    assert '<p class="kind">Benchmark</p>' in page
    document = html5lib.HTMLParser(strict=True).parse(page)
    assert "default-src 'none'" in page
    assert not re.search(r"https?://|url\(|@import|<script", page)
    for element in document.iter():
        for name, value in element.attrib.items():
            assert not name.startswith("on")
            if name in ("src", "href"):
                assert value.startswith(("data:image/svg+xml,", "#"))
    for table in document.iter(f"{XHTML}table"):
        assert texts(table.find(f"{XHTML}caption"))
        rows = list(table.iter(f"{XHTML}tr"))
        assert {len(line) for line in rows} == {len(rows[0])}
        assert all(head.get("scope") in ("col", "row") for head in table.iter(f"{XHTML}th"))
    images = list(document.iter(f"{XHTML}img"))
    assert images
    assert all("250 sampling alone, 200 with compilation" in image.get("alt") for image in images)


def test_the_page_says_what_failed(results: Results) -> None:
    text = texts(html5lib.parse(render_page(results)))
    for expected in (
        "not finished in 60 s",
        "<script>alert(1)</script>",
        "not installed: No module named 'x'",
        "approximate, k̂ = 0.42",
        "labels switched in 25.0% of draws, 3 divergences",
        "0.500×",
    ):
        assert expected in text


def test_the_claim_on_growth_is_judged(results: Results) -> None:
    section = next(section for section in sections(results) if section.id == "growth")
    claims = {line[0].text: line[-1].text for line in section.elements[0].rows}  # type: ignore[union-attr]
    assert claims == {"rows N": "holds", "clusters K": "holds", "features D": "does not hold"}
    failed = dataclasses.replace(results.growth[0], median=None, problem="it failed")
    other = dataclasses.replace(results, growth=[failed, *results.growth[1:]])
    assert "it failed" in render_page(other)


def test_growth_pairs_sizes_with_their_own_costs(results: Results) -> None:
    section = next(section for section in sections(results) if section.id == "growth")
    shown = {line[0].text: line[1].text for line in section.elements[1].rows}  # type: ignore[union-attr]
    for cost in results.growth:
        case = parse_case(cost.case)
        assert float(shown[case.size].replace(",", "")) == pytest.approx(cost.median, rel=1e-3)


def test_markdown_has_the_same_tables(results: Results) -> None:
    text = markdown(results)
    lines = [line for line in text.splitlines() if line.startswith("|")]
    assert "| nutpie on the kernel | ✓ no label switched | 1,000 | 1.010 |" in text
    assert "it failed" in text
    # A bar inside a cell would begin another one, unless it is escaped.
    widths = [len(re.findall(r"(?<!\\)\|", line)) for line in lines if "alert(1)" in line]
    assert widths == [10]


def test_parts_that_were_not_measured_are_left_out() -> None:
    bare = Results(quick=False, limit=1.0, machine=runs.machine())
    assert [section.id for section in sections(bare)] == ["how"]
    html5lib.HTMLParser(strict=True).parse(render_page(bare))
    assert markdown(bare) == ""


def tiny_plan(**changed: Any) -> Plan:
    cases = [Case("full", n, 2, 1) for n in (100, 200, 400)]
    plan = Plan(
        quick=False,
        settings=Settings(draws=40, tune=40, chains=2),
        limit=5.0,
        rows=tuple((case, ("nutpie-kernel", "nutpie-jax")) for case in cases),
        gradients=tuple(cases[:1]),
        functions=(("kernel", "evaluate"),),
        growth=tuple(cases),
        tasks=(),
        seconds=0.01,
        cold=None,
    )
    return dataclasses.replace(plan, **changed)


def answered(monkeypatch: pytest.MonkeyPatch, answer: Any) -> list[tuple[Any, ...]]:
    """Have runs answered by a function of their arguments; returns the list of these."""
    asked: list[tuple[Any, ...]] = []

    def run(
        cases: Any, names: Any, settings: Any, limit: float, given: Any, seconds: float = 0.0
    ) -> Any:
        del limit, seconds
        asked.append((cases[0].name, tuple(names), settings.draws, given["NUMBA_CACHE_DIR"]))
        return answer(cases, names, settings), 3.0

    monkeypatch.setattr(runs, "run_one", run)
    return asked


def test_each_row_runs_cold_then_warm(monkeypatch: pytest.MonkeyPatch) -> None:
    def answer(cases: Any, names: Any, settings: Settings) -> dict[str, Any]:
        if names[0] in SAMPLERS:
            seconds = 20.0 if settings.draws == 10 else 1.0
            return dataclasses.asdict(dataclasses.replace(MEASURED, compile_seconds=seconds))
        return {"costs": [{"case": c.name, "function": n, "median": 2.0, "lower": 1.0,
                           "upper": 3.0, "calls": 9, "threads": 1.0}
                          for c in cases for n in names]}  # fmt: skip

    asked = answered(monkeypatch, answer)
    seen: list[int] = []
    done = run_plan(tiny_plan(), runs.PARTS, lambda _: None, lambda now: seen.append(len(now.rows)))
    assert [draws for _, _, draws, _ in asked[:4]] == [10, 40, 10, 40]
    folders = [folder for *_, folder in asked[:4]]
    assert folders[0] == folders[1] != folders[2] == folders[3]
    assert not Path(folders[0]).exists()
    assert all(found.cold_compile_seconds == 20 for found in done.rows)
    assert all(found.warm.compile_seconds == 1 for found in done.rows if found.warm)
    assert len(done.rows) == 6
    assert len(done.costs) == 2
    assert [cost.case for cost in done.growth] == [c.name for c in tiny_plan().growth]
    assert seen[:6] == [1, 2, 3, 4, 5, 6]


def test_a_row_that_takes_too_long_is_not_tried_larger(monkeypatch: pytest.MonkeyPatch) -> None:
    def answer(cases: Any, names: Any, settings: Settings) -> dict[str, Any]:
        del settings
        if names == ["nutpie-jax"] and cases[0].n == 200:
            return {"problem": "not finished in 5 s"}
        return dataclasses.asdict(MEASURED)

    asked = answered(monkeypatch, answer)
    done = run_plan(tiny_plan(), ("samplers",), lambda _: None, lambda _: None)
    problems = [found.problem for found in done.rows if found.sampler == "nutpie-jax"]
    reason = "not run: not finished at N = 200, K = 2, D = 1"
    assert problems == ["", "not finished in 5 s", reason]
    assert not [each for each in asked if each[:2] == ("full-400-2-1", ("nutpie-jax",))]
    assert all(found.warm for found in done.rows if found.sampler == "nutpie-kernel")


def test_a_gradient_that_fails_leaves_a_row(monkeypatch: pytest.MonkeyPatch) -> None:
    answered(monkeypatch, lambda *_: {"problem": "it failed"})
    done = run_plan(tiny_plan(), ("gradients",), lambda _: None, lambda _: None)
    assert [(cost.function, cost.problem) for cost in done.costs] == [
        ("kernel", "it failed"),
        ("evaluate", "it failed"),
    ]


@pytest.fixture
def started(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """The processes that runs have started."""
    found: list[Any] = []

    class Noted(subprocess.Popen):
        def __init__(self, *arguments: Any, **options: Any) -> None:
            super().__init__(*arguments, **options)
            found.append(self)

    monkeypatch.setattr(subprocess, "Popen", Noted)
    return found


def test_a_process_that_takes_too_long_is_ended(started: list[Any]) -> None:
    answer, seconds = run_one([SMALL], ["nutpie-kernel"], Settings(), 0.2, runs.os.environ)
    assert answer == {"problem": "not finished in 0.2 s"}
    assert seconds < 5
    assert [process.returncode for process in started] == [-signal.SIGKILL]


def test_an_interrupt_ends_the_process(started: list[Any], monkeypatch: pytest.MonkeyPatch) -> None:
    original, interrupts = subprocess.Popen.communicate, [KeyboardInterrupt()]

    def communicate(process: Any, *arguments: Any, **options: Any) -> Any:
        if interrupts:
            raise interrupts.pop()
        return original(process, *arguments, **options)

    monkeypatch.setattr(subprocess.Popen, "communicate", communicate)
    with pytest.raises(KeyboardInterrupt):
        run_one([SMALL], ["nutpie-kernel"], Settings(), 60.0, runs.os.environ)
    assert [process.returncode for process in started] == [-signal.SIGKILL]


@pytest.mark.parametrize(
    ("code", "out", "err", "expected"),
    [
        (0, 'noise\n{"a": 1}\n', "", {"a": 1}),
        (1, "", "Trace\nIt failed\n", {"problem": "ended with exit code 1: It failed"}),
        (-9, '{"a": 1}', "", {"problem": "ended with exit code -9"}),
        (0, "", "", {"problem": "ended with exit code 0"}),
    ],
)  # fmt: skip
def test_answers_of_a_process(code: int, out: str, err: str, expected: dict[str, Any]) -> None:
    assert runs._answer(code, out, err) == expected


def test_environments_keep_what_they_were_given(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTENSOR_FLAGS", "floatX=float64")
    monkeypatch.setenv("JAX_COMPILATION_CACHE_DIR", "/somewhere")
    monkeypatch.setenv("XLA_FLAGS", "--a")
    found = runs.one_thread(runs.environment(Path("/folder")))
    assert found["PYTENSOR_FLAGS"] == "floatX=float64,base_compiledir=/folder/pytensor"
    assert found["NUMBA_CACHE_DIR"] == "/folder/numba"
    assert found["XLA_FLAGS"].split()[0] == "--a"
    assert "intra_op_parallelism_threads=1" in found["XLA_FLAGS"]
    assert "JAX_COMPILATION_CACHE_DIR" not in found
    assert found["OMP_NUM_THREADS"] == "1"


@pytest.mark.parametrize(
    ("error", "problem"),
    [
        (SamplingError("No chain could start."), "No chain could start."),
        (ModuleNotFoundError("No module named 'x'"), "not installed: No module named 'x'"),
    ],
)
def test_one_row_words_its_failure(
    error: Exception, problem: str, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    def fail(*_: object) -> Any:
        raise error

    monkeypatch.setitem(SAMPLERS, "nutpie-kernel", Sampler(title="t", run=fail, modules=()))
    assert command.main(["--one", "full-60-2-1", "nutpie-kernel"]) == 0
    assert json.loads(capsys.readouterr().out) == {"problem": problem}


@pytest.mark.parametrize(
    "arguments",
    [
        ["--limit", "0"],
        ["--draws", "x"],
        ["--parts", "all"],
        ["--samplers", "nutpie"],
        ["--quick", "--cases", "full-9-9-9"],
        ["--one", "full-10-2", "kernel"],
        ["--one", "full-60-2-1", "nothing"],
        ["--one", "full-60-2-1,full-70-2-1", "nutpie-kernel"],
        ["--unknown"],
    ],
)
def test_bad_arguments_are_refused_in_a_sentence(arguments: list[str], capsys: Any) -> None:
    try:
        code = command.main(arguments)
    except SystemExit as error:
        code = error.code  # type: ignore[assignment]
    found = capsys.readouterr()
    assert code == 2
    assert found.out == ""
    assert re.fullmatch(r"error: [^\n]+\n", found.err)


def test_a_folder_that_cannot_be_made(tmp_path: Path, capsys: Any) -> None:
    (tmp_path / "file").write_text("")
    assert command.main(["--quick", "--out", str(tmp_path / "file" / "x")]) == 2
    assert "--out" in capsys.readouterr().err


def test_the_command_writes_what_it_prints(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    answered(monkeypatch, lambda *_: dataclasses.asdict(MEASURED))
    arguments = ["--quick", "--out", str(tmp_path / "out"), "--parts", "samplers"]
    assert command.main([*arguments, "--samplers", "laplace-kernel", "nutpie-jax"]) == 0
    written = results_from_json((tmp_path / "out" / "benchmark.json").read_text("utf-8"))
    assert [found.sampler for found in written.rows] == ["nutpie-jax", "laplace-kernel"]
    found = capsys.readouterr()
    assert found.out == markdown(written) + "\n"
    assert (tmp_path / "out" / "benchmark.html").read_text("utf-8") == render_page(written)
    assert "full-1000-4-2: laplace-kernel" in found.err


def test_an_interrupted_benchmark_keeps_its_rows(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    left = [dataclasses.asdict(MEASURED)] * 2

    def answer(*_: object) -> Any:
        if not left:
            raise KeyboardInterrupt
        return left.pop()

    answered(monkeypatch, answer)
    arguments = ["--quick", "--out", str(tmp_path), "--parts", "samplers"]
    assert command.main(arguments) == 130
    written = results_from_json((tmp_path / "benchmark.json").read_text("utf-8"))
    assert len(written.rows) == 1
    assert (tmp_path / "benchmark.html").exists()


def one(case: str, name: str, *more: str) -> dict[str, Any]:
    arguments = [sys.executable, "-m", "benchmark", "--one", case, name, *more]
    done = subprocess.run(
        arguments,
        capture_output=True,
        text=True,
        check=True,
        timeout=300,
        cwd=Path(benchmark.__file__).parents[1],
    )
    answer: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return answer


@pytest.mark.slow
@pytest.mark.parametrize("name", ["nutpie-kernel", "peer-enumerated"])
def test_a_row_in_a_process_of_its_own(name: str) -> None:
    answer = one("script-150-2-1", name, "--draws", "50", "--tune", "50", "--chains", "2")
    assert answer["min_ess"] > 5
    assert answer["switched"] == 0
    assert answer["gradients"] >= 100
    assert min(answer[f"{part}_seconds"] for part in ("import", "compile", "sample")) > 0


@pytest.mark.slow
def test_gradients_in_a_process_of_their_own() -> None:
    names = "kernel,evaluate,densities,bare-numpy,bare-jax,bare-densities,model-jax,textbook-jax"
    costs = one("full-150-2-2,full-300-2-2", names, "--seconds", "0.01")["costs"]
    assert len(costs) == 16
    assert all(cost["median"] > 0 for cost in costs)


@pytest.mark.parametrize("family", [name for name in response_families() if name != "normal"])
def test_bare_densities_of_families_are_the_likelihood(family: str) -> None:
    """Differences between parameters: the bare ones leave out what depends on the rows alone."""
    posterior = make_posterior(Case(family, 60, 2, 2))
    rows, spec = posterior.dataset.rows, posterior.spec
    truth = posterior.dataset.scaling.to_model(posterior.truth)
    other = truth.replace(intercept=truth.intercept + 0.3, mean=truth.mean * 1.1)
    gradient = family_gradient(family, rows)
    bare = [float(gradient(bare_parameters(each))[0]) for each in (truth, other)]
    ours = [
        log_likelihood(mixture.component_log_density(spec.blocks, rows, each)).sum()
        for each in (truth, other)
    ]
    assert bare[1] - bare[0] == pytest.approx(ours[1] - ours[0], rel=1e-9)
