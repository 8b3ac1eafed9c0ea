"""What is put together before it is written: in memory while it is small, else on the disk."""

import io
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryFile
from typing import IO, Any

#: Bytes that are kept in memory, and those that are read at a time.
_IN_MEMORY, _PIECE = 2**28, 2**24


class Draft(io.RawIOBase):
    """A file object of bytes, which beyond 256 MiB are in a nameless file.

    Parameters
    ----------
    folder
        Where that file is: what is written in the end has its room there too.

    Attributes
    ----------
    error
        What went wrong in writing, or None. HDF5, which writes here, would not survive it: what it
        writes afterwards is lost, and whoever called it asks here.
    """

    def __init__(self, folder: Path) -> None:
        super().__init__()
        self._folder = folder
        self._file: IO[bytes] = io.BytesIO()
        self.error: OSError | None = None

    def write(self, data: Any) -> int:
        """Write all of ``data``."""
        size = memoryview(data).nbytes
        try:
            if isinstance(self._file, io.BytesIO) and self._file.tell() + size > _IN_MEMORY:
                self._move()
            self._file.write(data)
        except OSError as error:
            self.error = self.error or error
        return size

    def _move(self) -> None:
        held, self._file = self._file, TemporaryFile(dir=self._folder)  # noqa: SIM115
        place = held.tell()
        held.seek(0)
        while piece := held.read(_PIECE):
            self._file.write(piece)
        self._file.seek(place)

    def readinto(self, buffer: Any) -> int:
        """Fill a buffer as far as there is something."""
        found = self._file.read(memoryview(buffer).nbytes)
        memoryview(buffer).cast("B")[: len(found)] = found
        return len(found)

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        """Go to a place."""
        return self._file.seek(offset, whence)

    def tell(self) -> int:
        """The place."""
        return self._file.tell()

    def truncate(self, size: int | None = None) -> int:
        """Cut off what stands behind a place."""
        return self._file.truncate(size)

    def readable(self) -> bool:
        """Whether it can be read."""
        return True

    def writable(self) -> bool:
        """Whether it can be written."""
        return True

    def seekable(self) -> bool:
        """Whether one can go to a place."""
        return True

    def pieces(self) -> Iterator[bytes]:
        """All of it."""
        self._file.seek(0)
        while piece := self._file.read(_PIECE):
            yield piece

    def close(self) -> None:
        """Forget it."""
        self._file.close()
        super().close()
