"""sipsak: OPTIONS over UDP and TCP, from a trunk and from a stranger; an INVITE; a trace of the hops.

sipsak cuts the port of its Request-URI to four digits, so the node here has a port of four. Its own invite mode (-I) crashes in 0.9.8.1
(Debian 12) whatever it talks to, and with -U it wants to register first: INVITEs are sent from a file instead.
"""

from __future__ import annotations

import re
import subprocess
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest

from tests.interop.node import CALLED, CALLER, STRANGER, SWITCH, Node, bound
from tests.proxy.node import Peer

pytestmark = pytest.mark.interop("sipsak")
TRUNK = "127.0.0.2"


@pytest.fixture(scope="module")
def node(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Node]:
    made = Node(tmp_path_factory.mktemp("node"))
    port = next(port for port in range(5900, 9900, 7) if not any(bound(kind, "127.0.0.1", port) for kind in ("udp", "tcp")))
    made.move(port)
    made.start()
    try:
        yield made
    finally:
        assert made.stop() == 0


def sipsak(node: Node, *arguments: str, user: str = "", address: str = TRUNK) -> tuple[int, str]:
    """Exit status and what it printed; 0 is a 2xx, 1 another final response, 3 none."""
    uri = f"sip:{user}@127.0.0.1:{node.port}" if user else f"sip:127.0.0.1:{node.port}"
    done = subprocess.run(
        ["sipsak", "-v", f"--local-ip={address}", *arguments, "-s", uri],
        capture_output=True,
        timeout=30,
        check=False,
        stdin=subprocess.DEVNULL,
    )
    return done.returncode, (done.stdout + done.stderr).decode("utf-8", "replace")


@contextmanager
def switch(node: Node, status: str) -> Iterator[list[bytes]]:
    """A switch that gives every request this answer; yields what it received."""
    received: list[bytes] = []

    def serve() -> None:
        while data := peer.receive():
            if data == b"end":
                break
            received.append(data)
            if not data.startswith(b"ACK "):
                peer.send(peer.answer(data, status), node.port)

    with closing(Peer(SWITCH, node.switch)) as peer, closing(Peer(TRUNK)) as stopper:
        thread = threading.Thread(target=serve)
        thread.start()
        try:
            yield received
        finally:
            stopper.socket.sendto(b"end", (SWITCH, node.switch))
            thread.join()


@pytest.mark.parametrize("transport", ["udp", "tcp"])
def test_options(node: Node, transport: str) -> None:
    status, said = sipsak(node, f"--transport={transport}")
    assert status == 0, said
    assert "SIP/2.0 200 OK" in said
    assert re.search(r"^Allow: .*INVITE", said, re.MULTILINE)


def test_a_stranger_is_refused_once_and_then_met_with_silence(node: Node) -> None:
    status, said = sipsak(node, address="127.0.0.99")
    assert (status, "SIP/2.0 403 Forbidden" in said) == (1, True), said
    status, said = sipsak(node, "--timer-t1=100", "--timeout-factor=4", address="127.0.0.99")
    assert (status, "SIP/2.0" in said) == (3, False), said
    assert node.event("unknown_refused") == 1
    assert node.event("unknown_silent") >= 3


def test_options_go_through_to_the_switch(node: Node) -> None:
    with switch(node, "200 OK") as received:
        status, said = sipsak(node, user=CALLED)
    assert status == 0, said
    assert received[0].startswith(f"OPTIONS sip:{CALLED}@".encode())


def test_trace(node: Node) -> None:
    """Each hop is seen: we say 483 ourselves, the switch answers what reaches it."""
    with switch(node, "200 OK"):
        status, said = sipsak(node, "-T", user=CALLED)
    assert status == 0, said
    assert said.index("483") < said.index("200 OK"), said


@pytest.mark.parametrize(("caller", "says"), [(CALLER, "486 Busy Here"), (STRANGER, "403 Forbidden")], ids=["authorised", "unauthorised"])
def test_invite_from_a_file(node: Node, tmp_path: Path, caller: str, says: str) -> None:
    with closing(Peer(TRUNK)) as peer:
        invite = peer.request("INVITE", to=CALLED, caller=caller)
    file = tmp_path / "invite.sip"
    file.write_bytes(invite)
    with switch(node, "486 Busy Here") as received:
        status, said = sipsak(node, "-i", "-f", str(file))
    assert status == 1, said
    assert f"SIP/2.0 {says}" in said
    assert bool(received) == (caller == CALLER)
    node.healthy()


def test_random_mode(node: Node) -> None:
    """Sipsak breaks a request at more and more places; the node answers what it can and goes on."""
    with switch(node, "200 OK"):
        sipsak(node, "-R", "-t", "100")
    assert sipsak(node)[0] == 0
    node.healthy()
