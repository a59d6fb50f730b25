"""Where the microseconds of a call go inside the core: parse, check, evaluate, forward, without a socket.

usage: python benchmarks/stages.py [--calls N]

Feeds the messages of `--calls` completed and refused calls into one Proxy and prints microseconds of CPU a call, and a piece. Lists: 10,000 segments and
100,000 intercept entries, written to a temporary directory.
"""

from __future__ import annotations

import argparse
import random
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from proxy.config import load_config
from proxy.core import Proxy
from proxy.flow import Flow
from proxy.intake import asserted, call_of
from proxy.sip.message import SipMessage
from proxy.validate import Request
from rules import load_policy
from rules.directory import load_directory

CONFIG = """
[[listen]]
address = "127.0.0.1:5060"
transports = ["udp"]
[[trunk]]
id = "t1001"
customer = "c1001"
kind = "enterprise"
sources = ["127.0.0.1"]
next_hop = "switch"
[[next_hop]]
id = "switch"
targets = ["sip:127.0.0.1:5080"]
[directory]
segments = ["segments.csv"]
intercept = ["intercept.csv"]
"""
SDP = b"v=0\r\no=PBX 53655765 2353687637 IN IP4 127.0.0.1\r\ns=-\r\nc=IN IP4 127.0.0.1\r\nt=0 0\r\nm=audio 16384 RTP/AVP 8 0 18 101\r\na=sendrecv\r\n"


def write_lists(folder: Path, segments: int, entries: int) -> None:
    """Segments +86138 0000 0000 upward by 10,000s; intercept entries at random, the same for the same counts."""
    chosen = random.Random(7)
    with (folder / "segments.csv").open("w") as file:
        file.write("customer,trunk,first,last\n")
        file.writelines(f"c1001,t1001,+86138{i:04d}0000,+86138{i:04d}9999\n" for i in range(segments))
    with (folder / "intercept.csv").open("w") as file:
        file.write("list_id,seq,op,number,match,type,reason,source,evidence_ref,valid_from,valid_to,scope,created_at\n")
        numbers = sorted({f"861{chosen.choice('3578')}{chosen.randrange(10**9):09d}" for _ in range(entries)})
        file.writelines(f"bench,{i + 1},A,+{n},exact,caller,,bench,,,,global,2026-01-01T00:00:00Z\n" for i, n in enumerate(numbers))


def invite(number: int, caller: str) -> bytes:
    """An INVITE as a trunk PBX sends it."""
    head = (
        f"INVITE sip:+86216{number:07d}@127.0.0.1:5060;user=phone SIP/2.0\r\nVia: SIP/2.0/UDP 127.0.0.1:7101;branch=z9hG4bK-77-{number}-i\r\n"
        f'Max-Forwards: 68\r\nFrom: "Customer 1001" <sip:{caller}@trunk1001.example.net;user=phone>;tag=77Sg{number}\r\n'
        f"To: <sip:+86216{number:07d}@127.0.0.1:5060;user=phone>\r\nCall-ID: {number}-77@127.0.0.1\r\nCSeq: 1 INVITE\r\n"
        f"Contact: <sip:trunk1001@127.0.0.1:7101;transport=udp>\r\nP-Asserted-Identity: <sip:{caller}@trunk1001.example.net;user=phone>\r\n"
        "Allow: INVITE, ACK, CANCEL, BYE, OPTIONS, PRACK, UPDATE, INFO\r\nSupported: 100rel, timer, replaces\r\nSession-Expires: 1800\r\n"
        f"User-Agent: TrunkPBX/12.4.1 (build 20931)\r\nContent-Type: application/sdp\r\nContent-Length: {len(SDP)}\r\n\r\n"
    )
    return head.encode() + SDP


def response(request: bytes, status: bytes, tag: bytes, contact: bool) -> bytes:
    """A callee's response to a forwarded request."""
    message = SipMessage.parse(request)
    lines = [b"SIP/2.0 " + status]
    for name in (b"via", b"record-route", b"from", b"to", b"call-id", b"cseq"):
        lines += [message.lines[at] + (tag if name == b"to" and b";tag=" not in message.lines[at] else b"") for at in message.positions(name)]
    if contact:
        lines.append(b"Contact: <sip:127.0.0.1:5080;transport=udp>")
    return b"\r\n".join(lines) + b"\r\nContent-Length: 0\r\n\r\n"


