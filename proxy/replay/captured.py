"""Trace files to SIP messages."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from datetime import UTC, tzinfo
from typing import Final

from proxy.replay import dumps
from proxy.replay.message import Captured
from proxy.replay.octets import STDIN, Counted, Octets, decompressed, size
from proxy.replay.packets import MAGICS, packets
from proxy.replay.payloads import Payloads
from proxy.replay.trouble import CUT, DAMAGED, FILE, Example, Trouble

__all__ = ["Captured", "Example", "Progress", "Trouble", "read"]

_JOURNAL: Final = b"sipwarden journal segment "

# Called now and then with the bytes read so far and all there are (None when one of the inputs is a pipe).
Progress = Callable[[int, int | None], None]


def read(paths: Iterable[str], trouble: Trouble, progress: Progress | None = None, zone: tzinfo = UTC) -> Iterator[Captured]:
    """Every SIP message of these traces, file after file, each in the order in which its last byte was captured; the path "-" is stdin.

    Formats are told by what the files hold: pcap, pcapng, HEP3 packets one after the other, text (see `marks`), and these compressed with
    gzip or Zstandard. Files are one capture, as rotated ones are: a connection, or a fragmented packet, goes on in the next. Times in text
    that have no zone are in `zone`; those without a date are seconds since midnight (below 86400).

    Nothing that a file holds raises: what cannot be read is counted in `trouble`, which is complete when the iterator is exhausted. A path
    that cannot be opened is counted there too (kind "file"). Memory is bounded whatever the size of the trace.
    """
    payloads = Payloads(trouble)
    paths = list(paths)
    sizes = [size(path) for path in paths]
    total = None if None in sizes else sum(each or 0 for each in sizes)
    before = 0
    for path in paths:
        try:
            counted = Counted(path)
        except (OSError, ValueError) as error:
            trouble.note(FILE, path, getattr(error, "strerror", None) or str(error))
            continue
        try:
            shown = -1
            for captured in _file(path, counted, trouble, payloads, zone):
                if captured is not None:
                    yield captured
                if progress is not None and counted.done != shown:
                    shown = counted.done
                    progress(before + shown, total)
            before += counted.done
        finally:
            counted.close()
        if progress is not None:
            progress(before, total)
    yield from payloads.finish()


def _file(path: str, counted: Counted, trouble: Trouble, payloads: Payloads, zone: tzinfo) -> Iterator[Captured | None]:
    """The messages of one file; None now and then where there are none for long."""
    name = "stdin" if path == STDIN else path
    try:
        octets = decompressed(counted)
    except OSError as error:
        trouble.note(FILE, name, error.strerror or str(error))
        return
    magic = octets.peek(4)
    if not magic:
        trouble.note(FILE, name, octets.fault or "it is empty")
    elif magic in MAGICS:
        take = payloads.messages
        for packet in packets(octets, name, trouble):
            yield from take(packet, name)
            if not packet[4] & 0xFF:
                yield None
    elif octets.peek(len(_JOURNAL)) == _JOURNAL:
        trouble.note(FILE, name, "a segment of our journal: give the folder that it is in")
    elif magic == b"HEP3":
        yield from _hep(octets, name, trouble, payloads)
    else:
        yield from dumps.messages(octets, name, trouble, zone)


def _hep(octets: Octets, name: str, trouble: Trouble, payloads: Payloads) -> Iterator[Captured]:
    """HEP packets one after the other, as a capture server receives them on a connection."""
    number = 0
    while head := octets.peek(6):
        number += 1
        place = f"{name}:{number}"
        length = head[4] << 8 | head[5] if len(head) == 6 else 6
        if head[:4] != b"HEP3" or length < 6:
            trouble.note(DAMAGED, place, "no HEP packet where one must begin; the rest of the file is not read")
            return
        data = octets.take(length)
        if len(data) < length or len(head) < 6:
            trouble.note(CUT, place, octets.fault or f"the file ends after {len(data)} bytes of a HEP packet")
            return
        trouble.packets += 1
        yield from payloads.hep(data, place)
