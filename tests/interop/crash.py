"""`python -m tests.interop.crash [--kills 100]`: workers killed at random moments under load; what SIPp saw compared with the journal.

Half of the calls are answered and hung up, half are refused. Every call whose final response SIPp has seen must be in the journal or in the
history that it becomes meanwhile: joined by Call-ID, From tag, trunk and CSeq it is one record, with an answer where SIPp was answered.
Every fifth kill is the keeper's instead.
"""

from __future__ import annotations

import argparse
import os
import random
import signal
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import msgspec
import pyarrow.parquet as pq

from proxy.events import Answer, Attempt, End, Event
from proxy.journal.key import public_key
from proxy.journal.segment import Segment, sealed_segments
from proxy.journal.verify import Verified, verify
from proxy.records.compact import pending_events
from proxy.records.store import FOLDER, Manifest, aside, place
from tests.interop.node import CALLER, STRANGER, SWITCH, Node, wait_until
from tests.interop.sipp import SIPp, peers

MODULES = {"worker": "proxy.session", "keeper": "proxy.journal.keeper"}
LAST = 40.0
"""Seconds that calls have to end in after the last kill: all retransmissions of RFC 3261."""


@dataclass
class Outcome:
    """What both sides know of the calls."""

    kills: Counter[str] = field(default_factory=Counter)
    answered: set[bytes] = field(default_factory=set)
    refused: set[bytes] = field(default_factory=set)
    records: Counter[bytes] = field(default_factory=Counter)
    """Records of each Call-ID, joined."""
    answers: Counter[bytes] = field(default_factory=Counter)
    refusals: set[bytes] = field(default_factory=set)
    told_again: int = 0
    """Attempts that a fresh worker judged again, as their retransmission reached it: the same record."""
    frames: int = 0
    rows: int = 0
    """Calls that are in the history."""
    doubled: int = 0
    """Frames that are in the journal twice, and calls that are in the history twice."""
    lost: int = 0
    verified: Verified | None = None

    @property
    def missing(self) -> set[bytes]:
        """Calls that SIPp saw through to a final response and that have no record, or not the one that they should have."""
        unknown = {call for call in self.answered if not self.answers[call]} | (self.refused - self.refusals)
        return unknown | {call for call in self.answered | self.refused if not self.records[call]}

    @property
    def twice(self) -> set[bytes]:
        """Calls with more than one record."""
        return {call for call in self.answered | self.refused if self.records[call] > 1}

    def __str__(self) -> str:
        written = sum(1 for call in self.answered if self.answers[call])
        return (
            f"kills: {self.kills['worker']} of a worker, {self.kills['keeper']} of the keeper; "
            f"SIPp saw {len(self.answered)} calls answered and {len(self.refused)} refused; "
            f"in the journal {written} answered, {len(self.refused & self.refusals)} refused; "
            f"missing {len(self.missing)}, with two records {len(self.twice)}; "
            f"{self.rows} of the calls in the history, beside them {self.frames} events; {self.doubled} twice, {self.lost} lost, "
            f"{self.told_again} attempts told again after a restart (joined); "
            f"journal verify: {'?' if self.verified is None else len(self.verified.breaks)} breaks"
        )

    def clean(self) -> None:
        """Fail where a call is missing or counted twice."""
        assert self.answered and self.refused, self
        assert not self.missing, sorted(self.missing)[:10]
        assert not self.twice, sorted(self.twice)[:10]
        assert (self.doubled, self.lost) == (0, 0), self
        assert self.verified is not None
        assert not self.verified.breaks, self.verified.breaks


@contextmanager
def recording_node(folder: Path, workers: int = 2, more: str = "") -> Iterator[Node]:
    """A node that keeps a journal in `folder`/journal."""
    node = Node(folder, workers)
    node.config.write_text(node.text + f'\n[journal]\npath = "journal"\nkey = "journal.key"\nsegment_size = "1MiB"\n{more}')
    node.start()
    try:
        yield node
    finally:
        assert node.stop() == 0, node.log


def children(node: Node, module: str) -> list[int]:
    """The processes of a node that run a module."""
    pid = node.process.pid
    text = Path(f"/proc/{pid}/task/{pid}/children").read_text()
    return [child for child in map(int, text.split()) if module.encode() in _command(child)]


def _running(node: Node, module: str) -> list[int]:
    """The same, once there is one: none but the supervisor's ever ends by itself here."""
    wait_until(lambda: bool(children(node, module)), 30)
    return children(node, module)


def _command(pid: int) -> bytes:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return b""


