"""A day of records, made, merged and asked: how many octets a record takes, and how long `sipwarden traceback` takes to find a call.

    python benchmarks/history.py [--records 10000000] [--folder DIR] [--keep] [--turns 9]

Makes a day of calls as the compactor would write it (the same columns, encodings, parts and merges), compacts a segment of events, asks the
day cold and warm, prints the figures of README.md and removes all of it. 10,000,000 records want 5 GB of disk at the most and half an hour.

The calls: one in five is refused. Times follow a Chinese day (hardly any at night, most at 10 and at 16 o'clock). One called number in
seven is a hotline; half of the others are called, and six in ten call, as often as Zipf's law says (among 20 and 5 million), the rest
hardly ever twice. Call-IDs, tags and branches are random and as long as switches write them; every call has one or two Via, half have
P-Asserted-Identity.

Cold: every file of the history, of Python and of its packages is taken out of the page cache first (posix_fadvise, which leaves other
programs' files alone), in a process of its own each time: start, imports, query, audit line, output.
"""

from __future__ import annotations

import argparse
import array
import json
import math
import os
import random
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

sys.path.append(str(Path(__file__).resolve().parent.parent))

import msgspec
import pyarrow as pa
import pyarrow.compute as pc

from proxy.events import Answer, Attempt, End, Event, Ringing
from proxy.journal.frame import frame
from proxy.journal.segment import SEALED, Header, begin, file_name
from proxy.records import parquet
from proxy.records.columns import COLUMNS, DAY, NAMES
from proxy.records.compact import PART, compact, save
from proxy.records.join import LINGER, LONGEST
from proxy.records.merge import merge_days
from proxy.records.store import FOLDER, Manifest, Store, day_name, place

ROOT: Final = Path(__file__).resolve().parent.parent
BEGIN: Final = 1_767_571_200_000  # 2026-01-05, a Monday, 00:00 UTC
# calls of each hour of the day in Shanghai, against the busiest
HOURS: Final = (6, 4, 3, 2, 2, 4, 10, 28, 66, 95, 100, 88, 62, 66, 86, 94, 98, 90, 74, 62, 52, 40, 24, 12)
MOBILE: Final = (130, 131, 132, 133, 134, 135, 136, 137, 138, 139, 150, 151, 152, 153, 155, 156, 157, 158, 159, 173, 176, 177, 178)
MOBILE += (180, 181, 182, 183, 184, 185, 186, 187, 188, 189, 191, 198, 199)
AREAS: Final = (10, 20, 21, 22, 23, 24, 25, 27, 28, 29, 311, 371, 411, 431, 451, 512, 531, 571, 591, 731, 755, 757, 769, 871)
CUSTOMERS: Final = 2000
HOTLINES: Final = [f"+8695{number}" for number in range(500, 600)] + [f"+86400{number * 7919 % 10_000_000:07d}" for number in range(3000)]
CONFIG: Final = """
[node]
name = "gw1"
[[listen]]
address = "127.0.0.1:5060"
[[trunk]]
id = "core"
kind = "core"
sources = ["127.0.0.5"]
home_area = "755"
next_hop = "core"
[[next_hop]]
id = "core"
targets = ["sip:127.0.0.5:5060"]
[journal]
path = "journal"
"""


