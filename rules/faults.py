"""What is wrong with a policy, said so that the one who reads it knows where to look and what to write."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, TypeVar

import msgspec

FAULTS_PER_FILE: Final = 50
"""After so many faults the rest of a file is not told: it is the wrong file, or one mistake made on every line."""

SHOWN: Final = 60
"""Characters of what stood in a file that a message repeats."""


def shown(text: str) -> str:
    """Some text of a file as a message may repeat it: short, on one line, and nothing that a terminal would obey."""
    short = text if len(text) <= SHOWN else text[:SHOWN] + "..."
    return short if short.isprintable() else repr(short)[1:-1]


class PolicyFault(msgspec.Struct, frozen=True):
    """One thing that keeps a policy from being used.

    `line` is None where no single line is to blame; `value` is "" where there is none.
    """

    file: str
    line: int | None
    key: str
    message: str
    value: str
    remedy: str

    def __str__(self) -> str:
        place = self.file if self.line is None else f"{self.file}:{self.line}"
        said = "; ".join(part for part in (self.value, self.remedy) if part)
        return f"{place}: {self.key + ': ' if self.key else ''}{self.message}{f' ({said})' if said else ''}"


class PolicyWarning(msgspec.Struct, frozen=True):
    """Something accepted that will not do what its writer may expect; `check` prints it."""

    file: str
    line: int | None
    key: str
    message: str

    def __str__(self) -> str:
        place = self.file if self.line is None else f"{self.file}:{self.line}"
        return ": ".join(part for part in (place, self.key, self.message) if part)


class PolicyFaults(ValueError):
    """A policy that cannot be used; `faults` holds everything found, in the order of the file."""

    def __init__(self, faults: Sequence[PolicyFault]) -> None:
        super().__init__("\n".join(str(fault) for fault in faults))
        self.faults = tuple(faults)


F = TypeVar("F", bound=PolicyFault)


def in_order(faults: list[F]) -> list[F]:
    """In the order of their lines, what is of the whole file first; but that there are more comes last."""
    more = faults[FAULTS_PER_FILE:]
    return sorted(faults[:FAULTS_PER_FILE], key=lambda fault: fault.line or 0) + more
