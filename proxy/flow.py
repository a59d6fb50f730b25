"""Where bytes come from and go to: a listening socket and a remote address. Plain data; the transports own the sockets."""

from __future__ import annotations

from typing import Any

from rules.call import Source


class Listener:
    """One listening socket, as the core sees it.

    `index` finds the socket in the transports; `host` and `port` are what Via and Record-Route name (`advertise` where the bound address
    is a wildcard). `via` is the beginning of our Via line up to its branch parameter, `branch_start` the same up to the branch itself,
    `uri` the URI that Record-Route and Contact name. Where a worker has a port of its own, its Via names that one (`answered_at`). `reach`:
    up to which octet of a datagram the kernel looks for a Call-ID to pick the worker by, 0 where it goes by addresses.
    """

    __slots__ = ("branch_start", "host", "index", "ipv6", "port", "reach", "sent_by", "transport", "uri", "via")

    def __init__(self, index: int, transport: str, host: str, port: int) -> None:
        self.index = index
        self.transport = transport
        self.host = host
        self.port = port
        self.ipv6 = ":" in host
        self.reach = 0
        self.answered_at(port)
        self.uri = b"sip:" + self.sent_by + (b"" if transport == "udp" else b";transport=" + transport.encode())

    def answered_at(self, port: int) -> None:
        """Have Via name this port, where responses are to come; all else names the listener's own."""
        self.sent_by = (f"[{self.host}]:{port}" if self.ipv6 else f"{self.host}:{port}").encode()
        self.via = b"Via: SIP/2.0/" + self.transport.upper().encode() + b" " + self.sent_by
        self.branch_start = self.via + b";branch="


class Flow:
    """A way to one remote address over one listener. Bytes are sent with `(flow, data)`.

    `sockaddr` is what the socket wants for UDP, `packed` the same as the kernel has it, once a transport has needed that. `connection` is
    the serial number of an accepted or opened stream connection, 0 for UDP and for a stream destination that the transport is to connect
    to. `peer` is what the routing table knows about the address (cached by the core). `reply_port` is where a response goes whose stream
    connection is gone: the port of the request's Via (RFC 3261 §18.2.2), 0 where that is not known.
    """

    __slots__ = ("address", "connection", "listener", "packed", "peer", "port", "reply_port", "sockaddr", "source")

    def __init__(self, listener: Listener, address: str, port: int, sockaddr: tuple[Any, ...] | None = None, connection: int = 0) -> None:
        self.listener = listener
        self.address = address
        self.port = port
        self.sockaddr: tuple[Any, ...] = sockaddr if sockaddr is not None else ((address, port, 0, 0) if listener.ipv6 else (address, port))
        self.packed = b""
        self.connection = connection
        self.source = Source(address, port, listener.transport)
        self.peer: Any = None
        self.reply_port = 0
