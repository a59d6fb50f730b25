"""`sipwarden codes`."""

from __future__ import annotations

import json

import pytest

from proxy.__main__ import main
from rules import reason_codes


def test_json(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["codes", "--json"]) == 0
    listed = json.loads(capsys.readouterr().out)["codes"]
    assert [row["code"] for row in listed] == list(reason_codes())
    assert all(list(row) == ["code", "en", "zh", "basis", "remedy", "remedy_zh"] for row in listed)
    (failed,) = [row for row in listed if row["code"] == "AUTH_FAIL"]
    assert "鉴权失败" in failed["zh"]
    assert "138号" in failed["basis"]
    assert failed["remedy"] and failed["remedy_zh"]


def test_for_people(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "140")
    assert main(["codes"]) == 0
    shown = capsys.readouterr().out
    assert all(f"{code}  {words.en}\n{words.zh}\n" in shown for code, words in reason_codes().items())
    assert "basis: 138号 一(1)" in shown
