"""Folders of Parquet files written file by file, that are there when all of them are.

Until then the files stand in a folder beside, OUT.unfinished, from which the same job goes on.
"""

import contextlib
import json
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from filelock import FileLock, Timeout

from jointmix.base.errors import StorageError
from jointmix.storage.files import check_folder_of, hidden_name, write_file

if TYPE_CHECKING:
    import pyarrow as pa

_JOB, _LOCK = "_job.json", ".lock"


@dataclass(frozen=True)
class PartFolder:
    """The unfinished folder of a job, which nobody else writes to.

    Attributes
    ----------
    path
        Of the finished result.
    unfinished
        Where files are until then.
    """

    path: Path
    unfinished: Path

    def written(self, name: str) -> "tuple[pa.Schema, int] | None":
        """The schema and the rows of a file that is there already; None where none is."""
        import pyarrow.parquet as pq

        place = self.unfinished / name
        if not place.is_file():
            return None
        try:
            found = pq.ParquetFile(place)
            return found.schema_arrow, found.metadata.num_rows
        except (OSError, ValueError) as error:
            raise StorageError(f"{place}: cannot be read back ({error}); delete it.") from error

    def write(self, name: str, schema: "pa.Schema", tables: "Iterator[pa.Table]") -> int:
        """Write a file whole or not at all; its number of rows.

        Raises
        ------
        StorageError
            If it cannot be written; files that were written before stay.
        """
        import pyarrow.parquet as pq

        temporary = hidden_name(self.unfinished / name, "tmp")
        n = 0
        try:
            with pq.ParquetWriter(temporary, schema) as writer:
                for table in tables:
                    writer.write_table(table)
                    n += table.num_rows
            _sync(temporary)
            os.replace(temporary, self.unfinished / name)
        except StorageError:
            raise
        except OSError as error:
            raise StorageError(
                f"{self.unfinished / name}: cannot be written ({error.strerror or error}); what "
                "was finished before stays, and the same call goes on from there."
            ) from error
        finally:
            with contextlib.suppress(OSError):
                temporary.unlink()
        return n


def _sync(path: Path) -> None:
    with path.open("rb") as stream:
        os.fsync(stream.fileno())


@contextlib.contextmanager
def part_folder(path: str | Path, job: Mapping[str, Any]) -> Iterator[PartFolder]:
    """The folder to which a job writes; it gets its own name where what runs inside succeeds.

    Parameters
    ----------
    path
        Of the result: no file or folder yet, or an empty folder.
    job
        All that the result depends on, as JSON has it: the same job goes on from what an
        interrupted one has left, another one is refused there.

    Raises
    ------
    StorageError
        If there is something at the path, its folder cannot be written to, another process
        writes there, or another job has left something.
    """
    path = check_folder_of(path)
    _refuse_existing(path)
    unfinished = path.with_name(f"{path.name}.unfinished")
    try:
        unfinished.mkdir(exist_ok=True)
    except OSError as error:
        raise StorageError(f"{unfinished}: cannot be written ({error.strerror}).") from error
    lock = FileLock(unfinished / _LOCK, blocking=False)
    try:
        lock.acquire()
    except Timeout as error:
        raise StorageError(
            f"{path}: another process is writing it; wait for its end, or choose another folder."
        ) from error
    except OSError as error:
        raise StorageError(f"{unfinished}: cannot be written ({error.strerror}).") from error
    try:
        _claim(unfinished, path, job)
        yield PartFolder(path, unfinished)
        _finish(unfinished, path, lock)
    finally:
        lock.release()


def _refuse_existing(path: Path) -> None:
    # A link's own target is not looked at: it is in the way whatever it points to.
    if path.is_symlink() or (path.exists() and not _is_empty_folder(path)):
        raise StorageError(
            f"{path}: is there already, and results are not written over; delete it, or choose "
            "another folder."
        )


def _is_empty_folder(path: Path) -> bool:
    try:
        return path.is_dir() and not any(path.iterdir())
    except OSError:
        return False


def _claim(unfinished: Path, path: Path, job: Mapping[str, Any]) -> None:
    """Write down what the folder is for, or compare it with what is written there."""
    text = json.dumps(job, sort_keys=True, indent=1)
    mark = unfinished / _JOB
    others = [each for each in unfinished.iterdir() if each.name != _LOCK]
    if mark.is_file():
        if mark.read_text("utf-8") != text:
            raise StorageError(
                f"{path}: another job, of other arguments, rows or another fit, has left its start "
                f"in {unfinished.name}; delete that, or choose another folder."
            )
    elif others:
        raise StorageError(f"{unfinished}: holds what this job has not written; delete it.")
    else:
        write_file(mark, text.encode())
    _clear(unfinished)


def _clear(unfinished: Path) -> None:
    """Take away what processes that were killed had begun to write."""
    for left in unfinished.glob(".*.tmp"):
        left.unlink(missing_ok=True)


def _finish(unfinished: Path, path: Path, lock: FileLock) -> None:
    try:
        _refuse_existing(path)
        _clear(unfinished)
        lock.release()
        (unfinished / _LOCK).unlink(missing_ok=True)
        if path.is_dir():
            path.rmdir()
        unfinished.rename(path)
        (path / _JOB).unlink()
    except StorageError:
        raise
    except OSError as error:
        raise StorageError(f"{path}: cannot be written ({error.strerror}).") from error
