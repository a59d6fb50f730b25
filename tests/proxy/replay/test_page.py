from __future__ import annotations

import base64
import hashlib
import io
import json
import re
import zlib
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

from proxy.decision import Judge
from proxy.replay import ladder as bounds
from proxy.replay.arrivals import Arrivals
from proxy.replay.candidate import load_candidate
from proxy.replay.judging import Replay
from proxy.replay.ladder import Ladders
from proxy.replay.message import Captured
from proxy.replay.page import BLOCK, Page
from proxy.replay.policy import Policy
from proxy.replay.summary import Summary
from proxy.replay.trouble import Trouble
from tests.proxy.replay.traffic import DAY, busy, trace

FOLDER = Path(__file__).parents[2] / "cases" / "judged"
DEMO = Path(__file__).parents[3] / "proxy" / "demo" / "config" / "sipwarden.toml"
HOSTILE = '"><script>alert(1)</script><img/src=x/onerror=alert(2)>'


class Elements(HTMLParser):
    """What elements and attributes a page has."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: dict[str, int] = {}
        self.attributes: set[str] = set()
        self.ids: dict[str, str] = {}
        self._at = ""
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags[tag] = self.tags.get(tag, 0) + 1
        self.attributes |= {name for name, _ in attrs}
        self._at = dict(attrs).get("id") or tag

    def handle_data(self, data: str) -> None:
        self.ids[self._at] = self.ids.get(self._at, "") + data

    def handle_endtag(self, tag: str) -> None:
        self._at = ""

    def block(self, number: int) -> Any:
        return json.loads(zlib.decompress(base64.b64decode(self.ids[f"block{number}"]), -15))


def page(
    messages: list[Captured], config: Path = DEMO, candidate: bool = True, ladders: Ladders | None = None, name: str = "calls.pcap"
) -> str:
    judge = Judge.load(config)
    policy = Policy(judge, Arrivals(judge.routing))
    other = None
    if candidate:
        loaded = load_candidate(FOLDER / "candidate.toml", judge)
        other = Policy(loaded, Arrivals(loaded.routing))
    kept = ladders or Ladders()
    summary = Summary(Trouble())
    for row in Replay(policy, other, summary, DAY, kept).run(messages):
        kept.keep(row)
    out = io.BytesIO()
    Page([f"/var/tmp/{name}"], policy, other, summary, kept, DAY).write(out)
    return out.getvalue().decode("utf-8")


def test_a_page_is_whole_and_asks_for_nothing() -> None:
    html = page(busy(40))
    found = Elements(html)
    assert found.tags["html"] == found.tags["table"] - 3 == 1
    assert not {"src", "style", "onclick", "onload", "srcdoc"} & found.attributes
    assert not {"link", "img", "iframe", "object", "embed", "base"} & found.tags.keys()
    assert not re.search(r"https?://(?!www\.w3\.org/2000/svg)", html)
    assert len(json.loads(found.ids["calls"])) == 40


def test_only_its_own_script_and_style_may_run() -> None:
    html = page(busy(3))
    policy = re.search(r'Content-Security-Policy" content="([^"]*)"', html)
    assert policy is not None
    assert "default-src 'none'" in policy[1]
    assert "unsafe" not in policy[1]
    for kind, pattern in {"style": r"<style>(.*?)</style>", "script": r"<script>(.*?)</script>"}.items():
        (content,) = re.findall(pattern, html, re.DOTALL)
        assert f"{kind}-src 'sha256-{base64.b64encode(hashlib.sha256(content.encode()).digest()).decode()}'" in policy[1]


@pytest.mark.parametrize(
    "hostile", [HOSTILE, "</script><script>alert(3)</script>", "<!--<script>", "\u2028alert(4)//", "$title${style}&lt;"]
)
def test_a_hostile_capture_stays_text(hostile: str) -> None:
    text = hostile.replace(" ", "_")
    messages = list(
        trace("0 127.0.0.2 > 127.0.0.1 INVITE id=a\n1 127.0.0.1 > 127.0.0.2 403 id=a\n2 127.0.0.2 > 127.0.0.1 INVITE id=b hops=999")
    )
    for one in messages:
        one.data = one.data.replace(b"Call-ID: a", b"Call-ID: " + text.encode()).replace(b"Forbidden", text.encode())
        one.data = one.data.replace(b"\r\nCSeq", b"\r\nSubject: " + text.encode() + b"\r\nCSeq")
    ours, theirs = Elements(page(list(busy(1)))), Elements(page(messages, name=f"{text}.pcap"))
    assert theirs.attributes <= ours.attributes | {"href"}
    assert theirs.tags["script"] == ours.tags["script"]
    assert "img" not in theirs.tags
    (call,) = json.loads(theirs.ids["calls"])
    assert call["id"] == text
    assert text in theirs.block(0)[0]["messages"][1]["text"]


def test_what_a_call_tells() -> None:
    again = "127.0.0.2 > 127.0.0.1 INVITE id=a from=+8675583999999"
    messages = trace(f"0 {again}\n0.5 {again}\n1 127.0.0.1 > 127.0.0.2 403 id=a")
    found = Elements(page(list(messages), FOLDER / "sipwarden.toml"))
    (call,) = json.loads(found.ids["calls"])
    assert (call["day"], call["time"]) == ("2026-01-05", "10:00:00.000")
    assert (call["action"], call["code"], call["rule"], call["status"], call["recorded"]) == ("reject", "AUTH_FAIL", "segments", 403, 403)
    assert call["changed"] and call["candidate"]["code"] == "OK"
    assert call["candidate"]["observed"] == [{"code": "AUTH_FAIL", "rule": "segments", "status": 403}]
    words = json.loads(found.ids["meta"])["codes"]["AUTH_FAIL"]
    assert words["en"].startswith("The calling number is in no authorised segment") and "鉴权失败" in words["zh"] and words["remedy"]
    (told,) = found.block(0)
    assert [host["name"] for host in told["hosts"]] == ["127.0.0.2", "127.0.0.1"]
    assert [host["trunk"] for host in told["hosts"]] == ["acme-sz", "this node"]
    assert [(one["label"], one.get("again"), one["from"], one["to"], one["t"]) for one in told["messages"]] == [
        ("INVITE", 1, 0, 1, 0),
        ("403 Forbidden", None, 1, 0, 1),
    ]


def test_changes_are_first_and_lead_to_their_calls() -> None:
    html = page(busy(200))
    assert html.index("What the candidate changes") < html.index("<h2>Verdicts") < html.index("<h2>Calls")
    places = [int(place) for place in re.findall(r'href="#call-(\d+)"', html)]
    calls = json.loads(Elements(html).ids["calls"])
    assert places and all(calls[place - 1]["changed"] for place in places)
    assert "What the candidate changes" not in page(busy(3), candidate=False)


def test_loopback_columns_are_ports() -> None:
    messages = trace("0 127.0.0.2:5062 > 127.0.0.2:5060 INVITE id=a\n1 127.0.0.2:5060 > 127.0.0.2:5062 403 id=a")
    (told,) = Elements(page(list(messages))).block(0)
    assert [host["name"] for host in told["hosts"]] == ["127.0.0.2:5062", "127.0.0.2:5060"]


def test_blocks_hold_the_messages_of_their_calls() -> None:
    found = Elements(page(busy(2 * BLOCK + 1)))
    calls = json.loads(found.ids["calls"])
    for place, call in enumerate(calls):
        assert call["id"] in found.block(place // BLOCK)[place % BLOCK]["messages"][0]["text"]
    assert [len(found.block(number)) for number in range(3)] == [BLOCK, BLOCK, 1]


def test_bounds_are_told() -> None:
    """Of too many calls those that change are kept before refused ones, and these before the others."""
    html = page(busy(200), ladders=Ladders(calls=30))
    found = Elements(html)
    calls = json.loads(found.ids["calls"])
    everything = json.loads(Elements(page(busy(200))).ids["calls"])
    changed = sum(call["changed"] for call in everything)
    assert len(calls) == 30
    assert sum(call["changed"] for call in calls) == min(30, changed)
    assert "30 of 200 calls are shown" in html
    assert [call["id"] for call in calls] == [call["id"] for call in everything if call["id"] in {one["id"] for one in calls}]


def test_text_beyond_the_bound_is_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    html = page(busy(20), ladders=Ladders(text=3_000))
    told = Elements(html).block(0)
    texts = [message.get("text") for call in told for message in call["messages"]]
    assert any(text is None for text in texts) and any(text is not None for text in texts)
    assert "stand in the ladders without their text" in html
    monkeypatch.setattr(bounds, "MESSAGES_AT_MOST", 2)
    (one,) = Elements(
        page(
            list(
                trace(
                    "0 127.0.0.2 > 127.0.0.1 INVITE id=a\n"
                    + "\n".join(f"{at} 127.0.0.1 > 127.0.0.2 180 id=a also=X:{at}" for at in range(5))
                )
            )
        )
    ).block(0)
    assert (len(one["messages"]), one["more"]) == (2, 4)


def test_room_is_given_back() -> None:
    ladders = Ladders(calls=5)
    page(busy(300), ladders=ladders)
    kept = sum(ladder.size() for ladder in ladders._ladders.values())
    assert len(ladders._ladders) == 5
    assert ladders._room + kept == bounds.TEXT_AT_MOST
