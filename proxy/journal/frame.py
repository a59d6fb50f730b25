"""The frame around each event, the same in a ring and in a segment: a checksum over everything that follows it, length, worker, position.

The position is that of the frame's first octet in all that its worker ever put into its ring. It tells a keeper that was killed between two
steps what it had written already, so that no event is lost and none is there twice.
"""

from __future__ import annotations

import struct
from typing import Final, NamedTuple
from zlib import crc32

import msgspec

from proxy.events import Event

CRC: Final = struct.Struct("<I")
REST: Final = struct.Struct("<IHQ")
"""Length of the payload, worker, position: what the checksum covers, with the payload."""

HEAD: Final = CRC.size + REST.size
"""Octets before the payload."""

LONGEST: Final = 1 << 18
"""Octets of a payload: four times the longest datagram. A length beyond it is damage."""

KEEPER: Final = 0xFFFF
"""The worker number of frames that the keeper wrote itself: the first of each segment."""


class _Timed(msgspec.Struct, array_like=True, gc=False):
    """What all events begin with."""

    kind: str
    at: int


_timed: Final = msgspec.msgpack.Decoder(_Timed)
_decoder: Final[msgspec.msgpack.Decoder[Event]] = msgspec.msgpack.Decoder(Event)


class Frame(NamedTuple):
    """One frame that is whole: `end` is where the next one begins in the same data."""

    worker: int
    position: int
    payload: memoryview
    end: int


class Damage(ValueError):
    """Data that is no whole frame. `short` where more data might make it one."""

    def __init__(self, what: str, *, short: bool = False) -> None:
        super().__init__(what)
        self.short = short


def frame(worker: int, position: int, payload: bytes) -> bytes:
    """One frame. Raises ValueError for a payload beyond LONGEST."""
    if len(payload) > LONGEST:
        raise ValueError(f"{len(payload)} octets are too many for a frame")
    rest = REST.pack(len(payload), worker, position) + payload
    return CRC.pack(crc32(rest)) + rest


def frame_at(data: memoryview, at: int, limit: int) -> Frame:
    """The frame that begins at an octet of data, of which `limit` are valid. Raises Damage."""
    begin = at + HEAD
    if begin > limit:
        raise Damage("ends within the head of a frame", short=True)
    length, worker, position = REST.unpack_from(data, at + CRC.size)
    if length > LONGEST:
        raise Damage(f"a frame of {length} octets")
    end = begin + length
    if end > limit:
        raise Damage("ends within a frame", short=True)
    if crc32(data[at + CRC.size : end]) != CRC.unpack_from(data, at)[0]:
        raise Damage("a frame with a wrong checksum")
    return Frame(worker, position, data[begin:end], end)


def event_of(payload: memoryview) -> Event | None:
    """The event of a payload; None for one that this version does not know (a newer version wrote it, for the checksum was right)."""
    try:
        return _decoder.decode(payload)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return None


def time_of(payload: memoryview) -> int:
    """When an event happened (ms), without reading the rest of it; 0 where that cannot be told."""
    try:
        return _timed.decode(payload).at
    except (msgspec.DecodeError, UnicodeDecodeError):
        return 0
