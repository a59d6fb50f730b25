"""What the transports of one worker count, beside the core's own counters."""

from __future__ import annotations

from typing import Final

TRANSPORT_EVENTS: Final = {
    "keepalives": "empty datagrams and CRLF pings",
    "udp_send_failed": "datagrams that the kernel refused to send",
    "udp_send_dropped": "datagrams dropped because a busy socket's queue was full",
    "connections_accepted": "stream connections accepted",
    "connections_opened": "stream connections opened",
    "connections_refused": "stream connections closed at once because there were too many",
    "connections_idle": "stream connections closed because nothing came for long",
    "connections_slow": "stream connections closed because a message took too long to arrive",
    "connections_unread": "stream connections closed because the peer did not read",
    "connections_unframed": "stream connections closed because their messages could not be told apart",
    "handover_dropped": "messages for another worker dropped because its queue was full",
    "trace_sent": "messages told to the capture server",
    "trace_dropped": "messages not told to it because too many waited",
    "trace_failed": "messages that could not be told to it: nobody listens there, or too long",
    "lookups_refused": "look-ups not made because there is no such service or too many were open",
}


class TransportCounters:
    """Plain integers, one for each of TRANSPORT_EVENTS."""

    __slots__ = tuple(TRANSPORT_EVENTS)

    keepalives: int
    udp_send_failed: int
    udp_send_dropped: int
    connections_accepted: int
    connections_opened: int
    connections_refused: int
    connections_idle: int
    connections_slow: int
    connections_unread: int
    connections_unframed: int
    handover_dropped: int
    trace_sent: int
    trace_dropped: int
    trace_failed: int
    lookups_refused: int

    def __init__(self) -> None:
        for name in TRANSPORT_EVENTS:
            setattr(self, name, 0)

    def snapshot(self) -> dict[str, int]:
        """All counts by name."""
        return {name: getattr(self, name) for name in TRANSPORT_EVENTS}
