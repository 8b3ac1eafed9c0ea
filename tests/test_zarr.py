"""Fits as Zarr: what other tools read, what is noticed, and what is refused."""

import hashlib
import io
import json
import os
import stat
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
import xarray as xr
import zarr
from test_storage import sealed, small_tree

from jointmix.base.errors import StorageError
from jointmix.storage import files, folders
from jointmix.storage import trees as storage
from jointmix.storage.files import read_file
from jointmix.storage.folders import MANIFEST, read_folder, write_folder
from jointmix.storage.trees import load, save
from jointmix.storage.zarr_format import (
    METADATA,
    pack,
    tree_members,
    unpack,
)

PLAIN = xr.DataTree(xr.Dataset({"a": ("n", [1.0, 2.0]), "t": ("n", ["x", "y"])}, attrs={"s": 1}))


def members_of(**attributes: object) -> dict[str, bytes]:
    """The members of a small fit."""
    tree = xr.DataTree(PLAIN.to_dataset().assign_attrs(attributes or {"schema_version": 1}))
    return tree_members(tree)


def zipped(members: dict[str, bytes], path: Path) -> Path:
    """A zip file whose checksum is right, whatever its members are."""
    return sealed(pack(members, bytes(storage.TRAILER_SIZE))[: -storage.TRAILER_SIZE], path)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return save(small_tree(), tmp_path / "fit.zarr")


@pytest.fixture
def archive(tmp_path: Path) -> Path:
    return save(small_tree(), tmp_path / "fit.zarr.zip")


def test_other_tools_open_both(folder: Path, archive: Path) -> None:
    assert zipfile.ZipFile(archive).testzip() is None
    with pytest.warns(match=r"jointmix\.json is not recognized"):
        opened = xr.open_datatree(folder, engine="zarr", consolidated=False)
    unzipped = xr.open_datatree(zarr.storage.ZipStore(archive), engine="zarr", consolidated=False)
    for tree in (opened, unzipped):
        assert tree.attrs["verdict"] == "CAUTION"
        found, expected = (each["posterior"].to_dataset() for each in (tree, small_tree()))
        xr.testing.assert_equal(found, expected)


def test_the_same_tree_gives_the_same_bytes(archive: Path, folder: Path, tmp_path: Path) -> None:
    again = save(small_tree(), tmp_path / "again.zarr.zip")
    assert again.read_bytes() == archive.read_bytes()
    assert read_folder(save(small_tree(), tmp_path / "b.zarr")) == read_folder(folder)


def test_folder_and_zip_file_hold_the_same(folder: Path, archive: Path) -> None:
    assert read_folder(folder) == unpack(archive.read_bytes())


def test_a_file_cut_anywhere_is_noticed(archive: Path) -> None:
    raw = archive.read_bytes()
    for keep in [*range(60), *np.random.default_rng(2).integers(0, len(raw), 40), len(raw) - 1]:
        archive.write_bytes(raw[:keep])
        with pytest.raises(StorageError, match=r"cut short|is damaged"):
            load(archive)


def test_every_flipped_bit_of_a_zip_file_is_noticed(archive: Path) -> None:
    raw = archive.read_bytes()
    rng = np.random.default_rng(3)
    for place in [*rng.integers(0, len(raw), 60), *range(len(raw) - 70, len(raw))]:
        changed = bytearray(raw)
        changed[place] ^= 1 << int(rng.integers(8))
        archive.write_bytes(changed)
        with pytest.raises(StorageError, match=r"is damaged|has no checksum"):
            load(archive)


