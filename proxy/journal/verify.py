"""Proof that a journal is what its node wrote: every line of the chain, every file that the chain names, and what came of it elsewhere."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from hashlib import sha256
from pathlib import Path
from typing import Final

import msgspec

from proxy.journal.chain import (
    ASIDE,
    LONGEST_LINE,
    NAME,
    NONE,
    Asked,
    Begun,
    Compacted,
    Cut,
    Line,
    Purged,
    Sealed,
    Stored,
    hash_of,
    line_of,
    taken_apart,
)
from proxy.journal.heads import NAME as HEADS
from proxy.journal.key import Verifier
from proxy.journal.segment import OPEN, SEALED, Segment, serial_of
from proxy.journal.trail import NAME as TRAIL
from proxy.journal.trail import TrailFault, lines, open_trail

CHUNK: Final = 1 << 20
MOST: Final = 100
"""Breaks that are told; the first is what matters."""

Progress = Callable[[int, int], None]
"""Called with the octets that were read and those that there are."""


class Break(msgspec.Struct, frozen=True):
    """One thing that is not as it was written: the line of the chain that says how it was (0 for none), the file, and what is wrong."""

    line: int
    file: str
    what: str


class Verified(msgspec.Struct):
    """What was found. The journal holds where there is no break; the first one is the earliest in the chain. `asked` counts tracebacks that
    the trail tells of, `unsigned` those that no line of the chain vouches for yet.
    """

    breaks: list[Break]
    lines: int = 0
    head: str = NONE
    files: int = 0
    octets: int = 0
    events: int = 0
    lost: int = 0
    cut: int = 0
    purged: int = 0
    open_segments: int = 0
    open_events: int = 0
    asked: int = 0
    unsigned: int = 0
    notes: list[str] = []


class _Chain(msgspec.Struct):
    """What the lines say, as far as they can be believed."""

    live: dict[str, tuple[int, Stored]] = {}
    gone: set[str] = set()
    heads: dict[int, str] = {}
    asked: list[tuple[int, Asked]] = []
    breaks: list[Break] = []


def verify(folder: Path, keys: Sequence[Verifier], head: str | None = None, progress: Progress | None = None) -> Verified:
    """Prove a journal with the public keys of its node; `head` is one that was kept elsewhere. Raises OSError where it cannot be read.

    The journal may be in use: what can grow meanwhile is looked at before the chain is.
    """
    found = Verified([])
    names = sorted(path.name for path in folder.iterdir() if serial_of(path.name) is not None)
    aside = sorted(path.name for path in folder.glob(f"{NAME}{ASIDE}*"))
    heads = _noted_heads(folder)
    chain = _read_chain(folder, keys, found)
    breaks = chain.breaks
    breaks += [Break(0, name, "a chain that could not be read was put aside, and another begun") for name in aside]
    breaks += _kept_heads(heads, chain)
    if head is not None and head.lower() not in chain.heads.values():
        what = f"no line has the head {head.lower()}: lines were removed from the end, or written anew"
        breaks.append(Break(found.lines + 1, NAME, what))
    missing = []
    total = sum(stored.octets for _line, stored in chain.live.values())
    read = 0
    for line, stored in chain.live.values():
        wrong = _check_file(folder, stored)
        read += stored.octets
        if progress is not None:
            progress(read, total)
        if wrong is None:
            found.files += 1
            found.octets += stored.octets
            found.events += stored.events
        else:
            missing.append(Break(line, stored.name, wrong))
    if missing:  # a keeper that runs may have removed files since, and said so first
        gone = _read_chain(folder, keys, Verified([])).gone
        breaks += [one for one in missing if one.file not in gone]
    breaks += _check_others(folder, names, chain, found)
    breaks += _check_trail(folder, chain, found)
    found.breaks = sorted(breaks, key=lambda one: one.line)[:MOST]
    return found


def _read_chain(folder: Path, keys: Sequence[Verifier], found: Verified) -> _Chain:
    chain = _Chain()
    known = {key.name: key for key in keys}
    previous = NONE
    with open(folder / NAME, "rb") as file:
        for number, raw in enumerate(_whole_lines(file.fileno()), 1):
            if raw is None:
                found.notes.append(f"{NAME}: ends within a line, as after a power loss; the next start cuts it off")
                break
            wrong, line = _check_line(raw, number, previous, known)
            if wrong and not chain.breaks:  # what follows a break is a consequence of it
                chain.breaks.append(Break(number, NAME, wrong))
            previous = hash_of(raw)
            chain.heads[number] = previous
            found.lines, found.head = number, previous
            if line is not None:
                _note(line, number, chain, found)
    if not found.lines:
        chain.breaks.append(Break(0, NAME, "has no line: the chain was removed"))
    return chain


def _whole_lines(fd: int) -> Iterator[bytes | None]:
    """Each line; None at the end for one that is not whole."""
    with open(os.dup(fd), "rb") as file:
        while raw := file.readline(LONGEST_LINE):
            yield raw[:-1] if raw.endswith(b"\n") else None


def _check_line(raw: bytes, number: int, previous: str, known: dict[str, Verifier]) -> tuple[str, Line | None]:
    """What is wrong with a line, and what it says."""
    parts = taken_apart(raw)
    line = line_of(raw)
    if parts is None or line is None:
        return "is no line of a chain: it was changed", None
    body, signature = parts
    key = known.get(line.key)
    if key is None:
        return f"is signed with key {line.key}, which is none that was given", line
    if not key.holds(body, signature):
        return "its signature does not hold: it was changed, or written by somebody without the node's key", line
    if line.n != number:
        return f"is numbered {line.n}: lines were removed, or added", line
    if line.previous != previous:
        return "does not name the hash of the line before it: a line was changed, removed or added", line
    return "", line


def _note(line: Line, number: int, chain: _Chain, found: Verified) -> None:
    match line:
        case Sealed():
            chain.live[line.segment.name] = (number, line.segment)
            found.lost += sum(line.lost.values())
        case Compacted():
            for name in line.segments:
                chain.live.pop(name, None)
            chain.gone.update(line.segments)
            chain.live.update((file.name, (number, file)) for file in line.files)
        case Purged():
            for name in line.files:
                chain.live.pop(name, None)
            chain.gone.update(line.files)
            found.purged += len(line.files)
        case Cut():
            found.cut += 1
        case Asked():
            chain.asked.append((number, line))
        case Begun():
            pass


def _noted_heads(folder: Path) -> list[str]:
    try:
        return (folder / HEADS).read_text("ascii", "replace").splitlines()
    except FileNotFoundError:
        return []


def _kept_heads(heads: Sequence[str], chain: _Chain) -> list[Break]:
    """Heads that the keeper noted beside the chain, and that are not there."""
    for line in heads:
        _time, _space, rest = line.partition(" ")
        number, _space, head = rest.partition(" ")
        if number.isdigit() and len(head) == 64 and chain.heads.get(int(number)) != head:
            what = f"line {number} had the head {head} (file {HEADS}): it was changed, or lines were removed from the end"
            return [Break(int(number), NAME, what)]
    return []


def _check_file(folder: Path, stored: Stored) -> str | None:
    """What is wrong with a file; None where it is as the chain says."""
    digest = sha256()
    size = 0
    path = folder / stored.name
    opened = path.with_suffix(OPEN)
    try:
        with open(path if path.exists() or not opened.exists() else opened, "rb") as file:
            while chunk := file.read(CHUNK):
                digest.update(chunk)
                size += len(chunk)
    except FileNotFoundError:
        return "was removed"
    except OSError as error:
        return f"cannot be read: {error.strerror}"
    if size != stored.octets:
        return f"has {size} octets, and was sealed with {stored.octets}"
    if digest.hexdigest() != stored.sha256:
        return "was changed: its SHA-256 is another"
    return None


def _check_others(folder: Path, names: Sequence[str], chain: _Chain, found: Verified) -> list[Break]:
    """Segments that the chain does not name, and the open one, which nothing vouches for yet."""
    breaks = []
    for path in (folder / name for name in names):
        if path.with_suffix(SEALED).name in chain.live:
            continue
        if path.suffix == SEALED and path.name not in chain.gone:
            breaks.append(Break(found.lines + 1, path.name, "is in no line of the chain: it was added, or lines were removed"))
        elif path.suffix == OPEN:
            found.open_segments += 1
            try:
                with Segment(path) as segment:
                    found.open_events += sum(1 for _event in segment.times())
                    if segment.damage:
                        found.notes.append(f"{path.name}: not sealed yet; {segment.damage}")
            except FileNotFoundError:  # sealed meanwhile
                continue
    return breaks


def _check_trail(folder: Path, chain: _Chain, found: Verified) -> list[Break]:
    """The trail of tracebacks: each line follows from the one before it, and is what the chain says of it. It is read after the chain,
    since it is written before it.
    """
    due = sorted(chain.asked, key=lambda one: one[1].line)
    good = at = 0
    try:
        with open(open_trail(folder), "rb") as file:
            for number, head, follows in lines(file):
                found.asked = number
                if not follows:
                    vouching = next((line for line, asked in due if asked.line >= number), found.lines + 1)
                    what = f"line {number} does not follow from the one before it: a line was changed, removed or added"
                    return [Break(vouching, TRAIL, what)]
                while at < len(due) and due[at][1].line == number:
                    line, asked = due[at]
                    at += 1
                    if asked.head != head:
                        where = f"line {number}" if number == good + 1 else f"one of the lines {good + 1} to {number}"
                        return [Break(line, TRAIL, f"{where} was changed: it is not what the chain says")]
                    good = number
    except FileNotFoundError:
        return [Break(due[0][0], TRAIL, "was removed")] if due else []
    except TrailFault as fault:
        return [Break(due[0][0] if due else 0, TRAIL, f"{fault}: it was put in the place of the trail")]
    if at < len(due):
        line, asked = due[at]
        return [Break(line, TRAIL, f"ends with line {found.asked}, and had {asked.line}: lines were removed from the end")]
    found.unsigned = found.asked - good
    if found.unsigned:
        when = "it is signed once a keeper runs" if not due else "the keeper signs within seconds"
        found.notes.append(f"{TRAIL}: its last {found.unsigned} of {found.asked} lines are not signed: {when}")
    return []
