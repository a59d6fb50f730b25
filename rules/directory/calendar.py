"""Hours, time zones and holidays as they are written."""

from __future__ import annotations

from datetime import tzinfo
from typing import Final
from zoneinfo import ZoneInfo

from rules.directory import fields
from rules.directory.fault import CellFault, FaultLog
from rules.directory.sheet import sheet_rows

SHANGHAI: Final = "Asia/Shanghai"

COLUMNS = ("date", "day")

DAYS: Final = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")


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
                raise CellFault(f"this date counts as {DAYS[holidays[text]]} in an earlier row", "keep one row for each date")
        except CellFault as fault:
            log.refuse(file, line, column, text if column == "date" else day, fault)
    return rows
