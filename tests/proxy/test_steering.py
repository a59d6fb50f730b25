"""The program that picks a worker by Call-ID: in an interpreter of our own, then in the kernel."""

from __future__ import annotations

import errno
import logging
import re
import socket
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy import steering
from proxy.flow import Flow
from proxy.sockets import open_sockets
from proxy.steering import BEGIN, LARGE, NO_WORKER, Instruction, Key, attach, program, reach, steer
from tests.proxy.cbpf import PastTheEnd, checked, run
from tests.proxy.node import free_port
from tests.proxy.sip.cases import CASES, message
from tests.proxy.test_flows import FLOWS
from tests.proxy.transcript import play
from tests.proxy.wire import Wire

KEY = Key(0x12345678, 0x9E3779B1)
WORKERS = 7
CODE = {LARGE: checked(program(WORKERS, KEY))}
HEAD = b"INVITE sip:+8675522223333@192.0.2.1 SIP/2.0\r\nVia: SIP/2.0/UDP 192.0.2.9:5060;branch=z9hG4bKnashds8;rport\r\n"
TAIL = b"\r\nCSeq: 1 INVITE\r\nContent-Length: 0\r\n\r\n"

call_ids = st.text(st.characters(min_codepoint=0x21, max_codepoint=0x7E), min_size=1, max_size=80).map(str.encode)


def worker(data: bytes, size: tuple[int, int] = LARGE) -> int:
    return run(CODE[size], data)


def plainly(call_id: bytes) -> int:
    """The worker of a Call-ID, as the plainest message says."""
    return worker(HEAD + b"Call-ID: " + call_id + TAIL)


def test_the_magic_number_tells_the_words_apart() -> None:
    for place, word in enumerate(steering._FOUND):
        assert (word * steering._WHICH & 0xFFFFFFFF) >> 29 == len(steering._FOUND) - 1 - place


@given(call_ids, st.integers(0, 400), st.sampled_from([b"Call-ID", b"Call-Id", b"call-id", b"CALL-ID"]), st.sampled_from([b": ", b":"]))
def test_one_call_one_worker(call_id: bytes, more: int, name: bytes, colon: bytes) -> None:
    """Wherever it stands, however it is written, and whatever follows."""
    assert 0 <= plainly(call_id) < WORKERS
    for follows in (TAIL, b"\r\nX: " + call_id + TAIL):
        assert worker(HEAD + b"X-Pad: " + b"p" * more + b"\r\n" + name + colon + call_id + follows) == plainly(call_id)


@pytest.mark.parametrize("before", [b"call", b"Callcenter", b"X-Call-ID: other", b"Call-Info: <http://h/i>", b"all-in", b"tel-id"])
@pytest.mark.parametrize("more", range(12, 24))
def test_what_only_looks_like_it(before: bytes, more: int) -> None:
    data = (
        HEAD
        + b"Subject: "
        + before
        + b"\r\n"
        + before
        + b": "
        + b"y" * more
        + b"\r\nCall-ID: a84b4c76e66710@pc33\r\nCSeq: 1 INVITE\r\n\r\n"
    )
    found = re.search(rb"\ncall-id *: *(\S+)\r", data, re.IGNORECASE)
    assert found is not None
    assert worker(data) == plainly(found[1])


@given(st.binary(max_size=1600))
def test_anything_at_all(data: bytes) -> None:
    for size in CODE:
        for text in (data, HEAD + data, HEAD + b"Call-ID: " + data):
            found = worker(text, size)  # PastTheEnd would be worker 0
            assert found == NO_WORKER or 0 <= found < WORKERS


def test_cut_anywhere() -> None:
    whole = HEAD + b"Call-ID: a84b4c76e66710@pc33.atlanta" + TAIL
    for octets in range(len(whole)):
        for size in CODE:
            found = worker(whole[:octets], size)
            assert found == NO_WORKER or 0 <= found < WORKERS
    assert {worker(whole[:octets]) for octets in range(len(HEAD) + 12)} == {NO_WORKER}


