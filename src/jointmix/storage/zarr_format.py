"""Trees as the members of a Zarr store (version 3), and such members in one zip file.

Only what `tree_members` writes is read back: uncompressed arrays in one chunk each, of numbers or
texts, and metadata as JSON. Nothing in a store can therefore name a codec to run or a file to
open, or unpack to more than it takes on disk. The members are held in memory; their names become
neither paths nor anything else that is looked up outside of the store.
"""

import io
import json
import math
import stat
import warnings
import zipfile
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import xarray as xr

#: Members of one store; a fit has about a hundred.
MOST_MEMBERS = 10_000
METADATA = "zarr.json"
_CODECS = {"bytes", "vlen-utf8"}
_TYPES = {"bool", "string"} | {
    f"{kind}{size}" for kind in ("int", "uint") for size in (8, 16, 32, 64)
}
_TYPES |= {"float16", "float32", "float64"}
#: Of all members of a zip file, so that the same members give the same bytes.
_TIME = (1980, 1, 1, 0, 0, 0)


def tree_members(tree: xr.DataTree) -> dict[str, bytes]:
    """The members of a store that holds the tree, by their names.

    Raises
    ------
    ValueError, TypeError
        If a variable holds anything but real numbers, truth values and texts without NUL, or a
        name is none that a store's parts can have.
    """
    from zarr.storage import MemoryStore

    held: dict[str, Any] = {}
    groups, encoding = {}, {}
    for node in tree.subtree:
        dataset = node.to_dataset(inherit=False).copy(deep=False)
        for name in list(dataset.variables):
            _check_name(str(name))
            if dataset[name].dtype.kind in "OTU":
                dataset[name] = dataset[name].copy(data=_texts(str(name), dataset[name].values))
        for part in node.path.split("/")[1:] if node.path != "/" else ():
            _check_name(part)
        groups[node.path] = dataset
        encoding[node.path] = {
            name: {"compressors": None, "chunks": tuple(max(1, n) for n in variable.shape)}
            for name, variable in dataset.variables.items()
        }
    with warnings.catch_warnings():
        # Zarr's warnings speak to readers of other implementations.
        warnings.simplefilter("ignore")
        xr.DataTree.from_dict(groups, name=tree.name).to_zarr(
            MemoryStore(held),
            mode="w",
            encoding=encoding,
            consolidated=False,
            zarr_format=3,
            # Left out, -0.0 would come back as 0.0.
            write_empty_chunks=True,
        )
    # First what describes the parts, in their order in the tree, then their values.
    described = list(_described(groups))
    members = {
        name: held[name].to_bytes() for name in [*described, *sorted({*held} - {*described})]
    }
    check_members(members)
    return members


def _described(groups: Mapping[str, xr.Dataset]) -> Iterator[str]:
    """The metadata members of the groups and their variables, in order."""
    for path, dataset in groups.items():
        group = f"{path.strip('/')}/".lstrip("/")
        yield group + METADATA
        yield from (f"{group}{name}/{METADATA}" for name in dataset.variables)


def _check_name(name: str) -> None:
    """Zarr would take a backslash for a slash, and other names for those of its own files."""
    if name in ("", ".", "..", METADATA) or "\\" in name or "/" in name:
        raise ValueError(f"the name {name[:80]!r} cannot be that of a part of a Zarr store")


def open_members(members: Mapping[str, bytes]) -> xr.DataTree:
    """The tree that a store's members hold; its variables are read when they are asked for.

    Raises
    ------
    ValueError, KeyError, TypeError
        If the members are not such as `tree_members` makes.
    """
    from zarr.core.buffer import default_buffer_prototype
    from zarr.storage import MemoryStore

    check_members(members)
    buffer = default_buffer_prototype().buffer
    held = {name: buffer.from_bytes(content) for name, content in members.items()}
    # Not among the types that xarray says it takes.
    store: Any = MemoryStore(held, read_only=True)
    opened = xr.open_datatree(store, engine="zarr", consolidated=False, zarr_format=3)
    place = {name: number for number, name in enumerate(members)}
    # Zarr lists the parts of a group in any order.
    groups = {node.path: node.to_dataset(inherit=False) for node in opened.subtree}
    paths = sorted(groups, key=lambda path: place[next(_described({path: xr.Dataset()}))])
    return xr.DataTree.from_dict({path: _ordered(path, groups[path], place) for path in paths})


def _ordered(path: str, dataset: xr.Dataset, place: Mapping[str, int]) -> xr.Dataset:
    """The dataset, its variables in the order of the members."""
    described = list(_described({path: dataset}))[1:]
    rank = {name: place[member] for name, member in zip(dataset.variables, described, strict=True)}
    names = sorted(rank, key=rank.__getitem__)
    coords = {name: dataset.variables[name] for name in names if name in dataset.coords}
    arrays = {name: dataset.variables[name] for name in names if name not in coords}
    return xr.Dataset(coords=coords, attrs=dataset.attrs).assign(arrays)


