"""Small captures, each with the INVITE requests that are in it, and what tshark counts where that is another number (and why)."""

from __future__ import annotations

import struct
from functools import reduce
from typing import NamedTuple

from proxy.hep import Hep, encode
from tests.proxy.replay import traces
from tests.proxy.replay.traces import (
    HERE6,
    THERE6,
    datagram,
    enhanced,
    ethernet,
    interface,
    ip,
    pcap,
    piece6,
    pieces4,
    pieces6,
    request,
    response,
    section,
    segment,
    udp,
)


class Scenario(NamedTuple):
    """A capture file; `invites` in it, the kinds of trouble with it, and tshark's count of INVITE requests where that differs."""

    data: bytes
    invites: int = 1
    trouble: tuple[str, ...] = ()
    tshark: int | None = None


INVITE = request()
SIZE = len(INVITE)
SECOND, THIRD = request(number=2), request(number=3)
SYN = segment(b"", 999, 2)
AWAY = (40000, 40001)
"""Ports that no program knows as SIP's."""
SYN_AWAY = segment(b"", 999, 2, ports=AWAY)
BODY = b"x" * 3000
BARE = request(length=None)


def _quoted(packet: bytes) -> bytes:
    message = struct.pack(">BBHI", 3, 3, 0, 0) + packet
    return ip(message[:2] + struct.pack(">H", traces.checksum(message)) + message[4:], 1)


def _patched(packet: bytes, at: int, value: int) -> bytes:
    return packet[:at] + struct.pack(">H", value) + packet[at + 2 :]


def _sctp(message: bytes) -> bytes:
    chunk = struct.pack(">BBHIHHI", 0, 3, 16 + len(message), 1, 0, 0, 0) + message
    return ip(struct.pack(">HHII", 5060, 5060, 1, 0) + chunk + bytes(-len(chunk) % 4), 132)


FRAGMENTS = pieces4(udp(INVITE), 64)
FRAGMENTS6 = pieces6(udp(INVITE), 64)
COOKED = struct.pack(">HHH8s", 0, 1, 6, bytes(8))
HEP = encode(Hep(bytes((192, 0, 2, 1)), 5060, bytes((192, 0, 2, 2)), 5060, 1_700_000_000, 5, INVITE, correlation=b"c", agent=2001))

