"""The groups of a fitted tree, from the parts that the fit made."""

import json
import os
import platform
from dataclasses import asdict
from datetime import UTC, datetime
from importlib.metadata import version

import numpy as np
import xarray as xr

from jointmix.data import Dataset, Note, notes
from jointmix.degenerate import improper_notes
from jointmix.em import Census
from jointmix.invariants import choose_points, invariants
from jointmix.labels.draws import Identified
from jointmix.labels.trees import allocation_group
from jointmix.ordering import Ordering
from jointmix.recipe import spec_to_dict
from jointmix.rows import Rows, draw_parameters
from jointmix.scaling import Scaling
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
from jointmix.scouts import Levels
from jointmix.spec import ModelSpec

_PACKAGES = ("jointmix", "pymc", "pytensor", "nutpie", "arviz", "numpy", "scipy", "xarray")


def tree_groups(
    dataset: Dataset,
    spec: ModelSpec,
    scaling: Scaling,
    census: Census,
    identified: Identified,
    raw: xr.DataTree,
    rows: Rows,
) -> dict[str, xr.Dataset]:
    """All groups but ``modes``, ``scouts`` and ``checks``, by name; see `jointmix.schema`.

    Parameters
    ----------
    raw
        What the sampler gave.
    rows
        On the users' scale.
    """
    posterior, gathered = identified.posterior, identified.gathered
    chains = {name: posterior[name].values for name in (CHAIN, DRAW)}
    clusters = {CLUSTER: posterior[CLUSTER].values}
    shape = (posterior.sizes[CHAIN], posterior.sizes[DRAW])
    points = choose_points(rows, census.best.parameters, spec)
    by_label = {
        name: ((CHAIN, DRAW, CLUSTER), value.reshape(*shape, -1))
        for name, value in (("permutation", gathered.permutation), ("occupied", gathered.occupied))
    }
    return {
        "posterior": posterior,
        "sample_stats": raw["sample_stats"].to_dataset(),
        "invariant": invariants(
            draw_parameters(posterior, CLUSTER),
            gathered.log_likelihood.reshape(shape),
            points,
            spec,
        ).assign_coords(chains),
        "labels": xr.Dataset(by_label, coords={**chains, **clusters}),
        "allocation": allocation_group(gathered, clusters[CLUSTER]),
        "scaling": xr.Dataset(
            {"center": (COLUMN, scaling.center), "scale": (COLUMN, scaling.scale)},
            coords={COLUMN: list(spec.columns)},
        ),
        **_data_groups(dataset, spec),
    }


def _data_groups(dataset: Dataset, spec: ModelSpec) -> dict[str, xr.Dataset]:
    rows = {OBS: np.arange(len(dataset.values))}
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


def mode_group(spec: ModelSpec, census: Census, main: Levels, groups: xr.Dataset) -> xr.Dataset:
    """The group ``modes``: EM's optima, and which of them each chain sits in.

    Parameters
    ----------
    main
        The chains of the fit.
    groups
        Which chains sit together, from `scouts.weigh_modes`.
    """
    found = census.modes
    numbers = ("log_likelihood", "n_starts", "bic", "icl", "smallest_share", "collapsed")
    data = xr.Dataset(
        {name: ("mode", np.array([getattr(mode, name) for mode in found])) for name in numbers},
        coords={"mode": np.arange(1, len(found) + 1)},
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
    data = data.merge(groups)
    data["chain_mode"] = (CHAIN, main.mode + 1)
    data["chain_log_likelihood"] = (CHAIN, main.log_likelihood.mean(axis=1))
    coords = {name: value for name, value in main.posterior.coords.items() if name in data.dims}
    return data.assign_coords({name: value.values for name, value in coords.items()})


def _notes(dataset: Dataset, spec: ModelSpec) -> tuple[Note, ...]:
    return (*notes(dataset, spec), *improper_notes(dataset, spec))


def attributes(
    dataset: Dataset,
    spec: ModelSpec,
    seed: int,
    ordering: Ordering,
    identified: Identified,
    raw: xr.DataTree,
) -> dict[str, str | int | float]:
    """The tree's attributes but for the verdict and the seconds."""
    gap = ordering.separation
    order = {
        "kind": ordering.kind,
        "separation": None if np.isnan(gap) else gap,
        "evidence": None if np.isnan(ordering.evidence) else ordering.evidence,
        "text": ordering.text,
    }
    identification = {
        "method": identified.method,
        "text": identified.text,
        **asdict(identified.confidence),
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
        "notes": json.dumps([asdict(note) for note in _notes(dataset, spec)]),
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
