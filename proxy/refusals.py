"""Memories with a bound: refused transactions (so that a retransmission is not judged, counted or recorded again) and unknown sources.

Both keep two generations and drop the older one whole: no entry needs a timer, and a flood of invented keys costs a fixed amount of memory.
What grows with calls is dropped part by part, one with each entry that is added.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from proxy.spread import Spread

if TYPE_CHECKING:
    from proxy.enforce import Refusal


class RefusedTransactions:
    """What was refused without a transaction, for at least `life` seconds: key to the answer that every retransmission gets again."""

    __slots__ = ("_dropped", "_fresh", "_life", "_limit", "_old", "_turned", "overflow")

    def __init__(self, life: float, limit: int) -> None:
        """`life` in seconds; `limit`: entries in all. `overflow` counts entries that were dropped before their time."""
        self._life = life
        self._limit = limit // 2
        self._fresh: Spread[Refusal] = Spread()
        self._old: Spread[Refusal] = Spread()
        self._dropped: list[dict[bytes, Refusal]] = []
        self._turned = 0.0
        self.overflow = 0

    def find(self, key: bytes, now: float) -> Refusal | None:
        """The answer that this transaction got before."""
        if now - self._turned >= self._life:
            self._turn(now)
        found = self._fresh.get(key)
        return self._old.get(key) if found is None else found

    def remember(self, key: bytes, answer: Refusal, now: float) -> None:
        """Keep an answer."""
        if len(self._fresh) >= self._limit:
            self.overflow += len(self._old)
            self._turn(now)
        self._fresh.put(key, answer)
        if self._dropped:
            self._dropped.pop()

    def _turn(self, now: float) -> None:
        late = now - self._turned >= 2 * self._life
        self._dropped = self._old.parts
        self._old, self._fresh, self._turned = self._fresh, Spread(), now
        if late:
            self._dropped += self._old.parts
            self._old = Spread()

    def __len__(self) -> int:
        return len(self._fresh) + len(self._old)


class UnknownSources:
    """Sources that match no trunk: each address (IPv6: each /64) is refused once in `life` seconds and met with silence otherwise.

    When the table is full every further address is met with silence: what cannot be remembered must not be answered, or a flood of
    forged addresses would make us a reflector.
    """

    __slots__ = ("_fresh", "_life", "_limit", "_old", "_turned")

    def __init__(self, life: float, limit: int) -> None:
        self._life = life
        self._limit = limit
        self._fresh: dict[str, float] = {}
        self._old: dict[str, float] = {}
        self._turned = 0.0

    def may_answer(self, key: str, now: float) -> bool:
        """Whether this address gets an answer now; if so, it is noted."""
        if now - self._turned >= self._life:
            self._old, self._fresh, self._turned = self._fresh, {}, now
        answered = self._fresh.get(key)
        if answered is None:
            answered = self._old.get(key)
        if answered is not None and now - answered < self._life:
            return False
        if len(self._fresh) >= self._limit:
            return False
        self._fresh[key] = now
        return True
