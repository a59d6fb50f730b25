"""The bounded memories: refused transactions, unknown sources."""

from __future__ import annotations

from proxy.enforce import Refusal
from proxy.refusals import RefusedTransactions, UnknownSources

NO = Refusal(403, "Forbidden")
GONE = Refusal(481, "Gone")


def test_a_refusal_is_remembered_for_its_life_at_least() -> None:
    for start in (0.0, 1.0, 31.9, 1000.0):
        memory = RefusedTransactions(32.0, 100)
        memory.find(b"x", start)
        memory.remember(b"a", NO, start)
        for later in (0.0, 16.0, 31.9):
            assert memory.find(b"a", start + later) is NO
        assert memory.find(b"a", start + 64.0) is None
        assert len(memory) == 0


def test_a_busy_memory_forgets_in_time() -> None:
    memory = RefusedTransactions(32.0, 1000)
    for second in range(200):
        memory.find(b"", float(second))
        memory.remember(b"%d" % second, NO, float(second))
        assert len(memory) <= 64
    assert memory.find(b"180", 199.0) is NO
    assert memory.find(b"135", 199.0) is None
    assert memory.overflow == 0


def test_a_flood_costs_a_fixed_amount_and_is_counted() -> None:
    memory = RefusedTransactions(32.0, 100)
    for number in range(1000):
        memory.remember(b"%d" % number, NO, 1.0)
        assert len(memory) <= 100
    assert memory.find(b"999", 1.0) is NO
    assert memory.find(b"0", 1.0) is None
    assert memory.overflow == 900


def test_the_newest_answer_counts() -> None:
    memory = RefusedTransactions(32.0, 100)
    memory.remember(b"a", NO, 0.0)
    memory.find(b"", 33.0)
    memory.remember(b"a", GONE, 33.0)
    assert memory.find(b"a", 34.0) is GONE


def test_an_unknown_source_is_answered_once_in_its_time() -> None:
    sources = UnknownSources(60.0, 100)
    answered = [second for second in range(200) if sources.may_answer("192.0.2.1", float(second))]
    assert answered == [0, 60, 120, 180]


def test_a_full_table_is_silent() -> None:
    sources = UnknownSources(60.0, 10)
    assert sum(sources.may_answer(f"192.0.2.{number}", 1.0) for number in range(100)) == 10
    assert not sources.may_answer("198.51.100.1", 30.0)
    assert sources.may_answer("198.51.100.1", 61.0)
