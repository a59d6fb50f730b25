"""CPU time by the kernel's own accounting (/proc/PID/task/TID/schedstat, nanoseconds), over a process with all that it started.

What the kernel does for a process within its system calls is in it: sending a datagram over loopback puts it into the receiver's queue too.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable
from pathlib import Path


def tree(root: int) -> set[int]:
    """A process and its descendants."""
    found: set[int] = set()
    waiting = [root]
    while waiting:
        process = waiting.pop()
        found.add(process)
        for children in Path(f"/proc/{process}/task").glob("*/children"):
            waiting += [int(word) for word in _read(children).split()]
    return found


def cpu_seconds(processes: Iterable[int]) -> float:
    """Seconds on a CPU so far, all threads; of processes that have ended nothing is counted."""
    return sum(_on_cpu(process) for process in processes)


def cpu_by_process(processes: Iterable[int]) -> dict[int, float]:
    """The same of each."""
    return {process: _on_cpu(process) for process in processes}


def anonymous(process: int) -> int:
    """Bytes that a process shares with nobody (Anonymous, /proc/PID/smaps_rollup); 0 where it has ended."""
    found = re.search(r"^Anonymous: +(\d+) kB", _read(Path(f"/proc/{process}/smaps_rollup")), re.MULTILINE)
    return int(found[1]) * 1024 if found else 0


class Others:
    """What everything else on this machine uses of its CPUs meanwhile: a figure taken beside much of it is worth nothing."""

    def __init__(self, ours: set[int]) -> None:
        """Begin to watch all but `ours` and this process."""
        self._ours = ours | {os.getpid()}
        self._before = self._all()

    def used(self) -> float:
        """CPU seconds since then, of the processes that are there now."""
        return sum(seconds - self._before.get(process, 0.0) for process, seconds in self._all().items())

    def _all(self) -> dict[int, float]:
        return {process: _on_cpu(process) for process in map(int, filter(str.isdigit, os.listdir("/proc"))) if process not in self._ours}


def _on_cpu(process: int) -> float:
    return sum(int((_read(file) or "0").split()[0]) for file in Path(f"/proc/{process}/task").glob("*/schedstat")) / 1e9


def _read(file: Path) -> str:
    try:
        return file.read_text(encoding="ascii")
    except OSError:  # it has ended
        return ""