@pytest.mark.parametrize(
    "line", [b"i: abc", b"Call-ID : abc", b"Call-ID:  abc", b"Call-ID:\tabc", b"Call-ID:\r\n abc", b"Call-ID:", b"X: y"]
)
def test_not_found(line: bytes) -> None:
    assert worker(HEAD + line + TAIL) == NO_WORKER


def test_a_place_behind_the_part_that_is_searched() -> None:
    line = b"Call-ID: a84b4c76e66710@pc33"
    for size in CODE:
        assert worker(HEAD + b"X: ".ljust(reach(size), b"y") + b"\r\n" + line + TAIL, size) == NO_WORKER
        assert worker(HEAD.ljust(reach(size) - 12, b"y") + b"\r\n" + line + TAIL + b"body" * 20, size) != NO_WORKER
    assert worker(b"A b SIP/2.0\r\n" + line + TAIL.ljust(BEGIN * 2, b"y")) == NO_WORKER


def test_an_even_spread() -> None:
    for form in (b"%d-1234@127.0.0.1", b"same-beginning-of-32-octets-here-%d", b"%08x", b"00000000-0000-0000-0000-%012x"):
        counts = Counter(plainly(form % number) for number in range(1400))
        assert set(counts) == set(range(WORKERS))
        assert all(140 < count < 260 for count in counts.values()), counts


def test_another_key_another_spread() -> None:
    other = program(WORKERS, Key(7, 0xB5297A4D))
    data = [HEAD + b"Call-ID: %d@h" % number + TAIL for number in range(200)]
    same = sum(worker(one) == run(other, one) for one in data)
    assert 10 < same < 60
    assert len({Key.draw() for _ in range(3)}) == 3
    assert all(Key.draw().factor % 2 for _ in range(20))


def _value(data: bytes) -> bytes | None:
    """The Call-ID where the program is to find it, by other means."""
    found = re.search(rb"\r\ncall-id: ?([!-~]+)\r\n", data.partition(b"\r\n\r\n")[0] + b"\r\n", re.IGNORECASE)
    return found[1] if found and found.start() >= BEGIN and len(data) - found.end() > 20 else None


