"""From what packets carry to SIP messages."""

from __future__ import annotations

from typing import Final

from proxy.hep import Hep, decode
from proxy.replay.internet import SCTP, TCP, UDP, Internet, address, chunks
from proxy.replay.message import Captured
from proxy.replay.packets import Packet
from proxy.replay.startline import begins, may_begin
from proxy.replay.streams import Message, Streams
from proxy.replay.trouble import HEP, PACKET, SNAPLEN, Trouble

_MAX_NAMES: Final = 4096
_TRANSPORTS: Final = {TCP: "tcp", UDP: "udp", SCTP: "sctp"}


class Payloads:
    """Takes the packets of captures, gives the SIP messages in them: datagrams that begin like SIP, and what TCP connections carry."""

    __slots__ = ("_internet", "_names", "_streams", "_trouble")

    def __init__(self, trouble: Trouble) -> None:
        self._trouble = trouble
        self._internet = Internet(trouble)
        self._streams = Streams(trouble)
        self._names: dict[bytes, str] = {}

    def messages(self, packet: Packet, name: str) -> list[Captured]:
        """The messages that this packet completes."""
        self._trouble.packets += 1
        place = f"{name}:{packet[4]}"
        carried = self._internet.carried(packet, place)
        if carried is None:
            return []
        protocol, source, destination, data, cut = carried
        if protocol == UDP:
            return self._datagram(packet[0], source, destination, data, cut, place)
        if protocol == TCP:
            return self._streamed(self._streams.segment(packet[0], source, destination, data, cut, place))
        if protocol == SCTP and not cut:
            found: list[Captured] = []
            for message in chunks(data):
                found += self._message(packet[0], source, destination, data[:4], "sctp", message, True, place)
            return found
        return []

    def hep(self, data: bytes, place: str) -> list[Captured]:
        """The message in a HEP packet."""
        try:
            hep = decode(data)
        except ValueError as error:
            self._trouble.note(HEP, place, str(error))
            return []
        return self._unwrapped(hep, place)

    def finish(self) -> list[Captured]:
        """Nothing more comes: the messages behind segments that were not captured."""
        self._internet.finish()
        return self._streamed(self._streams.finish())

    def _streamed(self, messages: list[Message]) -> list[Captured]:
        found: list[Captured] = []
        for stream, data, at, place, whole in messages:
            if data[:4] == b"HEP3":
                found += self.hep(data, place)
            else:
                found.append(self._captured(at, stream.source, stream.destination, stream.ports, "tcp", data, whole, place))
        return found

    def _datagram(self, at: float, source: bytes, destination: bytes, data: bytes, cut: bool, place: str) -> list[Captured]:
        if len(data) < 8:
            self._trouble.note(SNAPLEN if cut else PACKET, place, f"a UDP header in {len(data)} bytes")
            return []
        length = data[4] << 8 | data[5]
        if length < 8 or length > len(data):
            if not cut:
                self._trouble.note(PACKET, place, f"a UDP datagram of {length} bytes in {len(data)}")
            if length < 8:
                return []
            cut = True
        # RTP and most else has no letter there
        if len(data) == 8 or not 10 <= data[8] <= 126:
            return []
        return self._message(at, source, destination, data[:4], "udp", data[8:length], not cut, place)

    def _message(
        self, at: float, source: bytes, destination: bytes, ports: bytes, transport: str, data: bytes, whole: bool, place: str
    ) -> list[Captured]:
        """What is in a datagram."""
        if data[:4] == b"HEP3":
            if whole:
                return self.hep(data, place)
            self._trouble.note(SNAPLEN, place, "a HEP packet that the capture cut")
            return []
        data = data.lstrip(b"\r\n") if data[:1] in b"\r\n" else data  # RFC 3261 §7.5
        if not begins(data):
            if not whole and may_begin(data):
                self._trouble.note(SNAPLEN, place, "a start line that the capture cut")
            return []
        if not whole:
            self._trouble.note(SNAPLEN, place, "a message that the capture cut")
        return [self._captured(at, source, destination, ports, transport, data, whole, place)]

    def _captured(
        self, at: float, source: bytes, destination: bytes, ports: bytes, transport: str, data: bytes, whole: bool, place: str
    ) -> Captured:
        self._trouble.messages += 1
        source_port = ports[0] << 8 | ports[1]
        destination_port = ports[2] << 8 | ports[3]
        return Captured(at, self._name(source), source_port, self._name(destination), destination_port, transport, data, place, whole)

    def _unwrapped(self, hep: Hep, place: str) -> list[Captured]:
        if hep.compressed:
            self._trouble.note(HEP, place, "a compressed payload")
            return []
        data = hep.payload.lstrip(b"\r\n")
        if not begins(data):
            return []
        self._trouble.messages += 1
        return [
            Captured(
                hep.seconds + hep.microseconds * 1e-6,
                self._name(hep.source),
                hep.source_port,
                self._name(hep.destination),
                hep.destination_port,
                _TRANSPORTS.get(hep.protocol, "udp"),
                data,
                place,
            )
        ]

    def _name(self, packed: bytes) -> str:
        name = self._names.get(packed)
        if name is None:
            if len(self._names) >= _MAX_NAMES:
                self._names.clear()
            name = self._names[packed] = address(packed)
        return name
