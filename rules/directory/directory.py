"""The Directory: all lists of one configuration, checked and ready to be asked; immutable, shared by workers as a mapped file."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Final

from rules.directory import calendar
from rules.directory.calendar import SHANGHAI
from rules.directory.clock import Calendar
from rules.directory.entries import Entry, EntryIndex, EntryType
from rules.directory.fault import DirectoryFault
from rules.directory.image import Head, give_back, open_image, save_image
from rules.directory.index import Sections
from rules.directory.lists import TYPES
from rules.directory.places import HOME
from rules.directory.register_index import Register
from rules.directory.rows import RowReader
from rules.directory.segment import EVERY, Segment
from rules.directory.segment_index import NONE, SegmentIndex
from rules.directory.statement import Statement
from rules.directory.statement_index import StatementIndex
from rules.directory.statements import STATEMENTS
from rules.directory.terms import Terms
from rules.numbers import Number

if TYPE_CHECKING:
    from rules.call import Trunk


Asked = tuple[Number | None, str, str | None, float, int]
"""What a segment was asked for, and its row."""

_NOTHING: Final[Asked] = (None, "", None, 0.0, NONE)

STATEMENTS_NAMED: Final = 3
NAMED_AT_MOST: Final = 64
"""Segments of one number that `nearly` looks at."""


class Directory:
    """What policy asks about numbers. `at` is Unix time in seconds: every row counts from its valid_from until its valid_to.

    A number without a canonical form is in no segment and in no register; lists know it by its raw digits. Look-ups never raise.
    """

    __slots__ = (
        "_before",
        "_clock",
        "_head",
        "_intercept",
        "_last",
        "_registers",
        "_release",
        "_sections",
        "_segments",
        "_statements",
        "capped",
        "categories",
        "certificate_hosts",
        "counts",
        "has_consent",
        "has_roaming",
        "life",
        "limited",
        "lists",
        "marketing",
        "services",
        "version",
        "warnings",
        "zone",
    )

    def __init__(self, head: Head, sections: Sections) -> None:
        self.life: set[None] = set()
        """Ends with the directory; to be referred to weakly, which no compiled class allows."""
        self._head = head
        self._sections = sections
        self.version = head.version
        """12 hexadecimal digits of a hash over the content of all files."""
        self.warnings: list[str] = list(head.warnings)
        """What `check` reports without refusing it: overlapping segments, scopes that no trunk has, withdrawals of nothing."""
        self.counts: dict[str, int] = dict(head.counts)
        """Rows in force for each kind of file."""
        self._last: Asked = _NOTHING
        self._before: Asked = _NOTHING
        self._segments = SegmentIndex(sections, head.everywhere, head.homes) if "segments.blob" in sections else None
        self._intercept = _entry_indexes(sections, "intercept")
        self.lists = frozenset(self._intercept)
        """Types of which an intercept list has an entry."""
        self._release = _entry_indexes(sections, "release")
        self._registers = {name: Register(sections, name, words) for name, words in head.words.items()}
        self._statements = {name: StatementIndex(sections, name) for name in STATEMENTS if f"{name}.blob" in sections}
        self.has_roaming = "roaming" in self._registers
        """Whether a roaming file is configured."""
        self.services: Mapping[str, float] = {}
        """What a rule can ask beyond the lists, with a Lookup: kinds of look-up that the node has a service for, each with its deadline
        in seconds. Set before rules are bound."""
        self.certificate_hosts: frozenset[str] = frozenset()
        """Hosts that the service "certificate" fetches from, `host` or `host:port`. Set before rules are bound."""
        self.has_consent = "consent" in head.counts
        """Whether a consent file is configured."""
        self.limited = frozenset(head.limited)
        """Ids of trunks with a segment that has hours, or is for marketing or for incoming calls only: no other has to be asked for."""
        self.capped = frozenset(head.capped)
        """Ids of trunks with a segment that has a limit of calls."""
        self.marketing = frozenset(head.marketing)
        """Ids of trunks with a segment for marketing."""
        self.categories = head.categories
        """What marketing calls may sell, "" apart; empty: anything."""
        self.zone = calendar.time_zone(head.time_zone)
        """The zone of the node's clock."""
        self._clock = Calendar(head.time_zone, head.holidays)

    @classmethod
    def empty(cls) -> Directory:
        """A directory of no lists."""
        head = Head(
            version=hashlib.sha256().hexdigest()[:12],
            warnings=(),
            counts={},
            words={},
            time_zone=SHANGHAI,
            holidays={},
            limited=(),
            marketing=(),
            capped=(),
            categories=(),
            everywhere={},
            homes={},
        )
        return cls(head, {})

    @classmethod
    def open(cls, path: Path) -> Directory:
        """Map a saved directory, its checksum verified. Raises DirectoryFault where it cannot be trusted."""
        try:
            return cls(*open_image(path))
        except (KeyError, ValueError) as error:
            raise DirectoryFault(str(path), 0, "", "", f"not understood ({error})", "build it again from the lists") from None

    def save(self, path: Path) -> None:
        """Write it for other processes to open: beside `path`, flushed to disk, renamed over it. Raises OSError."""
        save_image(path, self._head, self._sections)

    def let_go(self) -> Iterator[None]:
        """Give back the memory of a directory that hardly anybody asks any more, at each step so little that no call has to wait for it."""
        self._last = self._before = _NOTHING
        if self._segments is not None:
            yield from self._segments.forget()
        yield from give_back(self._sections)

    def within(self, hours: str, at: float) -> bool:
        """Whether an instant is within hours (their text; empty: always), by the node's clock and holidays."""
        return self._clock.within(hours, at)

    def spoken(self, at: float) -> str:
        """An instant as the node's clock shows it."""
        return self._clock.spoken(at)

    def segment(self, number: Number, trunk: str, at: float, tenant: str | None = None) -> Segment | None:
        """The segment of this trunk that a call from the number uses: in its dates, the most specific first.

        `tenant` (see `Call.tenant`): only this customer's; None: of any customer of the trunk. The number's other readings count too (a
        95 code that is also a fixed number). A code that differs by area counts where its row says, see `places`. Of two segments of the
        same numbers, one for incoming calls only gives way. Purpose, hours and direction are not judged.
        """
        row = self._segment_row(number, trunk, at, tenant)
        return None if row < 0 or self._segments is None else self._segments.segment(row)

    def holds(self, number: Number, trunk: str, at: float, tenant: str | None = None) -> bool:
        """Whether there is one: cheaper where that is all that is asked."""
        return self._segment_row(number, trunk, at, tenant) >= 0

    def terms(self, number: Number, trunk: str, at: float, tenant: str | None = None) -> Terms | None:
        """What it is for and when: cheaper than all that `segment` tells."""
        row = self._segment_row(number, trunk, at, tenant)
        return None if row < 0 or self._segments is None else self._segments.terms(row)

    def customer(self, number: Number, trunk: str, at: float, tenant: str | None = None) -> str:
        """Whose it is; "" where there is none."""
        row = self._segment_row(number, trunk, at, tenant)
        return "" if row < 0 or self._segments is None else self._segments.customer(row)

    def _segment_row(self, number: Number, trunk: str, at: float, tenant: str | None) -> int:
        last = self._last
        if last[0] is number and last[1] == trunk and last[2] == tenant and last[3] == at:
            return last[4]  # one rule after another asks for the same call
        before = self._before
        self._before = last
        if before[0] is number and before[1] == trunk and before[2] == tenant and before[3] == at:
            self._last = before
            return before[4]
        row = NONE if self._segments is None else self._find_segment(self._segments, number, trunk, at, tenant)
        self._last = (number, trunk, tenant, at, row)
        return row

    @staticmethod
    def _find_segment(segments: SegmentIndex, number: Number, trunk: str, at: float, tenant: str | None) -> int:
        found = segments.find(number, trunk, None, at, tenant)
        if found < 0 and number.alternatives:
            found = segments.find_alternative(number, trunk, None, at, tenant)
        if found >= 0 and segments.terms(found).direction == "in":
            other = segments.find(number, trunk, "in", at, tenant)
            if other < 0:
                other = segments.find_alternative(number, trunk, "in", at, tenant)
            if other >= 0:
                one, two = segments.segment(found), segments.segment(other)
                if (one.first, one.last) == (two.first, two.last):
                    return other
        return found

    def holder(self, number: Number, at: float, home: str | None = None) -> Segment | None:
        """The most specific segment of any trunk and direction that holds the number (its canonical form only: this refuses calls).

        `home`: the home area of the trunk that the number came from, for a code that differs by area and has none before it.
        """
        if self._segments is None:
            return None
        row = self._segments.find(number, None, None, at, None, home)
        return None if row < 0 else self._segments.segment(row)

    def inbound(self, number: Number, at: float, home: str | None = None) -> Segment | None:
        """The segment whose trunk gets calls to the number: direction in or both, the most specific first; other readings count too."""
        if self._segments is None:
            return None
        row = self._segments.find(number, None, "out", at, None, home)
        if row < 0 and number.alternatives:
            row = self._segments.find_alternative(number, None, "out", at, None, home)
        return None if row < 0 else self._segments.segment(row)

    def serves(self, trunk: str, customer: str) -> bool:
        """Whether an enterprise trunk is this customer's, or one of its customers is."""
        return trunk in self._head.everywhere.get(customer, ())

    def trunks_of(self, segment: Segment) -> tuple[str, ...]:
        """Ids of the trunks that a segment is of, in the order of the configuration: several where its row says `*`."""
        return self._head.everywhere[segment.customer] if segment.trunk == EVERY else (segment.trunk,)

    def nearly(self, number: Number, trunk: str, at: float, tenant: str | None = None) -> str:
        """For `explain`: why a number that is in no segment of the trunk (of `tenant`, where customers share it) is in none, as far as
        segments name it; "" where none does.
        """
        if self._segments is None:
            return "no segments are configured"
        segments = list(islice(self._segments.naming(number), NAMED_AT_MOST))
        for segment in segments:
            if trunk in self.trunks_of(segment) and tenant in (None, segment.customer):
                where = f"its segment {segment} ({segment.file}:{segment.line})"
                if segment.valid_from is not None and at < segment.valid_from:
                    return f"{where} counts from {self.spoken(segment.valid_from)}"
                if segment.valid_to is not None and at >= segment.valid_to:
                    return f"{where} ended {self.spoken(segment.valid_to)}"
                if segment.areas:
                    return f"{where} is for the {'home area' if segment.areas == HOME else 'areas ' + '; '.join(segment.areas)}"
        if not segments:
            return ""
        first = segments[0]
        whose = first.where if first.trunk == EVERY else first.trunk if tenant is None else f"{first.customer} on {first.trunk}"
        return f"it is in one of {whose} ({first.file}:{first.line})"

    def listed(self, type: EntryType | str, number: Number, other: Number | None, trunk: Trunk, at: float) -> Entry | None:  # noqa: A002  the list's own word
        """The intercept entry that holds for a "caller" or "called" number, or for a "pair" (`number` calls `other`), on this trunk.

        An entry of the police comes before any other, so that a release cannot hide it; then exact, then the narrowest prefix or range,
        then the order of the files.
        """
        index = self._intercept.get(type)
        if index is None:
            return None
        if type != "pair":
            return index.find(number, trunk, at)
        return None if other is None else index.find_pair(number, other, trunk, at)

    def released(self, type: EntryType | str, number: Number, other: Number | None, trunk: Trunk, at: float) -> Entry | None:  # noqa: A002
        """The release that lifts entries of this type for the number (or pair); None where the police lists it."""
        index = self._release.get(type)
        if index is None:
            return None
        if type != "pair":
            found = index.find(number, trunk, at)
        else:
            found = None if other is None else index.find_pair(number, other, trunk, at)
        if found is not None:
            entry = self.listed(type, number, other, trunk, at)
            if entry is not None and entry.source == "police":
                return None
        return found

    def own(self, number: Number) -> bool:
        """Whether the number is ours by the `own` files."""
        return "own" in self._registers and self._registers["own"].has(number)

    def ported(self, number: Number) -> bool:
        """Whether the number is ours by its range but served by another operator."""
        return "ported" in self._registers and self._registers["ported"].has(number)

    def overseas(self, number: Number, trunk_id: str) -> bool:
        """Whether the number is an enterprise's, hosted abroad and registered for this trunk (or for any)."""
        if "overseas" not in self._registers:
            return False
        words = self._registers["overseas"].find(number)
        return trunk_id in words or "" in words

    def roaming(self, number: Number) -> str | None:
        """abroad, home or unknown: what the roaming file says; None without a file.

        Where the file does not name the number: unknown, or None where a service ("roaming" in `services`) can be asked.
        """
        if not self.has_roaming:
            return None
        words = self._registers["roaming"].find(number)
        if words:
            return words[0]
        return None if "roaming" in self.services else "unknown"

    def refusal(self, number: Number, category: str, customer: str, at: float) -> Statement | None:
        """The refusal (谢绝来电) by the called number of the customer's marketing calls of this category (""; it does not say which)."""
        return self._statements["refusals"].refusal(number, category, customer, at) if "refusals" in self._statements else None

    def consent(self, number: Number, category: str, customer: str, at: float) -> Statement | None:
        """The called number's consent to the customer's marketing calls of this category."""
        return self._statements["consent"].consent(number, category, customer, at) if "consent" in self._statements else None

    def nearly_consent(self, number: Number, at: float) -> str:
        """For `explain`: what the called number has consented to, which does not count for the call; "" where it has to nothing."""
        if "consent" not in self._statements:
            return "no consent is configured"
        told = []
        for said in islice(self._statements["consent"].of(number), STATEMENTS_NAMED):
            if said.valid_from is not None and at < said.valid_from:
                told.append(f"{said}, counts from {self.spoken(said.valid_from)}")
            elif said.valid_to is not None and at >= said.valid_to:
                told.append(f"{said}, ended {self.spoken(said.valid_to)}")
            else:
                told.append(str(said))
        return f"it consents to {' and '.join(told)}" if told else ""


def _entry_indexes(sections: Sections, role: str) -> dict[str, EntryIndex]:
    """An index for each type of which there is an entry."""
    if f"{role}.blob" not in sections:
        return {}
    rows = RowReader(sections, role, Entry)
    indexes = {type_: EntryIndex(sections, role, type_, rows) for type_ in TYPES}
    return {type_: index for type_, index in indexes.items() if index}
