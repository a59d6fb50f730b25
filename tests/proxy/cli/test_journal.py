"""`sipwarden journal dump`: whose numbers are shown, and to whom."""

from __future__ import annotations

import grp
import os
from pathlib import Path

import pytest

from proxy.__main__ import main
from proxy.cli.journal import event_json
from proxy.cli.role import GROUP, may_see_numbers
from proxy.events import Ringing
from tests.proxy.journal.events import LINES, attempt

RINGING = Ringing(at=2, call_id=b"1@a\xff", from_tag=b"t", trunk="acme", cseq=1, status=180)


def test_with_the_role_an_event_is_whole() -> None:
    shown = event_json(attempt(1), whole=True)
    assert (shown["event"], shown["caller"], shown["called_raw"]) == ("attempt", "+8675583123401", "13800138000")
    assert shown["lines"] == [line.decode() for line in LINES]


def test_without_it_no_number_is_left_anywhere() -> None:
    shown = event_json(attempt(1, sent_as="sip:13900139000@127.0.0.1"), whole=False)
    assert (shown["caller"], shown["called"], shown["code"]) == ("755-83****01", "138****8000", "AUTH_FAIL")
    for digits in ("83123401", "13800138000", "13900139000"):
        assert digits not in str(shown)


def test_octets_that_are_no_text_are_shown_as_such() -> None:
    assert event_json(RINGING, whole=False)["call_id"] == "1@a\ufffd"


@pytest.mark.parametrize(
    ("user", "groups", "sees"),
    [(0, [], True), (1000, [7], True), (1000, [8], False)],
    ids=["root", "in the group", "not in it"],
)
def test_the_role_is_a_group(monkeypatch: pytest.MonkeyPatch, user: int, groups: list[int], sees: bool) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: user)
    monkeypatch.setattr(os, "getegid", lambda: 1000)
    monkeypatch.setattr(os, "getgroups", lambda: groups)
    monkeypatch.setattr(grp, "getgrnam", lambda name: grp.struct_group((name, "x", 7, [])))
    assert may_see_numbers() is sees


def test_a_host_without_the_group_gives_nobody_the_role(monkeypatch: pytest.MonkeyPatch) -> None:
    def unknown(name: str) -> None:
        assert name == GROUP
        raise KeyError(name)

    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    monkeypatch.setattr(grp, "getgrnam", unknown)
    assert not may_see_numbers()


@pytest.mark.parametrize("action", ["verify", "stat", "dump"])
def test_a_journal_that_is_not_there(tmp_path: Path, capsys: pytest.CaptureFixture[str], action: str) -> None:
    config = tmp_path / "gw.toml"
    config.write_text('[[listen]]\naddress = "127.0.0.1:5060"\n')
    assert main(["journal", action, "-c", str(config)]) == 2
    assert "there is no [journal]" in capsys.readouterr().err
    config.write_text(config.read_text() + "[journal]\n")
    assert main(["journal", action, "-c", str(config)]) == 2
    assert "var/journal" in capsys.readouterr().err
