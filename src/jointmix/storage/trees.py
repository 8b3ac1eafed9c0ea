"""Fitted trees on disk, with checksums, written whole or not at all.

=============  ====================================================================================
``.nc``        netCDF, and behind it a trailer of 48 bytes: ``b"jointmix"``, the number of bytes
               before it (8 bytes, little endian) and their SHA-256. HDF5 ignores what stands
               behind its end: ``xarray.open_datatree`` opens the file too.
``.zarr.zip``  Zarr 3 in one zip file, uncompressed; the same trailer is the zip file's comment:
               ``xarray.open_datatree(zarr.storage.ZipStore(path))`` opens it too.
``.zarr``      Zarr 3 in a folder; the SHA-256 of each file stands in ``jointmix.json`` (see
               `jointmix.storage.folders`).
=============  ====================================================================================

A file is replaced in one step. A folder cannot be: a process killed in the instant between two
renames leaves the former one under a hidden name, where `load` finds it.
"""

import hashlib
import io
import json
import math
import re
from collections.abc import Callable, Iterable
from itertools import chain
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import xarray as xr

from jointmix.base.arguments import file_path
from jointmix.base.errors import StorageError
from jointmix.base.schema import COMPUTED, SCHEMA_VERSION
from jointmix.storage.draft import Draft
from jointmix.storage.files import (
    check_writable,
    fit_suffix,
    read_file,
    refuse_larger,
    write_file,
)
from jointmix.storage.folders import check_folder_writable, read_folder, write_folder
from jointmix.storage.zarr_format import (
    open_members,
    pack,
    tree_members,
    unpack,
)

VERSION_KEY = "schema_version"
MAGIC = b"jointmix"
TRAILER_SIZE = len(MAGIC) + 8 + hashlib.sha256().digest_size

# Attributes whose values a file would change, as JSON texts; this one names them.
_JSON_KEY = "json_attributes"
# One JSON object of attributes whose names mean something to netCDF or to xarray's decoding.
_NAMED_KEY = "json_named_attributes"
_PLAIN_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_]*", re.ASCII)
_TAKEN_NAMES = {
    *("units", "calendar", "dtype", "missing_value", "scale_factor", "add_offset"),
    *("coordinates", "grid_mapping", "bounds", "ancillary_variables", "cell_measures"),
    *("formula_terms", "geometry", "CLASS", "NAME", "DIMENSION_LIST", "REFERENCE_LIST"),
    *(_JSON_KEY, _NAMED_KEY),
}


def check_fit_path(path: str | Path) -> Path:
    """The path, if a fit could be saved there.

    Raises
    ------
    StorageError
        If its name does not end in .nc, .zarr or .zarr.zip, its folder does not exist or cannot be
        written to, or something stands there that a fit does not replace.
    """
    return check_folder_writable(path) if fit_suffix(path) == ".zarr" else check_writable(path)


def save(tree: xr.DataTree, path: str | Path) -> Path:
    """Write a fitted tree; on failure the fit that was there stays whole.

    Numbers come back bit by bit and attributes with their types, whatever the format.

    Parameters
    ----------
    tree
        The tree.
    path
        Ends in .nc (netCDF), .zarr.zip (Zarr in one file) or .zarr (Zarr in a folder; it is
        replaced by two renames, not one: see this module). A symbolic link is replaced, not
        followed.

    Returns
    -------
    pathlib.Path
        The file or folder written.

    Raises
    ------
    StorageError
        If the name ends otherwise, the fit cannot be written there, or the tree holds something
        that the format cannot.

    Examples
    --------
    >>> jm.save(jm.load("penguins.nc"), "copy.zarr.zip").name
    'copy.zarr.zip'
    """
    path = check_fit_path(path)
    if not isinstance(tree, xr.DataTree):
        raise StorageError(f"{path}: a DataTree is required, got {type(tree).__name__}.")
    suffix = fit_suffix(path)
    try:
        plain = _with_attributes(_stored(tree), _encode)
        plain.attrs[VERSION_KEY] = SCHEMA_VERSION
        if suffix == ".nc":
            return _save_netcdf(plain, path)
        members = tree_members(plain)
        if suffix == ".zarr":
            return write_folder(path, members)
        packed = pack(members, bytes(TRAILER_SIZE))[:-TRAILER_SIZE]
    except StorageError:
        raise
    except (TypeError, ValueError, OverflowError, RecursionError, OSError) as error:
        raise StorageError(f"{path}: the tree cannot be stored ({error}).") from error
    return write_file(path, packed + _trailer([packed]))


