"""Hours: what the clock on the wall shows at the node, and on which days of the week holidays and make-up working days count."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date, datetime, tzinfo
from typing import Final
from zoneinfo import ZoneInfo

from rules.directory import fields
from rules.directory.fault import CellFault, FaultLog
from rules.directory.sheet import sheet_rows

SHANGHAI: Final = "Asia/Shanghai"

COLUMNS = ("date", "day")

_DAYS: Final = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")


class Hours(str):
    """Hours as they are written, `Mon-Fri 09:00-18:00; Sat 10:00-12:00`, known to be hours; empty means always."""

    __slots__ = ()

    @classmethod
    def parse(cls, text: object) -> Hours:
        """Raise ValueError ("what | remedy") for anything else."""
        if not isinstance(text, str):
            raise ValueError('not text | hours in quotes, "Mon-Fri 09:00-18:00"')
        try:
            fields.hours(text)
        except CellFault as fault:
            raise ValueError(f"{fault.problem} | {fault.remedy}") from None
        return cls(text)


def time_zone(name: str) -> tzinfo:
    """The zone of that name. Raises ValueError ("what | remedy") where the system knows none."""
    if name == SHANGHAI:
        return fields.CHINA_TIME  # also where no time zone data is installed
    try:
        return ZoneInfo(name)
    except (KeyError, ValueError, OSError):
        raise ValueError('no such time zone | a name of the system\'s time zone data (tzdata), such as "Asia/Shanghai"') from None


class Calendar:
    """Tells whether an instant, Unix time in seconds, falls into hours, in one time zone and with its holidays.

    `holidays` are days that count as another day of the week (Monday 0), by ISO date: a holiday as a Sunday, a Saturday that people work on
    (调休) as a working day. Hours that name no days hold on holidays too.
    """

    __slots__ = ("_days", "_minute", "_moment", "_windows", "_zone")

    def __init__(self, zone: str, holidays: Mapping[str, int]) -> None:
        self._zone = time_zone(zone)
        self._days = {date.fromisoformat(text).toordinal(): day for text, day in holidays.items()}
        self._windows = fields.Memo(_by_day)
        self._minute = -1.0  # the last one that was asked for, since calls come many to a minute: its day of the week, and place in the day
        self._moment = (0, 0)

    def within(self, hours: str, at: float) -> bool:
        """Whether it is within `hours` (a text that `fields.hours` accepts; empty: always)."""
        if not hours:
            return True
        if at // 60 != self._minute:
            local = datetime.fromtimestamp(at, self._zone)
            self._moment = self._days.get(local.toordinal(), local.weekday()), local.hour * 60 + local.minute
            self._minute = at // 60
        day, minute = self._moment
        for begin, end in self._windows[hours][day]:  # noqa: SIM110  a generator costs more than all else
            if begin <= minute < end:
                return True
        return False

    def spoken(self, at: float) -> str:
        """The instant as the node's clock shows it, for `explain`."""
        local = datetime.fromtimestamp(at, self._zone)
        day = self._days.get(local.toordinal())
        counts = f" (counts as {_DAYS[day]})" if day is not None else ""
        return f"{_DAYS[local.weekday()]} {local:%Y-%m-%d %H:%M}{counts}"


def _by_day(text: str) -> tuple[tuple[tuple[int, int], ...], ...]:
    """For every day of the week its windows, in minutes."""
    windows = fields.hours(text)
    return tuple([tuple([(begin, end) for days, begin, end in windows if day in days]) for day in range(7)])


def read_holidays(data: bytes, file: str, holidays: dict[str, int], log: FaultLog) -> int:
    """Take in one file: `date`, and `day`, the day of the week that it counts as (empty: Sun). The number of its rows."""
    rows = 0
    for line, (text, day) in sheet_rows(data, file, COLUMNS, 1, log, more=True):
        rows += 1
        column = "date"
        try:
            if text[:10] != text or fields.Dates().valid_from(text) is None:
                raise CellFault("not a date", "write 2026-10-01")
            column = "day"
            counts_as = fields.weekday(day)
            if holidays.setdefault(text, counts_as) != counts_as:
                raise CellFault(f"this date counts as {_DAYS[holidays[text]]} in an earlier row", "keep one row for each date")
        except CellFault as fault:
            log.refuse(file, line, column, text if column == "date" else day, fault)
    return rows
