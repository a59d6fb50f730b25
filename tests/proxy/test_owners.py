"""Whose an INVITE is: the memory that workers share, and what is noted in it."""

from __future__ import annotations

from pathlib import Path

import pytest

from proxy.owners import SEARCHED_FROM, SETS, WAYS, Owners, octets
from proxy.shared import make_owners, map_owners
from proxy.steering import BEGIN, LARGE, reach
from proxy.token import keyed
from tests.proxy.wire import SECRET, Wire, make_proxy


def made(workers: int) -> list[Owners]:
    memory = memoryview(bytearray(octets(workers)))
    return [Owners(memory, own, SECRET) for own in range(workers)]


def test_each_finds_what_another_noted() -> None:
    one, two, three = made(3)
    assert not three.used
    assert three.owner(b"key") == -1
    place = two.note(b"key")
    assert three.used
    assert [worker.owner(b"key") for worker in (one, two, three)] == [1, -1, 1]
    assert one.owner(b"another") == -1
    again = three.note(b"key")  # both have it: each finds the other
    assert [worker.owner(b"key") for worker in (one, two, three)] == [1, 2, 1]
    two.forget(place)
    assert [worker.owner(b"key") for worker in (one, two, three)] == [2, 2, -1]
    three.forget(again)
    assert one.owner(b"key") == -1


def test_a_worker_that_starts_again_has_none_and_leaves_the_others_alone() -> None:
    memory = memoryview(bytearray(octets(2)))
    first, second = Owners(memory, 0, SECRET), Owners(memory, 1, SECRET)
    for number in range(300):
        (first if number % 2 else second).note(b"%d" % number)
    again = Owners(memory, 0, SECRET)
    assert again.used
    assert all(second.owner(b"%d" % number) == -1 for number in range(300))
    assert all(again.owner(b"%d" % number) == (-1 if number % 2 else 1) for number in range(300))


def of_one_set() -> list[bytes]:
    """One key more than a worker has room for in a set."""
    digest = keyed(SECRET, b"sw-owners", 16)
    sets: dict[int, list[bytes]] = {}
    for number in range(1_000_000):
        key = b"%d" % number
        there = sets.setdefault(int(digest(key), 16) % SETS, [])
        there.append(key)
        if len(there) > WAYS:
            return there
    raise AssertionError("no such keys")


def test_a_full_set_takes_no_more_and_keeps_what_it_has() -> None:
    one, two = made(2)
    keys = of_one_set()
    places = [one.note(key) for key in keys]
    assert all(places[:WAYS])
    assert places[WAYS] == 0
    assert [two.owner(key) for key in keys] == [0] * WAYS + [-1]
    assert two.note(keys[5])  # its own numbers have room
    one.forget(places[3])
    assert one.note(keys[8]) == places[3]
    assert two.owner(keys[8]) == 0


def test_memory_of_the_supervisor() -> None:
    fd = make_owners(2)
    one, two = (Owners(map_owners(fd), own, SECRET) for own in range(2))
    assert one.note(b"key")
    assert two.owner(b"key") == 0


def test_where_the_search_begins() -> None:
    assert SEARCHED_FROM == BEGIN


@pytest.mark.parametrize(
    ("reaches", "pad", "spelled", "noted"),
    [
        (reach(LARGE), 0, b"Call-ID: c1234567", False),
        (reach(LARGE), 1100, b"Call-ID: c1234567", False),
        (reach(LARGE), 1500, b"Call-ID: c1234567", True),
        (reach(LARGE), 0, b"i: c1234567", True),
        (reach(LARGE), 0, b"Subject: recall\r\nCall-ID: c1234567", True),
        (reach(LARGE), 0, b"P-X: ALL-1\r\nCall-ID: c1234567", True),
        (reach(LARGE), 0, b"X-ID: 1\r\nCall-ID: c1234567", True),
        (reach(LARGE), 0, b"Subject: recall " + b"x" * 30 + b"\r\nCall-ID: c1234567", False),
        (reach(LARGE), 0, b"Call-ID: c", True),
        (0, 0, b"Call-ID: c1234567", True),
    ],
)
def test_what_the_kernel_finds_is_not_noted(tmp_path: Path, reaches: int, pad: int, spelled: bytes, noted: bool) -> None:
    memory = memoryview(bytearray(octets(2)))
    wire = Wire(make_proxy(tmp_path))
    wire.proxy.share_owners(Owners(memory, 0, SECRET))
    flow = wire.flow_of("pbx")
    flow.listener.reach = reaches
    data = wire.parties["pbx"].request("INVITE", {}, [])
    wire.give(data.replace(b"Call-ID: call-pbx-1", b"X: " + b"x" * pad + b"\r\n" + spelled), flow)
    assert wire.got("pbx").status == 100
    assert Owners(memory, 1, SECRET).used == noted
    (server,) = wire.proxy._layer.servers.values()
    assert bool(server.place) == noted
    assert Owners(memory, 1, SECRET).owner(server.key) == (0 if noted else -1)
    assert wire.got("switch").method == b"INVITE"
    wire.wait(400)
    assert not any(memory.cast("Q")[1:])
