"""From IP packets to what they carry: UDP datagrams, TCP segments, SCTP chunks; through tunnels, fragments put together."""

from __future__ import annotations

from collections.abc import Iterator
from ipaddress import ip_address
from struct import Struct
from typing import Final, NamedTuple

from proxy.replay.fragments import Fragments
from proxy.replay.link import LINKS, ethernet, ethertype
from proxy.replay.packets import Packet
from proxy.replay.trouble import LINK, PACKET, SNAPLEN, Trouble

MAX_DEPTH: Final = 8
"""IP packets within IP packets."""
MAX_HEADERS: Final = 16
"""Extension headers of an IPv6 packet."""

TCP: Final = 6
UDP: Final = 17
SCTP: Final = 132
_TUNNELS: Final = (4, 41)
_GRE: Final = 47
_AH: Final = 51
_EXTENSIONS: Final = frozenset((0, 43, 60, 135, 139, 140))
_FRAGMENT: Final = 44

_V4: Final = Struct(">BxHHHxB").unpack_from
_V6: Final = Struct(">HB").unpack_from


class Carried(NamedTuple):
    """The payload of an IP packet: protocol (TCP, UDP or SCTP), packed addresses, its bytes, and whether the capture cut them."""

    protocol: int
    source: bytes
    destination: bytes
    data: bytes
    cut: bool


def address(packed: bytes) -> str:
    """An address as it is written; an IPv4 address for one that IPv6 maps."""
    found = ip_address(packed)
    mapped = getattr(found, "ipv4_mapped", None)
    return str(mapped or found)


