"""Events to records: one Call for each call, whatever process, segment or day its events come from.

All events of a call share Call-ID, From tag and ingress trunk, a group; `cseq` tells the attempts in it apart (see `proxy.events`). A group
is given out once each of its calls has ended and for LINGER nothing was heard of it: an event that a restarted worker tells again, or that
another worker told a moment earlier, still finds it. A call that no End ever comes for is given out as it stands after `longest`.

What is pending is bounded by `most` events: beyond it the oldest groups are given out as they stand, and counted.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from heapq import heapify, heappop, heappush
from typing import Final

from proxy.events import Answer, Attempt, End, Event, Ringing

LINGER: Final = 64_000
"""Milliseconds: twice the longest that a request is sent again (Timer B, RFC 3261 §17.1.1.2)."""

LONGEST: Final = 25 * 3600_000
"""Milliseconds after which a call is given out that has not ended."""

MOST: Final = 200_000
"""Pending events."""

CROWD: Final = 64
"""Events of one group at which those of its calls are given out that are over: a group may grow without end (a caller that redials with the
same Call-ID and From tag), and is looked through at each event.
"""

LOST: Final = "lost"
"""Why a call ended of which nobody heard any more."""

Key = tuple[bytes, bytes, str]
Later = Ringing | Answer | End

_PLACE: Final = {Ringing: "ringing", Answer: "answer", End: "end"}
_RANK: Final = {Attempt: 0, Ringing: 1, Answer: 2, End: 3}


class Call:
    """The events of one call. `attempt` is None where its attempt was lost: power failed within the flush interval, or it was damaged."""

    __slots__ = ("answer", "attempt", "end", "ringing")

    def __init__(self, attempt: Attempt | None = None) -> None:
        self.attempt = attempt
        self.ringing: Ringing | None = None
        self.answer: Answer | None = None
        self.end: End | None = None

    @property
    def over(self) -> bool:
        """Whether nothing more is to come."""
        return self.attempt is not None and (self.end is not None or at_once(self.attempt))

    def events(self) -> list[Event]:
        """What is known of it, in the order of a call."""
        return [event for event in (self.attempt, self.ringing, self.answer, self.end) if event is not None]

    def misses(self, event: Later) -> bool:
        """Whether it has no event of this kind yet."""
        return getattr(self, _PLACE[type(event)]) is None

    def take(self, event: Later) -> bool:
        """Put an event in its place; False where one is there that counts before it."""
        if self.misses(event) or (isinstance(event, End) and event.why != LOST and self.end is not None and self.end.why == LOST):
            setattr(self, _PLACE[type(event)], event)
            return True
        return False


class Joiner:
    """Groups of pending events. `repeated` counts events told twice, `cut` groups given out early because too much was pending,
    `unfinished` those given out after `longest`.
    """

    def __init__(self, *, longest: int = LONGEST, most: int = MOST) -> None:
        self.longest = longest
        self.most = most
        self.repeated = 0
        self.cut = 0
        self.unfinished = 0
        self.size = 0
        self._groups: dict[Key, list[Event]] = {}
        self._due: list[tuple[int, int, Key]] = []
        self._turn = 0

    def restore(self, events: Iterable[Event]) -> None:
        """Take up what `pending` gave: nothing is given out yet."""
        for event in events:
            self._add(event)

    def pending(self) -> Iterator[Event]:
        """Every event of every group that was not given out."""
        for events in self._groups.values():
            yield from events

    def feed(self, event: Event) -> Iterator[Call]:
        """One more event: gives the calls of this group that are over, where there is a crowd in it, and of the oldest where there is no
        more room.
        """
        key, events = self._add(event)
        if len(events) >= CROWD:
            yield from self._thin(key, events)
        while self.size > self.most:
            oldest, events = next(iter(self._groups.items()))
            calls, repeated = resolve(events)
            self.cut += 1
            self._remove(oldest, events, repeated)
            yield from calls

    def ripe(self, now: int) -> Iterator[Call]:
        """Calls that are over, and those that began so long ago that no end will come; `now` is how far (ms) the events have been read."""
        due = self._due
        while due and due[0][0] <= now:
            _, _, key = heappop(due)
            events = self._groups.get(key)
            if events is None:
                continue
            quiet = max([event.at for event in events]) + LINGER
            if quiet > now:
                self._wait(quiet, key)
                continue
            calls, repeated = resolve(events)
            if not all(call.over for call in calls):
                given_up = min([event.at for event in events]) + self.longest
                if given_up > now:
                    self._wait(given_up, key)
                    continue
                self.unfinished += 1
            self._remove(key, events, repeated)
            yield from calls

    def _add(self, event: Event) -> tuple[Key, list[Event]]:
        key = (event.call_id, event.from_tag, event.trunk)
        events = self._groups.get(key)
        if events is None:
            events = self._groups[key] = []
            self._wait(event.at + LINGER, key)
        elif isinstance(event, End | Attempt):  # it may be over with this
            self._wait(event.at + LINGER, key)
        events.append(event)
        self.size += 1
        return key, events

    def _wait(self, until: int, key: Key) -> None:
        self._turn += 1
        heappush(self._due, (until, self._turn, key))
        if len(self._due) > 4 * self.most:  # groups that were given out early leave their entries behind
            self._due = [entry for entry in self._due if entry[2] in self._groups]
            heapify(self._due)

    def _remove(self, key: Key, events: list[Event], repeated: int) -> None:
        del self._groups[key]
        self.size -= len(events)
        self.repeated += repeated

    def _thin(self, key: Key, events: list[Event]) -> list[Call]:
        calls, repeated = resolve(events)
        over = [call for call in calls if call.over]
        unfinished = [call for call in calls if not call.over]
        if len(unfinished) >= CROWD // 2:  # nearly all of them attempts that do not end: the older half goes as it stands
            self.cut += 1
            half = len(unfinished) // 2
            over += unfinished[:half]
            unfinished = unfinished[half:]
        rest = [event for call in unfinished for event in call.events()]
        self.repeated += repeated
        self.size -= len(events) - len(rest)
        if rest:
            self._groups[key] = rest
        else:
            del self._groups[key]
        return over


def at_once(attempt: Attempt) -> bool:
    """Whether this node answered an attempt finally at once, or with silence: no event follows it."""
    return attempt.status != 0 or attempt.action == "drop"


def resolve(events: Iterable[Event]) -> tuple[list[Call], int]:
    """The calls of one group in order of time, and how many events told what another had told already.

    Two attempts with the same cseq are one call unless they call another number (a fork upstream of us that passed us twice). Of two
    answers the first counts; of two ends the first that somebody made, before one that this node concluded (LOST).
    """
    events = list(events)
    ordinary = _ordinary(events)
    if ordinary is not None:
        return [ordinary], 0
    calls: list[Call] = []
    later: list[Later] = []
    repeated = 0
    for event in sorted(events, key=_order):
        if isinstance(event, Attempt):
            repeated += _begin(event, calls)
        else:
            later.append(event)
    for event in later:
        call = _call_of(event, calls)
        if call is None:
            call = Call()
            calls.append(call)
        repeated += not call.take(event)
    return calls, repeated


def _ordinary(events: list[Event]) -> Call | None:
    """The one call of a group whose attempt comes first and that has each event once at the most; None for any other."""
    first = events[0]
    if not isinstance(first, Attempt) or (len(events) > 1 and at_once(first)):
        return None
    call = Call(first)
    for event in events[1:]:
        if isinstance(event, Attempt) or (event.cseq and event.cseq != first.cseq) or not call.misses(event):
            return None
        call.take(event)
    return call


def _begin(attempt: Attempt, calls: list[Call]) -> bool:
    """A call of its own, unless it is the attempt of one that is there: then True."""
    for call in calls:
        known = call.attempt
        if known is not None and known.cseq == attempt.cseq and known.called_raw == attempt.called_raw:
            if at_once(known) and not at_once(attempt):  # judged again after a restart, and this time it was sent on
                call.attempt = attempt
            return True
    calls.append(Call(attempt))
    return False


def _order(event: Event) -> tuple[int, int]:
    return event.at, _RANK[type(event)]


def _call_of(event: Later, calls: list[Call]) -> Call | None:
    """The call in a group that an event belongs to; None where its attempt is not there."""
    sent_on = [call for call in calls if call.attempt is None or not at_once(call.attempt)]
    if event.cseq:
        same = [call for call in sent_on if any(known.cseq == event.cseq for known in call.events())]
        return next((call for call in same if call.misses(event)), same[-1] if same else None)
    # A BYE: of the last call that was answered and has not ended, else of the last that has not ended, else of the last.
    unfinished = [call for call in sent_on if call.end is None]
    answered = [call for call in unfinished if call.answer is not None]
    for found in (answered, unfinished, sent_on):
        if found:
            return found[-1]
    return None
