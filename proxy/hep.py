"""HEP3, the encapsulation that capture servers (Homer, sngrep, heplify) speak: packets with their addresses and time, in chunks.

Written after the HEP3 specification, revision 12 (github.com/sipcapture/HEP). Numbers are in network byte order.
"""

from __future__ import annotations

from struct import Struct
from typing import Final

MAGIC: Final = b"HEP3"
SIP: Final = 1
"""Protocol type of SIP."""
MAX_PACKET: Final = 65535
UDP: Final = 17
TCP: Final = 6

_HEAD: Final = Struct(">HHH")
_INET: Final = 2
_INET6: Final = 10

# Chunk types of vendor 0, which is the specification's own.
_FAMILY, _PROTOCOL, _SOURCE4, _DESTINATION4, _SOURCE6, _DESTINATION6 = 1, 2, 3, 4, 5, 6
_SOURCE_PORT, _DESTINATION_PORT, _SECONDS, _MICROSECONDS, _KIND, _AGENT = 7, 8, 9, 10, 11, 12
_KEY, _PAYLOAD, _COMPRESSED, _CORRELATION, _NODE = 14, 15, 16, 17, 19
_SIZES: Final = {
    _FAMILY: 1,
    _PROTOCOL: 1,
    _SOURCE4: 4,
    _DESTINATION4: 4,
    _SOURCE6: 16,
    _DESTINATION6: 16,
    _SOURCE_PORT: 2,
    _DESTINATION_PORT: 2,
    _SECONDS: 4,
    _MICROSECONDS: 4,
    _KIND: 1,
    _AGENT: 4,
}


class Hep:
    """One packet that a capture agent saw.

    `source` and `destination` are packed addresses, 4 or 16 bytes both; `protocol` is that of IP (UDP, TCP, 132 for SCTP); `kind` says what
    the payload is (SIP, or another number of the specification); `agent` is the capture agent's number, `key` its password (b"" for
    none), `correlation` what joins packets of one call, `node` the agent's name. `compressed` says that the payload is still deflated.
    """

    __slots__ = (
        "agent",
        "compressed",
        "correlation",
        "destination",
        "destination_port",
        "key",
        "kind",
        "microseconds",
        "node",
        "payload",
        "protocol",
        "seconds",
        "source",
        "source_port",
    )

    def __init__(
        self,
        source: bytes,
        source_port: int,
        destination: bytes,
        destination_port: int,
        seconds: int,
        microseconds: int,
        payload: bytes,
        protocol: int = UDP,
        kind: int = SIP,
        agent: int = 0,
        key: bytes = b"",
        correlation: bytes = b"",
        node: bytes = b"",
        compressed: bool = False,
    ) -> None:
        self.source = source
        self.source_port = source_port
        self.destination = destination
        self.destination_port = destination_port
        self.seconds = seconds
        self.microseconds = microseconds
        self.payload = payload
        self.protocol = protocol
        self.kind = kind
        self.agent = agent
        self.key = key
        self.correlation = correlation
        self.node = node
        self.compressed = compressed

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Hep):
            return NotImplemented
        return all(getattr(self, name) == getattr(other, name) for name in Hep.__slots__)

    __hash__ = None  # type: ignore[assignment]  # its fields may change


def _chunk(kind: int, value: bytes) -> bytes:
    return _HEAD.pack(0, kind, 6 + len(value)) + value