class Internet:
    """Takes the IP packets of a capture and gives what they carry."""

    __slots__ = ("_fragments", "_links", "_trouble")

    def __init__(self, trouble: Trouble) -> None:
        self._trouble = trouble
        self._fragments = Fragments(trouble)

    def carried(self, packet: Packet, place: str) -> Carried | None:
        """What a captured packet carries; None when it is no IP packet, or of another protocol, or one of several fragments."""
        at, link, data, cut, _ = packet
        strip = LINKS.get(link)
        if strip is None:
            self._trouble.note(LINK, place, f"link type {link}")
            return None
        begin = strip(data)
        depth = 0
        while begin >= 0:
            depth += 1
            if depth > MAX_DEPTH:
                self._trouble.note(PACKET, place, f"more than {MAX_DEPTH} IP packets within each other")
                return None
            inner = self._packet(data, begin, at, cut, place)
            if inner is None:
                return None
            protocol, data, cut = inner.protocol, inner.data, inner.cut
            if protocol == UDP and data[2:4] == b"\x12\xb5" and data[8:9] == b"\x08":  # VXLAN, as clouds mirror ports with
                begin = ethernet(data, 16)
            elif protocol in _TUNNELS:
                begin = 0
            elif protocol == _GRE:
                begin = _gre(data)
            else:
                return inner
        return None

    def finish(self) -> None:
        """Nothing more comes."""
        self._fragments.finish()

    def _lie(self, place: str, why: str, cut: bool) -> None:
        self._trouble.note(SNAPLEN if cut else PACKET, place, why)

    def _packet(self, data: bytes, begin: int, at: float, cut: bool, place: str) -> Carried | None:
        version = data[begin] >> 4 if len(data) > begin else 0
        if version == 4:
            return self._v4(data, begin, at, cut, place)
        if version == 6:
            return self._v6(data, begin, at, cut, place)
        self._lie(place, f"an IP packet of version {version}", cut)
        return None

    def _v4(self, data: bytes, begin: int, at: float, cut: bool, place: str) -> Carried | None:
        have = len(data) - begin
        header = (data[begin] & 15) << 2
        if header < 20 or have < header:
            self._lie(place, f"an IPv4 header of {header} bytes in {have}", cut)
            return None
        _, total, identification, fragment, protocol = _V4(data, begin)
        if not total:
            total = have  # the network card segments (TSO): it was captured before it did
        elif total < header:
            self._lie(place, f"an IPv4 packet of {total} bytes with a header of {header}", cut)
            return None
        if total > have:
            if not cut:
                self._trouble.note(PACKET, place, f"an IPv4 packet of {total} bytes in {have}")
            cut = True
        else:
            cut = False
        source, destination = data[begin + 12 : begin + 16], data[begin + 16 : begin + 20]
        payload = data[begin + header : begin + min(total, have)]
        if fragment & 0x3FFF:
            key = (source, destination, identification, protocol)
            return self._fragment(key, at, (fragment & 0x1FFF) << 3, bool(fragment & 0x2000), protocol, payload, cut, place)
        return self._authenticated(Carried(protocol, source, destination, payload, cut))

    def _v6(self, data: bytes, begin: int, at: float, cut: bool, place: str) -> Carried | None:
        have = len(data) - begin
        if have < 40:
            self._lie(place, f"an IPv6 header in {have} bytes", cut)
            return None
        length, protocol = _V6(data, begin + 4)
        if not length:
            length = have - 40  # a jumbogram, or captured before it was segmented
        if length > have - 40:
            if not cut:
                self._trouble.note(PACKET, place, f"an IPv6 packet of {length + 40} bytes in {have}")
            cut = True
        else:
            cut = False
        source, destination = data[begin + 8 : begin + 24], data[begin + 24 : begin + 40]
        return self._extended(protocol, data[begin + 40 : begin + 40 + length], source, destination, at, cut, place)

    def _extended(
        self, protocol: int, data: bytes, source: bytes, destination: bytes, at: float, cut: bool, place: str, again: bool = False
    ) -> Carried | None:
        """What follows the extension headers."""
        begin = 0
        for _ in range(MAX_HEADERS):
            if protocol in _EXTENSIONS:
                size = (data[begin + 1] + 1) << 3 if len(data) > begin + 1 else 0
            elif protocol == _AH:
                size = (data[begin + 1] + 2) << 2 if len(data) > begin + 1 else 0
            elif protocol == _FRAGMENT and not again:
                if len(data) < begin + 8:
                    self._lie(place, "an IPv6 fragment header that is cut", cut)
                    return None
                where = data[begin + 2] << 8 | data[begin + 3]
                if where & 0xFFF9:
                    key = (source, destination, int.from_bytes(data[begin + 4 : begin + 8], "big"), -1)
                    return self._fragment(key, at, where & 0xFFF8, bool(where & 1), data[begin], data[begin + 8 :], cut, place)
                size = 8
            else:
                return Carried(protocol, source, destination, data[begin:], cut)
            if not size or len(data) < begin + size:
                self._lie(place, f"an IPv6 extension header of {size} bytes in {len(data) - begin}", cut)
                return None
            protocol = data[begin]
            begin += size
        self._lie(place, f"more than {MAX_HEADERS} IPv6 extension headers", cut)
        return None

    def _fragment(
        self, key: tuple[bytes, bytes, int, int], at: float, offset: int, more: bool, protocol: int, data: bytes, cut: bool, place: str
    ) -> Carried | None:
        if cut:
            self._trouble.note(SNAPLEN, place, "a fragment that the capture cut")
            return None
        whole = self._fragments.add(key, at, offset, more, protocol, data, place)
        if whole is None:
            return None
        if key[3] < 0:
            return self._extended(whole[0], whole[1], key[0], key[1], at, False, place, again=True)
        return self._authenticated(Carried(whole[0], key[0], key[1], whole[1], False))

    def _authenticated(self, carried: Carried) -> Carried | None:
        """An IPv4 packet without its Authentication Header, if it has one."""
        if carried.protocol != _AH:
            return carried
        data = carried.data
        size = (data[1] + 2) << 2 if len(data) > 1 else 0
        return carried._replace(protocol=data[0], data=data[size:]) if 0 < size < len(data) else None


def _gre(data: bytes) -> int:
    """Where the IP packet begins in a GRE packet (RFC 2784, RFC 2890); -1 when it holds none."""
    if len(data) < 4 or data[1] & 7:  # version 1 is PPTP's
        return -1
    begin = 4 + sum(4 for bit in (0x80, 0x20, 0x10) if data[0] & bit)
    kind = data[2] << 8 | data[3]
    return ethernet(data, begin) if kind == 0x6558 else ethertype(kind, data, begin)


def chunks(data: bytes) -> Iterator[bytes]:
    """The whole user messages in an SCTP packet (RFC 9260 §3.3.1)."""
    at = 12
    while at + 16 <= len(data):
        length = data[at + 2] << 8 | data[at + 3]
        if length < 4:
            return
        if data[at] == 0 and data[at + 1] & 3 == 3 and length > 16:
            yield data[at + 16 : at + length]
        at += length + -length % 4
