"""The groups of a fitted tree, from the parts that the fit made."""

import json
import os
import platform
from collections.abc import Iterable
from dataclasses import asdict
from datetime import UTC, datetime
from functools import cache
from importlib.metadata import version

import numpy as np
import pandas as pd
import xarray as xr
from scipy.special import softmax

from jointmix.base.schema import (
    CHAIN,
    CLUSTER,
    COLUMN,
    DISCRETE,
    DRAW,
    FEATURE,
    OBS,
    PREDICTOR,
    SCHEMA_VERSION,
    WEIGHT,
)
from jointmix.fitting.scouts import Levels
from jointmix.labels.draws import Identified
from jointmix.labels.gathering import Gathered
from jointmix.model.dataset import Dataset
from jointmix.model.packing import unpacked
from jointmix.model.serialised import spec_to_dict
from jointmix.model.spec import ModelSpec
from jointmix.modes.census import Census, Mode
from jointmix.modes.ordering import Ordering
from jointmix.posterior.draws import draw_parameters
from jointmix.posterior.invariants import choose_points, invariants
from jointmix.tables.issues import Issue

_PACKAGES = ("jointmix", "pymc", "pytensor", "nutpie", "arviz", "numpy", "scipy", "xarray")

#: Fields of a warning about the table that a fitted tree keeps, besides its column.
_NOTE = ("code", "message", "remedy", "row", "value")


@cache
def _versions() -> str:
    return json.dumps({name: version(name) for name in _PACKAGES})


def tree_groups(
    dataset: Dataset, census: Census, identified: Identified, raw: xr.DataTree
) -> dict[str, xr.Dataset]:
    """All groups but ``modes``, ``scouts`` and ``checks``, by name; see `jointmix.base.schema`.

    Parameters
    ----------
    raw
        What the sampler gave.
    """
    spec, scaling = dataset.spec, dataset.scaling
    statistics = raw["sample_stats"].to_dataset()
    posterior, gathered = identified.posterior, identified.gathered
    chains = {name: posterior[name].values for name in (CHAIN, DRAW)}
    clusters = {CLUSTER: posterior[CLUSTER].values}
    shape = (posterior.sizes[CHAIN], posterior.sizes[DRAW])
    # One index for all groups: of many rows it is as large as a column.
    label = dataset.label if dataset.label.dtype.kind not in "iuf" else pd.Index(dataset.label)
    points = choose_points(dataset.users_rows, census.start.parameters, spec)
    by_label = {
        name: ((CHAIN, DRAW, CLUSTER), value.reshape(*shape, -1))
        for name, value in (("permutation", gathered.permutation), ("occupied", gathered.occupied))
    }
    return {
        "posterior": posterior,
        "sample_stats": statistics.drop_vars("log_likelihood", errors="ignore"),
        "invariant": invariants(
            draw_parameters(posterior, CLUSTER, spec),
            _likelihood(dataset, gathered, statistics).reshape(shape),
            points,
            spec,
        ).assign_coords(chains),
        "labels": xr.Dataset(by_label, coords={**chains, **clusters}),
        "allocation": allocation_group(gathered, clusters[CLUSTER], label),
        "scaling": xr.Dataset(
            {"center": (COLUMN, scaling.center), "scale": (COLUMN, scaling.scale)},
            coords={COLUMN: list(spec.columns)},
        ),
        **_data_groups(dataset, label),
    }


def _likelihood(dataset: Dataset, gathered: Gathered, statistics: xr.Dataset) -> np.ndarray:
    """Of all rows that were fitted, on the users' scale, chain by chain."""
    if dataset.elsewhere is None:
        return gathered.log_likelihood
    known = statistics["log_likelihood"].transpose(CHAIN, DRAW).values
    return np.asarray(known + dataset.elsewhere.log_jacobian)


