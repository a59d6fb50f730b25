"""Traces of our own making: calls written in a line a message, and a capture file around them."""

from __future__ import annotations

import random
import re
import socket
import struct
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from proxy.replay.message import Captured

DAY = 1_767_578_400.0
"""2026-01-05 10:00:00 in Shanghai, a Monday."""

SDP = (
    b"v=0\r\no=- 1 1 IN IP4 192.0.2.1\r\ns=-\r\nc=IN IP4 192.0.2.1\r\nt=0 0\r\nm=audio 40000 RTP/AVP 8 0 101\r\n"
    b"a=rtpmap:8 PCMA/8000\r\na=rtpmap:0 PCMU/8000\r\na=rtpmap:101 telephone-event/8000\r\na=sendrecv\r\n"
)
PHRASES = {100: "Trying", 180: "Ringing", 200: "OK", 403: "Forbidden", 404: "Not Found", 486: "Busy Here", 487: "Request Terminated"}
_LINE = re.compile(r"(?P<at>\S+)\s+(?P<source>\S+)\s+>\s+(?P<destination>\S+)\s+(?P<what>\S+)(?P<rest>.*)")


def place(text: str) -> tuple[str, int]:
    address, _, port = text.partition(":")
    return address, int(port or 5060)


def message(what: str, source: str, **said: str) -> bytes:
    """One message. `id` names the call, `from`, `to`, `pai`, `diversion`, `branch`, `cseq`, `hops`, `tag`, `sent_by`, `also` its parts."""
    call = said.get("id", "1")
    caller, called = said.get("from", "+8675583123456"), said.get("to", "13800138000")
    request = not what.isdigit()
    method = said.get("method", what if request else "INVITE")
    cseq = said.get("cseq", "2" if method == "BYE" else "1")
    branch = said.get("branch", f"z9hG4bK{call}.{'INVITE' if method in ('ACK', 'CANCEL') else method}.{cseq}")
    sent_by = said.get("sent_by", source)
    first = f"{what} sip:{called}@127.0.0.1 SIP/2.0" if request else f"SIP/2.0 {what} {PHRASES.get(int(what), 'Said')}"
    tag = said.get("tag", "" if request and what in ("INVITE", "CANCEL") else "" if what == "100" else f"callee{call}")
    lines = [
        first,
        f"Via: SIP/2.0/UDP {sent_by};branch={branch}" if branch else f"Via: SIP/2.0/UDP {sent_by}",
        f"From: {said.get('name', '')}<sip:{caller}@{source}>;tag=caller{call}",
        f"To: <sip:{called}@127.0.0.1>" + (f";tag={tag}" if tag else ""),
        f"Call-ID: {said.get('call_id', call)}",
        f"CSeq: {cseq} {method}",
    ]
    if request:
        lines.insert(2, f"Max-Forwards: {said.get('hops', '70')}")
        lines.append(f"Contact: <sip:{source}>")
    lines += [f"P-Asserted-Identity: <sip:{number}@{source}>" for number in said.get("pai", "").split(",") if number]
    lines += [f"Diversion: <sip:{number}@{source}>;reason=unconditional" for number in said.get("diversion", "").split(",") if number]
    lines += [line.replace("_", " ") for line in said.get("also", "").split("|") if line]
    body = SDP if what == "INVITE" or (what == "200" and method == "INVITE") else b""
    lines.append(f"Content-Length: {len(body)}")
    return "\r\n".join([*lines, "", ""]).encode() + body


def trace(text: str, start: float = DAY) -> Iterator[Captured]:
    """Messages from lines `seconds source > destination METHOD-or-status key=value ...`."""
    for number, line in enumerate(filter(None, map(str.strip, text.splitlines())), 1):
        found = _LINE.fullmatch(line)
        assert found is not None, line
        said = dict(pair.split("=", 1) for pair in found["rest"].split())
        source, destination = place(found["source"]), place(found["destination"])
        asked = destination if found["what"].isdigit() else source
        said.setdefault("sent_by", f"{asked[0]}:{asked[1]}")
        data = message(found["what"], asked[0], **said)
        yield Captured(start + float(found["at"]), *source, *destination, said.get("transport", "udp"), data, f"trace:{number}")


def write_pcap(path: Path, messages: Iterable[Captured]) -> Path:
    """A capture file of Ethernet, IPv4 and UDP."""
    out = bytearray(struct.pack("<IHHiIII", 0xA1B2C3D4, 2, 4, 0, 0, 262_144, 1))
    for number, one in enumerate(messages):
        udp = struct.pack("!HHHH", one.source_port, one.destination_port, 8 + len(one.data), 0) + one.data
        ip = struct.pack("!BBHHHBBH", 0x45, 0, 20 + len(udp), number & 0xFFFF, 0, 64, 17, 0)
        ip += socket.inet_aton(one.source) + socket.inet_aton(one.destination)
        ip = ip[:10] + struct.pack("!H", _sum(ip)) + ip[12:]
        frame = b"\2\0\0\0\0\1\2\0\0\0\0\2\x08\0" + ip + udp
        seconds, rest = divmod(round(one.at * 1_000_000), 1_000_000)
        out += struct.pack("<IIII", seconds, rest, len(frame), len(frame)) + frame
    path.write_bytes(out)
    return path