def run(folder: Path, *, kills: int, rate: int, seed: int, pause: float) -> Outcome:
    """Kill `kills` processes, `pause` seconds apart on average, under `rate` calls a second."""
    chosen = random.Random(seed)
    outcome = Outcome()
    with recording_node(folder) as node, peers(folder) as start:
        seen = [folder / "answered.log", folder / "refused.log"]
        uas = start.start("callee_answers_at_once", address=SWITCH, port=node.switch, calls=10_000_000, limit=7200).ready()
        callers: list[SIPp] = []
        for scenario, caller, log in (("caller_hangs_up", CALLER, seen[0]), ("caller_refused", STRANGER, seen[1])):
            more = ("-trace_shortmsg", "-shortmessage_file", str(log))
            settings = {"calls": 10_000_000, "rate": rate / 2, "limit": 7200, "more": more}
            callers.append(start.start(scenario, address="127.0.0.2", caller=caller, remote=("127.0.0.1", node.port), **settings))
        time.sleep(2)
        for number in range(kills):
            who = "keeper" if number % 5 == 4 else "worker"
            _running(node, MODULES[who])
            time.sleep(chosen.uniform(0.0, 2 * pause))
            os.kill(chosen.choice(_running(node, MODULES[who])), signal.SIGKILL)
            time.sleep(0.1)  # until it is gone
            outcome.kills[who] += 1
        for one in callers:
            one.process.send_signal(signal.SIGUSR1)  # no new calls, and an end when those that are open have ended
        until = time.monotonic() + LAST
        while any(one.process.poll() is None for one in callers) and time.monotonic() < until:
            time.sleep(0.2)
        for one in (*callers, uas):
            one.end()
        outcome.lost = int(node.metric("sipwarden_journal_lost_total"))
    outcome.answered, outcome.refused = _answered(seen[0]), _answered(seen[1])
    _read_journal(folder / "journal", outcome)
    outcome.verified = verify(folder / "journal", [public_key(folder / "journal.pub")])
    return outcome


def _answered(path: Path) -> set[bytes]:
    """Call-IDs of the calls whose final response SIPp has received, from its log of short messages."""
    found = set()
    with open(path, "rb") as file:
        for line in file:
            parts = line.rstrip(b"\n").split(b"\t")
            if b"R" in parts and b"CSeq:1 INVITE" in parts and not parts[-1].startswith(b"SIP/2.0 1"):
                found.add(parts[parts.index(b"R") + 1])
    return found


Keys = Counter[tuple[bytes, bytes, str, int]]


def _read_journal(folder: Path, outcome: Outcome) -> None:
    keys: Keys = Counter()
    frames: set[tuple[int, int]] = set()
    past = _read_history(folder / FOLDER, keys, outcome)
    for path in (*sealed_segments(folder), *folder.glob("*.open")):
        if path.name in past:
            continue
        with Segment(path) as segment:
            for worker, position, event in segment:
                outcome.doubled += (worker, position) in frames
                frames.add((worker, position))
                _read_event(event, keys, outcome)
            assert not segment.damage, segment.damage
    for key, count in keys.items():
        outcome.records[key[0]] += 1
        outcome.told_again += count - 1


def _read_event(event: Event, keys: Keys, outcome: Outcome) -> None:
    outcome.frames += 1
    if isinstance(event, Attempt):
        keys[event.call_id, event.from_tag, event.trunk, event.cseq] += 1
        if event.status >= 300:
            outcome.refusals.add(event.call_id)
    elif isinstance(event, Answer):
        outcome.answers[event.call_id] += 1
    elif isinstance(event, End) and event.status >= 300:
        outcome.refusals.add(event.call_id)


def _read_history(folder: Path, keys: Keys, outcome: Outcome) -> frozenset[str]:
    """Read what has become history; the names of the segments that it was read from, which may be there still."""
    if not (folder / "manifest.json").exists():
        return frozenset()
    manifest = msgspec.json.decode((folder / "manifest.json").read_bytes(), type=Manifest)
    known: Keys = Counter()
    for day, files in manifest.days.items():
        for file in files:
            path = place(folder, day, file)
            table = pq.read_table(
                path if path.exists() else aside(path), columns=["call_id", "from_tag", "trunk", "cseq", "status", "answered_at"]
            )
            for call_id, from_tag, trunk, cseq, status, answered_at in zip(*(column.to_pylist() for column in table.columns), strict=True):
                key = (call_id.encode(), from_tag.encode(), trunk, cseq)
                known[key] += 1
                if answered_at is not None:
                    outcome.answers[key[0]] += 1
                elif status is not None and status >= 300:
                    outcome.refusals.add(key[0])
    outcome.rows = known.total()
    outcome.doubled += outcome.rows - len(known)
    keys.update(known.keys())
    for event in pending_events(folder, manifest.pending):
        _read_event(event, keys, outcome)
    return frozenset(manifest.segments)


def main() -> int:
    """0 where every call that SIPp saw through is in the journal once."""
    parser = argparse.ArgumentParser(prog="python -m tests.interop.crash", description=__doc__)
    parser.add_argument("--kills", type=int, default=100)
    parser.add_argument("--rate", type=int, default=200, help="calls a second")
    parser.add_argument("--seed", type=int, default=int(time.time()))
    parser.add_argument("--pause", type=float, default=1.0, help="seconds between kills, on average, once the process runs again")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="crash-") as name:
        print(f"seed {args.seed}")
        outcome = run(Path(name), kills=args.kills, rate=args.rate, seed=args.seed, pause=args.pause)
        print(outcome)
        try:
            outcome.clean()
        except AssertionError as fault:
            print(fault, file=sys.stderr)
            return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
