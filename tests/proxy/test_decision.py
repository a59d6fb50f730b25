"""The library face: what sipwarden.toml says, loaded by a stranger, and calls described by their header values."""

from __future__ import annotations

import json
import re
import threading
import tomllib
from pathlib import Path
from typing import Any

import msgspec
import pytest

from proxy.decision import VALUE_LONGEST, VALUES_AT_MOST, DecisionRequest, Judge, WrongRequest, read_request
from proxy.generation import Faults
from rules.verdict import Lookup

ROOT = Path(__file__).resolve().parents[2]
WRONG = tomllib.loads((ROOT / "tests" / "cases" / "wrong_requests.toml").read_text(encoding="utf-8"))["case"]
CONFIG = """
[[listen]]
address = "127.0.0.1:5060"
[[trunk]]
id = "acme-sz"
customer = "acme"
kind = "enterprise"
sources = ["192.0.2.20", "192.0.2.0/24", "2001:db8::1"]
home_area = "755"
reject_profile = "redirect"
[[trunk]]
id = "acme-port"
customer = "acme"
kind = "enterprise"
sources = ["192.0.2.20:5070"]
reject_profile = "redirect"
[[trunk]]
id = "gw"
kind = "international"
sources = ["198.51.100.1"]
reject_profile = "redirect"
unverified = "mark"
[[lookup]]
kind = "roaming"
url = "http://127.0.0.1:9/{number}"
deadline = "2s"
[directory]
segments = ["segments.csv"]
"""
SEGMENTS = "customer,trunk,first,last\nacme,acme-sz,+8675583120000,+8675583129999\n"
CALLEE = "sip:13800138000@gw"
ROAMER = {"source": "198.51.100.1", "from": "+8613802881946", "to": CALLEE}


@pytest.fixture(name="judge")
def made(tmp_path: Path) -> Judge:
    (tmp_path / "sipwarden.toml").write_text(CONFIG)
    (tmp_path / "segments.csv").write_text(SEGMENTS)
    return Judge.load(tmp_path / "sipwarden.toml")


def code(judge: Judge, **described: Any) -> str:
    described = {"trunk": "acme-sz", "from": "83123456", "to": CALLEE} | described
    if "source" in described:
        del described["trunk"]
    return judge.decide(described).verdict.code


def test_a_verdict_is_the_json_of_the_contract(judge: Judge) -> None:
    document = judge.decide(
        b'{"source": "192.0.2.20:5060", "from": "\\"95588\\" <sip:83123456@pbx>;tag=1", "to": "sip:13800138000@gw"}'
    ).json()
    assert json.loads(json.dumps(document)) == document
    assert document.pop("elapsed_us") > 0
    assert document == {
        "action": "pass",
        "code": "AUTH_OK",
        "rule": "segments",
        "status": None,
        "phrase": "",
        "caller": "+8675583123456",
        "called": "+8613800138000",
        "trunk": "acme-sz",
        "customer": "acme",
        "marks": [],
        "labels": {},
        "mode": "enforce",
        "would": None,
        "policy_version": judge.ruleset.policy_version,
        "directory_version": judge.generation.directory.version,
    }


@pytest.mark.parametrize(
    ("source", "trunk"),
    [
        ("192.0.2.20", "acme-sz"),
        ("192.0.2.20:5070", "acme-port"),
        ("192.0.2.99:5070", "acme-sz"),
        ("[2001:db8::1]:5060", "acme-sz"),
        ("2001:db8::1", "acme-sz"),
        ("::ffff:192.0.2.20", "acme-sz"),
        ("203.0.113.1", ""),
    ],
)
def test_a_source_is_resolved_to_its_trunk(judge: Judge, source: str, trunk: str) -> None:
    verdict = judge.decide({"source": source, "from": "83123456", "to": CALLEE}).verdict
    assert (verdict.trunk, verdict.code == "TRK_UNKNOWN") == (trunk, trunk == "")


