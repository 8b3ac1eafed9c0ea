"""What the machine has left."""

from pathlib import Path


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
