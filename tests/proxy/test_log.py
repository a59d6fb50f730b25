from __future__ import annotations

import logging

import pytest

from proxy import log
from proxy.log import BURST, KINDS, PERIOD, RateLimit


def record(text: str, *arguments: object) -> logging.LogRecord:
    return logging.LogRecord("proxy", logging.ERROR, "", 0, text, arguments, None)


def test_a_kind_of_message_is_let_through_a_few_times(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 1000.0
    monkeypatch.setattr(log, "monotonic", lambda: now)
    limit = RateLimit()
    assert [limit.filter(record("bad %s", number)) for number in range(BURST + 3)] == [True] * BURST + [False] * 3
    assert limit.filter(record("other"))
    now += PERIOD
    late = record("bad %s", 9)
    assert limit.filter(late)
    assert late.getMessage() == "bad 9 (and 3 more like this one in the last minutes)"
    assert limit.filter(quiet := record("bad %s", 10))
    assert quiet.getMessage() == "bad 10"


def test_kinds_are_bounded() -> None:
    limit = RateLimit()
    for number in range(KINDS * 3):
        limit.filter(record(f"kind {number}"))
    assert len(limit._kinds) <= KINDS