def _sum(data: bytes) -> int:
    total = sum(struct.unpack(f"!{len(data) // 2}H", data))
    while total > 0xFFFF:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF


PEERS = {
    "127.0.0.2": ["+8675583123456", "+8675583123457", "+8675583124001", "+8675583129999", "+8613802881946", "83123410"],
    "127.0.0.3": ["+8675586660001", "+8675586660002"],
    "127.0.0.4": ["+862087654321", "+8613902881111", "+8675583123456", "400800"],
    "127.0.0.5": ["+442071838750", "+8675583123456", "+8613802881946", "+12125550123", "00442071838750", "anonymous"],
    "192.0.2.77": ["+8675583123456"],
}
"""Who calls, by the addresses of the demo's configuration, with numbers of all sorts."""


CALLED = ["13800138000", "13910001234", "02087654321"]


def busy(calls: int, seed: int = 5, spread: float = 1.7) -> list[Captured]:
    """So many calls through the demo's node, seen on both of its sides: refused, answered, busy, cancelled, with retransmissions."""
    draw = random.Random(seed)
    found: list[Captured] = []

    def say(at: float, source: str, destination: str, what: str, **said: Any) -> None:
        asked = destination if what.isdigit() else source
        data = message(what, asked, **{"sent_by": f"{asked}:5060", **said})
        found.append(Captured(at, source, 5060, destination, 5060, "udp", data, ""))

    node, switch = "127.0.0.1", "127.0.0.6"
    for number in range(calls):
        at = DAY + number * spread + draw.random()
        source = draw.choices(list(PEERS), [10, 2, 5, 4, 1])[0]
        call = {
            "id": f"{draw.getrandbits(64):016x}",
            "from": draw.choice(PEERS[source]),
            "to": draw.choice(CALLED),
        }
        if source == "127.0.0.2" and draw.random() < 0.2:
            call["pai"] = "+8675583123457"
        say(at, source, node, "INVITE", **call)
        fate = draw.random()
        if fate < 0.3 or source == "192.0.2.77":
            say(at + 0.0004, node, source, "403", **call)
            say(at + 0.02, source, node, "ACK", **call)
            continue
        onward = {**call, "branch": f"z9hG4bKsw0.{call['id']}"}
        say(at + 0.0003, node, source, "100", **call)
        say(at + 0.0005, node, switch, "INVITE", **onward)
        if fate < 0.4:
            say(at + 0.5, source, node, "INVITE", **call)
            say(at + 0.5005, node, switch, "INVITE", **onward)
        say(at + 0.61, switch, node, "180", **onward)
        say(at + 0.6103, node, source, "180", **call)
        end = at + 1 + 8 * draw.random()
        if fate < 0.6:
            say(end, switch, node, "486", **onward)
            say(end + 0.0002, node, switch, "ACK", **onward)
            say(end + 0.0003, node, source, "486", **call)
            say(end + 0.02, source, node, "ACK", **call)
        elif fate < 0.75:
            say(end, source, node, "CANCEL", **call)
            say(end + 0.0002, node, source, "200", method="CANCEL", **call)
            say(end + 0.0003, node, switch, "CANCEL", **onward)
            say(end + 0.01, switch, node, "487", **onward)
            say(end + 0.0105, node, source, "487", **call)
            say(end + 0.02, source, node, "ACK", **call)
        else:
            say(end, switch, node, "200", **onward)
            say(end + 0.0003, node, source, "200", **call)
            say(end + 0.02, source, node, "ACK", cseq="1", branch=f"z9hG4bKack{call['id']}", **call)
            say(end + 0.0203, node, switch, "ACK", cseq="1", **{**onward, "branch": f"z9hG4bKsw1.{call['id']}"})
            bye = end + 30 * draw.random()
            say(bye, source, node, "BYE", **call)
            say(bye + 0.0003, node, switch, "BYE", **{**call, "branch": f"z9hG4bKsw2.{call['id']}"})
            say(bye + 0.01, switch, node, "200", method="BYE", **{**call, "branch": f"z9hG4bKsw2.{call['id']}"})
            say(bye + 0.0103, node, source, "200", method="BYE", **call)
    found.sort(key=lambda one: one.at)
    for number, one in enumerate(found, 1):
        one.place = f"busy.pcap:{number}"
    return found
