"""The tables of RFC 3261 figures 5 to 8 with RFC 6026, every state against every event; keys (§17.2.3)."""

from __future__ import annotations

from itertools import product

import pytest

from proxy.sip.transaction import (
    CLIENT_INVITE,
    CLIENT_OTHER,
    SERVER_INVITE,
    SERVER_OTHER,
    Action,
    Event,
    State,
    Table,
    Transaction,
    response_event,
    transaction_key,
)
from tests.proxy.sip.cases import CASES, table

TABLES: dict[str, Table] = {
    "client invite": CLIENT_INVITE,
    "client other": CLIENT_OTHER,
    "server invite": SERVER_INVITE,
    "server other": SERVER_OTHER,
}
STATES = ("CALLING", "TRYING", "PROCEEDING", "ACCEPTED", "COMPLETED", "CONFIRMED", "TERMINATED")
EVENTS = ("REQUEST", "ACK", "PROVISIONAL", "SUCCESS", "FAILURE", "TIMER_RETRANSMIT", "TIMER_TIMEOUT", "TIMER_LINGER")
ROWS = {(row["table"], row["state"], row["event"]): row for row in table(CASES / "transactions.tsv")}


def test_numbers_are_each_their_own() -> None:
    assert sorted(getattr(State, name) for name in STATES) == list(range(len(STATES)))
    assert sorted(getattr(Event, name) for name in EVENTS) == list(range(len(EVENTS)))


@pytest.mark.parametrize(("name", "state", "event"), list(product(TABLES, STATES, EVENTS)))
def test_every_state_and_event(name: str, state: str, event: str) -> None:
    """What the figures do not draw changes nothing and asks for nothing."""
    row = ROWS.get((name, state, event))
    transaction = Transaction(TABLES[name], getattr(State, state), b"key")
    actions = transaction.fire(getattr(Event, event))
    if row is None:
        assert (transaction.state, actions) == (getattr(State, state), 0)
    else:
        assert transaction.state == getattr(State, row["next"])
        assert actions == sum(getattr(Action, action) for action in row["actions"].split())


def test_tables_have_no_other_rows() -> None:
    assert sum(1 for drawn in TABLES.values() for step in drawn if step) == len(ROWS)


@pytest.mark.parametrize(
    ("status", "event"),
    [
        (100, Event.PROVISIONAL),
        (199, Event.PROVISIONAL),
        (200, Event.SUCCESS),
        (299, Event.SUCCESS),
        (300, Event.FAILURE),
        (699, Event.FAILURE),
    ],
)
def test_response_event(status: int, event: int) -> None:
    assert response_event(status) == event


PARTS = (b"sip:b", b"tag", b"id", b"1", b"SIP/2.0/UDP a")


def key(
    branch: bytes | None = b"z9hG4bK1",
    sent_by: bytes = b"a",
    address: bytes = b"127.0.0.2",
    method: bytes = b"INVITE",
    parts: tuple[bytes, ...] = PARTS,
) -> bytes:
    return transaction_key(branch, sent_by, address, method, parts)


def test_ack_and_cancel_find_the_invite() -> None:
    assert key() == key(method=b"ACK") == key(method=b"CANCEL")
    assert key() != key(method=b"BYE")


def test_key_parts() -> None:
    """Nobody else's branch, address or sent-by finds a transaction; with the cookie nothing else counts."""
    assert len({key(), key(branch=b"z9hG4bK2"), key(sent_by=b"b"), key(address=b"127.0.0.3")}) == 4
    assert key() == key(parts=(b"other",))


@pytest.mark.parametrize("branch", [None, b"", b"z9hG4bK", b"1", b"Z9HG4BK1"])
def test_rfc2543_key(branch: bytes | None) -> None:
    others = [key(branch=branch, parts=(*PARTS[:at], b"other", *PARTS[at + 1 :])) for at in range(len(PARTS))]
    assert len({key(branch=branch), *others, key(branch=branch, address=b"127.0.0.3"), key(branch=branch, method=b"BYE")}) == 8
    assert key(branch=branch) == key(branch=branch, method=b"ACK")


def test_long_keys_are_digests() -> None:
    long, longer = b"z9hG4bK" + b"a" * 5000, b"z9hG4bK" + b"a" * 5001
    assert len(key(branch=long)) == 32
    assert len({key(branch=long), key(branch=longer), key(branch=long, address=b"::1")}) == 3
    assert key(branch=long) == key(branch=long, method=b"ACK")
