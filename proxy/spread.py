"""A dictionary by octets in many small ones: what grows with calls never makes a worker stop.

A dictionary of 200,000 entries that has to make room copies all of them at once: 30 ms in which nothing is answered, also where entries
come and go and their number stays. Here each of PARTS makes its own room.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Final, Generic, TypeVar

from proxy.sip.kernel import compiled

PARTS: Final = 256
"""Small dictionaries of a large one. A power of two."""

V = TypeVar("V")


def part(key: bytes) -> int:
    """Which of them an entry lies in. The hash is secret: nobody can make many keys for one."""
    return hash(key) & (PARTS - 1)


_part: Final[Callable[[bytes], int]] = part if compiled is None else compiled.part


class Spread(Generic[V]):
    """Octets to values. `parts` are the small dictionaries, each in the order in which its entries came: who looks after all entries can
    take them part by part.
    """

    __slots__ = ("_size", "parts")

    def __init__(self) -> None:
        self.parts: list[dict[bytes, V]] = [{} for _ in range(PARTS)]
        self._size = 0

    def get(self, key: bytes) -> V | None:
        """The value; None where there is none."""
        return self.parts[_part(key)].get(key)

    def put(self, key: bytes, value: V) -> None:
        """Set a value, in place of the one before."""
        part = self.parts[_part(key)]
        before = len(part)
        part[key] = value
        self._size += len(part) - before

    def pop(self, key: bytes) -> V | None:
        """Take an entry out and give its value; None where there is none."""
        value = self.parts[_part(key)].pop(key, None)
        if value is not None:
            self._size -= 1
        return value

    def remove(self, key: bytes, value: V) -> None:
        """Take an entry out if this is its value."""
        part = self.parts[_part(key)]
        if part.get(key) is value:
            del part[key]
            self._size -= 1

    def clear(self) -> None:
        """Take all entries out."""
        for part in self.parts:
            part.clear()
        self._size = 0

    def values(self) -> Iterator[V]:
        """All values: not while a worker has anything else to do."""
        for part in self.parts:
            yield from part.values()

    def __contains__(self, key: bytes) -> bool:
        return key in self.parts[_part(key)]

    def __len__(self) -> int:
        return self._size
