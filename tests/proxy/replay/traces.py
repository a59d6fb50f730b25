"""Captures made by hand: packets, and the files around them."""

from __future__ import annotations

import io
import struct
from collections.abc import Iterable, Iterator
from ipaddress import ip_address
from pathlib import Path

from proxy.replay.captured import Captured, Trouble, read

HERE, THERE = "192.0.2.1", "192.0.2.2"
HERE6, THERE6 = "2001:db8::1", "2001:db8::2"


def request(method: str = "INVITE", number: int = 1, body: bytes = b"", extra: str = "", length: int | None = -1) -> bytes:
    """A request; `length` is its Content-Length, None for none."""
    lines = [
        f"{method} sip:1002@example.com SIP/2.0",
        f"Via: SIP/2.0/UDP 192.0.2.1:5060;branch=z9hG4bK{number}",
        "From: <sip:1001@example.com>;tag=1",
        "To: <sip:1002@example.com>",
        f"Call-ID: call-{number}",
        f"CSeq: 1 {method}",
        "Max-Forwards: 70",
    ]
    if extra:
        lines.append(extra)
    if length is not None:
        lines.append(f"Content-Length: {len(body) if length < 0 else length}")
    return "\r\n".join([*lines, "", ""]).encode() + body


def response(status: int = 200, number: int = 1) -> bytes:
    return (
        f"SIP/2.0 {status} OK\r\nVia: SIP/2.0/UDP 192.0.2.1:5060;branch=z9hG4bK{number}\r\nFrom: <sip:1001@example.com>;tag=1\r\n"
        f"To: <sip:1002@example.com>;tag=2\r\nCall-ID: call-{number}\r\nCSeq: 1 INVITE\r\nContent-Length: 0\r\n\r\n"
    ).encode()


def checksum(data: bytes) -> int:
    total = sum(struct.unpack(f">{(len(data) + 1) // 2}H", data + b"\0" * (len(data) % 2)))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF


def ip(payload: bytes, protocol: int = 17, source: str = HERE, destination: str = THERE, *, fragment: int = 0, number: int = 1) -> bytes:
    """An IP packet of the family of its addresses; `fragment` is the field of IPv4 with offset and flags."""
    packed, other = ip_address(source).packed, ip_address(destination).packed
    if len(packed) == 16:
        return struct.pack(">IHBB", 0x60000000, len(payload), protocol, 64) + packed + other + payload
    header = struct.pack(">BBHHHBBH4s4s", 0x45, 0, 20 + len(payload), number, fragment, 64, protocol, 0, packed, other)
    return header[:10] + struct.pack(">H", checksum(header)) + header[12:] + payload


def udp(payload: bytes, source_port: int = 5060, destination_port: int = 5060) -> bytes:
    return struct.pack(">HHHH", source_port, destination_port, 8 + len(payload), 0) + payload


def tcp(payload: bytes, sequence: int, flags: int = 0x18, source_port: int = 40000, destination_port: int = 5060) -> bytes:
    return struct.pack(">HHIIBBHHH", source_port, destination_port, sequence, 1, 0x50, flags, 65535, 0, 0) + payload


def datagram(payload: bytes, source: str = HERE, destination: str = THERE, source_port: int = 5060, destination_port: int = 5060) -> bytes:
    return ip(udp(payload, source_port, destination_port), 17, source, destination)


def segment(
    payload: bytes, sequence: int, flags: int = 0x18, source: str = HERE, destination: str = THERE, ports: tuple[int, int] = (40000, 5060)
) -> bytes:
    return ip(tcp(payload, sequence, flags, *ports), 6, source, destination)


def pieces4(payload: bytes, size: int, protocol: int = 17, number: int = 7) -> list[bytes]:
    """A packet in IPv4 fragments."""
    return [
        ip(payload[at : at + size], protocol, fragment=at >> 3 | (0x2000 if at + size < len(payload) else 0), number=number)
        for at in range(0, len(payload), size)
    ]


def piece6(payload: bytes, offset: int, more: bool, protocol: int = 17, number: int = 7) -> bytes:
    return ip(struct.pack(">BBHI", protocol, 0, offset | more, number) + payload, 44, HERE6, THERE6)


def pieces6(payload: bytes, size: int, protocol: int = 17) -> list[bytes]:
    """A packet in IPv6 fragments."""
    return [piece6(payload[at : at + size], at, at + size < len(payload), protocol) for at in range(0, len(payload), size)]


def ethernet(packet: bytes, kind: int | None = None, tags: bytes = b"") -> bytes:
    if kind is None:
        kind = 0x86DD if packet[0] >> 4 == 6 else 0x0800
    return bytes(12) + tags + struct.pack(">H", kind) + packet


def pcap(
    frames: Iterable[bytes], link: int = 101, order: str = "<", magic: int = 0xA1B2C3D4, snaplen: int = 262144, start: int = 1_700_000_000
) -> bytes:
    """A pcap file, one frame each tenth of a second."""
    out = [struct.pack(order + "IHHiIII", magic, 2, 4, 0, 0, snaplen, link)]
    tick = 100_000_000 if magic == 0xA1B23C4D else 100_000
    for number, frame in enumerate(frames):
        data = frame[:snaplen]
        out.append(struct.pack(order + "IIII", start + number // 10, number % 10 * tick, len(data), len(frame)) + data)
    return b"".join(out)


def block(kind: int, body: bytes, order: str = "<") -> bytes:
    body += bytes(-len(body) % 4)
    size = struct.pack(order + "I", 12 + len(body))
    return struct.pack(order + "I", kind) + size + body + size


def section(order: str = "<") -> bytes:
    return block(0x0A0D0D0A, struct.pack(order + "IHHq", 0x1A2B3C4D, 1, 0, -1), order)


def interface(link: int, order: str = "<", snaplen: int = 262144, options: bytes = b"") -> bytes:
    return block(1, struct.pack(order + "HHI", link, 0, snaplen) + options, order)


def enhanced(frame: bytes, where: int = 0, ticks: int = 1_700_000_000_000_000, order: str = "<", length: int | None = None) -> bytes:
    head = struct.pack(order + "IIIII", where, ticks >> 32, ticks & 0xFFFFFFFF, len(frame), len(frame) if length is None else length)
    return block(6, head + frame, order)


def found(data: bytes, path: Path) -> tuple[list[Captured], Trouble]:
    """What a file of these bytes holds."""
    path.write_bytes(data)
    trouble = Trouble()
    return list(read([str(path)], trouble)), trouble


def methods(messages: Iterable[Captured]) -> list[str]:
    return [message.data.split(b" ", 2)[1 if message.data.startswith(b"SIP/") else 0].decode("latin-1") for message in messages]


class Slow(io.RawIOBase):
    """A pipe that gives a byte at a time."""

    def __init__(self, data: bytes) -> None:
        self._data: Iterator[int] = iter(data)

    def read(self, size: int = -1) -> bytes:
        octet = next(self._data, None)
        return b"" if octet is None else bytes((octet,))
