"""How fast traces are read: packets a second from a file to SIP messages, on one core, and the memory that it takes.

    python benchmarks/captures.py [--packets N] [--folder DIR]

Writes three pcap files into DIR (a folder that is removed, without it): nothing but SIP over UDP; SIP among four times as much RTP; SIP
over forty TCP connections, in segments that do not end where messages do, three or four to a segment. Reads each in a process of its own
and prints a table. Times are CPU.
"""

from __future__ import annotations

import argparse
import struct
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

sys.path.append(str(Path(__file__).resolve().parent.parent))

from proxy.replay.captured import Trouble, read

SDP = (
    "v=0\r\no=- 1 1 IN IP4 192.0.2.1\r\ns=-\r\nc=IN IP4 192.0.2.1\r\nt=0 0\r\n"
    "m=audio 6000 RTP/AVP 8 0 101\r\na=rtpmap:101 telephone-event/8000\r\n"
)
SEGMENT = 1100


def message(number: int) -> bytes:
    """Every fourth an INVITE, the others responses to it."""
    call, turn = divmod(number, 4)
    first = f"INVITE sip:+8675583123456@192.0.2.2 SIP/2.0\r\nMax-Forwards: 70\r\nContact: <sip:{call}@192.0.2.1>\r\n"
    body = SDP if turn in (0, 3) else ""
    head = first if not turn else ("SIP/2.0 100 Trying\r\n", "SIP/2.0 180 Ringing\r\n", "SIP/2.0 200 OK\r\n")[turn - 1]
    return (
        f"{head}Via: SIP/2.0/UDP 192.0.2.1:5060;branch=z9hG4bK{call}\r\nFrom: <sip:+8613800138000@192.0.2.1>;tag={call}\r\n"
        f"To: <sip:+8675583123456@192.0.2.2>\r\nCall-ID: {call}@192.0.2.1\r\nCSeq: 1 INVITE\r\nContent-Length: {len(body)}\r\n\r\n{body}"
    ).encode()


def frame(payload: bytes, protocol: int) -> bytes:
    ip = struct.pack(">BBHHHBBHII", 0x45, 0, 20 + len(payload), 1, 0, 64, protocol, 0, 0xC0000201, 0xC0000202)
    return b"\2" * 12 + b"\x08\0" + ip + payload


def udp(payload: bytes) -> bytes:
    return frame(struct.pack(">HHHH", 5060, 5060, 8 + len(payload), 0) + payload, 17)


def signalling(count: int) -> Iterator[bytes]:
    for number in range(count):
        yield udp(message(number))


def media(count: int) -> Iterator[bytes]:
    for number in range(count):
        yield udp(b"\x80\x08" + bytes(170)) if number % 5 else udp(message(number // 5))


def connections(count: int) -> Iterator[bytes]:
    held = [b""] * 40
    at = [1000] * 40
    number = sent = 0
    while sent < count:
        for which, waiting in enumerate(held):
            while len(waiting) < SEGMENT:
                waiting += message(number)
                number += 1
            yield frame(struct.pack(">HHIIBBHHH", 40000 + which, 5060, at[which], 1, 0x50, 0x18, 65535, 0, 0) + waiting[:SEGMENT], 6)
            held[which] = waiting[SEGMENT:]
            at[which] += SEGMENT
            sent += 1
    for which, waiting in enumerate(held):
        yield frame(struct.pack(">HHIIBBHHH", 40000 + which, 5060, at[which], 1, 0x50, 0x18, 65535, 0, 0) + waiting, 6)


def write(path: Path, frames: Iterator[bytes]) -> None:
    with path.open("wb") as out:
        out.write(struct.pack("<IHHiIII", 0xA1B2C3D4, 2, 4, 0, 0, 262144, 1))
        for number, data in enumerate(frames):
            out.write(struct.pack("<IIII", 1_700_000_000 + number // 10_000, number % 10_000 * 100, len(data), len(data)) + data)


def measured(path: str) -> None:
    """In a process of its own: read it all, print the row."""
    import resource
    import time

    trouble = Trouble()
    begun = time.process_time()
    messages = sum(1 for _ in read([path], trouble))
    took = time.process_time() - begun
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
    size = Path(path).stat().st_size / 1e6
    print(f"{Path(path).stem:<12}{size:>8.0f}{trouble.packets:>12,}{messages:>12,}{trouble.packets / took:>14,.0f}{memory:>8}")
    if trouble.counts:
        sys.exit(f"trouble where there is none: {trouble.examples}")


def main() -> None:
    parser = argparse.ArgumentParser(description="how fast traces are read")
    parser.add_argument("--packets", type=int, default=300_000, metavar="N")
    parser.add_argument("--folder", type=Path, metavar="DIR")
    parser.add_argument("--read", metavar="FILE", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.read:
        measured(options.read)
        return
    with tempfile.TemporaryDirectory() as made:
        folder = options.folder or Path(made)
        print(f"{'trace':<12}{'MB':>8}{'packets':>12}{'messages':>12}{'packets/s':>14}{'RSS MB':>8}", flush=True)
        for name, frames in (("sip", signalling), ("sip and rtp", media), ("tcp", connections)):
            path = folder / f"{name}.pcap"
            write(path, frames(options.packets))
            subprocess.run([sys.executable, __file__, "--read", str(path)], check=True)


if __name__ == "__main__":
    main()