def test_messages_of_every_kind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What peers send in a third of the flows, both directions, from INVITE to the BYE's 200; and RFC 4475's torture."""
    seen: list[bytes] = []
    give = Wire.give

    def watched(wire: Wire, data: bytes, flow: Flow) -> None:
        seen.append(data)
        give(wire, data, flow)

    monkeypatch.setattr(Wire, "give", watched)
    for number, flow in enumerate(FLOWS[::3]):
        (tmp_path / str(number)).mkdir()
        play(flow.read_text(), tmp_path / str(number))
    steered: Counter[bytes] = Counter()
    for data in seen:
        call_id = _value(data)
        if call_id is not None:
            assert worker(data) == plainly(call_id), data
            steered[data.split()[0]] += 1
    assert {b"INVITE", b"ACK", b"BYE", b"CANCEL", b"SIP/2.0"} <= set(steered)
    assert steered.total() > 0.9 * len(seen)
    for path in sorted((CASES / "torture").glob("*.sip")):
        found = worker(message(path.read_bytes()))
        assert found == NO_WORKER or 0 <= found < WORKERS


class Group:
    """UDP sockets of as many workers, on one port."""

    def __init__(self, address: str, workers: int) -> None:
        self.binding = ("udp", address, free_port())
        self.sockets = open_sockets([self.binding], workers)

    def given(self, data: bytes, address: str) -> int:
        """Which worker got a datagram, sent from `address`."""
        with socket.socket(self.sockets[0][0].family, socket.SOCK_DGRAM) as peer:
            peer.bind((address, 0))
            peer.sendto(data, self.binding[1:])
        got = []
        for number, (sock,) in enumerate(self.sockets):
            try:
                assert sock.recv(65535) == data
                got.append(number)
            except BlockingIOError:
                continue
        (only,) = got
        return only

    def close(self) -> None:
        for (sock,) in self.sockets:
            sock.close()


@pytest.fixture(params=["127.0.0.1", "::1"])
def group(request: pytest.FixtureRequest) -> Iterator[Group]:
    made = Group(request.param, WORKERS)
    yield made
    made.close()


def test_the_kernel_does_the_same(group: Group) -> None:
    """The index is the order in which the sockets were bound; large datagrams, which arrive in pieces, too."""
    assert attach(group.sockets[0][0], WORKERS, KEY) == reach(LARGE)
    source = group.binding[1]
    for number in range(40):
        call_id = b"%d-abc@host" % number
        for more in (0, 300, 20_000):
            data = HEAD + b"Call-ID: " + call_id + TAIL + b"b" * more
            assert group.given(data, source) == plainly(call_id)


def test_what_has_no_call_id_goes_where_it_went_before(group: Group) -> None:
    attach(group.sockets[0][0], WORKERS, KEY)
    for data in (b"\r\n\r\n", b"\0", HEAD, HEAD + b"i: abc" + TAIL, b"x" * 3000):
        assert len({group.given(data, group.binding[1]) for _ in range(60)}) > 2


def test_a_closed_copy_of_a_socket_changes_nothing(group: Group) -> None:
    """Workers get copies of the descriptors; one that ends closes its own."""
    attach(group.sockets[0][0], WORKERS, KEY)
    data = HEAD + b"Call-ID: 1@host" + TAIL
    before = group.given(data, group.binding[1])
    group.sockets[before][0].dup().close()
    assert group.given(data, group.binding[1]) == before


def _refuse(error: int, above: int) -> type[socket.socket]:
    class Refusing(socket.socket):
        def setsockopt(self, level: int, option: int, value: int | bytes) -> None:  # type: ignore[override]
            if option == steering._SO_ATTACH_REUSEPORT_CBPF and isinstance(value, bytes) and int.from_bytes(value[:2], "little") > above:
                raise OSError(error, "no")
            super().setsockopt(level, option, value)

    return Refusing


@pytest.mark.parametrize(
    ("error", "above", "searched", "says"),
    [
        (errno.ENOMEM, 1000, 0, "by the peer's address and port"),
        (errno.ENOPROTOOPT, 0, 0, "by the peer's address and port"),
    ],
    ids=["no room", "an old kernel"],
)
def test_where_it_cannot_be(error: int, above: int, searched: int, says: str, caplog: pytest.LogCaptureFixture) -> None:
    port = free_port()
    with ExitStack() as stack:
        socks = [[stack.enter_context(_refuse(error, above)(socket.AF_INET, socket.SOCK_DGRAM))] for _ in range(2)]
        for (sock,) in socks:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
            sock.bind(("127.0.0.1", port))
        with caplog.at_level(logging.WARNING):
            (found,) = steer(socks, [("udp", "127.0.0.1", port)]).values()
    assert len(caplog.records) == 1
    assert says in caplog.text
    assert found == searched


@pytest.mark.parametrize(("workers", "wanted"), [(1, True), (2, False)], ids=["one worker", "not wanted"])
def test_where_there_is_nothing_to_steer(workers: int, wanted: bool, caplog: pytest.LogCaptureFixture) -> None:
    port = free_port()
    bindings = [("udp", "127.0.0.1", port), ("tcp", "127.0.0.1", port)]
    sockets = open_sockets(bindings, workers)
    assert steer(sockets, bindings, wanted=wanted) == {f"udp 127.0.0.1:{port}": 0}
    assert not caplog.records
    for sock in (one for mine in sockets for one in mine):
        sock.close()


def test_the_interpreter_minds_the_end() -> None:
    code: list[Instruction] = [(0x20, 0, 0, 2), (0x16, 0, 0, 0)]
    assert run(code, b"..\0\0\1\1") == 0x101
    with pytest.raises(PastTheEnd):
        run(code, b"....")
