"""Opening sockets in the supervisor: one for each worker and listener, in SO_REUSEPORT groups that outlive the workers."""

from __future__ import annotations

import contextlib
import errno
import socket
import struct
from collections.abc import Sequence
from typing import Final

RECEIVE_BUFFER: Final = 8 << 20
"""Bytes of datagrams that wait while a worker is busy or restarts: some thousands of INVITEs."""

SEND_BUFFER: Final = 2 << 20

Binding = tuple[str, str, int]  # transport, address, port

_SO_SNDBUFFORCE: Final = 32
_SO_RCVBUFFORCE: Final = 33
_SO_MEMINFO: Final = 55
_MEMINFO_DROPS: Final = 8


class SocketFault(Exception):
    """A socket that cannot be opened; says which and why."""


def open_sockets(bindings: Sequence[Binding], workers: int) -> list[list[socket.socket]]:
    """Bound, non-blocking, inheritable sockets: by worker, then in the order of `bindings`. Raises SocketFault and leaves none open."""
    with contextlib.ExitStack() as opened:
        for binding in bindings:
            _bind(binding, shared=False).close()  # a second program with SO_REUSEPORT would silently take half of the calls
        sockets = [[opened.enter_context(_bind(binding, shared=True)) for binding in bindings] for _ in range(workers)]
        opened.pop_all()
    return sockets


def open_own(bindings: Sequence[Sequence[Binding]]) -> list[list[socket.socket]]:
    """Sockets that each have one worker: bindings and sockets by worker. Raises SocketFault and leaves none open."""
    with contextlib.ExitStack() as opened:
        sockets = [[opened.enter_context(_bind(binding, shared=False)) for binding in mine] for mine in bindings]
        opened.pop_all()
    return sockets


def open_admin(address: str, port: int) -> socket.socket:
    """The listening socket of the admin server. Raises SocketFault."""
    sock = _bind(("tcp", address, port), shared=False)
    sock.listen(128)
    return sock


def open_inboxes(workers: int) -> list[tuple[socket.socket, socket.socket]]:
    """For each worker the end it reads and the end that the others write."""
    pairs = []
    for _ in range(workers):
        read, write = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        for sock in (read, write):
            sock.setblocking(False)
            _enlarge(sock)
        pairs.append((read, write))
    return pairs


def receive_drops(sock: socket.socket) -> int:
    """Datagrams that the kernel has dropped on this socket for want of buffer since it was opened."""
    info = sock.getsockopt(socket.SOL_SOCKET, _SO_MEMINFO, 4 * (_MEMINFO_DROPS + 1))
    return int(struct.unpack_from("=I", info, 4 * _MEMINFO_DROPS)[0])


def place(binding: Binding) -> str:
    """A binding as people write it: udp 127.0.0.1:5060."""
    transport, address, port = binding
    return f"{transport} [{address}]:{port}" if ":" in address else f"{transport} {address}:{port}"


def _bind(binding: Binding, *, shared: bool) -> socket.socket:
    transport, address, port = binding
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    sock = socket.socket(family, socket.SOCK_DGRAM if transport == "udp" else socket.SOCK_STREAM)
    try:
        sock.setblocking(False)
        if family == socket.AF_INET6:
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        if transport == "tcp":
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        else:
            _enlarge(sock)
        if shared:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        sock.bind((address, port))
        if transport == "tcp" and not shared:
            sock.listen(1)  # with SO_REUSEADDR only this shows that somebody listens there
    except OSError as error:
        sock.close()
        raise SocketFault(f"cannot listen on {place(binding)}: {_reason(error)}") from None
    return sock


def _reason(error: OSError) -> str:
    if error.errno == errno.EADDRINUSE:
        return "another program has this port"
    if error.errno == errno.EADDRNOTAVAIL:
        return "this host does not have this address"
    if error.errno == errno.EACCES:
        return "not permitted (ports below 1024 need CAP_NET_BIND_SERVICE)"
    return error.strerror or str(error)


def _enlarge(sock: socket.socket) -> None:
    """Buffers as large as we want where we may, else as large as the host allows."""
    for forced, option, size in (
        (_SO_RCVBUFFORCE, socket.SO_RCVBUF, RECEIVE_BUFFER),
        (_SO_SNDBUFFORCE, socket.SO_SNDBUF, SEND_BUFFER),
    ):
        try:
            sock.setsockopt(socket.SOL_SOCKET, forced, size)
        except PermissionError:
            sock.setsockopt(socket.SOL_SOCKET, option, size)
