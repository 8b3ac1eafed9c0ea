"""What the machine has left, and what is not loaded onto it."""

import os
import sys
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from contextvars import ContextVar
from importlib.util import find_spec
from pathlib import Path
from threading import Lock
from types import ModuleType

from jointmix.base.errors import MemoryLimitError

#: Bytes of address space that loading the numerical libraries takes, and what each thread adds:
#: OpenBLAS, of which NumPy and SciPy bring one each, sets room for every thread aside.
_LIBRARIES = 0.45e9
_LIBRARIES_PER_THREAD = 0.1e9
#: The threads that OpenBLAS is built for in the wheels of NumPy and SciPy.
_MOST_THREADS = 64


def require_libraries() -> None:
    """Refuse a process that the numerical libraries do not fit into.

    OpenBLAS ends a process that it finds no room in, and no exception says so: its room has to be
    looked for before it is loaded.

    Raises
    ------
    MemoryLimitError
        If the limit of the process' address space (``ulimit -v``) leaves too little.
    """
    needed = _LIBRARIES + _LIBRARIES_PER_THREAD * _blas_threads()
    free = _of_process()
    if free < needed:
        raise MemoryLimitError(
            f"The memory does not suffice: the numerical libraries take {needed / 1e9:.1f} GB of "
            f"address space and the process' limit leaves {max(free, 0) / 1e9:.1f} GB; raise the "
            "limit (ulimit -v)."
        )


#: Cores that the running job may use, where several share the machine.
_CORES: ContextVar[int | None] = ContextVar("cores", default=None)


def available_cores() -> int:
    """Cores that this process, or the job that it runs, may use."""
    count = getattr(os, "process_cpu_count", os.cpu_count)  # Python 3.13 counts what it may use.
    return _CORES.get() or count() or 1


@contextmanager
def limited_cores(cores: int) -> Iterator[None]:
    """Let what runs inside, in this thread, count on so many cores."""
    before = _CORES.set(cores)
    try:
        yield
    finally:
        _CORES.reset(before)


def _blas_threads() -> int:
    asked = os.environ.get("OPENBLAS_NUM_THREADS", "")
    return min(int(asked) if asked.isdecimal() else available_cores(), _MOST_THREADS)


def available() -> float:
    """Bytes that may still be taken: of the machine, the control group, or the process' limit.

    Infinite where the system does not say.
    """
    return min(_of_machine(), _of_group(), _of_process())


def _of_machine() -> float:
    try:
        lines = Path("/proc/meminfo").read_text(encoding="ascii").splitlines()
    except OSError:
        return float("inf")
    for line in lines:
        if line.startswith("MemAvailable:"):
            return float(line.split()[1]) * 1024
    return float("inf")


def _of_group() -> float:
    """What Linux' control groups (version 2) leave."""
    folder = Path("/sys/fs/cgroup")
    try:
        limit = (folder / "memory.max").read_text(encoding="ascii").strip()
        used = (folder / "memory.current").read_text(encoding="ascii").strip()
    except OSError:
        return float("inf")
    return float("inf") if limit == "max" else float(limit) - float(used)


def _of_process() -> float:
    """What the limit of the process' address space (``ulimit -v``) leaves."""
    try:
        lines = Path("/proc/self/limits").read_text(encoding="ascii").splitlines()
        status = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
    except OSError:
        return float("inf")
    limit = next(line.split()[3] for line in lines if line.startswith("Max address space"))
    used = next(float(line.split()[1]) * 1024 for line in status if line.startswith("VmSize:"))
    return float("inf") if limit == "unlimited" else float(limit) - used


def is_installed(name: str) -> bool:
    """Whether a package can be imported; a module that was imported lazily stays unloaded."""
    return sys.modules.get(name) is not None or find_spec(name) is not None


def leave_out(name: str) -> None:
    """Let a module look as if it were not installed, for the rest of this process.

    For commands, whose process is theirs alone: xarray, which asks whether an array is one of
    Dask's, would import all of Dask to find out.
    """
    if name not in sys.modules:
        sys.modules[name] = None  # type: ignore[assignment]


#: By name, a module that is hidden, and by how many: the last of several threads shows it again.
_HIDDEN: dict[str, tuple[ModuleType, int]] = {}
_HIDING = Lock()


@contextmanager
def hidden_until_loaded(name: str) -> Iterator[None]:
    """Let a module that was imported lazily, and not loaded yet, look as if it were not there.

    ArviZ leaves JAX to be loaded when used, and Matplotlib and SciPy, which ask whether an array
    is one of JAX's, use it: a second, and memory, for nothing. Not for what may load it after all:
    a module of that name beside the lazy one would break whoever holds that.
    """
    hides = _hide(name)
    try:
        yield
    finally:
        if hides:
            _show(name)


def _hide(name: str) -> bool:
    module = sys.modules.get(name)
    with _not_loading(module), _HIDING:
        if name in _HIDDEN:
            module, holders = _HIDDEN[name]
            _HIDDEN[name] = module, holders + 1
            return True
        module = sys.modules.get(name)
        if module is None or type(module) is ModuleType:
            return False
        _HIDDEN[name] = module, 1
        del sys.modules[name]
        return True


def _show(name: str) -> None:
    with _HIDING:
        module, holders = _HIDDEN.pop(name)
        if holders > 1:
            _HIDDEN[name] = module, holders - 1
        else:
            sys.modules.setdefault(name, module)


def _not_loading(module: ModuleType | None) -> AbstractContextManager[object]:
    """The lock of a lazy module: a thread that loads it holds it until the module is whole."""
    if module is None or type(module) is ModuleType:
        return nullcontext()
    state = getattr(object.__getattribute__(module, "__spec__"), "loader_state", None)
    return nullcontext() if state is None else state["lock"]
