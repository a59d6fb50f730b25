"""The one table of `make bench`: every row with its spread, Kamailio's single worker = 1, the aim, and whether it is met."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from benchmarks.loads import AFTERWARDS
from benchmarks.sections import (
    BESIDE,
    BESIDE_KERNEL,
    BIG,
    DIRECT,
    FLOOR,
    KAMAILIO,
    KAMAILIO_TWO,
    KERNEL,
    OURS,
    OURS_TWO,
    PURE,
    QUIET,
    RECORDS,
    SIPPY,
    SMALL,
)

Row = dict[str, Any]
COLUMNS = (OURS, RECORDS, KERNEL, PURE, FLOOR, KAMAILIO, BESIDE)
SATURATED_AIM, MIDDLE_AIM, PURE_AIM = 0.65, 1.0, 1.5
WORKERS_AIM, SHARE_AIM = 1.15, 40.0
P50_AIM, P99_AIM = 0.5, 3.0
PYTHON_AIM = 40.0
SUSTAINED = 0.95
"""Of the calls of a load so many must have ended as they should, for its CPU to be compared."""


@dataclass
class Line:
    """One row of the table: a cell for each column, and what is wanted of some of them."""

    name: str
    cells: dict[str, str]
    aims: list[str] = field(default_factory=list)
    stands: list[str] = field(default_factory=list)

    def want(self, values: Sequence[float], limit: float, *, least: bool = False, of: str = "") -> None:
        """Judge the median of these."""
        self.aims.append(f"{of}{'at least' if least else 'at most'} {limit:g}")
        if values:
            found = statistics.median(values)
            self.stands.append(f"{of}{'met' if (found >= limit if least else found <= limit) else 'NOT met'}")


def spread(values: Sequence[float], digits: int = 2) -> str:
    """Median [lowest..highest]."""
    if not values:
        return ""
    if len(values) == 1:
        return f"{values[0]:.{digits}f}"
    return f"{statistics.median(values):.{digits}f} [{min(values):.{digits}f}..{max(values):.{digits}f}]"


class Table:
    """Made of the rows of one or more runs."""

    def __init__(self, rows: list[Row]) -> None:
        self._rows = rows
        self.lines: list[Line] = []
        for section in ("udp", "tcp"):
            self._ratios(section)
        self._workers()
        self._latency()
        self._python()
        self._capacity()
        self._memory()

    def markdown(self) -> str:
        """The table, without columns that have nothing in them."""
        used = [column for column in COLUMNS if any(line.cells.get(column) for line in self.lines)]
        head = ["", *used, "aim", "stands"]
        rows = [
            [line.name, *(line.cells.get(column, "") for column in used), "; ".join(line.aims), "; ".join(line.stands)]
            for line in self.lines
        ]
        return "\n".join(f"| {' | '.join(cells)} |" for cells in [head, ["---"] * len(head), *rows])

    def _find(self, section: str, proxy: str, what: str | None = None, speed: str | None = None) -> list[Row]:
        return [
            row
            for row in self._rows
            if row["section"] == section and row["proxy"] == proxy and what in (None, row["what"]) and speed in (None, row["speed"])
        ]

    def _keys(self, section: str) -> list[tuple[str, str]]:
        return list(dict.fromkeys((row["what"], row["speed"]) for row in self._rows if row["section"] == section))

    def _pairs(self, section: str, key: tuple[str, str], mine: str, base: str, figure: Callable[[Row], float]) -> list[float]:
        """What one had over what the other had, round by round."""
        others = {row["round"]: figure(row) for row in self._find(section, base, *key) if _sustained(row)}
        return [
            figure(row) / others[row["round"]] for row in self._find(section, mine, *key) if _sustained(row) and others.get(row["round"])
        ]

    def _ratios(self, section: str) -> None:
        for what, speed in self._keys(section):
            key = what, speed
            if speed == AFTERWARDS:
                self.lines.append(Line(f"{what}, saturated, with what it costs afterwards", self._whole(section, what)))
                continue
            ratios = {column: self._pairs(section, key, column, KAMAILIO, _us) for column in COLUMNS if column not in (KAMAILIO, BESIDE)}
            cells = {column: spread(values) for column, values in ratios.items()}
            cells[KAMAILIO] = "1" if self._find(section, KAMAILIO, *key) else ""
            beside = self._pairs(section, key, OURS, BESIDE, _us) or self._pairs(section, key, KERNEL, BESIDE_KERNEL, _us)
            cells[BESIDE] = spread(beside)
            named = sorted({row["rate"] for row in self._find(section, OURS, *key)}) if speed == "high" else []
            speed_words = f"{'..'.join(f'{rate:,}' for rate in named)} a second" if named else speed
            line = Line(f"{what}, {speed_words}", cells)
            judged = RECORDS if ratios[RECORDS] else OURS
            if speed == "saturated":
                line.want(ratios[judged], SATURATED_AIM)
                line.want(ratios[PURE], PURE_AIM, of="pure ")
            elif speed == f"{2000:,} a second" and "held" not in what:
                line.want(ratios[judged], MIDDLE_AIM)
            self.lines.append(line)

    def _whole(self, section: str, what: str) -> dict[str, str]:
        """Of saturated calls, with the timers that forget them."""
        whole = {}
        for column in COLUMNS:
            parts = [[row["us"] for row in self._find(section, column, what, speed)] for speed in ("saturated", AFTERWARDS)]
            if all(parts):
                whole[column] = sum(map(statistics.median, parts))
        return {column: f"{us / whole[KAMAILIO]:.2f}" for column, us in whole.items()} if KAMAILIO in whole else {}

    def _workers(self) -> None:
        for what, speed in self._keys("workers"):
            key = what, speed
            ours = self._pairs("workers", key, OURS_TWO, OURS, _us)
            line = Line(
                f"two workers, {what}, {speed}: CPU, one worker of its own = 1",
                {OURS: spread(ours), KAMAILIO: spread(self._pairs("workers", key, KAMAILIO_TWO, KAMAILIO, _us))},
            )
            line.want(ours, WORKERS_AIM)
            self.lines.append(line)
            shares = {name: [min(row["shares"]) * 100 for row in self._find("workers", name, *key)] for name in (OURS_TWO, KAMAILIO_TWO)}
            line = Line(
                "the same: % of the CPU that the lesser worker has",
                {OURS: spread(shares[OURS_TWO], 0), KAMAILIO: spread(shares[KAMAILIO_TWO], 0)},
            )
            line.want(shares[OURS_TWO], SHARE_AIM, least=True)
            self.lines.append(line)
            failed = {name: [_failed(row) for row in self._find("workers", name, *key)] for name in (OURS_TWO, KAMAILIO_TWO)}
            line = Line("the same: % of the calls failed", {OURS: spread(failed[OURS_TWO]), KAMAILIO: spread(failed[KAMAILIO_TWO])})
            line.want([max(failed[OURS_TWO])] if failed[OURS_TWO] else [], 0.0)
            self.lines.append(line)

    def _latency(self) -> None:
        for part, words, limit in (
            ("p50", "median", P50_AIM),
            ("p99", "99 %", P99_AIM),
            ("p999", "99.9 %", None),
            ("max", "longest", None),
        ):
            cells, added = {}, {}
            for name in (OURS, KAMAILIO):
                direct = {row["round"]: row[f"hop_{part}_ms"] for row in self._find("latency", f"{DIRECT}, {name}")}
                added[name] = [
                    row[f"hop_{part}_ms"] - direct[row["round"]] for row in self._find("latency", name) if row["round"] in direct
                ]
                cells[name] = spread(added[name], 3)
            if not added[OURS]:
                continue
            rates = [
                f"{statistics.median(row['rate'] for row in rows):,.0f}"
                for name in (OURS, KAMAILIO)
                if (rows := self._find("latency", name))
            ]
            line = Line(f"added to an INVITE's way, {words}, ms, at half of what it sustains ({' and '.join(rates)} calls a second)", cells)
            if limit is not None:
                line.want(added[OURS], limit)
            self.lines.append(line)

    def _python(self) -> None:
        for name in (SIPPY, QUIET):
            for what, speed in self._keys("python"):
                values = self._pairs("python", (what, speed), name, OURS, _us)
                if values:
                    speed_words = "40 open at a time" if speed == "saturated" else speed
                    line = Line(f"{what}, {speed_words}: CPU of {name}, ours = 1", {OURS: spread(values, 1)})
                    if speed == "saturated":
                        line.want(values, PYTHON_AIM, least=True)
                    self.lines.append(line)

    def _capacity(self) -> None:
        for what, speed in self._keys("capacity"):
            values = self._pairs("capacity", (what, speed), BIG, SMALL, _us)
            self.lines.append(Line(f"{what}, {speed}: CPU over the long lists, over those of the other rows = 1", {OURS: spread(values)}))

    def _memory(self) -> None:
        for what, speed in self._keys("memory"):
            rows = self._find("memory", OURS, what, speed)
            name = f"memory, {speed} calls {what}: bytes for each (MiB of the worker)"
            self.lines.append(Line(name, {OURS: f"{rows[-1]['bytes']:,.0f} ({rows[-1]['size'] / 2**20:,.0f})"}))


def _sustained(row: Row) -> bool:
    """Whether it is worth comparing: what was too much for a proxy cost it more than it counts for."""
    return bool(row.get("ok", 1) >= SUSTAINED * row.get("started", 1))


def _us(row: Row) -> float:
    return float(row["us"])


def _failed(row: Row) -> float:
    return float(100 * (row["bad"] + row["lost"]) / max(1, row["started"]))
