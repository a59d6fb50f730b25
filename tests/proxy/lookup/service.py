"""A look-up service as bad as one likes, over real connections: what it does with a request is one word."""

from __future__ import annotations

import socketserver
import ssl
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

OK = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%s"


class LookupService(socketserver.ThreadingTCPServer):
    """Listens on a free port of loopback. `does` says how the next requests are treated, `asked` holds their targets, in order.

    A word of `does`: a JSON text; a status such as "500"; "close", "hang", "drip" (one octet at a time, for ever), "huge", "endless"
    (headers without an end), "redirect", "garbage" (no HTTP), "cut" (less than its Content-Length), "headers" (and then nothing), "trickle"
    (an octet a second), "length" (a Content-Length that is no number), "chunks" (without an end), "more JSON" (the JSON text twice: the
    second time nobody has asked); "0.2 JSON" for the JSON text after 0.2 s.
    """

    daemon_threads = True
    block_on_close = False
    allow_reuse_address = True

    def __init__(self, certificate: Path | None = None) -> None:
        super().__init__(("127.0.0.1", 0), _Request)
        self.scheme = "http"
        if certificate is not None:
            self.scheme = "https"
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(certificate)
            self.socket = context.wrap_socket(self.socket, server_side=True, do_handshake_on_connect=False)
        self.does = '{"state": "abroad"}'
        self.asked: list[str] = []
        self.connections = 0
        self.over = threading.Event()

    @property
    def url(self) -> str:
        """The template of a [[lookup]] that asks this service."""
        return f"{self.scheme}://127.0.0.1:{self.server_address[1]}/where?number={{number}}"


class _Request(socketserver.StreamRequestHandler):
    server: LookupService

    def handle(self) -> None:
        self.server.connections += 1
        try:
            while line := self.rfile.readline():
                while self.rfile.readline().strip():
                    pass
                self.server.asked.append(line.split()[1].decode())
                if not self._answer(self.server.does):
                    return
        except OSError:  # the other side is tired of waiting
            return

    def _answer(self, does: str) -> bool:
        delay, _, rest = does.partition(" ")
        if delay.replace(".", "").isdigit() and rest:
            self.server.over.wait(float(delay))
            does = rest
        if does == "close":
            return False
        if does == "hang":
            self.server.over.wait()
            return False
        if does == "headers":
            self.wfile.write(b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 20\r\n\r\n")
            self.server.over.wait()
            return False
        if does == "length":
            self.wfile.write(b"HTTP/1.1 200 OK\r\nContent-Length: twenty\r\n\r\n" + b'{"state": "abroad"} ')
            return False
        if does == "garbage":
            self.wfile.write(b"SSH-2.0-OpenSSH_9.2\r\n")
            return False
        if does == "cut":
            self.wfile.write(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n{")
            return False
        if does == "redirect":
            there = self.server.url.replace("{number}", "elsewhere")
            self.wfile.write(f"HTTP/1.1 302 Found\r\nLocation: {there}\r\nContent-Length: 0\r\n\r\n".encode())
        elif does == "huge":
            self.wfile.write(OK % (10_000_000, b'{"state": "abroad"' + b" " * 9_999_982))
        elif does.startswith("more "):
            text = does[5:].encode()
            self.wfile.write(OK % (len(text), text) * 2)
        elif does == "chunks":
            self.wfile.write(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
            while not self.server.over.wait(0.02):
                self.wfile.write(b"1\r\n \r\n")
            return False
        elif does == "trickle":
            for octet in b'HTTP/1.1 200 OK\r\nContent-Length: 19\r\n\r\n{"state": "abroad"}':
                self.wfile.write(bytes([octet]))
                if self.server.over.wait(1.0):
                    break
            return False
        elif does in ("drip", "endless"):
            self.wfile.write(b"HTTP/1.1 200 OK\r\n" + (b"Content-Length: 9000\r\n\r\n" if does == "drip" else b""))
            while not self.server.over.is_set():
                self.wfile.write(b" " if does == "drip" else b"X-More: x\r\n")
                time.sleep(0.02)
            return False
        elif does.isdigit():
            self.wfile.write(f"HTTP/1.1 {does} Status\r\nContent-Length: 0\r\n\r\n".encode())
        else:
            self.wfile.write(OK % (len(does.encode()), does.encode()))
        return True


@contextmanager
def serving(certificate: Path | None = None) -> Iterator[LookupService]:
    """A service that runs until the end of the block; over TLS with a PEM file of key and certificate."""
    with LookupService(certificate) as service:
        thread = threading.Thread(target=service.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
        thread.start()
        try:
            yield service
        finally:
            service.over.set()
            service.shutdown()
            thread.join()
