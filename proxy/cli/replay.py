"""`sipwarden replay`: judge every call of a trace as the node would have at that time, and show what another policy would change."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from datetime import tzinfo
from pathlib import Path
from secrets import token_hex
from time import time
from typing import IO, Final

import msgspec
from rich import progress as bars
from rich.progress import BarColumn, TextColumn, TimeRemainingColumn

from proxy.cli.moment import in_ms, moment
from proxy.cli.replay_shown import note, show
from proxy.cli.terminal import console
from proxy.decision import Judge
from proxy.generation import Faults
from proxy.replay.arrivals import Arrivals, WrongArrival, parse_map
from proxy.replay.candidate import load_candidate
from proxy.replay.captured import Progress, read
from proxy.replay.journals import is_journal, read_journal, runs
from proxy.replay.judging import Replay
from proxy.replay.ladder import Ladders
from proxy.replay.message import Captured
from proxy.replay.page import Page
from proxy.replay.policy import Policy
from proxy.replay.recorded import Recorded
from proxy.replay.row import Row
from proxy.replay.summary import Summary
from proxy.replay.trouble import FILE, Trouble
from proxy.replay.window import ALWAYS, Window

_WRITE_AT: Final = 1 << 16


class WrongUsage(Exception):
    """What was asked makes no sense; says why."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    parser.usage = (
        "%(prog)s -c FILE TRACE... [--candidate FILE] [--trunk ID | --map IP=ID ...] [--from TIME] [--to TIME] [--json] [--html OUT]"
    )
    parser.add_argument("-c", "--config", type=Path, required=True, metavar="FILE", help="sipwarden.toml")
    parser.add_argument(
        "traces",
        nargs="*",
        metavar="TRACE",
        help="captures, text dumps, .sip files; our journal, its history, a day, file or segment of it; - is standard input",
    )
    parser.add_argument(
        "--candidate",
        type=Path,
        metavar="FILE",
        help="a policy.toml, or a sipwarden.toml of its own: which calls would it decide otherwise?",
    )
    where = parser.add_mutually_exclusive_group()
    where.add_argument("--trunk", metavar="ID", help="judge every call as arriving on this trunk")
    where.add_argument(
        "--map",
        nargs="+",
        action="extend",
        default=[],
        metavar="IP=ID",
        help="what comes from this address or prefix arrives on that trunk; calls from elsewhere are not judged",
    )
    parser.add_argument(
        "--from",
        dest="first",
        type=moment,
        metavar="TIME",
        help="of a journal, calls received from then on; ISO 8601, without a zone the node's",
    )
    parser.add_argument("--to", dest="last", type=moment, metavar="TIME", help="of a journal, calls received before then")
    parser.add_argument("--json", action="store_true", help="one JSON document on standard output, written as the trace is read")
    parser.add_argument("--html", type=Path, metavar="OUT", help="write a page with summary, changes and each call's messages")


