"""Memories of legs that several workers share, small ones, in one process."""

from __future__ import annotations

from hashlib import blake2b

from rules.shared_legs import SharedLegs, Table, table_octets

SETS = 256


def digest(text: bytes) -> bytes:
    return blake2b(text, digest_size=8, key=b"of this node").hexdigest().encode()


def shared(workers: int = 1, sets: int = SETS) -> list[SharedLegs]:
    """The legs of so many workers of one node, which in the processes are mappings of the same memory."""
    memories = [memoryview(bytearray(table_octets(sets))) for _ in range(workers)]
    return [SharedLegs(Table(own), [Table(other.toreadonly()) for other in memories if other is not own], digest) for own in memories]
