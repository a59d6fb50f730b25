"""Hours by the node's clock: zones, holidays, and days that are worked instead."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path

import pytest

from rules.directory import Directory, DirectoryConfig, Hours, load_directory, time_zone
from rules.directory.clock import Calendar

HOLIDAYS = {"2026-10-01": 6, "2026-10-10": 4}


def when(text: str) -> float:
    return datetime.fromisoformat(text).timestamp()


@pytest.mark.parametrize(
    ("hours", "at", "within"),
    [
        ("", "2026-10-01T03:00:00+08:00", True),
        ("Mon-Fri 09:00-18:00", "2026-09-30T09:00:00+08:00", True),
        ("Mon-Fri 09:00-18:00", "2026-09-30T01:00:00+00:00", True),
        ("Mon-Fri 09:00-18:00", "2026-09-30T08:59:59.9+08:00", False),
        ("Mon-Fri 09:00-18:00", "2026-09-30T18:00:00+08:00", False),
        ("Mon-Fri 09:00-18:00", "2026-10-01T10:00:00+08:00", False),
        ("Mon-Fri 09:00-18:00", "2026-10-10T10:00:00+08:00", True),
        ("Sat 09:00-18:00", "2026-10-10T10:00:00+08:00", False),
        ("Sun 10:00-12:00; Mon-Fri 09:00-18:00", "2026-10-01T11:00:00+08:00", True),
        ("09:00-18:00", "2026-10-01T11:00:00+08:00", True),
        ("22:00-24:00; 00:00-06:00", "2026-10-05T23:59:59+08:00", True),
        ("22:00-24:00; 00:00-06:00", "2026-10-06T00:00:00+08:00", True),
        ("22:00-24:00; 00:00-06:00", "2026-10-06T06:00:00+08:00", False),
        ("Sat-Mon 09:00-18:00", "2026-10-04T10:00:00+08:00", True),
        ("Sat-Mon 09:00-18:00", "2026-10-06T10:00:00+08:00", False),
    ],
)
def test_within(hours: str, at: str, within: bool) -> None:
    assert Calendar("Asia/Shanghai", HOLIDAYS).within(hours, when(at)) is within


def test_another_zone_has_its_own_days_and_summer_time() -> None:
    berlin = Calendar("Europe/Berlin", HOLIDAYS)
    assert berlin.within("Fri 09:00-10:00", when("2026-03-27T08:30:00Z"))  # +01:00
    assert berlin.within("Mon 09:00-10:00", when("2026-03-30T07:30:00Z"))  # +02:00
    assert not berlin.within("Mon-Fri 00:00-24:00", when("2026-09-30T22:00:00Z"))  # the holiday has begun there
    assert berlin.within("Mon-Fri 00:00-24:00", when("2026-09-30T21:59:59Z"))


def test_spoken() -> None:
    calendar = Calendar("Asia/Shanghai", HOLIDAYS)
    assert calendar.spoken(when("2026-10-10T10:05:00+08:00")) == "Sat 2026-10-10 10:05 (counts as Fri)"
    assert calendar.spoken(when("2026-10-11T10:05:00+08:00")) == "Sun 2026-10-11 10:05"


@pytest.mark.parametrize("name", ["", "Asia/Shenzen", "Asia", "../etc/passwd", "/etc/localtime", "\0"])
def test_no_such_zone(name: str) -> None:
    with pytest.raises(ValueError, match=r"no such time zone \| a name of"):
        time_zone(name)


def test_hours_as_a_setting() -> None:
    assert Hours.parse("Mon-Fri 09:00-18:00") == "Mon-Fri 09:00-18:00"
    for text in ("9-5", "Mon-Fri", 9):
        with pytest.raises(ValueError, match=r"not .+ \| "):
            Hours.parse(text)


def test_zone_and_holidays_are_kept_in_a_saved_directory(tmp_path: Path) -> None:
    (tmp_path / "holidays.csv").write_text("date,name,day\n2026-10-01,国庆节\n2026-10-10,调休,fri\n2026-10-01,国庆节\n", "utf-8")
    config = DirectoryConfig(holidays=("holidays.csv",), categories=("Finance",))
    load_directory(config, tmp_path, {}, time_zone="Asia/Tokyo").save(tmp_path / "image")
    directory = Directory.open(tmp_path / "image")
    assert directory.counts == {"holidays": 3}
    assert directory.categories == ("finance",)
    assert directory.spoken(when("2026-09-30T23:30:00+08:00")) == "Thu 2026-10-01 00:30 (counts as Sun)"
    assert not directory.within("Mon-Fri 00:00-24:00", when("2026-09-30T23:30:00+08:00"))
    assert directory.within("Mon-Fri 00:00-24:00", when("2026-09-30T22:59:59+08:00"))
