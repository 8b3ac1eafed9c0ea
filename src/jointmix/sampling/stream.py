"""Draws written to disk as they come, and read back when the run that wrote them is gone."""

import json
from dataclasses import replace
from pathlib import Path

import xarray as xr

from jointmix.base.errors import SamplingError, SpecError, StorageError
from jointmix.model.dataset import Dataset
from jointmix.model.serialised import spec_to_dict
from jointmix.modes.initial import Start
from jointmix.sampling.result import normalised
from jointmix.sampling.target import Target
from jointmix.storage.files import write_file

_LABEL = "jointmix.json"
_DRAWS = "draws"


def open_stream(folder: Path, dataset: Dataset, seed: int) -> Path:
    """Prepare a folder for the draws of a run; returns where its Zarr stores go.

    Raises
    ------
    SpecError
        If the sampler does not write streams.
    StorageError
        If the folder holds anything, or cannot be written.
    """
    sampler = dataset.spec.sampler.sampler
    if sampler not in ("nutpie", "auto"):
        raise SpecError(f"Only the sampler 'nutpie' streams its draws; got {sampler!r}.")
    try:
        folder.mkdir(parents=True, exist_ok=True)
        used = any(folder.iterdir())
    except OSError as error:
        raise StorageError(
            f"The stream's folder {folder} cannot be used: {error.strerror}."
        ) from error
    if used:
        raise StorageError(f"The stream's folder {folder} is not empty; name a new one.")
    write_file(folder / _LABEL, json.dumps(_label(dataset, seed), indent=1).encode())
    return folder / _DRAWS


def read_stream(folder: Path, dataset: Dataset, start: Start, seed: int) -> xr.DataTree:
    """The draws that a run has written, as `sampling.sample` returns them, marked partial.

    Raises
    ------
    StorageError
        If the folder holds no stream, or one of other rows, another model or another seed.
    SamplingError
        If fewer than four draws of a chain were written.
    """
    from jointmix.sampling.independence import STREAMED
    from jointmix.sampling.nutpie_runs.traces import kept_draws

    try:
        found = dict(json.loads((folder / _LABEL).read_text(encoding="utf-8")))
        traces = _opened(folder / _DRAWS, dataset.spec.sampler.chains)
    except (OSError, ValueError, TypeError) as error:
        raise StorageError(f"The folder {folder} holds no stream of draws.") from error
    for name, value in _label(dataset, seed).items():
        if found.get(name) != value:
            raise StorageError(
                f"The stream in {folder} was written by a run with another {name}; give `recover` "
                "what `fit` was given."
            )
    try:
        result = normalised(kept_draws(traces, Target(dataset, start)), dataset.spec)
    except SamplingError:
        raise
    except (OSError, ValueError, KeyError, RuntimeError, StopIteration) as error:
        raise StorageError(f"The stream in {folder} is damaged: {error}.") from error
    result.attrs |= {
        "backend": "nutpie, from a stream",
        "backend_reason": "Recovered from the draws that an earlier run had written.",
        **({"sampler_reason": STREAMED} if dataset.spec.sampler.sampler == "auto" else {}),
    }
    return result


def _opened(folder: Path, n_chains: int) -> dict[int, xr.DataTree]:
    """The stores of the chains that had begun, by their numbers.

    Raises
    ------
    OSError, ValueError
        If there is none, or one cannot be read.
    """
    from jointmix.sampling.nutpie_runs import store_of

    places = {chain: store_of(folder, chain) for chain in range(n_chains)}
    begun = {chain: place for chain, place in places.items() if place.exists()}
    if not begun:
        raise FileNotFoundError(folder)
    return {
        chain: xr.open_datatree(place, engine="zarr", consolidated=False)
        for chain, place in begun.items()
    }


def _label(dataset: Dataset, seed: int) -> dict[str, object]:
    """What a stream must agree in with the run that reads it."""
    # Whether nutpie was named or chosen, the draws are the same.
    spec = replace(dataset.spec, sampler=replace(dataset.spec.sampler, sampler="nutpie"))
    return {"table": dataset.digest, "spec": json.dumps(spec_to_dict(spec)), "seed": seed}