SCENARIOS = {
    # what is SIP
    "udp": Scenario(pcap([datagram(INVITE), datagram(response()), datagram(request("ACK"))])),
    "udp on other ports": Scenario(pcap([datagram(INVITE, source_port=40000, destination_port=40001)])),
    "udp over ipv6": Scenario(pcap([datagram(INVITE, HERE6, THERE6)])),
    "a tel uri, and another method that begins alike": Scenario(
        pcap([datagram(INVITE.replace(b"sip:1002@example.com", b"tel:+861", 1)), datagram(INVITE.replace(b"INVITE", b"INVITEX"))])
    ),
    "line ends without cr": Scenario(pcap([datagram(INVITE.replace(b"\r\n", b"\n"))])),
    "a start line and nothing else": Scenario(pcap([datagram(b"INVITE sip:a@b SIP/2.0")])),
    "what follows a message in its datagram is no message": Scenario(pcap([datagram(INVITE + SECOND)])),
    "junk before a message": Scenario(pcap([datagram(b"junk\r\n" + INVITE)]), 0),
    "neither sip nor text": Scenario(
        pcap([datagram(b"\x80\x08" + bytes(170)), datagram(b""), datagram(b"\r\n\r\n"), datagram(b"HTTP/1.1 200 OK")]), 0
    ),
    "a sipfrag body": Scenario(
        pcap([datagram(request("NOTIFY", body=b"INVITE sip:a@b SIP/2.0\r\n", extra="Content-Type: message/sipfrag"))]), 0
    ),
    # RFC 3261 §7.5 has these line ends ignored; tshark takes what follows for the continuation of something
    "line ends before a message": Scenario(pcap([datagram(b"\r\n\r\n" + INVITE)]), tshark=0),
    # RFC 3261 §7.1: SIP-Version is case-insensitive
    "version in lower case": Scenario(pcap([datagram(INVITE.replace(b"SIP/2.0", b"sip/2.0", 1))]), tshark=0),
    # malformed, and yet sent: the parser says what is wrong (RFC 4475 §3.1.2.16, §3.1.2.9)
    "another version": Scenario(pcap([datagram(INVITE.replace(b"SIP/2.0", b"SIP/7.0", 1))]), tshark=0),
    "too many spaces": Scenario(pcap([datagram(INVITE.replace(b" SIP/2.0", b"  SIP/2.0", 1))]), tshark=0),
    # no INVITE was sent when an error about one comes back, nor when one travels as a body: tshark counts both
    "an icmp error that quotes an invite": Scenario(pcap([datagram(INVITE), _quoted(datagram(INVITE))]), 1, tshark=2),
    "a body of message/sip": Scenario(pcap([datagram(request("MESSAGE", body=INVITE, extra="Content-Type: message/sip"))]), 0, tshark=1),
    "sctp": Scenario(pcap([_sctp(INVITE)])),
    # tcp
    "tcp": Scenario(pcap([SYN, segment(INVITE, 1000), segment(b"", 1000 + SIZE, 0x11)])),
    "tcp on other ports": Scenario(pcap([SYN_AWAY, segment(INVITE, 1000, ports=AWAY)])),
    "tcp over ipv6": Scenario(
        pcap(
            [
                segment(b"", 999, 2, HERE6, THERE6),
                segment(INVITE[:50], 1000, 0x18, HERE6, THERE6),
                segment(INVITE[50:], 1050, 0x18, HERE6, THERE6),
            ]
        )
    ),
    "a message in two segments": Scenario(pcap([SYN, segment(INVITE[:100], 1000), segment(INVITE[100:], 1100)])),
    "a message in segments of one byte": Scenario(pcap([SYN, *(segment(INVITE[at : at + 1], 1000 + at) for at in range(SIZE))])),
    "a start line in two segments": Scenario(pcap([SYN, segment(INVITE[:10], 1000), segment(INVITE[10:], 1010)])),
    # tshark looks for SIP on other ports in each segment for itself
    "a start line in two segments on other ports": Scenario(
        pcap([SYN_AWAY, segment(INVITE[:10], 1000, ports=AWAY), segment(INVITE[10:], 1010, ports=AWAY)]), tshark=0
    ),
    "two messages in a segment": Scenario(pcap([SYN, segment(INVITE + SECOND, 1000)]), 2),
    "three messages in two segments": Scenario(
        pcap([SYN, segment((INVITE + SECOND + THIRD)[:400], 1000), segment((INVITE + SECOND + THIRD)[400:], 1400)]), 3
    ),
    "a body in three segments": Scenario(
        pcap([SYN, *(segment(request(body=BODY)[at : at + 1200], 1000 + at) for at in range(0, len(request(body=BODY)), 1200))])
    ),
    "a segment twice": Scenario(pcap([SYN, segment(INVITE, 1000), segment(INVITE, 1000)])),
    "a segment again, late": Scenario(pcap([SYN, segment(INVITE, 1000), segment(request("ACK"), 1000 + SIZE), segment(INVITE, 1000)])),
    "a segment again after the end": Scenario(pcap([SYN, segment(INVITE, 1000), segment(b"", 1000 + SIZE, 0x11), segment(INVITE, 1000)])),
    "data with the fin": Scenario(pcap([SYN, segment(INVITE, 1000, 0x19)])),
    "data with the syn": Scenario(pcap([segment(INVITE, 999, 2)])),
    "sequence numbers wrap": Scenario(
        pcap([segment(b"", 0xFFFFFFF0, 2), segment(INVITE[:100], 0xFFFFFFF1), segment(INVITE[100:], (0xFFFFFFF1 + 100) & 0xFFFFFFFF)])
    ),
    "the capture begins within a message": Scenario(pcap([segment(INVITE[200:], 1200), segment(SECOND, 1000 + SIZE)])),
    "keep-alives": Scenario(pcap([SYN, segment(b"\r\n\r\n", 1000), segment(b"\r\n\r\n", 1004), segment(INVITE, 1008)])),
    # tshark 4.0 does not put segments in order (tcp.reassemble_out_of_order is off), nor reads the new part of a retransmission
    "halves in the wrong order": Scenario(pcap([SYN, segment(INVITE[100:], 1100), segment(INVITE[:100], 1000)]), tshark=0),
    "the next message before the rest of this": Scenario(
        pcap([SYN, segment(INVITE[:100], 1000), segment(SECOND, 1000 + SIZE), segment(INVITE[100:], 1100)]), 2, tshark=1
    ),
    "a segment again, and more": Scenario(pcap([SYN, segment(INVITE, 1000), segment(INVITE + SECOND + THIRD, 1000)]), 3, tshark=1),
    "a keep-alive and a message in one segment": Scenario(pcap([SYN, segment(b"\r\n\r\n" + INVITE, 1000)]), tshark=0),
    "a gap": Scenario(
        pcap([SYN, segment(INVITE[:100], 1000), segment(SECOND, 1000 + SIZE), segment(THIRD, 1000 + SIZE + len(SECOND))]), 2, ("stream",)
    ),
    "no content-length": Scenario(pcap([SYN, segment(BARE, 1000), segment(SECOND, 1000 + len(BARE))]), 2, ("stream",)),
    "no content-length, then more": Scenario(pcap([SYN, segment(BARE + SECOND, 1000)]), 1, ("stream",)),
    "a content-length that is none": Scenario(pcap([SYN, segment(INVITE.replace(b"Length: 0", b"Length: x"), 1000)]), 1, ("stream",)),
    "a message that never ends": Scenario(pcap([SYN, segment(request(length=5000), 1000)]), 0, ("stream",)),
    "another protocol that begins like a method": Scenario(
        pcap([SYN_AWAY, segment(b"PING", 1000, ports=AWAY), segment(b"\nPONG\n", 1004, ports=AWAY)]), 0
    ),
    "a connection that ends within a message": Scenario(pcap([SYN, segment(INVITE[:100], 1000), segment(b"", 1100, 0x11)]), 0, ("stream",)),
    # longer than the proxy takes: it is refused by its head
    "a message that is too long": Scenario(pcap([SYN, segment(request(length=500_000), 1000)]), 1, ("stream",), 0),
    "tls": Scenario(
        pcap(
            [
                SYN,
                segment(b"\x16\x03\x01\x00\x05hello", 1000),
                segment(b"\x16\x03\x03\x00\x05world", 5000, 0x18, traces.THERE, traces.HERE, (5060, 40000)),
                segment(b"\x17\x03\x03\x00\x05hello", 1010),
            ]
        ),
        0,
        ("tls",),
    ),
    "a websocket": Scenario(
        pcap([SYN, segment(b"GET /ws HTTP/1.1\r\nHost: a\r\nUpgrade: websocket\r\nSec-WebSocket-Protocol: sip\r\n\r\n", 1000)]),
        0,
        ("websocket",),
    ),
    # fragments
    "ipv4 fragments": Scenario(pcap(FRAGMENTS)),
    "ipv4 fragments, last first": Scenario(pcap(FRAGMENTS[::-1])),
    "ipv4 fragments of tcp": Scenario(pcap([SYN, *pieces4(traces.tcp(INVITE, 1000), 64, 6)])),
    "a fragment twice": Scenario(pcap([FRAGMENTS[0], *FRAGMENTS])),
    "the last fragment is missing": Scenario(pcap(FRAGMENTS[:-1]), 0, ("fragments",)),
    "a fragment is missing": Scenario(pcap(FRAGMENTS[:2] + FRAGMENTS[3:]), 0, ("fragments",)),
    "ipv6 fragments": Scenario(pcap(FRAGMENTS6)),
    "ipv6 fragments, last first": Scenario(pcap(FRAGMENTS6[::-1])),
    "an ipv6 fragment that is all": Scenario(pcap([piece6(udp(INVITE), 0, False)])),
    # RFC 5722 has the whole packet dropped, and so do hosts; with IPv4 they disagree on whose bytes count
    "overlapping ipv4 fragments": Scenario(
        pcap([FRAGMENTS[0], ip(b"X" * 72, fragment=56 >> 3 | 0x2000, number=7), *FRAGMENTS[2:]]), 0, ("fragments",), 1
    ),
    "overlapping ipv6 fragments": Scenario(
        pcap([FRAGMENTS6[0], piece6(udp(INVITE)[56:128], 56, True), *FRAGMENTS6[1:]]), 0, ("fragments",), 1
    ),
    # tunnels and headers
    "ipv6 in ipv4": Scenario(pcap([ip(datagram(INVITE, HERE6, THERE6), 41)])),
    "ipv4 in ipv6": Scenario(pcap([ip(datagram(INVITE), 4, HERE6, THERE6)])),
    "ipv4 in ipv4, seven times": Scenario(pcap([reduce(lambda packet, _: ip(packet, 4), range(7), datagram(INVITE))])),
    # the bound is ours
    "ipv4 in ipv4, twelve times": Scenario(pcap([reduce(lambda packet, _: ip(packet, 4), range(12), datagram(INVITE))]), 0, ("packet",), 1),
    "gre": Scenario(pcap([ip(struct.pack(">HH", 0, 0x800) + datagram(INVITE), 47)])),
    "gre with a key, over ethernet": Scenario(pcap([ip(struct.pack(">HHI", 0x2000, 0x6558, 9) + ethernet(datagram(INVITE)), 47)])),
    "vxlan": Scenario(
        pcap([datagram(struct.pack(">II", 0x08000000, 0x100) + ethernet(datagram(INVITE)), source_port=50000, destination_port=4789)])
    ),
    "ipv6 extension headers": Scenario(
        pcap([ip(struct.pack(">BBHI", 60, 0, 0x104, 0) + struct.pack(">BBHI", 17, 0, 0x104, 0) + udp(INVITE), 0, HERE6, THERE6)])
    ),
    "an authentication header": Scenario(pcap([ip(bytes((17, 4)) + bytes(22) + udp(INVITE), 51)])),
    # links
    "ethernet": Scenario(pcap([ethernet(datagram(INVITE)) + bytes(7)], 1)),
    "vlan": Scenario(pcap([ethernet(datagram(INVITE), tags=b"\x81\0\0\1")], 1)),
    "qinq": Scenario(pcap([ethernet(datagram(INVITE), tags=b"\x88\xa8\0\1\x81\0\0\2")], 1)),
    "mpls": Scenario(pcap([ethernet(struct.pack(">II", 0x00010040, 0x00010140) + datagram(INVITE), 0x8847)], 1)),
    "pppoe": Scenario(
        pcap([ethernet(struct.pack(">BBHH", 0x11, 0, 1, 2 + len(datagram(INVITE))) + b"\0\x21" + datagram(INVITE), 0x8864)], 1)
    ),
    "linux cooked": Scenario(pcap([COOKED + b"\x08\0" + datagram(INVITE)], 113)),
    "linux cooked with a vlan": Scenario(pcap([COOKED + b"\x81\0\0\1\x08\0" + datagram(INVITE)], 113)),
    "linux cooked 2": Scenario(pcap([struct.pack(">HHIHBB8s", 0x800, 0, 1, 1, 0, 6, bytes(8)) + datagram(INVITE)], 276)),
    "bsd loopback": Scenario(pcap([struct.pack("<I", 2) + datagram(INVITE), struct.pack(">I", 2) + datagram(SECOND)], 0), 2),
    "bsd loopback, ipv6": Scenario(pcap([struct.pack("<I", 30) + datagram(INVITE, HERE6, THERE6)], 0)),
    "openbsd loopback": Scenario(pcap([struct.pack(">I", 2) + datagram(INVITE)], 108)),
    "raw 12": Scenario(pcap([datagram(INVITE)], 12)),
    "raw 14": Scenario(pcap([datagram(INVITE)], 14)),
    "raw ipv4": Scenario(pcap([datagram(INVITE)], 228)),
    "raw ipv6": Scenario(pcap([datagram(INVITE, HERE6, THERE6)], 229)),
    "arp": Scenario(pcap([ethernet(bytes(28), 0x0806)], 1), 0),
    "a link type that is not read": Scenario(pcap([datagram(INVITE)], 147), 0, ("link",)),
    # lengths that lie, and cuts
    "cut in the message": Scenario(pcap([datagram(INVITE)], snaplen=100), 1, ("snaplen",)),
    "cut in the start line": Scenario(pcap([datagram(INVITE)], snaplen=50), 0, ("snaplen",)),
    "cut segments": Scenario(pcap([SYN, segment(INVITE, 1000), segment(SECOND, 1000 + SIZE)], snaplen=150), 2, ("snaplen",)),
    "a udp length beyond the packet": Scenario(pcap([ip(_patched(udp(INVITE), 4, 999))]), 1, ("packet", "snaplen")),
    "a udp length within the message": Scenario(pcap([ip(_patched(udp(INVITE), 4, 150))])),
    "a udp length below its header": Scenario(pcap([ip(_patched(udp(INVITE), 4, 4))]), 0, ("packet",)),
    "no udp length": Scenario(pcap([ip(_patched(udp(INVITE), 4, 0))]), 0, ("packet",)),
    "no ip length": Scenario(pcap([_patched(datagram(INVITE), 2, 0)])),
    "an ip length beyond the packet": Scenario(pcap([_patched(datagram(INVITE), 2, 999)]), 1, ("packet", "snaplen")),
    "an ip length within the message": Scenario(pcap([_patched(datagram(INVITE), 2, 150)]), 1, ("packet", "snaplen")),
    "an ip length below its header": Scenario(pcap([_patched(datagram(INVITE), 2, 12)]), 0, ("packet",)),
    # hep: tshark must be told the port
    "hep": Scenario(pcap([datagram(HEP, source_port=30000, destination_port=9060)]), tshark=0),
    "hep on tcp": Scenario(
        pcap(
            [
                segment(b"", 999, 2, ports=(30000, 9060)),
                segment(HEP[:50], 1000, ports=(30000, 9060)),
                segment(HEP[50:] + HEP, 1050, ports=(30000, 9060)),
            ]
        ),
        2,
        tshark=0,
    ),
    # files
    "big endian": Scenario(pcap([datagram(INVITE)], order=">")),
    "nanoseconds": Scenario(pcap([datagram(INVITE)], magic=0xA1B23C4D)),
    "nanoseconds, big endian": Scenario(pcap([datagram(INVITE)], magic=0xA1B23C4D, order=">")),
    "pcapng": Scenario(section() + interface(101) + enhanced(datagram(INVITE))),
    "pcapng of two sections in two byte orders": Scenario(
        section()
        + interface(101)
        + enhanced(datagram(INVITE))
        + section(">")
        + interface(1, ">")
        + enhanced(ethernet(datagram(SECOND)), order=">"),
        2,
    ),
    "pcapng of two link types": Scenario(
        section() + interface(101) + interface(1) + enhanced(ethernet(datagram(INVITE)), 1) + enhanced(datagram(SECOND), 0), 2
    ),
    "pcapng with other blocks": Scenario(
        section()
        + traces.block(5, bytes(12))
        + interface(101)
        + traces.block(0x0BAD, bytes(40))
        + enhanced(datagram(INVITE))
        + traces.block(4, bytes(8))
    ),
    "pcapng with a simple packet": Scenario(
        section() + interface(101) + traces.block(3, struct.pack("<I", len(datagram(INVITE))) + datagram(INVITE))
    ),
    "pcapng with an old packet block": Scenario(
        section()
        + interface(101)
        + traces.block(2, struct.pack("<HHIIII", 0, 0, 0, 0, len(datagram(INVITE)), len(datagram(INVITE))) + datagram(INVITE))
    ),
    "pcapng that ends in a block": Scenario(
        section() + interface(101) + enhanced(datagram(INVITE)) + enhanced(datagram(SECOND))[:100], 1, ("cut",)
    ),
    "pcap that ends in a packet": Scenario(pcap([datagram(INVITE), datagram(SECOND)])[:-100], 1, ("cut",)),
}
