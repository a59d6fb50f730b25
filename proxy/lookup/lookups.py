"""The look-ups of one worker: questions that rules wait for, given to the service of their kind, each ticket answered once and in time."""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from typing import Any, Final

from proxy.config import CERTIFICATE, LONGEST_DEADLINE, CertificatesConfig, LookupConfig
from proxy.control import LookupState
from proxy.counters import OTHER
from proxy.lookup.desk import ASK, CACHED, JOINED, Desk, NoAnswer
from proxy.transport.counters import TransportCounters
from rules.verdict import Lookup

LOG_PAUSE: Final = 60.0
"""Seconds between two log lines about failures of one service."""

KINDS_COUNTED: Final = 1000
"""Kinds that nobody answers are told apart up to here: a rule of a third party may make one up for each call."""

CLOSE_LIMIT: Final = 1.0
"""Seconds that connections may take to close."""

Service = Callable[[str], Awaitable[object]]
"""Answers one key; None is no answer. May raise: that is no answer, and NoAnswer says why."""

log = logging.getLogger(__name__)


class Window:
    """A desk with the service behind it. `config` is what it was made from, None where code registered it."""

    def __init__(self, kind: str, service: Service, desk: Desk, deadline: float, config: LookupConfig | None = None) -> None:
        self.kind = kind
        self.service = service
        self.desk = desk
        self.deadline = deadline
        self.config = config
        self.tasks: set[asyncio.Task[None]] = set()
        self.logged = float("-inf")
        self.in_trouble = False


