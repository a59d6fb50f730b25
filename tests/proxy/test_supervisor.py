"""The node as an operator meets it: started, asked, reloaded, hurt, ended."""

from __future__ import annotations

import os
import re
import select
import signal
import socket
import time
from collections.abc import Iterator
from contextlib import ExitStack, closing
from pathlib import Path

import pytest

from tests.proxy.node import SLOW, Node, Peer, running, wait_until


@pytest.fixture(scope="module")
def node(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Node]:
    with running(tmp_path_factory.mktemp("node"), workers=2) as made:
        yield made


def test_says_where_it_listens_and_nothing_else(node: Node) -> None:
    port = node.port
    assert node.out.splitlines() == [
        f"listening on udp 127.0.0.1:{port}",
        f"listening on tcp 127.0.0.1:{port}",
        f"listening on udp [::1]:{port}",
        f"listening on tcp [::1]:{port}",
        f"admin on http://127.0.0.1:{node.admin}",
    ]
    assert node.whole_log == SLOW


@pytest.mark.parametrize("address", ["127.0.0.2", "::1"])
def test_options_over_udp(node: Node, address: str) -> None:
    with closing(Peer(address)) as peer:
        own = f"[::1]:{node.port}" if ":" in address else f"127.0.0.1:{node.port}"
        peer.send(peer.request("OPTIONS", uri=f"sip:{own}"), node.port)
        assert peer.final().startswith(b"SIP/2.0 200 ")


@pytest.mark.parametrize("address", ["127.0.0.2", "::1"])
def test_invite_over_tcp(node: Node, address: str) -> None:
    with (
        closing(Peer(address)) as peer,
        socket.create_connection(("::1" if ":" in address else "127.0.0.1", node.port), 5, (address, 0)) as tcp,
    ):
        tcp.sendall(peer.request("INVITE", caller="075599999999", transport="TCP"))
        tcp.settimeout(5)
        assert tcp.recv(65535).startswith(b"SIP/2.0 403 ")


def test_every_call_has_one_worker(node: Node) -> None:
    """One caller's address and port and one switch's: what goes by Call-ID reaches its worker at once, what has none that is found there
    is handed over.
    """
    before = node.metric('sipwarden_events_total{event="handed_over"}')
    with closing(Peer("127.0.0.5", node.switch)) as switch, closing(Peer("127.0.0.2")) as caller:
        for _ in range(12):
            caller.send(caller.request("INVITE"), node.port)
            invite = switch.receive()
            assert invite.startswith(b"INVITE ")
            switch.send(switch.answer(invite), node.port)
            assert caller.final().startswith(b"SIP/2.0 200 ")
    assert node.metric('sipwarden_events_total{event="handed_over"}') == before
    with closing(Peer("127.0.0.5", node.switch)) as switch:
        for _ in range(12):
            with closing(Peer("127.0.0.2")) as caller:
                caller.send(caller.request("INVITE"), node.port)
                invite = switch.receive()
                assert invite.startswith(b"INVITE ")
                switch.send(switch.answer(invite).replace(b"Call-ID: ", b"i: "), node.port)
                assert caller.final().startswith(b"SIP/2.0 200 ")
        assert switch.receive(0.2) == b""
    assert node.metric('sipwarden_events_total{event="handed_over"}') > before
    assert node.metric('sipwarden_events_total{event="handover_dropped"}') == 0
    assert node.metric('sipwarden_invites_total{action="pass",code="AUTH_OK",trunk="acme"}') >= 24