def test_every_damaged_file_of_a_folder_is_noticed(folder: Path) -> None:
    rng = np.random.default_rng(4)
    paths = sorted(path for path in folder.rglob("*") if path.is_file())
    assert len(paths) > 20
    for path in paths:
        raw = path.read_bytes()
        changed = bytearray(raw)
        changed[int(rng.integers(len(raw)))] ^= 1 << int(rng.integers(8))
        for content in (bytes(changed), raw[:-1], b"", None):
            path.unlink()
            if content is not None:
                path.write_bytes(content)
            if path.name == MANIFEST and content is not None and content[:-1] == raw[:-1]:
                continue  # A brace more or less is noticed; white space after it says nothing.
            with pytest.raises(StorageError, match=r"is damaged|has no file jointmix\.json"):
                load(folder)
            path.write_bytes(raw)
    xr.testing.assert_identical(load(folder), small_tree())


def test_what_others_put_into_a_folder_is_passed_over(folder: Path) -> None:
    (folder / ".DS_Store").write_bytes(b"x")
    (folder / "posterior" / "notes").mkdir()
    xr.testing.assert_identical(load(folder), small_tree())


def link(folder: Path) -> None:
    chunk = next(folder.rglob("c"))
    os.symlink("/etc", chunk / "link")


def linked_file(folder: Path) -> None:
    (folder / METADATA).rename(folder.parent / "elsewhere")
    (folder / METADATA).symlink_to(folder.parent / "elsewhere")


def pipe(folder: Path) -> None:
    (folder / METADATA).unlink()
    os.mkfifo(folder / METADATA)


def pipe_as_manifest(folder: Path) -> None:
    (folder / MANIFEST).unlink()
    os.mkfifo(folder / MANIFEST)


def listed(name: str) -> Callable[[Path], None]:
    """A manifest, its own digest right, that names a file outside of the folder."""

    def change(folder: Path) -> None:
        secret = folder.parent / "secret"
        secret.write_bytes(b"secret")
        known = json.loads((folder / MANIFEST).read_text())["files"]
        known[name.format(secret)] = hashlib.sha256(b"secret").hexdigest()
        manifest = {"files": known, "sha256": folders._digest_of(known)}
        (folder / MANIFEST).write_text(json.dumps(manifest))

    return change


def too_many(folder: Path) -> None:
    for number in range(folders.MOST_FILES + 1):
        (folder / f"{number}").touch()


def nested_manifest(folder: Path) -> None:
    (folder / MANIFEST).write_text("[" * 100_000)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (link, "holds the link"),
        (linked_file, "holds the link 'zarr.json'"),
        (pipe, "the file 'zarr.json' is missing"),
        (pipe_as_manifest, "has no file jointmix.json"),
        (listed("../secret"), "the file '../secret' is missing"),
        (listed("{}"), "is missing"),
        (too_many, "holds more than 10000 files"),
        (nested_manifest, "is damaged, its file jointmix.json"),
    ],
)
def test_folders_that_lead_elsewhere_are_refused(
    folder: Path, change: Callable[[Path], None], words: str
) -> None:
    change(folder)
    with pytest.raises(StorageError) as caught:
        load(folder)
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)


def edited(name: str, change: Callable[[dict[str, Any]], object]) -> dict[str, bytes]:
    members = members_of()
    metadata = json.loads(members[name])
    change(metadata)
    return members | {name: json.dumps(metadata).encode()}


def without(name: str) -> dict[str, bytes]:
    members = members_of()
    del members[name]
    return members


def codec(*names: str) -> Callable[[dict[str, Any]], object]:
    return lambda metadata: metadata.update(codecs=[{"name": name} for name in names])


ARRAY = "a/zarr.json"
HUGE = (4_000_000_000).to_bytes(4, "little")


