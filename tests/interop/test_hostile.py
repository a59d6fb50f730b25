"""Enemies at the running node. Afterwards an ordinary call works, memory is where it was, and the log has hardly grown."""

from __future__ import annotations

import socket
import time
from collections.abc import Iterator
from contextlib import ExitStack, closing

import pytest

from tests.interop.hostile import datagrams, files, switch_that_is_busy
from tests.interop.node import CALLER, SWITCH, Node, running, wait_until
from tests.proxy.node import Peer

pytestmark = pytest.mark.timeout(180)
TRUNK = "127.0.0.2"
PACE = 1500
"""Hostile datagrams a second: less than fills a socket's buffer."""


@pytest.fixture(scope="module")
def node(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Node]:
    with running(tmp_path_factory.mktemp("node"), workers=2) as made:
        yield made


def ordinary_call(node: Node) -> None:
    """A call that is answered and hung up."""
    with closing(Peer(TRUNK)) as caller, closing(Peer(SWITCH, node.switch)) as switch:
        caller.send(caller.request("INVITE", caller=CALLER), node.port)
        while not (invite := switch.receive()).startswith(b"INVITE ") or CALLER.encode() not in invite:
            assert invite, "the INVITE did not arrive"
        switch.send(switch.answer(invite), node.port)
        answer = caller.final()
        assert answer.startswith(b"SIP/2.0 200 "), answer
        for method, cseq in (("ACK", 1), ("BYE", 2)):
            caller.send(within(answer, method, cseq, switch), node.port)
            while not (request := switch.receive()).startswith(f"{method} ".encode()):
                assert request, f"the {method} did not arrive"
        switch.send(switch.answer(request).replace(b";tag=callee\r\nContact", b"\r\nContact"), node.port)
        assert caller.final().startswith(b"SIP/2.0 200 ")


def within(answer: bytes, method: str, cseq: int, switch: Peer) -> bytes:
    """A caller's request in the dialog that `answer` made."""
    lines = answer.decode().split("\r\n")
    kept = [line for line in lines if line.startswith(("From:", "To:", "Call-ID:"))]
    via = next(line for line in lines if line.startswith("Via:")).partition(";")[0] + f";branch=z9hG4bK{method}{time.monotonic_ns()};rport"
    routes = [line.replace("Record-Route:", "Route:") for line in lines if line.startswith("Record-Route:")]
    head = f"{method} sip:{switch.address}:{switch.port} SIP/2.0"
    return "\r\n".join([head, via, *routes, *kept, f"CSeq: {cseq} {method}", "Max-Forwards: 70", "Content-Length: 0", "", ""]).encode()


