from __future__ import annotations

import ast
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from proxy.__main__ import main
from proxy.cli.number import FLAGS, KINDS
from rules.numbers import number

FIELDS = ["input", "canonical", "kind", "area", "place", "holder", "flags", "code"]

CASES: list[tuple[str, str | None, dict[str, Any]]] = [
    ("+8613802881946", "755", {"canonical": "+8613802881946", "kind": "MOB", "holder": "中国移动", "area": None, "code": None}),
    ("tel:+86-755-8312-3456", None, {"canonical": "+8675583123456", "kind": "GEO", "area": "755", "flags": [], "code": None}),
    ("83123456", "755", {"canonical": "+8675583123456", "flags": ["LOCAL"], "code": None}),
    ("83123456", "0755", {"canonical": "+8675583123456", "flags": ["LOCAL"], "code": None}),
    ("83123456", None, {"canonical": None, "code": "CLI_LOCAL_NO_AREA"}),
    ("+86013802881946", "755", {"canonical": "+8613802881946", "flags": ["TRUNK0_AFTER_CC"], "code": "CLI_TRUNK0"}),
    ("4008123123", "755", {"canonical": "+864008123123", "kind": "C400", "code": "CLI_400"}),
    ("15412345678", "755", {"canonical": None, "code": "CLI_UNASSIGNED"}),
    ("anonymous@anonymous.invalid", "755", {"canonical": None, "kind": None, "code": "CLI_ANON"}),
    ("", "755", {"canonical": None, "code": "CLI_EMPTY"}),
    ("0085221589632", "755", {"canonical": "+85221589632", "kind": "HMT", "code": None}),
    ('"Zhang San" <sip:+8613802881946@gw.example>;tag=1', None, {"canonical": "+8613802881946", "code": None}),
]


def arguments(number: str, area: str | None) -> list[str]:
    return ["number", number] + (["--area", area] if area is not None else [])


@pytest.mark.parametrize(("number", "area", "expected"), CASES)
def test_json(number: str, area: str | None, expected: dict[str, Any], capsys: pytest.CaptureFixture[str]) -> None:
    status = main([*arguments(number, area), "--json"])
    document = json.loads(capsys.readouterr().out)
    assert list(document) == FIELDS
    assert document["input"] == number
    assert {name: document[name] for name in expected} == expected
    assert status == (0 if document["code"] is None else 1)


@pytest.mark.parametrize(("number", "area", "expected"), CASES)
def test_for_people(number: str, area: str | None, expected: dict[str, Any], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(arguments(number, area)) == (0 if expected["code"] is None else 1)
    out = capsys.readouterr().out
    assert (expected["canonical"] or "none") in out
    assert (expected["code"] or "a regular number") in out


def test_a_code_is_said_in_both_languages_with_its_remedy(capsys: pytest.CaptureFixture[str]) -> None:
    main(["number", "4008123123"])
    out = capsys.readouterr().out
    assert "A 400 number receives calls and makes none." in out
    assert "400 号码只能被叫，不得作主叫。" in out
    assert "→ Call with a number of your segments." in out


def test_every_flag_and_kind_has_words() -> None:
    tree = ast.parse(Path(number.__file__).with_name("number.py").read_text(encoding="utf-8"))
    text = next(
        ast.get_docstring(node, clean=False) or "" for node in tree.body if isinstance(node, ast.ClassDef) and node.name == "Number"
    )
    flags = {line.split()[0] for line in text.partition("Flags:")[2].splitlines() if line[4:5].isupper()}
    assert flags == set(FLAGS)
    kinds = next(line for line in text.splitlines() if line.strip().startswith("kind")).partition("class:")[2]
    assert set(kinds.partition(",")[0].split()) == set(KINDS)


def test_nothing_reaches_the_terminal_that_it_would_obey(capsys: pytest.CaptureFixture[str]) -> None:
    main(["number", "\x1b[31m12\udcff"])
    out = capsys.readouterr().out
    assert "\x1b" not in out
    assert "\\x1b[31m12\ufffd" in out


def test_an_area_that_is_none_is_wrong_usage(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["number", "83123456", "--area", "1"])
    assert ended.value.code == 2
    assert "'1' is no area code" in capsys.readouterr().err


def test_as_a_program() -> None:
    command = [str(Path(sys.executable).with_name("sipwarden")), "number", "\udcff12", "--json"]
    done = subprocess.run(command, capture_output=True, check=False, env={"PYTHONIOENCODING": "ascii"})
    assert done.returncode == 1
    assert done.stderr == b""
    assert json.loads(done.stdout)["code"] == "CLI_NON_DIGIT"
