"""Packets of pcap and pcapng files.

Read here and not with a library: dpkt 1.9.8 knows one link type for a pcapng file, no second section and no simple packet block, asks the
file for as many bytes as a length says, and raises where the file is cut; python-pcapng reads no pcap of the older kind.
"""

from __future__ import annotations

from collections.abc import Iterator
from struct import Struct, error, unpack
from typing import Final, NamedTuple

from proxy.replay.octets import Octets
from proxy.replay.trouble import CUT, DAMAGED, Trouble

MAX_PACKET: Final = 1 << 18
"""The longest packet that libpcap writes for these link types (MAXIMUM_SNAPLEN)."""
MAX_BLOCK: Final = 1 << 24
MAX_INTERFACES: Final = 4096
LAST: Final = 253402300800.0
"""The end of year 9999: what comes after it is no time."""

# First four bytes: byte order, seconds of one tick of the fraction, bytes that each record header has beyond the ordinary.
_MAGIC: Final = {
    b"\xa1\xb2\xc3\xd4": (">", 1e-6, 0),
    b"\xd4\xc3\xb2\xa1": ("<", 1e-6, 0),
    b"\xa1\xb2\x3c\x4d": (">", 1e-9, 0),
    b"\x4d\x3c\xb2\xa1": ("<", 1e-9, 0),
    b"\xa1\xb2\xcd\x34": (">", 1e-6, 8),  # Kuznetzov's patch of libpcap
    b"\x34\xcd\xb2\xa1": ("<", 1e-6, 8),
}
SECTION: Final = b"\x0a\x0d\x0d\x0a"
MAGICS: Final = (*_MAGIC, SECTION)

Packet = tuple[float, int, bytes, bool, int]
"""Unix time, link type, what was captured, whether that is less than there was, and the number in the file (from 1)."""


def packets(octets: Octets, name: str, trouble: Trouble) -> Iterator[Packet]:
    """The packets of a file that begins with one of MAGICS. What is wrong with it is noted; it ends there if nothing after can be found."""
    return _pcapng(octets, name, trouble) if octets.peek(4) == SECTION else _pcap(octets, name, trouble)


def _pcap(octets: Octets, name: str, trouble: Trouble) -> Iterator[Packet]:
    header = octets.take(24)
    if len(header) < 24:
        trouble.note(CUT, name, octets.fault or "the file ends in its header")
        return
    order, tick, extra = _MAGIC[header[:4]]
    link = unpack(order + "I", header[20:])[0] & 0x0FFFFFFF  # above it: the length of a frame check sequence
    record = Struct(order + "IIII")
    take = octets.take
    number = 0
    while True:
        header = take(16)
        if len(header) < 16:
            if header or octets.fault:
                trouble.note(CUT, f"{name}:{number + 1}", octets.fault or "the file ends in a record header")
            return
        number += 1
        seconds, fraction, captured, length = record.unpack(header)
        if captured > MAX_PACKET:
            trouble.note(DAMAGED, f"{name}:{number}", f"a record of {captured} bytes; the rest of the file is not read")
            return
        if extra:
            take(extra)
        data = take(captured)
        if len(data) < captured:
            trouble.note(CUT, f"{name}:{number}", octets.fault or f"the file ends after {len(data)} of {captured} bytes of a packet")
            return
        yield seconds + fraction * tick, link, data, captured < length, number


class _Interface(NamedTuple):
    link: int
    snaplen: int
    tick: float
    offset: int


