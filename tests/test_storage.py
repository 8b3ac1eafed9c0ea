"""A saved tree comes back as it was, or the reader is told what is wrong with the file."""

import os
import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import xarray as xr

from jointmix.base.errors import StorageError
from jointmix.base.schema import SCHEMA_VERSION
from jointmix.storage import files
from jointmix.storage import trees as storage
from jointmix.storage.files import FIT_SUFFIXES
from jointmix.storage.trees import load, save


def small_tree() -> xr.DataTree:
    rng = np.random.default_rng(0)
    dims = ("chain", "draw", "cluster", "feature")
    posterior = xr.Dataset(
        {"mean": (dims, rng.normal(size=(2, 3, 2, 3))), "weight": (dims[:3], np.ones((2, 3, 2)))},
        coords={"cluster": [1, 2], "feature": ["a/b", "<script>", "x" * 5000]},
        attrs={"sampler": "nutpie"},
    )
    posterior["mean"].attrs["unit"] = "mm"
    posterior["weight"][0, 0, 0] = np.nan
    posterior["weight"][0, 0, 1] = -np.inf
    checks = xr.Dataset(
        {
            "status": ("check", ["ok", "caution"]),
            "message": ("check", np.array(["", "ü \u202e\n{{7*7}}"], dtype=object)),
            "passed": ("check", [True, False]),
            "count": ("check", np.array([1, 2**60])),
        },
        coords={"check": ["rhat", "ess"]},
    )
    attributes = {
        "schema_version": SCHEMA_VERSION,
        "verdict": "CAUTION",
        "seed": 3,
        "seconds": 1.5,
        "empty": "",
        "spec": '{"model": {"clusters": 2}}',
        "partial": False,
        "notes": ["only one"],
        "none": None,
        "nested": {"a": [1, 2.5, "x"]},
        "text": "NUL \0 and \ud800",
        "long": "x" * 100_000,
    }
    tree = {"/": xr.Dataset(attrs=attributes), "posterior": posterior, "checks": checks}
    return xr.DataTree.from_dict({**tree, "posterior/deeper": xr.Dataset({"z": 1.0})})


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    return save(small_tree(), tmp_path / "fit.nc")


@pytest.fixture(params=FIT_SUFFIXES)
def stored(tmp_path: Path, request: pytest.FixtureRequest) -> Path:
    """The small tree in each of the formats."""
    return save(small_tree(), tmp_path / f"fit{request.param}")


def bits(tree: xr.DataTree) -> dict[str, object]:
    """Everything a tree holds: types, shapes, bytes and attributes with their types."""
    found: dict[str, object] = {}
    for node in tree.subtree:
        dataset = node.to_dataset(inherit=False)
        found[node.path] = typed(dataset.attrs), sorted(map(str, dataset.variables))
        for name, variable in dataset.variables.items():
            values = variable.values
            if values.dtype.kind in "OU":
                kind, content = "text", values.tolist()
            else:
                # In the machine's order of bytes.
                kind = values.dtype.newbyteorder("=").str
                content = values.astype(kind).tobytes()
            found[f"{node.path}:{name}"] = variable.dims, values.shape, kind, content
            found[f"{node.path}:{name} attributes"] = typed(variable.attrs)
    return found


def typed(attributes: dict) -> dict[str, tuple[type, str]]:
    return {name: (type(value), repr(value)) for name, value in sorted(attributes.items())}


def test_everything_comes_back(stored: Path) -> None:
    tree = load(stored)
    xr.testing.assert_identical(tree, small_tree())
    assert [node.path for node in tree.subtree] == [node.path for node in small_tree().subtree]
    assert list(tree["checks"].data_vars) == list(small_tree()["checks"].data_vars)
    assert {name: type(value) for name, value in tree.attrs.items()} == {
        name: type(value) for name, value in small_tree().attrs.items()
    }
    assert tree["checks"]["passed"].dtype == bool
    assert tree["checks"]["count"].dtype == np.int64
    assert tree["posterior"]["mean"].attrs == {"unit": "mm"}


def test_a_loaded_tree_can_be_saved_again(stored: Path) -> None:
    again = save(load(stored), stored.with_name(f"again{stored.name.removeprefix('fit')}"))
    xr.testing.assert_identical(load(again), small_tree())


@pytest.mark.parametrize("suffix", FIT_SUFFIXES)
def test_the_given_tree_is_left_as_it_was(tmp_path: Path, suffix: str) -> None:
    tree = small_tree()
    save(tree, tmp_path / f"fit{suffix}")
    xr.testing.assert_identical(tree, small_tree())


