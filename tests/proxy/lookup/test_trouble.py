"""A dead, slow, lying or flapping look-up service through a running node: no call waits past its deadline, and calls that do not need the
service are judged as with a healthy one.
"""

from __future__ import annotations

import re
import socket
import time
import tomllib
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from typing import Any

import pytest

from tests.proxy.lookup.service import LookupService, serving
from tests.proxy.lookup.test_node import ABROAD
from tests.proxy.node import ROOT, Node, Peer, free_port, wait_until

CASES: list[dict[str, Any]] = tomllib.loads((ROOT / "tests/cases/lookup_services.toml").read_text("utf-8"))["case"]
DEADLINE = 0.7
SLACK = 2.0
"""Seconds by which a busy machine may be late. A call that waits for the service and not for its deadline waits far longer."""

HEALTHY = '{"state": "abroad"}'
KNOWN = "+8613900000001"
"""A number that is known to be at home before the trouble begins."""

PLAIN = [
    # source, caller, called, the trunk's kind, action and code
    ("127.0.0.2", "075583123401", "+8675522223333", 'action="pass",code="AUTH_OK",trunk="acme"'),
    ("127.0.0.2", "075599999999", "+8675522223333", 'action="reject",code="AUTH_FAIL",trunk="acme"'),
    ("127.0.0.2", "075583123402", "110", 'action="pass",code="EMG_OVERRIDE",trunk="acme"'),
    ("127.0.0.4", "+12125550100", "+8675522223333", 'action="pass",code="INTL_OK",trunk="abroad"'),
    ("127.0.0.4", "+861065529988", "+8675522223333", 'action="reject",code="INTL_86_FIXED",trunk="abroad"'),
    ("127.0.0.4", KNOWN, "+8675522223333", 'action="reject",code="INTL_86_NOT_ROAMING",trunk="abroad"'),
]
UNVERIFIED = 'action="reject",code="INTL_86_UNVERIFIED",trunk="abroad"'
ROAMING = 'action="pass",code="INTL_86_ROAMING",trunk="abroad"'


class Trunks:
    """Peers of each trunk and a switch that is always busy; when each call got what it waits for."""

    def __init__(self, node: Node) -> None:
        self.node = node
        self.switch = Peer("127.0.0.5", node.switch)
        self.peers = {address: Peer(address) for address in ("127.0.0.2", "127.0.0.4")}
        self.sent: dict[bytes, float] = {}
        self.final: dict[bytes, tuple[float, bytes]] = {}

    def call(self, address: str, caller: str, called: str = "+8675522223333") -> bytes:
        """Begin a call; its Call-ID."""
        peer = self.peers[address]
        data = peer.request("INVITE", to=called, caller=caller)
        name = call_id(data)
        self.sent[name] = time.monotonic()
        peer.send(data, self.node.port)
        return name

    def listen(self, seconds: float) -> None:
        """Answer and acknowledge what comes in that time."""
        until = time.monotonic() + seconds
        while (left := until - time.monotonic()) > 0:
            for peer in (self.switch, *self.peers.values()):
                while data := peer.receive(0):
                    self._take(peer, data)
            time.sleep(min(0.005, left))

    def _take(self, peer: Peer, data: bytes) -> None:
        if data.startswith(b"INVITE "):
            peer.send(peer.answer(data, "486 Busy Here"), self.node.port)
        elif data.startswith(b"SIP/2.0 ") and not data.startswith(b"SIP/2.0 1"):
            self.final.setdefault(call_id(data), (time.monotonic(), data[8:11]))
            peer.send(acknowledgement(data), self.node.port)

    def wait(self, names: list[bytes], seconds: float) -> None:
        """Until each of these calls is over."""
        until = time.monotonic() + seconds
        while not all(name in self.final for name in names):
            assert time.monotonic() < until, f"{sum(name not in self.final for name in names)} calls without a final response"
            self.listen(0.01)

    def took(self, name: bytes) -> float:
        """Seconds from its INVITE to its final response, as its caller saw it."""
        return self.final[name][0] - self.sent[name]

    def close(self) -> None:
        for peer in (self.switch, *self.peers.values()):
            peer.close()


def call_id(data: bytes) -> bytes:
    return data.partition(b"Call-ID: ")[2].partition(b"\r\n")[0]


