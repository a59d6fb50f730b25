"""Which worker has which INVITE: memory that all workers of a node share, so that a CANCEL or an ACK that reached another worker is handed
to the one that has its INVITE, and an INVITE that is sent again does not become a second call.

Where the kernel goes by Call-ID all of these reach one worker, and nothing is noted. What it does not find in an INVITE it may well find
in the CANCEL, which is shorter; and where it goes by addresses, a peer that sends from several ports reaches several workers (as one does
that has several connections). Such INVITEs are noted. Nobody is asked: whoever gets what it does not know looks into the memory once, and
what somebody made up costs no other worker anything.
"""

from __future__ import annotations

from collections.abc import Callable
from sys import byteorder
from typing import TYPE_CHECKING, Final

from proxy.token import keyed

if TYPE_CHECKING:
    from proxy.validate import Request

SETS: Final = 1 << 15
WAYS: Final = 8
"""A key has its place in one set, in which each worker has so many numbers of its own: 262,144 INVITEs of a worker, in 2 MiB."""

SEARCHED_FROM: Final = 72
"""Where the kernel's search for a Call-ID begins (`proxy.steering.BEGIN`)."""

_LOOKALIKES: Final = (b"\nca", b"call", b"all-", b"ll-i", b"l-id", b"-id:")
_JUMPED: Final = 24
"""Behind what only looked like the name the kernel's search goes on in the next chunk (`proxy.steering.LARGE`): a name within this
many octets may be jumped over.
"""

_HEADER: Final = 8
_CALL_ID: Final = b"\r\nCall-ID: "
_SHORTEST: Final = 8
"""Octets of a Call-ID that is found also where nothing stands behind it."""


def octets(workers: int) -> int:
    """Size of the memory for so many workers. All zero, it is empty."""
    return (_HEADER + SETS * WAYS * workers) * 8


class Owners:
    """The memory as one worker sees it: of each noted INVITE a keyed digest of its transaction's key, 64 bits that nobody outside can aim
    at, in one set of numbers. Each worker writes its own numbers only, and reads all of a set at once; one of 8 bytes is never seen half
    written.
    """

    __slots__ = ("_digest", "_numbers", "_own", "_width", "_workers")

    def __init__(self, memory: memoryview, own: int, secret: bytes) -> None:
        """`memory` has `octets()` for all workers, of which this is `own`. What a worker before it noted has ended with it."""
        self._numbers: memoryview[int] = memory.cast("Q")
        self._own = own
        self._width = (len(self._numbers) - _HEADER) // SETS
        self._workers = self._width // WAYS
        self._digest: Callable[[bytes], bytes] = keyed(secret, b"sw-owners", 16)
        if self.used:
            zeros = memoryview(bytes(WAYS * 8)).cast("Q")
            for at in range(_HEADER + own * WAYS, len(self._numbers), self._width):
                self._numbers[at : at + WAYS] = zeros

    @property
    def used(self) -> bool:
        """Whether any worker ever noted an INVITE: until then there is no need to look."""
        return self._numbers[0] != 0

    def note(self, key: bytes) -> int:
        """Note an INVITE by the key of its server transaction; its place for `forget`, 0 where the set is full."""
        numbers = self._numbers
        number = self._number(key)
        begin = _HEADER + number % SETS * self._width + self._own * WAYS
        for at in range(begin, begin + WAYS):
            if not numbers[at]:
                numbers[at] = number
                numbers[0] = 1
                return at
        return 0

    def forget(self, place: int) -> None:
        """The transaction has ended."""
        self._numbers[place] = 0

    def owner(self, key: bytes) -> int:
        """Which other worker noted this INVITE; -1 for none."""
        number = self._number(key)
        begin = _HEADER + number % SETS * self._width
        there = self._numbers[begin : begin + self._width]
        if number.to_bytes(8, byteorder) not in there.tobytes():
            return -1
        found = there.tolist()
        for worker in range(self._workers):
            if worker != self._own and number in found[worker * WAYS : (worker + 1) * WAYS]:
                return worker
        return -1

    def _number(self, key: bytes) -> int:
        return int(self._digest(key), 16) or 1


def by_call_id(request: Request) -> bool:
    """Whether the kernel found the Call-ID of this request, and so gives every message of its call to this worker.

    False also where it is not certain that it finds it in each of them: by another spelling, or where it is very short.
    """
    reach = request.flow.listener.reach
    if reach <= 0 or len(request.call_id) < _SHORTEST:
        return False
    raw = request.message.raw
    at = raw.find(_CALL_ID, SEARCHED_FROM, reach)
    if at < 0:
        return False
    before = raw[at - _JUMPED if at > _JUMPED else 0 : at].lower()
    return all(before.find(word) < 0 for word in _LOOKALIKES)
