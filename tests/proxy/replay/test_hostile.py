"""What somebody wrote who wants the reader to fall over, to swell, or to loop."""

from __future__ import annotations

import random
import resource
import struct
import tracemalloc
from collections.abc import Iterator
from functools import reduce
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from proxy.replay import fragments, streams
from proxy.replay.captured import Captured, Trouble, read
from proxy.replay.link import LINKS
from proxy.replay.octets import Octets
from proxy.replay.payloads import Payloads
from tests.proxy.replay.scenarios import INVITE, SCENARIOS, SECOND, SYN, THIRD
from tests.proxy.replay.traces import (
    block,
    datagram,
    enhanced,
    found,
    interface,
    ip,
    methods,
    pcap,
    piece6,
    pieces4,
    pieces6,
    request,
    section,
    segment,
    tcp,
    udp,
)

CASES = Path(__file__).resolve().parents[2] / "cases" / "replay"


def messages(frames: Iterator[bytes] | list[bytes], trouble: Trouble, link: int = 101) -> Iterator[Captured]:
    """What is in these frames, one a millisecond, as they come."""
    payloads = Payloads(trouble)
    for number, frame in enumerate(frames):
        yield from payloads.messages((number / 1000, link, frame, False, number + 1), "trace")
    yield from payloads.finish()


def mutated(data: bytes, chance: random.Random) -> bytes:
    """The bytes with a few of them changed, taken out, doubled, or cut off."""
    changed = bytearray(data)
    for _ in range(chance.randint(1, 6)):
        at = chance.randrange(len(changed) or 1)
        kind = chance.random()
        if kind < 0.5:
            changed[at : at + 1] = bytes((chance.choice((0, 1, 4, 0x7F, 0x80, 0xFF, chance.randrange(256))),))
        elif kind < 0.7:
            changed[at : at + 4] = struct.pack(
                chance.choice("<>") + "I", chance.choice((0, 1, 7, 12, 0x7FFFFFFF, 0xFFFFFFFF, chance.getrandbits(32)))
            )
        elif kind < 0.85:
            del changed[at : at + chance.randint(1, 40)]
        else:
            changed[at:at] = changed[at : at + chance.randint(1, 60)]
    return bytes(changed)


def read_through(data: bytes, path: Path) -> None:
    """Read it all: any exception is the failure. What is found keeps what Captured promises."""
    told, trouble = found(data, path)
    assert trouble.messages == len(told)
    for message in told:
        assert 0 <= message.source_port < 65536
        assert 0 <= message.destination_port < 65536
        assert 0.0 <= message.at < 253402300800
        assert message.data


@pytest.mark.parametrize("seed", range(4))
def test_mutated_captures(seed: int, tmp_path: Path) -> None:
    chance = random.Random(seed)
    path = tmp_path / "trace"
    for scenario in SCENARIOS.values():
        for _ in range(4):
            read_through(mutated(scenario.data, chance), path)


@pytest.mark.parametrize("seed", range(2))
def test_mutated_dumps(seed: int, tmp_path: Path) -> None:
    chance = random.Random(seed)
    for dump in sorted(CASES.iterdir()):
        data = dump.read_bytes()
        for _ in range(12):
            read_through(mutated(data, chance), tmp_path / "trace")


@settings(max_examples=150)
@given(
    st.sampled_from(sorted(LINKS)),
    st.binary(max_size=120),
    st.sampled_from((b"", datagram(b""), ip(b"", 4), ip(b"", 44, "::1", "::2"), SYN)),
)
def test_any_frame(link: int, frame: bytes, before: bytes) -> None:
    list(messages([before + frame, frame], Trouble(), link))


@settings(max_examples=100)
@given(
    st.binary(max_size=400),
    st.sampled_from(
        (b"", pcap([]), section(), section() + interface(101), b"HEP3", b"\x1f\x8b\x08", b"\x28\xb5\x2f\xfd", b"U 1.1.1.1:1 -> 2.2.2.2:2\n")
    ),
)
def test_any_file(tmp_path_factory: pytest.TempPathFactory, junk: bytes, start: bytes) -> None:
    read_through(start + junk, tmp_path_factory.getbasetemp() / "junk")