def acknowledgement(response: bytes) -> bytes:
    lines = [line for line in response.split(b"\r\n") if line.lower().startswith((b"via:", b"from:", b"to:", b"call-id:"))]
    return b"\r\n".join([b"ACK sip:x@127.0.0.1 SIP/2.0", *lines, b"CSeq: 1 ACK", b"Max-Forwards: 70", b"Content-Length: 0", b"", b""])


def verdicts(node: Node) -> dict[str, float]:
    """How many calls got each verdict so far."""
    found = re.findall(r"^sipwarden_invites_total\{(.*)\} (\S+)$", node.get("/metrics")[1], re.MULTILINE)
    return {name: float(count) for name, count in found}


def gained(before: dict[str, float], after: dict[str, float]) -> dict[str, float]:
    return {name: count - before.get(name, 0.0) for name, count in after.items() if count != before.get(name, 0.0)}


@pytest.fixture(scope="module")
def service() -> Iterator[LookupService]:
    with serving() as made:
        yield made


@pytest.fixture(scope="module")
def trunks(service: LookupService, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Trunks]:
    node = Node(tmp_path_factory.mktemp("trouble"))
    node.config.write_text(node.text + ABROAD.replace("{url}", service.url))
    node.start()
    with closing(Trunks(node)) as made:
        yield made
        assert "Traceback" not in node.log
        assert node.metric('sipwarden_events_total{event="internal_errors"}') == 0
    node.process.kill()
    node.process.wait()


def point(node: Node, url: str) -> None:
    """Have the node ask another service."""
    before = node.metric("sipwarden_reloads_total")
    node.config.write_text(node.text + ABROAD.replace("{url}", url))
    node.hang_up()
    wait_until(lambda: node.metric("sipwarden_reloads_total") == before + 1)


@contextmanager
def elsewhere(trunks: Trunks, service: LookupService, url: str) -> Iterator[None]:
    """The node asks `url` meanwhile."""
    with ExitStack() as stack:
        if url == "dead":
            url = f"http://127.0.0.1:{free_port()}/{{number}}"
        elif url == "hole":
            hole = stack.enter_context(socket.socket())
            hole.bind(("127.0.0.1", 0))
            hole.listen(0)
            for _ in range(4):  # its queue is full: what comes now is not even refused
                filler = stack.enter_context(socket.socket())
                filler.setblocking(False)
                filler.connect_ex(hole.getsockname())
            url = f"http://127.0.0.1:{hole.getsockname()[1]}/{{number}}"
        point(trunks.node, url)
        try:
            yield
        finally:
            point(trunks.node, service.url)


def recover(trunks: Trunks, service: LookupService) -> None:
    """A healthy service again, its breaker closed, and KNOWN known."""
    node = trunks.node
    service.does = HEALTHY
    for attempt in range(20):
        name = trunks.call("127.0.0.4", f"+86138{time.monotonic_ns() % 10**8:08d}")
        trunks.wait([name], 5)
        if node.metric('sipwarden_lookup_breaker_open{kind="roaming"}') == 0 and trunks.final[name][1] == b"486":
            break
        assert attempt < 19, "the service is not asked again"
        trunks.listen(0.2)
    service.does = '{"state": "home"}'
    name = trunks.call("127.0.0.4", KNOWN)
    trunks.wait([name], 5)
    assert trunks.final[name][1] == b"403"


def plain(trunks: Trunks) -> dict[str, float]:
    """The verdicts on calls that do not need the service, each given at once."""
    before = verdicts(trunks.node)
    names = [trunks.call(*row[:3]) for row in PLAIN]
    trunks.wait(names, SLACK)
    return gained(before, verdicts(trunks.node))


number = iter(range(10**8))


