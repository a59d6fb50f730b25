"""Tickets and their answers: one each, in time, never within `start`."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest
import pytest_asyncio

from proxy.config import Duration, LookupConfig
from proxy.counters import OTHER
from proxy.lookup import Desk, Lookups
from proxy.lookup.lookups import KINDS_COUNTED
from proxy.transport.counters import TransportCounters
from rules import Lookup
from tests.proxy.lookup.service import LookupService, serving


class Answers:
    """What Lookups gave back, by ticket."""

    def __init__(self) -> None:
        self.got: dict[int, object] = {}
        self.counters = TransportCounters()
        self.lookups = Lookups(asyncio.get_running_loop(), self.resume, self.counters)
        self.tickets = 0

    def resume(self, ticket: int, answer: object) -> None:
        assert ticket not in self.got, "answered twice"
        self.got[ticket] = answer

    def start(self, *lookups: Lookup) -> None:
        before = dict(self.got)
        self.lookups.start([(lookup, self.tickets + place) for place, lookup in enumerate(lookups)])
        self.tickets += len(lookups)
        assert self.got == before  # never while the core is still busy with the batch

    async def all(self, limit: float = 3.0) -> list[object]:
        """Every answer, in the order of the questions."""
        async with asyncio.timeout(limit):
            while len(self.got) < self.tickets:  # noqa: ASYNC110
                await asyncio.sleep(0.005)
        return [self.got[ticket] for ticket in range(self.tickets)]

    def counts(self, kind: str = "case") -> dict[str, int]:
        return {outcome: count for (of, outcome), count in self.lookups.counts.items() if of == kind}


@pytest_asyncio.fixture
async def answers() -> AsyncIterator[Answers]:
    made = Answers()
    yield made
    made.lookups.close()
    await made.lookups.closed()


class Oracle:
    """A service in this process: "slow" never comes, "broken" raises, "none" is none."""

    def __init__(self) -> None:
        self.asked: list[str] = []

    async def __call__(self, key: str) -> object:
        self.asked.append(key)
        if key == "slow":
            await asyncio.sleep(5)
        if key == "broken":
            raise RuntimeError("no such thing")
        await asyncio.sleep(0.01)
        return None if key == "none" else key.upper()


def desk(**changed: Any) -> Desk:
    settings: dict[str, Any] = {"remembered": 10, "concurrent": 10, "failures": 100, "pause": 10.0} | changed
    return Desk({"KEPT": 60.0}, **settings)


async def test_late_never_and_wrong(answers: Answers, caplog: pytest.LogCaptureFixture) -> None:
    answers.lookups.register("case", Oracle(), desk(), 0.1)
    answers.start(*(Lookup("case", key, 0.05) for key in ("good", "broken", "slow", "none")), Lookup("nobody", "x", 1.0))
    assert await answers.all(1.0) == ["GOOD", None, None, None, None]
    assert "no such thing" in caplog.text
    assert answers.counters.lookups_refused == 1
    assert answers.counts("nobody") == {"refused": 1}
    await asyncio.sleep(0.1)
    assert answers.counts() == {"answered": 1, "failed": 2, "timeout": 1}


async def test_kinds_that_nobody_answers_fill_no_memory(answers: Answers) -> None:
    answers.start(*(Lookup(f"made-up-{number}", "x", 1.0) for number in range(KINDS_COUNTED + 50)))
    assert set(await answers.all(1.0)) == {None}
    assert len(answers.lookups.counts) == KINDS_COUNTED + 1
    assert answers.counts(OTHER) == {"refused": 50}


async def test_equal_questions_are_asked_once_and_each_ticket_keeps_its_deadline(answers: Answers) -> None:
    oracle = Oracle()
    answers.lookups.register("case", oracle, desk(), 0.5)
    answers.start(*[Lookup("case", "a", 1.0)] * 3, Lookup("case", "slow", 1.0), Lookup("case", "slow", 0.02))
    await asyncio.sleep(0.1)
    assert answers.got == {0: "A", 1: "A", 2: "A", 4: None}
    assert await answers.all(2.0) == ["A", "A", "A", None, None]
    assert oracle.asked == ["a", "slow"]
    assert answers.counts() == {"answered": 1, "joined": 3, "timeout": 1}


async def test_what_is_known_is_recalled(answers: Answers) -> None:
    oracle = Oracle()
    answers.lookups.register("case", oracle, desk())
    assert answers.lookups.recall(Lookup("case", "kept", 1.0)) is None
    assert answers.lookups.recall(Lookup("nobody", "kept", 1.0)) is None
    answers.start(Lookup("case", "kept", 1.0))
    await answers.all()
    assert answers.lookups.recall(Lookup("case", "kept", 1.0)) == "KEPT"
    answers.start(Lookup("case", "kept", 1.0))  # it became known while its call was on the way here
    assert await answers.all() == ["KEPT", "KEPT"]
    assert oracle.asked == ["kept"]
    assert answers.counts() == {"answered": 1, "cached": 2}


async def test_too_many_and_a_service_in_trouble(answers: Answers, caplog: pytest.LogCaptureFixture) -> None:
    oracle = Oracle()
    answers.lookups.register("case", oracle, desk(concurrent=1, failures=2, pause=0.1))
    answers.start(Lookup("case", "a", 1.0), Lookup("case", "b", 1.0))
    assert await answers.all() == ["A", None]
    for _ in range(2):
        answers.start(Lookup("case", "broken", 1.0))
        await answers.all()
    assert [state.paused for state in answers.lookups.states()] == [True]
    answers.start(Lookup("case", "c", 1.0))
    assert (await answers.all())[-1] is None
    await asyncio.sleep(0.12)
    answers.start(Lookup("case", "d", 1.0))
    assert (await answers.all())[-1] == "D"
    assert oracle.asked == ["a", "broken", "broken", "d"]
    assert answers.counts() == {"answered": 2, "refused": 1, "failed": 2, "paused": 1}
    assert "failed several times in a row" in caplog.text
    assert "answers again" in caplog.text


async def test_what_a_rule_may_put_into_a_lookup(answers: Answers) -> None:
    answers.lookups.register("case", Oracle(), desk())
    answers.start(Lookup("case", "never", float("nan")), Lookup("case", "late", -1.0))
    assert (await answers.all())[1:] == [None]


@pytest.mark.parametrize(("key", "deadline"), [("a", None), ("a", "soon"), (7, 1.0)])
async def test_a_lookup_of_wrong_types(answers: Answers, key: Any, deadline: Any) -> None:
    answers.lookups.register("case", Oracle(), desk())
    try:
        wrong = Lookup("case", key, deadline)
    except TypeError:  # the compiled class takes none, so the rule fails before anything is asked
        return
    answers.start(wrong)
    assert await answers.all() == [None]


def config(service: LookupService, **changed: Any) -> LookupConfig:
    settings: dict[str, Any] = {"kind": "roaming", "url": service.url, "deadline": Duration(1.0)} | changed
    return LookupConfig(**settings)


async def test_a_reload_keeps_what_stays_and_ends_what_is_open(answers: Answers) -> None:
    with serving() as service:
        answers.lookups.configure([config(service)])
        answers.start(Lookup("roaming", "1", 1.0))
        assert await answers.all() == ["abroad"]
        answers.lookups.configure([config(service)])
        assert answers.lookups.recall(Lookup("roaming", "1", 1.0)) == "abroad"
        service.does = '0.2 {"state": "home"}'
        answers.start(Lookup("roaming", "2", 1.0))
        await asyncio.sleep(0.05)
        answers.lookups.configure([config(service, failures=3)])
        assert answers.lookups.recall(Lookup("roaming", "1", 1.0)) is None
        assert await answers.all() == ["abroad", "home"]
        answers.lookups.configure([])
        answers.start(Lookup("roaming", "3", 1.0))
        assert (await answers.all())[-1] is None
        assert answers.lookups.states() == ()
        await answers.lookups.closed()
        assert answers.counts("roaming") == {"answered": 2, "cached": 1, "refused": 1}


async def test_closing_answers_nobody() -> None:
    answers = Answers()
    with serving() as service:
        service.does = "hang"
        answers.lookups.configure([config(service)])
        answers.start(Lookup("roaming", "1", 1.0))
        await asyncio.sleep(0.05)
        answers.lookups.close()
        await answers.lookups.closed()
    assert answers.got == {}
