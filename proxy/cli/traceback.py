"""`sipwarden traceback`: who sent a call (通话溯源). Each question is itself recorded before its answer is shown."""

from __future__ import annotations

import argparse
import sys
from collections import Counter
from datetime import datetime
from pathlib import Path
from time import time
from typing import Any, Final
from zoneinfo import ZoneInfo

import msgspec
from rich import box
from rich.table import Table
from rich.text import Text

from proxy.cli.moment import in_ms, moment
from proxy.cli.role import GROUP, may_see_numbers
from proxy.cli.terminal import ACTION_STYLE, console, printable
from proxy.config import Config, ConfigFaults, load_config
from proxy.config.duration import Duration
from proxy.records.audit import Asked, Trail, asker
from proxy.records.hop import hop_request
from proxy.records.search import Changed, TooMany, search
from proxy.records.store import StoreFault
from proxy.records.trace import Found, hidden, ranked, row_json, utc
from proxy.report import write_json
from rules.numbers.sought import Sought, sought

LONGEST_WINDOW: Final = 31 * 86400.0
_WORDS: Final = 1000
"""Characters of a case number or legal basis at the most."""
_SHOWN: Final = 50
"""Calls in the table."""
_MATCH: Final = {"exact": "bold green", "near": "yellow", "called": "dim"}
_SAID: Final = {
    "exact": "the caller that was named",
    "near": "a caller like the one that was named",
    "called": "called number and time only",
}


