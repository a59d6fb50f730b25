from __future__ import annotations

import json
import re
import shlex
import tomllib
from pathlib import Path
from typing import Any

import pytest

from proxy.__main__ import main

ROOT = Path(__file__).parents[3]
DEMO = ROOT / "proxy" / "demo" / "config"
CONFIG = str(DEMO / "sipwarden.toml")
CASES = tomllib.loads((ROOT / "tests" / "cases" / "explain.toml").read_text(encoding="utf-8"))["case"]

FIELDS = (
    "action code rule status phrase caller called trunk customer marks labels mode would policy_version directory_version elapsed_us steps"
)
RULES = [
    "emergency",
    "trunk",
    "intercept",
    "privacy",
    "identity",
    "international",
    "regular",
    "own_number",
    "forwarding",
    "segments",
    "purpose",
    "marketing",
    "label",
]

INVITE = """\
INVITE sip:13800138000@127.0.0.1 SIP/2.0
Via: SIP/2.0/UDP 127.0.0.2:5060;branch=z9hG4bK1
Max-Forwards: 70
From: "95588" <sip:+8675583123456@127.0.0.2>;tag=1
To: <sip:13800138000@127.0.0.1>
Call-ID: 1
CSeq: 1 INVITE
P-Asserted-Identity: <sip:+8675583123457@127.0.0.2>,
  <tel:+8675583123457>
Content-Length: 0

"""


def explained(arguments: str | list[str], capsys: pytest.CaptureFixture[str], config: str = CONFIG) -> dict[str, Any]:
    words = shlex.split(arguments) if isinstance(arguments, str) else arguments
    assert main(["explain", "-c", config, *words, "--json"]) == 0
    document: dict[str, Any] = json.loads(capsys.readouterr().out)
    assert list(document) == FIELDS.split()
    return document


def from_file(tmp_path: Path, content: str | bytes, source: str = "127.0.0.2") -> list[str]:
    path = tmp_path / "message.sip"
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return ["--source", source, "--sip", str(path)]


def refused(words: list[str], capsys: pytest.CaptureFixture[str]) -> str:
    assert main(["explain", "-c", CONFIG, *words, "--json"]) == 2
    said = capsys.readouterr()
    assert said.out == ""
    return said.err


@pytest.mark.parametrize("case", CASES, ids=[case["arguments"] for case in CASES])
def test_each_rule(case: dict[str, Any], capsys: pytest.CaptureFixture[str]) -> None:
    verdict = explained(case["arguments"], capsys)
    assert (verdict["action"], verdict["code"], verdict["rule"]) == (case["action"], case["code"], case["rule"])
    assert verdict["caller"] == case.get("caller")
    assert verdict["status"] == (403 if case["action"] == "reject" else None)
    told = {step["rule"]: step["outcome"] for step in verdict["steps"]}
    assert list(told) == RULES[: len(told)]
    assert {rule: told[rule] for rule in case.get("steps", {})} == case.get("steps", {})
    if case["action"] == "reject":
        assert verdict["steps"][-1]["rule"] == case["rule"]
        assert verdict["steps"][-1]["outcome"] == "reject"
    else:
        assert list(told) == RULES


def test_every_rule_decides_some_case() -> None:
    assert {case["rule"] for case in CASES} - {""} == set(RULES) - {"label"}  # which refuses nobody and answers for nobody


def test_the_raw_value_of_a_caller_without_a_number_is_in_the_steps(capsys: pytest.CaptureFixture[str]) -> None:
    assert "'zhangsan'" in explained("--trunk acme-sz --from zhangsan --to 110110", capsys)["steps"][-1]["detail"]


