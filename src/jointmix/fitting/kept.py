"""A folder that keeps the fits of comparisons, so that what has ended is not done again."""

import hashlib
import json
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

import xarray as xr

from jointmix.base.errors import StorageError
from jointmix.fitting.stages import Searched
from jointmix.model.dataset import Dataset
from jointmix.model.serialised import spec_to_dict
from jointmix.storage.files import made_folder
from jointmix.storage.trees import load, save


@dataclass(frozen=True)
class Kept:
    """A folder that keeps fits, each under the name of what it is a fit of.

    A name holds a digest of the model, the sampler, the rows, the seed and this package's version,
    so that the fits of several comparisons may share a folder.
    """

    folder: Path
    #: Whether every fit has to be there already.
    whole: bool = False

    def place(self, found: Searched) -> Path:
        """Where a fit is kept."""
        spec, dataset = found.spec, found.dataset
        parts = [
            json.dumps(spec_to_dict(spec), sort_keys=True),
            _rows_digest(dataset),
            str(found.seed),
            version("jointmix"),
        ]
        digest = hashlib.sha256("\n".join(parts).encode()).hexdigest()
        return self.folder / f"k{spec.n_clusters}-{digest[:16]}.nc"

    def read(self, found: Searched) -> xr.DataTree | None:
        """The fit, if it is kept.

        Raises
        ------
        StorageError
            If its file is damaged, or it is not there and has to be.
        """
        place = self.place(found)
        if place.exists():
            return load(place)
        if self.whole:
            raise StorageError(
                f"{self.folder}: the fit of {found.spec.n_clusters} clusters is not there "
                f"({place.name}); run the part that makes it."
            )
        return None

    def keep(self, found: Searched, tree: xr.DataTree) -> None:
        """Write a fit.

        Raises
        ------
        StorageError
            If it cannot be written; what is kept already stays.
        """
        save(tree, self.place(found))


def _rows_digest(dataset: Dataset) -> str:
    """Of all that a fit keeps of its rows: values, weights and labels."""
    weight = b"" if dataset.weight is None else dataset.weight.tobytes()
    labels = json.dumps([str(label) for label in dataset.label]).encode()
    return dataset.digest + hashlib.sha256(weight + labels).hexdigest()


def kept_in(folder: str | Path | None, whole: bool = False) -> Kept | None:
    """The folder of a comparison's fits, made if it is not there.

    Parameters
    ----------
    whole
        Whether every fit has to be there already.

    Raises
    ------
    StorageError
        If nothing can be written there.
    """
    return None if folder is None else Kept(made_folder(folder), whole)
