"""The same lists twice, as our CSV files and as Kamailio's db_text tables, with the calling numbers of the load. The same at every run.

One customer with 10,000 segments of 10,000 numbers each (+86138 0000 0000 and up) and 100,000 intercepted numbers, one in some forty of
them inside the segments. The load's calling numbers: `pass.txt` inside the segments and on no list; `refuse.txt` by turns outside the
segments and intercepted inside them.
"""

from __future__ import annotations

import json
import random
from pathlib import Path

SEGMENTS = 10_000
INTERCEPTED = 100_000
CALLERS = 20_000
TRUNK = 1001
PEERS = 8
"""Addresses that the trunk's calls may come from: 127.0.0.1 and up."""

CONFIG = """
[node]
name = "bench"
workers = {workers}
max_transactions = 1_000_000

[[listen]]
address = "127.0.0.1:{port}"
transports = {transports}

[[trunk]]
id = "t1001"
customer = "c1001"
kind = "enterprise"
sources = {sources}
next_hop = "switch"

[[next_hop]]
id = "switch"
targets = ["sip:127.0.0.1:5080;transport={transport}"]

[directory]
segments = ["segments.csv"]
intercept = ["intercept.csv"]

[admin]
listen = "127.0.0.1:{admin}"
"""

JOURNAL = """
[journal]
path = "journal-{port}"
"""
"""What `--journal` adds: a record of every call."""

_HASH_COLUMNS = "id(int,auto) key_name(string) key_type(int) value_type(int) key_value(string) expires(int)"


def write_lists(folder: Path, *, segments: int = SEGMENTS, intercepted: int = INTERCEPTED) -> None:
    """Write everything into `folder`: ours with sipwarden.toml (port 5060), Kamailio's tables, and the load's numbers."""
    draw = random.Random(7)
    chosen: set[str] = set()
    while len(chosen) < intercepted:
        chosen.add(f"861{draw.choice('3578')}{draw.randrange(10**9):09d}")
    listed = sorted(chosen)
    prefixes = [f"86138{at:04d}" for at in range(segments)]

    (folder / "sipwarden.toml").write_text(config(5060), encoding="utf-8")
    rows = [f"c1001,t1001,+{prefix}0000,+{prefix}9999" for prefix in prefixes]
    _write(folder / "segments.csv", "customer,trunk,first,last", rows)
    head = "list_id,seq,op,number,match,type,reason,source,evidence_ref,valid_from,valid_to,scope,created_at"
    rows = [f"bench,{at},A,+{number},exact,caller,,bench,,,,global,2026-01-01T00:00:00Z" for at, number in enumerate(listed, 1)]
    _write(folder / "intercept.csv", head, rows)

    rows = ["segments:1", "trunks:2", "intercept:2"]
    _write(folder / "version", "table_name(string) table_version(int)", rows)
    rows = [f"{at}:{TRUNK}{prefix}:1" for at, prefix in enumerate(prefixes, 1)]
    _write(folder / "segments", "id(int,auto) tprefix(string) tvalue(string)", rows)
    _write(folder / "trunks", _HASH_COLUMNS, [f"{at}:{source}:0:0:{TRUNK}:0" for at, source in enumerate(sources(), 1)])
    _write(folder / "intercept", _HASH_COLUMNS, [f"{at}:{number}:0:1:1:0" for at, number in enumerate(listed, 1)])

    within = [number for number in listed if number.startswith("86138")]
    drawn = (f"86138{draw.randrange(segments * 10**4):08d}" for _ in range(2 * CALLERS))
    passing = [number for number in drawn if number not in chosen][:CALLERS]
    _write(folder / "pass.txt", None, passing)
    refused = [within[at % len(within)] if at % 2 else f"86139{draw.randrange(10**8):08d}" for at in range(CALLERS)]
    _write(folder / "refuse.txt", None, refused)


def sources() -> list[str]:
    """The addresses of the trunk."""
    return [f"127.0.0.{at + 1}" for at in range(PEERS)]


def config(port: int, *, workers: int = 1, transport: str = "udp", journal: bool = False) -> str:
    """sipwarden.toml of a node that listens on this port (also for UDP, so that it can be asked whether it is there)."""
    transports = ["udp", "tcp"] if transport == "tcp" else ["udp"]
    made = CONFIG.format(
        port=port, admin=port + 4000, workers=workers, transport=transport, transports=json.dumps(transports), sources=json.dumps(sources())
    )
    return made + (JOURNAL.format(port=port) if journal else "")


def _write(path: Path, head: str | None, rows: list[str]) -> None:
    lines = rows if head is None else [head, *rows]
    path.write_text("\n".join(lines) + "\n", encoding="ascii")
