from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from proxy.__main__ import main
from proxy.replay.page import Page
from tests.proxy.replay.traffic import busy, trace, write_pcap

CASES = Path(__file__).parents[2] / "cases" / "judged"
CONFIG = str(CASES / "sipwarden.toml")
DEMO = str(Path(__file__).parents[3] / "proxy" / "demo" / "config" / "sipwarden.toml")
SUMMARY = ["packets", "messages", "invites", "calls", "actions", "codes", "changed", "unparsable"]
CALLS = """
0    127.0.0.2 > 127.0.0.1  INVITE id=a from=+8675583999999
0.1  127.0.0.1 > 127.0.0.2  200 id=a
1    127.0.0.2 > 127.0.0.1  INVITE id=b
2    203.0.113.9 > 127.0.0.1  INVITE id=c
3    127.0.0.2 > 127.0.0.1  INVITE id=d hops=999
"""


@pytest.fixture
def capture(tmp_path: Path) -> str:
    return str(write_pcap(tmp_path / "calls.pcap", trace(CALLS)))


def document(words: list[str], capsys: pytest.CaptureFixture[str], status: int = 0, config: str = CONFIG) -> dict[str, Any]:
    assert main(["replay", "-c", config, *words, "--json"]) == status
    found: dict[str, Any] = json.loads(capsys.readouterr().out)
    assert list(found) == ["calls", "summary"]
    assert list(found["summary"]) == SUMMARY
    return found


def test_json(capture: str, capsys: pytest.CaptureFixture[str]) -> None:
    found = document([capture], capsys)
    assert [(row["call_id"], row["code"], row["recorded_status"]) for row in found["calls"]] == [
        ("a", "AUTH_FAIL", 200),
        ("b", "AUTH_OK", None),
        ("c", "TRK_UNKNOWN", None),
    ]
    assert found["summary"] == {
        "packets": 5,
        "messages": 5,
        "invites": 4,
        "calls": 3,
        "actions": {"reject": 2, "pass": 1},
        "codes": {"AUTH_FAIL": 1, "AUTH_OK": 1, "TRK_UNKNOWN": 1},
        "changed": 0,
        "unparsable": 1,
    }


def test_faults_are_named_on_standard_error(capture: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["replay", "-c", CONFIG, capture, "--json"]) == 0
    assert f"{capture}:5: Bad Max-Forwards (the node answers 400)" in capsys.readouterr().err.replace("\n", "")


@pytest.mark.parametrize("candidate", ["candidate.toml", "sipwarden.toml"])
def test_candidate(candidate: str, capture: str, capsys: pytest.CaptureFixture[str]) -> None:
    found = document([capture, "--candidate", str(CASES / candidate)], capsys)
    row = found["calls"][0]
    assert list(row["candidate"]) == list(row)[3:-2]
    changed = candidate == "candidate.toml"
    assert row["candidate"]["code"] == ("OK" if changed else "AUTH_FAIL")
    assert found["summary"]["changed"] == (1 if changed else 0)


