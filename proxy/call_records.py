"""Calls as records of one size in memory that outlives the process: a worker that is started again goes on with the calls before it."""

from __future__ import annotations

from struct import Struct
from typing import Final

RECORD: Final = 256
"""Bytes of a record."""

CAPACITY: Final = 1 << 18
"""Records of one worker: calls that are being set up, that are answered, or that ended within the last minute."""

HEADER: Final = 64

KEY: Final = 16
"""Bytes of a call's key."""

FREE: Final = 0
SETUP: Final = 1
ANSWERED: Final = 2
OVER: Final = 3

TOLD: Final = 4
"""Flag beside the state: an answer was told of."""
LATE: Final = 8
"""Flag beside the state: an answer was told of after the end."""

TAGS: Final = 4
"""Dialogs of one call (a callee forked) that are told apart."""

_STATE: Final = 3
_FIXED: Final = Struct("=BBxxHHI16s8sQQ4I")
_REST: Final = Struct("=I16s8sQQ4I")
_REST_AT: Final = _FIXED.size - _REST.size
"""What is written of _FIXED without the lengths of the names, which stay."""
_SINCE: Final = Struct("=Q")
_SINCE_AT: Final = _REST_AT + Struct("=I16s8s").size
_NAMES: Final = RECORD - _FIXED.size
_NONE: Final = 0xFFFF
_HIGH: Final = Struct("=Q")


class Record:
    """One call as it stands in its record.

    `tags`: what callees that answered are known by, 0 for none; `closed`: a bit for each that was hung up. `since`: when it began, was
    answered or ended, in ms of the system's monotonic clock, which workers share. `cseq` is its INVITE's; `segment` the key of the
    segment that it counts for, 0 for none.
    """

    __slots__ = ("closed", "cseq", "flags", "ingress", "key", "segment", "since", "state", "tags")

    def __init__(self, key: bytes, ingress: bytes, cseq: int, since: int, segment: int = 0) -> None:
        self.state = SETUP
        self.flags = 0
        self.closed = 0
        self.key = key
        self.ingress = ingress
        self.cseq = cseq
        self.since = since
        self.segment = segment
        self.tags: list[int] = [0] * TAGS

    @property
    def alive(self) -> bool:
        """Whether it has a dialog that was not hung up."""
        answered = 0
        for place, tag in enumerate(self.tags):
            if tag:
                answered |= 1 << place
        return answered & ~self.closed != 0

    def dialog(self, tag: int) -> int:
        """The place of a callee's dialog; -1 for one that is not known."""
        return self.tags.index(tag) if tag in self.tags else -1

    def open_dialog(self, tag: int) -> bool:
        """Note that a callee answered; False for one that is known already. More than TAGS are not told apart."""
        if tag in self.tags:
            return False
        if 0 in self.tags:
            self.tags[self.tags.index(0)] = tag
        return True


class CallRecords:
    """The records of one worker in `memory`, HEADER + CAPACITY * RECORD bytes or fewer."""

    __slots__ = ("_free", "_high", "_memory", "capacity")

    def __init__(self, memory: memoryview) -> None:
        self._memory = memory
        self.capacity = (len(memory) - HEADER) // RECORD
        self._free: list[int] = []
        self._high = min(int(_HIGH.unpack_from(memory, 0)[0]), self.capacity)

    @property
    def used(self) -> bool:
        """Whether a worker had these records before."""
        return bool(self._memory[8] | self._memory[9])

    def identity(self, fresh: int) -> int:
        """A number from 1 to 65535 that stands for these records as long as they live: `fresh` where they are new."""
        known = self._memory[8] | self._memory[9] << 8
        if not known:
            known = fresh & 0xFFFF or 1
            self._memory[8] = known & 0xFF
            self._memory[9] = known >> 8
        return known

    def found(self) -> list[tuple[int, Record]]:
        """Every record that was left by the worker before, with its slot, the oldest first. To be asked once, before all else."""
        left: list[tuple[int, Record]] = []
        for slot in range(self._high):
            record = self.read(slot)
            if record.state == FREE or not record.key.isalnum():
                self._memory[HEADER + slot * RECORD] = FREE  # or one that the end of the worker left half written
                self._free.append(slot)
            else:
                left.append((slot, record))
        left.sort(key=_since)
        return left

    @property
    def room(self) -> bool:
        """Whether there is a slot for a new record."""
        return bool(self._free) or self._high < self.capacity

    def take(self) -> int:
        """A slot for a new record; -1 where there is none."""
        if self._free:
            return self._free.pop()
        if self._high >= self.capacity:
            return -1
        slot = self._high
        self._high += 1
        _HIGH.pack_into(self._memory, 0, self._high)
        return slot

    def give_back(self, slot: int) -> None:
        """A record is wanted no more."""
        self._memory[HEADER + slot * RECORD] = FREE
        self._free.append(slot)

    def name(self, slot: int, call_id: bytes, from_tag: bytes) -> None:
        """Write what the call is known by; left out where it is longer than the record."""
        at = HEADER + slot * RECORD
        memory = self._memory
        memory[at] = FREE
        names = call_id + from_tag
        if len(names) <= _NAMES:
            memory[at + 4 : at + 8] = len(call_id).to_bytes(2, "little") + len(from_tag).to_bytes(2, "little")
            start = at + _FIXED.size
            memory[start : start + len(names)] = names
        else:
            memory[at + 4 : at + 8] = b"\xff\xff\xff\xff"

    def names(self, slot: int) -> tuple[bytes, bytes] | None:
        """Call-ID and From tag; None where they were too long."""
        at = HEADER + slot * RECORD
        memory = self._memory
        one = int.from_bytes(memory[at + 4 : at + 6], "little")
        two = int.from_bytes(memory[at + 6 : at + 8], "little")
        if one + two > _NAMES:
            return None
        start = at + _FIXED.size
        return bytes(memory[start : start + one]), bytes(memory[start + one : start + one + two])

    def write(self, slot: int, record: Record) -> None:
        """Write a record; its names stay."""
        at = HEADER + slot * RECORD
        memory = self._memory
        tags = record.tags
        _REST.pack_into(
            memory,
            at + _REST_AT,
            record.cseq,
            record.key,
            record.ingress,
            record.since,
            record.segment,
            tags[0],
            tags[1],
            tags[2],
            tags[3],
        )
        memory[at + 1] = record.closed
        memory[at] = record.state | record.flags

    def write_state(self, slot: int, record: Record) -> None:
        """Write of a record what may change after the call was answered: state, flags, dialogs hung up, since when."""
        at = HEADER + slot * RECORD
        memory = self._memory
        _SINCE.pack_into(memory, at + _SINCE_AT, record.since)
        memory[at + 1] = record.closed
        memory[at] = record.state | record.flags

    def since(self, slot: int) -> int:
        """Since when a record is as it is, in ms."""
        found: int = _SINCE.unpack_from(self._memory, HEADER + slot * RECORD + _SINCE_AT)[0]
        return found

    def read(self, slot: int) -> Record:
        """A record as it stands."""
        state, closed, _, _, cseq, key, ingress, since, segment, one, two, three, four = _FIXED.unpack_from(
            self._memory, HEADER + slot * RECORD
        )
        record = Record(key, ingress, cseq, since, segment)
        record.state = state & _STATE
        record.flags = state & ~_STATE
        record.closed = closed
        record.tags = [one, two, three, four]
        return record


def _since(found: tuple[int, Record]) -> int:
    return found[1].since
