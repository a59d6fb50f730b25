"""Where the microseconds of a call go inside the core: parse, check, evaluate, forward, without a socket.

    python benchmarks/stages.py [--calls N]

Feeds the messages of `--calls` completed and as many refused calls into one Proxy, by turns of a tenth of them, and prints microseconds of
CPU for a call and its pieces: the median of the ten. Lists as `make bench` has them (lists.py). "afterwards" are the timers by which a
finished call's transactions are forgotten, half a minute and three minutes later.
"""

from __future__ import annotations

import argparse
import gc
import random
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

sys.path.append(str(Path(__file__).resolve().parent.parent))  # behind what is installed, which may be compiled

from benchmarks.lists import write_lists
from proxy.config import load_config
from proxy.core import Proxy
from proxy.flow import Flow
from proxy.forward import Branches, Outgoing, new_loop_hash
from proxy.intake import asserted, call_of
from proxy.sip.message import SipMessage
from proxy.token import Secret
from proxy.validate import Request
from rules import load_policy
from rules.directory import load_directory

TURNS = 10

SDP = (
    b"v=0\r\no=PBX 53655765 2353687637 IN IP4 127.0.0.1\r\ns=-\r\nc=IN IP4 127.0.0.1\r\nt=0 0\r\nm=audio 16384 RTP/AVP 8 0 18 101\r\n"
    b"a=sendrecv\r\n"
)


def invite(number: int, caller: str) -> bytes:
    """An INVITE as a trunk PBX sends it."""
    head = (
        f"INVITE sip:+86216{number:07d}@127.0.0.1:5060;user=phone SIP/2.0\r\n"
        f"Via: SIP/2.0/UDP 127.0.0.1:7101;branch=z9hG4bK-77-{number}-i\r\n"
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
        lines += [
            message.lines[at] + (tag if name == b"to" and b";tag=" not in message.lines[at] else b"") for at in message.positions(name)
        ]
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


class Stages:
    """CPU seconds by stage, a list of one figure for each turn."""

    def __init__(self) -> None:
        self.turns: list[dict[str, float]] = []
        started = time.process_time()
        for _ in range(1000):
            (lambda: time.process_time())()
        self._watching = (time.process_time() - started) / 1000  # what taking the time costs

    def turn(self) -> None:
        """Begin another turn."""
        self.turns.append({})

    def timed(self, what: str, work: Callable[[], object]) -> None:
        """Do it, and put its time to this stage of this turn."""
        started = time.process_time()
        work()
        spent = time.process_time() - started
        turn = self.turns[-1]
        turn[what] = turn.get(what, 0.0) + spent - self._watching

    def lines(self, title: str, each: int) -> list[str]:
        """The sum and every stage, in microseconds for one of `each`."""
        stages = {what: statistics.median(turn[what] for turn in self.turns) / each * 1e6 for what in self.turns[0]}
        return [f"{title:25} {sum(stages.values()):6.1f}", *(f"  {what:23} {us:6.1f}" for what, us in stages.items())]


def measure(calls: int) -> list[str]:
    """The lines of the report."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_lists(folder)
        callers, refused = ((folder / file).read_text(encoding="ascii").split() for file in ("pass.txt", "refuse.txt"))
        config = load_config(folder / "sipwarden.toml")
        directory = load_directory(config.directory, config.base, config.trunks)
        ruleset = load_policy(None, file="default.toml", directory=directory, trunks=config.trunks)
    listeners = config.listeners()
    secret = b"a secret for benchmarks"
    proxy = Proxy(config, ruleset, listeners, secret, clock=time.perf_counter)
    gc.collect()
    gc.freeze()
    gc.set_threshold(1_000, 1_000_000, 1_000_000)  # as the worker has it
    caller, callee = Flow(listeners[0], "127.0.0.1", 7101), Flow(listeners[0], "127.0.0.1", 5080)
    completed, rejected, pieces = Stages(), Stages(), Stages()
    each = max(1, calls // TURNS)
    now = 1.0

    def feed(stages: Stages, what: str, data: bytes, flow: Flow) -> list[bytes]:
        stages.timed(what, lambda: proxy.receive(data, flow, now))
        return [sent for _, sent in proxy.take_sends()]

    def timers() -> None:
        proxy.next_timer()
        proxy.handle_timer(now)

    serial = 0
    for _ in range(TURNS):
        completed.turn()
        rejected.turn()
        for _ in range(each):
            serial += 1
            now += 0.001
            forwarded = feed(completed, "INVITE", invite(serial, f"+{callers[serial % len(callers)]}"), caller)[1]
            feed(completed, "180", response(forwarded, b"180 Ringing", b";tag=x", True), callee)
            answer = feed(completed, "200", response(forwarded, b"200 OK", b";tag=x", True), callee)[0]
            feed(completed, "ACK", in_dialog(answer, "ACK", serial), caller)
            bye = feed(completed, "BYE", in_dialog(answer, "BYE", serial), caller)[0]
            feed(completed, "200 to BYE", response(bye, b"200 OK", b"", False), callee)
            completed.timed("timers", timers)
        now += 200.0
        for _ in range(each):  # a bounded number of timers at a time
            completed.timed("afterwards", timers)
        proxy.take_sends()
        for _ in range(each):
            serial += 1
            answer = feed(rejected, "INVITE", invite(serial, f"+{refused[serial % len(refused)]}"), caller)[0]
            ack = in_dialog(answer, "ACK", serial).replace(b"-A\r\n", b"-i\r\n").replace(b"Route: \r\n", b"")
            feed(rejected, "ACK", ack, caller)
    gauges = proxy.gauges()
    assert not gauges["transactions_client"] and not gauges["transactions_server"], gauges
    trunk, branches, key = config.trunk[0], Branches(0, b"0000"), Secret(secret)
    draw = random.Random(3)
    for _ in range(TURNS):
        pieces.turn()
        for _ in range(each):
            serial += 1
            raw = invite(serial, f"+86138{draw.randrange(10**8):08d}")  # numbers never seen before, as a load's are not either
            message = SipMessage.parse(raw)
            request = Request(message, caller, b"127.0.0.1")
            pai = asserted(request, trunk)
            call = call_of(request, trunk, caller.source, pai, 1.8e9)
            again = SipMessage.parse(raw)

            def forward(request: Request = request, pai: tuple[bytes, ...] = pai) -> None:
                token = key.dialog_token(request.call_id, request.from_tag, b"0" * 8, b"1" * 8, request.sender, pai, request.to_uri)
                loop_hash = new_loop_hash(key, request, b"", b"0" * 8, b"1" * 8)
                Outgoing(request, loop_hash, token).render(callee, branches.new(loop_hash))

            pieces.timed("parse", lambda raw=raw: SipMessage.parse(raw))  # type: ignore[misc]
            pieces.timed("check", lambda again=again: Request(again, caller, b"127.0.0.1"))  # type: ignore[misc]
            pieces.timed("intake, numbers known", lambda request=request, pai=pai: call_of(request, trunk, caller.source, pai, 1.8e9))  # type: ignore[misc]
            pieces.timed("evaluate", lambda call=call: ruleset.evaluate(call))  # type: ignore[misc]
            pieces.timed("forward", forward)
    return [
        *completed.lines("completed call", each),
        *rejected.lines("rejected INVITE", each),
        *pieces.lines("pieces of one INVITE", each),
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--calls", type=int, default=5000)
    print("microseconds of CPU")
    print("\n".join(measure(parser.parse_args().calls)))


if __name__ == "__main__":
    main()
