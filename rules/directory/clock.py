"""What the clock on the wall shows at the node, and on which days of the week holidays and make-up working days count."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date, datetime
from typing import Final

from rules.directory import fields
from rules.directory.calendar import DAYS, time_zone

Week = tuple[tuple[tuple[int, int], ...], ...]
"""For every day of the week its windows, in minutes."""

_KEPT: Final = 65536  # texts of hours that are kept taken apart: far more than differ in any sane list


class Calendar:
    """Tells whether an instant, Unix time in seconds, falls into hours, in one time zone and with its holidays.

    `holidays` are days that count as another day of the week (Monday 0), by ISO date: a holiday as a Sunday, a Saturday that people work on
    (调休) as a working day. Hours that name no days hold on holidays too.
    """

    __slots__ = ("_begin", "_day", "_days", "_minute", "_windows", "_zone")

    def __init__(self, zone: str, holidays: Mapping[str, int]) -> None:
        self._zone = time_zone(zone)
        self._days = {date.fromisoformat(text).toordinal(): day for text, day in holidays.items()}
        self._windows: dict[str, Week] = {}
        self._begin = (
            0.0  # of the minute that was asked for last, since calls come many to a minute: its day of the week, and place in the day
        )
        self._day = 0
        self._minute = -1

    def within(self, hours: str, at: float) -> bool:
        """Whether it is within `hours` (a text that `fields.hours` accepts; empty: always)."""
        if not hours:
            return True
        if self._minute < 0 or not 0.0 <= at - self._begin < 60.0:
            local = datetime.fromtimestamp(at, self._zone)
            self._day = self._days.get(local.toordinal(), local.weekday())
            self._minute = local.hour * 60 + local.minute
            self._begin = at // 60 * 60.0
        week = self._windows.get(hours)
        if week is None:
            if len(self._windows) >= _KEPT:
                self._windows.clear()
            week = self._windows[hours] = _by_day(hours)
        minute = self._minute
        for begin, end in week[self._day]:  # noqa: SIM110  a generator costs more than all else
            if begin <= minute < end:
                return True
        return False

    def spoken(self, at: float) -> str:
        """The instant as the node's clock shows it, for `explain`."""
        local = datetime.fromtimestamp(at, self._zone)
        day = self._days.get(local.toordinal())
        counts = f" (counts as {DAYS[day]})" if day is not None else ""
        return f"{DAYS[local.weekday()]} {local:%Y-%m-%d %H:%M}{counts}"


def _by_day(text: str) -> Week:
    """For every day of the week its windows, in minutes."""
    windows = fields.hours(text)
    return tuple([tuple([(begin, end) for days, begin, end in windows if day in days]) for day in range(7)])
