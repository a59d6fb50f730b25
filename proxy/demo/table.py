"""The demo's table: one row for each call."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import median
from typing import Final

from rich import box
from rich.table import Table
from rich.text import Text

from proxy.demo.network import PlayedCall
from rules.codes import reason_code
from rules.verdict import Verdict

WIDE: Final = 120
"""Columns of a terminal from which on the table also speaks Chinese."""

ACTIONS: Final = {"pass": ("PASS", "bold green"), "reject": ("REJECT", "bold red")}


def calls_table(calls: Sequence[PlayedCall], width: int, first: int = 0) -> Table:
    """The calls from the `first` on, for a terminal of so many columns. A narrow one has status and time below the verdict."""
    wide = width >= WIDE
    table = Table(box=box.HORIZONTALS, header_style="bold", border_style="dim", padding=(0, 1, 0, 0), pad_edge=False, expand=True)
    table.add_column("#", justify="right", style="dim", no_wrap=True)
    table.add_column("Call", overflow="fold")
    table.add_column("Trunk", no_wrap=True)
    table.add_column("Verdict", no_wrap=True)
    table.add_column("Why", overflow="fold", ratio=1)
    if wide:
        table.add_column("SIP", justify="right", no_wrap=True)
        table.add_column("ms", justify="right", no_wrap=True)
    table.add_column("", no_wrap=True)
    for place, played in enumerate(calls[first:], first + 1):
        plan, verdict, ending, faults = played
        call = Text.assemble((plan.title, "bold"), (f"\n{shown(plan.sender)} → {shown(plan.to)}", "dim"))
        outcome = Text("✗", "bold red") if faults else Text("✓", "green")
        sip = Text(str(ending.status), "green" if ending.status < 300 else "red" if ending.status == 403 else "yellow")
        time = f"{ending.seconds * 1000:.1f}"
        trunk, word, why = Text(plan.peer), Text("none", "bold red"), Text()
        if verdict is not None:
            trunk = Text(verdict.trunk)
            word = Text(*ACTIONS.get(verdict.action, (verdict.action.upper(), "bold yellow")))
            why = reason(verdict, chinese=wide)
        trunk.append(f"\n{plan.transport}", "dim")
        for fault in faults:
            why.append(f"\n✗ {fault}", "bold red")
        if wide:
            table.add_row(str(place), call, trunk, word, why, sip, time, outcome)
        else:
            table.add_row(str(place), call, trunk, word + " " + sip + Text(f"\n{time} ms", "dim"), why, outcome)
    return table


def reason(verdict: Verdict, *, chinese: bool) -> Text:
    """A verdict's code, its marks and its sentence."""
    text = Text.assemble((verdict.code, "bold"), *[(f" + {mark}", "yellow") for mark in verdict.marks])
    words = reason_code(verdict.code)
    if words is not None:
        text.append(f"  {words.zh}\n{words.en}" if chinese else f"\n{words.en}")
    return text


def total(calls: Sequence[PlayedCall], seconds: float) -> Text:
    """What it comes to."""
    passed = sum(1 for played in calls if played.verdict is not None and played.verdict.action == "pass")
    wrong = sum(1 for played in calls if played.faults)
    decisions = [played.verdict.elapsed_us for played in calls if played.verdict is not None]
    text = Text.assemble(
        f"{len(calls)} calls: ", (f"{passed} passed", "green"), ", ", (f"{len(calls) - passed} refused", "red"), f", in {seconds:.1f} s; "
    )
    if decisions:
        text.append(f"a decision took {median(decisions):.0f} µs (median). ")
    text.append(f"{wrong} not as expected." if wrong else "All as expected.", "bold red" if wrong else "bold green")
    return text


def shown(number: str) -> str:
    """A number or URI without its scheme and host."""
    return number.partition(":")[2].partition("@")[0] if ":" in number else number
