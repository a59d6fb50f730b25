"""Trace files to SIP messages."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator

from proxy.replay.message import Captured
from proxy.replay.trouble import Example, Trouble

__all__ = ["Captured", "Example", "Progress", "Trouble", "read"]

# Called now and then with the bytes read so far and all there are (None when one of the inputs is a pipe).
Progress = Callable[[int, int | None], None]


def read(paths: Iterable[str], trouble: Trouble, progress: Progress | None = None) -> Iterator[Captured]:
    """Every SIP message of these traces, in the order in which they were captured; the path "-" is stdin.

    Nothing that a file holds raises: what cannot be read is counted in `trouble`, which is complete when the iterator is exhausted. A path that
    cannot be opened is counted there too (kind "file"). Memory is bounded whatever the size of the trace.
    """
    yield from ()