def encode(hep: Hep) -> bytes:
    """The packet as it is sent. ValueError when the addresses are of two families, a number does not fit, or it exceeds MAX_PACKET."""
    size = len(hep.source)
    if size not in (4, 16) or len(hep.destination) != size:
        raise ValueError("addresses of 4 or of 16 bytes")
    v4 = size == 4
    try:
        chunks = [
            _chunk(_FAMILY, bytes((_INET if v4 else _INET6,))),
            _chunk(_PROTOCOL, hep.protocol.to_bytes(1, "big")),
            _chunk(_SOURCE4 if v4 else _SOURCE6, hep.source),
            _chunk(_DESTINATION4 if v4 else _DESTINATION6, hep.destination),
            _chunk(_SOURCE_PORT, hep.source_port.to_bytes(2, "big")),
            _chunk(_DESTINATION_PORT, hep.destination_port.to_bytes(2, "big")),
            _chunk(_SECONDS, hep.seconds.to_bytes(4, "big")),
            _chunk(_MICROSECONDS, hep.microseconds.to_bytes(4, "big")),
            _chunk(_KIND, hep.kind.to_bytes(1, "big")),
            _chunk(_AGENT, hep.agent.to_bytes(4, "big")),
        ]
    except OverflowError as error:
        raise ValueError(str(error)) from None
    options = ((_KEY, hep.key), (_CORRELATION, hep.correlation), (_NODE, hep.node))
    length = 6 + sum(map(len, chunks)) + sum(6 + len(value) for _, value in options if value) + 6 + len(hep.payload)
    if length > MAX_PACKET:
        raise ValueError(f"a HEP packet of {length} bytes")
    chunks += [_chunk(kind, value) for kind, value in options if value]
    chunks.append(_chunk(_COMPRESSED if hep.compressed else _PAYLOAD, hep.payload))
    return b"".join((MAGIC, length.to_bytes(2, "big"), *chunks))


def _integer(found: dict[int, bytes], kind: int, absent: int = 0) -> int:
    value = found.get(kind)
    return absent if value is None else int.from_bytes(value, "big")


def decode(data: bytes) -> Hep:
    """The packet that these bytes are: what follows its length is ignored. ValueError, with the reason, when they are none.

    Chunks of vendors and of unknown types are passed over; of a chunk that comes twice, the last counts. Without addresses of one family
    or a payload it is no packet; a port or time that is missing is 0.
    """
    if data[:4] != MAGIC or len(data) < 6:
        raise ValueError("no HEP3")
    end = data[4] << 8 | data[5]
    if end > len(data):
        raise ValueError(f"a HEP packet of {end} bytes in {len(data)}")
    found: dict[int, bytes] = {}
    at = 6
    while at < end:
        if at + 6 > end:
            raise ValueError("a chunk header that is cut")
        vendor, kind, length = _HEAD.unpack_from(data, at)
        if length < 6 or at + length > end:
            raise ValueError(f"a chunk of {length} bytes in {end - at}")
        if not vendor:
            size = _SIZES.get(kind)
            if size is not None and length != 6 + size:
                raise ValueError(f"chunk {kind} of {length - 6} bytes instead of {size}")
            found[kind] = data[at + 6 : at + length]
        at += length
    v6 = found.get(_FAMILY) == b"\x0a" or (_SOURCE4 not in found and _SOURCE6 in found)
    source = found.get(_SOURCE6 if v6 else _SOURCE4)
    destination = found.get(_DESTINATION6 if v6 else _DESTINATION4)
    if source is None or destination is None:
        raise ValueError("no addresses")
    compressed = _PAYLOAD not in found and _COMPRESSED in found
    payload = found.get(_COMPRESSED if compressed else _PAYLOAD)
    if payload is None:
        raise ValueError("no payload")

    return Hep(
        source=source,
        source_port=_integer(found, _SOURCE_PORT),
        destination=destination,
        destination_port=_integer(found, _DESTINATION_PORT),
        seconds=_integer(found, _SECONDS),
        microseconds=_integer(found, _MICROSECONDS),
        payload=payload,
        protocol=_integer(found, _PROTOCOL, UDP),
        kind=_integer(found, _KIND, SIP),
        agent=_integer(found, _AGENT),
        key=found.get(_KEY, b""),
        correlation=found.get(_CORRELATION, b""),
        node=found.get(_NODE, b""),
        compressed=compressed,
    )
