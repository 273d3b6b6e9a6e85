"""Whether the kernel has killed for lack of memory: asked before and after, only a difference says so."""

from pathlib import Path


def kills() -> int:
    """How many processes the OOM killer has killed: in our cgroup where readable, else on this machine."""
    for path in (_cgroup_events(), Path("/proc/vmstat")):
        if path is None:
            continue
        try:
            for line in path.read_text().splitlines():
                name, _, value = line.partition(" ")
                if name == "oom_kill":
                    return int(value)
        except (OSError, ValueError):
            continue
    return 0


def _cgroup_events() -> Path | None:
    try:
        line = next(
            line for line in Path("/proc/self/cgroup").read_text().splitlines() if line.startswith("0::")
        )
    except (OSError, StopIteration):
        return None
    return Path("/sys/fs/cgroup", line.removeprefix("0::").lstrip("/"), "memory.events")
