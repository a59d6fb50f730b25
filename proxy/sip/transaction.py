"""The transactions of RFC 3261 §17 with RFC 6026's Accepted state, as one table each.

Everything about transitions lives in these four tables: state and event in, next state and actions out. The objects hold a state and
what the actions need; they have no clock and no socket. An event that a state does not list changes nothing and asks for nothing.
"""

from __future__ import annotations

from collections.abc import Callable
from hashlib import blake2b
from typing import Final

from proxy.sip.kernel import compiled


class State:
    """States of figures 5 to 8, and RFC 6026's ACCEPTED. Numbers, here and below: compiled, they are compared without an object."""

    CALLING: Final = 0
    TRYING: Final = 1
    PROCEEDING: Final = 2
    ACCEPTED: Final = 3
    COMPLETED: Final = 4
    CONFIRMED: Final = 5
    TERMINATED: Final = 6


class Event:
    """What happens to a transaction: a message from the peer, a response of our own, a timer."""

    REQUEST: Final = 0  # again
    ACK: Final = 1
    PROVISIONAL: Final = 2  # 1xx
    SUCCESS: Final = 3  # 2xx
    FAILURE: Final = 4  # 300 to 699
    TIMER_RETRANSMIT: Final = 5  # A, E or G
    TIMER_TIMEOUT: Final = 6  # B, F or H
    TIMER_LINGER: Final = 7  # D, I, J, K, L or M


class Action:
    """What the owner of a transaction is to do: one bit each."""

    SEND_AGAIN: Final = 1  # send the last request or response again, and start the timer with the next interval
    REPLAY: Final = 2  # send the last response again
    PASS_ON: Final = 4  # give the response to the transaction user
    SEND: Final = 8  # send the response
    ACKNOWLEDGE: Final = 16  # send ACK for the failure response
    RETRANSMIT_LATER: Final = 32  # start timer A, E or G (unreliable transports)
    LINGER: Final = 64  # start the timer that ends this state (D, I, J, K, L, M, H)
    TIMED_OUT: Final = 128  # tell the transaction user that nothing came


_LONGEST_KEY: Final = 512

_EVENTS: Final = 8

S, E, A = State, Event, Action
Table = list[int]
"""For each state and event, what is done about it and the next state (as `_step` has it); 0 where nothing is."""


def _step(state: int, actions: int) -> int:
    return actions << 4 | state + 1


def _table(drawn: dict[tuple[int, int], tuple[int, int]]) -> Table:
    """A table as the figure has it, made into one for `Transaction.fire`."""
    table = [0] * ((State.TERMINATED + 1) * _EVENTS)
    for (state, event), (after, actions) in drawn.items():
        table[state * _EVENTS + event] = _step(after, actions)
    return table


CLIENT_INVITE: Final[Table] = _table(
    {
        (S.CALLING, E.TIMER_RETRANSMIT): (S.CALLING, A.SEND_AGAIN),
        (S.CALLING, E.TIMER_TIMEOUT): (S.TERMINATED, A.TIMED_OUT),
        (S.CALLING, E.PROVISIONAL): (S.PROCEEDING, A.PASS_ON),
        (S.CALLING, E.SUCCESS): (S.ACCEPTED, A.PASS_ON | A.LINGER),
        (S.CALLING, E.FAILURE): (S.COMPLETED, A.ACKNOWLEDGE | A.PASS_ON | A.LINGER),
        (S.PROCEEDING, E.PROVISIONAL): (S.PROCEEDING, A.PASS_ON),
        (S.PROCEEDING, E.SUCCESS): (S.ACCEPTED, A.PASS_ON | A.LINGER),
        (S.PROCEEDING, E.FAILURE): (S.COMPLETED, A.ACKNOWLEDGE | A.PASS_ON | A.LINGER),
        (S.COMPLETED, E.FAILURE): (S.COMPLETED, A.ACKNOWLEDGE),
        (S.COMPLETED, E.SUCCESS): (S.COMPLETED, A.PASS_ON),
        (S.COMPLETED, E.TIMER_LINGER): (S.TERMINATED, 0),
        (S.ACCEPTED, E.SUCCESS): (S.ACCEPTED, A.PASS_ON),
        (S.ACCEPTED, E.TIMER_LINGER): (S.TERMINATED, 0),
    }
)
"""Figure 5 of RFC 6026 (timers A, B, D, M). A proxy behind us may send a 2xx after a failure as we do (see SERVER_INVITE)."""

CLIENT_OTHER: Final[Table] = _table(
    {
        (S.TRYING, E.TIMER_RETRANSMIT): (S.TRYING, A.SEND_AGAIN),
        (S.TRYING, E.TIMER_TIMEOUT): (S.TERMINATED, A.TIMED_OUT),
        (S.TRYING, E.PROVISIONAL): (S.PROCEEDING, A.PASS_ON),
        (S.TRYING, E.SUCCESS): (S.COMPLETED, A.PASS_ON | A.LINGER),
        (S.TRYING, E.FAILURE): (S.COMPLETED, A.PASS_ON | A.LINGER),
        (S.PROCEEDING, E.TIMER_RETRANSMIT): (S.PROCEEDING, A.SEND_AGAIN),
        (S.PROCEEDING, E.TIMER_TIMEOUT): (S.TERMINATED, A.TIMED_OUT),
        (S.PROCEEDING, E.PROVISIONAL): (S.PROCEEDING, A.PASS_ON),
        (S.PROCEEDING, E.SUCCESS): (S.COMPLETED, A.PASS_ON | A.LINGER),
        (S.PROCEEDING, E.FAILURE): (S.COMPLETED, A.PASS_ON | A.LINGER),
        (S.COMPLETED, E.TIMER_LINGER): (S.TERMINATED, 0),
    }
)
"""Figure 6 of RFC 3261 (timers E, F, K)."""

