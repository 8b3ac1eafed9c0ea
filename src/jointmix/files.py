"""Files written whole or not at all."""

import os
import secrets
from pathlib import Path

from jointmix.arguments import file_path, shown
from jointmix.errors import StorageError

LONGEST_NAME = 240  # bytes; file systems take 255, of which a temporary name needs some


def check_writable(path: str | os.PathLike[str]) -> Path:
    """The path, if a file could be written there.

    Raises
    ------
    StorageError
        If its folder does not exist or cannot be written to, or the path is itself a folder.
    """
    path = file_path(path)
    if not path.parent.is_dir():
        raise StorageError(f"{path}: the folder {path.parent} does not exist; create it first.")
    if len(path.name.encode("utf-8", "surrogateescape")) > LONGEST_NAME:
        raise StorageError(
            f"{shown(path.name)}: the name of a file may have at most {LONGEST_NAME} bytes."
        )
    if path.is_dir():
        raise StorageError(f"{path}: is a folder, a file name is required.")
    if not os.access(path.parent, os.W_OK):
        raise StorageError(f"{path}: the folder {path.parent} cannot be written to.")
    return path


def write_file(path: str | Path, content: bytes | memoryview) -> Path:
    """Write ``content`` to ``path``; on failure the file that was there stays as it was.

    Raises
    ------
    StorageError
        If the file cannot be written.
    """
    path = check_writable(path)
    # The same folder: a rename is atomic only within one file system.
    temporary = path.with_name(f".{secrets.token_hex(8)}.tmp")
    try:
        with temporary.open("xb") as stream:
            stream.write(content)
            stream.flush()
            os.fsync(stream.fileno())
        os.replace(temporary, path)
    except OSError as error:
        raise StorageError(f"{path}: cannot be written ({error.strerror}).") from error
    finally:
        temporary.unlink(missing_ok=True)
    return path
