"""A trace judged: each initial INVITE once, by one policy or by two, at the time of the capture and from where it came.

What the live proxy would not judge is not judged here: retransmissions, INVITEs inside a call, what the node itself has sent on. A call
that comes by again from another source (a spiral: trunk, core, trunk) is judged again, as the node judges it. Not replayed are what needs
the node's secret (loops, identity changes inside a call), what needs its clock (limits, full tables) and its questions to services.
"""

from __future__ import annotations

import re
from collections import OrderedDict, deque
from collections.abc import Iterable, Iterator, Mapping
from typing import Final

from proxy.events import Attempt
from proxy.replay.arrivals import Arrival
from proxy.replay.ladder import Ladders
from proxy.replay.message import Captured
from proxy.replay.policy import NO_ANSWERS, Policy
from proxy.replay.recorded import Recorded, answers_of, final_status, key_of, request_of
from proxy.replay.row import Row, place_of
from proxy.replay.summary import Summary
from proxy.replay.trouble import MESSAGE
from proxy.responses import cseq_method
from proxy.sip.error import ParseError
from proxy.sip.message import SipMessage
from proxy.sip.transaction import transaction_key
from proxy.sip.via import MAGIC, Via
from proxy.validate import Request, top_value
from rules.call import NO_TRUNK, Trunk

SETUP: Final = 240.0
"""Seconds of the trace that a final response is waited for: Timer C of RFC 3261 §16.6 (3 minutes) and what a timed-out call takes."""
LINGER: Final = 32.0
"""Seconds after the final response for which the same INVITE is a retransmission (64*T1)."""
OPEN_AT_MOST: Final = 65_536
"""Calls whose final response is waited for at once; the oldest of more are told without one."""
TIMES: Final = (86_400.0, 253_370_764_800.0)
"""What is no time of a call: the first day of 1970 (a trace with no date, or no time at all) and the years from 9999."""
KEYS_AT_MOST: Final = 131_072
"""Transactions whose retransmissions are known."""

_LENGTH: Final = re.compile(rb"\r\n(?:content-length|l)[ \t]*:[^\r\n]*", re.IGNORECASE)


class Open:
    """A call until its final response is seen; `until` is when it is given up, and after that when its INVITE is none that came before."""

    __slots__ = ("over", "row", "until")

    def __init__(self, row: Row | None, until: float) -> None:
        self.row = row
        self.until = until
        self.over = row is None