@pytest.mark.parametrize(
    ("described", "expected"),
    [
        ({"from": "+8675583123456"}, "AUTH_OK"),
        ({"from": "tel:+8675583123456"}, "AUTH_OK"),
        ({"from": '"<sip:110@h>" <sip:83123456@pbx>;tag=1'}, "AUTH_OK"),
        ({"from": '"83123456" <sip:83199999@pbx>'}, "AUTH_FAIL"),
        ({"from": "sip:83123456;tgrp=1@pbx"}, "AUTH_OK"),
        ({"from": ""}, "CLI_EMPTY"),
        ({"from": "<sip:anonymous@anonymous.invalid>"}, "ENT_CLI_HIDDEN"),
        ({"pai": ["<sip:83123456@pbx>, <tel:+8675583123456>"]}, "AUTH_OK"),
        ({"pai": ["<sip:83123456@pbx>", "<sip:83199999@pbx>"]}, "ID_PAI_CONFLICT"),
        ({"pai": ["<sip:83123456@pbx>, <sip:83199999@pbx>"]}, "ID_PAI_CONFLICT"),
        ({"privacy": "critical; ID"}, "ENT_CLI_HIDDEN"),
        ({"privacy": "none"}, "AUTH_OK"),
        ({"from": "+8613712345678", "diversion": ["83123456"]}, "FWD_NO_CORR"),
        ({"from": "+8613712345678", "diversion": ["<sip:83123456@pbx>;reason=no-answer;counter=6"]}, "FWD_LOOP"),
        ({"from": "+8613712345678", "diversion": ["<sip:83199999@pbx>, <sip:83123456@pbx>"]}, "FWD_AUTH_FAIL"),
        ({"from": "+8613712345678", "history_info": ["<sip:83123456@h>;index=1, <sip:1@h;cause=302>;index=1.1"]}, "FWD_NO_CORR"),
        ({"to": "110", "from": "83199999"}, "EMG_OVERRIDE"),
        ({"to": '"police" <sip:110@gw>', "from": "83199999"}, "EMG_OVERRIDE"),
        ({"at": "2026-03-02T10:00:00+08:00"}, "AUTH_OK"),
        ({"at": 1772416800}, "AUTH_OK"),
    ],
)
def test_header_values_are_read_as_in_a_message(judge: Judge, described: dict[str, Any], expected: str) -> None:
    assert code(judge, **described) == expected


@pytest.mark.parametrize("case", WRONG, ids=[case["json"] for case in WRONG])
def test_wrong_requests(judge: Judge, case: dict[str, str]) -> None:
    with pytest.raises(WrongRequest) as raised:
        judge.decide(case["json"])
    assert str(raised.value).startswith(case["says"]), str(raised.value)
    assert str(raised.value).isprintable()
    assert not raised.value.key or case["says"].startswith(raised.value.key + ":")


def test_what_json_cannot_say_is_refused_as_well(judge: Judge) -> None:
    for wrong in (
        {"from": "\ud800"},
        {"from": "1", "at": float("nan")},
        {"from": "1" * (VALUE_LONGEST + 1)},
        {"pai": ["1"] * (VALUES_AT_MOST + 1)},
    ):
        with pytest.raises(WrongRequest):
            judge.decide({"trunk": "acme-sz", "from": "1", "to": "2"} | wrong)
    assert code(judge, **{"from": "\udcff83123456"}) == "CLI_NON_DIGIT"  # a byte that was not UTF-8, as Python reads the wire
    with pytest.raises(WrongRequest):
        judge.decide(b"\xff")


def test_look_ups_are_answered_by_a_resolver(judge: Judge) -> None:
    asked: list[Lookup] = []

    def abroad(lookup: Lookup) -> object:
        asked.append(lookup)
        return "abroad"

    decision = judge.decide(ROAMER, abroad)
    assert (decision.verdict.code, decision.unanswered) == ("INTL_86_ROAMING", ())
    assert [(lookup.kind, lookup.key, lookup.deadline) for lookup in asked] == [("roaming", "+8613802881946", 2.0)]
    assert judge.decide(ROAMER, lambda lookup: "home").verdict.code == "INTL_86_NOT_ROAMING"


def test_look_ups_without_an_answer_are_said(judge: Judge) -> None:
    for resolver in (None, lambda lookup: None):
        decision = judge.decide(ROAMER, resolver)
        assert (decision.verdict.action, decision.verdict.code) == ("reject", "INTL_86_UNVERIFIED")
        assert [(lookup.kind, lookup.key) for lookup in decision.unanswered] == [("roaming", "+8613802881946")]
    assert judge.decide({"trunk": "acme-sz", "from": "83123456", "to": CALLEE}).unanswered == ()


def test_a_request_bounds_the_look_ups(judge: Judge) -> None:
    asked: list[float] = []
    judge.decide(ROAMER | {"deadline_ms": 150}, lambda lookup: asked.append(lookup.deadline))
    assert 0 < asked[0] <= 0.15
    asked.clear()
    judge.decide(ROAMER | {"deadline_ms": 60_000}, lambda lookup: asked.append(lookup.deadline))
    assert asked == [2.0]


def test_what_a_resolver_raises_comes_out(judge: Judge) -> None:
    def broken(lookup: Lookup) -> object:
        raise ConnectionError(lookup.key)

    with pytest.raises(ConnectionError):
        judge.decide(ROAMER, broken)
    assert judge.decide(ROAMER, lambda lookup: "abroad").verdict.code == "INTL_86_ROAMING"


