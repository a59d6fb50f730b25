"""The demo's network: a node of one worker and the peers around it, in one event loop."""

from __future__ import annotations

import asyncio
import re
import socket
from collections.abc import Callable
from importlib.resources import files
from pathlib import Path
from secrets import token_bytes, token_hex
from typing import NamedTuple

from proxy.demo.agent import Agent, Ending
from proxy.demo.scenario import PlannedCall, Scenario
from proxy.demo.wire import Place, bind_pair
from proxy.generation import load
from proxy.worker import Worker
from rules.call import Call
from rules.verdict import Verdict

PROXY = "127.0.0.1"

_ADDRESS = re.compile(r"\b(127\.0\.0\.[0-9]+):[0-9]+")


class PlayedCall(NamedTuple):
    """A call that was made: the node's verdict (None: it gave none), how it ended, and everything that was not as expected."""

    plan: PlannedCall
    verdict: Verdict | None
    ending: Ending
    faults: tuple[str, ...]


class Network:
    """Node and peers. `folder` takes the node's files, with the ports that were free; `stranger` is told of verdicts on other calls."""

    def __init__(self, scenario: Scenario, folder: Path) -> None:
        self.scenario = scenario
        self.config = folder / "sipwarden.toml"
        self.proxy = Place("udp", PROXY, 0)
        self.stranger: Callable[[Verdict, Call], None] | None = None
        self._folder = folder
        self._agents = {name: Agent(address, scenario.callees) for name, address in scenario.peers.items()}
        self._verdicts: dict[str, Verdict | None] = {}
        self._worker: Worker | None = None
        self._sockets: tuple[socket.socket, ...] = ()

    async def open(self) -> None:
        """Start everything. OSError where this machine does not have the addresses."""
        for agent in self._agents.values():
            await agent.open()
        self._sockets = sockets = bind_pair(PROXY)
        self.proxy = Place("udp", PROXY, sockets[0].getsockname()[1])
        self._write_files()
        generation, _ = load(self.config)
        self._worker = worker = Worker(asyncio.get_running_loop(), generation, token_bytes(32), sockets)
        worker.proxy.watch_verdicts(self._judged)
        await worker.start()

    async def close(self) -> None:
        """Stop everything."""
        for agent in self._agents.values():
            agent.close()
        if self._worker is not None:
            self._worker.close()
        await asyncio.sleep(0)  # what is closed is gone after one turn of the loop
        for sock in self._sockets:
            sock.close()

    async def play(self, plan: PlannedCall) -> PlayedCall:
        """Make one call and hold what became of it against what was expected."""
        call_id = token_hex(8)
        self._verdicts[call_id] = None
        ending = await self._agents[plan.peer].call(plan, call_id, self.proxy)
        verdict = self._verdicts.pop(call_id)
        arrived = any(call_id in agent.called for agent in self._agents.values())
        return PlayedCall(plan, verdict, ending, tuple(_faults(plan, verdict, ending, arrived=arrived)))

    def _judged(self, verdict: Verdict, call: Call) -> None:
        if call.call_id in self._verdicts:
            self._verdicts[call.call_id] = verdict
        elif self.stranger is not None:
            self.stranger(verdict, call)

    def _write_files(self) -> None:
        ports = {agent.wire.address: agent.wire.port for agent in self._agents.values()} | {PROXY: self.proxy.port}
        for file in files("proxy.demo").joinpath("config").iterdir():
            text = file.read_text(encoding="utf-8")
            text = _ADDRESS.sub(lambda found: f"{found[1]}:{ports[found[1]]}", text)
            (self._folder / file.name).write_text(text, encoding="utf-8")


def _faults(plan: PlannedCall, verdict: Verdict | None, ending: Ending, *, arrived: bool) -> list[str]:
    expect = plan.expect
    if verdict is None:
        return ["the node gave no verdict"]
    found = []
    for what, wanted, had in (
        ("action", expect.action, verdict.action),
        ("code", expect.code, verdict.code),
        ("status", expect.status, ending.status),
    ):
        if wanted != had:
            found.append(f"{what} {had}, expected {wanted}")
    if arrived != (verdict.action == "pass"):
        found.append("it reached the callee" if arrived else "it did not reach the callee")
    if not ending.orderly:
        found.append("it did not end in good order")
    return found