class Replay:
    """Judges the messages of a trace, which come in the order of their capture. `now` is when calls without a time are judged.

    `ladders` is told of each message, for the page; None where none is wanted. `summary` is complete when `run` has ended.
    """

    def __init__(self, policy: Policy, candidate: Policy | None, summary: Summary, now: float, ladders: Ladders | None = None) -> None:
        self._policy = policy
        self._candidate = candidate
        self._summary = summary
        self._trouble = summary.trouble
        self._now = now
        self._ladders = ladders
        self._open: deque[Open] = deque()
        self._keys: OrderedDict[bytes, Open] = OrderedDict()

    def run(self, messages: Iterable[Captured | Recorded]) -> Iterator[Row]:
        """The calls in the order of their INVITEs, each as soon as its final response was seen, or can no longer be expected."""
        waiting = self._open
        for captured in messages:
            if isinstance(captured, Captured):
                self._take(captured)
            else:
                self._recall(captured)
            while waiting and (waiting[0].over or captured.at > waiting[0].until or len(waiting) > OPEN_AT_MOST):
                yield self._told(waiting.popleft())
        while waiting:
            yield self._told(waiting.popleft())

    def _told(self, call: Open) -> Row:
        row = call.row
        assert row is not None
        if not call.over:
            self._ended(call, row, call.until)
        call.row = None
        self._summary.add(row)
        return row

    def _take(self, captured: Captured) -> None:
        data = captured.data
        if data[:8] == b"SIP/2.0 ":
            self._response(captured)
            return
        if data[:7] == b"INVITE ":
            self._summary.invites += 1
            self._invite(captured)
            return
        try:
            message = SipMessage.parse(data if captured.whole else uncut(data))
        except ParseError as fault:
            self._unparsable(captured, fault)
            return
        if self._ladders is not None:
            self._ladders.see(captured, message)

    def _invite(self, captured: Captured) -> None:
        arrival = self._policy.arrivals.find(captured.source, captured.source_port, captured.transport)
        try:
            message = SipMessage.parse(captured.data if captured.whole else uncut(captured.data))
            request = Request(message, arrival.flow, arrival.key)
        except ParseError as fault:
            self._unparsable(captured, fault, arrival)
            return
        try:
            if not request.to_tag:
                self._initial(captured, request, arrival)
            else:
                self._summary.inside += 1
        except ParseError as fault:  # found later, in what only some requests have looked at
            self._unparsable(captured, fault, arrival)
        if self._ladders is not None:
            self._ladders.see(captured, message)

    def _initial(self, captured: Captured, request: Request, arrival: Arrival) -> None:
        known = self._keys.get(request.key)
        if known is not None and captured.at <= known.until:
            self._summary.again += 1
            return
        if self._policy.arrivals.sent_by_us(arrival, request.message):
            self._summary.ours += 1
            return
        trunk = arrival.trunk
        if trunk is None:
            self._summary.elsewhere += 1
            return
        there = NO_TRUNK  # what the other configuration has no trunk for comes from an unknown source there
        if self._candidate is not None:
            there = self._candidate.arrivals.find(captured.source, captured.source_port, captured.transport).trunk or NO_TRUNK
        source = place_of(captured.source, captured.source_port)
        row, call = self._judge(request, captured.at, source, captured.place, trunk, there, NO_ANSWERS)
        self._remember(request.key, call)
        branch = request.via.branch
        if branch is None or not branch.startswith(MAGIC):
            self._remember(_old_key(captured.source, request.call_id, request.cseq), call)
        if self._ladders is not None:
            self._ladders.begin(row)

    def _judge(
        self,
        request: Request,
        captured_at: float,
        source: str | None,
        place: str,
        trunk: Trunk,
        there: Trunk,
        answers: Mapping[str, object],
    ) -> tuple[Row, Open]:
        timed = TIMES[0] <= captured_at < TIMES[1]  # a capture may claim any
        at = captured_at if timed else self._now
        judged = self._policy.judge(request, trunk, at, answers)
        other = None if self._candidate is None else self._candidate.judge(request, there, at, answers)
        row = Row(captured_at if timed else None, request, source, place, judged, other)
        call = Open(row, captured_at + SETUP)
        self._open.append(call)
        return row, call

    # journals

    def _recall(self, recorded: Recorded) -> None:
        """An event of a journal: an Attempt is judged as it came, from its trunk then; what follows tells how it ended."""
        event = recorded.event
        status = final_status(event)
        if not isinstance(event, Attempt):
            call = self._keys.get(key_of(event)) if status else None
            if call is not None:
                self._answered(call, status, recorded.at)
            return
        self._trouble.messages += 1
        self._summary.invites += 1
        arrival, trunk = self._recorded_at(self._policy, event)
        try:
            request = request_of(event, arrival, trunk or NO_TRUNK)
            if trunk is None:
                self._summary.elsewhere += 1
                return
            there = NO_TRUNK if self._candidate is None else self._recorded_at(self._candidate, event)[1] or NO_TRUNK
            source = place_of(event.address, event.port)
            row, call = self._judge(request, recorded.at, source, recorded.place, trunk, there, answers_of(event))
        except ParseError as fault:
            self._trouble.note(MESSAGE, recorded.place, f"{fault.phrase} (recorded with status {status or 'none'})")
            return
        if self._ladders is not None:
            self._ladders.begin(row)
            self._ladders.see(_as_captured(recorded, event, request), request.message)
        if status or event.action == "drop":
            self._answered(call, status or None, recorded.at)
        else:
            self._remember(key_of(event), call)

    @staticmethod
    def _recorded_at(policy: Policy, event: Attempt) -> tuple[Arrival, Trunk | None]:
        arrivals = policy.arrivals
        arrival = arrivals.find(event.address, event.port, event.transport)
        if arrivals.told:
            return arrival, arrival.trunk
        return arrival, policy.routing.trunks.get(event.trunk, NO_TRUNK)

    # responses

    def _response(self, captured: Captured) -> None:
        try:
            message = SipMessage.parse(captured.data if captured.whole else uncut(captured.data))
            if message.status >= 200 and cseq_method(message) == b"INVITE":
                self._final(captured, message)
        except ParseError as fault:
            self._unparsable(captured, fault)
            return
        if self._ladders is not None:
            self._ladders.see(captured, message)

    def _final(self, captured: Captured, message: SipMessage) -> None:
        """A final response ends the setup of the INVITE that it answers, which went the other way."""
        via = Via(top_value(message)[0])
        address = captured.destination.encode()
        call = self._keys.get(transaction_key(via.branch, via.sent_by, address, b"INVITE", ()))
        if call is None:
            digits = (message.first(b"cseq") or b"").split()[0].lstrip(b"0") or b"0"
            call = self._keys.get(_old_key(captured.destination, message.first(b"call-id") or b"", digits))
        if call is not None:
            self._answered(call, message.status, captured.at)

    def _answered(self, call: Open, status: int | None, at: float) -> None:
        if call.row is not None and not call.over:
            call.row.recorded = status
            call.until = at + LINGER
            self._ended(call, call.row, at)

    @staticmethod
    def _ended(call: Open, row: Row, at: float) -> None:
        """A call that is set up no longer proves what is forwarded of it for a while only."""
        call.over = True
        for judged in (row.judged, row.candidate):
            if judged is not None and judged.leg is not None:
                judged.leg.over(at)
                judged.leg = None

    def _remember(self, key: bytes, call: Open) -> None:
        self._keys[key] = call
        self._keys.move_to_end(key)
        if len(self._keys) > KEYS_AT_MOST:
            self._keys.popitem(last=False)

    def _unparsable(self, captured: Captured, fault: ParseError, arrival: Arrival | None = None) -> None:
        """Counted and named, with what the node answers."""
        status, message = fault.status, fault.message
        if message is None or not message.is_request or message.method == b"ACK" or b"via" not in message.first_line:
            status = 0
        elif status and arrival is not None and arrival.trunk is NO_TRUNK:
            status = 403  # whom nobody knows is told no more than that
        answer = f"the node answers {status}" if status else "the node drops it"
        self._trouble.note(MESSAGE, captured.place, f"{fault.phrase} ({answer})")


def _as_captured(recorded: Recorded, event: Attempt, request: Request) -> Captured:
    """What the page shows of a recorded call: the lines that records keep."""
    node = request.flow.listener
    rest = (event.transport, request.message.raw, recorded.place)
    return Captured(recorded.at, event.address, event.port, node.host, node.port, *rest)


def uncut(data: bytes) -> bytes:
    """A message that the capture cut within its body, as one whose body ends there; with a cut header section it stays as it is."""
    end = data.find(b"\r\n\r\n")
    return data if end < 0 else _LENGTH.sub(b"", data[: end + 2]) + b"Content-Length: %d\r\n" % (len(data) - end - 4) + data[end + 2 :]


def _old_key(address: str, call_id: bytes, cseq: bytes) -> bytes:
    """What finds the INVITE of an RFC 2543 peer, whose branches tell nothing, by its response."""
    return b"\n".join((address.encode(), call_id[:256], cseq[:16], b"2543"))
