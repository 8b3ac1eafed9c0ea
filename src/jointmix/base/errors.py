"""The errors a user can meet: one sentence each, naming what is wrong and what to do."""

import mmap


class JointmixError(Exception):
    """Anything the package refuses to do; the command line turns it into exit code 2.

    Examples
    --------
    >>> try:
    ...     jm.ModelSpec(n_clusters=0)
    ... except jm.JointmixError as error:
    ...     print(error)
    n_clusters must be a whole number, at least 1; got 0.
    """


class SpecError(JointmixError, ValueError):
    """A specification that contradicts itself or names something unknown."""


class DataError(JointmixError, ValueError):
    """A table that the model cannot be fitted to, or predicted for."""


class ColumnTypeError(DataError, TypeError):
    """A column that does not hold numbers."""


class StorageError(JointmixError, OSError):
    """A file that cannot be written, or read back as it was written."""


class SchemaError(JointmixError, ValueError):
    """A DataTree that lacks the groups, variables or dims that a function needs."""


class SamplingError(JointmixError, RuntimeError):
    """A sampler that could not start or did not finish."""


class NotNormalError(SamplingError):
    """A posterior that no normal approximation is found of."""


class SumsError(SamplingError):
    """A posterior that sums over rows do not suffice for: a sampler has to have the rows."""


class MissingExtraError(JointmixError, ImportError):
    """An optional package that is not installed; the message names the extra."""


class MemoryLimitError(JointmixError, MemoryError):
    """A fit that would not fit into memory; the message says how much it needs."""


class PrecisionWarning(UserWarning):
    """A result that rests on too few draws to be exact."""


#: What may go wrong below the package without being anyone's mistake in the code.
EXPECTED = (JointmixError, MemoryError, OSError)


#: How the loader says that a library has no room in memory.
_NO_ROOM = ("failed to map segment", "cannot allocate memory")
#: Bytes without which nothing that imports a library goes on to finish.
_LEAST_ROOM = 256 << 20


def lacks_memory(error: BaseException) -> bool:
    """Whether an error, or the one behind it, comes of want of memory.

    Extension modules that fail to load may forget why; then what is left says it.
    """
    if isinstance(error, JointmixError):
        return False
    if isinstance(error, ImportError | OSError):
        behind = error.__cause__ or error.__context__
        said = any(words in str(error).lower() for words in _NO_ROOM)
        if said or (behind is not None and lacks_memory(behind)):
            return True
        broken = isinstance(error, ImportError) and not isinstance(error, ModuleNotFoundError)
        return broken and not _has_room()
    return isinstance(error, MemoryError)


def _has_room() -> bool:
    try:
        mmap.mmap(-1, _LEAST_ROOM).close()
    except (OSError, MemoryError):
        return False
    return True


def sentence(error: BaseException) -> str:
    """What to tell a user of one of the `EXPECTED` errors, or of one that `lacks_memory`."""
    if isinstance(error, JointmixError):
        return str(error)
    if lacks_memory(error):
        return "The memory does not suffice; free some, or ask for fewer draws, rows or jobs."
    place = f"{error.filename}: " if isinstance(error, OSError) and error.filename else ""
    return f"{place}{getattr(error, 'strerror', None) or error}."
