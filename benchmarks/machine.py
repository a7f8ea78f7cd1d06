"""The machine under a benchmark: cores, and what a process spends of them and of memory. Linux.

On a machine that is shared with others, `chrt -f 1 python -m benchmarks …` (as root) keeps their work out of the
figures. Under that policy a thread that never rests leaves no time to the process's other threads on its core (the
store's is one), and the kernel takes 5 % for everybody else: a step that fills its core fares worse than it would
otherwise.
"""

import os
import platform
import time
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

_AVAILABLE = sorted(os.sched_getaffinity(0))
BRIDGE_CORE, CALLERS_CORE = _AVAILABLE[-1], _AVAILABLE[0]
"""One each, as long as the machine has two. Looked up before anything is pinned."""


def stay_on(core: int) -> None:
    """Keep this process, and the threads that it starts from now on, on one core."""
    os.sched_setaffinity(0, {core})


def cpu_s(pid: int) -> float:
    """CPU seconds spent so far by all threads of a process, to the nanosecond."""
    return time.clock_gettime((~pid << 3) | 2)  # the kernel's number for the CPU clock of another process


def waited_s(pid: int) -> float:
    """Seconds that the main thread of a process was ready to run while something else held its core."""
    return int(Path(f"/proc/{pid}/schedstat").read_text().split()[1]) / 1e9


def resident_mb(pid: int) -> float:
    """Resident memory of a process."""
    pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 1e6


def open_files(pid: int) -> int:
    """Descriptors of a process, sockets included."""
    return len(os.listdir(f"/proc/{pid}/fd"))


def threads(pid: int) -> int:
    """Threads of a process."""
    return len(os.listdir(f"/proc/{pid}/task"))


@dataclass(frozen=True)
class Usage:
    """What a process used over a stretch of time. `waited_share` is the time lost to others on the same core: a run in
    which it is more than a few per cent says as much about them as about the process."""

    wall_s: float
    cpu_s: float
    waited_s: float

    @property
    def share(self) -> float:
        return self.cpu_s / self.wall_s

    @property
    def waited_share(self) -> float:
        return self.waited_s / self.wall_s


class UsageMeter:
    """Measures from its construction to `read`."""

    def __init__(self, pid: int) -> None:
        self._pid = pid
        self._began = (time.monotonic(), cpu_s(pid), waited_s(pid))

    def read(self) -> Usage:
        wall, cpu, waited = self._began
        return Usage(time.monotonic() - wall, cpu_s(self._pid) - cpu, waited_s(self._pid) - waited)


def description() -> str:
    """Date, processor, interpreter: what a figure is worth nothing without."""
    model = platform.machine()
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            model = line.partition(":")[2].strip()
            break
    ahead = ", ahead of other processes" if os.sched_getscheduler(0) in (os.SCHED_FIFO, os.SCHED_RR) else ""
    today = datetime.now(UTC).date().isoformat()
    system = f"Linux {platform.release()}, Python {platform.python_version()}"
    return f"{today}, {model}, {os.cpu_count()} cores, {system}{ahead}"