@given(st.data())
def test_any_order_of_fragments(data: st.DataObject) -> None:
    size = data.draw(st.integers(1, 10)) * 8
    six = data.draw(st.booleans())
    pieces = (pieces6 if six else pieces4)(udp(INVITE), size)
    order = data.draw(st.permutations(range(len(pieces))))
    doubled = [place for place in order for _ in range(data.draw(st.integers(1, 2)))]
    # what comes again after the packet was whole begins another one, which is never whole
    trouble = Trouble()
    told = list(messages([pieces[place] for place in doubled], trouble))
    assert [message.data for message in told] == [INVITE]
    assert set(trouble.counts) <= {"fragments"}


@given(st.data())
def test_any_cut_of_a_stream(data: st.DataObject) -> None:
    """Segments of any size, in an order that networks make, some of them twice: the messages are those that were sent."""
    sent = [request(number=number, body=b"x" * data.draw(st.integers(0, 300))) for number in range(4)]
    stream = b"".join(sent)
    cuts = sorted({0, len(stream), *data.draw(st.lists(st.integers(0, len(stream)), max_size=12))})
    initial = data.draw(st.sampled_from((0, 999, 0xFFFFFFFF - 100)))
    pieces = [(begin, stream[begin:end]) for begin, end in pairwise(cuts)]
    order = data.draw(st.permutations(pieces))
    again = data.draw(st.lists(st.sampled_from(pieces), max_size=4))
    frames = [segment(b"", initial, 2)] + [segment(piece, (initial + 1 + begin) & 0xFFFFFFFF) for begin, piece in [*order, *again]]
    trouble = Trouble()
    assert [message.data for message in messages(frames, trouble)] == sent
    assert trouble.counts == {}


def test_lengths_of_blocks(tmp_path: Path) -> None:
    """A block of no length is no loop, one of 4 GiB is not asked for."""
    good = section() + interface(101) + enhanced(datagram(INVITE))
    for length in (0, 4, 8, 11, 13, 0x7FFFFFFC, 0xFFFFFFFC, 0xFFFFFFFF):
        for kind in (1, 2, 3, 6, 0x0A0D0D0A, 0x0BAD):
            told, trouble = found(good + struct.pack("<II", kind, length) + b"\x4d\x3c\x2b\x1a" + bytes(400), tmp_path / "a")
            assert methods(told) == ["INVITE"]
            assert sum(trouble.counts.values()) == 1
    told, trouble = found(good[:-4] + b"\1\0\0\0", tmp_path / "a")
    assert (told, trouble.counts) == ([], {"damaged": 1})
    wrong = [
        block(6, struct.pack("<IIIII", 0, 0, 0, 0xFFFFFFFF, 9)),
        block(6, struct.pack("<IIIII", 9, 0, 0, 0, 9)),
        block(3, b""),
        block(1, b""),
        block(2, b"\0"),
    ]
    told, trouble = found(section() + wrong[2] + good + b"".join(wrong) + enhanced(datagram(SECOND)), tmp_path / "a")
    assert methods(told) == ["INVITE", "INVITE"]
    assert trouble.counts == {"damaged": 6}
    told, trouble = found(section() + interface(101) * 5000, tmp_path / "a")
    assert set(trouble.counts) == {"damaged"}


def test_lengths_of_records(tmp_path: Path) -> None:
    told, trouble = found(pcap([datagram(INVITE)]) + struct.pack("<IIII", 0, 0, 0xFFFFFFF0, 0xFFFFFFF0) + bytes(100), tmp_path / "a")
    assert (methods(told), trouble.counts) == (["INVITE"], {"damaged": 1})
    assert "4294967280 bytes" in trouble.examples["damaged"][0].why