def test_a_forwarded_call_is_proven_by_what_was_delivered(judge: Judge) -> None:
    forwarded = {"trunk": "acme-sz", "from": "+8613712345678", "to": CALLEE, "diversion": ["83123456"], "at": 1000.0}
    assert judge.decide(forwarded).verdict.code == "FWD_NO_CORR"
    first = {"source": "198.51.100.1", "from": "+8613712345678", "to": "+8675583123456", "at": 990.0}
    judge.delivered(judge.decide(first, lambda lookup: "abroad").call, "acme-sz")
    assert judge.decide(forwarded).verdict.code == "FWD_OK"
    assert Judge(judge.generation, legs=judge.legs).decide(forwarded).verdict.code == "FWD_OK"
    assert judge.decide(forwarded | {"at": 990.0 + 121}).verdict.code == "FWD_NO_CORR"
    assert judge.decide(forwarded | {"from": "+8613712345679"}).verdict.code == "FWD_NO_CORR"
    with pytest.raises(KeyError):
        judge.delivered(judge.decide(first).call, "acme")


def test_customers_that_share_a_trunk(tmp_path: Path) -> None:
    shared = CONFIG.replace(
        'id = "acme-sz"\ncustomer = "acme"', 'id = "acme-sz"\ncustomers = ["acme", "beta"]\ncustomer_header = "X-Customer"'
    )
    (tmp_path / "sipwarden.toml").write_text(shared)
    (tmp_path / "segments.csv").write_text(SEGMENTS)
    judge = Judge.load(tmp_path / "sipwarden.toml")
    call = {"trunk": "acme-sz", "from": "83123456", "to": CALLEE}
    for more, code, customer in (
        ({"customer": "acme"}, "AUTH_OK", "acme"),
        ({"customer": "beta"}, "AUTH_FAIL", "beta"),
        ({}, "AUTH_FAIL", ""),
    ):
        verdict = judge.decide(call | more).verdict
        assert (verdict.code, verdict.customer) == (code, customer)
    first = judge.decide({"source": "198.51.100.1", "from": "+12125550100", "to": "+8675583123456"})
    judge.delivered(first.call, "acme-sz")
    forwarded = {"trunk": "acme-sz", "from": "+12125550100", "to": CALLEE, "diversion": ["83123456"]}
    assert judge.decide(forwarded | {"customer": "acme"}).verdict.code == "FWD_OK"
    assert judge.decide(forwarded | {"customer": "beta"}).verdict.code == "ENT_INTL_CLI"  # nothing that it may forward


def test_the_emergency_allowance_holds_across_threads(judge: Judge) -> None:
    """10 a second for callers that nobody knows: not one more, whoever asks at once."""
    emergency = DecisionRequest(trunk="acme-sz", sender="83199999", to="110", at=1000.0)
    codes: list[str] = []

    def ask() -> None:
        codes.extend([judge.decide(emergency).verdict.code for _ in range(50)])

    threads = [threading.Thread(target=ask) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (len(codes), codes.count("EMG_OVERRIDE")) == (400, 10)


def test_faults_of_the_configuration(tmp_path: Path) -> None:
    (tmp_path / "sipwarden.toml").write_text(CONFIG.replace('"acme-port"', '"acme-sz"'))
    (tmp_path / "segments.csv").write_text(SEGMENTS)
    with pytest.raises(Faults) as raised:
        Judge.load(tmp_path / "sipwarden.toml")
    (fault,) = raised.value.faults
    assert str(fault).endswith(':12: trunk[2].id: trunk[1] has this id already ("acme-sz"; each id once)')
    with pytest.raises(Faults):
        Judge.load(tmp_path / "nowhere.toml")


def test_a_request_survives_its_own_json() -> None:
    request = DecisionRequest(trunk="a", sender="1", to="2", pai=("3",), at="2026-03-02T10:00:00+08:00", deadline_ms=5)
    assert read_request(msgspec.json.encode(request)) == request


def test_the_example_of_the_readme(tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """Its configuration, its list and its program, as a stranger copies them."""
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    blocks = dict(reversed(re.findall(r"^```(\w+)\n(.*?)^```", readme, re.MULTILINE | re.DOTALL)))
    (tmp_path / "sipwarden.toml").write_text(blocks["toml"], encoding="utf-8")
    (tmp_path / "segments.csv").write_text(blocks["csv"], encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    exec(compile(blocks["python"], "README.md", "exec"), {})
    said = re.search(r"print\(.*# (.*)", blocks["python"])
    assert said is not None
    assert capsys.readouterr().out == said[1] + "\n"
