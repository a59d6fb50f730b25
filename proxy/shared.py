"""The memory in which workers count calls: made by the supervisor, mapped by each worker, and there for as long as the node runs.

First a row of counters for each worker (`proxy.tally`), then each worker's records (`proxy.call_records`). The file has no name and holes
for all that was never written: of a worker's records only as much as it had calls at a time is memory.
"""

from __future__ import annotations

import fcntl
import mmap
import os
from functools import partial
from typing import Final

from proxy.call_records import CAPACITY, HEADER, RECORD
from proxy.call_table import CallTable
from proxy.owners import octets
from proxy.tally import ROW_SIZE, Tally

_RECORDS: Final = HEADER + CAPACITY * RECORD


def make_memory(workers: int) -> int:
    """A file descriptor of memory for so many workers. OSError where the system has none."""
    fd = os.memfd_create("sipwarden-calls", os.MFD_CLOEXEC)
    os.ftruncate(fd, workers * (ROW_SIZE + _RECORDS))
    return fd


def map_table(fd: int, own: int) -> CallTable:
    """The table as worker `own` sees it. OSError or ValueError where that is no memory of `make_memory`."""
    size = os.fstat(fd).st_size
    workers, rest = divmod(size, ROW_SIZE + _RECORDS)
    if rest or not 0 <= own < workers:
        raise ValueError(f"{size} octets are no table of calls with a row {own}")
    whole = memoryview(mmap.mmap(fd, size))
    rows = [whole[at * ROW_SIZE : (at + 1) * ROW_SIZE].cast("Q") for at in range(workers)]
    start = workers * ROW_SIZE + own * _RECORDS
    return CallTable(rows, whole[start : start + _RECORDS], own, Tally(rows, own, partial(_turn, fd)))


def _turn(fd: int, key: int, take: bool) -> None:
    """A record lock (POSIX) on an octet that stands for a key: one process has it, the kernel takes it back from one that ends, and who
    waits sleeps. OSError where the kernel has no room for it.
    """
    fcntl.lockf(fd, fcntl.LOCK_EX if take else fcntl.LOCK_UN, 1, key >> 2)  # an offset has 63 bits


def make_owners(workers: int) -> int:
    """A file descriptor of memory in which so many workers note whose an INVITE is. OSError where the system has none."""
    fd = os.memfd_create("sipwarden-owners", os.MFD_CLOEXEC)
    os.ftruncate(fd, octets(workers))
    return fd


def map_owners(fd: int) -> memoryview:
    """That memory. OSError or ValueError where it is none."""
    return memoryview(mmap.mmap(fd, os.fstat(fd).st_size))