class Calls:
    """Tables of random calls."""

    def __init__(self, seed: int) -> None:
        self._seed = seed

    def uniform(self, size: int) -> Any:
        self._seed += 1
        return pc.random(size, initializer=self._seed)

    def below(self, size: int, limit: int) -> Any:
        return whole(pc.multiply(self.uniform(size), float(limit)))

    def zipf(self, size: int, among: int) -> Any:
        """Ranks from 0, the n-th drawn in proportion to 1/n."""
        return whole(pc.subtract(pc.exp(pc.multiply(self.uniform(size), math.log(among + 1))), 1.0))

    def choice(self, size: int, values: list[Any], weights: list[float] | None = None) -> Any:
        if weights is None:
            return pa.array(values).take(self.below(size, len(values)))
        draw = self.uniform(size)
        at = pa.array([0] * size, pa.int64())
        total = 0.0
        for weight in weights[:-1]:
            total += weight / sum(weights)
            at = pc.add(at, pc.cast(pc.greater(draw, total), pa.int64()))
        return pa.array(values).take(at)

    def chance(self, size: int, share: float) -> Any:
        return pc.less(self.uniform(size), share)

    @staticmethod
    def hexadecimal(size: int, digits: int) -> Any:
        data = os.urandom(size * digits // 2).hex().encode()
        offsets = array.array("i", range(0, (size + 1) * digits, digits))
        return pa.Array.from_buffers(pa.string(), size, [None, pa.py_buffer(offsets), pa.py_buffer(data)])

    def subscriber(self, ranks: Any) -> Any:
        """Regular numbers: two in three mobiles, else fixed lines; the same rank is the same number."""
        mixed = pc.bit_wise_and(pc.multiply(ranks, 2_654_435_761), (1 << 40) - 1)
        mobile = pc.not_equal(remainder(mixed, 3), 0)
        tail = pc.utf8_lpad(pc.cast(remainder(pc.divide(mixed, 7), 100_000_000), pa.string()), 8, "0")
        head = pc.cast(pa.array(MOBILE).take(remainder(pc.divide(mixed, 11), len(MOBILE))), pa.string())
        area = pa.array(AREAS).take(remainder(pc.divide(mixed, 13), len(AREAS)))
        long = pc.utf8_lpad(pc.cast(remainder(pc.divide(mixed, 7), 9_999_999), pa.string()), 7, "0")
        fixed = join("+86", pc.cast(area, pa.string()), "6", long)
        return pc.if_else(mobile, join("+86", head, tail), fixed), mobile

    def table(self, size: int, begin: int, end: int) -> Any:
        """Calls that began between two times (ms), sorted as a file is."""
        received = pc.add(whole(pc.multiply(self.uniform(size), float(end - begin))), begin)
        refused = self.chance(size, 0.2)
        hotline = self.chance(size, 1 / 7)
        rare = self.chance(size, 0.5)
        called, mobile = self.subscriber(pc.if_else(rare, self.below(size, 400_000_000), self.zipf(size, 20_000_000)))
        lines = pa.array(HOTLINES)
        called = pc.if_else(hotline, lines.take(self.zipf(size, len(lines))), called)
        caller, caller_mobile = self.subscriber(
            pc.if_else(self.chance(size, 0.4), self.below(size, 400_000_000), self.zipf(size, 5_000_000))
        )
        customer = self.zipf(size, CUSTOMERS)
        kind = self.choice(size, ["enterprise", "interconnect", "core", "international"], [0.45, 0.4, 0.13, 0.02])
        enterprise = pc.equal(kind, "enterprise")
        own = join("cust-", pc.cast(customer, pa.string()))
        peer = join("peer-", pc.cast(remainder(customer, 12), pa.string()))
        trunk = pc.if_else(enterprise, join(own, "-sz"), pc.if_else(pc.equal(kind, "interconnect"), peer, kind))
        address = pc.if_else(
            enterprise,
            join("10.", *[pc.cast(remainder(pc.divide(customer, step), 200), pa.string()) for step in (1,)], ".16.4"),
            join("192.0.2.", pc.cast(remainder(customer, 12), pa.string())),
        )
        answered = pc.and_(pc.invert(refused), self.chance(size, 0.62))
        rang = pc.and_(pc.invert(refused), pc.or_(answered, self.chance(size, 0.75)))
        to_ring = pc.add(received, pc.add(self.below(size, 3000), 300))
        to_answer = pc.add(to_ring, pc.add(self.below(size, 18_000), 900))
        talked = whole(pc.multiply(pc.negate(pc.ln(pc.add(self.uniform(size), 1e-9))), 75_000.0))
        ended = pc.if_else(refused, received, pc.if_else(answered, pc.add(to_answer, talked), pc.add(to_ring, self.below(size, 45_000))))
        tag, call_id = self.hexadecimal(size, 16), join(self.hexadecimal(size, 32), "@", address)
        shown = pc.utf8_slice_codeunits(caller, 3)
        name = pc.if_else(self.chance(size, 0.3), join('"', shown, '" '), "")
        header = join(name, "<sip:", shown, "@", address, ";user=phone>;tag=", tag)
        via = join("SIP/2.0/UDP ", address, ":5060;branch=z9hG4bK", self.hexadecimal(size, 24), ";rport")
        second = join(
            "SIP/2.0/UDP 10.20.30.", pc.cast(remainder(customer, 250), pa.string()), ":5060;branch=z9hG4bK-", self.hexadecimal(size, 16)
        )
        two = self.chance(size, 0.4)
        asserted = self.chance(size, 0.5)
        code = pc.if_else(
            refused,
            self.choice(size, ["AUTH_FAIL", "LIST_CALLER", "CLI_LEN", "INTL_FAKE_86", "CLI_UNASSIGNED"], [0.55, 0.25, 0.08, 0.08, 0.04]),
            pc.if_else(enterprise, "AUTH_OK", "PASS"),
        )
        values: dict[str, Any] = {
            "received_at": received,
            "ringing_at": pc.if_else(rang, to_ring, None),
            "answered_at": pc.if_else(answered, to_answer, None),
            "ended_at": ended,
            "ended_by": pc.if_else(refused, "proxy", self.choice(size, ["caller", "callee"], [0.6, 0.4])),
            "why": pc.if_else(
                refused, "refused", pc.if_else(answered, "bye", self.choice(size, ["cancelled", "refused", "timeout"], [5, 4, 1]))
            ),
            "status": pc.if_else(refused, 403, pc.if_else(answered, 200, self.choice(size, [487, 486, 480, 404, 408], [5, 2, 2, 1, 1]))),
            "kind": kind,
            "trunk": trunk,
            "customer": pc.if_else(enterprise, own, None),
            "upstream": pc.if_else(pc.equal(kind, "interconnect"), peer, None),
            "address": address,
            "port": self.choice(size, [5060, 5061, 5080], [0.95, 0.03, 0.02]),
            "transport": self.choice(size, ["udp", "tcp"], [0.93, 0.07]),
            "called": called,
            "called_kind": pc.if_else(hotline, "SVC95", pc.if_else(mobile, "MOB", "GEO")),
            "caller": caller,
            "caller_kind": pc.if_else(caller_mobile, "MOB", "GEO"),
            "called_raw": join(
                "sip:", pc.if_else(self.chance(size, 0.5), "0", ""), pc.utf8_slice_codeunits(called, 3), "@198.51.100.1:5060;user=phone"
            ),
            "caller_raw": join("sip:", shown, "@", address, ";user=phone"),
            "call_id": call_id,
            "from_tag": tag,
            "cseq": self.choice(size, [1, 2, 102], [0.8, 0.05, 0.15]),
            "icid": pc.if_else(enterprise, None, join("icid-", self.hexadecimal(size, 24))),
            "from": one(header),
            "to": one(join("<sip:", pc.utf8_slice_codeunits(called, 3), "@198.51.100.1>")),
            "pai": one(join("<sip:", caller, "@", address, ";user=phone>"), asserted),
            "privacy": one(pc.if_else(self.chance(size, 0.5), "none", "id"), self.chance(size, 0.03)),
            "via": some(via, second, two),
            "other": one(join("P-Charging-Vector: icid-value=icid-", self.hexadecimal(size, 24), ";orig-ioi=peer"), pc.invert(enterprise)),
            "action": pc.if_else(refused, "reject", "pass"),
            "code": code,
            "rule": pc.if_else(refused, "segments", pc.if_else(enterprise, "segments", None)),
            "mode": "enforce",
            "marks": one(self.choice(size, ["ID_FROM_MISMATCH", "CLI_UNASSIGNED"]), self.chance(size, 0.06)),
            "policy_version": "4f1c0a7be2d9",
            "directory_version": join("d", pc.cast(pc.divide(received, 3_600_000), pa.string())),
            "elapsed_us": pc.add(self.below(size, 40), 15),
            "egress": pc.if_else(refused, None, self.choice(size, ["switch", "peer-1", "peer-2", "pbx-7"])),
            "target": pc.if_else(answered, join("198.51.100.", pc.cast(self.below(size, 6), pa.string()), ":5060"), None),
            "sent_as": pc.if_else(refused, None, join("sip:", caller, "@198.51.100.1;user=phone")),
            "node": "gw1",
        }
        wanted = parquet.schema()
        columns = []
        for field in wanted:
            value = values.get(field.name)
            if value is None or isinstance(value, str):
                columns.append(pa.repeat(pa.scalar(value, field.type), size))
            else:
                columns.append((value.combine_chunks() if isinstance(value, pa.ChunkedArray) else value).cast(field.type))
        return parquet.in_order(pa.Table.from_arrays(columns, schema=wanted))


def remainder(value: Any, by: int) -> Any:
    return pc.subtract(value, pc.multiply(pc.divide(value, by), by))


def whole(value: Any) -> Any:
    return pc.cast(pc.floor(value), pa.int64())


def join(*parts: Any) -> Any:
    return pc.binary_join_element_wise(*parts, "")


def one(value: Any, there: Any = None) -> Any:
    """Each value as a list of one; null where it is not there."""
    size = len(value)
    lists = pa.ListArray.from_arrays(
        pa.array(range(size + 1), pa.int32()), value.combine_chunks() if isinstance(value, pa.ChunkedArray) else value
    )
    return lists if there is None else pc.if_else(there, lists, pa.scalar(None, lists.type))


def some(first: Any, second: Any, two: Any) -> Any:
    """Each first value in a list, with the second where `two` says so."""
    return pc.if_else(
        two, pa.ListArray.from_arrays(pa.array(range(0, 2 * len(first) + 1, 2), pa.int32()), interleaved(first, second)), one(first)
    )


def interleaved(first: Any, second: Any) -> Any:
    size = len(first)
    order = pc.add(pc.divide(pa.array(range(2 * size)), 2), pc.multiply(remainder(pa.array(range(2 * size)), 2), size))
    return pa.concat_arrays([first, second]).take(order)


def make(folder: Path, records: int, say: Callable[[str], None]) -> None:
    """The day, in the parts that a compactor would write, merged as it would merge them."""
    day = day_name(BEGIN // DAY)
    calls = Calls(1)
    generating = writing = merging = 0.0
    done = 0
    with Store.opened(folder / "journal" / FOLDER) as store:
        for hour in range(24):
            local = (hour + 8) % 24
            count = records * HOURS[local] // sum(HOURS) if hour < 23 else records - done
            begin = BEGIN + hour * 3_600_000
            left = count
            while left > 0:
                size = min(left, PART)
                share = 3_600_000 * size // max(1, count)
                began = time.monotonic()
                table = calls.table(size, begin, min(begin + share, BEGIN + DAY))
                generating += time.monotonic() - began
                began = time.monotonic()
                file = save(store.new_file(day), [table])
                store.commit(Manifest(days={day: (*store.manifest.days.get(day, ()), file)}))
                writing += time.monotonic() - began
                begin += share
                left -= size
                done += size
            began = time.monotonic()
            merge_days(store, BEGIN + (hour + 1) * 3_600_000)
            merging += time.monotonic() - began
            say(f"{done:,} records made, {len(store.manifest.days[day])} files")
        began = time.monotonic()
        merge_days(store, BEGIN + DAY + LONGEST + LINGER)
        last = time.monotonic() - began
        files = store.manifest.days[day]
    size = sum(file.octets for file in files)
    say("")
    print(f"| {done:,} records in {len(files)} file{'s' if len(files) > 1 else ''} | {size / 2**20:,.0f} MiB |")
    print(f"| octets a record | {size / done:.1f} |")
    print(f"| written as parts; merged eight by eight; at last to one | {writing:.0f} s; {merging:.0f} s; {last:.0f} s |")
    print(f"| peak memory of the merging process | {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20:.1f} GiB |", flush=True)


def join_events(folder: Path, calls: int) -> None:
    """Compact a segment of answered and refused calls: CPU for each."""
    journal = folder / "events"
    journal.mkdir()
    draw = random.Random(4)
    data = [begin(Header("gw1", 1, BEGIN))]
    position = 0
    for number in range(calls):
        at = BEGIN + number * 10
        for event in events(number, at, draw):
            whole = frame(0, position, msgspec.msgpack.encode(event))
            position += len(whole)
            data.append(whole)
    path = journal / file_name("gw1", 1, SEALED)
    path.write_bytes(b"".join(data))
    began, ticked = time.monotonic(), time.process_time()
    with Store.opened(journal / FOLDER) as store:
        report = compact(journal, store, [path], BEGIN + DAY)
    took, used = time.monotonic() - began, time.process_time() - ticked
    print(
        f"| compaction of {report.events:,} events: CPU; wall, a record | {used / calls * 1e6:.0f}; {took / calls * 1e6:.0f} us |",
        flush=True,
    )
    shutil.rmtree(journal)


def events(number: int, at: int, draw: random.Random) -> list[Event]:
    caller, called = f"+86138{draw.randrange(10**8):08d}", f"+86755{draw.randrange(2 * 10**7, 9 * 10**7):08d}"
    tag, call_id = b"%016x" % draw.getrandbits(64), b"%032x@192.0.2.7" % draw.getrandbits(128)
    lines = (
        b"From: <sip:%b@192.0.2.7;user=phone>;tag=%b" % (caller[3:].encode(), tag),
        b"To: <sip:0%b@198.51.100.1>" % called[3:].encode(),
        b"Call-ID: " + call_id,
        b"Via: SIP/2.0/UDP 192.0.2.7:5060;branch=z9hG4bK%024x;rport" % draw.getrandbits(96),
        b"P-Asserted-Identity: <sip:%b@192.0.2.7;user=phone>" % caller.encode(),
        b"P-Charging-Vector: icid-value=icid-%024x;orig-ioi=peer" % draw.getrandbits(96),
    )
    refused = draw.random() < 0.2
    first = Attempt(
        *(at, call_id, tag, "peer-7", 1, "interconnect", "peer", "", "192.0.2.7", 5060, "udp", caller, "MOB", called, "GEO"),
        *(f"sip:{caller[3:]}@192.0.2.7;user=phone", f"sip:0{called[3:]}@198.51.100.1", "reject" if refused else "pass"),
        *("AUTH_FAIL" if refused else "PASS", "", 403 if refused else 0, (), "enforce", "", "", "4f1c0a7be2d9", "d490992", 21),
        *("switch", caller, "", "", lines),
    )
    if refused:
        return [first]
    key = (call_id, tag, "peer-7")
    return [
        first,
        Ringing(at + 900, *key, 1, 180),
        Answer(at + 8000, *key, 1, 200, "switch", "198.51.100.2:5060"),
        End(at + 60_000, *key, 0, 0, "caller", "bye"),
    ]


def forget(folder: Path) -> None:
    """Take files out of the page cache."""
    os.sync()
    for top in (folder, Path(sys.prefix), ROOT / "proxy", ROOT / "rules", Path(f"/usr/lib/python3.{sys.version_info.minor}")):
        for path in top.rglob("*"):
            if path.is_file():
                try:
                    fd = os.open(path, os.O_RDONLY)
                except OSError:
                    continue
                os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_DONTNEED)
                os.close(fd)


def ask(folder: Path, turns: int, say: Callable[[str], None]) -> None:
    """Look calls up that are there, by called number, time and a caller of which a digit is wrong."""
    draw = random.Random(5)
    (file,) = [place(folder / "journal" / FOLDER, day, file) for day, files in _manifest(folder).days.items() for file in files]
    import pyarrow.parquet as pq

    source = pq.ParquetFile(file)
    seconds: dict[str, list[float]] = {"a subscriber, cold": [], "a hotline, cold": [], "warm": []}
    for turn in range(turns):
        for name, hotline in (("a subscriber, cold", False), ("a hotline, cold", True), ("warm", False)):
            row = pick(source, draw, hotline=hotline)
            if name != "warm":
                forget(folder)
            seconds[name].append(query(folder, row))
            say(f"turn {turn + 1} of {turns}")
    say("")
    for name, values in seconds.items():
        print(f"| traceback, {name} | {statistics.median(values):.2f} s [{min(values):.2f}..{max(values):.2f}] |", flush=True)


def pick(source: Any, draw: random.Random, *, hotline: bool) -> dict[str, Any]:
    while True:
        rows = source.read_row_group(draw.randrange(source.num_row_groups), columns=["called", "caller", "call_id", "received_at"])
        row: dict[str, Any] = rows.slice(draw.randrange(rows.num_rows), 1).to_pylist()[0]
        if row["called"].startswith(("+8695", "+86400")) == hotline:
            return row


def query(folder: Path, row: dict[str, Any]) -> float:
    caller = row["caller"]
    wrong = caller[:-1] + str((int(caller[-1]) + 1) % 10)
    command = [
        sys.executable,
        "-m",
        "proxy",
        "traceback",
        "-c",
        str(folder / "sipwarden.toml"),
        "--called",
        row["called"],
        "--calling",
        wrong,
    ]
    command += ["--at", row["received_at"].isoformat(), "--window", "120s", "--case", "B-1", "--basis", "benchmark", "--json"]
    began = time.monotonic()
    done = subprocess.run(command, cwd=ROOT, capture_output=True, check=True)
    took = time.monotonic() - began
    found = json.loads(done.stdout)["rows"]
    if not any(one["call_id"] == row["call_id"] and one["match"] == "near" for one in found):
        raise SystemExit(f"not found: {row}")
    return took


def _manifest(folder: Path) -> Manifest:
    return msgspec.json.decode((folder / "journal" / FOLDER / "manifest.json").read_bytes(), type=Manifest)


def columns(folder: Path) -> None:
    """Octets a record by column, the largest first."""
    import pyarrow.parquet as pq

    sizes = dict.fromkeys(NAMES, 0)
    rows = 0
    for day, files in _manifest(folder).days.items():
        for file in files:
            metadata = pq.ParquetFile(place(folder / "journal" / FOLDER, day, file)).metadata
            rows += metadata.num_rows
            for group in range(metadata.num_row_groups):
                for at in range(metadata.num_columns):
                    column = metadata.row_group(group).column(at)
                    sizes[column.path_in_schema.partition(".")[0]] += column.total_compressed_size
    largest = sorted(sizes.items(), key=lambda item: -item[1])[:12]
    print("octets a record: " + ", ".join(f"{name} {size / rows:.1f}" for name, size in largest))
    print(f"{len(COLUMNS)} columns", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--records", type=int, default=10_000_000)
    parser.add_argument("--turns", type=int, default=9)
    parser.add_argument("--folder", type=Path, help="where to make it, or where it was made: it stays")
    args = parser.parse_args()
    folder = Path(tempfile.mkdtemp(prefix="sipwarden-history-", dir="/var/tmp")) if args.folder is None else args.folder.absolute()

    def say(line: str) -> None:
        if sys.stderr.isatty():
            print(f"\r{line:<60}", end="\r", file=sys.stderr, flush=True)

    try:
        (folder / "journal").mkdir(parents=True, exist_ok=True)
        (folder / "sipwarden.toml").write_text(CONFIG)
        if not (folder / "journal" / FOLDER / "manifest.json").exists():
            make(folder, args.records, say)
        columns(folder)
        join_events(folder, min(args.records, 200_000))
        if args.turns:
            ask(folder, args.turns, say)
    finally:
        if args.folder is None:
            shutil.rmtree(folder)


if __name__ == "__main__":
    main()
