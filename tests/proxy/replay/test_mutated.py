"""Messages marred at random, from places and at times that cannot be: all is judged, counted or named, and both outputs stay whole."""

from __future__ import annotations

import io
import json
import random
from pathlib import Path

import pytest
from rich.console import Console

from proxy.cli.replay_shown import note, show
from proxy.decision import Judge
from proxy.replay.arrivals import Arrivals
from proxy.replay.candidate import load_candidate
from proxy.replay.judging import Replay
from proxy.replay.ladder import Ladders
from proxy.replay.message import Captured
from proxy.replay.page import Page
from proxy.replay.policy import Policy
from proxy.replay.summary import Summary
from proxy.replay.trouble import Trouble
from tests.proxy.replay.traffic import DAY, busy

FOLDER = Path(__file__).parents[2] / "cases" / "judged"
PIECES = [
    *(b"\r\n", b"\0", b"\xff\xfe", b"<", b'"', b",", b";", b"\x1b[31m", b"\xe2\x80\xae", b"tel:+86", b"SIP/2.0", b"INVITE ", b" " * 300),
    b"\r\nDiversion: <sip:a@b>;counter=99",
    b"\r\nHistory-Info: <sip:1@x>;index=1",
    b"\r\nP-Asserted-Identity: <tel:+8613802881946>,<sip:x@y>",
    b"\r\nIdentity: x.y.z;info=<http://a>",
]


def marred(data: bytes, draw: random.Random) -> bytes:
    out = bytearray(data)
    for _ in range(draw.choice([0, 0, 1, 1, 2, 5])):
        at = draw.randrange(len(out) + 1)
        match draw.randrange(4):
            case 0:
                out[at : at + 1] = bytes([draw.randrange(256)])
            case 1:
                out[at:at] = draw.choice(PIECES)
            case 2:
                del out[at : at + draw.randrange(30)]
            case _:
                begin = draw.randrange(len(out) + 1)
                out[at:at] = out[begin : begin + draw.randrange(80)]
    return bytes(out)


def trace(seed: int) -> list[Captured]:
    draw = random.Random(seed)
    messages = busy(120, seed)
    for one in messages:
        one.data = marred(one.data, draw)
        if draw.random() < 0.05:
            one.at = draw.choice([0.0, -1.0, 1e18, 86_401.0])
            one.source = draw.choice(["", "::1", "fe80::1%eth0", "no address", "::ffff:127.0.0.2"])
            one.destination = draw.choice(["", "::1", "no address"])
            one.transport = draw.choice(["tcp", "tls", "ws"])
            one.whole = draw.random() < 0.5
    return messages


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("trunk", [None, "acme-sz"])
def test_nothing_is_fatal(seed: int, trunk: str | None) -> None:
    judge = Judge.load(FOLDER / "sipwarden.toml")
    other = load_candidate(FOLDER / "candidate.toml", judge)
    policy, candidate = Policy(judge, Arrivals(judge.routing, trunk)), Policy(other, Arrivals(other.routing, trunk))
    ladders, summary = Ladders(calls=50, text=20_000), Summary(Trouble())
    for row in Replay(policy, candidate, summary, DAY, ladders).run(trace(seed)):
        assert json.loads(row.encoded())["code"] == row.verdict.code
        ladders.keep(row)
    assert summary.calls > 50
    assert summary.trouble.unparsable > 50
    page = io.BytesIO()
    Page(["marred.pcap"], policy, candidate, summary, ladders, DAY).write(page)
    assert page.getvalue().decode("utf-8").count("<script") == 3 + 2  # data of all, of each call, our own; and two blocks
    shown = io.StringIO()
    console = Console(file=shown, width=100)
    show(console, summary, policy, candidate)
    note(console, summary, policy, in_full=True)
    assert all(letter.isprintable() or letter == "\n" for letter in shown.getvalue())
