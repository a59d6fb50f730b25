"""The calls of one worker: what is being set up or answered and not over, told as events and counted for each trunk.

A call is known by its key, the MAC of its dialog token, which is another one for each INVITE: whoever sends many that are alike in Call-ID
and tag has many calls. What is known of a call stands in a record in memory that outlives the worker (`proxy.call_records`). Whichever
worker a BYE comes to, the worker that sent the INVITE on owns the call: the token names it, and it is told. Telling it twice changes
nothing.

Nothing else is needed to pass a BYE on, so that a call of which there is no record (all workers were started anew) is only not counted.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final
from zlib import crc32

from proxy.admission import Admission
from proxy.call_records import ANSWERED, HEADER, LATE, OVER, SETUP, TOLD, CallRecords, Record
from proxy.call_table import CallTable, plain_table
from proxy.events import Answer, By, End, Event, Ringing
from proxy.hangup import Hangup
from proxy.spread import PARTS, Spread
from proxy.tally import Tally
from proxy.token import NO_TABLE

if TYPE_CHECKING:
    from proxy.counters import Counters
    from proxy.token import DialogToken, Secret
    from rules.call import Trunk
    from rules.directory import Segment

REMEMBERED: Final = 64.0
"""Seconds that a call is known of after its end, at least: its 2xx may cross a failure, and be sent again for 64*T1; its BYE comes then,
and may be sent again for as long.
"""

SWEEP: Final = 32.0
"""Seconds between two looks at what is to be forgotten."""

_FEW: Final = 2048
_PARTS_A_TURN: Final = 2
"""More calls than a few are not looked at all at once, but so many of their parts (see Spread) at a time, all of them within SWEEP."""

ORPHANED: Final = 217.0
"""Seconds in which a call is answered that was being set up when its worker ended, if it is at all (Timer C and 64*T1)."""

NOTICES_KEPT: Final = 8192
"""Notices that wait for the other workers; more are dropped and counted. They are taken after each batch of input."""

NAME_AT_MOST: Final = 256
"""Octets of a Call-ID and of a tag that events tell, and characters of a caller or called as it stood in the request."""


class Setup:
    """An initial INVITE that was sent on and has no final response yet. `over` once it has one."""

    __slots__ = ("call_id", "cseq", "egress", "from_tag", "key", "over", "trunk")

    def __init__(self, key: bytes, call_id: bytes, from_tag: bytes, trunk: str, cseq: int, egress: str) -> None:
        self.key = key
        self.call_id = call_id[:NAME_AT_MOST]
        self.from_tag = from_tag[:NAME_AT_MOST]
        self.trunk = trunk
        self.cseq = cseq
        self.egress = egress
        self.over = False


class Within:
    """The call that a request inside a dialog belongs to, which is over where the request is answered 408 or 481 (RFC 5057 §5.1), or
    never. `tags`: the caller's and the callee's.
    """

    __slots__ = ("call_id", "tags", "token", "trunk")

    def __init__(self, token: DialogToken, call_id: bytes, tags: tuple[bytes, bytes], trunk: str) -> None:
        self.token = token
        self.call_id = call_id
        self.tags = tags
        self.trunk = trunk


class Calls:
    """The book of calls. `events` is what happened since it was last taken, None where nobody asks. `active`: whether calls are followed
    at all. `admission`: what they are counted of. `table` stands in the tokens of calls that have a record. `stirred`: whether there is
    something for `sweep`. Times are the core's seconds but for `at`, ms since 1970.
    """

    __slots__ = (
        "_counters",
        "_looked_at",
        "_made_room",
        "_notices",
        "_open",
        "_orphans",
        "_orphans_until",
        "_over",
        "_records",
        "_salt",
        "_secret",
        "_table",
        "_trunks",
        "active",
        "admission",
        "events",
        "longest",
        "stirred",
        "table",
        "wall_offset",
    )

    def __init__(self, counters: Counters, secret: Secret, longest: float, salt: bytes) -> None:
        """`longest`: seconds after which a call that nobody ended is taken off; `salt` differs between starts."""
        self._salt = salt
        self.table = NO_TABLE
        self._counters = counters
        self._secret = secret
        self.longest = longest
        self._table: CallTable | None = None
        self._records = CallRecords(memoryview(bytearray(HEADER)))
        self._open: Spread[int] = Spread()
        self._over: Spread[int] = Spread()
        self._orphans: Spread[int] = Spread()
        self._looked_at = 0
        self._made_room = 0
        self._orphans_until = 0.0
        self.admission = Admission()
        self._trunks = self.admission.trunks
        self._notices: list[tuple[int, Hangup]] = []
        self.active = False
        self.stirred = False
        self.events: list[Event] | None = None
        self.wall_offset = 0.0

    # the rim's side

    def keep_events(self, wanted: bool) -> None:
        """Whether events are kept until they are taken."""
        if wanted == (self.events is not None):
            return
        self.events = [] if wanted else None
        if wanted and self._table is None:
            self.count(plain_table(), {}, 0.0)
        self.active = self._table is not None

    def take_events(self) -> list[Event]:
        """What happened since."""
        events = self.events
        if not events:
            return []
        self.events = []
        return events

    def count(self, table: CallTable, trunks: dict[bytes, Trunk], now: float) -> None:
        """Follow calls in this table, and those that a worker before this one left in it. `trunks` by id code."""
        self._table = table
        self._records = CallRecords(table.records)
        used = self._records.used
        self.table = b"%04x" % self._records.identity(crc32(self._salt))
        self.active = True
        for book in (self._open, self._over, self._orphans):
            book.clear()
        self.admission.begin(table.tally)
        self.admission.know(trunks)
        self._orphans_until = now + ORPHANED
        if used:
            self._recover(table.tally)

    def _recover(self, tally: Tally) -> None:
        """Go on with the calls of a worker before this one. Its row is told anew only when all are counted: others read it meanwhile."""
        for slot, record in self._records.found():
            trunk = self._trunks.get(record.ingress)
            if record.key in self._open or record.key in self._over or trunk is None:
                self._records.give_back(slot)
                continue
            if record.state == OVER:
                self._over.put(record.key, slot)
                continue
            self._open.put(record.key, slot)
            if record.state == SETUP:
                self._orphans.put(record.key, slot)  # its transaction went with the worker
            trunk.count += 1
            if record.segment:
                self.admission.segment_by(record.segment).count += 1
        self.admission.recount()
        tally.drop_left()

    def take_notices(self) -> list[tuple[int, Hangup]]:
        """What owners of calls are to be told: worker, notice."""
        notices, self._notices = self._notices, []
        return notices

    @property
    def known(self) -> int:
        """Calls of which anything is known."""
        return len(self._open) + len(self._over)

    def at(self, now: float) -> int:
        """The core's time in ms since 1970."""
        return int((now + self.wall_offset) * 1000)

    # limits

    def admit(self, code: bytes, trunk: Trunk, segment: Segment | None, now: float, *, force: bool) -> str:
        """Count a call that policy lets go on; the reason code of the limit that it is above, "" for none (see `Admission.admit`)."""
        return self.admission.admit(code, trunk, segment, now, force=force, room=self.room)

    # a call's way

    def begin(self, setup: Setup, ingress: bytes, segment: Segment | None, now: float) -> None:
        """An admitted call was sent on."""
        self.admission.admitted()
        self.stirred = True
        key = setup.key
        slot = -1 if key in self._open or key in self._over else self._take()
        if slot < 0:
            self._counters.calls_untracked += 1
            self.admission.release(ingress, segment)
            return
        self._records.name(slot, setup.call_id, setup.from_tag)
        record = Record(key, ingress, setup.cseq, int(now * 1000), self.admission.segment(segment).key if segment is not None else 0)
        self._records.write(slot, record)
        self._open.put(key, slot)

    def rang(self, setup: Setup, status: int, now: float) -> None:
        """The first 101-199 went to the caller."""
        if self.events is not None and not setup.over:
            self.events.append(Ringing(self.at(now), setup.call_id, setup.from_tag, setup.trunk, setup.cseq, status))

    @property
    def room(self) -> bool:
        """Whether one more call can be known."""
        return self._records.room or len(self._over) > 0

    def forgot(self, token: DialogToken) -> bool:
        """Whether a call was known here and is over for long."""
        return token.table == self.table and token.key not in self._open and token.key not in self._over

    def answered(self, setup: Setup, to_tag: bytes, status: int, target: str, now: float) -> None:
        """A 2xx went to the caller: the first, one of another callee, or one sent again."""
        tag = self._secret.tag_code(to_tag)
        setup.over = True
        slot = self._open.get(setup.key)
        if slot is not None:
            record = self._records.read(slot)
            tell = record.state == SETUP
            record.open_dialog(tag)
            if tell:
                record.state = ANSWERED
                record.flags |= TOLD
                record.since = int(now * 1000)
                self._open.pop(setup.key)
                self._open.put(setup.key, slot)  # in the order in which they were answered
            self._records.write(slot, record)
            self._orphans.pop(setup.key)
        else:
            tell = self._late(setup, tag, now)
        if tell and self.events is not None:
            self.events.append(Answer(self.at(now), setup.call_id, setup.from_tag, setup.trunk, setup.cseq, status, setup.egress, target))

    def failed(self, setup: Setup, status: int, by: By, why: str, now: float) -> None:
        """A final failure response went to the caller."""
        if setup.over:
            return
        setup.over = True
        slot = self._open.get(setup.key)
        if slot is not None:
            self._close(setup.key, slot, self._records.read(slot), now)
        self._end(self.at(now), setup.call_id, setup.from_tag, setup.trunk, setup.cseq, status, by, why)

    def hung_up(self, within: Within, by: By, why: str, now: float) -> None:
        """A BYE went to the other side, or what ends a call as well came from there."""
        own = self._table
        token = within.token
        if own is None or not token.invite:
            return
        caller, callee = within.tags
        tag = self._secret.tag_code(callee)
        call_id, from_tag = within.call_id[:NAME_AT_MOST], caller[:NAME_AT_MOST]
        said = Hangup(token.key, token.table, tag, call_id, from_tag, token.ingress, self.at(now), by, why)
        if token.worker != own.own and token.worker < own.workers:
            if len(self._notices) < NOTICES_KEPT:
                self._notices.append((token.worker, said))
            else:
                self._counters.hangups_untold += 1
            return
        line = self._trunks.get(token.ingress)  # it may be gone from the configuration while it has calls
        self._hear(said, within.trunk if line is None else line.name, now)

    def hear(self, said: Hangup, now: float) -> None:
        """Another worker tells of the end of a call of ours."""
        line = self._trunks.get(said.ingress)
        self._hear(said, "" if line is None else line.name, now)

    def _hear(self, said: Hangup, trunk: str, now: float) -> None:
        key = said.key
        slot = self._open.get(key)
        if slot is not None:
            record = self._records.read(slot)
            place = record.dialog(said.tag)
            if place < 0:
                return  # a dialog of no callee that answered: it goes on without it
            record.closed |= 1 << place
            if record.alive:
                self._records.write_state(slot, record)
                return
            self._close(key, slot, record, now)
        else:
            slot = self._over.get(key)
            if slot is not None:
                record = self._records.read(slot)
                place = record.dialog(said.tag)
                if place < 0 or record.closed >> place & 1 or not record.flags & LATE:
                    return
                record.closed |= 1 << place
                record.flags &= ~LATE
                self._records.write(slot, record)
            elif said.why == "bye" and said.table != self.table:  # there never was a record of it, or none is left
                self._remember(key, said, TOLD, now)
            else:
                return
        self._end(said.at, said.call_id, said.from_tag, trunk, 0, 0, said.by, said.why)

    def _late(self, setup: Setup, tag: int, now: float) -> bool:
        """An answer after the end of a call, or to one of which nothing is known; whether it is the first. It is not counted: its caller,
        who was told that it failed, will end it, and if caller and callee know better no count of ours can hold them.
        """
        slot = self._over.get(setup.key)
        if slot is None:
            said = Hangup(setup.key, NO_TABLE, tag, setup.call_id, setup.from_tag, b"", self.at(now), "callee", "")
            return self._remember(setup.key, said, TOLD | LATE, now)
        record = self._records.read(slot)
        if not record.open_dialog(tag) or record.flags & TOLD:
            self._records.write(slot, record)
            return False
        record.flags |= TOLD | LATE
        self._records.write(slot, record)
        return True

    def _remember(self, key: bytes, said: Hangup, flags: int, now: float) -> bool:
        """Know for a while that a call of which nothing is known was answered (LATE) or hung up."""
        slot = self._take()
        if slot >= 0:
            self.stirred = True
            self._records.name(slot, said.call_id, said.from_tag)
            record = Record(key, said.ingress.ljust(8, b"0")[:8], 0, int(now * 1000))
            record.state = OVER
            record.flags = flags
            record.open_dialog(said.tag)
            record.closed = 0 if flags & LATE else 1
            self._records.write(slot, record)
            self._over.put(key, slot)
        return True

    def _close(self, key: bytes, slot: int, record: Record, now: float) -> None:
        """A call is over: it counts no more."""
        self._open.pop(key)
        self._orphans.pop(key)
        record.state = OVER
        record.since = int(now * 1000)
        self._records.write_state(slot, record)
        self._over.put(key, slot)
        line = self._trunks.get(record.ingress)
        if line is not None:
            line.remove()
        if record.segment:
            self.admission.segment_by(record.segment).remove()

    def _end(self, at: int, call_id: bytes, from_tag: bytes, trunk: str, cseq: int, status: int, by: By, why: str) -> None:
        if self.events is not None:
            self.events.append(End(at, call_id, from_tag, trunk, cseq, status, by, why))

    # what time does

    def sweep(self, now: float) -> float:
        """Forget calls that are long over, and take off those that nobody ended: of a few calls all, of many some parts. Seconds until it
        is to be done again; 0 where nothing is left to look after.
        """
        turn = PARTS if self.known <= _FEW else _PARTS_A_TURN
        for _ in range(turn):
            self._looked_at = at = (self._looked_at + 1) % PARTS
            self._sweep_part(at, now)
        return SWEEP * turn / PARTS if self.known else 0.0

    def _sweep_part(self, at: int, now: float) -> None:
        until = int((now - REMEMBERED) * 1000)
        forgotten: list[bytes] = []
        for key, slot in self._over.parts[at].items():
            if self._records.since(slot) > until:
                break
            forgotten.append(key)
            self._records.give_back(slot)
        for key in forgotten:
            self._over.pop(key)
        if len(self._orphans) and now >= self._orphans_until:
            for key, slot in list(self._orphans.parts[at].items()):
                self._lose(key, slot, now)
        until = int((now - self.longest) * 1000)
        lost: list[tuple[bytes, int]] = []
        for key, slot in self._open.parts[at].items():
            if self._records.since(slot) > until:
                break
            record = self._records.read(slot)
            if record.state == ANSWERED:
                lost.append((key, slot))
        for key, slot in lost:
            self._lose(key, slot, now)

    def _lose(self, key: bytes, slot: int, now: float) -> None:
        """Nobody ended it."""
        record = self._records.read(slot)
        names = self._records.names(slot)
        line = self._trunks.get(record.ingress)
        cseq = 0 if record.state == ANSWERED else record.cseq
        self._counters.calls_lost += 1
        self._close(key, slot, record, now)
        if names is not None and line is not None:
            self._end(self.at(now), names[0], names[1], line.name, cseq, 0, "proxy", "lost")

    # slots

    def _take(self) -> int:
        slot = self._records.take()
        if slot < 0 and len(self._over):  # what is over gives way: the oldest of a part, of each in its turn
            at = self._made_room
            while not self._over.parts[at]:
                at = (at + 1) % PARTS
            self._made_room = (at + 1) % PARTS
            taken = self._over.pop(next(iter(self._over.parts[at])))
            slot = -1 if taken is None else taken
        return slot
