"""One worker process as the supervisor sees it: started in a slot, asked, watched, started again in the same slot."""

from __future__ import annotations

import asyncio
import os
import socket
import sys
from collections.abc import Mapping
from pathlib import Path
from time import monotonic
from typing import Final

from proxy.control import Ask, Begin, Channel, Drain, Drained, End, Load, Loaded, Ready, Snapshot, Switched, ToSupervisor, ToWorker

SHORTEST_PAUSE: Final = 0.1
LONGEST_PAUSE: Final = 5.0
"""Seconds before a worker is started again: doubled each time it ends within STABLE seconds."""

STABLE: Final = 30.0

PACKAGES: Final = str(Path(__file__).resolve().parent.parent)

CHILD_ENVIRONMENT: Final[Mapping[str, str]] = os.environ | {
    "PYTHONPATH": os.pathsep.join(part for part in (PACKAGES, os.environ.get("PYTHONPATH", "")) if part),
    "PYTHONDONTWRITEBYTECODE": "1",
}
"""Our processes find the same `proxy` and `rules` wherever this one was started from."""


class WorkerGone(Exception):
    """A worker that did not start or has ended."""


class Slot:
    """A place for one worker. `latest` is the newest snapshot of the worker that is in it, `status` how the last one ended."""

    def __init__(self, number: int) -> None:
        self.number = number
        self.ready = False
        self.latest: Snapshot | None = None
        self.status: int | None = None
        self._process: asyncio.subprocess.Process | None = None
        self._channel: Channel | None = None
        self._reading: asyncio.Task[None] | None = None
        self._heard = 0.0
        self._began = 0.0
        self._pause = SHORTEST_PAUSE
        self._loaded: asyncio.Future[str] | None = None
        self._loading = ""  # the folder whose Loaded is waited for
        self._drained: asyncio.Future[None] | None = None
        self._refreshed = asyncio.Event()
        self._ready = asyncio.Event()

    async def start(self, begin: Begin, limit: float) -> None:
        """Start a worker and wait until it takes calls. Raises WorkerGone where it does not within `limit` seconds."""
        mine, its = socket.socketpair()
        self._ready.clear()
        self._began = monotonic()
        descriptors = {its.fileno(), begin.inbox, begin.calls, *begin.sockets, *begin.ports, *begin.legs, *begin.others.values()}
        descriptors |= {one for one in (begin.ring, begin.owners) if one >= 0}
        try:
            self._process = await asyncio.create_subprocess_exec(
                sys.executable,
                "-P",
                "-m",
                "proxy.session",
                str(its.fileno()),
                stdin=asyncio.subprocess.DEVNULL,
                pass_fds=tuple(descriptors),
                env=CHILD_ENVIRONMENT,
            )
        except OSError as error:
            mine.close()
            raise WorkerGone(str(error)) from None
        finally:
            its.close()
        self._channel = Channel(*await asyncio.open_unix_connection(sock=mine))
        self._channel.send(begin)
        self._reading = asyncio.get_running_loop().create_task(self._read(self._channel))
        waiting = asyncio.get_running_loop().create_task(self._ready.wait())
        await asyncio.wait([waiting, self._reading], timeout=limit, return_when=asyncio.FIRST_COMPLETED)
        waiting.cancel()
        if not self.ready:
            why = "it ended" if self._reading.done() else f"it was not ready within {limit:g} s"
            self.kill()
            raise WorkerGone(why)

    async def ended(self) -> None:
        """Wait until the process is gone and everything it said has been read."""
        if self._process is None:
            return
        self.status = await self._process.wait()
        if self._reading is not None:
            await asyncio.wait([self._reading])
        self.ready = False

    def pause(self, now: float) -> float:
        """Seconds to wait before the next start."""
        pause = SHORTEST_PAUSE if now - self._began > STABLE else self._pause
        self._pause = min(pause * 2, LONGEST_PAUSE)
        return pause

    def tell(self, message: ToWorker) -> None:
        """Send a message that wants no answer."""
        if self._channel is not None:
            self._channel.send(message)

    async def refresh(self, limit: float) -> None:
        """Have `latest` renewed, unless the worker is busier than `limit` seconds."""
        self._refreshed.clear()
        self.tell(Ask())
        try:
            async with asyncio.timeout(limit):
                await self._refreshed.wait()
        except TimeoutError:
            pass

    async def load(self, message: Load, limit: float) -> str:
        """Have a generation made ready; what went wrong, or ""."""
        self._loaded = asyncio.get_running_loop().create_future()
        self._loading = message.folder
        self.tell(message)
        try:
            async with asyncio.timeout(limit):
                return await self._loaded
        except TimeoutError:
            return f"not ready within {limit:g} s"
        finally:
            self._loaded = None

    async def drain(self, message: Drain) -> None:
        """Have the worker wait for its calls; returns when it has none left or has ended."""
        if not self.ready:
            return
        self._drained = asyncio.get_running_loop().create_future()
        self.tell(message)
        await self._drained

    def probe(self, now: float, limit: float) -> bool:
        """Ask for a sign of life; False where the last one is older than `limit` seconds."""
        self.tell(Ask())
        return now - self._heard < limit

    def kill(self) -> None:
        """End the process at once."""
        if self._process is not None and self._process.returncode is None:
            self._process.kill()

    async def _read(self, channel: Channel) -> None:
        try:
            while True:
                message = await channel.receive(ToSupervisor)
                self._heard = monotonic()
                match message:
                    case Ready():
                        self.ready = True
                        self._ready.set()
                    case Snapshot():
                        self.latest = message
                        self._refreshed.set()
                    case Loaded(folder, error):
                        # one that was given up says nothing of the one that is waited for now
                        if self._loaded is not None and folder == self._loading and not self._loaded.done():
                            self._loaded.set_result(error)
                    case Drained():
                        if self._drained is None:  # told by a signal, while the other workers stay: nothing to wait for
                            self.tell(End())
                        elif not self._drained.done():
                            self._drained.set_result(None)
                    case Switched():
                        pass
        except EOFError:
            pass
        finally:
            self.ready = False
            self._refreshed.set()
            if self._loaded is not None and not self._loaded.done():
                self._loaded.set_result("it ended")
            if self._drained is not None and not self._drained.done():
                self._drained.set_result(None)
            channel.close()