def _data_groups(dataset: Dataset, label: np.ndarray | pd.Index) -> dict[str, xr.Dataset]:
    spec = dataset.spec
    rows = {OBS: label}
    observed = xr.Dataset(coords=rows)
    if spec.features:
        observed["x"] = ((OBS, FEATURE), dataset.select(spec.features))
        observed = observed.assign_coords({FEATURE: list(spec.features)})
    if spec.discrete:
        names = [own.column for own in spec.discrete]
        observed["discrete"] = ((OBS, DISCRETE), dataset.select(names))
        observed = observed.assign_coords({DISCRETE: names})
    if spec.response is not None:
        observed["y"] = (OBS, dataset.select([spec.response])[:, 0])
    kind = "numbers" if dataset.labels is None else "index"
    constant = xr.Dataset({"row": (OBS, dataset.row)}, coords=rows, attrs={"labels": kind})
    if spec.predictors:
        same = spec.predictors == spec.features
        u = observed["x"].values if same else dataset.select(spec.predictors)
        constant["u"] = ((OBS, PREDICTOR), u)
        constant = constant.assign_coords({PREDICTOR: list(spec.predictors)})
    if dataset.source is not None:
        source = dataset.source
        constant["source"] = ((OBS, "source_column"), np.stack([*source.values.values()], axis=1))
        constant["source"].attrs["levels"] = json.dumps(source.levels)
        constant = constant.assign_coords({"source_column": list(source.values)})
    for role, name in (("offset", spec.offset), ("trials", spec.trials)):
        if name is not None:
            constant[role] = (OBS, dataset.select([name])[:, 0])
    if dataset.weight is not None:
        constant[WEIGHT] = (OBS, dataset.weight)
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
    variables = [unpacked(mode.parameters, spec) for mode in found]
    for name, parameter in spec.parameters.items():
        values = np.stack([each[name] for each in variables])
        data[name] = (("mode", CLUSTER, *parameter.dims), values)
    data["mass"] = ("mode", masses(found))
    data["visits"] = ("mode", main.visits.mean(axis=0))
    data.attrs["start_mode"] = census.home + 1
    data = data.merge(groups)
    data["chain_mode"] = (CHAIN, main.mode + 1)
    data["chain_log_likelihood"] = (CHAIN, main.log_likelihood.mean(axis=1))
    coords = {name: value for name, value in main.posterior.coords.items() if name in data.dims}
    return data.assign_coords({name: value.values for name, value in coords.items()})


def masses(modes: Iterable[Mode]) -> np.ndarray:
    """Share of the posterior's mass around each mode, of those whose mass was computed; else 0."""
    log_mass = np.nan_to_num([mode.log_mass for mode in modes], nan=-np.inf)
    if not np.isfinite(log_mass).any():
        return np.full(len(log_mass), np.nan)
    return np.asarray(softmax(log_mass))


def attributes(
    dataset: Dataset,
    census: Census,
    seed: int,
    issues: Iterable[Issue],
    ordering: Ordering,
    identified: Identified,
    raw: xr.DataTree,
) -> dict[str, str | int | float]:
    """The tree's attributes but for the verdict and the seconds.

    Parameters
    ----------
    issues
        Warnings about the table, which the checks carry on.
    """
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
        "spec": json.dumps(spec_to_dict(dataset.spec)),
        "seed": seed,
        "versions": _versions(),
        "data_hash": dataset.digest,
        "n_rows": dataset.n_rows,
        "n_obs": len(dataset.values),
        **_of_sample(dataset, census),
        "excluded": json.dumps(dataset.missing),
        **({"n_zero_weight": dataset.n_zeros} if dataset.weight is not None else {}),
        "notes": json.dumps([_note(issue) for issue in issues], allow_nan=False),
        "ordering": json.dumps(order),
        "identification": json.dumps(identification),
        "backend": raw.attrs["backend"],
        "backend_reason": raw.attrs["backend_reason"],
        "partial": raw.attrs["partial"],
        "adaptation": raw.attrs.get("adaptation", ""),
        "adaptation_reason": raw.attrs.get("adaptation_reason", ""),
        "memory_estimate": raw.attrs.get("memory_estimate", float("nan")),
        "approximation": raw.attrs.get("approximation", ""),
        "sampler_reason": raw.attrs.get("sampler_reason", ""),
        "proposal": raw.attrs.get("proposal", ""),
        "pareto_shape": raw.attrs.get("pareto_shape", float("nan")),
        "machine": (
            f"{platform.system()} {platform.machine()}, {os.cpu_count()} cores, "
            f"Python {platform.python_version()}"
        ),
        "created": datetime.now(UTC).date().isoformat(),
    }


def _of_sample(dataset: Dataset, census: Census) -> dict[str, str | int]:
    """Of a fit that holds a sample of its rows, what is known of all of them."""
    own = dataset.elsewhere
    if own is None:
        return {}
    sums = own.log_densities(census.start.parameters)
    return {"n_fitted": own.n_rows, "n_parts": own.n_parts, "plugged_in": json.dumps(sums)}


def _note(issue: Issue) -> dict[str, str | int | float | None]:
    fields = issue.as_dict()
    return {"subject": fields["column"], **{name: fields[name] for name in _NOTE}}


def allocation_group(
    found: Gathered, clusters: np.ndarray, label: np.ndarray | pd.Index
) -> xr.Dataset:
    """The group ``allocation`` from what a pass over the draws gathered.

    Parameters
    ----------
    clusters
        Labels of the clusters, (cluster,).
    label
        Of the rows, (obs,).
    """
    share = found.share
    some = {"draws": found.share_draws, "error": found.share_error} if found.share_error else {}
    return xr.Dataset(
        {
            "responsibility": ((OBS, CLUSTER), share),
            "responsibility_features": ((OBS, CLUSTER), found.share_features),
            "allocation": (OBS, clusters[share.argmax(-1)]),
        },
        coords={OBS: label, CLUSTER: clusters},
        attrs=some,
    )