@pytest.mark.parametrize("case", CASES, ids=[case["name"] for case in CASES])
def test_a_service_in_trouble(trunks: Trunks, service: LookupService, case: dict[str, Any]) -> None:
    node = trunks.node
    recover(trunks, service)
    healthy = plain(trunks)
    assert healthy == {verdict: 1.0 for *_, verdict in PLAIN}
    with ExitStack() as stack:
        if "url" in case:
            stack.enter_context(elsewhere(trunks, service, case["url"]))
        else:
            service.does = case["does"]
        before = verdicts(node)
        waiting = [trunks.call("127.0.0.4", f"+86137{next(number):08d}") for _ in range(5)]
        trunks.listen(0.05)
        rows = [row for row in PLAIN if row[1] != KNOWN or "url" not in case]  # another service's answers are not kept
        names = [trunks.call(*row[:3]) for row in rows]
        trunks.wait([*names, *waiting], DEADLINE + SLACK)
        for name in waiting:
            assert trunks.took(name) < DEADLINE + SLACK
            assert trunks.final[name][1] == b"403"
        if case.get("waits"):
            assert max(trunks.took(name) for name in waiting) > DEADLINE - 0.1
            assert all(trunks.final[name][0] < max(trunks.final[one][0] for one in waiting) for name in names), "a plain call waited"
        assert gained(before, verdicts(node)) == {UNVERIFIED: 5.0} | {verdict: 1.0 for *_, verdict in rows}
        wait_until(lambda: node.metric("sipwarden_parked_calls") == 0, SLACK)
        wait_until(lambda: node.metric('sipwarden_lookup_open{kind="roaming"}') == 0, DEADLINE + SLACK)
    recover(trunks, service)


def test_a_flapping_service(trunks: Trunks, service: LookupService) -> None:
    node = trunks.node
    recover(trunks, service)
    before = verdicts(node)
    waiting, names = [], []
    for turn in range(60):
        service.does = (HEALTHY, "hang", HEALTHY, "close")[turn // 6 % 4]
        waiting.append(trunks.call("127.0.0.4", f"+86136{next(number):08d}"))
        names.append(trunks.call(*PLAIN[turn % 5][:3]))
        trunks.listen(0.05)
    trunks.wait([*waiting, *names], DEADLINE + SLACK)
    assert max(trunks.took(name) for name in waiting) < DEADLINE + SLACK
    got = gained(before, verdicts(node))
    assert {verdict: got.pop(verdict) for *_, verdict in PLAIN[:5]} == {verdict: 12.0 for *_, verdict in PLAIN[:5]}
    assert set(got) <= {UNVERIFIED, ROAMING}
    assert sum(got.values()) == 60
    assert got.get(ROAMING, 0.0) >= 5, "whoever asked while it was up should have been answered"
    wait_until(lambda: node.metric("sipwarden_parked_calls") == 0, SLACK)
    recover(trunks, service)


@pytest.mark.parametrize("lie", ["home", "abroad"])
def test_an_answer_that_nobody_asked_for_is_no_answer_to_the_next_question(trunks: Trunks, service: LookupService, lie: str) -> None:
    """A second response behind the first would be the answer to somebody else's question on a connection that is kept."""
    recover(trunks, service)
    truth = {"home": "abroad", "abroad": "home"}[lie]
    for _ in range(4):
        service.does = f'more {{"state": "{lie}"}}'
        name = trunks.call("127.0.0.4", f"+86135{next(number):08d}")
        trunks.wait([name], DEADLINE + SLACK)
        service.does = f'{{"state": "{truth}"}}'
        name = trunks.call("127.0.0.4", f"+86135{next(number):08d}")
        trunks.wait([name], DEADLINE + SLACK)
        assert trunks.final[name][1] == (b"486" if truth == "abroad" else b"403")


def test_a_late_answer_is_not_the_next_number_s(trunks: Trunks, service: LookupService) -> None:
    recover(trunks, service)
    service.does = '0.9 {"state": "abroad"}'
    late = trunks.call("127.0.0.4", f"+86134{next(number):08d}")
    trunks.wait([late], DEADLINE + SLACK)
    assert trunks.final[late][1] == b"403"
    service.does = '{"state": "home"}'
    for _ in range(5):
        name = trunks.call("127.0.0.4", f"+86139{10_000_000 + next(number):08d}")
        trunks.wait([name], DEADLINE + SLACK)
        assert trunks.final[name][1] == b"403"
        trunks.listen(0.1)


def test_nothing_is_left_of_all_these_calls(trunks: Trunks, service: LookupService) -> None:
    recover(trunks, service)
    wait_until(lambda: trunks.node.metric('sipwarden_transactions{side="server"}') == 0, 15)
    assert trunks.node.metric("sipwarden_parked_calls") == 0
    assert trunks.node.metric('sipwarden_lookup_open{kind="roaming"}') == 0


def test_the_cases_are_all_there() -> None:
    assert len({case["name"] for case in CASES}) == len(CASES) >= 25
    assert all(("does" in case) != ("url" in case) for case in CASES)