def main(args: argparse.Namespace) -> int:
    """0, 1 where a configuration has faults, 2 for wrong usage and for a trace that cannot be read (the others are judged all the same)."""
    traces = [*args.traces, *(word for word in args.map if "=" not in word)]  # `--map IP=ID TRACE`, which argparse takes for another map
    if not traces:
        print("sipwarden replay: name at least one trace; - is standard input", file=sys.stderr)
        return 2
    try:
        mapped = tuple(parse_map(word) for word in args.map if "=" in word)
        judge = Judge.load(args.config)
        policy = Policy(judge, Arrivals(judge.routing, args.trunk, mapped))
        candidate = None
        if args.candidate is not None:
            other = load_candidate(args.candidate, judge)
            candidate = Policy(other, Arrivals(other.routing, args.trunk, mapped, absent_is_unknown=True))
    except Faults as error:
        for fault in error.faults:
            print(fault, file=sys.stderr)
        return 1
    except WrongArrival as error:
        print(f"sipwarden replay: {error}", file=sys.stderr)
        return 2
    try:
        window = _window(args, traces, judge.generation.directory.zone)
        with _page(args.html, [args.config, args.candidate, *map(Path, traces)]) as page:
            return _replay(args, traces, window, policy, candidate, page)
    except WrongUsage as error:
        print(f"sipwarden replay: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("sipwarden replay: interrupted", file=sys.stderr)
        return 130


def _replay(
    args: argparse.Namespace, traces: list[str], window: Window, policy: Policy, candidate: Policy | None, page: IO[bytes] | None
) -> int:
    trouble = Trouble()
    summary = Summary(trouble)
    ladders = Ladders() if page is not None else None
    began = time()
    replay = Replay(policy, candidate, summary, began, ladders)
    with _progress(traces, window, trouble, policy.generation.directory.zone, quiet=args.json) as messages:
        rows = replay.run(messages)
        if ladders is not None:
            rows = _kept(rows, ladders)
        if args.json:
            _write(rows, summary)
        else:
            for _ in rows:
                pass
    note(console(stderr=True), summary, policy, in_full=args.json)
    if page is not None and ladders is not None:
        Page(traces, policy, candidate, summary, ladders, began).write(page)
    if not args.json:
        show(console(), summary, policy, candidate)
    return 2 if trouble.counts.get(FILE) else 0


def _window(args: argparse.Namespace, traces: list[str], zone: tzinfo) -> Window:
    """The calls that are wanted of a journal. Raises WrongUsage."""
    first, last = (known if given is None else in_ms(given, zone) for given, known in zip((args.first, args.last), ALWAYS, strict=True))
    window = Window(first, last)
    if window != ALWAYS:
        other = [path for path in traces if not is_journal(path)]
        if other:
            raise WrongUsage(f"--from and --to choose among the calls of a journal, and {other[0]} is none")
        if first >= last:
            raise WrongUsage("--from is not before --to: no call is between them")
    return window


@contextmanager
def _page(out: Path | None, inputs: list[Path | None]) -> Iterator[IO[bytes] | None]:
    """Where the page is written: opened before the work, which may take an hour, and put in its place when it is whole.

    Raises WrongUsage.
    """
    if out is None:
        yield None
        return
    made = out.with_name(f".{out.name}.{token_hex(4)}")
    try:
        if out.exists() and any(one is not None and one.exists() and out.samefile(one) for one in inputs):
            raise WrongUsage(f"--html: {out} is one of the files that are read")
        if out.exists() and not out.is_file():
            made = out  # /dev/stdout, a pipe: nothing stands there that could be half written
        page = made.open("wb" if made is out else "xb")
    except OSError as error:
        raise WrongUsage(f"--html: {out}: {error.strerror or error}") from None
    try:
        with page:
            yield page
        if made is not out:
            made.replace(out)
    finally:
        if made is not out:
            made.unlink(missing_ok=True)


def _kept(rows: Iterable[Row], ladders: Ladders) -> Iterator[Row]:
    for row in rows:
        ladders.keep(row)
        yield row


def _write(rows: Iterable[Row], summary: Summary) -> None:
    """One document, of which a row is in memory at a time."""
    out = sys.stdout.buffer
    waiting = bytearray(b'{"calls": [')
    first = True
    for row in rows:
        waiting += b"\n" if first else b",\n"
        waiting += row.encoded()
        first = False
        if len(waiting) >= _WRITE_AT:
            out.write(waiting)
            waiting.clear()
    waiting += b'\n], "summary": ' + msgspec.json.encode(summary.json()) + b"}\n"
    out.write(waiting)
    out.flush()


@contextmanager
def _progress(traces: list[str], window: Window, trouble: Trouble, zone: tzinfo, *, quiet: bool) -> Iterator[Iterable[Captured | Recorded]]:
    """The messages of the traces, and on a terminal's standard error how far they have been read."""
    err = console(stderr=True)
    if not err.is_terminal or (quiet and sys.stdout.isatty()):  # the document runs over the same screen
        yield _read(traces, window, trouble, zone, None)
        return
    columns = (TextColumn("{task.description}"), BarColumn(), TextColumn("{task.fields[told]}"), TimeRemainingColumn())
    with bars.Progress(*columns, console=err, transient=True) as progress:
        task = progress.add_task("reading", total=None, told="")

        def far(done: int, total: int | None) -> None:
            progress.update(task, completed=done, total=total, told=f"{trouble.packets:,} packets")

        yield _read(traces, window, trouble, zone, far)


def _read(traces: list[str], window: Window, trouble: Trouble, zone: tzinfo, far: Progress | None) -> Iterator[Captured | Recorded]:
    for journal, paths in runs(traces):
        if not journal:
            yield from read(paths, trouble, far, zone)
            continue
        for path in paths:
            yield from read_journal(path, trouble, window)