class Lookups:
    """Carries look-ups out and gives their answers to `resume(ticket, answer)`, None for no answer.

    `counts` says, by kind, what became of them: answered, cached (known already), joined (shared an equal question's answer), failed,
    timeout, refused (too many open, or no such service) or paused (the service had failed too often).
    """

    def __init__(self, loop: asyncio.AbstractEventLoop, resume: Callable[[int, object], None], counters: TransportCounters) -> None:
        self._loop = loop
        self._resume = resume
        self._counters = counters
        self._windows: dict[str, Window] = {}
        self._fetching: tuple[CertificatesConfig, bytes | None] | None = None
        self._timers: dict[int, asyncio.TimerHandle] = {}
        self._closing: set[asyncio.Task[None]] = set()
        self.counts: Counter[tuple[str, str]] = Counter()

    def configure(self, configs: Sequence[LookupConfig]) -> None:
        """Have the services that are configured. One that stays as it was keeps its answers; what is being asked is answered."""
        wanted = {config.kind: config for config in configs}
        for kind, window in list(self._windows.items()):
            if window.config is not None and wanted.get(kind) != window.config:
                del self._windows[kind]
                self._close(window)
        for kind, config in wanted.items():
            if kind not in self._windows:
                from proxy.lookup.http import HttpService

                desk = Desk(
                    config.lives,
                    remembered=config.remembered,
                    concurrent=config.concurrent,
                    failures=config.failures,
                    pause=config.pause,
                )
                self._windows[kind] = Window(kind, HttpService(config), desk, config.deadline, config)

    def fetch_certificates(self, config: CertificatesConfig, ca: bytes | None) -> None:
        """Fetch certificates as configured, `ca` being the content of `ca_file`, or none where no host is allowed; as `configure`."""
        wanted = (config, ca) if config.hosts else None
        if wanted == self._fetching:
            return
        self._fetching = wanted
        window = self._windows.pop(CERTIFICATE, None)
        if window is not None:
            self._close(window)
        if wanted is not None:
            from proxy.lookup.certificates import CertificateService, desk_for

            self.register(CERTIFICATE, CertificateService(config, ca), desk_for(config), config.deadline)

    def register(self, kind: str, service: Service, desk: Desk, deadline: float = LONGEST_DEADLINE) -> None:
        """Let `service` answer look-ups of this kind, each question within `deadline` seconds."""
        self._windows[kind] = Window(kind, service, desk, deadline)

    def recall(self, lookup: Lookup) -> object:
        """An answer that is known already, or None: for `RuleSet.recall`."""
        window = self._windows.get(lookup.kind)
        answer = None if window is None else window.desk.recall(lookup.key, self._loop.time())
        if answer is not None:
            self.counts[lookup.kind, CACHED] += 1
        return answer

    def start(self, lookups: Sequence[tuple[Lookup, int]]) -> None:
        """Begin to carry out look-ups; each ticket gets exactly one answer, never within this call."""
        for lookup, ticket in lookups:
            try:
                self._start(lookup, ticket)
            except Exception as error:  # a rule may put anything into its Lookup
                log.warning("look-up %s cannot be asked: %r", lookup.kind, error)
                self._counters.lookups_refused += 1
                self._loop.call_soon(self._resume, ticket, None)

    def states(self) -> tuple[LookupState, ...]:
        """How things stand with each service."""
        return tuple(
            LookupState(kind, window.desk.breaker.is_open, window.desk.open, len(window.desk.answers))
            for kind, window in self._windows.items()
        )

    def close(self) -> None:
        """Drop what is open; `closed` waits for the connections to be gone."""
        for timer in self._timers.values():
            timer.cancel()
        self._timers.clear()
        for window in self._windows.values():
            for task in window.tasks:
                task.cancel()
            self._close(window)
        self._windows.clear()

    async def closed(self) -> None:
        """Wait until services that are used no longer have closed their connections."""
        if self._closing:
            await asyncio.wait(self._closing, timeout=CLOSE_LIMIT)

    def _start(self, lookup: Lookup, ticket: int) -> None:
        kind, key = lookup.kind, lookup.key
        wait = min(float(lookup.deadline), LONGEST_DEADLINE)
        window = self._windows.get(kind)
        if window is None:
            self._counters.lookups_refused += 1
            known = (kind, "refused") in self.counts or len(self.counts) < KINDS_COUNTED
            self.counts[kind if known else OTHER, "refused"] += 1
            self._loop.call_soon(self._resume, ticket, None)
            return
        fate, answer = window.desk.take(key, ticket, self._loop.time())
        if fate in (ASK, JOINED):
            self._timers[ticket] = self._loop.call_later(wait, self._late, window, key, ticket)
            if fate == ASK:
                self._keep(window.tasks, self._ask(window, key))
            else:
                self.counts[kind, fate] += 1
            return
        if fate == "refused":
            self._counters.lookups_refused += 1
        self.counts[kind, fate] += 1
        self._loop.call_soon(self._resume, ticket, answer)

    async def _ask(self, window: Window, key: str) -> None:
        answer: object = None
        try:
            async with asyncio.timeout(window.deadline):
                answer = await window.service(key)
            outcome, why, alive = "answered", "it gave none", False
        except TimeoutError:
            outcome, why, alive = "timeout", f"nothing came within {window.deadline:g} s", False
        except NoAnswer as error:
            outcome, why, alive = "failed", str(error), error.alive
        except Exception as error:  # whatever a service does, its calls go on
            outcome, why, alive = "failed", repr(error), False
        now = self._loop.time()
        if answer is not None:
            if window.in_trouble:
                window.in_trouble = False
                log.warning("look-up %s: its service answers again", window.kind)
            tickets = window.desk.answered(key, answer, now)
        else:
            outcome = "failed" if outcome == "answered" else outcome
            tickets, opened = window.desk.failed(key, now, alive=alive)
            self._log(window, why, opened, now)
        self.counts[window.kind, outcome] += 1
        for ticket in tickets:
            timer = self._timers.pop(ticket, None)
            if timer is not None:
                timer.cancel()
                self._resume(ticket, answer)

    def _late(self, window: Window, key: str, ticket: int) -> None:
        """A call waits no longer, though its question may still be open."""
        self._timers.pop(ticket, None)
        window.desk.leave(key, ticket)
        self._resume(ticket, None)

    def _log(self, window: Window, why: str, opened: bool, now: float) -> None:
        if opened and not window.in_trouble:
            window.in_trouble = True
            log.error("look-up %s failed several times in a row, the last time because %s: it is tried now and then", window.kind, why)
        elif now - window.logged >= LOG_PAUSE:
            window.logged = now
            log.warning("look-up %s had no answer: %s", window.kind, why)

    def _close(self, window: Window) -> None:
        """Let a window's questions come to their end, then close its service."""

        async def close() -> None:
            if window.tasks:
                await asyncio.wait(window.tasks)
            end = getattr(window.service, "close", None)
            if end is not None:
                await end()

        self._keep(self._closing, close())

    def _keep(self, tasks: set[asyncio.Task[None]], work: Coroutine[Any, Any, None]) -> None:
        task = self._loop.create_task(work)
        tasks.add(task)
        task.add_done_callback(tasks.discard)