@pytest.mark.parametrize("transport", ["udp", "tcp"])
def test_a_cancel_finds_its_call_at_whichever_worker(node: Node, transport: str) -> None:
    """An INVITE whose Call-ID stands too far behind for the kernel goes by address, its CANCEL and its ACK by Call-ID; and of several
    connections each may be another worker's.
    """
    before = node.metric('sipwarden_events_total{event="handed_over"}')
    refused = node.metric('sipwarden_retransmissions_total{direction="out"}')
    with closing(Peer("127.0.0.5", node.switch)) as switch:
        for _ in range(12):
            with closing(Peer("127.0.0.2")) as caller, ExitStack() as stack:
                first: Datagrams | Stream
                second: Datagrams | Stream
                third: Datagrams | Stream
                if transport == "tcp":
                    first, second, third = (stack.enter_context(closing(Stream("127.0.0.2", node.port))) for _ in range(3))
                else:
                    first = second = third = Datagrams(caller, node.port)
                plain = caller.request("INVITE", transport=transport.upper())
                call_id = re.search(rb"Call-ID: .*\r\n", plain)
                assert call_id is not None
                pad = b"".join(b"X-Way-%d: " % number + b"p" * 90 + b"\r\n" for number in range(20))
                first.send(plain.replace(call_id[0], b"").replace(b"Max-", pad + call_id[0] + b"Max-"))
                assert first.receive().startswith(b"SIP/2.0 100 ")
                invite = switch.receive()
                switch.send(switch.answer(invite, "180 Ringing"), node.port)
                assert first.receive().startswith(b"SIP/2.0 180 ")
                second.send(plain.replace(b"INVITE", b"CANCEL"))
                assert second.receive().startswith(b"SIP/2.0 200 ")
                cancel = switch.receive()
                assert cancel.startswith(b"CANCEL ")
                switch.send(switch.answer(cancel), node.port)
                switch.send(switch.answer(invite, "487 Request Terminated"), node.port)
                assert switch.receive().startswith(b"ACK ")
                failed = first.receive()
                assert failed.startswith(b"SIP/2.0 487 ")
                third.send(plain.replace(b"INVITE", b"ACK").replace(b"@127.0.0.1>\r\nCall", b"@127.0.0.1>;tag=callee\r\nCall"))
                assert first.receive(0.02) == second.receive(0.02) == b""
        assert switch.receive(0.6) == b""  # longer than T1
    assert node.metric('sipwarden_events_total{event="handed_over"}') > before
    assert node.metric('sipwarden_retransmissions_total{direction="out"}') == refused
    assert node.metric('sipwarden_events_total{event="handover_dropped"}') == 0


class Datagrams:
    """A caller's one port."""

    def __init__(self, peer: Peer, port: int) -> None:
        self._peer = peer
        self._port = port

    def send(self, data: bytes) -> None:
        self._peer.send(data, self._port)

    def receive(self, seconds: float = 5.0) -> bytes:
        return self._peer.receive(seconds)


class Stream:
    """One of a caller's connections."""

    def __init__(self, address: str, port: int) -> None:
        self._socket = socket.create_connection(("127.0.0.1", port), 5, (address, 0))
        self._kept = b""

    def send(self, data: bytes) -> None:
        self._socket.sendall(data)

    def receive(self, seconds: float = 5.0) -> bytes:
        """The next message, none of which has a body; b"" where none comes."""
        while b"\r\n\r\n" not in self._kept and select.select([self._socket], [], [], seconds)[0]:
            self._kept += self._socket.recv(65535)
        found, end, self._kept = self._kept.partition(b"\r\n\r\n")
        return found + end

    def close(self) -> None:
        self._socket.close()


def test_pages(node: Node) -> None:
    assert node.get("/healthz") == (200, "ok\n")
    assert node.get("/readyz") == (200, "ready\n")
    assert node.get("/elsewhere")[0] == 404
    status, text = node.get("/metrics")
    assert status == 200
    for name in (
        'sipwarden_messages_total{direction="in"}',
        'sipwarden_next_hop_up{next_hop="switch",target=',
        "sipwarden_decision_seconds_bucket",
        "sipwarden_policy_info{version=",
        "sipwarden_directory_info{version=",
        "sipwarden_workers_up 2.0",
        f'sipwarden_steering{{listener="udp 127.0.0.1:{node.port}"}} 1486.0',
        "process_cpu_seconds_total",
    ):
        assert name in text


