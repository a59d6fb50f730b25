"""Fragments of IP packets put together again (RFC 791 §3.2, RFC 8200 §4.5)."""

from __future__ import annotations

from typing import Final

from proxy.replay.trouble import FRAGMENTS, Trouble

MAX_PACKETS: Final = 4096
"""Packets that wait for fragments."""
MAX_BYTES: Final = 1 << 25
MAX_PIECES: Final = 8192
"""Fragments of one packet: 65535 bytes in pieces of eight."""
LIFETIME: Final = 30.0
"""Seconds in which the fragments of a packet must come; its identification may be used again later."""

Key = tuple[bytes, bytes, int, int]
"""Source, destination, identification, and the protocol for IPv4 (-1 for IPv6)."""


class _Waiting:
    """A packet of which some fragments came."""

    __slots__ = ("at", "dead", "pieces", "place", "protocol", "size", "total")

    def __init__(self, at: float, place: str) -> None:
        self.at = at
        self.place = place
        self.pieces: dict[int, bytes] = {}
        self.size = 0
        self.total = -1
        self.protocol = -1
        # Fragments overlapped: what still comes of the packet is dropped, too (RFC 5722).
        self.dead = False


class Fragments:
    """All packets that wait for fragments, bounded in number, bytes and time: the oldest are given up, and counted."""

    __slots__ = ("_bytes", "_trouble", "_waiting")

    def __init__(self, trouble: Trouble) -> None:
        self._trouble = trouble
        self._waiting: dict[Key, _Waiting] = {}
        self._bytes = 0

    def add(self, key: Key, at: float, offset: int, more: bool, protocol: int, data: bytes, place: str) -> tuple[int, bytes] | None:
        """Take a fragment in; the protocol and payload of its packet, when it was the last that was missing."""
        waiting = self._waiting.get(key)
        if waiting is not None and abs(at - waiting.at) > LIFETIME:
            self._give_up(key, waiting)
            waiting = None
        if waiting is None:
            waiting = self._waiting[key] = _Waiting(at, place)
            if len(self._waiting) > MAX_PACKETS:
                self._oldest()
        if waiting.dead:
            return None
        end = offset + len(data)
        why = ""
        same = waiting.pieces.get(offset)
        if same is not None and same == data:
            return None  # it came twice
        if end > 65535:
            why = "fragments of more than 65535 bytes"
        elif more and (len(data) & 7 or not data):
            why = "a fragment whose length is no multiple of 8"
        elif same is not None:
            why = "overlapping fragments"
        elif not more and waiting.total not in (-1, end):
            why = "two last fragments"
        if why:
            self._drop(waiting, place, why)
            return None
        if not more:
            waiting.total = end
        if not offset:
            waiting.protocol = protocol
        waiting.pieces[offset] = data
        waiting.size += len(data)
        self._bytes += len(data)
        if waiting.total >= 0 and waiting.size >= waiting.total and 0 in waiting.pieces:
            return self._whole(key, waiting, place)
        if len(waiting.pieces) > MAX_PIECES or (waiting.total >= 0 and waiting.size > waiting.total):
            self._drop(waiting, place, "overlapping fragments")
        while self._bytes > MAX_BYTES:
            self._oldest()
        return None

    def finish(self) -> None:
        """Nothing more comes: count what is not complete."""
        while self._waiting:
            self._oldest()

    def _whole(self, key: Key, waiting: _Waiting, place: str) -> tuple[int, bytes] | None:
        """All bytes came, as many as there must be: they are the packet unless some of them overlap."""
        expected = 0
        ordered = sorted(waiting.pieces.items())
        for offset, data in ordered:
            if offset != expected:
                self._drop(waiting, place, "overlapping fragments")
                return None
            expected += len(data)
        del self._waiting[key]
        self._bytes -= waiting.size
        return waiting.protocol, b"".join([data for _, data in ordered])

    def _drop(self, waiting: _Waiting, place: str, why: str) -> None:
        self._trouble.note(FRAGMENTS, place, why)
        self._bytes -= waiting.size
        waiting.pieces = {}
        waiting.size = 0
        waiting.dead = True

    def _oldest(self) -> None:
        key = next(iter(self._waiting))
        self._give_up(key, self._waiting[key])

    def _give_up(self, key: Key, waiting: _Waiting) -> None:
        del self._waiting[key]
        self._bytes -= waiting.size
        if not waiting.dead:
            missing = "the last fragment" if waiting.total < 0 else f"{max(waiting.total - waiting.size, 0)} of {waiting.total} bytes"
            self._trouble.note(FRAGMENTS, waiting.place, f"a packet of which {missing} never came")