def test_tunnels_without_end() -> None:
    trouble = Trouble()
    deep = reduce(lambda packet, _: ip(packet, 4), range(3000), datagram(INVITE))
    wide = reduce(lambda packet, _: struct.pack(">BBHI", 60, 0, 0, 0) + packet, range(5000), b"")
    assert list(messages([deep[:65000], ip(wide, 60, "::1", "::2")], trouble)) == []
    assert trouble.counts == {"packet": 2}


def _growth(frames: Iterator[bytes], trouble: Trouble) -> tuple[int, int]:
    """Bytes that are held at most while these frames are read, and messages."""
    tracemalloc.start()
    try:
        count = sum(1 for _ in messages(frames, trouble))
        return tracemalloc.get_traced_memory()[1], count
    finally:
        tracemalloc.stop()


def test_fragments_that_never_end(monkeypatch: pytest.MonkeyPatch) -> None:
    """First fragments of ever new packets, and packets of ever more pieces."""
    monkeypatch.setattr(fragments, "MAX_PACKETS", 100)
    monkeypatch.setattr(fragments, "MAX_BYTES", 1 << 18)
    trouble = Trouble()
    held, _ = _growth(
        (ip(bytes(1400), fragment=0x2000, number=number, source=f"10.0.0.{number >> 16}") for number in range(4_000)), trouble
    )
    assert held < 1_500_000
    assert trouble.counts == {"fragments": 4_000}
    trouble = Trouble()
    held, _ = _growth((piece6(bytes(8), at * 16 % 65520, True, number=number) for number in range(3) for at in range(4000)), trouble)
    assert held < 2_500_000
    assert trouble.counts == {"fragments": 3}


def test_fragments_that_come_late() -> None:
    trouble = Trouble()
    payloads = Payloads(trouble)
    first, *others = pieces4(udp(INVITE), 64)
    told = [
        message
        for at, piece in ((0.0, first), *((31.0, piece) for piece in others))
        for message in payloads.messages((at, 101, piece, False, 1), "a")
    ]
    payloads.finish()
    assert told == []
    assert trouble.counts == {"fragments": 2}


def test_overlapping_fragments_spoil_their_packet_only() -> None:
    trouble = Trouble()
    pieces = pieces4(udp(INVITE), 64)
    wrong = ip(b"X" * 72, fragment=56 >> 3 | 0x2000, number=7)
    other = pieces4(udp(SECOND), 64, number=8)
    told = list(
        messages(
            [pieces[0], wrong, *other, *pieces[1:], ip(b"12345", fragment=0x2000, number=9), ip(b"", fragment=0x2000, number=10)], trouble
        )
    )
    assert [message.data for message in told] == [SECOND]
    assert trouble.counts == {"fragments": 3}