def test_a_killed_worker_is_started_again_and_counters_stay(node: Node) -> None:
    received = node.metric('sipwarden_messages_total{direction="in"}')
    assert received > 0
    workers = node.workers()
    os.kill(workers[0], signal.SIGKILL)
    wait_until(lambda: node.metric("sipwarden_worker_restarts_total") == 1 and node.metric("sipwarden_workers_up") == 2)
    assert len(node.workers()) == 2
    assert workers[1] in node.workers()
    assert node.metric('sipwarden_messages_total{direction="in"}') >= received
    for _ in range(8):  # from several ports, so to both workers
        with closing(Peer("127.0.0.2")) as peer:
            peer.send(peer.request("INVITE", caller="075599999999"), node.port)
            assert peer.final().startswith(b"SIP/2.0 403 ")
    assert "worker" in node.log
    assert "status -9" in node.log


def test_datagrams_wait_for_a_worker_that_is_started_again(node: Node) -> None:
    with closing(Peer("127.0.0.2")) as peer:
        for worker in node.workers():
            os.kill(worker, signal.SIGKILL)
        time.sleep(0.02)
        peer.send(peer.request("INVITE", caller="075599999999"), node.port)
        assert peer.final().startswith(b"SIP/2.0 403 ")
    wait_until(lambda: node.metric("sipwarden_workers_up") == 2)


def test_a_good_reload_is_in_force_everywhere(node: Node) -> None:
    before = node.metric("sipwarden_reloads_total")
    (node.folder / "segments.csv").write_text("customer,trunk,first,last\nacme,acme,+8675599999999,\n")
    node.hang_up()
    wait_until(lambda: node.metric("sipwarden_reloads_total") == before + 1)
    with closing(Peer("127.0.0.5", node.switch)) as switch:
        for _ in range(6):
            with closing(Peer("127.0.0.2")) as caller:
                caller.send(caller.request("INVITE", caller="075599999999"), node.port)
                assert switch.receive().startswith(b"INVITE ")
    text = node.get("/metrics")[1]
    assert text.count("sipwarden_directory_info{") == 1


@pytest.mark.parametrize(
    ("file", "text", "says"),
    [
        ("sipwarden.toml", "[node]\nwrokers = 2\n", "sipwarden.toml:2: node.wrokers: unknown key"),
        ("sipwarden.toml", "[node\n", "sipwarden.toml:1: not valid TOML"),
        ("segments.csv", "customer,trunk,first,last\nacme,acme,75583123400,\n", "segments.csv:2: first"),
        ("sipwarden.toml", None, "listen: cannot change while running"),
    ],
    ids=["unknown key", "not TOML", "list", "listener"],
)
def test_a_bad_reload_changes_nothing(node: Node, file: str, text: str | None, says: str) -> None:
    path = node.folder / file
    good = path.read_text()
    failures = node.metric("sipwarden_reload_failures_total")
    versions = [line for line in node.get("/metrics")[1].splitlines() if "_info{version" in line]
    path.write_text(text if text is not None else good.replace("[::1]", "127.0.0.9"))
    try:
        node.hang_up()
        wait_until(lambda: node.metric("sipwarden_reload_failures_total") == failures + 1)
    finally:
        path.write_text(good)
    assert [line for line in node.get("/metrics")[1].splitlines() if "_info{version" in line] == versions
    assert says in node.log
    assert node.get("/readyz")[0] == 200
    assert node.metric("sipwarden_worker_restarts_total") == len(node.log.split("is started again")) - 1


def test_a_reload_without_room_for_it_changes_nothing(node: Node) -> None:
    failures, reloads = (node.metric(f"sipwarden_{name}_total") for name in ("reload_failures", "reloads"))
    (folder,) = node.folder.glob("sipwarden-*")
    aside = folder.rename(node.folder / "aside")
    try:
        node.hang_up()
        wait_until(lambda: node.metric("sipwarden_reload_failures_total") == failures + 1)
    finally:
        aside.rename(folder)
    assert "nothing can read it: [Errno 2] No such file or directory" in node.log
    node.hang_up()
    wait_until(lambda: node.metric("sipwarden_reloads_total") == reloads + 1)
    assert node.get("/readyz")[0] == 200


