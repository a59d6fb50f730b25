"""Records of calls in memory that outlives the process, whatever state it was left in."""

from __future__ import annotations

import os

from hypothesis import given, settings
from hypothesis import strategies as st

from proxy.call_records import ANSWERED, HEADER, OVER, RECORD, TAGS, TOLD, CallRecords, Record
from proxy.shared import make_memory, map_table

KEY, INGRESS = b"0123456789abcdef", b"00000001"


def memory(count: int) -> memoryview:
    return memoryview(bytearray(HEADER + count * RECORD))


def test_a_record_is_read_as_it_was_written() -> None:
    records = CallRecords(memory(2))
    slot = records.take()
    records.name(slot, b"call@host", b"tag")
    record = Record(KEY, INGRESS, 4294967295, 1 << 40, 1 << 63)
    record.state, record.flags, record.closed = ANSWERED, TOLD, 3
    assert [record.open_dialog(tag) for tag in (7, 7, 8, 9, 10, 11)] == [True, False, True, True, True, True]
    records.write(slot, record)
    found = records.read(slot)
    names = ("state", "flags", "closed", "key", "ingress", "cseq", "since", "segment", "tags")
    assert [getattr(found, name) for name in names] == [getattr(record, name) for name in names]
    assert records.names(slot) == (b"call@host", b"tag")
    assert found.alive and found.dialog(9) == 2 and found.dialog(11) == -1
    found.closed = (1 << TAGS) - 1
    assert not found.alive


def test_names_that_are_too_long_are_left_out() -> None:
    records = CallRecords(memory(1))
    slot = records.take()
    records.name(slot, b"x" * 200, b"t")
    records.write(slot, Record(KEY, INGRESS, 1, 0))
    assert records.names(slot) is None
    assert records.take() == -1
    records.give_back(slot)
    assert records.take() == slot


def test_the_next_process_finds_what_there_was_the_oldest_first() -> None:
    room = memory(4)
    records = CallRecords(room)
    identity = records.identity(77)
    for since in (30, 10, 20):
        slot = records.take()
        records.name(slot, b"call%d" % since, b"tag")
        records.write(slot, Record(KEY, INGRESS, 1, since))
    records.give_back(1)
    again = CallRecords(room)
    assert again.used and not CallRecords(memory(1)).used
    assert again.identity(88) == identity == 77
    assert [(slot, record.since) for slot, record in again.found()] == [(2, 20), (0, 30)]
    assert [again.take() for _ in range(3)] == [1, 3, -1]


@settings(max_examples=200, deadline=None)
@given(st.binary(min_size=HEADER + 3 * RECORD, max_size=HEADER + 3 * RECORD))
def test_whatever_was_left_is_read_or_freed(left: bytes) -> None:
    records = CallRecords(memoryview(bytearray(left)))
    for slot, record in records.found():
        names = records.names(slot)
        assert names is None or len(names[0]) + len(names[1]) <= RECORD
        assert record.state <= OVER


def test_workers_see_each_others_rows_and_not_their_records() -> None:
    fd = make_memory(2)
    one, two = map_table(fd, 0), map_table(fd, 1)
    one.tally.write(one.tally.place(2), 5)
    assert (two.tally.others(2), one.tally.others(2)) == (5, 0)
    slot = CallRecords(one.records).take()
    CallRecords(one.records).write(slot, Record(KEY, INGRESS, 1, 0))
    assert CallRecords(two.records).found() == []
    assert (one.own, two.own, one.workers) == (0, 1, 2)
    assert os.fstat(fd).st_blocks * 512 < 1 << 20  # holes, but for what was written
    os.close(fd)