def check_members(members: Mapping[str, bytes]) -> None:
    """Refuse members that `tree_members` would not have made.

    Raises
    ------
    ValueError
        If a name or a part of the metadata is not allowed, or a chunk is not there or of the
        wrong size; the message says which.
    """
    if len(members) > MOST_MEMBERS:
        raise ValueError(f"it has more than {MOST_MEMBERS} members")
    chunks = {name for name in members if name.rpartition("/")[2] != METADATA and name != METADATA}
    for name in sorted(set(members) - chunks):
        owner = name.removesuffix(METADATA)
        if any(part in ("", ".", "..") for part in owner.split("/")[:-1]):
            raise ValueError(f"the name {name[:80]!r} is not allowed")
        try:
            metadata = json.loads(members[name])
            array = metadata["node_type"] == "array"
            chunk = owner + "/".join(["c", *["0"] * len(metadata["shape"])]) if array else ""
            if array:
                _check_array(name, metadata, members.get(chunk))
            elif metadata["node_type"] != "group":
                raise ValueError(f"{name!r} describes neither a group nor an array")
        except (KeyError, TypeError, AttributeError, RecursionError) as error:
            raise ValueError(f"{name[:80]!r} is no metadata of Zarr 3") from error
        chunks.discard(chunk)
    if chunks:
        raise ValueError(f"the member {min(chunks)[:80]!r} belongs to no array")


def _check_array(name: str, metadata: dict[str, Any], chunk: bytes | None) -> None:
    kind, shape = metadata["data_type"], metadata["shape"]
    if kind not in _TYPES:
        raise ValueError(f"{name!r} holds the type {str(kind)[:80]!r}")
    codecs = {codec["name"] for codec in metadata["codecs"]}
    if not codecs <= _CODECS or len(metadata["codecs"]) != 1 or metadata["storage_transformers"]:
        raise ValueError(f"{name!r} asks for the codecs {', '.join(sorted(map(str, codecs)))[:80]}")
    if not all(isinstance(size, int) and size >= 0 for size in shape):
        raise ValueError(f"{name!r} has the shape {str(shape)[:80]}")
    if metadata["chunk_grid"]["configuration"]["chunk_shape"] != [max(1, size) for size in shape]:
        raise ValueError(f"{name!r} is not in one chunk")
    n = math.prod(shape)
    if chunk is None:
        if n:
            raise ValueError(f"the chunk of {name!r} is missing")
    elif kind == "string":
        # The number of texts, before each its length: what is allocated is no more than is there.
        count = int.from_bytes(chunk[:4], "little")
        if count != n or len(chunk) < 4 * (1 + n):
            raise ValueError(f"the chunk of {name!r} does not hold {n} texts")
    elif len(chunk) != n * _size(kind):
        raise ValueError(f"the chunk of {name!r} does not hold {n} numbers")


def _size(kind: str) -> int:
    return np.dtype(kind).itemsize


def _texts(name: str, values: np.ndarray) -> np.ndarray:
    texts = np.asarray(values, dtype=object)
    for text in texts.ravel():
        if not isinstance(text, str):
            raise TypeError(f"{name!r} holds {type(text).__name__}")
        if "\0" in text:
            raise ValueError(f"{name!r} holds a text with the sign NUL")
    return texts.astype(np.dtypes.StringDType())


def pack(members: Mapping[str, bytes], comment: bytes) -> bytes:
    """A zip file of members as they are, ending in a comment."""
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w", zipfile.ZIP_STORED) as archive:
        for name, member in members.items():
            archive.writestr(zipfile.ZipInfo(name, _TIME), member)
        archive.comment = comment
    return content.getvalue()


def unpack(content: bytes) -> dict[str, bytes]:
    """The members of a zip file that `pack` made.

    Raises
    ------
    ValueError
        If it is no zip file, or holds compressed or encrypted members, links, folders, names
        twice, or too many members.
    """
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            infos = archive.infolist()
            if len(infos) > MOST_MEMBERS:
                raise ValueError(f"it has more than {MOST_MEMBERS} members")
            names: set[str] = set()
            for info in infos:
                _check_info(info, names)
                names.add(info.filename)
            if sum(info.file_size for info in infos) > len(content):
                raise ValueError("its members overlap")
            return {info.filename: archive.read(info) for info in infos}
    except (zipfile.BadZipFile, NotImplementedError, EOFError, RuntimeError, OSError) as error:
        raise ValueError(str(error)) from error


def _check_info(info: zipfile.ZipInfo, known: set[str]) -> None:
    name = repr(info.filename[:80])
    if info.filename in known:
        raise ValueError(f"the name {name} stands in it twice")
    if info.is_dir() or stat.S_ISLNK(info.external_attr >> 16):
        raise ValueError(f"{name} is no file")
    if info.flag_bits & 1 or info.compress_type != zipfile.ZIP_STORED:
        raise ValueError(f"{name} is compressed or encrypted")
    if info.file_size != info.compress_size:
        raise ValueError(f"{name} has two sizes")