def assault(node: Node, seed: int, count: int) -> None:
    """Hostile datagrams: half from a trunk, a fifth from strangers, a fifth over TCP, a tenth as if from the switch."""
    port = node.port
    messages = files()
    with ExitStack() as stack:
        trunk = [stack.enter_context(closing(Peer(TRUNK))).socket for _ in range(4)]
        strangers = [stack.enter_context(closing(Peer(f"127.0.9.{number}"))).socket for number in range(1, 21)]
        switch = [stack.enter_context(closing(Peer(SWITCH))).socket]
        started = time.monotonic()
        for number, data in enumerate(datagrams(seed, count, port, messages)):
            turn = number % 10
            if turn in (3, 7):
                over_tcp(data, TRUNK if turn == 3 else "127.0.9.200", port)
            else:
                sockets = switch if turn == 9 else strangers if turn in (1, 5) else trunk
                sockets[number // 10 % len(sockets)].sendto(data, ("127.0.0.1", port))
            if number % 50 == 0:
                time.sleep(max(0.0, started + number / PACE - time.monotonic()))


def over_tcp(data: bytes, address: str, port: int) -> None:
    """Over a connection of its own that is closed without a farewell."""
    try:
        with socket.create_connection(("127.0.0.1", port), 5, (address, 0)) as connection:
            connection.sendall(data)
    except ConnectionError:
        pass


def test_5000_hostile_datagrams(node: Node) -> None:
    """Half of them from a trunk, the others from strangers, over TCP, and as if from the switch."""
    for _ in range(20):
        ordinary_call(node)
    log, resident = node.log.count("\n"), node.resident
    received = node.metric('sipwarden_messages_total{direction="in"}')
    with switch_that_is_busy(SWITCH, node.switch, ("127.0.0.1", node.port)):
        assault(node, 1, 5000)
        wait_until(lambda: node.open_transactions == 0, 60)
    assert node.metric('sipwarden_messages_total{direction="in"}') - received > 4000
    ordinary_call(node)
    print(f"resident {resident >> 10} KiB before, {node.resident >> 10} KiB after; {node.log.count(chr(10)) - log} lines of log")
    assert node.resident < resident * 1.1
    assert node.log.count("\n") - log < 10, node.log
    node.healthy()


def ordinary_call_over_tcp(node: Node) -> None:
    """A refused INVITE on a fresh connection: what a caller over TCP needs to be served."""
    with closing(Peer("127.0.0.3")) as peer, socket.create_connection(("127.0.0.1", node.port), 5, ("127.0.0.3", 0)) as connection:
        connection.settimeout(5)
        connection.sendall(peer.request("INVITE", caller="075599999999", transport="TCP"))
        assert connection.recv(65535).startswith(b"SIP/2.0 403 ")


def test_a_thousand_connections_that_say_nothing(node: Node) -> None:
    """From one address only so many are kept; from many, all are, and calls go on."""
    refused = node.event("connections_refused")
    with ExitStack() as stack:
        for number in range(1000):
            address = "127.0.9.77" if number < 600 else f"127.0.10.{number % 200 + 1}"
            silent = stack.enter_context(socket.create_connection(("127.0.0.1", node.port), 5, (address, 0)))
            if number % 2:
                silent.sendall(b"INVITE sip:")
        wait_until(lambda: node.metric("sipwarden_connections") + node.event("connections_refused") - refused >= 1000)
        assert 0 < node.event("connections_refused") - refused <= 600 - 256
        ordinary_call(node)
        ordinary_call_over_tcp(node)
    wait_until(lambda: node.metric("sipwarden_connections") == 0)
    node.healthy()


def test_a_peer_that_never_reads(node: Node) -> None:
    """It asks and asks; when a megabyte of answers waits for it, it is cut off."""
    before, resident = node.event("connections_unread"), node.resident
    with closing(Peer(TRUNK)) as peer, socket.socket() as greedy:
        greedy.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        greedy.bind((TRUNK, 0))
        greedy.connect(("127.0.0.1", node.port))
        greedy.settimeout(5)
        requests = b"".join(peer.request("OPTIONS", transport="TCP", uri=f"sip:127.0.0.1:{node.port}") for _ in range(200))
        with pytest.raises(ConnectionError):
            ask_for_ever(greedy, requests)
    assert node.event("connections_unread") == before + 1
    ordinary_call(node)
    assert node.resident < resident + (8 << 20)
    node.healthy()


def ask_for_ever(connection: socket.socket, requests: bytes) -> None:
    """Until it is cut off."""
    while True:
        connection.sendall(requests)


def test_slow_loris(node: Node) -> None:
    """Connections that send an octet now and then, for ever in the middle of a message: they are cut off after 64*T1, and nobody waits."""
    before = node.event("connections_slow")
    count = 50
    with ExitStack() as stack:
        slow = [stack.enter_context(socket.create_connection(("127.0.0.1", node.port), 5, ("127.0.9.9", 0))) for _ in range(count)]
        started = time.monotonic()
        octets = iter(b"INVITE sip:x SIP/2.0\r\nVia: " + b"x" * 10_000)
        while node.event("connections_slow") < before + count:
            assert time.monotonic() - started < 45
            octet = bytes((next(octets),))
            for connection in slow:
                try:
                    connection.send(octet)
                except ConnectionError:
                    pass
            ordinary_call(node)
            time.sleep(0.4)
        assert time.monotonic() - started > 30
    ordinary_call_over_tcp(node)
    node.healthy()
