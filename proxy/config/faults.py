"""What is wrong with a configuration, said as faults of a policy are: file, line, key, what, value, remedy."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from rules.faults import PolicyFault, PolicyWarning

if TYPE_CHECKING:
    from proxy.config.model import Config


class ConfigFault(PolicyFault, frozen=True):
    """One thing that keeps a configuration from being used."""


class ConfigWarning(PolicyWarning, frozen=True):
    """Something accepted that will not do what its writer may expect; `check` prints it."""


class ConfigFaults(ValueError):
    """A configuration that cannot be used; `faults` holds everything found, in the order of the file.

    `rest` is what could be read of it, so that the files which it names can be checked too; None where nothing could.
    """

    def __init__(self, faults: Sequence[ConfigFault], rest: Config | None = None) -> None:
        super().__init__("\n".join(str(fault) for fault in faults))
        self.faults = tuple(faults)
        self.rest = rest