FAILING = """
import sys
from proxy.__main__ import main
from proxy.supervisor import Supervisor

async def fail(self):
    raise RuntimeError("on purpose")

Supervisor.reload = fail
sys.exit(main())
"""


def test_a_node_that_fails_itself_says_so_to_whoever_started_it(tmp_path: Path) -> None:
    made = Node(tmp_path)
    made.launch("-c", FAILING)
    try:
        wait_until(lambda: "admin on" in made.out or made.process.poll() is not None, 30)
        made.hang_up()
        assert made.process.wait(30) == 1
    finally:
        made.stop()
    assert "RuntimeError: on purpose" in made.log


SHORT = """
import sys
import proxy.reading
from proxy.__main__ import main

proxy.reading.READ_LIMIT = 1.0
sys.exit(main())
"""


def hang(node: Node) -> Path:
    """Have the next reload wait for a pipe that nobody writes to, as for a disk that does not answer; the pipe."""
    pipe = node.folder / "ca.pem"
    os.mkfifo(pipe)
    node.config.write_text(node.text + '\n[certificates]\nhosts = ["cr.example.com"]\nca_file = "ca.pem"\n')
    return pipe


def test_a_worker_is_started_again_while_a_reload_reads(tmp_path: Path) -> None:
    with running(tmp_path) as node:
        pipe = hang(node)
        node.hang_up()
        wait_until(lambda: opened_by(node) == [str(pipe)])
        os.kill(node.workers()[0], signal.SIGKILL)
        wait_until(lambda: node.metric("sipwarden_worker_restarts_total") == 1 and node.get("/readyz")[0] == 200)
        node.config.write_text(node.text)
        node.hang_up()  # waits for the one that reads
        pipe.write_text("no certificate")
        wait_until(lambda: node.metric("sipwarden_reload_failures_total") == 1)
        wait_until(lambda: node.metric("sipwarden_reloads_total") == 1)
        assert node.metric("sipwarden_worker_restarts_total") == 1


