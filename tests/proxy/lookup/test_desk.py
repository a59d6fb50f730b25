from __future__ import annotations

import pytest

from proxy.lookup.desk import ASK, CACHED, JOINED, PAUSED, REFUSED, Answers, Breaker, Desk


def desk(remembered: int = 10, concurrent: int = 10, failures: int = 2, pause: float = 10.0) -> Desk:
    return Desk({"abroad": 300.0, "home": 60.0}, remembered=remembered, concurrent=concurrent, failures=failures, pause=pause)


def asked(one: Desk, key: str, answer: object, now: float) -> None:
    assert one.take(key, 1, now) == (ASK, None)
    assert one.answered(key, answer, now) == [1]


def test_each_answer_is_kept_for_its_own_time() -> None:
    one = desk()
    for key in ("abroad", "home", "unknown"):
        asked(one, key, key, 0.0)
    assert [one.recall(key, 59.9) for key in ("abroad", "home", "unknown")] == ["abroad", "home", None]
    assert [one.recall(key, 60.0) for key in ("abroad", "home", "unknown")] == ["abroad", None, None]
    assert one.take("abroad", 2, 299.9) == (CACHED, "abroad")
    assert one.take("abroad", 3, 300.0) == (ASK, None)
    assert len(one.answers) == 0


def test_the_oldest_answer_makes_room() -> None:
    kept = Answers(2)
    for key in ("a", "b", "a", "c"):
        kept.put(key, key, 9.0)
    assert [kept.get(key, 0.0) for key in ("a", "b", "c")] == ["a", None, "c"]
    assert len(kept) == 2


def test_a_memory_of_nothing_keeps_nothing() -> None:
    kept = Answers(0)
    kept.put("a", "a", 9.0)
    assert (kept.get("a", 0.0), len(kept)) == (None, 0)


def test_equal_questions_are_asked_once() -> None:
    one = desk()
    assert [one.take("a", ticket, 0.0)[0] for ticket in (1, 2, 3)] == [ASK, JOINED, JOINED]
    assert one.take("b", 4, 0.0)[0] == ASK
    assert one.open == 2
    one.leave("a", 2)
    one.leave("a", 9)
    one.leave("nobody", 1)
    assert one.answered("a", "abroad", 1.0) == [1, 3]
    assert one.failed("b", 1.0) == ([4], False)
    assert one.open == 0
    assert one.answered("a", "abroad", 1.0) == []


def test_too_many_open_questions_have_no_answer() -> None:
    one = desk(concurrent=2)
    assert [one.take(key, 1, 0.0)[0] for key in "abcab"] == [ASK, ASK, REFUSED, JOINED, JOINED]
    one.answered("a", "home", 0.0)
    assert one.take("c", 1, 0.0)[0] == ASK


def test_a_service_that_fails_is_left_in_peace_and_then_tried_once() -> None:
    one = desk()
    fail(one, "a", 0.0)
    fail(one, "b", 1.0)
    assert [one.take(key, 1, 1.0)[0] for key in "ab"] == [PAUSED, PAUSED]
    assert one.take("a", 1, 10.9)[0] == PAUSED
    assert [one.take(key, 1, 11.0)[0] for key in "abc"] == [ASK, PAUSED, PAUSED]
    assert one.failed("a", 12.0) == ([1], True)
    assert one.take("a", 1, 21.9)[0] == PAUSED
    assert [one.take(key, 1, 22.0)[0] for key in "ab"] == [ASK, PAUSED]
    one.answered("a", "home", 22.5)
    assert [one.take(key, 1, 22.5)[0] for key in "bc"] == [ASK, ASK]
    assert not one.breaker.is_open


def test_what_is_kept_is_known_while_the_service_is_left_in_peace() -> None:
    one = desk()
    asked(one, "known", "abroad", 0.0)
    fail(one, "a", 0.0)
    fail(one, "b", 0.0)
    assert one.take("known", 1, 1.0) == (CACHED, "abroad")


def test_failures_must_be_in_a_row() -> None:
    one = desk()
    for now in range(10):
        fail(one, "a", now)
        asked(one, "b", "none that is kept", now)
    assert not one.breaker.is_open


def test_no_answer_to_a_question_is_no_failure_of_the_service() -> None:
    one = desk()
    for now in range(10):
        assert one.take("a", 1, now)[0] == ASK
        assert one.failed("a", now, alive=True) == ([1], False)
    assert not one.breaker.is_open


def test_what_was_asked_before_it_opened_makes_the_pause_no_longer() -> None:
    breaker = Breaker(1, 10.0)
    assert breaker.allows(0.0)
    assert breaker.allows(0.0)
    assert breaker.failed(1.0)
    assert not breaker.failed(9.0)
    assert breaker.allows(11.0)


@pytest.mark.parametrize("answer", ["other", 3, True, ("tuple",)])
def test_only_answers_with_a_life_are_kept(answer: object) -> None:
    one = desk()
    asked(one, "a", answer, 0.0)
    assert len(one.answers) == 0


def fail(one: Desk, key: str, now: float) -> None:
    assert one.take(key, 1, now)[0] == ASK
    one.failed(key, now)