class WrongUsage(Exception):
    """What was asked makes no sense, or cannot be answered; says why."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    parser.add_argument("-c", "--config", type=Path, required=True, metavar="FILE", help="sipwarden.toml")
    parser.add_argument("--called", required=True, metavar="N", help="the number that was called, in any form")
    parser.add_argument("--calling", metavar="N", help="the caller that was shown; calls with others are listed too, after those like it")
    parser.add_argument("--at", required=True, type=moment, metavar="ISO8601", help="when; without a zone in the node's time_zone")
    parser.add_argument("--window", type=_window, default=Duration(120.0), metavar="120s", help="how long before and after that")
    parser.add_argument("--case", required=True, type=_words, metavar="ID", help="the case that this is for")
    parser.add_argument("--basis", required=True, type=_words, metavar="TEXT", help="the legal basis")
    parser.add_argument("--json", action="store_true", help="one JSON document on standard output")


def main(args: argparse.Namespace) -> int:
    """0 where a call was found, 1 where none was, 2 for wrong usage, and where there can be no answer."""
    try:
        return _answer(args)
    except ConfigFaults as error:
        for fault in error.faults:
            print(fault, file=sys.stderr)
    except (WrongUsage, StoreFault, Changed, TooMany) as error:
        print(f"sipwarden traceback: {error}", file=sys.stderr)
    except OSError as error:
        where = f"{error.filename}: " if error.filename else ""
        print(f"sipwarden traceback: no answer: {where}{error.strerror or error}", file=sys.stderr)
    return 2


def _answer(args: argparse.Namespace) -> int:
    config = load_config(args.config)
    journal = _journal(config)
    zone = ZoneInfo(config.node.time_zone)
    areas = dict.fromkeys(trunk.home_area for trunk in config.trunk if trunk.home_area)
    called = sought(args.called, areas)
    if not called.canonical and not called.core:
        raise WrongUsage(f"--called: {printable(args.called)!r} has no digits; a number as it was dialled, 075583123456")
    caller = None if args.calling is None else sought(args.calling, areas)
    if caller is not None and not caller.canonical and not caller.core:
        raise WrongUsage(f"--calling: {printable(args.calling)!r} has no digits; leave it out to find calls by called number and time")
    at = in_ms(args.at, zone)
    first, last = at - int(args.window * 1000), at + int(args.window * 1000)
    whole = may_see_numbers()
    with Trail(journal) as trail:  # first of all: where no question can be recorded, none is answered
        notes: list[str] = []
        asked = _asked(args, first, last, masked=not whole)
        try:
            found, count = ranked(search(journal, called, first, last, notes), caller, at, whole=whole)
        except BaseException as error:  # whatever ends it: that it was asked is recorded
            trail.append(msgspec.structs.replace(asked, outcome=_outcome(error)))
            raise
        trail.append(msgspec.structs.replace(asked, rows=dict(Counter(row.match for row in found))))
    for note in notes:
        print(f"note: {note}", file=sys.stderr)
    if count > len(found):
        print(f"note: {count} calls; the best {len(found)} are shown: a shorter --window, or --calling, finds fewer", file=sys.stderr)
    request = hop_request(found, args.case, args.basis, config.node.name, zone) if found else None
    query = _query(args, called, caller, at, first, last, whole=whole)
    if args.json:
        write_json({"query": query, "rows": [row_json(row) for row in found], "hop_request": request})
    else:
        _show(query, found, request, zone)
    return 0 if found else 1


def _asked(args: argparse.Namespace, first: int, last: int, *, masked: bool) -> Asked:
    who = asker()
    return Asked(
        n=0,
        at=int(time() * 1000),
        previous="",
        user=who.user,
        uid=who.uid,
        login=who.login,
        login_uid=who.login_uid,
        case=args.case,
        basis=args.basis,
        called=args.called,
        calling=args.calling,
        first=first,
        last=last,
        rows={},
        masked=masked,
    )


def _outcome(error: BaseException) -> str:
    """What the trail says of a question without an answer."""
    said = str(error).partition("\n")[0]
    return f"{type(error).__name__}: {said}"[:_WORDS] if said else type(error).__name__


def _journal(config: Config) -> Path:
    if config.journal is None:
        raise WrongUsage(f"{config.file} has no [journal]: no call is recorded")
    path = config.state_path(config.journal.path)
    if not path.is_dir():
        raise WrongUsage(f"{path} is no folder: nothing was recorded yet, or [journal] path is another one where the node runs")
    return path


def _query(
    args: argparse.Namespace, called: Sought, caller: Sought | None, at: int, first: int, last: int, *, whole: bool
) -> dict[str, Any]:
    show = str if whole else hidden
    return {
        "called": show(args.called),
        "called_as": [show(number) for number in called.canonical],
        "calling": None if args.calling is None else show(args.calling),
        "calling_as": [] if caller is None else [show(number) for number in caller.canonical],
        "at": utc(at),
        "from": utc(first),
        "to": utc(last),
        "case": args.case,
        "basis": args.basis,
        "masked": not whole,
    }


# what is shown


def _show(query: dict[str, Any], found: list[Found], request: str | None, zone: ZoneInfo) -> None:
    out = console()
    out.print(_headline(query, found, zone))
    if not found:
        return
    table = Table(box=box.ROUNDED, header_style="bold", border_style="dim", show_lines=True)
    table.add_column("#", justify="right", style="dim")
    table.add_column("match", no_wrap=True)
    table.add_column(f"received\n{zone.key}, UTC")
    table.add_column("caller\ncalled", overflow="fold")
    table.add_column("came from", overflow="fold")
    table.add_column("verdict\nwhat became of it", overflow="fold")
    for number, row in enumerate(found[:_SHOWN], 1):
        table.add_row(str(number), Text(row.match, _MATCH[row.match]), _times(row, zone), _numbers(row), _ingress(row), _fate(row))
    out.print(table)
    for number, row in enumerate(found[:_SHOWN], 1):  # whole and on one line, to be copied
        line = Text.assemble((f"{number:>3}  ", "dim"), f"Call-ID {printable(row.call_id)}")
        out.print(line.append(f"  icid {printable(row.icid)}" if row.icid else ""), soft_wrap=True)
    if len(found) > _SHOWN:
        out.print(f"{len(found) - _SHOWN} more; --json has them all.")
    if query["masked"]:
        out.print(f"Numbers are masked: members of the group {GROUP} see them whole.", style="dim")
    if request is not None:
        out.print("\nTo the operator that it came from:\n", style="bold")
        out.print(Text(request), soft_wrap=True)


def _headline(query: dict[str, Any], found: list[Found], zone: ZoneInfo) -> Text:
    begin, end = (datetime.fromisoformat(query[key]).astimezone(zone) for key in ("from", "to"))
    counts = Counter(row.match for row in found)
    text = Text.assemble((f"{len(found)} call{'' if len(found) == 1 else 's'}" if found else "No call", "bold" if found else "bold red"))
    text.append(f" to {printable(query['called'])}")
    if query["called_as"] and query["called_as"] != [query["called"]]:
        text.append(f" ({', '.join(query['called_as'])})", "dim")
    if query["calling"] is not None:
        text.append(f" from {printable(query['calling'])}")
    text.append(f"\nreceived {begin.isoformat(' ', 'seconds')} to {end.isoformat(' ', 'seconds')} ({zone.key})")
    text.append(f"\n         {query['from'][:19]} to {query['to'][:19]} UTC", "dim")
    if query["calling"] is not None:
        for match in ("exact", "near", "called"):
            if counts[match]:
                text.append(f"\n{counts[match]:>5}  {match}", _MATCH[match]).append(f": {_SAID[match]}")
    return text


def _times(row: Found, zone: ZoneInfo) -> Text:
    local = datetime.fromtimestamp(row.record.received_at / 1000, zone)
    return Text.assemble(
        (local.strftime("%Y-%m-%d"), "bold"),
        ("\n" + local.isoformat(" ", "milliseconds")[11:], "bold"),
        (f"\n{utc(row.record.received_at)[11:]}", "dim"),
    )


def _numbers(row: Found) -> Text:
    text = Text.assemble((printable(row.caller) or "none", "bold"), f"\n{printable(row.called) or 'none'}")
    if row.sent_as and row.sent_as != row.caller:
        text.append(f"\nshown as {printable(row.sent_as)}", "dim")
    return text


def _ingress(row: Found) -> Text:
    record = row.record
    text = Text.assemble((record.trunk or "no trunk", "bold"))
    text.append(f" {record.kind}" if record.kind else "")
    if record.customer:
        text.append(f", {printable(record.customer)}")
    if record.upstream:
        text.append(f", upstream {printable(record.upstream)}")
    text.append(f"\n{row.source}")
    return text


def _fate(row: Found) -> Text:
    record = row.record
    text = Text.assemble((record.action or "unknown", ACTION_STYLE.get(record.action or "", "")), f" {printable(record.code or '')}")
    if record.answered_at is not None:
        lasted = "end unknown" if record.ended_at is None else f"for {_seconds(record.ended_at - record.answered_at)}"
        text.append(f"\nanswered after {_seconds(record.answered_at - record.received_at)}, {lasted}")
    elif record.status:
        text.append(f"\n{record.status}")
    elif record.action == "pass":
        text.append("\nrang, end unknown" if record.ringing_at is not None else "\nend unknown")
    return text


def _seconds(milliseconds: int) -> str:
    return f"{milliseconds / 1000:.1f} s"


# what is given


def _window(text: str) -> Duration:
    try:
        window = Duration.parse(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is no duration; a number and one of ms, s, m, h, d: 120s") from None
    if window > LONGEST_WINDOW:
        raise argparse.ArgumentTypeError(f"{text!r} is too long: at most 31d before and after")
    return window


def _words(text: str) -> str:
    if not text.strip() or len(text) > _WORDS:
        raise argparse.ArgumentTypeError(f"say what it is, in at most {_WORDS} characters: it is recorded with the question")
    return text
