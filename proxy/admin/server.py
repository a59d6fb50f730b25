"""The admin pages: a plain ASGI application on uvicorn, in the supervisor's own event loop."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import socket
from collections.abc import Awaitable, Callable, Iterator, MutableMapping
from typing import Any, Final

import uvicorn

from proxy.admin.metrics import CONTENT_TYPE, exposition
from proxy.admin.node import RunningNode

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]

PLAIN: Final = b"text/plain; charset=utf-8"
STOP_LIMIT: Final = 2.0

log = logging.getLogger(__name__)


class Pages:
    """The ASGI application."""

    def __init__(self, node: RunningNode) -> None:
        self._node = node

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] != "http":
            return
        if scope["method"] not in ("GET", "HEAD"):
            await _answer(scope, send, 405, b"only GET and HEAD\n", extra=[(b"allow", b"GET, HEAD")])
        elif scope["path"] == "/metrics":
            await _answer(scope, send, 200, await exposition(self._node), CONTENT_TYPE)
        elif scope["path"] == "/healthz":
            await _answer(scope, send, 200, b"ok\n")
        elif scope["path"] == "/readyz":
            if self._node.ready:
                await _answer(scope, send, *_readiness(self._node))
            else:
                await _answer(scope, send, 503, b"draining\n" if self._node.draining else b"not all workers take calls\n")
        else:
            await _answer(scope, send, 404, b"there are /metrics, /healthz and /readyz\n")


def _readiness(node: RunningNode) -> tuple[int, bytes]:
    """A node that takes calls is ready, also where their records wait in memory; one that may take none it cannot record is not."""
    journal = node.journal()
    trouble = "" if journal is None else journal.trouble
    if journal is not None and journal.refusing:
        return 503, f"{trouble}\n".encode()
    return 200, b"ready\n" + (f"{trouble}\n".encode() if trouble else b"")


async def _answer(
    scope: Message, send: Send, status: int, body: bytes, content_type: bytes = PLAIN, extra: list[tuple[bytes, bytes]] | None = None
) -> None:
    headers = [(b"content-type", content_type), (b"content-length", str(len(body)).encode()), (b"cache-control", b"no-store")]
    await send({"type": "http.response.start", "status": status, "headers": [*headers, *(extra or [])]})
    await send({"type": "http.response.body", "body": b"" if scope["method"] == "HEAD" else body})


class AdminServer:
    """Serves the pages on a socket that listens already."""

    def __init__(self, node: RunningNode, sock: socket.socket) -> None:
        config = uvicorn.Config(
            Pages(node),
            loop="none",
            http="h11",
            ws="none",
            lifespan="off",
            log_config=None,
            access_log=False,
            server_header=False,
            date_header=False,
            limit_concurrency=64,
            timeout_graceful_shutdown=1,
        )
        self._socket = sock
        self._server = _Server(config)
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Begin to serve."""
        self._task = asyncio.get_running_loop().create_task(self._server.serve(sockets=[self._socket]))

    async def stop(self) -> None:
        """Stop serving."""
        self._server.stop()
        if self._task is not None:
            await asyncio.wait([self._task], timeout=STOP_LIMIT)
        self._socket.close()


class _Server(uvicorn.Server):
    """Waits for its end instead of looking ten times a second: the supervisor is to be idle."""

    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        self._end = asyncio.Event()

    def stop(self) -> None:
        self.should_exit = True
        self._end.set()

    async def main_loop(self) -> None:
        await self._end.wait()

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:  # they are the supervisor's
        yield