@pytest.mark.parametrize(
    ("members", "words"),
    [
        (edited(ARRAY, codec("numcodecs.pickle")), "asks for the codecs numcodecs.pickle"),
        (edited(ARRAY, codec("bytes", "zstd")), "asks for the codecs bytes, zstd"),
        (edited(ARRAY, codec("sharding_indexed")), "asks for the codecs"),
        (edited(ARRAY, lambda m: m.update(data_type="object")), "holds the type 'object'"),
        (edited(ARRAY, lambda m: m.update(data_type={"name": "x"})), "is no metadata of Zarr 3"),
        (edited(ARRAY, lambda m: m.update(shape=[10**12])), "is not in one chunk"),
        (edited(ARRAY, lambda m: m.update(shape=[-2])), "has the shape [-2]"),
        (edited(ARRAY, lambda m: m.update(storage_transformers=["x"])), "asks for the codecs"),
        (edited(ARRAY, lambda m: m.update(node_type="link")), "neither a group nor an array"),
        (edited(ARRAY, lambda m: m.pop("codecs")), "is no metadata of Zarr 3"),
        (without("a/c/0"), "the chunk of 'a/zarr.json' is missing"),
        (without("a/zarr.json"), "the member 'a/c/0' belongs to no array"),
        (members_of() | {"a/c/0": b"short"}, "does not hold 2 numbers"),
        (members_of() | {"t/c/0": HUGE + bytes(8)}, "does not hold 2 texts"),
        (members_of() | {"a/zarr.json": b"[" * 100_000}, "is no metadata of Zarr 3"),
        (members_of() | {"a/zarr.json": b"\xff\xfe"}, "cannot be read as Zarr"),
        (members_of() | {"a/zarr.json": b"[]"}, "is no metadata of Zarr 3"),
        (members_of() | {"../zarr.json": b'{"node_type": "group"}'}, "is not allowed"),
        (members_of() | {"/etc/zarr.json": b'{"node_type": "group"}'}, "is not allowed"),
        (members_of() | {"a/../b/zarr.json": b'{"node_type": "group"}'}, "is not allowed"),
        (members_of() | {"../../etc/passwd": b"x"}, "belongs to no array"),
        (members_of() | {".zgroup": b'{"zarr_format": 2}'}, "belongs to no array"),
        ({f"{n}/zarr.json": b"" for n in range(10_001)}, "more than 10000 members"),
        ({}, "cannot be read as Zarr"),
        (members_of(other=1), "holds no schema_version"),
        (members_of(schema_version=2), "upgrade jointmix"),
        (members_of(schema_version=0), "fit the model again"),
    ],
)
def test_stores_that_ask_for_more_than_numbers_are_refused(
    members: dict[str, bytes], words: str, tmp_path: Path
) -> None:
    with pytest.raises(StorageError) as caught:
        load(zipped(members, tmp_path / "x.zarr.zip"))
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)
    # In a folder, names that lead out of it are already refused when they are written.
    if 0 < len(members) < 100:
        with pytest.raises(StorageError):
            load(write_folder(tmp_path / "x.zarr", members))


def entry(name: str = "x", kind: int = stat.S_IFREG, flags: int = 0) -> zipfile.ZipInfo:
    info = zipfile.ZipInfo(name)
    info.external_attr = (kind | 0o777) << 16
    info.flag_bits = flags
    return info


def compressed(archive: zipfile.ZipFile) -> None:
    # 100 MB in 100 kB.
    archive.writestr("bomb", bytes(10**8), zipfile.ZIP_DEFLATED)


def twice(archive: zipfile.ZipFile) -> None:
    archive.writestr("x", b"1")
    with pytest.warns(match="Duplicate name"):
        archive.writestr("x", b"2")


@pytest.mark.parametrize(
    ("fill", "words"),
    [
        (compressed, "'bomb' is compressed or encrypted"),
        (twice, "the name 'x' stands in it twice"),
        (lambda a: a.writestr(entry(kind=stat.S_IFLNK), "/etc/passwd"), "'x' is no file"),
        (lambda a: a.writestr(entry("folder/"), b""), "'folder/' is no file"),
        (lambda a: [a.writestr(f"{n}", b"") for n in range(10_001)], "more than 10000 members"),
    ],
)
def test_zip_files_that_unpack_to_more_are_refused(
    fill: Callable[[zipfile.ZipFile], object], words: str, tmp_path: Path
) -> None:
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w") as made:
        fill(made)
        made.comment = bytes(storage.TRAILER_SIZE)
    path = sealed(content.getvalue()[: -storage.TRAILER_SIZE], tmp_path / "x.zarr.zip")
    with pytest.raises(StorageError) as caught:
        load(path)
    assert words in str(caught.value)


