"""Folders of files written whole or not at all, with the SHA-256 of each file in a manifest.

No file system replaces a folder that holds files in one step. A new folder is therefore written
under a hidden name and synced; then the old one is renamed to ``.<name>.<random>.old``, the new one
to its place, and the old one removed. Whoever finds nothing in the place takes the newest whole
folder that was put aside: at every moment the old content or the new one can be read.
"""

import contextlib
import errno
import hashlib
import json
import os
import secrets
import shutil
from collections.abc import Iterable, Mapping
from pathlib import Path

from jointmix.base.errors import StorageError
from jointmix.storage.files import (
    check_folder_of,
    hidden_name,
    read_file,
    refuse_larger,
    write_synced,
)

MANIFEST = "jointmix.json"
#: Files of one folder; a fit has about a hundred.
MOST_FILES = 10_000
_LONGEST_NAME = 255
#: How often a folder that is replaced while it is read is read again.
_ATTEMPTS = 20


def check_folder_writable(path: str | Path) -> Path:
    """The path, if a folder could be written there.

    Raises
    ------
    StorageError
        If the folder around it does not exist or cannot be written to, or something stands there
        that `write_folder` did not write.
    """
    path = check_folder_of(path)
    if os.path.lexists(path) and not os.path.isfile(path / MANIFEST):
        raise StorageError(
            f"{path}: stands for something that jointmix.save did not write; name another place."
        )
    return path


def write_folder(path: str | Path, members: Mapping[str, bytes]) -> Path:
    """Write files, named by their places in the folder, and their manifest.

    On failure the folder that was there stays as it was. A process that dies between the two
    renames leaves it under a hidden name, from which `read_folder` reads it.

    Parameters
    ----------
    path
        The folder; one that `write_folder` has written is replaced.
    members
        Contents by names such as ``posterior/mean/c/0``.

    Raises
    ------
    StorageError
        If a name is none that a file can have, or the folder cannot be written.
    """
    path = check_folder_writable(path)
    _check_names(path, members)
    temporary = hidden_name(path, "tmp")
    try:
        _write_all(temporary, {**members, MANIFEST: _manifest(members)})
        _swap(temporary, path)
    except StorageError:
        raise
    except OSError as error:
        raise StorageError(f"{path}: cannot be written ({error.strerror}).") from error
    finally:
        _remove(temporary)
    return path


def read_folder(path: str | Path) -> dict[str, bytes]:
    """The files that the manifest names, each as it was written.

    Raises
    ------
    StorageError
        If the folder is missing, has no manifest, holds links, too many or too large files, or a
        file differs from what was written.
    """
    path = Path(path)
    for _ in range(_ATTEMPTS):
        seen = _identity(path)
        places = [path] if seen is not None else _put_aside(path)
        failure = StorageError(f"{path}: cannot be read (there is no such folder).")
        for place in places:
            try:
                return _read_whole(place)
            except StorageError as error:
                failure = error
        if _identity(path) == seen and (seen is not None or _put_aside(path) == places):
            raise failure
    raise StorageError(f"{path}: is being replaced all the time; try again.")


def _identity(path: Path) -> tuple[int, int] | None:
    """What tells a folder from one that takes its place; None without one."""
    try:
        status = path.stat()
    except (OSError, ValueError):
        return None
    return status.st_ino, status.st_mtime_ns


def _check_names(path: Path, members: Iterable[str]) -> None:
    for name in members:
        for part in name.split("/"):
            odd = part in ("", ".", "..") or any(sign in part for sign in "\0\\:")
            if odd or len(part.encode("utf-8", "replace")) > _LONGEST_NAME:
                raise StorageError(f"{path}: no file can be named {name[:80]!r}; rename it.")
        if name == MANIFEST:
            raise StorageError(f"{path}: {MANIFEST} is the manifest's own name; rename it.")


def _manifest(members: Mapping[str, bytes]) -> bytes:
    """JSON: the digest of each file by its name, and the digest of that table."""
    files = {name: hashlib.sha256(content).hexdigest() for name, content in members.items()}
    return json.dumps({"files": files, "sha256": _digest_of(files)}, indent=1).encode()


def _digest_of(files: object) -> str:
    return hashlib.sha256(json.dumps(files, sort_keys=True).encode()).hexdigest()


