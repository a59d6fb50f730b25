from __future__ import annotations

import json
import os
import re
import signal
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import msgspec
import pytest

from proxy.cli.demo import demonstrate
from proxy.demo.scenario import Expected, Scenario, packaged_scenario

PROGRAM = str(Path(sys.executable).with_name("sipwarden"))
VERDICT = "action code rule status phrase caller called trunk customer marks labels mode would policy_version directory_version elapsed_us"


def some(*titles: str) -> Scenario:
    """The packaged scenario with these calls only."""
    scenario = packaged_scenario()
    found = tuple(call for call in scenario.call if call.title in titles)
    assert len(found) == len(titles)
    return msgspec.structs.replace(scenario, call=found)


def expecting(scenario: Scenario, **changes: Any) -> Scenario:
    """The same with other expectations of its first call."""
    first = scenario.call[0]
    changed = msgspec.structs.replace(first, expect=msgspec.structs.replace(first.expect, **changes))
    return msgspec.structs.replace(scenario, call=(changed, *scenario.call[1:]))


def test_every_call_is_as_expected() -> None:
    done = subprocess.run([PROGRAM, "demo", "--no-wait", "--json"], capture_output=True, check=False, timeout=60)
    assert (done.returncode, done.stderr) == (0, b"")
    document = json.loads(done.stdout)
    assert list(document) == ["calls", "ok"]
    assert document["ok"] is True
    plans = packaged_scenario().call
    assert len(document["calls"]) == len(plans) >= 14
    for call, plan in zip(document["calls"], plans, strict=True):
        assert sorted(call) == sorted([*VERDICT.split(), "expected", "ms"])
        assert msgspec.convert(call["expected"], Expected) == plan.expect
        assert (call["action"], call["code"], call["status"]) == (plan.expect.action, plan.expect.code, plan.expect.status)
        assert call["ms"] > 0


def test_the_scenario_shows_what_it_should() -> None:
    plans = packaged_scenario().call
    assert {plan.transport for plan in plans} == {"udp", "tcp"}
    assert {plan.expect.status for plan in plans} >= {200, 403, 486, 487}
    wanted = "AUTH_OK AUTH_FAIL CLI_400 CLI_LEN ENT_CLI_HIDDEN ID_PAI_CONFLICT LIST_CALLER INTL_86_FIXED INTL_86_NOT_ROAMING"
    wanted += " INTL_86_ROAMING INTL_FAKE_SVC INTL_OK IC_OWN_NUMBER EMG_OVERRIDE TRK_SUSPENDED"
    assert {plan.expect.code for plan in plans} >= set(wanted.split())


def test_the_table(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "140")
    assert demonstrate(some("A fixed line of the customer's", "One digit short"), wait=False, json=False) == 0
    out = capsys.readouterr().out
    assert re.search(r"1  A fixed line of the customer's +acme-sz +PASS +AUTH_OK .* 200 +[\d.]+ +✓", out)
    assert re.search(r"2  One digit short +acme-sz +REJECT +CLI_LEN .* 403 +[\d.]+ +✓", out)
    assert "The calling number is too long or too short for its kind." in out
    assert "2 calls: 1 passed, 1 refused" in out
    assert "All as expected." in out


@pytest.mark.parametrize("width", [80, 100, 140])
def test_the_table_fits(width: int, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", str(width))
    demonstrate(some("The police, from abroad"), wait=False, json=False)
    out = capsys.readouterr().out
    assert "INTL_FAKE_SVC" in out
    assert "…" not in out
    assert all(len(line) <= width for line in out.splitlines())


@pytest.mark.parametrize(
    ("title", "wrong", "said"),
    [
        ("A fixed line of the customer's", {"code": "OK"}, "code AUTH_OK, expected OK"),
        ("A fixed line of the customer's", {"action": "reject"}, "action pass, expected reject"),
        ("Somebody else's number", {"status": 200}, "status 403, expected 200"),
    ],
)
def test_a_difference_is_shown_and_fails(title: str, wrong: dict[str, Any], said: str, capsys: pytest.CaptureFixture[str]) -> None:
    scenario = expecting(some(title), **wrong)
    assert demonstrate(scenario, wait=False, json=False) == 1
    out = " ".join(capsys.readouterr().out.split())
    assert f"✗ {said}" in out
    assert "1 not as expected." in out
    assert demonstrate(scenario, wait=False, json=True) == 1
    assert json.loads(capsys.readouterr().out)["ok"] is False


def test_it_stays_for_calls_from_elsewhere_until_it_is_told_to_end() -> None:
    with subprocess.Popen([PROGRAM, "demo"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as demo:
        assert demo.stdout is not None and demo.stderr is not None
        lines = iter(demo.stdout.readline, "")
        port = next(int(found[1]) for line in lines if (found := re.search(r"listens on udp and tcp 127\.0\.0\.1:(\d+)", line)))
        sample = next(Path(found[0]) for line in lines if (found := re.search(r"/\S+/call\.sip", line)))
        config = next(Path(found[1]) for line in lines if (found := re.search(r"explain -c (\S+)", line)))
        assert subprocess.run([PROGRAM, "check", "-c", config], capture_output=True, check=False, timeout=60).returncode == 0
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as phone:
            phone.settimeout(10)
            phone.sendto(sample.read_bytes(), ("127.0.0.1", port))
            assert phone.recv(65535).startswith(b"SIP/2.0 100 ")
            assert phone.recv(65535).startswith(b"SIP/2.0 486 ")
        assert any(line.startswith("PASS  udp:127.0.0.1:") and "AUTH_OK" in line for line in lines)
        os.kill(demo.pid, signal.SIGINT)
        assert demo.wait(10) == 0
        assert demo.stderr.read() == ""
    assert not config.parent.exists()