def test_members_that_overlap_are_refused() -> None:
    members = {f"{n}": bytes(1000) for n in range(50)}
    raw = bytearray(pack(members, bytes(storage.TRAILER_SIZE)))
    first = raw.index(b"PK\x01\x02")
    # Every entry of the directory points to the first member, its size that of nearly all.
    place = first
    while (place := raw.find(b"PK\x01\x02", place)) >= 0:
        raw[place + 42 : place + 46] = bytes(4)
        raw[place + 20 : place + 28] = (40_000).to_bytes(4, "little") * 2
        place += 1
    with pytest.raises(ValueError, match=r"overlap"):
        unpack(bytes(raw))


FOREIGN = {
    "empty": b"",
    "text": b"x1,x2\n1,2\n",
    "picture": b"\x89PNG\r\n\x1a\n" + bytes(200),
    "HDF5": b"\x89HDF\r\n\x1a\n" + bytes(500),
    "zip": b"PK\x05\x06" + bytes(18),
    "pickle": b"\x80\x04cos\nsystem\n",
    "zeros": bytes(4096),
}


@pytest.mark.parametrize("suffix", [".nc", ".zarr.zip", ".zarr"])
@pytest.mark.parametrize("content", FOREIGN.values(), ids=FOREIGN)
def test_foreign_files_are_told_apart(content: bytes, suffix: str, tmp_path: Path) -> None:
    path = tmp_path / f"x{suffix}"
    path.write_bytes(content)
    with pytest.raises(StorageError, match=r"was not written by|cannot be read \(Not a directory"):
        load(path)


@pytest.mark.parametrize("suffix", [".nc", ".zarr.zip", ".zarr"])
def test_places_that_are_no_files_are_refused_at_once(suffix: str, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / f"pipe{suffix}")
    (tmp_path / f"folder{suffix}").mkdir()
    (tmp_path / f"device{suffix}").symlink_to("/dev/zero")
    (tmp_path / f"circle{suffix}").symlink_to(tmp_path / f"circle{suffix}")
    for name in ("pipe", "folder", "device", "circle", "missing"):
        path = tmp_path / f"{name}{suffix}"
        with pytest.raises(StorageError, match=r"cannot be read|has no file jointmix\.json"):
            load(path)
        if name in ("pipe", "device"):
            with pytest.raises(StorageError, match=r"no regular file|did not write"):
                save(PLAIN, path)
    with pytest.raises(StorageError, match=r"NUL|null|no such folder"):
        load(tmp_path / f"a\0b{suffix}")
    with pytest.raises(StorageError, match="NUL"):
        save(PLAIN, tmp_path / f"a\0b{suffix}")


def test_a_file_larger_than_the_memory_is_not_read(tmp_path: Path) -> None:
    path = tmp_path / "huge.nc"
    with path.open("wb") as stream:
        stream.truncate(10**13)
    with pytest.raises(StorageError, match=r"takes 10,000\.0 GB of memory"):
        load(path)


def test_numbers_that_are_only_declared_are_not_made(tmp_path: Path) -> None:
    """An HDF5 file of a few kB can declare terabytes that it does not hold."""
    content = io.BytesIO()
    with h5py.File(content, "w") as file:
        scale = file.create_dataset("n", shape=(10**12,), chunks=(10**6,), dtype="f8")
        scale.make_scale("n")
    with pytest.raises(StorageError, match=r"takes 8,000\.0 GB of memory"):
        load(sealed(content.getvalue(), tmp_path / "x.nc"))