def test_candidate_without_the_trunk(capture: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    other = (CASES / "sipwarden.toml").read_text().replace('"acme-sz"', '"acme-gz"').replace('"segments.csv"', '"other.csv"')
    (tmp_path / "other.toml").write_text(other)
    (tmp_path / "other.csv").write_text((CASES / "segments.csv").read_text().replace("acme-sz", "acme-gz"))
    found = document([capture, "--candidate", str(tmp_path / "other.toml"), "--trunk", "acme-sz"], capsys)
    assert [row["candidate"]["code"] for row in found["calls"]] == ["TRK_UNKNOWN"] * 3
    found = document([capture, "--candidate", str(tmp_path / "other.toml")], capsys)
    assert [row["candidate"]["trunk"] for row in found["calls"]] == ["acme-gz", "acme-gz", ""]


def test_for_people(capture: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["replay", "-c", CONFIG, capture, "--candidate", str(CASES / "candidate.toml")]) == 0
    said = capsys.readouterr().out
    for words in (
        "5 packets, 5 SIP messages, 1 faults",
        "reject AUTH_FAIL 403",
        "pass OK",
        "1 of 3 calls",
        "+8675583999999 → +8613800138000",
    ):
        assert words in said
    assert "Bad Max-Forwards" in said
    assert main(["replay", "-c", CONFIG, capture, "--candidate", CONFIG]) == 0
    assert "decides every call as the policy does" in capsys.readouterr().out


def test_what_a_terminal_would_obey_is_made_harmless(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    calls = "0 127.0.0.2 > 127.0.0.1 INVITE id=a\x1b[31m from=\x1b]0;owned\x07"
    capture = write_pcap(tmp_path / "calls.pcap", trace(calls))
    assert main(["replay", "-c", CONFIG, str(capture), "--candidate", str(CASES / "candidate.toml")]) == 0
    said = capsys.readouterr()
    assert "\x1b" not in said.out + said.err and "\x07" not in said.out + said.err


def test_trunk_and_map(capture: str, capsys: pytest.CaptureFixture[str]) -> None:
    found = document(["--trunk", "peer-gz", capture], capsys)
    assert {row["trunk"] for row in found["calls"]} == {"peer-gz"}
    for words in (["--map", "203.0.113.0/24=acme-sz", capture], [capture, "--map", "203.0.113.0/24=acme-sz", "10.0.0.0/8=core"]):
        assert [row["code"] for row in document(words, capsys)["calls"]] == ["AUTH_FAIL", "AUTH_OK", "AUTH_OK"]


def test_notes(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    capture = str(write_pcap(tmp_path / "elsewhere.pcap", trace("0 203.0.113.9 > 203.0.113.8 INVITE id=a")))
    assert main(["replay", "-c", CONFIG, capture, "--json"]) == 0
    assert "--trunk or --map says where" in capsys.readouterr().err
    assert main(["replay", "-c", CONFIG, capture, "--map", "10.0.0.1=core", "--json"]) == 0
    assert "none was judged" in capsys.readouterr().err
    capture = str(write_pcap(tmp_path / "abroad.pcap", trace("0 127.0.0.5 > 127.0.0.1 INVITE id=a from=+8613800138000")))
    assert main(["replay", "-c", CONFIG, capture, "--json"]) == 0
    assert "1 calls wait for a look-up that a replay does not make" in capsys.readouterr().err


def test_one_bad_file_among_several(capture: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["replay", "-c", CONFIG, str(tmp_path / "absent.pcap"), capture, "--json"]) == 2
    said = capsys.readouterr()
    assert json.loads(said.out)["summary"]["calls"] == 3
    assert "absent.pcap: No such file" in said.err


def test_standard_input(capture: str) -> None:
    words = [sys.executable, "-m", "proxy", "replay", "-c", CONFIG, "-", "--json"]
    done = subprocess.run(words, input=Path(capture).read_bytes(), capture_output=True, check=True)
    assert json.loads(done.stdout)["summary"]["calls"] == 3


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--trunk", "nobody", "x"], "no trunk is called 'nobody'"),
        (["x", "--map", "300.0.0.1=core"], "'300.0.0.1' is not an IP address"),
        (["x", "--map", "10.0.0.1=nobody"], "no trunk is called 'nobody'"),
        ([], "name at least one trace"),
        (["x", "--html", "/nowhere/at/all.html"], "--html: /nowhere/at/all.html: No such file"),
    ],
)
def test_wrong_usage(words: list[str], said: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["replay", "-c", CONFIG, *words]) == 2
    told = capsys.readouterr()
    assert told.out == ""
    assert said in told.err


def test_trunk_or_map(capture: str) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["replay", "-c", CONFIG, capture, "--trunk", "core", "--map", "10.0.0.1=core"])
    assert ended.value.code == 2


def test_faults_of_configuration_and_candidate(capture: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "bad.toml").write_text('[rules.segments]\nmode = "sometimes"\n')
    assert main(["replay", "-c", CONFIG, capture, "--candidate", str(tmp_path / "bad.toml"), "--json"]) == 1
    said = capsys.readouterr()
    assert said.out == ""
    assert "bad.toml:2" in said.err and "rules.segments.mode" in said.err
    assert main(["replay", "-c", CONFIG, capture, "--candidate", str(tmp_path / "absent.toml"), "--json"]) == 1
    assert "absent.toml" in capsys.readouterr().err
    (tmp_path / "torn.toml").write_text("[rules\n")
    assert main(["replay", "-c", CONFIG, capture, "--candidate", str(tmp_path / "torn.toml"), "--json"]) == 1
    assert "torn.toml" in capsys.readouterr().err
    assert main(["replay", "-c", str(tmp_path / "none.toml"), capture]) == 1
    assert "none.toml" in capsys.readouterr().err


def test_a_page_and_a_document_at_once(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    capture = write_pcap(tmp_path / "busy.pcap", busy(60))
    page = tmp_path / "page.html"
    found = document([str(capture), "--html", str(page)], capsys, config=DEMO)
    assert found["summary"]["calls"] == 60
    assert page.read_text(encoding="utf-8").rstrip().endswith("</html>")


def test_a_page_takes_no_traces_place(capture: str, capsys: pytest.CaptureFixture[str]) -> None:
    before = Path(capture).read_bytes()
    assert main(["replay", "-c", CONFIG, capture, "--html", capture]) == 2
    assert "is one of the files that are read" in capsys.readouterr().err
    assert Path(capture).read_bytes() == before


def test_an_interrupted_replay_leaves_the_old_page(capture: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    page = tmp_path / "page.html"
    page.write_text("old")
    before = sorted(tmp_path.iterdir())
    monkeypatch.setattr(Page, "write", interrupted)
    assert main(["replay", "-c", CONFIG, capture, "--html", str(page)]) == 130
    assert page.read_text() == "old"
    assert sorted(tmp_path.iterdir()) == before


def test_bytes_that_are_no_text(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (one,) = trace("0 127.0.0.2 > 127.0.0.1 INVITE id=a")
    one.data = one.data.replace(b"Call-ID: a", b"Call-ID: \xff\xfe\xed\xa0\x80")
    capture = str(write_pcap(tmp_path / "bytes.pcap", [one]))
    page = tmp_path / "page.html"
    found = document([capture, "--html", str(page)], capsys)
    assert found["calls"][0]["call_id"].startswith("\ufffd")
    assert "\ufffd" in page.read_text(encoding="utf-8")
