"""What is wrong with a policy, said so that the one who reads it knows where to look and what to write."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec


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
