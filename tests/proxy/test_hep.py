"""HEP3 packets, there and back, and whatever else comes."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.hep import MAX_PACKET, Hep, decode, encode

KNOWN = bytes.fromhex(
    "48455033 006d"
    "0000 0001 0007 02"
    "0000 0002 0007 11"
    "0000 0003 000a c0000201"
    "0000 0004 000a c0000202"
    "0000 0007 0008 13c4"
    "0000 0008 0008 13ce"
    "0000 0009 000a 6553f100"
    "0000 000a 000a 0003d090"
    "0000 000b 0007 01"
    "0000 000c 000a 000007d1"
    "0000 000f 0010" + b"INVITE sip".hex()
)


def chunk(kind: int, value: bytes, vendor: int = 0) -> bytes:
    return vendor.to_bytes(2, "big") + kind.to_bytes(2, "big") + (6 + len(value)).to_bytes(2, "big") + value


def packet(*chunks: bytes) -> bytes:
    data = b"".join(chunks)
    return b"HEP3" + (6 + len(data)).to_bytes(2, "big") + data


ADDRESSES = chunk(3, b"\xc0\0\2\1") + chunk(4, b"\xc0\0\2\2")


def hep(payload: bytes = b"INVITE sip", **fields: object) -> Hep:
    return Hep(b"\xc0\0\2\1", 5060, b"\xc0\0\2\2", 5070, 1_700_000_000, 250_000, payload, agent=2001, **fields)  # type: ignore[arg-type]


def test_bytes_of_the_specification() -> None:
    assert encode(hep()) == KNOWN
    assert decode(KNOWN) == hep()
    assert decode(KNOWN + b"more") == hep()


NUMBERS = st.integers(0, 255)
PORTS = st.integers(0, 65535)
LONG = st.integers(0, 2**32 - 1)
WORDS = st.binary(max_size=40)


@given(
    st.sampled_from((4, 16)).flatmap(lambda size: st.tuples(*[st.binary(min_size=size, max_size=size)] * 2)),
    st.tuples(PORTS, PORTS, LONG, LONG),
    st.binary(max_size=2000),
    st.tuples(NUMBERS, NUMBERS, LONG),
    st.tuples(WORDS, WORDS, WORDS),
    st.booleans(),
)
def test_there_and_back(
    addresses: tuple[bytes, ...],
    numbers: tuple[int, int, int, int],
    payload: bytes,
    kinds: tuple[int, int, int],
    words: tuple[bytes, bytes, bytes],
    compressed: bool,
) -> None:
    made = Hep(addresses[0], numbers[0], addresses[1], numbers[1], numbers[2], numbers[3], payload, *kinds, *words, compressed)
    assert decode(encode(made)) == made


@given(st.binary(max_size=300), st.integers(0, len(KNOWN)), st.integers(0, 20))
def test_anything_is_a_packet_or_a_value_error(junk: bytes, at: int, drop: int) -> None:
    for data in (junk, b"HEP3" + junk, KNOWN[:at] + junk + KNOWN[at + drop :], packet(junk), packet(ADDRESSES, junk)):
        try:
            read = decode(data)
        except ValueError:
            continue
        assert len(read.payload) <= len(data)


def test_chunks_that_are_not_known_are_passed_over() -> None:
    data = packet(chunk(3, b"x" * 9, vendor=7), ADDRESSES, chunk(999, b"unknown"), chunk(15, b"SIP"), chunk(15, b"other", vendor=1))
    read = decode(data)
    assert (read.payload, read.source_port, read.seconds, read.protocol, read.kind) == (b"SIP", 0, 0, 17, 1)


def test_compressed_payload() -> None:
    read = decode(packet(ADDRESSES, chunk(16, b"\x78\x9c")))
    assert read.compressed
    assert read.payload == b"\x78\x9c"
    assert decode(encode(read)) == read


@pytest.mark.parametrize(
    ("data", "why"),
    [
        (b"HEP2\0\6", "no HEP3"),
        (b"HEP3", "no HEP3"),
        (KNOWN[:-1], "a HEP packet of 109 bytes in 108"),
        (packet(ADDRESSES), "no payload"),
        (packet(chunk(15, b"SIP")), "no addresses"),
        (packet(chunk(3, bytes(4)), chunk(6, bytes(16)), chunk(15, b"SIP")), "no addresses"),
        (packet(chunk(3, bytes(5)), chunk(15, b"SIP")), "chunk 3 of 5 bytes instead of 4"),
        (packet(b"\0\0\0\3\0\0"), "a chunk of 0 bytes in 6"),
        (packet(b"\0\0\0\3\xff\xff"), "a chunk of 65535 bytes in 6"),
        (packet(b"\0\0\0"), "a chunk header that is cut"),
    ],
)
def test_refused(data: bytes, why: str) -> None:
    with pytest.raises(ValueError, match=why):
        decode(data)


@pytest.mark.parametrize(
    "wrong",
    [
        Hep(bytes(4), 1, bytes(16), 1, 0, 0, b""),
        Hep(bytes(5), 1, bytes(5), 1, 0, 0, b""),
        Hep(bytes(4), 65536, bytes(4), 1, 0, 0, b""),
        Hep(bytes(4), 1, bytes(4), -1, 0, 0, b""),
        Hep(bytes(4), 1, bytes(4), 1, 1 << 32, 0, b""),
        Hep(bytes(4), 1, bytes(4), 1, 0, 0, b"", kind=256),
        Hep(bytes(4), 1, bytes(4), 1, 0, 0, bytes(MAX_PACKET)),
    ],
)
def test_what_cannot_be_sent(wrong: Hep) -> None:
    with pytest.raises(ValueError, match=r"addresses|int too big|negative|HEP packet"):
        encode(wrong)
