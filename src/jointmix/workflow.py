"""The whole fit on one screen: table → dataset → EM → chains → identified draws → checks."""

import json
import os
import platform
import time
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

import numpy as np
import xarray as xr

from jointmix.checks import findings_to_dataset, run_checks, verdict
from jointmix.data import Dataset, make_dataset, notes
from jointmix.em import Census, fit_em
from jointmix.identify import (
    Identified,
    Rows,
    chain_modes,
    identify_draws,
    make_rows,
    mode_share,
)
from jointmix.initial import Start, make_start
from jointmix.ordering import Ordering, choose_ordering
from jointmix.recipe import spec_to_dict
from jointmix.sampling import Control, Progress, plan, sample
from jointmix.sampling.stream import open_stream, read_stream
from jointmix.scaling import Scaling, model_scaling
from jointmix.schema import (
    CHAIN,
    CLUSTER,
    COLUMN,
    DRAW,
    FEATURE,
    OBS,
    PARAMETERS,
    PREDICTOR,
    SCHEMA_VERSION,
)
from jointmix.spec import ModelSpec

_PACKAGES = ("jointmix", "pymc", "pytensor", "nutpie", "arviz", "numpy", "scipy", "xarray")


def fit(
    table: object,
    spec: ModelSpec,
    seed: int = 1,
    progress: Progress | None = None,
    control: Control | None = None,
    stream: str | Path | None = None,
) -> xr.DataTree:
    """Fit a joint mixture to a table.

    Parameters
    ----------
    table
        pandas, polars or arrow table, or a mapping from column names to values.
    spec
        The model and the sampler.
    seed
        Of all randomness; the same seed on the same machine gives the same result.
    progress
        Called as ``progress(stage, done, total, note)``; may be called from other threads.
    control
        Pauses, resumes or stops sampling from elsewhere; a stopped fit keeps its finished draws.
    stream
        A folder, new or empty, to which draws are written as they come; `recover` makes a fit of
        what a run that died has left there.

    Returns
    -------
    xarray.DataTree
        Groups as described in `jointmix.schema`; ``posterior`` holds the identified parameters
        on the users' scale, ``attrs["verdict"]`` what the checks make of it.

    Raises
    ------
    DataError
        If the table cannot be fitted; the message names column, row or count.
    MissingExtraError
        If a package asked for is not installed.
    MemoryLimitError
        If the fit would not fit into memory.
    StorageError
        If the stream's folder cannot be used.
    SamplingError
        If no chain could start.
    """
    clock = _Clock(progress)
    prepared = _prepare(table, spec, seed, clock)
    clock.start("sample")
    dataset, start = prepared.dataset, prepared.start
    folder = None if stream is None else open_stream(Path(stream), dataset, spec, seed)
    raw = sample(dataset, spec, start, seed, progress, control, folder)
    return _finish(prepared, raw, clock)


def recover(table: object, spec: ModelSpec, seed: int, stream: str | Path) -> xr.DataTree:
    """The fit of the draws that a run has left in its stream, marked partial.

    Parameters
    ----------
    table, spec, seed
        As they were given to `fit`.
    stream
        The folder that was given to `fit`.

    Returns
    -------
    xarray.DataTree
        As `fit` returns it.

    Raises
    ------
    StorageError
        If the folder holds no stream, or that of other rows, another model or another seed.
    SamplingError
        If fewer than four draws of a chain were written.
    """
    clock = _Clock(None)
    prepared = _prepare(table, spec, seed, clock)
    clock.start("sample")
    raw = read_stream(Path(stream), prepared.dataset, spec, prepared.start, seed)
    return _finish(prepared, raw, clock)


@dataclass(frozen=True, eq=False)
class _Prepared:
    """All that sampling needs, and what EM found."""

    dataset: Dataset
    spec: ModelSpec
    seed: int
    scaling: Scaling
    rows: Rows
    census: Census
    ordering: Ordering
    start: Start