def test_connections_without_end(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each of thousands of connections leaves half a message."""
    monkeypatch.setattr(streams, "MAX_STREAMS", 200)
    monkeypatch.setattr(streams, "MAX_BYTES", 1 << 17)
    trouble = Trouble()
    held, _ = _growth(
        (
            segment(request(body=bytes(1000), length=60000), 1000, 2, source=f"10.{number >> 16}.{number >> 8 & 255}.{number & 255}")
            for number in range(4_000)
        ),
        trouble,
    )
    assert held < 2_000_000
    assert trouble.counts == {"stream": 4_000}


def test_segments_that_wait_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(streams, "MAX_BYTES", 1 << 17)
    trouble = Trouble()
    frames = (segment(bytes(1400), 2000 + 3000 * (number % 60), source=f"10.0.0.{number // 60 % 250}") for number in range(6_000))
    opened = (segment(INVITE[:50], 999, 2, source=f"10.0.0.{number}") for number in range(250))
    held, count = _growth((frame for source in (opened, frames) for frame in source), trouble)
    assert held < 2_000_000
    assert count == 0


def test_a_lost_segment_is_given_up_after_some_others() -> None:
    """The capture missed one: what was sent behind it is read, with the time and place of its own packets."""
    trouble = Trouble()
    behind = [request(number=number) for number in range(200)]
    at = 1000 + len(INVITE)
    frames = [SYN, segment(INVITE[:100], 1000)]
    for message in behind:
        frames.append(segment(message, at))
        at += len(message)
    told = list(messages(frames, trouble))
    assert [message.data for message in told] == behind
    assert [message.place for message in told[:2]] == ["trace:3", "trace:4"]
    assert trouble.counts == {"stream": 1}


def test_frames_are_found_again_in_the_middle_of_a_segment() -> None:
    """Behind a gap, a segment that begins within a message and holds the next."""
    trouble = Trouble()
    stream = INVITE + request("NOTIFY", body=b"SIP/2.0 200 OK\r\n", extra="Content-Type: message/sipfrag") + SECOND + THIRD
    frames = [SYN, segment(INVITE, 1000)]
    gap = len(INVITE) + 150
    frames += [segment(stream[gap : gap + 300], 1000 + gap), segment(stream[gap + 300 :], 1300 + gap)]
    assert [message.data for message in messages(frames, trouble)] == [INVITE, SECOND, THIRD]
    assert trouble.counts == {"stream": 1} or trouble.counts == {}


def test_another_connection_on_the_same_ports() -> None:
    trouble = Trouble()
    frames = [
        SYN,
        segment(INVITE, 1000),
        segment(b"", 70_000, 2),
        segment(SECOND, 70_001),
        segment(THIRD, 3_000_000_000),
        SYN,
        SYN,
        segment(INVITE, 1000),
    ]
    assert [message.data for message in messages(frames, trouble)] == [INVITE, SECOND, THIRD, INVITE]
    assert trouble.counts == {}


def test_a_stream_that_stops_being_sip() -> None:
    trouble = Trouble()
    junk = b"GET / HTTP/1.1\r\nContent-Length: 0\r\n\r\n"
    frames = [SYN, segment(INVITE + junk, 1000), segment(SECOND, 1000 + len(INVITE + junk))]
    assert [message.data for message in messages(frames, trouble)] == [INVITE, SECOND]
    assert trouble.counts == {"stream": 1}


@pytest.mark.parametrize("header", [0x00, 0x40, 0xF0])
def test_tcp_headers_that_lie(header: int) -> None:
    trouble = Trouble()
    data = bytearray(tcp(INVITE[:20], 1000))
    data[12] = header
    assert list(messages([ip(bytes(data), 6), ip(bytes(12), 6)], trouble)) == []
    assert trouble.counts == {"packet": 2}


def test_start_lines_that_take_long(tmp_path: Path) -> None:
    """Blanks, colons and line ends by the ten thousand, where a careless pattern would go back and forth."""
    hard = [
        b"A" + b" " * 60000 + b"SIP/2.0\r\n",
        b"INVITE " + b":" * 60000,
        b"\r\n" * 30000 + b"x",
        b"A " * 30000,
        b"SIP/2.0 " + b" " * 60000,
        b"\n" * 60000,
    ]
    list(messages([datagram(data) for data in hard], Trouble()))
    list(messages([SYN, *(segment(b"INVITE sip:a SIP/2.0\r\nVia: " + data, 1000) for data in hard)], Trouble()))
    for start in (b"", b"U 1.1.1.1:1 -> 2.2.2.2:2\n", b"<--- Transmitting SIP ", b"recv 1 bytes from udp/[", b"[", b"1.1.1.1"):
        read_through(b"".join(start + data + b"\n" for data in hard), tmp_path / "a")


def test_memory_of_a_large_file(tmp_path: Path) -> None:
    """A hundred megabytes are read in a few."""
    path = tmp_path / "large.pcap"
    once = pcap([datagram(request(number=1, body=bytes(50_000)))] * 40)
    with path.open("wb") as out:
        out.write(once)
        for _ in range(49):
            out.write(once[24:])
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    assert sum(1 for _ in read([str(path)], Trouble())) == 2000
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 4_000


def test_a_source_that_fails() -> None:
    class Failing:
        def read(self, size: int, /) -> bytes:
            raise OSError(5, "Input/output error")

    octets = Octets(Failing())
    assert octets.peek(4) == b""
    assert octets.fault == "Input/output error"
    assert octets.line(10) == b""