def _save_netcdf(plain: xr.DataTree, path: Path) -> Path:
    """Of many rows the file is as large as the fit: it is never in memory whole."""
    with Draft(path.parent) as draft:
        try:
            plain.to_netcdf(draft, engine="h5netcdf", encoding=_unmasked(plain))
        finally:
            if draft.error is not None:
                raise StorageError(
                    f"{path}: cannot be written ({draft.error.strerror})."
                ) from draft.error
        return write_file(path, chain(draft.pieces(), [_trailer(draft.pieces())]))


def load(path: str | Path) -> xr.DataTree:
    """Read a tree that `save` wrote, fully into memory.

    Raises
    ------
    StorageError
        If the fit cannot be read, was not written by `save`, is damaged, would not fit into
        memory, or has a schema that this version does not know.
    """
    path = file_path(path)
    suffix = fit_suffix(path)
    members = read_folder(path) if suffix == ".zarr" else {}
    content = b"" if members else _verified(read_file(path), path)
    name = "netCDF" if suffix == ".nc" else "Zarr"
    try:
        if suffix == ".nc":
            _check_netcdf(content, path)
            opened = xr.open_datatree(io.BytesIO(content), engine="h5netcdf")
        else:
            if suffix == ".zarr.zip":
                # The comment is as long as the zip file says.
                members = unpack(content + _trailer([content]))
            opened = open_members(members)
        with opened as stored:
            tree = _in_memory(stored)
    except StorageError:
        raise
    except (OSError, ValueError, KeyError, TypeError, RuntimeError, MemoryError) as error:
        text = " ".join(str(error).split()) or type(error).__name__
        raise StorageError(f"{path}: cannot be read as {name} ({text}).") from error
    _check_version(tree.attrs.get(VERSION_KEY), path)
    return tree


def _check_netcdf(content: bytes, path: Path) -> None:
    """Refuse what stands elsewhere, which `save` never writes, and what is declared but not there.

    Raises
    ------
    ValueError
        If a part is a link, or its values stand in another file.
    StorageError
        If the arrays would not fit into memory.
    """

    def size(group: h5py.Group) -> int:
        total = 0
        for name in group:
            if not isinstance(group.get(name, getlink=True), h5py.HardLink):
                raise ValueError(f"it holds the link {name!r}")
            member = group[name]
            if isinstance(member, h5py.Group):
                total += size(member)
            elif isinstance(member, h5py.Dataset):
                if member.external or member.is_virtual:
                    raise ValueError(f"the values of {name!r} stand in another file")
                total += member.nbytes
        return total

    with h5py.File(io.BytesIO(content), "r") as file:
        refuse_larger(path, size(file))


def _in_memory(stored: xr.DataTree) -> xr.DataTree:
    tree = _with_attributes(stored, _decode)
    # DataTree.load passes over a variable that has the name of a group.
    for node in tree.subtree:
        for variable in node.variables.values():
            variable.load()
        # Zarr's texts, of any length each, as the fixed-width ones that netCDF's become.
        texts = [name for name, each in node.variables.items() if each.dtype.kind == "T"]
        dataset = node.to_dataset(inherit=False)
        for name in texts:
            values = np.array(dataset[name].values.tolist(), dtype=str)
            dataset[name] = dataset[name].variable.copy(data=values.reshape(dataset[name].shape))
        node.dataset = dataset
    return tree


def _trailer(content: Iterable[bytes]) -> bytes:
    """What stands behind content, given in pieces."""
    size, found = 0, hashlib.sha256()
    for piece in content:
        size += len(piece)
        found.update(piece)
    return MAGIC + size.to_bytes(8, "little") + found.digest()


