"""The processor cores and the memory that this process may use, and sharing the cores with what else runs.

Nothing here loads torch: its OpenMP threads read the environment once, when they are loaded.
"""

import ctypes
import math
import os
import sys
from collections.abc import Iterator
from pathlib import Path

GROUPS, MEMBERSHIP = Path("/sys/fs/cgroup"), Path("/proc/self/cgroup")
# How often a thread of GNU OpenMP looks for work before it sleeps. The default looks for milliseconds, and takes the
# core from the thread of another process that has work; 1000 looks take microseconds, and cost a process alone little.
SPINS = "1000"
# glibc's mallopt: blocks above so many bytes come from the kernel, and so many may lie free before they go back to it.
M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3
KEPT = {M_MMAP_THRESHOLD: 32 << 20, M_TRIM_THRESHOLD: 256 << 20}


def share_cores() -> None:
    """Make torch leave a core that it waits on to others, and start no more threads than a container may run; and have
    memory that one layer of a network frees kept for the next.

    Call it before torch is imported. What the user has set in the environment stays as it is.
    """
    _keep_memory()
    if "OMP_WAIT_POLICY" not in os.environ:
        os.environ.setdefault("GOMP_SPINCOUNT", SPINS)
    if (allowed := cores()) < _schedulable():  # OpenMP itself knows of the other limit, affinity
        os.environ.setdefault("OMP_NUM_THREADS", str(allowed))


def _keep_memory() -> None:
    """glibc gives large blocks back at once, and the kernel clears them page by page when they are asked for again:
    an eighth of the time of the embedded editor's networks. Other libraries of C are left as they are.
    """
    if sys.platform == "linux" and not any(name.startswith(("MALLOC_", "GLIBC_TUNABLES")) for name in os.environ):
        libc = ctypes.CDLL(None)
        for parameter, value in KEPT.items() if hasattr(libc, "mallopt") else ():
            libc.mallopt(parameter, value)


def cores() -> int:
    """How many cores this process may keep busy: its affinity, or the quota of a control group, rounded up."""
    quotas = []
    for text in _limits("cpu", "cpu.max"):  # "QUOTA PERIOD" in microseconds, or "max PERIOD"
        quota, _, period = text.partition(" ")
        if quota.isdecimal() and period.isdecimal() and int(period):
            quotas.append(math.ceil(int(quota) / int(period)))
    for quota, period in zip(_limits("cpu", "cpu.cfs_quota_us"), _limits("cpu", "cpu.cfs_period_us"), strict=False):
        if quota.isdecimal() and period.isdecimal() and int(period):  # a quota of -1 is none
            quotas.append(math.ceil(int(quota) / int(period)))
    return max(1, min([_schedulable(), *quotas]))


def threads() -> int:
    """How many threads work of our own is worth: as many as torch is told to have, as by Ray, or as there are cores."""
    told = os.environ.get("OMP_NUM_THREADS", "")
    return int(told) if told.isdecimal() and int(told) else cores()


def memory_limit() -> int | None:
    """Bytes that the control group of this process may hold; None where nothing limits it."""
    texts = [*_limits("memory", "memory.max"), *_limits("memory", "memory.limit_in_bytes")]
    # Without a limit, version 1 names the largest number of pages that it can count.
    limits = [int(text) for text in texts if text.isdecimal() and int(text) < 2**60]
    return min(limits, default=None)


def _schedulable() -> int:
    affinity = getattr(os, "sched_getaffinity", None)  # Linux alone has it
    return len(affinity(0)) if affinity else os.cpu_count() or 1


def _limits(controller: str, file: str) -> Iterator[str]:
    """What a file of this process's control group and of those around it says, in version 2 or 1 of the interface."""
    for line in _read(MEMBERSHIP).splitlines():
        _, controllers, group = (*line.split(":", 2), "", "")[:3]
        if controllers and controller not in controllers.split(","):
            continue
        root = GROUPS / controller if controllers else GROUPS
        inside = root / group.lstrip("/")
        # In a container the mount may show only the own group, under the path that it has outside.
        for folder in (inside, *inside.parents):
            if text := _read(folder / file):
                yield text
            if folder == root:
                break


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="ascii").strip()
    except (OSError, UnicodeDecodeError):
        return ""
