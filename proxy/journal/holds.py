"""Legal holds: what may not be purged though its time is over, as rows of a CSV file: case,from,to,number.

`from` and `to` are days (2026-11-24) or times (2026-11-24T10:00:00+08:00), empty for no limit; without a zone they are UTC, and the day
that `to` names is held whole. `number` is a number in any form, a canonical one best, or `*` for all calls of that time.
"""

from __future__ import annotations

import csv
import datetime
import io
from collections.abc import Iterable
from pathlib import Path
from typing import Final

import msgspec

from proxy.events import Attempt
from rules.numbers import normalise
from rules.numbers.sought import LAST, LONG, core, sought, uri_of

COLUMNS: Final = ("case", "from", "to", "number")
LARGEST: Final = 16 << 20
EVER: Final = 1 << 62
ALL: Final = "*"

_IDENTITIES: Final = frozenset(
    (b"from", b"f", b"to", b"t", b"p-asserted-identity", b"p-preferred-identity", b"remote-party-id", b"diversion", b"history-info")
)
_VALUES: Final = 16
"""Values of one header line that are looked at."""


class Hold(msgspec.Struct, frozen=True):
    """What one case needs: events from one time to another (ms since 1970), of a number or of `*`."""

    case: str
    begin: int
    end: int
    number: str

    def covers(self, first: int, last: int) -> bool:
        """Whether anything that happened from first to last (ms) is held."""
        return first <= self.end and last >= self.begin


class HoldsFault(Exception):
    """Holds that cannot be read, and so nothing may be purged; one line for each fault, with file and line."""


def read_holds(path: Path) -> list[Hold]:
    """The holds of a file. Raises HoldsFault, also where there is no such file."""
    try:
        with open(path, "rb") as file:
            data = file.read(LARGEST + 1)
        if len(data) > LARGEST:
            raise HoldsFault(f"{path}: larger than {LARGEST} octets")
        text = data.decode("utf-8-sig")
    except OSError as error:
        raise HoldsFault(f"{path}: cannot be read: {error.strerror}") from None
    except UnicodeDecodeError:
        raise HoldsFault(f"{path}: not UTF-8") from None
    rows = csv.reader(io.StringIO(text, newline=""), strict=True)
    try:
        return _holds(path, rows)
    except csv.Error as error:
        raise HoldsFault(f"{path}: {error}") from None


def _holds(path: Path, rows: Iterable[list[str]]) -> list[Hold]:
    holds: list[Hold] = []
    faults: list[str] = []
    for number, row in enumerate(rows, 1):
        cells = [cell.strip() for cell in row]
        if not any(cells) or cells[0].startswith("#"):
            continue
        if number == 1:
            if tuple(cells) != COLUMNS:
                raise HoldsFault(f"{path}:1: the first line must be {','.join(COLUMNS)}")
            continue
        if len(cells) != len(COLUMNS) or not cells[0] or not cells[3]:
            faults.append(f"{path}:{number}: wants a case, two times (or nothing), and a number or {ALL}")
            continue
        try:
            begin, end = _time(cells[1], last=False), _time(cells[2], last=True)
        except ValueError:
            faults.append(f"{path}:{number}: from and to are days or times such as 2026-11-24 or 2026-11-24T10:00:00+08:00")
            continue
        if begin > end:
            faults.append(f"{path}:{number}: from is after to")
            continue
        holds.append(Hold(cells[0], begin, end, cells[3]))
    if faults:
        raise HoldsFault("\n".join(faults[:20]))
    return holds


class Numbers:
    """Numbers that are held, and whether a call is one of theirs: as caller, as called, as what was shown to others, or in a header line
    that names an identity; in canonical form, or by its digits, which may have another area code or a prefix before them. What may be one
    of them is taken for it: it is only kept for longer.
    """

    def __init__(self, written: Iterable[str]) -> None:
        self._canonical: set[str] = set()
        self._cores: set[str] = set()
        self._names: set[str] = set()
        self._tails: dict[str, list[str]] = {}
        for text in written:
            wanted = sought(text)
            self._canonical.update(wanted.canonical)
            for digits in {wanted.core, *map(core, wanted.canonical)} - {""}:
                self._cores.add(digits)
                if len(digits) >= LAST:
                    self._tails.setdefault(digits[-LAST:], []).append(digits)
            if not wanted.core:
                self._names.add(normalise(text, None).raw.lower())

    def has(self, event: Attempt) -> bool:
        """Whether a call is one of theirs."""
        if event.caller in self._canonical or event.called in self._canonical:
            return True
        written = [event.caller_raw, event.called_raw, event.sent_as]
        for line in event.lines:
            name, _, value = line.partition(b":")
            if name.strip().lower() in _IDENTITIES:
                written += [part.decode("utf-8", "replace") for part in value.split(b",", _VALUES)[:_VALUES]]
        return any(self._is(text) for text in written if text)

    def _is(self, text: str) -> bool:
        number = normalise(uri_of(text[:LONG]), None)
        if not number.digits:
            return bool(number.raw) and number.raw.lower() in self._names
        mine = core(number.digits)
        if number.canonical in self._canonical or mine in self._cores:
            return True
        return len(mine) >= LAST and any(mine.endswith(other) or other.endswith(mine) for other in self._tails.get(mine[-LAST:], ()))


def _time(text: str, *, last: bool) -> int:
    if not text:
        return EVER if last else 0
    when = datetime.datetime.fromisoformat(text)
    if when.tzinfo is None:
        when = when.replace(tzinfo=datetime.UTC)
    milliseconds = int(when.timestamp() * 1000)
    return milliseconds + 86_399_999 if last and len(text) <= 10 else milliseconds
