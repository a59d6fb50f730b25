from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from proxy.demo.agent import Agent
from proxy.demo.scenario import Conduct, Expected, PlannedCall, Transport
from proxy.demo.wire import Place
from proxy.sip.message import SipMessage

CONDUCT: dict[str, Conduct] = {"2": "hangs up", "3": "busy", "4": "rings"}


def plan(to: str, transport: Transport = "udp", *, cancel: bool = False) -> PlannedCall:
    expect = Expected("pass", "OK", 200)
    return PlannedCall(title="", peer="", transport=transport, sender="1000", to=to, cancel=cancel, expect=expect)


@asynccontextmanager
async def agents(*addresses: str) -> AsyncIterator[list[Agent]]:
    made = [Agent(address, CONDUCT) for address in addresses]
    for agent in made:
        await agent.open()
    try:
        yield made
    finally:
        for agent in made:
            agent.close()
        await asyncio.sleep(0.01)


class Script:
    """A peer that a test plays by hand, over UDP."""

    def __init__(self) -> None:
        self.socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.socket.bind(("127.0.0.12", 0))
        self.socket.setblocking(False)
        self.place = Place("udp", *self.socket.getsockname())

    async def receive(self, method: bytes) -> SipMessage:
        async with asyncio.timeout(5):
            data, self.sender = await asyncio.get_running_loop().sock_recvfrom(self.socket, 65535)
        message = SipMessage.parse(data)
        assert message.method == method
        return message

    async def answer(self, request: SipMessage, status: str, *more: str) -> None:
        names = (b"via", b"from", b"to", b"call-id", b"cseq")
        copied = [request.lines[request.first_line[name]].decode() + (";tag=t" if name == b"to" else "") for name in names]
        data = "\r\n".join([f"SIP/2.0 {status}", *copied, *more, "Content-Length: 0", "", ""]).encode()
        await asyncio.get_running_loop().sock_sendto(self.socket, data, self.sender)


@pytest.mark.parametrize("transport", ["udp", "tcp"])
@pytest.mark.parametrize(("to", "cancel", "status"), [("1", False, 200), ("2", False, 200), ("3", False, 486), ("4", True, 487)])
async def test_agents_call_each_other(to: str, cancel: bool, status: int, transport: Transport) -> None:
    async with agents("127.0.0.10", "127.0.0.11") as (caller, callee):
        ending = await caller.call(plan(to, transport, cancel=cancel), "a", Place("udp", "127.0.0.11", callee.wire.port))
        assert (ending.status, ending.orderly) == (status, True)
        assert callee.called == {"a"}


async def test_a_lost_invite_is_sent_again_and_a_failure_acknowledged_each_time() -> None:
    script = Script()
    async with agents("127.0.0.10") as (caller,):
        call = asyncio.create_task(caller.call(plan("1"), "a", script.place))
        await script.receive(b"INVITE")  # lost
        invite = await script.receive(b"INVITE")
        for _ in range(2):
            await script.answer(invite, "486 Busy Here")
            ack = await script.receive(b"ACK")
            assert ack.first(b"via") == invite.first(b"via")
            assert ack.first(b"cseq") == b"1 ACK"
            assert ack.first(b"to") == (invite.first(b"to") or b"") + b";tag=t"
        assert (await call).status == 486
    script.socket.close()


async def test_record_route_is_gone_backwards_to_the_contact() -> None:
    script, router = Script(), Script()
    async with agents("127.0.0.10") as (caller,):
        call = asyncio.create_task(caller.call(plan("1"), "a", script.place))
        invite = await script.receive(b"INVITE")
        far = "<sip:192.0.2.1;lr>"
        near = f"<sip:{router.place.address}:{router.place.port};lr>"
        await script.answer(invite, "200 OK", f"Record-Route: {far}, {near}", "Contact: <sip:callee@192.0.2.9>")
        ack = await router.receive(b"ACK")
        bye = await router.receive(b"BYE")
        for request in (ack, bye):
            assert request.uri == b"sip:callee@192.0.2.9"
            assert request.all(b"route") == [near.encode(), far.encode()]
        assert bye.first(b"cseq") == b"2 BYE"
        await router.answer(bye, "200 OK")
        ending = await call
        assert (ending.status, ending.orderly) == (200, True)
    script.socket.close()
    router.socket.close()
