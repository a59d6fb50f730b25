"""A user agent for the demo's peers: calls and is called, holds its dialogs by Record-Route and Contact (RFC 3261 §12, §13, §15).

It sends no media; its SDP names a port that nothing is sent to.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from secrets import token_hex
from time import perf_counter
from typing import Final, NamedTuple

from proxy.demo.dialog import Dialog, Opening, new_branch, sdp, wrapped
from proxy.demo.scenario import Conduct, PlannedCall
from proxy.demo.wire import Place, Wire
from proxy.sip.error import ParseError
from proxy.sip.message import SipMessage
from proxy.sip.via import Via

T1: Final = 0.5
T2: Final = 4.0
TRANSACTION: Final = 64 * T1

RING: Final = 0.05
"""Seconds that a callee rings."""

PATIENCE: Final = 0.1
"""Seconds that a caller who gives up listens to the ringing."""

TALK: Final = 0.03
"""Seconds that a call is held."""

LONGEST: Final = 60.0
"""Seconds after which a callee hangs up by itself, or stops ringing."""

PHRASES: Final = {180: "Ringing", 200: "OK", 405: "Method Not Allowed", 480: "Temporarily Unavailable", 481: "Call Does Not Exist"} | {
    486: "Busy Here",
    487: "Request Terminated",
    488: "Not Acceptable Here",
}


class Ending(NamedTuple):
    """How a call went for its caller: the final status of its INVITE and the seconds until then, and whether it was ended in good order."""

    status: int
    seconds: float
    orderly: bool


class Agent:
    """One peer. `conduct` says what called numbers do; `called` holds the Call-ID of every INVITE that reached it."""

    def __init__(self, address: str, conduct: Mapping[str, Conduct]) -> None:
        self.wire = Wire(address, self._received)
        self.called: set[str] = set()
        self._conduct = conduct
        self._waiting: dict[tuple[bytes, bytes], asyncio.Queue[SipMessage]] = {}  # by branch and method (§17.1.3)
        self._acks: dict[bytes, tuple[bytes, Place]] = {}  # by the INVITE's branch, for finals that come again
        self._hung_up: dict[str, asyncio.Event] = {}  # by Call-ID
        self._legs: dict[str, _Leg] = {}
        self._tasks: set[asyncio.Task[None]] = set()

    async def open(self) -> None:
        """Begin to listen. OSError where this machine does not have the address."""
        await self.wire.open()

    def close(self) -> None:
        """Stop at once."""
        for task in self._tasks:
            task.cancel()
        self.wire.close()

    # calling

    async def call(self, plan: PlannedCall, call_id: str, proxy: Place) -> Ending:
        """Make one call through the proxy and end it: BYE where it was answered, CANCEL where the plan says so."""
        opening = Opening(plan, call_id, proxy, self.wire.address, self.wire.port)
        self._hung_up[call_id] = asyncio.Event()
        try:
            return await self._call(opening, cancel=plan.cancel, waits=self._conduct.get(plan.to) == "hangs up")
        finally:
            del self._hung_up[call_id]

    async def _call(self, opening: Opening, *, cancel: bool, waits: bool) -> Ending:
        began = perf_counter()
        final: SipMessage | None = None
        cancelling: asyncio.Task[bool] | None = None
        async for response in self._ask(opening.invite(), opening.place, opening.branch, b"INVITE"):
            if response.status >= 200:
                final = response
            elif cancel and response.status == 180 and cancelling is None:
                cancelling = asyncio.get_running_loop().create_task(self._give_up(opening))
        seconds = perf_counter() - began
        cancelled = cancelling is None or await cancelling
        if final is None:
            return Ending(408, seconds, orderly=False)
        if final.status >= 300:
            self._acknowledge(opening.branch, opening.ack(final), opening.place)
            return Ending(final.status, seconds, orderly=cancelled)
        dialog = Dialog.of_caller(final, opening.me, opening.contact)
        self._acknowledge(opening.branch, dialog.request("ACK", new_branch(), 1), dialog.place)
        if waits:
            orderly = await _happens(self._hung_up[opening.call_id], TRANSACTION)
        else:
            await asyncio.sleep(TALK)
            orderly = await self._bye(dialog)
        return Ending(final.status, seconds, orderly)

    def _acknowledge(self, branch: str, ack: bytes, place: Place) -> None:
        self._acks[branch.encode()] = (ack, place)
        self.wire.send(ack, place)

    async def _give_up(self, opening: Opening) -> bool:
        await asyncio.sleep(PATIENCE)
        return await self._succeeds(opening.cancel(), opening.place, opening.branch, b"CANCEL")

    async def _bye(self, dialog: Dialog) -> bool:
        branch = new_branch()
        return await self._succeeds(dialog.request("BYE", branch), dialog.place, branch, b"BYE")

    async def _succeeds(self, data: bytes, place: Place, branch: str, method: bytes) -> bool:
        status = 0
        async for response in self._ask(data, place, branch, method):
            status = response.status
        return 200 <= status < 300

    async def _ask(self, data: bytes, place: Place, branch: str, method: bytes) -> AsyncIterator[SipMessage]:
        """Send a request, over UDP again and again until something is heard, and give its responses up to the final one; none after 64*T1.

        Timers A, B, E and F of RFC 3261 §17.1.
        """
        key = (branch.encode(), method)
        queue = self._waiting[key] = asyncio.Queue()
        interval = T1 if place.transport == "udp" else TRANSACTION
        heard = False
        deadline = asyncio.get_running_loop().time() + TRANSACTION
        self.wire.send(data, place)
        try:
            while True:
                left = deadline - asyncio.get_running_loop().time()
                if left <= 0:
                    return
                try:
                    async with asyncio.timeout(left if heard else min(interval, left)):
                        response = await queue.get()
                except TimeoutError:
                    if not heard:
                        self.wire.send(data, place)
                        interval = interval * 2 if method == b"INVITE" else min(interval * 2, T2)
                    continue
                heard = True
                yield response
                if response.status >= 200:
                    return
        finally:
            del self._waiting[key]

    # being called

    def _received(self, data: bytes, place: Place) -> None:
        try:
            message = SipMessage.parse(data)
            if message.is_request:
                self._request(message, place)
            else:
                self._response(message)
        except ParseError:  # not from our proxy
            return

    def _response(self, message: SipMessage) -> None:
        branch = Via(message.all(b"via")[0]).branch or b""
        method = (message.first(b"cseq") or b"").split()[-1]
        queue = self._waiting.get((branch, method))
        if queue is not None:
            queue.put_nowait(message)
        elif method == b"INVITE" and message.status >= 200 and branch in self._acks:
            self.wire.send(*self._acks[branch])

    def _request(self, message: SipMessage, place: Place) -> None:
        call_id = (message.first(b"call-id") or b"").decode("latin-1")
        leg = self._legs.get(call_id)
        method = message.method
        if method == b"ACK":
            if leg is not None:
                leg.acknowledged.set()
        elif method == b"INVITE":
            if leg is None:
                self._ring(message, place, call_id)
            elif b";tag=" in (message.first(b"to") or b""):
                self.wire.send(leg.answer(message, 488), place)
            else:
                self.wire.send(leg.last, place)
        elif method == b"CANCEL":
            if leg is not None:
                leg.cancelled.set()
            self.wire.send(_reply(message, 200 if leg is not None else 481), place)
        elif method == b"BYE":
            hung_up = leg.hung_up if leg is not None else self._hung_up.get(call_id)
            if hung_up is not None:
                hung_up.set()
            self.wire.send(_reply(message, 200 if hung_up is not None else 481), place)
        else:
            self.wire.send(_reply(message, 200 if method == b"OPTIONS" else 405), place)

    def _ring(self, message: SipMessage, place: Place, call_id: str) -> None:
        self.called.add(call_id)
        leg = self._legs[call_id] = _Leg(self.wire, message, place)
        number = message.uri.partition(b":")[2].partition(b"@")[0].decode("latin-1")
        task = asyncio.get_running_loop().create_task(self._serve(leg, call_id, self._conduct.get(number, "answers")))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _serve(self, leg: _Leg, call_id: str, conduct: Conduct) -> None:
        try:
            if conduct == "busy":
                await leg.finish(486)
                return
            leg.send(180)
            if await _happens(leg.cancelled, LONGEST if conduct == "rings" else RING):
                await leg.finish(487)
            elif conduct == "rings":
                await leg.finish(480)
            elif await leg.finish(200) and not await _happens(leg.hung_up, TALK if conduct == "hangs up" else LONGEST):
                await self._bye(Dialog.of_callee(leg.invite, leg.tag, leg.me, leg.contact))
        finally:
            del self._legs[call_id]


class _Leg:
    """An INVITE that this agent answers, as long as it lasts."""

    def __init__(self, wire: Wire, invite: SipMessage, place: Place) -> None:
        self.invite = invite
        self.tag = token_hex(4)
        self.last = b""
        self.me = f"{wire.address}:{wire.port}"
        self.contact = f"<sip:{self.me}{';transport=tcp' if place.transport == 'tcp' else ''}>"
        self.acknowledged = asyncio.Event()
        self.cancelled = asyncio.Event()
        self.hung_up = asyncio.Event()
        self._wire = wire
        self._place = place

    def answer(self, message: SipMessage, status: int) -> bytes:
        """A response to a message of this call; a 200 carries SDP."""
        body = sdp(self._wire.address) if status == 200 else b""
        content = ["Content-Type: application/sdp"] if body else []
        return _reply(message, status, self.tag, [f"Contact: {self.contact}", *content] if status < 300 else [], body)

    def send(self, status: int) -> None:
        """Answer the INVITE."""
        self.last = self.answer(self.invite, status)
        self._wire.send(self.last, self._place)

    async def finish(self, status: int) -> bool:
        """Send a final response again and again until it is acknowledged (a 2xx over any transport, §13.3.1.4); False if it never is."""
        self.send(status)
        interval, waited = T1, 0.0
        while not await _happens(self.acknowledged, interval):
            waited += interval
            if waited >= TRANSACTION:
                return False
            interval = min(2 * interval, T2)
            if status < 300 or self._place.transport == "udp":
                self._wire.send(self.last, self._place)
        return True


async def _happens(event: asyncio.Event, seconds: float) -> bool:
    try:
        async with asyncio.timeout(seconds):
            await event.wait()
    except TimeoutError:
        return False
    return True


def _reply(request: SipMessage, status: int, tag: str = "", more: list[str] | None = None, body: bytes = b"") -> bytes:
    """A response (§8.2.6): Via, From, To, Call-ID and CSeq as they came, To with our tag, Record-Route where it makes a dialog."""
    lines = [f"SIP/2.0 {status} {PHRASES[status]}"]
    copied = [b"via", b"record-route", b"from", b"to", b"call-id", b"cseq"] if more else [b"via", b"from", b"to", b"call-id", b"cseq"]
    for name in copied:
        for at in request.positions(name):
            line = request.lines[at].decode("utf-8", "surrogateescape")
            lines.append(f"{line};tag={tag or token_hex(4)}" if name == b"to" and ";tag=" not in line else line)
    return wrapped([*lines, *(more or [])], body)
