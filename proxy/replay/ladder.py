"""The messages of each call, for the ladder diagrams of the page. Bounded in calls, messages and bytes; what is left out is counted."""

from __future__ import annotations

from typing import Final

from proxy.replay.message import Captured
from proxy.replay.row import Row, key_of
from proxy.sip.message import SipMessage

CALLS_AT_MOST: Final = 5_000
"""Calls on a page: those that a candidate changes first, then refused ones, then the others, of each the first in the trace."""
MESSAGES_AT_MOST: Final = 200
"""Messages of one call."""
RUNGS_AT_MOST: Final = 250_000
"""Messages of all calls."""
TEXT_LONGEST: Final = 8_192
"""Bytes of one message that are kept."""
TEXT_AT_MOST: Final = 32 << 20
"""Bytes of messages in all; those beyond keep their place in the ladder, without their text."""


class Rung:
    """One message of a ladder; `again` counts its retransmissions, `text` is None where there was no room for it."""

    __slots__ = ("again", "at", "destination", "destination_port", "label", "request", "source", "source_port", "text", "transport")

    def __init__(self, captured: Captured, message: SipMessage, text: bytes | None) -> None:
        self.at = captured.at
        self.source = captured.source
        self.source_port = captured.source_port
        self.destination = captured.destination
        self.destination_port = captured.destination_port
        self.transport = captured.transport
        self.request = message.is_request
        label = message.method if message.is_request else b"%d %b" % (message.status, message.phrase)
        self.label = label.decode("utf-8", "replace")[:48]
        self.again = 0
        self.text = text


class Ladder:
    """The messages of one Call-ID, in the order of their capture. `left_out`: those that there was no room for."""

    __slots__ = ("_seen", "left_out", "rows", "rungs")

    def __init__(self) -> None:
        self.rows = 0
        self.rungs: list[Rung] = []
        self.left_out = 0
        self._seen: dict[tuple[str, int, str, int, int], Rung] = {}

    def add(self, captured: Captured, message: SipMessage, room: int, *, full: bool = False) -> int:
        """Take a message in, with its text where that has `room`, or leave it out where all is `full`; bytes that it takes."""
        place = (captured.source, captured.source_port, captured.destination, captured.destination_port, hash(captured.data))
        known = self._seen.get(place)
        if known is not None:
            known.again += 1
            return 0
        if full or len(self.rungs) >= MESSAGES_AT_MOST:
            self.left_out += 1
            return 0
        text = captured.data[:TEXT_LONGEST]
        kept = text if len(text) <= room else None
        rung = self._seen[place] = Rung(captured, message, kept)
        self.rungs.append(rung)
        return 0 if kept is None else len(kept)

    def size(self) -> int:
        """Bytes of text."""
        return sum(len(rung.text) for rung in self.rungs if rung.text is not None)


class Ladders:
    """The calls that a page shows, and their messages. `left_out` counts calls that it has no room for, `untold` messages without their
    text.
    """

    def __init__(self, calls: int = CALLS_AT_MOST, text: int = TEXT_AT_MOST) -> None:
        self._limit = calls
        self._room = text
        self._ladders: dict[bytes, Ladder] = {}
        self._kept: tuple[list[tuple[int, Row]], ...] = ([], [], [])
        self._count = 0
        self._rungs = 0
        self.left_out = 0
        self.untold = 0

    def begin(self, row: Row) -> None:
        """A call has begun, whose messages are to be kept."""
        self._ladders.setdefault(row.key, Ladder()).rows += 1

    def see(self, captured: Captured, message: SipMessage) -> None:
        """A message of the trace; one that belongs to no call is not kept."""
        ladder = self._ladders.get(key_of(message.first(b"call-id") or b""))
        if ladder is not None:
            before = len(ladder.rungs)
            self._room -= ladder.add(captured, message, self._room, full=self._rungs >= RUNGS_AT_MOST)
            if len(ladder.rungs) > before:
                self._rungs += 1
                if ladder.rungs[-1].text is None:
                    self.untold += 1

    def keep(self, row: Row) -> None:
        """A call was judged, and is shown if there is room, or if it matters more than one that is."""
        rank = 0 if row.changed else 1 if row.verdict.action != "pass" or row.verdict.would is not None else 2
        self._kept[rank].append((self._count, row))
        self._count += 1
        if self._count - self.left_out > self._limit:
            least = next(kept for kept in reversed(self._kept) if kept)
            self._drop(least.pop()[1])

    def rows(self) -> list[Row]:
        """The calls that are shown, in the order of the trace."""
        return [row for _, row in sorted((item for kept in self._kept for item in kept), key=lambda item: item[0])]

    def of(self, row: Row) -> Ladder:
        """A call's messages; KeyError for a call that is not shown."""
        return self._ladders[row.key]

    def _drop(self, row: Row) -> None:
        self.left_out += 1
        ladder = self._ladders[row.key]
        ladder.rows -= 1
        if not ladder.rows:
            self._room += ladder.size()
            self._rungs -= len(ladder.rungs)
            del self._ladders[row.key]