def test_observe_names_what_would_have_been(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for file in DEMO.iterdir():
        (tmp_path / file.name).write_text(file.read_text(encoding="utf-8").replace('id = "acme-sz"', 'id = "acme-sz"\nmode = "observe"'))
    config = str(tmp_path / "sipwarden.toml")
    verdict = explained("--trunk acme-sz --from 4008123123 --to 13800138000", capsys, config)
    assert (verdict["action"], verdict["mode"]) == ("pass", "observe")
    assert verdict["would"] == {"action": "reject", "code": "CLI_400", "rule": "regular", "status": 403}
    observed = [(step["rule"], step["code"]) for step in verdict["steps"] if step["outcome"] == "observed reject"]
    assert observed == [("regular", "CLI_400"), ("segments", "AUTH_FAIL")]
    assert main(["explain", "-c", config, "--trunk", "acme-sz", "--from", "4008123123", "--to", "13800138000"]) == 0
    assert "observed only: would reject with CLI_400 by rule regular" in capsys.readouterr().out


def test_the_address_for_appeals_is_shown(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    profile = 'id = "acme-sz"\nreject_profile = "rfc8688"\nredress = "https://redress.example/jcard"'
    for file in DEMO.iterdir():
        (tmp_path / file.name).write_text(file.read_text(encoding="utf-8").replace('id = "acme-sz"', profile))
    arguments = ["--trunk", "acme-sz", "--from", "4008123123", "--to", "13800138000"]
    assert main(["explain", "-c", str(tmp_path / "sipwarden.toml"), *arguments]) == 0
    first = capsys.readouterr().out.replace("\n", " ")
    assert first.startswith(" REJECT   608 Rejected  (Call-Info: <https://redress.example/jcard>;purpose=jwscard)  by rule")


@pytest.mark.parametrize(
    ("changes", "policy", "caller", "first", "facts"),
    [
        (
            'reject_profile = "redirect"',
            "",
            "83123456",
            " PASS   by rule segments",
            "goes to    302 Moved Temporarily  to the peer",
        ),
        ('reject_profile = "redirect"\ngo_on = "404"', "", "83123456", " PASS   by rule segments", "goes to    404 Not Found  to the peer"),
        ('reject_profile = "redirect"', "", "88886666", " REJECT   603 Decline  (Reason: Q.850;cause=21)  by rule segments", ""),
        (
            "",
            '[rules.segments]\naction = "redirect"\nredirect_to = "sip:announcement@192.0.2.9"\n',
            "88886666",
            " REDIRECT   302 Moved Temporarily  (Contact: <sip:announcement@192.0.2.9>)  by rule segments",
            "│ 10 │ segments      │ redirect",
        ),
        ("", '[rules.segments]\naction = "drop"\n', "88886666", " DROP   no answer  by rule segments", "│ 10 │ segments      │ drop  "),
    ],
)
def test_what_a_rejection_does_and_what_a_peer_that_asks_is_told(
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    changes: str,
    policy: str,
    caller: str,
    first: str,
    facts: str,
) -> None:
    monkeypatch.setenv("COLUMNS", "140")
    for file in DEMO.iterdir():
        text = file.read_text(encoding="utf-8").replace('id = "acme-sz"', f'id = "acme-sz"\n{changes}')
        if policy and file.name == "sipwarden.toml":
            text += '\n[policy]\nfile = "actions.toml"\n'
        (tmp_path / file.name).write_text(text)
    (tmp_path / "actions.toml").write_text(policy)
    assert main(["explain", "-c", str(tmp_path / "sipwarden.toml"), "--trunk", "acme-sz", "--from", caller, "--to", "13800138000"]) == 0
    said = capsys.readouterr().out
    assert said.splitlines()[0] == first
    assert facts in re.sub(r"goes to +", "goes to    ", said)


def test_for_people(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "140")
    assert main(["explain", "-c", CONFIG, "--trunk", "acme-sz", "--from", "88886666", "--to", "13800138000"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == " REJECT   403 Forbidden  (Reason: Q.850;cause=21)  by rule segments"
    assert lines[1].startswith("AUTH_FAIL  The calling number is in no authorised segment")
    assert "鉴权失败" in lines[2]
    assert any(line.startswith("→ Call with a number of your segments") for line in lines)
    assert any("│ 10 │ segments      │ reject     │ AUTH_FAIL  +8675588886666 in no segment of acme-sz" in line for line in lines)


@pytest.mark.parametrize(
    ("arguments", "where"),
    [
        ("--trunk acme-sz --from 83123456 --to 13800138000", "goes to  switch  sip:127.0.0.6:5060"),
        ("--trunk core --from 13912345678 --to +8675583123456", "goes to  acme-pbx  sip:127.0.0.2:5060;transport=tcp"),
        ("--trunk core --from 13912345678 --to +862088886666", "goes to  peer  sip:127.0.0.4:5060"),
    ],
)
def test_where_a_call_goes(arguments: str, where: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["explain", "-c", CONFIG, *shlex.split(arguments)]) == 0
    assert where in capsys.readouterr().out


def test_history_is_shown(capsys: pytest.CaptureFixture[str]) -> None:
    history = "<sip:83123456@pbx>;index=1,<sip:1@gw;cause=302>;index=1.1"
    words = ["explain", "-c", CONFIG, "--trunk", "acme-sz", "--from", "13712345678", "--to", "13800138000", "--history-info", history]
    assert main(words) == 0
    assert "sip:83123456@pbx  cause 302" in capsys.readouterr().out


def test_rules_that_were_not_asked_are_named(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["explain", "-c", CONFIG, "--trunk", "beta-sz", "--from", "1", "--to", "2"]) == 0
    assert capsys.readouterr().out.count("not asked") == len(RULES) - 2


# a message from a file


@pytest.mark.parametrize("ends", ["\n", "\r\n"])
def test_a_message(ends: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    verdict = explained(from_file(tmp_path, INVITE.replace("\n", ends)), capsys)
    assert (verdict["code"], verdict["trunk"], verdict["caller"]) == ("AUTH_OK", "acme-sz", "+8675583123457")
    assert verdict["marks"] == ["ID_FROM_MISMATCH"]


def test_an_editor_may_have_taken_the_empty_line_and_the_carriage_returns_of_the_body(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert explained(from_file(tmp_path, INVITE.rstrip("\n")), capsys)["code"] == "AUTH_OK"
    body = INVITE.replace("Length: 0\n", "Length: 10\n") + "v=0\ns=-\n"
    assert explained(from_file(tmp_path, body), capsys)["code"] == "AUTH_OK"


@pytest.mark.parametrize(
    ("source", "code", "trunk"),
    [("127.0.0.2:49152", "AUTH_OK", "acme-sz"), ("127.0.0.99", "TRK_UNKNOWN", ""), ("[2001:db8::1]:5060", "TRK_UNKNOWN", "")],
)
def test_where_it_came_from_decides_the_trunk(
    source: str, code: str, trunk: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    verdict = explained(from_file(tmp_path, INVITE, source), capsys)
    assert (verdict["code"], verdict["trunk"]) == (code, trunk)


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("CSeq: 1", "CSeq: one", "CSeq (the node answers 400)"),
        ("Call-ID: 1\n", "", "Mandatory header field missing (the node answers 400)"),
        ("INVITE sip:", "INVITE http:", "Unsupported URI Scheme (the node answers 416)"),
        ("Length: 0", "Length: 500", "Content-Length beyond end of message (the node answers 400)"),
        ("INVITE", "BYE", "a request BYE; only an INVITE is judged"),
        ("INVITE sip:13800138000@127.0.0.1 SIP/2.0", "SIP/2.0 200 OK", "a response (200); only an INVITE is judged"),
        (INVITE, "", "the node answers 400"),
    ],
)
def test_what_cannot_be_judged(old: str, new: str, said: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert said in refused(from_file(tmp_path, INVITE.replace(old, new)), capsys)


def test_a_file_with_carriage_returns_is_taken_as_it_is(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    said = refused(from_file(tmp_path, INVITE.replace("\n", "\r\n").replace("Call-ID: 1\r\n", "Call-ID: 1\n")), capsys)
    assert "Bare CR or LF" in said


def test_a_re_invite_is_judged_with_a_note(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = from_file(tmp_path, INVITE.replace("To: <sip:13800138000@127.0.0.1>", "To: <sip:13800138000@127.0.0.1>;tag=2"))
    assert main(["explain", "-c", CONFIG, *words, "--json"]) == 0
    said = capsys.readouterr()
    assert json.loads(said.out)["code"] == "AUTH_OK"
    assert said.err.startswith("note: To has a tag")


# customers that share a trunk, and the node's clock


def shared(folder: Path, more: str = "") -> str:
    """The demo's configuration with acme-sz shared by acme and beta, told by X-Customer."""
    for file in DEMO.iterdir():
        text = file.read_text(encoding="utf-8").replace(
            'id = "acme-sz"\ncustomer = "acme"\n', f'id = "acme-sz"\ncustomers = ["acme", "beta"]\n{more}'
        )
        (folder / file.name).write_text(text, encoding="utf-8")
    return str(folder / "sipwarden.toml")


HEADER = 'customer_header = "X-Customer"\n'


@pytest.mark.parametrize(
    ("customer", "code", "told"),
    [
        ("--customer acme", "AUTH_OK", "X-Customer: 'acme', a call of acme; +8675583123456 in segment"),
        ("--customer beta", "AUTH_FAIL", "X-Customer: 'beta', a call of beta; +8675583123456 in no segment of beta on acme-sz"),
        ("--customer gamma", "AUTH_FAIL", "X-Customer: 'gamma', no customer of acme-sz"),
        ("", "AUTH_FAIL", "X-Customer: it is not said whose call it is, no customer of acme-sz"),
    ],
)
def test_the_customer_that_a_header_tells(customer: str, code: str, told: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    config = shared(tmp_path, HEADER)
    words = f"--trunk acme-sz --from 83123456 --to 13800138000 {customer}"
    verdict = explained(words, capsys, config)
    assert (verdict["code"], verdict["customer"]) == (code, customer.removeprefix("--customer ").replace("gamma", ""))
    assert next(step["detail"] for step in verdict["steps"] if step["rule"] == "segments").startswith(told)
    assert main(["explain", "-c", config, *shlex.split(words)]) == 0
    assert told.partition(";")[0] in capsys.readouterr().out


@pytest.mark.parametrize(
    ("lines", "customer"),
    [
        ("X-Customer: acme", "acme"),
        ("x-customer:acme ", "acme"),
        ("X-Customer: acme\nX-Customer: acme", ""),
        ("X-Customer:", ""),
        ("X-Other: acme", ""),
    ],
)
def test_the_customer_that_a_message_tells(lines: str, customer: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    config = shared(tmp_path, HEADER)
    verdict = explained(from_file(tmp_path, INVITE.replace("Call-ID: 1\n", f"Call-ID: 1\n{lines}\n")), capsys, config)
    assert (verdict["customer"], verdict["code"]) == (customer, "AUTH_OK" if customer else "AUTH_FAIL")


def test_the_customer_that_the_number_tells(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    config = shared(tmp_path)
    verdict = explained("--trunk acme-sz --from 83123456 --to 13800138000", capsys, config)
    assert (verdict["customer"], verdict["code"]) == ("acme", "AUTH_OK")
    detail = next(step["detail"] for step in verdict["steps"] if step["rule"] == "segments")
    assert detail.startswith("a call of acme by its number +8675583123456; +8675583123456 in segment ")
    nobodys = explained("--trunk acme-sz --from 88886666 --to 13800138000", capsys, config)
    assert (nobodys["customer"], nobodys["code"]) == ("", "AUTH_FAIL")
    assert "no number of the call is in a segment of acme-sz, so it is nobody's" in nobodys["steps"][-1]["detail"]
    assert main(["explain", "-c", config, "--trunk", "acme-sz", "--from", "1", "--to", "2", "--customer", "acme"]) == 2
    assert "--customer: trunk acme-sz has no customer_header" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("zone", "at", "shown"),
    [
        ("", "2026-03-02T10:00", "2026-03-02 10:00:00+08:00"),
        ("Asia/Urumqi", "2026-03-02T10:00", "2026-03-02 10:00:00+06:00"),
        ("Asia/Urumqi", "2026-03-02T10:00+08:00", "2026-03-02 08:00:00+06:00"),
    ],
)
def test_a_time_without_a_zone_is_the_nodes(zone: str, at: str, shown: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for file in DEMO.iterdir():
        text = file.read_text(encoding="utf-8")
        (tmp_path / file.name).write_text(text.replace("[node]\n", f'[node]\ntime_zone = "{zone}"\n') if zone else text, encoding="utf-8")
    config = str(tmp_path / "sipwarden.toml")
    assert main(["explain", "-c", config, "--trunk", "acme-sz", "--from", "83123456", "--to", "13800138000", "--at", at]) == 0
    assert shown in capsys.readouterr().out


# what is wrong with the question, or with the configuration


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ("--trunk acme --from 1 --to 2", "no trunk is called 'acme'; there are: acme-sz, beta-sz, peer-gz, intl-hk, core"),
        ("--trunk acme-sz --from 1", "--to is missing"),
        ("--from 1", "--trunk and --to are missing"),
        ("", "give --trunk, --from and --to, or --source and --sip"),
        ("--source 127.0.0.2", "--sip is missing"),
        ("--source 127.0.0.2 --sip x --trunk acme-sz --pai 1", "--trunk, --pai: the message itself says that"),
        ("--source 127.0.0.2 --sip /nowhere/message.sip", "/nowhere/message.sip: No such file or directory"),
    ],
)
def test_wrong_usage(arguments: str, said: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert said in refused(shlex.split(arguments), capsys)


@pytest.mark.parametrize(
    "arguments",
    ["--at yesterday", "--at 9999-12-31T23:59Z", "--at 0001-01-01", "--source host", "--source 127.0.0.2:99999", "--source 2001:db8::g"],
)
def test_unreadable_values(arguments: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["explain", "-c", CONFIG, *shlex.split(arguments)])
    assert ended.value.code == 2
    assert capsys.readouterr().out == ""


def test_faults_of_the_configuration(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "sipwarden.toml"
    path.write_text('[[trunk]]\nid = "a"\nkind = "enterprize"\n')
    assert main(["explain", "-c", str(path), "--trunk", "a", "--from", "1", "--to", "2", "--json"]) == 1
    said = capsys.readouterr()
    assert said.out == ""
    assert f"{path}:3: trunk[1].kind: " in said.err
    assert main(["explain", "-c", str(tmp_path / "absent.toml"), "--trunk", "a", "--from", "1", "--to", "2"]) == 1
    assert "absent.toml: No such file or directory" in capsys.readouterr().err
