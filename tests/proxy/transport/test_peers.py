from __future__ import annotations

import asyncio
import socket

from proxy.flow import Flow, Listener
from proxy.hangup import Hangup
from proxy.sockets import open_inboxes
from proxy.transport.counters import TransportCounters
from proxy.transport.peers import Held, Parcel, Peers

LISTENER = Listener(2, "tcp", "127.0.0.1", 5060)


def peers(
    inbox: socket.socket | None,
    others: dict[int, socket.socket],
    got: list[Parcel],
    flushes: list[int],
    notes: list[Held],
    ends: list[Hangup] | None = None,
) -> tuple[Peers, TransportCounters]:
    counters = TransportCounters()
    loop = asyncio.get_running_loop()
    made = Peers(
        loop,
        inbox,
        others,
        lambda parcel, now: got.append(parcel),
        notes.append,
        lambda said, now: None if ends is None else ends.append(said),
        lambda: flushes.append(len(got)),
        counters,
    )
    made.start()
    return made, counters


async def test_a_message_arrives_with_where_it_came_from() -> None:
    ((read, write),) = open_inboxes(1)
    got: list[Parcel] = []
    flushes: list[int] = []
    there, _ = peers(read, {}, got, flushes, [])
    here, counters = peers(None, {1: write}, [], [], [])
    flow = Flow(LISTENER, "192.0.2.1", 5070, connection=0x301)
    here.hand_over([(1, flow, b"received"), (1, flow, b"x" * 65000)])
    here.hand_over([(1, flow, b"to send")], outgoing=True)
    await asyncio.sleep(0.05)
    assert got == [
        Parcel(False, 2, "192.0.2.1", 5070, 0x301, b"received"),
        Parcel(False, 2, "192.0.2.1", 5070, 0x301, b"x" * 65000),
        Parcel(True, 2, "192.0.2.1", 5070, 0x301, b"to send"),
    ]
    assert flushes[-1] == 3
    assert counters.handover_dropped == 0
    for one in (there, here):
        one.close()
    read.close()
    write.close()


async def test_more_than_a_stock_kernels_datagram_queue_fits() -> None:
    ((read, write),) = open_inboxes(1)
    here, counters = peers(None, {1: write}, [], [], [])
    flow = Flow(LISTENER, "192.0.2.1", 5070)
    here.hand_over([(1, flow, b"m" * 900)] * 200)
    assert counters.handover_dropped == 0
    read.close()
    write.close()


async def test_a_full_inbox_drops_and_counts() -> None:
    ((read, write),) = open_inboxes(1)
    here, counters = peers(None, {1: write}, [], [], [])
    flow = Flow(LISTENER, "192.0.2.1", 5070)
    for _ in range(2000):
        here.hand_over([(1, flow, b"m" * 60000)])
    assert counters.handover_dropped > 0
    here.hand_over([(9, flow, b"nobody")])
    read.close()
    here.hand_over([(1, flow, b"gone")])
    write.close()


async def test_all_others_hear_of_a_connection() -> None:
    ((read, write), (read2, write2)) = open_inboxes(2)
    notes: list[Held] = []
    there, _ = peers(read, {}, [], [], notes)
    there2, _ = peers(read2, {}, [], [], notes)
    here, _ = peers(None, {1: write, 2: write2}, [], [], [])
    here.tell(Held(2, "192.0.2.1", 5070, 0, True))
    await asyncio.sleep(0.05)
    assert notes == [Held(2, "192.0.2.1", 5070, 0, True)] * 2
    for one in (there, there2, here):
        one.close()
    for sock in (read, write, read2, write2):
        sock.close()


async def test_the_end_of_a_call_is_told_to_its_owner_even_when_it_does_not_keep_up() -> None:
    ((read, write),) = open_inboxes(1)
    here, counters = peers(None, {1: write}, [], [], [])
    filled = 0
    while not counters.handover_dropped:
        here.hand_over([(1, Flow(LISTENER, "192.0.2.1", 5070), b"x" * 60000)])
        filled += 1
    said = [(1, Hangup(b"0123456789abcdef", b"00a1", 7, b"call", b"tag", b"00000000", place, "callee", "bye")) for place in range(1000)]
    here.tell_hangups([*said, (5, said[0][1])])
    ends: list[Hangup] = []
    there, _ = peers(read, {}, [], [], [], ends)
    for _ in range(50):
        await asyncio.sleep(0.05)
        if len(ends) == len(said):
            break
    assert ends == [one for _, one in said]
    assert counters.handover_dropped == 1
    for one in (here, there):
        one.close()
    for sock in (read, write):
        sock.close()
