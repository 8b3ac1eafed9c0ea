"""Fitted trees on disk: netCDF with a checksum behind it, written whole or not at all.

A file is the netCDF bytes followed by a trailer of 48 bytes: ``b"jointmix"``, the number of
netCDF bytes (8 bytes, little endian) and their SHA-256. HDF5 ignores bytes behind its end, so
that ``xarray.open_datatree`` opens the file too.
"""

import hashlib
import io
import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr

from jointmix.arguments import file_path
from jointmix.errors import StorageError
from jointmix.files import check_writable, write_file
from jointmix.schema import SCHEMA_VERSION

SUFFIX = ".nc"
VERSION_KEY = "schema_version"
MAGIC = b"jointmix"
TRAILER_SIZE = len(MAGIC) + 8 + hashlib.sha256().digest_size

# Attributes that netCDF would lose the type of, as JSON texts; this one names them.
_JSON_KEY = "json_attributes"


def save(tree: xr.DataTree, path: str | Path) -> Path:
    """Write a fitted tree to a .nc file; on failure the file that was there stays whole.

    Returns
    -------
    pathlib.Path
        The file written.

    Raises
    ------
    StorageError
        If the name does not end in .nc, the file cannot be written there, or the tree holds
        something that netCDF cannot.
    """
    path = _nc_path(path)
    check_writable(path)
    if not isinstance(tree, xr.DataTree):
        raise StorageError(f"{path}: a DataTree is required, got {type(tree).__name__}.")
    try:
        plain = _with_attributes(tree, _encode)
        plain.attrs[VERSION_KEY] = SCHEMA_VERSION
        content = bytes(plain.to_netcdf(engine="h5netcdf"))
    except (TypeError, ValueError, OverflowError) as error:
        raise StorageError(f"{path}: the tree cannot be stored ({error}).") from error
    return write_file(path, content + _trailer(content))


def load(path: str | Path) -> xr.DataTree:
    """Read a tree that `save` wrote, fully into memory.

    Raises
    ------
    StorageError
        If the file cannot be read, was not written by `save`, is damaged, or has a schema that
        this version does not know.
    """
    path = _nc_path(path)
    try:
        raw = path.read_bytes()
    except OSError as error:
        raise StorageError(f"{path}: cannot be read ({error.strerror}).") from error
    content = _verified(raw, path)
    try:
        with xr.open_datatree(io.BytesIO(content), engine="h5netcdf") as stored:
            tree = _with_attributes(stored, _decode)
            # DataTree.load passes over a variable that has the name of a group.
            for node in tree.subtree:
                for variable in node.variables.values():
                    variable.load()
    except (OSError, ValueError, KeyError, TypeError, RuntimeError) as error:
        raise StorageError(f"{path}: cannot be read as netCDF ({error}).") from error
    _check_version(tree.attrs.get(VERSION_KEY), path)
    return tree


def _nc_path(path: str | Path) -> Path:
    path = file_path(path)
    if path.suffix != SUFFIX:
        raise StorageError(f"{path}: the name of a fit must end in {SUFFIX}.")
    return path


def _trailer(content: bytes) -> bytes:
    return MAGIC + len(content).to_bytes(8, "little") + hashlib.sha256(content).digest()


def _verified(raw: bytes, path: Path) -> bytes:
    content, trailer = raw[:-TRAILER_SIZE], raw[-TRAILER_SIZE:]
    if not trailer.startswith(MAGIC):
        raise StorageError(
            f"{path}: has no checksum at its end; it is cut short or was not written by "
            "jointmix.save."
        )
    if trailer != _trailer(content):
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
        groups[node.path] = dataset
    return xr.DataTree.from_dict(groups, name=tree.name)


def _encode(attributes: dict[Any, Any]) -> dict[Any, Any]:
    odd = {name: value for name, value in attributes.items() if not _survives(value)}
    if not odd:
        return attributes
    texts = {name: json.dumps(value, default=_nested) for name, value in odd.items()}
    return {**attributes, **texts, _JSON_KEY: json.dumps(list(odd))}


def _decode(attributes: dict[Any, Any]) -> dict[Any, Any]:
    decoded = {
        name: value.item() if isinstance(value, np.number) else value
        for name, value in attributes.items()
    }
    for name in json.loads(decoded.pop(_JSON_KEY, "[]")):
        decoded[name] = json.loads(decoded[name])
    return decoded


def _survives(value: object) -> bool:
    if isinstance(value, str):
        return re.search("[\0\ud800-\udfff]", value) is None
    return isinstance(value, int | float | np.number) and not isinstance(value, bool)


def _nested(value: object) -> Any:
    return np.asarray(value).tolist()