def _prepare(table: object, spec: ModelSpec, seed: int, clock: "_Clock") -> _Prepared:
    clock.start("data")
    dataset = make_dataset(table, spec)
    # What cannot be sampled is refused before EM has taken its time.
    plan(spec, len(dataset.values))
    scaling, rows = model_scaling(dataset, spec), make_rows(dataset, spec)
    clock.start("em")
    census = fit_em(dataset, spec, seed)
    share = mode_share(rows, scaling.to_model(census.best.parameters))
    ordering = choose_ordering(census.best, spec, scaling, share, rows.u, seed)
    start = make_start(census.best, spec, scaling, ordering, share, rows.u)
    return _Prepared(dataset, spec, seed, scaling, rows, census, ordering, start)


def _finish(prepared: _Prepared, raw: xr.DataTree, clock: "_Clock") -> xr.DataTree:
    """Identified draws, diagnosed: the fitted tree."""
    clock.start("labels")
    dataset, spec, census = prepared.dataset, prepared.spec, prepared.census
    posterior = raw["posterior"].to_dataset()
    identified = identify_draws(posterior, dataset, spec, census, prepared.ordering)
    modes = chain_modes(identified, prepared.rows, census, prepared.scaling)
    clock.start("checks")
    tree = _tree(dataset, spec, prepared.scaling, census, identified, modes, raw)
    tree.attrs |= _attributes(dataset, spec, prepared.seed, prepared.ordering, identified, raw)
    findings = run_checks(tree)
    tree["checks"] = xr.DataTree(findings_to_dataset(findings))
    tree.attrs["verdict"] = verdict(findings)
    tree.attrs["seconds"] = json.dumps(clock.seconds(raw))
    return tree


class _Clock:
    """Seconds of each stage, passed on as progress."""

    def __init__(self, progress: Progress | None) -> None:
        self._progress = progress
        self._began: dict[str, float] = {}

    def start(self, stage: str) -> None:
        self._began[stage] = time.perf_counter()
        if self._progress is not None and stage != "sample":
            self._progress(stage, 0, 1, "")

    def seconds(self, raw: xr.DataTree) -> dict[str, float]:
        """Seconds by stage; compiling is told apart from sampling where the sampler says so."""
        times = [*self._began.values(), time.perf_counter()]
        spent = dict(zip(self._began, np.diff(times).tolist(), strict=True))
        if "compile_seconds" in raw.attrs:
            spent["compile"] = raw.attrs["compile_seconds"]
            spent["sample"] -= spent["compile"]
        return {stage: round(value, 3) for stage, value in spent.items()}


def _tree(
    dataset: Dataset,
    spec: ModelSpec,
    scaling: Scaling,
    census: Census,
    identified: Identified,
    modes: np.ndarray,
    raw: xr.DataTree,
) -> xr.DataTree:
    posterior = identified.posterior
    chains = {name: posterior[name].values for name in (CHAIN, DRAW)}
    clusters = {CLUSTER: posterior[CLUSTER].values}
    rows = {OBS: np.arange(len(dataset.values))}
    share, features = identified.share, identified.share_features
    allocation = clusters[CLUSTER][share.argmax(-1)]
    groups = {
        "posterior": posterior,
        "sample_stats": raw["sample_stats"].to_dataset(),
        "invariant": xr.Dataset(
            {"log_likelihood": ((CHAIN, DRAW), identified.log_likelihood)}, coords=chains
        ),
        "labels": xr.Dataset(
            {"permutation": ((CHAIN, DRAW, CLUSTER), identified.permutation)},
            coords={**chains, **clusters},
        ),
        "modes": _modes(spec, census, identified, modes, chains[CHAIN]),
        "allocation": xr.Dataset(
            {
                "responsibility": ((OBS, CLUSTER), share),
                "responsibility_features": ((OBS, CLUSTER), features),
                "allocation": (OBS, allocation),
            },
            coords={**rows, **clusters},
        ),
        "scaling": xr.Dataset(
            {"center": (COLUMN, scaling.center), "scale": (COLUMN, scaling.scale)},
            coords={COLUMN: list(spec.columns)},
        ),
        **_data_groups(dataset, spec, rows),
    }
    return xr.DataTree.from_dict(groups)


