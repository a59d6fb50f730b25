"""What a replay says of a message is what the live proxy does with it: torture messages, ours and others', from sources of every kind."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from proxy.core import Proxy
from proxy.decision import Judge
from proxy.replay.arrivals import Arrivals
from proxy.replay.judging import Replay
from proxy.replay.message import Captured
from proxy.replay.policy import Policy
from proxy.replay.startline import begins
from proxy.replay.summary import Summary
from proxy.replay.trouble import MESSAGE, Trouble
from rules.call import Call
from rules.verdict import Verdict
from tests.proxy.party import PEERS
from tests.proxy.sip.cases import CASES, INVITE, message
from tests.proxy.wire import CONFIG, SECRET, SEGMENTS, Wire

SOURCES = ["pbx", "watched", "stopped", "peer", "abroad", "nowhere", "inside", "stranger"]
TORTURE = {path.stem: message(path.read_bytes()) for path in sorted((CASES / "torture").glob("*.sip"))}
EDITED = {
    "as it is": INVITE,
    "no hops left": INVITE.replace(b"Forwards: 70", b"Forwards: 0"),
    "sips": INVITE.replace(b"INVITE sip:", b"INVITE sips:"),
    "Proxy-Require": INVITE.replace(b"Subject: x", b"Proxy-Require: gizmo"),
    "all three": INVITE.replace(b"INVITE sip:", b"INVITE sips:")
    .replace(b"70\r\nFrom", b"0\r\nFrom")
    .replace(b"Subject: x", b"Proxy-Require: a"),
    "to the emergency number": INVITE.replace(b"+862161234567@", b"110@"),
    "not a number": INVITE.replace(b"+8675583123456", b"hello"),
}


@pytest.fixture(scope="module")
def judge(tmp_path_factory: pytest.TempPathFactory) -> Judge:
    folder = tmp_path_factory.mktemp("live")
    (folder / "sipwarden.toml").write_text(CONFIG)
    (folder / "segments.csv").write_text(SEGMENTS)
    return Judge.load(folder / "sipwarden.toml")


def live(judge: Judge, data: bytes, source: str) -> tuple[str, str]:
    """What becomes of a message ("forward", a status, "drop"), and the code by which it was judged."""
    config = judge.generation.config
    proxy = Proxy(config, judge.ruleset, config.listeners(), SECRET)
    proxy.wall_offset = 1_767_578_400.0
    wire = Wire(proxy)
    wire.out.clear()
    judged: list[Verdict] = []

    def watch(verdict: Verdict, call: Call) -> None:
        judged.append(verdict)

    proxy.watch_verdicts(watch)
    wire.give(data, wire.flow_of(source))
    started = [sent.partition(b"\r\n")[0] for _, sent in wire.out if b"OPTIONS" not in sent]
    code = judged[0].code if judged else ""
    if any(line.startswith(b"INVITE") for line in started):
        return "forward", code
    statuses = [line[8:11].decode() for line in started if line.startswith(b"SIP/2.0 ") and line[8:11] != b"100"]
    return (statuses or ["drop"])[0], code


def replayed(judge: Judge, data: bytes, source: str) -> tuple[str, str] | None:
    """The same, as a replay tells it; None for what is no INVITE, or inside a call."""
    transport, address, port = PEERS[source]
    summary = Summary(Trouble())
    replay = Replay(Policy(judge, Arrivals(judge.routing)), None, summary, 0.0)
    captured = Captured(1_767_578_400.0, address, port, "127.0.0.1", 5060, transport, data, "t:1")
    rows = list(replay.run([captured]))
    if rows:
        verdict = rows[0].verdict
        return ("forward" if verdict.status is None and verdict.action == "pass" else str(verdict.status)), verdict.code
    if summary.inside or not summary.invites:
        return None
    (fault,) = summary.trouble.examples[MESSAGE]
    found = re.search(r"answers (\d+)", fault.why)
    return (found[1] if found else "drop"), ""


def compare(judge: Judge, name: str, data: bytes, source: str) -> bool:
    told = replayed(judge, data, source)
    if told is None:
        return False
    done, code = live(judge, data, source)
    if source == "stranger":
        code = told[1]  # refused at the door, where no rule is asked
        assert code in ("TRK_UNKNOWN", "")
    assert told == (done, code), f"{name} from {source}"
    return True


@pytest.mark.parametrize("source", SOURCES)
def test_as_the_live_proxy(source: str, judge: Judge) -> None:
    compared = sum(compare(judge, name, data, source) for name, data in (TORTURE | EDITED).items())
    assert compared > 40


def foreign(corpora: Path) -> Iterator[tuple[str, bytes]]:
    for folder in ("rfc4475", "rfc5118", "protos"):
        for path in sorted((corpora / folder).iterdir()):
            data = path.read_bytes().lstrip(b"\r\n")
            if path.suffix not in (".tsv", ".md") and begins(data):
                yield path.name, data


@pytest.mark.corpora
def test_as_the_live_proxy_with_foreign_messages(corpora: Path, judge: Judge) -> None:
    compared = sum(compare(judge, name, data, "watched") for name, data in foreign(corpora))
    assert compared > 200
