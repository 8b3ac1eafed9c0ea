"""The posteriors of PyMC and of a NumPyro model, sampled and identified alike."""

import json
from collections.abc import Mapping
from dataclasses import replace

import xarray as xr

from jointmix.base.progress import Progress
from jointmix.base.schema import CHAIN, DRAW
from jointmix.fitting.clock import Clock
from jointmix.fitting.stages import Prepared, finish
from jointmix.labels.draws import identify_draws
from jointmix.sampling import sample
from jointmix.sampling.result import normalised
from jointmix.sampling.target import Target
from jointmix.validation.agreement.certificate import PosteriorAgreement, Run
from jointmix.validation.agreement.chart import Model
from jointmix.validation.agreement.implementations import YOURS
from jointmix.validation.agreement.nuts import sample_model
from jointmix.validation.agreement.ordered import Order
from jointmix.validation.agreement.posterior import compare_posteriors, least_ess
from jointmix.validation.agreement.problem import Problem
from jointmix.validation.agreement.structure import inspect
from jointmix.validation.twin import build_twin


def sample_both(
    prepared: Prepared,
    fit: xr.DataTree | None,
    problem: Problem,
    model: Model | None,
    names: Mapping[str, str] | None,
    order: Order | None,
    seed: int,
    report: Progress,
) -> PosteriorAgreement:
    """Both posteriors sampled, identified against the same mode, and compared.

    Parameters
    ----------
    prepared
        Rows, modes, ordering and start.
    fit
        A fit to take the first posterior from; None to sample it.
    problem
        The posterior, with free labels where a model was handed in.
    model, names
        The model that was handed in, and what its sites hold; None for the package's own.
    order
        In which that model has its components; None if in none.
    """
    dataset, spec = prepared.dataset, prepared.spec
    fit = _fit(prepared, seed, report) if fit is None else fit
    name = YOURS
    if model is None:
        model, names = build_twin(dataset, spec, "marginal", problem.direction), None
        name = "NumPyro"
    report("sample", 0, 1, name)
    target = free_target(Target(dataset, prepared.start), problem)
    draws = sample_model(target, inspect(problem, model, names), model, seed, order)
    raw = normalised(draws, spec)["posterior"].to_dataset()
    ours = fit["posterior"].to_dataset()
    theirs = identify_draws(raw, dataset, prepared.census, prepared.ordering).posterior
    seconds = {"compile": 0.0} | json.loads(fit.attrs["seconds"])
    runs = (
        _run(str(fit.attrs["backend"]), ours, seconds["sample"], seconds["compile"]),
        _run(name, theirs, draws.attrs["sample_seconds"], draws.attrs["compile_seconds"]),
    )
    return compare_posteriors(ours, theirs, runs)


def free_target(target: Target, problem: Problem) -> Target:
    """The target with its starts in the problem's coordinates: labels free where they are there."""
    if problem.direction is not None or target.start.direction is None:
        return target
    return replace(target, start=replace(target.start, direction=None))


def _fit(prepared: Prepared, seed: int, report: Progress) -> xr.DataTree:
    clock = Clock(None)
    clock.start("sample")
    raw = sample(prepared.dataset, prepared.start, seed, report, None, None, prepared.planned)
    return finish(prepared, raw, clock, report)


def _run(
    name: str, posterior: xr.Dataset, seconds: str | float, compile_seconds: str | float
) -> Run:
    n = posterior.sizes[CHAIN] * posterior.sizes[DRAW]
    return Run(name, n, float(seconds), float(compile_seconds), least_ess(posterior))