def test_the_file_is_closed_and_alone(saved: Path) -> None:
    tree = load(saved)
    saved.unlink()
    assert tree["posterior"]["weight"].values[1, 2, 1] == 1.0
    assert not list(saved.parent.iterdir())


def test_other_tools_open_the_file(saved: Path) -> None:
    with xr.open_datatree(saved, engine="h5netcdf") as tree:
        assert tree.attrs["verdict"] == "CAUTION"
        assert tree.attrs["schema_version"] == SCHEMA_VERSION
        xr.testing.assert_equal(tree["checks"].to_dataset(), small_tree()["checks"].to_dataset())


def test_every_flipped_bit_is_noticed(saved: Path) -> None:
    raw = saved.read_bytes()
    rng = np.random.default_rng(1)
    places = [*rng.integers(0, len(raw), size=150), *range(len(raw) - 48, len(raw))]
    for place in places:
        changed = bytearray(raw)
        changed[place] ^= 1 << int(rng.integers(8))
        saved.write_bytes(changed)
        with pytest.raises(StorageError, match=r"is damaged|has no checksum"):
            load(saved)


@pytest.mark.parametrize("keep", [0, 1, 7, 47, 48, 49, 1000, -1, -48, -49])
def test_a_file_cut_short_is_noticed(saved: Path, keep: int) -> None:
    saved.write_bytes(saved.read_bytes()[:keep])
    with pytest.raises(StorageError, match="has no checksum at its end; it is cut short"):
        load(saved)


def test_a_middle_cut_out_is_noticed(saved: Path) -> None:
    raw = saved.read_bytes()
    saved.write_bytes(raw[:2000] + raw[3000:])
    with pytest.raises(StorageError, match="is damaged"):
        load(saved)


def test_foreign_files_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "foreign.nc"
    for content in (b"", b"text", b"\x89HDF\r\n\x1a\n" + bytes(500), b"\x80\x04cos\nsystem\n"):
        path.write_bytes(content)
        with pytest.raises(StorageError, match="not written by"):
            load(path)
    small_tree()["posterior"].to_dataset().to_netcdf(path, engine="h5netcdf")
    with pytest.raises(StorageError, match="not written by"):
        load(path)


def sealed(content: bytes, path: Path) -> Path:
    """A file whose checksum is right, whatever it holds."""
    path.write_bytes(content + storage._trailer([content]))
    return path


def test_a_right_checksum_over_no_netcdf_is_refused(tmp_path: Path) -> None:
    for content in (b"", b"no HDF5 at all", b"\x89HDF\r\n\x1a\n" + bytes(100)):
        with pytest.raises(StorageError, match="cannot be read as netCDF"):
            load(sealed(content, tmp_path / "x.nc"))


@pytest.mark.parametrize(
    ("version", "words"),
    [
        (None, "holds no schema_version, so it is not a fit of jointmix"),
        (SCHEMA_VERSION + 1, f"reads {SCHEMA_VERSION}; upgrade jointmix"),
        (0, "fit the model again"),
        ("one", "has schema 'one'"),
    ],
)
def test_unknown_schemas_are_refused(version: object, words: str, tmp_path: Path) -> None:
    attributes = {} if version is None else {"schema_version": version}
    tree = xr.DataTree(xr.Dataset({"a": 1.0}, attrs=attributes))
    content = bytes(tree.to_netcdf(engine="h5netcdf"))
    with pytest.raises(StorageError, match=re.escape(words)):
        load(sealed(content, tmp_path / "x.nc"))


@pytest.mark.parametrize("act", [load, lambda path: save(small_tree(), path)])
def test_places_that_cannot_be(act: Callable[[Path], object], tmp_path: Path) -> None:
    for name in ("fit", "fit.html", "fit.nc.gz", "fit.zip", ".nc", ".zarr.zip", ""):
        with pytest.raises(StorageError, match=r"must end in \.nc, \.zarr or \.zarr\.zip"):
            act(tmp_path / name)
    (tmp_path / "folder.nc").mkdir()
    with pytest.raises(StorageError, match=r"is a folder|cannot be read"):
        act(tmp_path / "folder.nc")
    with pytest.raises(StorageError, match=r"does not exist|No such file"):
        act(tmp_path / "no" / "fit.nc")