SERVER_INVITE: Final[Table] = _table(
    {
        (S.PROCEEDING, E.REQUEST): (S.PROCEEDING, A.REPLAY),
        (S.PROCEEDING, E.PROVISIONAL): (S.PROCEEDING, A.SEND),
        (S.PROCEEDING, E.SUCCESS): (S.ACCEPTED, A.SEND | A.LINGER),
        (S.PROCEEDING, E.FAILURE): (S.COMPLETED, A.SEND | A.RETRANSMIT_LATER | A.LINGER),
        (S.COMPLETED, E.REQUEST): (S.COMPLETED, A.REPLAY),
        (S.COMPLETED, E.TIMER_RETRANSMIT): (S.COMPLETED, A.SEND_AGAIN),
        (S.COMPLETED, E.TIMER_TIMEOUT): (S.TERMINATED, 0),
        (S.COMPLETED, E.ACK): (S.CONFIRMED, A.LINGER),
        (S.COMPLETED, E.SUCCESS): (S.COMPLETED, A.SEND),
        (S.CONFIRMED, E.SUCCESS): (S.CONFIRMED, A.SEND),
        (S.CONFIRMED, E.TIMER_LINGER): (S.TERMINATED, 0),
        (S.ACCEPTED, E.SUCCESS): (S.ACCEPTED, A.SEND),
        (S.ACCEPTED, E.TIMER_LINGER): (S.TERMINATED, 0),
    }
)
"""Figure 7 of RFC 6026 (timers G, H, I, L). A 2xx is passed on whatever was answered before (RFC 3261 §16.7 step 5): a callee that answered
must be able to be acknowledged or hung up on."""

SERVER_OTHER: Final[Table] = _table(
    {
        (S.TRYING, E.PROVISIONAL): (S.PROCEEDING, A.SEND),
        (S.TRYING, E.SUCCESS): (S.COMPLETED, A.SEND | A.LINGER),
        (S.TRYING, E.FAILURE): (S.COMPLETED, A.SEND | A.LINGER),
        (S.PROCEEDING, E.REQUEST): (S.PROCEEDING, A.REPLAY),
        (S.PROCEEDING, E.PROVISIONAL): (S.PROCEEDING, A.SEND),
        (S.PROCEEDING, E.SUCCESS): (S.COMPLETED, A.SEND | A.LINGER),
        (S.PROCEEDING, E.FAILURE): (S.COMPLETED, A.SEND | A.LINGER),
        (S.COMPLETED, E.REQUEST): (S.COMPLETED, A.REPLAY),
        (S.COMPLETED, E.TIMER_LINGER): (S.TERMINATED, 0),
    }
)
"""Figure 8 of RFC 3261 (timer J)."""


class Transaction:
    """One transaction: its table, its state, and the key it is found under."""

    __slots__ = ("key", "state", "table")

    def __init__(self, table: Table, state: int, key: bytes) -> None:
        self.table = table
        self.state = state
        self.key = key

    def fire(self, event: int) -> int:
        """Change state by `event`; what is to be done about it (bits of Action)."""
        step = self.table[self.state * _EVENTS + event]
        if not step:
            return 0
        self.state = (step & 15) - 1
        return step >> 4


def response_event(status: int) -> int:
    """The event that a response of this status is."""
    return Event.PROVISIONAL if status < 200 else Event.SUCCESS if status < 300 else Event.FAILURE


def transaction_key(branch: bytes | None, sent_by: bytes, address: bytes, method: bytes, parts: tuple[bytes, ...]) -> bytes:
    """The key a request's server transaction is found under (RFC 3261 §17.2.3).

    Top Via branch, sent-by and method, ACK and CANCEL finding the INVITE's; the sender's address is part of it, so that nobody can
    cancel or absorb another peer's call. Without RFC 3261's magic cookie (or with nothing behind it) the key is made of `parts`:
    Request-URI, From tag, Call-ID, CSeq number and top Via, as RFC 2543 peers demand.
    """
    kind = b"INVITE" if method in (b"ACK", b"CANCEL") else method
    if branch is not None and branch[:7] == b"z9hG4bK" and len(branch) > 7:
        key = b" ".join((branch, sent_by, address, kind))
    else:
        key = b"\n".join((*parts, address, kind))
    # keys are kept by the ten thousand, and their length is the sender's choice
    return key if len(key) <= _LONGEST_KEY else blake2b(key, digest_size=32).digest()


def read_ack_key(data: bytes, address: bytes) -> bytes | None:
    """The `transaction_key` of the INVITE that an ACK from `address` belongs to, made of the octets of the ACK.

    Only the ordinary case is read: the topmost Via as the first header line, over UDP, its branch first. None for any other.
    """
    begin = data.find(b"\n") + 1
    end = data.find(b"\r", begin)
    if not begin or end < 0 or data[begin : begin + 17] != b"Via: SIP/2.0/UDP ":
        return None
    sent_by, _, tail = data[begin + 17 : end].partition(b";")
    if tail[:7] != b"branch=":
        return None
    return b" ".join((tail[7:].partition(b";")[0], sent_by, address, b"INVITE"))


ack_key: Final[Callable[[bytes, bytes], bytes | None]] = read_ack_key if compiled is None else compiled.ack_key
