"""Who called over a connection can be reached over it, whichever worker has it: callers do not listen where they call from."""

from __future__ import annotations

import socket
import time
from contextlib import closing
from pathlib import Path

import pytest

from tests.interop.node import CALLER, SWITCH, running
from tests.proxy.node import Peer

TRUNK = "127.0.0.2"


@pytest.mark.parametrize("workers", [1, 2])
def test_the_callee_hangs_up_on_a_caller_over_tcp(tmp_path: Path, workers: int) -> None:
    """The BYE comes over UDP to one worker, the caller's connection is the same one's or another's."""
    with running(tmp_path, workers) as node, closing(Peer(SWITCH, node.switch)) as switch:
        for _ in range(10):
            with closing(Peer(TRUNK)) as peer, socket.create_connection(("127.0.0.1", node.port), 5, (TRUNK, 0)) as caller:
                caller.settimeout(5)
                own = caller.getsockname()[1]
                invite = peer.request("INVITE", caller=CALLER, transport="TCP")
                caller.sendall(invite.replace(f":{peer.port}>".encode(), f":{own};transport=tcp>".encode()))
                received = switch.receive()
                switch.send(switch.answer(received), node.port)
                answer = b""
                while b"SIP/2.0 200 " not in answer:
                    answer += caller.recv(65535)
                switch.send(bye(received, switch, own), node.port)
                assert caller.recv(65535).startswith(b"BYE ")
        assert node.event("connect_failures") == 0
        assert node.event("connections_opened") == 0
        node.healthy()


def test_a_caller_whose_connection_is_gone_gets_its_answer_on_a_new_one(tmp_path: Path) -> None:
    """RFC 3261 §18.2.2: to the port of its Via."""
    with running(tmp_path, 1) as node, closing(Peer(SWITCH, node.switch)) as switch, closing(Peer(TRUNK)) as peer:
        with socket.create_server((TRUNK, peer.port)) as listening:
            listening.settimeout(5)
            with socket.create_connection(("127.0.0.1", node.port), 5, (TRUNK, 0)) as caller:
                caller.settimeout(5)
                caller.sendall(peer.request("INVITE", caller=CALLER, transport="TCP"))
                received = switch.receive()
                assert caller.recv(65535).startswith(b"SIP/2.0 100 ")
            time.sleep(0.2)  # for the node to see that it is closed
            switch.send(switch.answer(received), node.port)
            again, _ = listening.accept()
            with again:
                again.settimeout(5)
                assert again.recv(65535).startswith(b"SIP/2.0 200 ")
        node.healthy()


def bye(invite: bytes, switch: Peer, port: int) -> bytes:
    """The callee's BYE for a call that it got."""
    lines = invite.decode().split("\r\n")
    named = {line.partition(":")[0]: line.partition(":")[2].strip() for line in lines[1:]}
    head = [f"BYE sip:{TRUNK}:{port};transport=tcp SIP/2.0", f"Via: SIP/2.0/UDP {SWITCH}:{switch.port};branch=z9hG4bKbye{port}"]
    head += [line.replace("Record-Route:", "Route:") for line in lines if line.startswith("Record-Route:")]
    head += [f"From: {named['To']};tag=callee", f"To: {named['From']}", f"Call-ID: {named['Call-ID']}", "CSeq: 1 BYE"]
    return "\r\n".join([*head, "Max-Forwards: 70", "Content-Length: 0", "", ""]).encode()
