"""Which calls may begin: those of one worker, counted for each trunk and segment and held to their limits."""

from __future__ import annotations

from hashlib import blake2b
from typing import TYPE_CHECKING, Final

from proxy.limits import Subject
from proxy.tally import Tally

if TYPE_CHECKING:
    from rules.call import Trunk
    from rules.directory import Segment

SEGMENTS_KEPT: Final = 16_384
"""Segments with a limit that are remembered while they have no call."""


class Admission:
    """What calls are counted of: `trunks` by id code, and the segments that have a limit."""

    __slots__ = ("_admitted", "_kept", "_segments", "_tally", "trunks")

    def __init__(self) -> None:
        self.trunks: dict[bytes, Subject] = {}
        self._segments: dict[int, Subject] = {}
        self._kept = SEGMENTS_KEPT
        self._tally: Tally | None = None
        self._admitted: tuple[bytes, Segment | None] | None = None

    def begin(self, tally: Tally) -> None:
        """Count there from now on; what was counted before is forgotten."""
        self._tally = tally
        self.trunks.clear()
        self._segments.clear()

    def recount(self) -> None:
        """Tell what was found of the calls of a worker before this one."""
        for subject in (*self.trunks.values(), *self._segments.values()):
            subject.recount(subject.count)

    def know(self, trunks: dict[bytes, Trunk]) -> None:
        """The trunks in force, by id code: each worker tells its calls of all of them, so that a limit which one worker has heard of
        counts the calls of those that have not.
        """
        if self._tally is None:
            return
        for code in [code for code, subject in self.trunks.items() if code not in trunks and not subject.count]:
            self.trunks.pop(code).forget()
        for code, trunk in trunks.items():
            self._line(code, trunk)

    def counts(self) -> dict[str, int]:
        """This worker's calls by trunk."""
        return {subject.name: subject.count for subject in self.trunks.values()}

    def admit(self, code: bytes, trunk: Trunk, segment: Segment | None, now: float, *, force: bool, room: bool) -> str:
        """Count a call that policy lets go on; the reason code of the limit that it is above, "" for none.

        A call above a limit is not counted, unless with `force`: it goes on all the same. `room`: whether one more call can be known.
        """
        self.settle()
        line = self._line(code, trunk)
        limited = trunk.max_calls is not None or trunk.max_cps is not None
        if not limited and segment is None:
            line.add(None)
            self._admitted = (code, None)
            return ""
        part = self.segment(segment) if segment is not None else None
        if limited:
            line.take_turn()  # always before a segment's: of two that want both, one waits and has neither
        try:
            if part is not None:
                part.take_turn()
            try:
                over = _count(line, trunk, part, segment, now, force, room)
            finally:
                if part is not None:
                    part.end_turn()
        finally:
            if limited:
                line.end_turn()
        if not over or force:
            self._admitted = (code, segment)
        return over

    def settle(self) -> None:
        """Release a call that was admitted and then neither began nor was released: something went wrong with its request."""
        admitted = self._admitted
        if admitted is not None:
            self.release(admitted[0], admitted[1])

    def release(self, code: bytes, segment: Segment | None) -> None:
        """A call that was admitted went no further."""
        self._admitted = None
        line = self.trunks.get(code)
        if line is not None:
            line.remove()
        if segment is not None:
            self.segment(segment).remove()

    def admitted(self) -> None:
        """The call that was admitted began."""
        self._admitted = None

    def _line(self, code: bytes, trunk: Trunk) -> Subject:
        found = self.trunks.get(code)
        if found is None:
            assert self._tally is not None
            found = self.trunks[code] = Subject(trunk.id, _key(b"trunk", trunk.id), self._tally)
        return found

    def segment(self, segment: Segment) -> Subject:
        """What the calls of a segment are counted of."""
        return self.segment_by(_key(b"segment", f"{segment.customer} {segment.trunk} {segment.first} {segment.last}"))

    def segment_by(self, key: int) -> Subject:
        """The same by its key, which stands in the records of calls."""
        found = self._segments.get(key)
        if found is None:
            if len(self._segments) >= self._kept:
                for other in [other for other, subject in self._segments.items() if not subject.count]:
                    self._segments.pop(other).forget()
                self._kept = max(SEGMENTS_KEPT, 2 * len(self._segments))  # the next look is as far away as this one was long
            assert self._tally is not None
            found = self._segments[key] = Subject("", key, self._tally)
        return found


def _count(line: Subject, trunk: Trunk, part: Subject | None, segment: Segment | None, now: float, force: bool, room: bool) -> str:
    """Count one call more of a trunk and a segment, or of neither; the code of the first limit that it is above."""
    over = ""
    # what cannot be counted cannot be held to a limit
    if not ((room or force or trunk.max_calls is None) and line.add(trunk.max_calls)):
        over = "TRK_CALLS"
        if not force:
            return over
        line.add(None)
    if part is not None and segment is not None and not ((room or force or segment.max_calls is None) and part.add(segment.max_calls)):
        over = over or "SEG_CALLS"
        if not force:
            line.remove()
            return over
        part.add(None)
    if trunk.max_cps is not None and not line.start(trunk.max_cps, now, force=force):
        over = over or "TRK_CPS"
        if not force:
            line.remove()
            if part is not None:
                part.remove()
            return over
    if part is not None and segment is not None and segment.max_cps is not None and not part.start(segment.max_cps, now, force=force):
        over = over or "SEG_CPS"
        if not force:
            line.remove()
            part.remove()
            if trunk.max_cps is not None:
                line.take_back()
            return over
    return over


def _key(kind: bytes, name: str) -> int:
    """An even number that stands for a subject in every worker (the odd one behind it is for its starts)."""
    return int.from_bytes(blake2b(name.encode(), digest_size=8, person=kind).digest(), "little") & ~1 or 2
