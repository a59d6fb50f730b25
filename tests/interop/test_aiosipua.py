"""aiosipua 0.7.1, the maintained successor of aiosip, as far as it goes behind a proxy that stays in the dialog.

Its answers carry no Record-Route (RFC 3261 §12.1.1), a caller of its own learns no route set from an answer (§12.1.2), and it does not
acknowledge a refusal (§17.1.1.3). So it can be refused, and it can hang up a call that it got, whose route set it keeps; its own ACK and
BYE as a caller, which lack the Route, are rightly answered 481, and no test of a whole call is made with it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import closing

import pytest
from aiosipua import IncomingCall, SipUAC, SipUAS
from aiosipua.transport import UdpSipTransport

from tests.interop.node import CALLED, CALLER, STRANGER, SWITCH, Node, free_port, running
from tests.proxy.node import Peer

TRUNK = "127.0.0.2"


@pytest.fixture(scope="module")
def node(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Node]:
    with running(tmp_path_factory.mktemp("node")) as made:
        yield made


def agent(address: str, port: int) -> SipUAS:
    transport = UdpSipTransport()
    transport.local_addr = (address, port)
    return SipUAS(transport, uac=SipUAC(transport))


async def test_is_refused(node: Node) -> None:
    phone = agent(TRUNK, free_port())
    await phone.start()
    assert phone.uac is not None
    call = phone.uac.send_invite(f"sip:{STRANGER}@{TRUNK}", f"sip:{CALLED}@127.0.0.1:{node.port}", ("127.0.0.1", node.port))
    with pytest.raises(RuntimeError, match="403 Forbidden"):
        await call.wait_answered(5)
    await phone.stop()


async def test_is_called_and_hangs_up(node: Node) -> None:
    """The callee's BYE comes through by the route set of the INVITE."""
    calls: list[IncomingCall] = []
    phone = agent(SWITCH, node.switch)

    def called(call: IncomingCall) -> None:
        calls.append(call)
        call.ringing()
        call.accept()

    phone.on_invite = called
    await phone.start()
    with closing(Peer(TRUNK)) as caller:
        caller.send(caller.request("INVITE", caller=CALLER), node.port)
        answer = await asyncio.to_thread(caller.final)
        assert answer.startswith(b"SIP/2.0 200 ")
        assert calls[0].hangup() is not None
        while (bye := await asyncio.to_thread(caller.receive)).startswith(b"SIP/2.0 200 "):  # sent again for want of an ACK
            pass
        assert bye.startswith(b"BYE ")
        assert b"\r\nRoute:" not in bye
    await phone.stop()
    node.healthy()
