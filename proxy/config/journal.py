"""`[journal]`: where records of calls are kept, for how long, and what becomes of calls that cannot be recorded."""

from __future__ import annotations

import re
from typing import Final, Literal

import msgspec

from proxy.config.duration import Duration
from proxy.config.report import Report
from proxy.config.size import Size

DAY: Final = 86400.0
SHORTEST_RETENTION: Final = 184 * DAY
"""Seconds: Cybersecurity Law art. 21, six months or more."""

MIB: Final = 1 << 20
_NAME: Final = re.compile(r"[A-Za-z0-9._-]{1,64}")

SIZES: Final = {"segment_size": (MIB, 1 << 30), "buffer": (MIB, 1 << 30)}
TIMES: Final = {"flush": (0.05, 60.0, "50ms", "60s"), "segment_time": (10.0, DAY, "10s", "1d")}


class JournalConfig(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`[journal]`. Times in seconds, sizes in octets; files are relative to the state directory."""

    path: str = "var/journal"
    retention: Duration = Duration(SHORTEST_RETENTION)
    flush: Duration = Duration(1.0)
    """What a power loss may cost: the disk has everything that is older."""
    segment_size: Size = Size(64 * MIB)
    segment_time: Duration = Duration(3600.0)
    """A segment is sealed at this size or age, whichever comes first."""
    buffer: Size = Size(16 * MIB)
    """Memory of each worker for events that the disk does not take yet."""
    buffer_path: str | None = None
    """Where that memory lies; by default the service's runtime directory, else /dev/shm."""
    on_full: Literal["go_on", "refuse"] = "go_on"
    """What becomes of calls that cannot be recorded."""
    key: str = "var/journal.key"
    """What seals are signed with; made where it is absent, its public half beside it (`.pub`)."""
    holds: str | None = None
    """Legal holds, a CSV file that is read before each purge; relative to the configuration's folder."""


def check_journal(journal: JournalConfig, node: str, report: Report) -> None:
    """Note what is wrong with the table, and what may surprise."""
    if not _NAME.fullmatch(node):
        report.fault(("node", "name"), "cannot name a file of the journal", node, "letters, digits, . - and _, at most 64")
    for key in ("path", "key", "buffer_path", "holds"):
        name = getattr(journal, key)
        if name is not None and not (name and name.isprintable() and len(name.encode("utf-8", "replace")) < 4000):
            report.fault(("journal", key), "not the name of a file", name or '""', "a name, absolute or relative")
    for key, (least, most, low, high) in TIMES.items():
        if not least <= getattr(journal, key) <= most:
            report.fault(("journal", key), "out of range", f"{getattr(journal, key):g} s", f'"{low}" to "{high}"')
    for key, (smallest, largest) in SIZES.items():
        if not smallest <= getattr(journal, key) <= largest:
            report.fault(("journal", key), "out of range", f"{getattr(journal, key)} octets", '"1MiB" to "1GiB"')
    if journal.retention < DAY:
        report.fault(("journal", "retention"), "is too short", f"{journal.retention:g} s", 'at least "1d"; the law asks for "184d"')
    elif journal.retention < SHORTEST_RETENTION:
        what = f"{journal.retention / DAY:g} days are less than the six months that network logs are to be kept (Cybersecurity Law art. 21)"
        report.warn(("journal", "retention"), what)