class _Section:
    """What a section of a pcapng file says of its packets."""

    __slots__ = ("enhanced", "interfaces", "old", "order", "simple")

    def __init__(self, order: str) -> None:
        self.order = order
        self.interfaces: list[_Interface] = []
        self.enhanced = Struct(order + "IIIII").unpack_from
        self.old = Struct(order + "HHIIII").unpack_from
        self.simple = Struct(order + "I").unpack_from

    def interface(self, body: bytes) -> None:
        """An Interface Description Block. ValueError, or struct.error, when it lies."""
        if len(self.interfaces) >= MAX_INTERFACES:
            raise ValueError(f"more than {MAX_INTERFACES} interfaces")
        link, _, snaplen = unpack(self.order + "HHI", body[:8])
        tick, offset = 1e-6, 0
        at = 8
        while at + 4 <= len(body):
            code, length = unpack(self.order + "HH", body[at : at + 4])
            value = body[at + 4 : at + 4 + length]
            if code == 0 or len(value) < length:
                break
            if code == 9 and length == 1:  # if_tsresol
                tick = 2.0 ** -(value[0] & 0x7F) if value[0] & 0x80 else 10.0 ** -value[0]
            elif code == 14 and length == 8:  # if_tsoffset
                offset = unpack(self.order + "q", value)[0]
            at += 4 + length + -length % 4
        self.interfaces.append(_Interface(link, snaplen, tick, offset))

    def packet(self, kind: int, body: bytes) -> tuple[float, int, bytes, bool]:
        """A packet block of the given type. ValueError, or struct.error, when it lies."""
        if kind == 3:
            (length,) = self.simple(body)
            if not self.interfaces:
                raise ValueError("a packet of an interface that is not described")
            where = self.interfaces[0]
            data = body[4 : 4 + min(length, where.snaplen or length)]
            return 0.0, where.link, data, len(data) < length
        if kind == 6:
            number, high, low, captured, length = self.enhanced(body)
        else:
            number, _, high, low, captured, length = self.old(body)
        if number >= len(self.interfaces):
            raise ValueError("a packet of an interface that is not described")
        if captured > len(body) - 20 or captured > MAX_PACKET:
            raise ValueError(f"a packet of {captured} bytes in a block of {len(body) + 12}")
        where = self.interfaces[number]
        data = body[20 : 20 + captured]
        at = (high << 32 | low) * where.tick + where.offset
        return at if 0.0 <= at < LAST else 0.0, where.link, data, captured < length


def _pcapng(octets: Octets, name: str, trouble: Trouble) -> Iterator[Packet]:
    section = _Section("<")
    header = Struct("<II").unpack
    take = octets.take
    number = 0
    while True:
        head = take(8)
        if len(head) < 8:
            if head or octets.fault:
                trouble.note(CUT, f"{name}:{number + 1}", octets.fault or "the file ends in a block header")
            return
        if head[:4] == SECTION:
            magic = octets.peek(4)
            if magic not in (b"\x1a\x2b\x3c\x4d", b"\x4d\x3c\x2b\x1a"):
                trouble.note(DAMAGED, f"{name}:{number + 1}", "a section header without byte order; the rest of the file is not read")
                return
            section = _Section(">" if magic[:1] == b"\x1a" else "<")
            header = Struct(section.order + "II").unpack
        kind, length = header(head)
        packet = kind in (2, 3, 6)
        number += packet
        if length < 12 or length & 3 or (length > MAX_BLOCK and (packet or kind == 1)):
            trouble.note(DAMAGED, f"{name}:{number or 1}", f"a block of {length} bytes; the rest of the file is not read")
            return
        if not packet and kind != 1:
            if not octets.skip(length - 8):
                trouble.note(CUT, f"{name}:{number + 1}", octets.fault or "the file ends in a block")
                return
            continue
        body = take(length - 8)
        if len(body) < length - 8:
            trouble.note(CUT, f"{name}:{number or 1}", octets.fault or f"the file ends after {len(body) + 8} of {length} bytes of a block")
            return
        if body[-4:] != head[4:]:
            trouble.note(DAMAGED, f"{name}:{number or 1}", "the two lengths of a block differ; the rest of the file is not read")
            return
        try:
            if not packet:
                section.interface(body[:-4])
                continue
            at, link, data, short = section.packet(kind, body[:-4])
        except (ValueError, error) as fault:
            trouble.note(DAMAGED, f"{name}:{number or 1}", str(fault))
            continue
        yield at, link, data, short, number
