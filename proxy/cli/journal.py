"""`sipwarden journal`: prove the records (`verify`), say what there is (`stat`), show events (`dump`), write the history (`compact`)."""

from __future__ import annotations

import argparse
import os
import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from time import time_ns
from typing import Any, Final

import msgspec
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn

from proxy.cli.role import GROUP, may_see_numbers
from proxy.cli.terminal import console, facts, printable
from proxy.config import Config, ConfigFaults, JournalConfig, load_config
from proxy.events import Attempt, Event
from proxy.journal.key import PUBLIC, KeyFault, public_key
from proxy.journal.segment import OPEN, Segment, sealed_segments, serial_of
from proxy.journal.stat import stat
from proxy.journal.verify import Progress as Heard
from proxy.journal.verify import Verified, verify
from proxy.records.compactor import run
from proxy.records.store import Busy, StoreFault
from proxy.report import encodable, write_json
from rules.numbers.mask import masked_text

NUMBERS: Final = ("caller", "called", "caller_raw", "called_raw", "sent_as")
"""Fields of an attempt that hold numbers."""


class WrongUsage(Exception):
    """Why nothing can be answered; one line for each fault."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    actions = parser.add_subparsers(dest="action", metavar="ACTION", required=True)
    prove = actions.add_parser("verify", help="prove that nothing was changed or removed, and name the first break")
    prove.add_argument("--head", metavar="HEX", type=_head, help="a head from the system log: nothing up to it is missing")
    prove.add_argument("--key", type=Path, action="append", metavar="FILE", help="the node's public key, as kept elsewhere")
    tell = actions.add_parser("stat", help="files, events, times, losses")
    show = actions.add_parser("dump", help=f"events that are not compacted yet, one JSON object a line; masked but for group {GROUP}")
    show.add_argument("segments", nargs="*", metavar="SEGMENT", help="files to show; all of the journal's by default")
    make = actions.add_parser("compact", help="write the history now, from what is sealed; the node does so each hour and after each seal")
    for action in (prove, tell, show, make):
        action.add_argument("-c", "--config", type=Path, required=True, metavar="FILE", help="sipwarden.toml")
    for action in (prove, tell, make):
        action.add_argument("--json", action="store_true", help="one JSON document on standard output")


def main(args: argparse.Namespace) -> int:
    """0 where the journal holds, 1 where it does not (or there is nothing to show), 2 where it cannot be read."""
    try:
        config, journal = _journal(args.config)
        folder = config.state_path(journal.path)
        try:
            match args.action:
                case "verify":
                    return _verify(args, config, journal, folder)
                case "stat":
                    return _stat(args, folder)
                case "compact":
                    return _compact(args, folder)
                case _:
                    return _dump(args, folder)
        except BrokenPipeError:
            raise
        except OSError as error:
            raise WrongUsage(f"{error.filename or folder}: {error.strerror or error}") from None
    except WrongUsage as wrong:
        print(wrong, file=sys.stderr)
        return 2


def _journal(path: Path) -> tuple[Config, JournalConfig]:
    try:
        config = load_config(path)
    except ConfigFaults as error:
        raise WrongUsage(str(error)) from None
    if config.journal is None:
        raise WrongUsage(f"{path}: there is no [journal]")
    return config, config.journal


def _head(text: str) -> str:
    if len(text) != 64 or set(text.lower()) - set("0123456789abcdef"):
        raise argparse.ArgumentTypeError("a head is 64 hexadecimal digits")
    return text.lower()


def _verify(args: argparse.Namespace, config: Config, journal: JournalConfig, folder: Path) -> int:
    try:
        keys = [public_key(path) for path in args.key or [config.state_path(journal.key).with_suffix(PUBLIC)]]
    except KeyFault as fault:
        raise WrongUsage(str(fault)) from None
    with _progress() as heard:
        found = verify(folder, keys, args.head, heard)
    if args.json:
        write_json({"ok": not found.breaks, "first": found.breaks[0] if found.breaks else None, **msgspec.structs.asdict(found)})
        return 1 if found.breaks else 0
    for note in found.notes:
        print(f"note: {printable(note)}")
    for number, one in enumerate(found.breaks):
        where = f"line {one.line}, {one.file}" if one.line else one.file
        print(f"{'first break' if number == 0 else 'break'}: {printable(where)}: {printable(one.what)}")
    print(f"{folder}: {'BROKEN' if found.breaks else 'good'}: {_summary(found)}")
    return 1 if found.breaks else 0


def _summary(found: Verified) -> str:
    parts = [f"{found.lines} lines, {found.files} files with {found.events} events as they were sealed"]
    if found.open_segments:
        parts.append(f"{found.open_events} events not sealed yet")
    for count, what in (
        (found.lost, "events lost"),
        (found.cut, "torn tails cut off"),
        (found.purged, "files purged"),
        (found.asked, "tracebacks in the trail"),
    ):
        if count:
            parts.append(f"{count} {what}")
    return "; ".join((*parts, f"head {found.head}"))


@contextmanager
def _progress() -> Iterator[Heard | None]:
    """A bar on a terminal, nothing in a pipe."""
    out = console(stderr=True)
    if not out.is_terminal:
        yield None
        return
    with Progress(TextColumn("reading"), BarColumn(), DownloadColumn(binary_units=True), console=out, transient=True) as bar:
        task = bar.add_task("reading", total=None)
        yield lambda done, total: bar.update(task, completed=done, total=total)


def _stat(args: argparse.Namespace, folder: Path) -> int:
    found = stat(folder)
    if args.json:
        write_json(msgspec.structs.asdict(found) | {"path": str(folder)})
        return 0
    grid = facts()
    grid.add_row("journal", str(folder))
    grid.add_row("segments", f"{found.segments} sealed, {found.open_segments} open ({found.open_octets} octets)")
    grid.add_row("compacted", f"{found.compacted} files")
    grid.add_row("events", f"{found.events} in {found.octets} octets, not counting what is open")
    if found.events:
        grid.add_row("from", _time(found.first))
        grid.add_row("to", _time(found.last))
    grid.add_row("lost", f"{found.lost} events; {found.cut} torn tails")
    grid.add_row("purged", f"{found.purged} files")
    grid.add_row("chain", f"{found.lines} lines, head {found.head}")
    console().print(grid)
    return 0


def _time(milliseconds: int) -> str:
    return datetime.fromtimestamp(milliseconds / 1000, UTC).isoformat(timespec="milliseconds")


def _compact(args: argparse.Namespace, folder: Path) -> int:
    if not folder.is_dir():
        raise WrongUsage(f"{folder} is no folder: nothing was recorded yet")
    owner = folder.stat()
    if os.geteuid() == 0 and owner.st_uid:  # the node goes on with what is made here, and root follows no links of its
        os.setgroups([])
        os.setgid(owner.st_gid)
        os.setuid(owner.st_uid)
    try:
        made, _ = run(folder, time_ns() // 1_000_000, merging=False)  # what it would replace, the chain counts as there
    except (Busy, StoreFault) as error:
        raise WrongUsage(f"{error}") from None
    if args.json:
        write_json(msgspec.structs.asdict(made) | {"path": str(folder)})
        return 0
    for line in made.kept:
        print(f"note: {printable(line)}: it stays", file=sys.stderr)
    for name in made.missing:
        print(f"note: {printable(name)} is not there any more: purged, or removed by somebody (journal verify)", file=sys.stderr)
    for count, what in (
        (made.repeated, "events told twice"),
        (made.unfinished, "calls without an end"),
        (made.lost, "without a beginning"),
        (made.cut, "times too much was pending, and the oldest calls were written as they stood"),
    ):
        if count:
            print(f"note: {count} {what}", file=sys.stderr)
    print(f"{folder}: {made.records} records of {made.segments} segments; {made.pending} events pending")
    return 0


def _dump(args: argparse.Namespace, folder: Path) -> int:
    if args.segments:
        paths = [path if path.exists() else folder / path for path in map(Path, args.segments)]
    else:
        opened = [path for path in folder.iterdir() if path.suffix == OPEN and serial_of(path.name) is not None]
        paths = [*sealed_segments(folder), *sorted(opened)]
    whole = may_see_numbers()
    status = 1
    encode = msgspec.json.Encoder().encode
    for path in paths:
        with Segment(path) as segment:
            for entry in segment:
                status = 0
                sys.stdout.buffer.write(encode(encodable(event_json(entry.event, whole=whole) | {"worker": entry.worker})) + b"\n")
            if segment.damage and path.suffix != OPEN:
                print(f"{path}: {segment.damage}", file=sys.stderr)
            if segment.unknown:
                print(f"{path}: {segment.unknown} events of a newer version are not shown", file=sys.stderr)
    sys.stdout.buffer.flush()
    return status


_DIGITS: Final = re.compile(r"[0-9]{5,}")


def event_json(event: Event, *, whole: bool) -> dict[str, Any]:
    """An event's fields, octets as text. Not `whole`: numbers masked, and no header lines, which are full of them."""
    fields = {name: _plain(value) for name, value in msgspec.structs.asdict(event).items()}
    if isinstance(event, Attempt) and not whole:
        for name in NUMBERS:
            fields[name] = masked_text(fields[name])
        del fields["lines"]
    if not whole:
        for name in ("call_id", "from_tag"):  # some gateways make them of the numbers
            fields[name] = _DIGITS.sub("****", fields[name])
    return {"event": type(event).__name__.lower(), **fields}


def _plain(value: Any) -> Any:
    if isinstance(value, bytes):
        return value.decode("utf-8", "replace")
    if isinstance(value, tuple):
        return [_plain(item) for item in value]
    return value
