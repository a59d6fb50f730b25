"""What `explain` prints for people: every policy case, on wide and narrow terminals and in a pipe."""

from __future__ import annotations

import io
import re
from types import SimpleNamespace
from typing import Any, cast

import pytest
from rich.cells import cell_len
from rich.console import Console

from proxy.cli.explain import show
from proxy.cli.terminal import console
from proxy.generation import Generation
from proxy.routing import Routing
from rules import Call
from tests.rules.cases import call_of, case_files, directory, load_cases, make_call, policy

FILES = case_files()
HOP = SimpleNamespace(id="switch", targets=[SimpleNamespace(uri="sip:127.0.0.6:5060")], failover=[])
ROUTING = cast(Routing, SimpleNamespace(hop_for=lambda *arguments, **options: HOP))


def shown(call: Call, out: Console, text: str | None = None) -> str:
    ruleset = policy(text)
    show(out, ruleset.explain(call), call, Generation(cast(Any, None), directory(), ruleset), ROUTING)
    return cast(io.StringIO, out.file).getvalue()


def plain(width: int) -> Console:
    return Console(width=width, file=io.StringIO(), highlight=False, emoji=False, markup=False)


@pytest.mark.parametrize("width", [80, 120])
@pytest.mark.parametrize("name", FILES)
def test_every_case_is_aligned(name: str, width: int) -> None:
    """Chinese characters take two columns; no line is wider than the terminal, and the sides of the table stand one above the other."""
    for case in load_cases(name):
        check_alignment(shown(call_of(case), plain(width)), width)


@pytest.mark.parametrize("width", [80, 120])
def test_chinese_in_the_table_is_aligned(width: int) -> None:
    text = shown(make_call("acme-sz", "sip:张三丰的电话总机@pbx"), plain(width))
    assert "张三丰" in text.partition("╭")[2]
    check_alignment(text, width)


def check_alignment(text: str, width: int) -> None:
    lines = text.splitlines()
    assert max(map(cell_len, lines)) <= width, text
    table = [line for line in lines if line and line[0] in "╭├│╰"]
    assert len({cell_len(line) for line in table}) == 1, text
    sides = {cell_len(line[: side.start()]) for line in table for side in re.finditer("[│┬┼┴]", line)}
    assert len(sides) == 5, text  # left, three between, right
    assert "\x1b" not in text


def test_codes_stand_beside_what_decided() -> None:
    call = make_call("acme-observe", "4008123123", privacy=("id",))
    lines = shown(call, plain(120)).splitlines()
    said = "observed only: would reject with ENT_CLI_HIDDEN by rule privacy, then CLI_400 by regular, AUTH_FAIL by segments"
    assert said in " ".join("".join(lines[:2]).split())
    rows = [[cell.strip() for cell in line.split("│")[2:5]] for line in lines if "observed reject" in line]
    assert rows == [
        ["privacy", "observed reject", "ENT_CLI_HIDDEN  Privacy: id; hidden of acme-observe is 'reject'"],
        ["regular", "observed reject", "CLI_400 for +864008123123 on enterprise: reject"],
        ["segments", "observed reject", "AUTH_FAIL  +864008123123 in no segment of acme-observe"],
    ]
    observed = [line.split()[1 if line.startswith("observed") else 0] for line in lines if "observed  " in line or line.startswith("   ")]
    assert [word for word in observed if word.isupper() or "_" in word] == ["ENT_CLI_HIDDEN", "CLI_400", "AUTH_FAIL"]


def test_the_sum_of_a_suspect() -> None:
    call = make_call("acme-sz", "83120001", pai=("tel:+8675583120002",))
    text = shown(call, plain(120), "[rules.label]\nthreshold = 1.5\nweights = { ID_FROM_MISMATCH = 2 }\n")
    assert "│ LABEL_SUSPECT  ID_FROM_MISMATCH 2 = 2, above 1.5" in text
    assert "labels    suspect  score 2, threshold 1.5, marks ID_FROM_MISMATCH 2" in text


@pytest.mark.parametrize(("environment", "coloured"), [({}, True), ({"NO_COLOR": "1"}, False)])
def test_colours_of_a_terminal(environment: dict[str, str], coloured: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("NO_COLOR", raising=False)
    for name, value in {"TERM": "xterm-256color", **environment}.items():
        monkeypatch.setenv(name, value)
    out = Console(width=100, file=io.StringIO(), force_terminal=True, highlight=False, emoji=False, markup=False)
    text = shown(make_call("acme-sz", "83199999"), out)
    assert bool(re.search(r"\x1b\[[0-9;]*3[0-9]", text)) is coloured


def test_a_pipe_gets_no_codes_and_a_fixed_width(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("COLUMNS", "FORCE_COLOR"):
        monkeypatch.delenv(name, raising=False)
    out = console()
    out.file = io.StringIO()
    assert out.width == 100
    assert "\x1b" not in shown(make_call("acme-sz", "83199999"), out)


def test_what_the_caller_wrote_cannot_command_the_terminal() -> None:
    text = shown(make_call("acme-sz", "sip:\x1b[2J8012\u202e\x07@pbx"), plain(100))
    assert not re.search("[\x00-\x09\x0b-\x1f\u202e]", text)