def test_a_folder_without_permission_is_named(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr(os, "access", lambda *_: False)
    with pytest.raises(StorageError, match="cannot be written to"):
        save(small_tree(), tmp_path / "fit.nc")


@pytest.mark.parametrize("step", ["fsync", "replace"])
def test_a_failed_save_keeps_the_old_file(saved: Path, monkeypatch, step: str) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(files.os, step, full)
    with pytest.raises(StorageError, match=r"fit\.nc: cannot be written \(No space left"):
        save(xr.DataTree(xr.Dataset({"a": 1.0})), saved)
    monkeypatch.undo()
    xr.testing.assert_identical(load(saved), small_tree())
    assert list(saved.parent.iterdir()) == [saved]


def test_an_interrupted_save_leaves_nothing_behind(tmp_path: Path, monkeypatch) -> None:
    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(files.os, "fsync", interrupt)
    with pytest.raises(KeyboardInterrupt):
        save(small_tree(), tmp_path / "fit.nc")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    "tree",
    [
        xr.DataTree(xr.Dataset(attrs={"odd": object()})),
        xr.DataTree(xr.Dataset({"a": ("n", np.array([object(), 1], dtype=object))})),
        xr.DataTree(xr.Dataset({"a": ("n", ["x", "NUL \0 inside"])})),
        {"a": 1},
    ],
)
def test_what_netcdf_cannot_hold_is_refused_before_writing(tree: object, tmp_path: Path) -> None:
    with pytest.raises(StorageError, match=r"fit\.nc: "):
        save(tree, tmp_path / "fit.nc")
    assert not list(tmp_path.iterdir())


def odd_numbers() -> xr.DataTree:
    """Numbers and names that a careless format would change."""
    nan = np.array([0x7FF8000000000001, 0xFFF8000000000000, 0x8000000000000000], dtype=np.uint64)
    numbers = xr.Dataset(
        {
            "nan": ("three", nan.view(float)),
            "zeros": ("two", np.array([0.0, 0.0])),
            "negative_zeros": ("two", np.array([-0.0, -0.0])),
            "extremes": ("two", np.array([5e-324, np.finfo(float).max])),
            "single": ("two", np.array([0.1, np.nan], dtype=np.float32)),
            "big_endian": ("two", np.array([1.5, -2.5], dtype=">f8")),
            "unsigned": ("two", np.array([0, 2**64 - 1], dtype=np.uint64)),
            "bytes": ("two", np.array([-128, 127], dtype=np.int8)),
            "nothing": (("none", "two"), np.zeros((0, 2))),
            "no_truth": ("none", np.zeros(0, dtype=bool)),
            "no_text": ("none", np.zeros(0, dtype="U3")),
            "scalar": 3.5,
            "scalar_text": "é\u202e",
            "strided": (("two", "three"), np.arange(12.0).reshape(4, 3)[::2]),
            "days": ("two", np.array([1.0, 2.0])),
            "dtype": ("two", np.array([1, 2])),
        },
        coords={"two": ["../../x", '"><img onerror=1>'], "three": ["", "{{7*7}}", " a/b "]},
    )
    numbers["days"].attrs = {"units": "days since 2000-01-01", "_FillValue": 1.0, "dtype": "bool"}
    numbers["zeros"].attrs = {"scale_factor": 2, "missing_value": 0.0, "coordinates": "nan"}
    attributes = {
        "one": 1,
        "one point zero": 1.0,
        "true": True,
        "infinite": float("-inf"),
        "large": 2**80,
        "tenth": 0.1,
        "": "no name",
        "a/b": "slash",
        "../../x": [1, {"y": None}],
        "NUL \0": "sign",
        "json_attributes": "own name",
        "_NCProperties": "HDF5's",
    }
    return xr.DataTree.from_dict({"/": xr.Dataset(attrs=attributes), "numbers": numbers})


@pytest.mark.parametrize("suffix", FIT_SUFFIXES)
def test_every_bit_and_every_type_comes_back(tmp_path: Path, suffix: str) -> None:
    tree = odd_numbers()
    expected = bits(tree)
    again = load(save(tree, tmp_path / f"odd{suffix}"))
    assert again.attrs.pop("schema_version") == SCHEMA_VERSION
    assert bits(again) == expected
    # Twice, and from one format to the other, changes nothing either.
    for other in FIT_SUFFIXES:
        twice = load(save(again, tmp_path / f"again{other}"))
        del twice.attrs["schema_version"]
        assert bits(twice) == expected


def test_a_variable_that_is_named_like_a_group_is_in_memory(tmp_path: Path) -> None:
    tree = small_tree()
    tree["allocation"] = xr.DataTree(xr.Dataset({"allocation": ("obs", np.arange(5))}))
    again = load(save(tree, tmp_path / "fit.nc"))
    for node in again.subtree:
        for name, variable in node.variables.items():
            held = variable._data if name not in node.indexes else variable.values
            assert isinstance(held, np.ndarray), (node.path, name)
    assert again["allocation"]["allocation"].values.tolist() == [0, 1, 2, 3, 4]
