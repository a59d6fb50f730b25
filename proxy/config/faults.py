"""What is wrong with a configuration, said as faults of a policy are: file, line, key, what, value, remedy."""

from __future__ import annotations

from collections.abc import Sequence

from rules.faults import PolicyFault, PolicyWarning


class ConfigFault(PolicyFault, frozen=True):
    """One thing that keeps a configuration from being used."""


class ConfigWarning(PolicyWarning, frozen=True):
    """Something accepted that will not do what its writer may expect; `check` prints it."""


class ConfigFaults(ValueError):
    """A configuration that cannot be used; `faults` holds everything found, in the order of the file."""

    def __init__(self, faults: Sequence[ConfigFault]) -> None:
        super().__init__("\n".join(str(fault) for fault in faults))
        self.faults = tuple(faults)