def _verified(raw: bytes, path: Path) -> bytes:
    content, trailer = raw[:-TRAILER_SIZE], raw[-TRAILER_SIZE:]
    if not trailer.startswith(MAGIC):
        raise StorageError(
            f"{path}: has no checksum at its end; it is cut short or was not written by "
            "jointmix.save (a fit that xarray or ArviZ wrote is read with arviz.from_netcdf; "
            "jointmix.save then keeps it)."
        )
    if trailer != _trailer([content]):
        raise StorageError(f"{path}: is damaged, its checksum does not match its content.")
    return content


def _check_version(version: object, path: Path) -> None:
    if version is None:
        raise StorageError(f"{path}: holds no {VERSION_KEY}, so it is not a fit of jointmix.")
    if version == SCHEMA_VERSION:
        return
    newer = isinstance(version, int) and version > SCHEMA_VERSION
    remedy = "upgrade jointmix" if newer else "fit the model again"
    raise StorageError(
        f"{path}: has schema {version!r}, this version of jointmix reads {SCHEMA_VERSION}; "
        f"{remedy}."
    )


def _stored(tree: xr.DataTree) -> xr.DataTree:
    """The tree without groups that are computed where they are read."""
    computed = [name for name, node in tree.children.items() if COMPUTED in node.attrs]
    return tree.drop_nodes(computed)


def _with_attributes(
    tree: xr.DataTree, convert: Callable[[dict[Any, Any]], dict[Any, Any]]
) -> xr.DataTree:
    """A copy of the tree, its arrays shared, with all attributes converted."""
    groups = {}
    for node in tree.subtree:
        dataset = node.to_dataset(inherit=False).copy(deep=False)
        dataset.attrs = convert(dataset.attrs)
        for variable in dataset.variables.values():
            variable.attrs = convert(variable.attrs)
            # What another file was written with says nothing about this one.
            variable.encoding = {}
        groups[node.path] = dataset
    return xr.DataTree.from_dict(groups, name=tree.name)


def _unmasked(tree: xr.DataTree) -> dict[str, dict[Any, dict[str, Any]]]:
    """No number stands for a missing one: read back, NaN would lose its sign and its payload."""
    found: dict[str, dict[Any, dict[str, Any]]] = {}
    for node in tree.subtree:
        variables = node.to_dataset(inherit=False).variables
        found[node.path] = {
            name: {"_FillValue": None} for name, each in variables.items() if each.dtype.kind == "f"
        }
    return found


def _encode(attributes: dict[Any, Any]) -> dict[Any, Any]:
    named = {name: value for name, value in attributes.items() if not _is_plain(name)}
    encoded = {name: value for name, value in attributes.items() if name not in named}
    odd = {name: value for name, value in encoded.items() if not _survives(value)}
    encoded |= {name: json.dumps(value, default=_nested) for name, value in odd.items()}
    if odd:
        encoded[_JSON_KEY] = json.dumps(list(odd))
    if named:
        encoded[_NAMED_KEY] = json.dumps(named, default=_nested)
    return encoded


def _decode(attributes: dict[Any, Any]) -> dict[Any, Any]:
    decoded = {
        name: value.item() if isinstance(value, np.number) else value
        for name, value in attributes.items()
    }
    named = json.loads(decoded.pop(_NAMED_KEY, "{}"))
    for name in json.loads(decoded.pop(_JSON_KEY, "[]")):
        decoded[name] = json.loads(decoded[name])
    return decoded | named


def _is_plain(name: object) -> bool:
    if not isinstance(name, str):
        raise TypeError(f"an attribute has the name {name!r}, which is no text")
    return _PLAIN_NAME.fullmatch(name) is not None and name not in _TAKEN_NAMES


def _survives(value: object) -> bool:
    if isinstance(value, str):
        return re.search("[\0\ud800-\udfff]", value) is None
    if isinstance(value, bool):
        return False
    if isinstance(value, int | np.integer):
        return bool(-(2**63) <= value < 2**63)
    return isinstance(value, float | np.floating) and math.isfinite(value)


def _nested(value: object) -> Any:
    return np.asarray(value).tolist()
