from __future__ import annotations

import socket

import pytest

from proxy.sockets import SocketFault, open_admin, open_sockets, place, receive_drops
from tests.proxy.node import free_port


def test_one_socket_for_each_worker_and_binding() -> None:
    port = free_port()
    bindings = [("udp", "127.0.0.1", port), ("tcp", "127.0.0.1", port), ("udp", "::1", port)]
    sockets = open_sockets(bindings, 3)
    assert [[sock.getsockname()[:2] for sock in mine] for mine in sockets] == [[(address, port) for _, address, _ in bindings]] * 3
    for mine in sockets:
        for sock in mine:
            sock.close()


@pytest.mark.parametrize("transport", ["udp", "tcp"])
def test_a_port_that_another_node_shares_is_in_use_all_the_same(transport: str) -> None:
    port = free_port()
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM if transport == "udp" else socket.SOCK_STREAM) as other:
        other.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        other.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        other.bind(("127.0.0.1", port))
        if transport == "tcp":
            other.listen()
        with pytest.raises(SocketFault, match=f"cannot listen on {transport} 127.0.0.1:{port}: another program has this port"):
            open_sockets([(transport, "127.0.0.1", port)], 2)


def test_an_address_of_another_host() -> None:
    with pytest.raises(SocketFault, match="this host does not have this address"):
        open_sockets([("udp", "192.0.2.1", free_port())], 1)
    with pytest.raises(SocketFault, match=r"tcp \[2001:db8::1\]:9090"):
        open_admin("2001:db8::1", 9090)


def test_drops_are_counted_by_the_kernel() -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock, socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as peer:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 2048)
        sock.bind(("127.0.0.1", 0))
        assert receive_drops(sock) == 0
        for _ in range(50):
            peer.sendto(b"x" * 1000, sock.getsockname())
        assert 0 < receive_drops(sock) < 50


def test_places_are_written_as_uris_write_them() -> None:
    assert place(("udp", "::1", 5060)) == "udp [::1]:5060"
    assert place(("tcp", "127.0.0.1", 5060)) == "tcp 127.0.0.1:5060"
