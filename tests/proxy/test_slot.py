"""A slot that hears what a worker says late."""

from __future__ import annotations

import asyncio
from typing import Any

from proxy.control import Forget, Load, Loaded, ToSupervisor, ToWorker
from proxy.slot import Slot


class Talk:
    """The worker's end of a channel, under a test's control."""

    def __init__(self) -> None:
        self.heard: list[ToWorker] = []
        self.says: asyncio.Queue[ToSupervisor] = asyncio.Queue()

    def send(self, message: ToWorker) -> None:
        self.heard.append(message)

    async def receive(self, kind: Any) -> ToSupervisor:
        return await self.says.get()

    def close(self) -> None:
        pass


async def test_a_late_answer_is_not_that_of_the_next_load() -> None:
    slot, talk = Slot(0), Talk()
    slot._channel = talk  # type: ignore[assignment]
    reading = asyncio.get_running_loop().create_task(slot._read(talk))  # type: ignore[arg-type]
    assert await slot.load(Load("one"), 0.01) == "not ready within 0.01 s"
    slot.tell(Forget())
    second = asyncio.get_running_loop().create_task(slot.load(Load("two"), 5.0))
    await asyncio.sleep(0)
    talk.says.put_nowait(Loaded("one", ""))
    await asyncio.sleep(0.01)
    assert not second.done()
    talk.says.put_nowait(Loaded("two", "ValueError: it is broken"))
    assert await second == "ValueError: it is broken"
    talk.says.put_nowait(Loaded("two", ""))
    await asyncio.sleep(0.01)
    assert talk.heard == [Load("one"), Forget(), Load("two")]
    reading.cancel()
