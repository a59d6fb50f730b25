"""What the journal costs a worker: `python benchmarks/journal.py` times events on their way into the ring, and out of it at the keeper."""

from __future__ import annotations

import os
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from proxy.events import Event, Ringing
from proxy.journal.ring import RingReader, RingWriter, format_ring
from tests.proxy.journal.events import attempt

ROUNDS, BATCHES = 30, 100


def main() -> None:
    ringing = Ringing(at=1_764_000_000_000, call_id=b"1-2345@127.0.0.2", from_tag=b"2345c1", trunk="acme", cseq=1, status=180)
    place = "/dev/shm" if Path("/dev/shm").is_dir() else None
    print(f"{'batch':<16} {'us a batch':>10} {'us an event':>12} {'octets':>8} {'keeper, us an event':>20}")
    for name, one, size in (("20 attempts", attempt(1), 20), ("1 attempt", attempt(1), 1), ("20 ringing", ringing, 20)):
        with tempfile.TemporaryDirectory(dir=place) as folder:
            fd = os.open(Path(folder) / "ring", os.O_RDWR | os.O_CREAT)
            format_ring(fd, 16 << 20, time.time_ns())
            run(name, [one] * size, RingWriter(fd, 0), RingReader(fd, 0))
            os.close(fd)


def run(name: str, batch: list[Event], writer: RingWriter, reader: RingReader) -> None:
    put = take = float("inf")
    octets = 0.0
    for _ in range(ROUNDS):
        began = time.perf_counter()
        for _ in range(BATCHES):
            writer.put(batch)
        put = min(put, (time.perf_counter() - began) / BATCHES)
        began = time.perf_counter()
        events = length = 0
        while reader.used:
            taken = reader.taken()
            events, length = events + taken.events, length + len(taken.data)
            reader.done(taken.position)
        take = min(take, (time.perf_counter() - began) / events)
        octets = length / events
    print(f"{name:<16} {put * 1e6:>10.1f} {put * 1e6 / len(batch):>12.2f} {octets:>8.0f} {take * 1e6:>20.2f}")


if __name__ == "__main__":
    main()
