"""Every file that an operator writes, broken in every way: cases/broken/faults.toml. `check` says where it is and what would be right, all
of it in one run, and a node goes on with what it has.
"""

from __future__ import annotations

import os
import shutil
import tomllib
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from proxy.__main__ import main
from tests.proxy.node import Node, Peer, wait_until

BROKEN = Path(__file__).parents[1] / "cases" / "broken"
CASES: list[dict[str, Any]] = tomllib.loads((BROKEN / "faults.toml").read_text("utf-8"))["case"]
CALLER = "075583123401"
LOGGED = 5
"""Records of one kind that the log lets through in a minute."""
GOOD = sorted(path.name for path in (BROKEN / "good").iterdir())


def break_file(case: dict[str, Any], folder: Path) -> None:
    """Put the faulty file of a case in the place of the good one."""
    path = folder / case["file"]
    good = path.read_text("utf-8")
    path.unlink()
    make = case.get("make")
    if make == "pipe":
        os.mkfifo(path)
    elif make == "folder":
        path.mkdir()
    elif make == "zeros":
        with path.open("wb") as file:
            file.truncate(2 << 30)
    elif make == "unreadable":
        if os.geteuid() == 0:
            pytest.skip("root may read everything")
        path.touch(0)
    elif make is not None:
        path.symlink_to(make)
    elif "octets" in case:
        path.write_bytes(bytes.fromhex(case["octets"]))
    else:
        times = case.get("times", 1)
        if "replace" in case:
            assert good.count(case["replace"]) == 1
            text = good.replace(case["replace"], case["with"])
        else:
            text = case["text"] if "text" in case else good + case["add"] * times
        count, more = case.get("add_times", (0, ""))
        text += "".join([more.replace("\1", str(number)) for number in range(count)])
        path.write_bytes(text.encode(case.get("encoding", "utf-8")))


def restore(folder: Path, name: str) -> None:
    path = folder / name
    if path.is_dir() and not path.is_symlink():
        path.rmdir()
    else:
        path.unlink()
    shutil.copy(BROKEN / "good" / name, path)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    shutil.copytree(BROKEN / "good", tmp_path, dirs_exist_ok=True)
    return tmp_path


def checked(folder: Path, capsys: pytest.CaptureFixture[str]) -> tuple[int, list[str]]:
    status = main(["check", "-c", str(folder / "sipwarden.toml")])
    said = capsys.readouterr()
    assert said.err == ""
    assert len(said.out) < 20_000
    lines = [line.removeprefix(f"{folder}/") for line in said.out.splitlines()]
    return status, [line for line in lines if not line.startswith("warning: ")]


def test_the_good_files_are_good(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    status, lines = checked(folder, capsys)
    assert (status, len(lines)) == (0, 1), lines


@pytest.mark.parametrize("case", CASES, ids=lambda case: case["name"])
def test_check_says_where_and_what_would_be_right(case: dict[str, Any], folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    break_file(case, folder)
    status, lines = checked(folder, capsys)
    assert status == 1
    told = [line for line in lines[:-1] if case["says"] in line and line.startswith(case["file"])]
    assert told, lines
    assert case["remedy"] in told[0]
    for other in case.get("also", ()):
        assert any(line.startswith(other) for line in lines), (other, lines)
    if "times" not in case and "add_times" not in case:
        assert [line for line in lines[:-1] if not line.startswith(case["file"])] == []


def test_one_run_says_the_faults_of_every_file(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    together = [case for case in CASES if case.get("together")]
    assert sorted(case["file"] for case in together) == GOOD
    for case in together:
        break_file(case, folder)
    status, lines = checked(folder, capsys)
    assert status == 1
    for case in together:
        assert any(line.startswith(case["says"]) for line in lines), (case["says"], lines)


def test_crlf_is_as_good(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for name in GOOD:
        path = folder / name
        path.write_bytes(path.read_bytes().replace(b"\n", b"\r\n"))
    assert checked(folder, capsys)[0] == 0


def test_an_empty_policy_is_a_warning(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (folder / "policy.toml").write_text("")
    assert main(["check", "-c", str(folder / "sipwarden.toml")]) == 0
    assert "policy.toml: nothing is set: this is the packaged policy" in capsys.readouterr().out


def test_there_are_thirty_and_more() -> None:
    assert len(CASES) >= 60
    assert {case["file"] for case in CASES} == set(GOOD)
    assert sum(case.get("reload", False) for case in CASES) >= 10


@pytest.fixture
def node(tmp_path: Path) -> Iterator[Node]:
    made = Node(tmp_path)
    shutil.copytree(BROKEN / "good", tmp_path, dirs_exist_ok=True)
    text = (tmp_path / "sipwarden.toml").read_text()
    for port, free in (("5060", made.port), ("9090", made.admin), ("5080", made.switch)):
        text = text.replace(f":{port}", f":{free}")
    (tmp_path / "sipwarden.toml").write_text(text)
    made.start()
    try:
        yield made
    finally:
        made.stop()


def test_a_node_goes_on_with_what_it_has(node: Node) -> None:
    def in_force() -> list[str]:
        names = ("sipwarden_policy_info", "sipwarden_directory_info")
        return [line for line in node.get("/metrics")[1].splitlines() if line.startswith(names)]

    def status(caller: str) -> bytes:
        with closing(Peer("127.0.0.2")) as peer:  # one for each call: what is not acknowledged comes again
            peer.send(peer.request("INVITE", caller=caller), node.port)
            if caller == CALLER:
                while not (invite := switch.receive()).startswith(b"INVITE "):
                    assert invite.startswith(b"ACK ")
                switch.send(switch.answer(invite, "486 Busy Here"), node.port)
            return peer.final()[8:11]

    before = in_force()
    assert len(before) == 2
    with closing(Peer("127.0.0.5", node.switch)) as switch:
        for count, case in enumerate([case for case in CASES if case.get("reload")], 1):
            break_file(case, node.folder)
            node.hang_up()
            wait_until(lambda count=count: node.metric("sipwarden_reload_failures_total") == count)  # type: ignore[misc]
            if count <= LOGGED:
                assert case["says"] in node.log
            assert in_force() == before
            assert (status(CALLER), status("075599999999")) == (b"486", b"403"), case["name"]
            restore(node.folder, case["file"])
        node.hang_up()
        wait_until(lambda: node.metric("sipwarden_reloads_total") == 1)
        assert in_force() == before
    assert "Traceback" not in node.log
