"""From a captured frame to the IP packet in it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

_MAX_TAGS: Final = 16
_IP: Final = (0x0800, 0x86DD)
_VLAN: Final = (0x8100, 0x88A8, 0x9100, 0x9200)
_MPLS: Final = (0x8847, 0x8848)
_PPPOE: Final = 0x8864


def ethertype(kind: int, data: bytes, at: int) -> int:
    """Where the IP packet begins in a frame whose payload of this EtherType begins at `at`; -1 when there is none."""
    for _ in range(_MAX_TAGS):
        if kind in _IP:
            return at
        if kind in _VLAN:
            if len(data) < at + 4:
                return -1
            kind = data[at + 2] << 8 | data[at + 3]
            at += 4
        elif kind in _MPLS:
            if len(data) < at + 5:
                return -1
            last = data[at + 2] & 1
            at += 4
            if last:
                return at if data[at] >> 4 in (4, 6) else -1
        elif kind == _PPPOE:
            return _ppp(data, at + 6)
        elif kind < 1536 and data[at : at + 6] == b"\xaa\xaa\x03\0\0\0" and len(data) >= at + 8:  # 802.3 with SNAP
            kind = data[at + 6] << 8 | data[at + 7]
            at += 8
        else:
            return -1
    return -1


def ethernet(data: bytes, at: int = 0) -> int:
    """Where the IP packet begins in the Ethernet frame at `at`; -1 when there is none."""
    return ethertype(data[at + 12] << 8 | data[at + 13], data, at + 14) if len(data) >= at + 14 else -1


def _cooked(data: bytes) -> int:
    return ethertype(data[14] << 8 | data[15], data, 16) if len(data) >= 16 else -1


def _cooked2(data: bytes) -> int:
    return ethertype(data[0] << 8 | data[1], data, 20) if len(data) >= 20 else -1


def _loopback(data: bytes) -> int:
    """Four bytes of address family in the byte order of the machine that captured: whatever they are, the version says more."""
    return 4 if len(data) > 4 and data[4] >> 4 in (4, 6) and (data[:3] == b"\0\0\0" or data[1:4] == b"\0\0\0") else -1


def _raw(data: bytes) -> int:
    return 0


def _ppp(data: bytes, at: int = 0) -> int:
    if data[at : at + 2] == b"\xff\x03":
        at += 2
    if data[at : at + 1] in (b"\x21", b"\x57"):  # the protocol field compressed to one byte (RFC 1661 §6.5)
        return at + 1
    return at + 2 if data[at : at + 2] in (b"\0\x21", b"\0\x57") else -1


# https://www.tcpdump.org/linktypes.html
LINKS: Final[dict[int, Callable[[bytes], int]]] = {
    0: _loopback,
    1: ethernet,
    9: _ppp,
    12: _raw,
    14: _raw,
    101: _raw,
    108: _loopback,
    113: _cooked,
    228: _raw,
    229: _raw,
    276: _cooked2,
}
"""By link type: where the IP packet begins in a frame, -1 when it holds none."""
