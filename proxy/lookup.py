"""Look-ups that a verdict waits for: services by name, a deadline each, a bound on how many are open."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Sequence
from typing import Final

from proxy.transport.counters import TransportCounters
from rules.verdict import Lookup

OPEN: Final = 1000
"""Look-ups that may be open at once in one worker; the rest get no answer at once, and their rule's on_error or setting decides."""

LONGEST: Final = 5.0
"""Seconds that no look-up may exceed, whatever deadline its rule gave."""

Service = Callable[[str], Awaitable[object]]
"""Answers one key; None is no answer. May raise: that is no answer and logged."""

log = logging.getLogger(__name__)


class Lookups:
    """Carries look-ups out and gives their answers to `resume(ticket, answer)`."""

    def __init__(self, loop: asyncio.AbstractEventLoop, resume: Callable[[int, object], None], counters: TransportCounters) -> None:
        self._loop = loop
        self._resume = resume
        self._counters = counters
        self._services: dict[str, Service] = {}
        self._open: set[asyncio.Task[None]] = set()

    def register(self, kind: str, service: Service) -> None:
        """Let `service` answer look-ups of this kind."""
        self._services[kind] = service

    def start(self, lookups: Sequence[tuple[Lookup, int]]) -> None:
        """Begin to carry out look-ups; each ticket gets exactly one answer, never within this call."""
        for lookup, ticket in lookups:
            service = self._services.get(lookup.kind)
            if service is None or len(self._open) >= OPEN:
                self._counters.lookups_refused += 1
                self._loop.call_soon(self._resume, ticket, None)
                continue
            task = self._loop.create_task(self._ask(service, lookup, ticket))
            self._open.add(task)
            task.add_done_callback(self._open.discard)

    def close(self) -> None:
        """Drop what is open."""
        for task in self._open:
            task.cancel()

    async def _ask(self, service: Service, lookup: Lookup, ticket: int) -> None:
        answer: object = None
        try:
            async with asyncio.timeout(min(lookup.deadline, LONGEST)):
                answer = await service(lookup.key)
        except TimeoutError:
            pass
        except Exception as error:  # whatever a service does, its call goes on
            log.warning("look-up %s failed: %r", lookup.kind, error)
        self._resume(ticket, answer)