def _data_groups(
    dataset: Dataset, spec: ModelSpec, rows: dict[str, np.ndarray]
) -> dict[str, xr.Dataset]:
    observed = xr.Dataset(coords=rows)
    if spec.features:
        observed["x"] = ((OBS, FEATURE), dataset.select(spec.features))
        observed = observed.assign_coords({FEATURE: list(spec.features)})
    if spec.response is not None:
        observed["y"] = (OBS, dataset.select([spec.response])[:, 0])
    constant = xr.Dataset({"row": (OBS, dataset.row)}, coords=rows)
    if spec.predictors:
        constant["u"] = ((OBS, PREDICTOR), dataset.select(spec.predictors))
        constant = constant.assign_coords({PREDICTOR: list(spec.predictors)})
    return {"observed_data": observed, "constant_data": constant}


def _modes(
    spec: ModelSpec, census: Census, identified: Identified, modes: np.ndarray, chains: np.ndarray
) -> xr.Dataset:
    """EM's optima, and which of them each chain sits in."""
    found = census.modes
    numbers = ("log_likelihood", "n_starts", "bic", "icl", "smallest_share", "collapsed")
    data = xr.Dataset(
        {name: ("mode", np.array([getattr(mode, name) for mode in found])) for name in numbers},
        coords={"mode": np.arange(1, len(found) + 1), CHAIN: chains},
    )
    parameters = [mode.parameters.each() for mode in found]
    for name, rest in PARAMETERS.items():
        if name in parameters[0]:
            values = np.stack([each[name] for each in parameters])
            data[name] = (("mode", CLUSTER, *rest), values)
    if spec.features:
        factor = np.stack([each["cholesky"] for each in parameters])
        sd = np.sqrt((factor**2).sum(-1))
        unit = factor / sd[..., None]
        data["sd"] = (("mode", CLUSTER, FEATURE), sd)
        correlation = unit @ np.swapaxes(unit, -1, -2)
        data["correlation"] = (("mode", CLUSTER, *PARAMETERS["correlation"]), correlation)
    data["chain_mode"] = (CHAIN, modes + 1)
    data["chain_log_likelihood"] = (CHAIN, identified.log_likelihood.mean(-1))
    coords = {
        name: value for name, value in identified.posterior.coords.items() if name in data.dims
    }
    return data.assign_coords({name: value.values for name, value in coords.items()})


def _attributes(
    dataset: Dataset,
    spec: ModelSpec,
    seed: int,
    ordering: Ordering,
    identified: Identified,
    raw: xr.DataTree,
) -> dict[str, str | int | float]:
    gap = ordering.separation
    order = {
        "kind": ordering.kind,
        "separation": None if np.isnan(gap) else gap,
        "text": ordering.text,
    }
    identification = {
        "method": identified.method,
        "switch_rate": identified.switch_rate,
        "text": identified.text,
    }
    return {
        "schema_version": SCHEMA_VERSION,
        "spec": json.dumps(spec_to_dict(spec)),
        "seed": seed,
        "versions": json.dumps({name: version(name) for name in _PACKAGES}),
        "data_hash": dataset.digest,
        "n_rows": dataset.n_rows,
        "n_obs": len(dataset.values),
        "excluded": json.dumps(dataset.missing),
        "notes": json.dumps([asdict(note) for note in notes(dataset, spec)]),
        "ordering": json.dumps(order),
        "identification": json.dumps(identification),
        "backend": raw.attrs["backend"],
        "backend_reason": raw.attrs["backend_reason"],
        "partial": raw.attrs["partial"],
        "adaptation": raw.attrs.get("adaptation", ""),
        "memory_estimate": raw.attrs.get("memory_estimate", float("nan")),
        "approximation": raw.attrs.get("approximation", ""),
        "pareto_shape": raw.attrs.get("pareto_shape", float("nan")),
        "machine": (
            f"{platform.system()} {platform.machine()}, {os.cpu_count()} cores, "
            f"Python {platform.python_version()}"
        ),
        "created": datetime.now(UTC).date().isoformat(),
    }
