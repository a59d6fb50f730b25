"""What may stand in a cell: numbers, dates, hours, words. Each parser returns the value or raises CellFault with the remedy."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from datetime import date, datetime, timedelta, timezone, tzinfo
from typing import Final, TypeVar

from rules.directory.fault import CellFault

CHINA_TIME: Final = timezone(timedelta(hours=8))
"""Asia/Shanghai, as a fixed offset: there has been no summer time since 1991."""

CANONICAL: Final = re.compile(r"\+(?!860)[1-9][0-9]{3,23}")
_PREFIX = re.compile(r"\+(?!860)[1-9][0-9]{0,14}")
_DIGITS = re.compile(r"[0-9]{1,32}")
_SCIENTIFIC = re.compile(r"[0-9][.,]?[0-9]*[eE]\+?[0-9]+")
_DATE = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}")
_TIMESTAMP = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}[T ][0-9]{2}:[0-9]{2}(:[0-9]{2}(\.[0-9]{1,6})?)?(Z|[+-][0-9]{2}:?[0-9]{2})?")
_LOOSE_DATE = re.compile(r"([0-9]{4})[/.]([0-9]{1,2})[/.]([0-9]{1,2})")
_WINDOW = re.compile(r"(?:([A-Za-z,\- ]*[A-Za-z])\s+)?([0-9]{2}):([0-9]{2})\s*-\s*([0-9]{2}):([0-9]{2})")
_RATE = re.compile(r"[0-9]{1,6}(\.[0-9]{1,3})?")
_COUNT = re.compile(r"[0-9]{1,7}")
_DAYS: Final = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")

Windows = tuple[tuple[frozenset[int], int, int], ...]
"""Weekdays (Monday 0), first minute of the day, minute after the last."""

T = TypeVar("T")


class Memo(dict[str, T]):
    """Parses each distinct text once: dates, scopes and words repeat over a million rows. Bounded; refused values are not kept."""

    def __init__(self, parse: Callable[[str], T]) -> None:
        super().__init__()
        self._parse = parse

    def __missing__(self, text: str) -> T:
        value = self._parse(text)
        if len(self) >= 65536:
            self.clear()
        self[text] = value
        return value


def canonical(text: str) -> str:
    """`text` if it is a number in canonical form: + and 4 to 16 digits (to 24 with a service code's extension)."""
    if CANONICAL.fullmatch(text):
        return text
    raise _not_canonical(text)


def prefix(text: str) -> str:
    """`+86138*` or `+86138` without its star: + and 1 to 15 digits, the beginning of numbers in canonical form."""
    stem = text.removesuffix("*")
    if _PREFIX.fullmatch(stem):
        return stem
    if CANONICAL.fullmatch(stem):
        raise CellFault("a prefix of more than 15 digits", "list the number itself, exact")
    raise _not_canonical(stem, "+ and the first digits of canonical numbers, such as +86138")


def exact(text: str) -> str:
    """A number in canonical form, or the bare digits of an irregular one."""
    if CANONICAL.fullmatch(text) or _DIGITS.fullmatch(text):
        return text
    raise _not_canonical(text)


def rate(text: str) -> float:
    """Calls in a second, above 0."""
    if not _RATE.fullmatch(text) or float(text) <= 0:
        raise CellFault("not calls a second", "a number above 0, such as 5 or 0.5; empty for no limit")
    return float(text)


def count(text: str) -> int:
    """Calls at a time, 0 or more."""
    if not _COUNT.fullmatch(text):
        raise CellFault("not a number of calls", "a whole number, such as 30; empty for no limit")
    return int(text)


def number_or_prefix(text: str) -> str:
    """A number in canonical form, or a prefix with its star: what stands in a column `number`."""
    return f"{prefix(text)}*" if text.endswith("*") else canonical(text)


def number_range(text: str) -> tuple[str, str]:
    """`first-last`, both canonical, of equal length and at most 16 digits."""
    first, dash, last = text.partition("-")
    if not dash:
        raise CellFault("not a range", "write first-last, such as +8675583120000-+8675583129999")
    return ordered(canonical(first.strip()), canonical(last.strip()))


def ordered(first: str, last: str) -> tuple[str, str]:
    """The two ends of a range, if they are ends of one."""
    if len(first) != len(last):
        raise CellFault(f"the ends of the range have {len(first) - 1} and {len(last) - 1} digits", "write ends with equally many")
    if len(first) > 17:
        raise CellFault("a range of numbers of more than 16 digits", "list such numbers one by one, or by a prefix")
    if last < first:
        raise CellFault("the range ends before it begins", "exchange first and last")
    return first, last


def _not_canonical(text: str, form: str = "+ and 4 to 16 digits, such as +8675583123456") -> CellFault:
    if not text:
        return CellFault("no number", f"write {form}")
    if _SCIENTIFIC.fullmatch(text):
        return CellFault("a spreadsheet rounded this number and its digits are lost", "format the column as text and enter it again")
    if ">" in text:
        return CellFault("two numbers", "only an entry of type pair names two")
    if len(text) > 32:
        return CellFault("too long for a number", f"write {form}")
    if text.startswith("+860"):
        return CellFault("not in canonical form: a trunk 0 after +86", f"write +86{text[4:]}")
    if text.isascii() and text.isdigit():
        shown = f"+{text}" if text.startswith("86") and len(text) > 9 else f"+86{text.lstrip('0')}"
        return CellFault("not in canonical form: no +", f"write {form}; perhaps {shown} is meant")
    return CellFault("not in canonical form", f"write {form}")


class Dates:
    """Reads dates and timestamps; a date without a time is a day in `zone`, the node's."""

    __slots__ = ("_zone",)

    def __init__(self, zone: tzinfo = CHINA_TIME) -> None:
        self._zone = zone

    def valid_from(self, text: str) -> float | None:
        """Unix time from which a row counts; empty: always (None). A date is the start of its day."""
        return _instant(text, self._zone, end=False)

    def valid_to(self, text: str) -> float | None:
        """Unix time at which a row counts no more; empty: never (None).

        A date is the end of its day: the day itself still counts. A timestamp is the first instant that no longer counts.
        """
        return _instant(text, self._zone, end=True)


def _instant(text: str, zone: tzinfo, *, end: bool) -> float | None:
    if not text:
        return None
    try:
        if _DATE.fullmatch(text):
            day = datetime.fromisoformat(text)
            if end and day.date() < date.max:
                day += timedelta(days=1)  # by the calendar: a day may have 23 hours or 25
                end = False
            return day.replace(tzinfo=zone).timestamp() + (86400.0 if end else 0.0)
        if _TIMESTAMP.fullmatch(text):
            moment = datetime.fromisoformat(text)
            if moment.tzinfo is None:
                raise CellFault("a time without its zone", f"write {text}+08:00, or Z for UTC")
            return moment.timestamp()
    except ValueError as error:
        raise CellFault(f"no such date or time ({error})", "write 2026-01-31 or 2026-01-31T18:00:00+08:00") from None
    loose = _LOOSE_DATE.fullmatch(text)
    shown = "{}-{:0>2}-{:0>2}".format(*loose.groups()) if loose else "2026-01-31 or 2026-01-31T18:00:00+08:00"
    raise CellFault("not an ISO 8601 date or timestamp", f"write {shown}")


def period(begin: float | None, end: float | None) -> None:
    """Refuse a validity that ends before it begins."""
    if begin is not None and end is not None and end <= begin:
        raise CellFault("ends before valid_from", "valid_to is the last valid day, or the first instant no longer valid")


def sequence(text: str) -> int:
    """A row's place in its list: digits, below 10**18."""
    if text.isascii() and text.isdigit() and len(text) <= 18:
        return int(text)
    raise CellFault("not a sequence number", "write digits only; rows of one list_id count upward")


def identifier(text: str) -> str:
    """Any text that is not empty."""
    if not text:
        raise CellFault("empty", "every row names it")
    return text


def word(choices: Iterable[str], empty: str | None = None) -> Callable[[str], str]:
    """A parser of one of `choices`, in any case; `empty` is what an empty cell means, None where it may not be empty."""
    known = {choice.lower(): choice for choice in choices}
    if empty is not None:
        known[""] = empty
    listed = ", ".join(dict.fromkeys(choice for choice in known.values() if choice))

    def parse(text: str) -> str:
        try:
            return known[text.lower()]
        except KeyError:
            raise CellFault("unknown word" if text else "empty", f"one of {listed}") from None

    return parse


def scope(text: str) -> str:
    """`global` (also: empty), `customer:ID` or `trunk:ID`."""
    if text in ("", "global"):
        return "global"
    kind, _, name = text.partition(":")
    if kind.strip() in ("customer", "trunk") and name.strip():
        return f"{kind.strip()}:{name.strip()}"
    raise CellFault("not a scope", "write global, customer:ID or trunk:ID")


def category(known: tuple[str, ...]) -> Callable[[str], str]:
    """A parser of what is sold: one of `known`, or any word where none are known; in any case, empty stays empty."""
    listed = ", ".join(known)

    def parse(text: str) -> str:
        name = text.lower()
        if name and known and name not in known:
            raise CellFault("unknown category", f"one of {listed}, or more of them in [directory] categories")
        if name and not is_category(name):
            raise CellFault("not a category", "one word, such as finance")
        return name

    return parse


def is_category(text: str) -> bool:
    """Whether a text can name what is sold."""
    return 0 < len(text) <= 32 and not any(character.isspace() or character in ",;*" for character in text)


def weekday(text: str) -> int:
    """A day of the week, Monday 0; empty: Sunday."""
    if not text:
        return 6
    if text.lower() not in _DAYS:
        raise CellFault("not a day of the week", "one of Mon Tue Wed Thu Fri Sat Sun; empty: Sun")
    return _DAYS.index(text.lower())


def hours(text: str) -> Windows:
    """Hours as windows; empty text: no window, which means always.

    `Mon-Fri 09:00-18:00`; days may be left out (every day), listed (`Sat,Sun`) or a range; several windows are separated by `;`.
    A window does not pass midnight: `22:00-24:00; 00:00-06:00` are two.
    """
    return tuple([_window(part.strip()) for part in text.split(";")]) if text else ()


def _window(text: str) -> tuple[frozenset[int], int, int]:
    found = _WINDOW.fullmatch(text)
    if not found:
        raise CellFault("not hours", "write Mon-Fri 09:00-18:00, several windows separated by ;")
    days, *clock = found.groups()
    from_hour, from_minute, to_hour, to_minute = map(int, clock)
    begin, end = from_hour * 60 + from_minute, to_hour * 60 + to_minute
    if from_minute > 59 or to_minute > 59 or end > 24 * 60:
        raise CellFault("no such time of day", "write times from 00:00 to 24:00")
    if end <= begin:
        raise CellFault("hours that end before they begin", "split at midnight: 22:00-24:00; 00:00-06:00")
    return _weekdays(days), begin, end


def _weekdays(text: str | None) -> frozenset[int]:
    if text is None:
        return frozenset(range(7))
    days: set[int] = set()
    for part in text.lower().split(","):
        ends = [end.strip() for end in part.split("-")]
        if len(ends) > 2 or any(end not in _DAYS for end in ends):
            raise CellFault(f"unknown weekday in {text!r}", "Mon Tue Wed Thu Fri Sat Sun, as Mon-Fri or Sat,Sun")
        first, last = _DAYS.index(ends[0]), _DAYS.index(ends[-1])
        days.update(day % 7 for day in range(first, last + 1 if last >= first else last + 8))
    return frozenset(days)
