"""Files and folders written whole or not at all, and read only if they are what they seem.

A symbolic link that stands where something is written is replaced by what is written; what it
points to is left alone.
"""

import contextlib
import os
import secrets
import stat
from collections.abc import Iterable, Mapping
from pathlib import Path

from jointmix.base.arguments import file_path, shown
from jointmix.base.errors import SpecError, StorageError
from jointmix.base.machine import available

#: How the names of saved fits end.
FIT_SUFFIXES = (".nc", ".zarr", ".zarr.zip")

#: What is written to a file: at once, or piece by piece.
type Content = bytes | memoryview | Iterable[bytes]

_NOT_WAITING = getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0)


def fit_suffix(path: str | os.PathLike[str]) -> str:
    """How the name of a saved fit ends: one of `FIT_SUFFIXES`.

    Raises
    ------
    StorageError
        If it ends otherwise.
    """
    name = file_path(path).name
    for suffix in FIT_SUFFIXES:
        if name.endswith(suffix) and name != suffix:
            return suffix
    raise StorageError(f"{path}: the name of a fit must end in .nc, .zarr or .zarr.zip.")


def beside_fit(path: Path, suffix: str) -> Path:
    """The file beside a saved fit that has its name and another suffix."""
    return path.with_name(path.name.removesuffix(fit_suffix(path)) + suffix)


LONGEST_NAME = 240  # bytes; file systems take 255, of which a temporary name needs some


def check_writable(path: str | os.PathLike[str]) -> Path:
    """The path, if a file could be written there.

    Raises
    ------
    StorageError
        If its folder does not exist or cannot be written to, or the path is itself a folder, a
        named pipe or a device.
    """
    path = check_folder_of(path)
    # Those of os.path say no where a folder may not be looked into; pathlib's raise.
    if os.path.isdir(path):
        raise StorageError(f"{path}: is a folder, a file name is required.")
    if os.path.exists(path) and not os.path.isfile(path):
        raise StorageError(f"{path}: is no regular file, so it is not replaced.")
    return path


def made_folder(path: str | os.PathLike[str]) -> Path:
    """A folder that files can be written to, made if it is not there.

    Raises
    ------
    StorageError
        If it cannot be made, is no folder, or nothing can be written there.
    """
    try:
        place = Path(path)
        place.mkdir(exist_ok=True)
    except (OSError, TypeError, ValueError) as error:
        raise StorageError(f"{path}: is no folder that can be written to ({error}).") from error
    check_writable(place / "file")
    return place


def refuse_same(outputs: Mapping[str, Path], inputs: Mapping[str, Path]) -> None:
    """Refuse to write over what is read, or to write two things to one place.

    Links are followed: two names of one file are the same place.

    Parameters
    ----------
    outputs, inputs
        Places by what they hold, such as "the report".

    Raises
    ------
    SpecError
        If two of the outputs, or an output and an input, are the same file.
    """
    taken = list(inputs.items())
    for what, path in outputs.items():
        for other, there in taken:
            if _same(path, there):
                raise SpecError(f"{path}: {what} would be written over {other}; rename one.")
        taken.append((what, path))


def _same(one: Path, other: Path) -> bool:
    """Whether two names stand for one file, which need not exist yet."""
    try:
        if os.path.samefile(one, other):
            return True
    except (OSError, ValueError):
        pass
    return os.path.realpath(one) == os.path.realpath(other)


def check_folder_of(path: str | os.PathLike[str]) -> Path:
    """The path, if something could be put into its folder.

    Raises
    ------
    StorageError
        If the folder does not exist or cannot be written to, or the name holds NUL or is too long.
    """
    path = file_path(path)
    if not os.path.isdir(path.parent):
        raise StorageError(f"{path}: the folder {path.parent} does not exist; create it first.")
    if len(path.name.encode("utf-8", "surrogateescape")) > LONGEST_NAME:
        raise StorageError(
            f"{shown(path.name)}: the name of a file may have at most {LONGEST_NAME} bytes."
        )
    if not os.access(path.parent, os.W_OK):
        raise StorageError(f"{path}: the folder {path.parent} cannot be written to.")
    return path


def hidden_name(path: Path, suffix: str) -> Path:
    """A name in the same folder that nothing has: renaming is atomic only within a file system."""
    return path.with_name(f".{secrets.token_hex(8)}.{suffix}")


def write_file(path: str | Path, content: Content) -> Path:
    """Write ``content`` to ``path``; on failure the file that was there stays as it was.

    Raises
    ------
    StorageError
        If the file cannot be written.
    """
    path = check_writable(path)
    temporary = hidden_name(path, "tmp")
    try:
        write_synced(temporary, content)
        os.replace(temporary, path)
    except OSError as error:
        raise StorageError(f"{path}: cannot be written ({error.strerror}).") from error
    finally:
        with contextlib.suppress(OSError):
            temporary.unlink()
    return path


def write_synced(path: Path, content: Content) -> None:
    """Write a file that does not exist yet, through to the disk."""
    pieces = [content] if isinstance(content, bytes | memoryview) else content
    with path.open("xb") as stream:
        for piece in pieces:
            stream.write(piece)
        stream.flush()
        os.fsync(stream.fileno())


def read_file(path: str | Path) -> bytes:
    """The bytes of a regular file; a symbolic link to one is followed.

    Raises
    ------
    StorageError
        If it cannot be read, is a folder, a named pipe or a device, or is larger than what is free
        of the memory.
    """
    try:
        # Opening a named pipe would otherwise wait for someone to write to it.
        handle = os.open(path, os.O_RDONLY | _NOT_WAITING)
        with open(handle, "rb") as stream:
            status = os.fstat(handle)
            if not stat.S_ISREG(status.st_mode):
                kind = "a folder" if stat.S_ISDIR(status.st_mode) else "no regular file"
                raise StorageError(f"{path}: cannot be read (it is {kind}).")
            refuse_larger(path, status.st_size)
            return stream.read()
    except StorageError:
        raise
    except OSError as error:
        raise StorageError(f"{path}: cannot be read ({error.strerror}).") from error
    except ValueError as error:
        raise StorageError(f"{str(path)!r}: cannot be read ({error}).") from error


def refuse_larger(path: str | Path, size: float) -> None:
    """Refuse what would not fit into memory.

    Raises
    ------
    StorageError
        If ``size`` bytes are not free.
    """
    free = available()
    if size > free:
        raise StorageError(
            f"{path}: takes {size / 1e9:,.1f} GB of memory, of which {max(free, 0) / 1e9:,.1f} GB "
            "are free."
        )