def test_ends_in_good_order_while_a_reload_reads(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as service_manager:
        service_manager.bind(str(tmp_path / "notify"))
        service_manager.settimeout(10)
        monkeypatch.setenv("NOTIFY_SOCKET", str(tmp_path / "notify"))
        with running(tmp_path) as node:
            pipe = hang(node)
            node.hang_up()
            wait_until(lambda: opened_by(node) == [str(pipe)])
            (reading,) = node.children(b"proxy.generation")
            os.kill(node.workers()[0], signal.SIGKILL)
            wait_until(lambda: node.metric("sipwarden_worker_restarts_total") == 1)
            node.process.send_signal(signal.SIGTERM)
            assert node.process.wait(8) == 0
            assert not Path(f"/proc/{reading}").exists()
            assert not list(tmp_path.glob("sipwarden-*"))
            assert "reload" not in node.log and "Traceback" not in node.log
        told = [service_manager.recv(1000).decode().partition("\n")[0] for _ in range(3)]
        assert told == ["READY=1", "RELOADING=1", "STOPPING=1"]
        service_manager.setblocking(False)
        with pytest.raises(BlockingIOError):
            service_manager.recv(1000)


def test_a_reload_that_reads_for_too_long_is_a_failed_one(tmp_path: Path) -> None:
    node = Node(tmp_path)
    node.launch("-c", SHORT)
    try:
        wait_until(lambda: "admin on" in node.out or node.process.poll() is not None, 30)
        pipe = hang(node)
        node.hang_up()
        wait_until(lambda: node.metric("sipwarden_reload_failures_total") == 1)
        assert f"reading it took more than 1 s and was given up; opened last: {pipe}" in node.log
        assert not node.children(b"proxy.generation")
        node.config.write_text(node.text)
        node.hang_up()
        wait_until(lambda: node.metric("sipwarden_reloads_total") == 1)
        assert node.get("/readyz")[0] == 200
    finally:
        assert node.stop() == 0


def opened_by(node: Node) -> list[str]:
    """What the process that reads for a reload opened last."""
    newest = max(node.folder.glob("sipwarden-*/*/opened"), default=None)
    return [] if newest is None or newest.parent.name == "1" else newest.read_text().splitlines()[:1]


def test_a_port_in_use_is_said(node: Node, tmp_path: Path) -> None:
    other = Node(tmp_path)
    other.config.write_text(other.text.replace(f":{other.port}", f":{node.port}"))
    other.launch()
    assert other.process.wait(20) == 1
    assert other.log == f"cannot listen on udp 127.0.0.1:{node.port}: another program has this port\n"
    assert other.out == ""


def test_an_admin_port_in_use_is_said(node: Node, tmp_path: Path) -> None:
    other = Node(tmp_path)
    other.config.write_text(other.text.replace(f":{other.admin}", f":{node.admin}"))
    other.launch()
    assert other.process.wait(20) == 1
    assert f"tcp 127.0.0.1:{node.admin}: another program has this port" in other.log


def test_a_bad_configuration_does_not_start(tmp_path: Path) -> None:
    node = Node(tmp_path)
    node.config.write_text(node.text.replace("home_area", "home_aera").replace('"127.0.0.5"', '"switch"'))
    node.launch()
    assert node.process.wait(20) == 1
    assert "trunk[1].home_aera: unknown key (did you mean home_area?)" in node.log
    assert "trunk[2].sources[1]: 'switch' is not an IP address or prefix" in node.log


def test_a_secret_that_others_can_read_is_refused(tmp_path: Path) -> None:
    node = Node(tmp_path)
    (tmp_path / "var").mkdir()
    secret = tmp_path / "var" / "node.secret"
    secret.write_bytes(b"x" * 32)
    secret.chmod(0o644)
    node.launch()
    assert node.process.wait(20) == 1
    assert "chmod 600" in node.log


def test_ends_in_good_order(tmp_path: Path) -> None:
    node = Node(tmp_path)
    node.start()
    workers = node.workers()
    assert len(workers) == 1
    secret = tmp_path / "var" / "node.secret"
    assert secret.stat().st_mode & 0o777 == 0o600
    assert len(secret.read_bytes()) == 32
    with closing(Peer("127.0.0.5", node.switch)) as switch, closing(Peer("127.0.0.2")) as caller:
        caller.send(caller.request("INVITE"), node.port)
        invite = switch.receive()
        node.process.send_signal(signal.SIGTERM)
        wait_until(lambda: node.get("/readyz") == (503, "draining\n"))
        switch.send(switch.answer(invite), node.port)  # what is open may end
        assert caller.final().startswith(b"SIP/2.0 200 ")
    assert node.process.wait(10) == 0
    assert not any(Path(f"/proc/{worker}").exists() for worker in workers)
    assert not list(tmp_path.glob("sipwarden-*"))
    assert node.log == ""


def test_workers_end_with_their_supervisor(tmp_path: Path) -> None:
    node = Node(tmp_path)
    node.start()
    workers = node.workers()
    node.process.kill()
    node.process.wait()
    wait_until(lambda: not any(Path(f"/proc/{worker}").exists() for worker in workers))


def test_tells_the_service_manager(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as service_manager:
        service_manager.bind(str(tmp_path / "notify"))
        service_manager.settimeout(10)
        monkeypatch.setenv("NOTIFY_SOCKET", str(tmp_path / "notify"))
        monkeypatch.setenv("WATCHDOG_USEC", "200000")
        with running(tmp_path) as node:
            told = [service_manager.recv(1000).decode() for _ in range(3)]
            assert told == ["READY=1\nSTATUS=1 workers", "WATCHDOG=1", "WATCHDOG=1"]
            node.hang_up()
            told = []
            while not told or told[-1] != "READY=1":
                told += [word for word in [service_manager.recv(1000).decode()] if word != "WATCHDOG=1"]
            assert told[0].startswith("RELOADING=1\nMONOTONIC_USEC=")
            node.process.send_signal(signal.SIGTERM)
            while service_manager.recv(1000) != b"STOPPING=1":
                pass