def _write_all(folder: Path, members: Mapping[str, bytes]) -> None:
    folder.mkdir()
    made = {folder}
    for name, content in members.items():
        place = folder.joinpath(*name.split("/"))
        place.parent.mkdir(parents=True, exist_ok=True)
        write_synced(place, content)
        made |= set(place.parents) - set(folder.parents)
    for each in made:
        _sync(each)


def _sync(folder: Path) -> None:
    """Write a folder's list of names through to the disk, where the system can."""
    if hasattr(os, "O_DIRECTORY"):
        handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


def _swap(new: Path, path: Path) -> None:
    """Put a folder into its place, whatever others put there at the same time."""
    for _ in range(_ATTEMPTS):
        old = path.with_name(f".{path.name}.{secrets.token_hex(8)}.old")
        try:
            with contextlib.suppress(FileNotFoundError):
                os.rename(path, old)
            os.rename(new, path)
        except OSError as error:
            if error.errno not in (errno.ENOTEMPTY, errno.EEXIST):
                raise
            # Another process was quicker: its folder is put aside in turn.
            _remove(old)
        else:
            for each in _put_aside(path):
                _remove(each)
            return
        finally:
            if os.path.lexists(old) and not os.path.lexists(path):
                os.rename(old, path)
    raise StorageError(f"{path}: is being replaced all the time; try again.")


def _put_aside(path: Path) -> list[Path]:
    """Former contents that no longer stand in their place, the newest first."""
    start, end = f".{path.name}.", ".old"
    found = []
    with contextlib.suppress(OSError, ValueError), os.scandir(path.parent) as entries:
        for entry in entries:
            middle = entry.name.removeprefix(start).removesuffix(end)
            if entry.name == f"{start}{middle}{end}" and len(middle) == 16:
                found.append((entry.stat(follow_symlinks=False).st_mtime_ns, Path(entry.path)))
    return [each for _, each in sorted(found, reverse=True)]


def _remove(path: Path) -> None:
    """What cannot be removed stays behind under its hidden name."""
    if path.is_symlink():
        with contextlib.suppress(OSError):
            path.unlink()
    else:
        shutil.rmtree(path, ignore_errors=True)


def _read_whole(path: Path) -> dict[str, bytes]:
    present = _files_in(path)
    if MANIFEST not in present:
        raise StorageError(
            f"{path}: has no file {MANIFEST}; it is incomplete or was not written by jointmix.save."
        )
    try:
        manifest = json.loads(read_file(path / MANIFEST))
        files, digest = manifest["files"], manifest["sha256"]
        good = isinstance(files, dict) and digest == _digest_of(files)
    except (ValueError, KeyError, TypeError, RecursionError):
        good = False
    if not good:
        raise StorageError(f"{path}: is damaged, its file {MANIFEST} is not as it was written.")
    members = {}
    for name, expected in files.items():
        # Names that the manifest holds are looked up among those found, never turned into paths.
        if name not in present:
            raise StorageError(f"{path}: is damaged, the file {name[:80]!r} is missing.")
        members[name] = read_file(present[name])
        if hashlib.sha256(members[name]).hexdigest() != expected:
            raise StorageError(f"{path}: is damaged, the file {name!r} is not as it was written.")
    return members


def _files_in(path: Path) -> dict[str, Path]:
    """Regular files by their places in the folder."""
    found: dict[str, Path] = {}
    size, waiting = 0, [("", path)]
    while waiting:
        prefix, folder = waiting.pop()
        try:
            with os.scandir(folder) as listed:
                entries = list(listed)
            for entry in entries:
                if entry.is_symlink():
                    raise StorageError(f"{path}: holds the link {prefix + entry.name!r}.")
                if entry.is_dir(follow_symlinks=False):
                    waiting.append((f"{prefix}{entry.name}/", Path(entry.path)))
                elif entry.is_file(follow_symlinks=False):
                    found[prefix + entry.name] = Path(entry.path)
                    size += entry.stat(follow_symlinks=False).st_size
        except StorageError:
            raise
        except (OSError, ValueError) as error:
            reason = error.strerror if isinstance(error, OSError) else error
            raise StorageError(f"{path}: cannot be read ({reason}).") from error
        if len(found) + len(waiting) > MOST_FILES:
            raise StorageError(f"{path}: holds more than {MOST_FILES} files, so it is not a fit.")
    refuse_larger(path, size)
    return found