@pytest.mark.parametrize("kind", ["external link", "soft link", "external values", "virtual"])
def test_netcdf_that_leads_to_other_files_is_refused(kind: str, tmp_path: Path) -> None:
    content = io.BytesIO()
    with h5py.File(content, "w") as file:
        if kind == "external link":
            file["x"] = h5py.ExternalLink("/etc/passwd", "/")
        elif kind == "soft link":
            file["x"] = h5py.SoftLink("/y")
        elif kind == "external values":
            file.create_dataset("x", (10,), "u1", external=[("/etc/passwd", 0, 10)])
        else:
            layout = h5py.VirtualLayout((10,), "u1")
            layout[:] = h5py.VirtualSource("/etc/passwd", "x", (10,))
            file.create_virtual_dataset("x", layout)
    with pytest.raises(StorageError, match=r"holds the link 'x'|stand in another file"):
        load(sealed(content.getvalue(), tmp_path / "x.nc"))


@pytest.mark.parametrize("name", ["..", ".", "a\\b", "c:d", "x" * 300])
def test_names_that_no_file_can_have_are_refused(name: str, tmp_path: Path) -> None:
    with pytest.raises(StorageError):
        write_folder(tmp_path / "x.zarr", {f"{name}/zarr.json": b"{}"})
    with pytest.raises(StorageError):
        save(xr.DataTree(xr.Dataset({name: 1.0})), tmp_path / "x.zarr")
    assert not list(tmp_path.iterdir())


def test_what_zarr_cannot_hold_is_refused_before_writing(tmp_path: Path) -> None:
    odd = [np.array([object(), 1], dtype=object), np.array(["a\0b"]), np.array([1j])]
    for suffix in (".zarr", ".zarr.zip"):
        for values in odd:
            tree = xr.DataTree(xr.Dataset({"a": ("n", values)}))
            with pytest.raises(StorageError, match="cannot be stored"):
                save(tree, tmp_path / f"x{suffix}")
    assert not list(tmp_path.iterdir())


def test_a_folder_of_someone_else_is_not_replaced(tmp_path: Path) -> None:
    other = tmp_path / "other.zarr"
    xr.Dataset({"a": 1.0}).to_zarr(other, consolidated=False)
    with pytest.raises(StorageError, match="did not write; name another place"):
        save(PLAIN, other)
    assert float(xr.open_zarr(other, consolidated=False)["a"]) == 1.0
    (tmp_path / "file.zarr").write_text("mine")
    with pytest.raises(StorageError, match="did not write"):
        save(PLAIN, tmp_path / "file.zarr")
    assert (tmp_path / "file.zarr").read_text() == "mine"


@pytest.mark.parametrize("suffix", [".nc", ".zarr.zip", ".zarr"])
def test_a_link_is_replaced_and_what_it_points_to_is_left(suffix: str, tmp_path: Path) -> None:
    (tmp_path / "there").mkdir()
    target = save(small_tree(), tmp_path / "there" / f"fit{suffix}")
    path = tmp_path / f"link{suffix}"
    path.symlink_to(target)
    xr.testing.assert_identical(load(path), small_tree())
    save(PLAIN, path)
    assert not path.is_symlink()
    assert load(path).attrs == {"s": 1, "schema_version": 1}
    xr.testing.assert_identical(load(target), small_tree())
    assert sorted(each.name for each in tmp_path.iterdir()) == [f"link{suffix}", "there"]


def test_reading_waits_for_a_folder_that_is_being_replaced(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Files of two versions are never mixed."""
    calls = []

    def replaced_meanwhile(path: Path) -> bytes:
        calls.append(path)
        if len(calls) == 5:
            save(PLAIN, folder)
        return read_file(path)

    monkeypatch.setattr(folders, "read_file", replaced_meanwhile)
    assert load(folder).attrs == {"s": 1, "schema_version": 1}
    assert len(calls) > 10


def test_the_memory_that_is_free_limits_a_folder(folder: Path, monkeypatch) -> None:
    monkeypatch.setattr(files, "available", lambda: 1000.0)
    with pytest.raises(StorageError, match=r"of memory, of which 0\.0 GB are free"):
        load(folder)
