"""The benchmark's table: ratios of the same round, medians, aims, and what stands."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from benchmarks.pause import own_pauses
from benchmarks.profiles import Counts, functions
from benchmarks.tables import Table

SATURATED = {"section": "udp", "what": "completed call", "speed": "saturated", "rate": 0}


def rows(section: dict[str, Any], **figures: list[float]) -> list[dict[str, Any]]:
    """A row for each round of each proxy (its name with _ for a blank): microseconds."""
    return [
        section | {"proxy": name.replace("_", " "), "round": number, "us": us}
        for name, values in figures.items()
        for number, us in enumerate(values, 1)
    ]


def line(table: Table, start: str) -> list[str]:
    (found,) = [text for text in table.markdown().splitlines() if text.startswith(f"| {start}")]
    return [cell.strip() for cell in found.strip("|").split("|")]


def test_ratios_are_taken_within_a_round() -> None:
    made = Table(rows(SATURATED, sipwarden=[50.0, 120.0, 60.0], Kamailio=[100.0, 200.0, 100.0], pure_Python=[300.0, 500.0]))
    assert line(made, "completed call") == [
        "completed call, saturated",
        "0.60 [0.50..0.60]",
        "2.75 [2.50..3.00]",
        "1",
        "at most 0.65; pure at most 1.5",
        "met; pure NOT met",
    ]


def test_a_load_that_was_too_much_is_not_compared() -> None:
    key = SATURATED | {"started": 100}
    good, bad = rows(key, sipwarden=[50.0], Kamailio=[100.0]), rows(key, sipwarden=[999.0, 50.0], Kamailio=[100.0, 100.0])
    made = Table(
        [row | {"ok": 100} for row in good] + [row | {"ok": 94 if row["us"] == 999.0 else 95, "round": row["round"] + 1} for row in bad]
    )
    assert line(made, "completed call")[1] == "0.50 [0.50..0.50]"


def test_with_records_it_is_they_that_are_judged() -> None:
    made = Table(rows(SATURATED, sipwarden=[50.0], records_on=[70.0], Kamailio=[100.0]))
    assert line(made, "completed call")[-1] == "NOT met"


@pytest.mark.parametrize(("us", "stands"), [(99.0, "met"), (101.0, "NOT met")])
def test_the_middle_rate_has_an_aim_of_its_own(us: float, stands: str) -> None:
    middle = SATURATED | {"speed": "2,000 a second", "rate": 2000}
    assert line(Table(rows(middle, sipwarden=[us], Kamailio=[100.0])), "completed call")[-2:] == ["at most 1", stands]


def test_what_a_call_costs_afterwards_is_added() -> None:
    after = SATURATED | {"speed": "afterwards"}
    made = Table(rows(SATURATED, sipwarden=[50.0], Kamailio=[100.0]) + rows(after, sipwarden=[70.0], Kamailio=[20.0]))
    assert line(made, "completed call, saturated, with what it costs afterwards")[1:] == ["1.00", "1.00", "", ""]


def test_two_workers() -> None:
    key = {"section": "workers", "what": "completed call", "speed": "1,000 a second", "started": 1000, "ok": 999, "bad": 1, "lost": 0}
    made = Table(
        [row | {"shares": [0.97]} for row in rows(key, sipwarden=[100.0])]
        + [row | {"shares": [0.7, 0.3]} for row in rows(key, **{"sipwarden,_2_workers": [110.0]})]
    )
    texts = made.markdown().splitlines()
    assert [text.rsplit("|", 2)[1].strip() for text in texts[2:]] == ["met", "NOT met", "NOT met"]
    assert "| 0.10 |" in texts[4]


def test_latency_is_what_the_direct_path_has_not() -> None:
    hops = {"hop_p50_ms": 0.3, "hop_p99_ms": 4.0, "hop_p999_ms": 5.0, "hop_max_ms": 6.0}
    key = {"section": "latency", "what": "completed call", "speed": "half", "round": 1, "rate": 3000}
    direct = dict.fromkeys(hops, 0.1)
    made = Table([key | hops | {"proxy": "sipwarden"}, key | direct | {"proxy": "direct, sipwarden"}])
    cells = [line(made, f"added to an INVITE's way, {part}, ms")[1:] for part in ("median", "99 %", "99.9 %")]
    assert cells == [["0.200", "at most 0.5", "met"], ["3.900", "at most 3", "NOT met"], ["4.900", "", ""]]


class Waited:
    """A worker that waited for a CPU from the second 100 for 2 ms, as `Watch` tells it."""

    def ran(self, begin: float, end: float) -> float:
        return end - begin

    def waited(self, begin: float, end: float) -> float:
        return 0.002 if begin <= 100.0 < end else 0.0


def test_a_pause_is_counted_once_and_without_waiting_for_a_cpu(tmp_path: Path) -> None:
    file = tmp_path / "waits"
    file.write_text("99.999 100.009\n100.001 100.0095\n200.0 200.004\n", encoding="ascii")
    found = own_pauses(file, Waited())
    assert [(round(own, 3), begin) for own, begin, _ in found] == [(8.0, 99.999), (4.0, 200.0), (0.5, 100.009)]


def test_functions_of_collapsed_stacks(tmp_path: Path) -> None:
    file = tmp_path / "stacks"
    file.write_text("main (a.py:1);work (a.py:5) 3\nmain (a.py:2);work (a.py:7) 3\nmain (a.py:2) 2\n", encoding="utf-8")
    assert functions(file, 2) == [" 75.0%  75.0%  work (a.py)", " 25.0% 100.0%  main (a.py)"]


OWN = """\
33,170,000 (100.0%)  PROGRAM TOTALS
Ir                  file:function
2,000,000 ( 6.03%)  ???:_Py_Dealloc [/usr/bin/python3.11]
1,338,300 ( 4.03%)  proxy/sip/_kernel.c:scan [/x/site-packages/proxy/sip/_kernel.cpython-311-x86_64-linux-gnu.so]
1,000,000 ( 3.01%)  ???:_Py_Dealloc'2 [/usr/bin/python3.11]
"""
WHOLE = "33,170,000 (100.0%)  PROGRAM TOTALS\n3,000,000 ( 9.04%)  build/m.c:CPyDef_core___run [/x/core.so]\n"


def test_instructions_of_a_call() -> None:
    found = Counts(OWN, WHOLE, 100)
    assert found.total == 331_700
    assert found.own == {"_Py_Dealloc": 30_000, "scan": 13_383}
    assert found.places == {"python3.11": 30_000, "_kernel": 13_383}
    assert found.dearest() == ["   30,000   9.0%  CPyDef_core___run"]