def in_dialog(answer: bytes, method: str, number: int) -> bytes:
    """The caller's ACK or BYE."""
    message = SipMessage.parse(answer)
    route = (message.first(b"record-route") or b"").decode()
    sender, to = ((message.first(name) or b"").decode() for name in (b"from", b"to"))
    cseq = 2 if method == "BYE" else 1
    return (
        f"{method} sip:127.0.0.1:5080;transport=udp SIP/2.0\r\nVia: SIP/2.0/UDP 127.0.0.1:7101;branch=z9hG4bK-77-{number}-{method[0]}\r\n"
        f"Route: {route}\r\nMax-Forwards: 68\r\nFrom: {sender}\r\nTo: {to}\r\nCall-ID: {number}-77@127.0.0.1\r\nCSeq: {cseq} {method}\r\n"
        "Content-Length: 0\r\n\r\n"
    ).encode()


def main() -> None:
    """Measure and print."""
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--calls", type=int, default=5000)
    calls: int = arguments.parse_args().calls
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_lists(folder, 10_000, 100_000)
        (folder / "sipwarden.toml").write_text(CONFIG)
        config = load_config(folder / "sipwarden.toml")
        directory = load_directory(config.directory, config.base, config.trunks)
        ruleset = load_policy(None, file="default.toml", directory=directory, trunks=config.trunks)
        listeners = config.listeners()
        proxy = Proxy(config, ruleset, listeners, b"a secret for benchmarks", clock=time.perf_counter)
    caller, callee = Flow(listeners[0], "127.0.0.1", 7101), Flow(listeners[0], "127.0.0.1", 5080)
    chosen = random.Random(3)
    spent: dict[str, float] = {}

    def timed(what: str, data: bytes, flow: Flow, now: float) -> list[bytes]:
        started = time.process_time()
        proxy.receive(data, flow, now)
        sends = proxy.take_sends()
        spent[what] = spent.get(what, 0.0) + time.process_time() - started
        return [sent for _, sent in sends]

    now = 1.0
    for number in range(calls):
        number += 1
        now += 0.001
        out = timed("INVITE", invite(number, f"+86138{chosen.randrange(10**8):08d}"), caller, now)
        if len(out) < 2:  # an intercepted number
            continue
        forwarded = out[1]
        timed("180", response(forwarded, b"180 Ringing", b";tag=x", True), callee, now)
        answer = timed("200", response(forwarded, b"200 OK", b";tag=x", True), callee, now)[0]
        timed("ACK", in_dialog(answer, "ACK", number), caller, now)
        bye = timed("BYE", in_dialog(answer, "BYE", number), caller, now)[0]
        timed("200 to BYE", response(bye, b"200 OK", b"", False), callee, now)
        started = time.process_time()
        proxy.next_timer()
        proxy.handle_timer(now)
        spent["timers"] = spent.get("timers", 0.0) + time.process_time() - started
    print(f"completed call: {sum(spent.values()) / calls * 1e6:6.1f} us of CPU in the core")
    for what, seconds in spent.items():
        print(f"  {what:12s} {seconds / calls * 1e6:6.1f}")
    spent.clear()
    for number in range(calls):
        refused = invite(number + 10**6, f"+86139{chosen.randrange(10**8):08d}")
        out = timed("INVITE", refused, caller, now)
        message = SipMessage.parse(out[0])
        to = (message.first(b"to") or b"").decode()
        ack = in_dialog(out[0], "ACK", number + 10**6).replace(b"-A\r\n", b"-i\r\n").replace(b"Route: \r\n", b"")
        assert to and b";tag=" in ack
        timed("ACK", ack, caller, now)
    print(f"refused call:   {sum(spent.values()) / calls * 1e6:6.1f} us of CPU in the core")
    for what, seconds in spent.items():
        print(f"  {what:12s} {seconds / calls * 1e6:6.1f}")
    sample = invite(77, "+8613812345678")

    def piece(what: str, function: Callable[[], object]) -> None:
        started = time.process_time()
        for _ in range(calls):
            function()
        print(f"  {what:12s} {(time.process_time() - started) / calls * 1e6:6.1f}")

    print("pieces of an INVITE:")
    message = SipMessage.parse(sample)
    request = Request(message, caller, b"127.0.0.1")
    trunk = config.trunk[0]
    pai = asserted(message, trunk)
    call = call_of(request, trunk, caller.source, pai, 1.8e9)
    piece("parse", lambda: SipMessage.parse(sample))
    piece("check", lambda: Request(message, caller, b"127.0.0.1"))
    piece("intake", lambda: call_of(request, trunk, caller.source, asserted(message, trunk), 1.8e9))
    piece("evaluate", lambda: ruleset.evaluate(call))


if __name__ == "__main__":
    main()
