"""A SIP message that was found in a trace."""

from __future__ import annotations


class Captured:
    """One SIP message as it was on the wire.

    `at` is Unix time in seconds (0.0 where the trace has no time), addresses are literal ("" and port 0 where the trace has none).
    `transport` is "udp", "tcp", "tls", "sctp", "ws" or "wss", as the trace says; "udp" where it says nothing. `place` names where it
    was found: "calls.pcap:123" is the 123rd packet of that file, "calls.txt:123" its 123rd line. `whole` is False when the capture cut
    the message: `data` is its beginning then.
    """

    __slots__ = ("at", "data", "destination", "destination_port", "place", "source", "source_port", "transport", "whole")

    def __init__(
        self,
        at: float,
        source: str,
        source_port: int,
        destination: str,
        destination_port: int,
        transport: str,
        data: bytes,
        place: str,
        whole: bool = True,
    ) -> None:
        self.at = at
        self.source = source
        self.source_port = source_port
        self.destination = destination
        self.destination_port = destination_port
        self.transport = transport
        self.data = data
        self.place = place
        self.whole = whole

    def __repr__(self) -> str:
        return (
            f"Captured({self.place} {self.at:.6f} {self.transport} {self.source}:{self.source_port} > "
            f"{self.destination}:{self.destination_port} {self.data[:40]!r})"
        )
