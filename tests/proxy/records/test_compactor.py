"""The compactor as the keeper runs it, and `sipwarden journal compact` beside it."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from pathlib import Path

import msgspec
import pytest

from proxy.__main__ import main
from proxy.journal.notary import CompactTask, Replacement
from proxy.records.store import FOLDER, Store, read_manifest
from tests.proxy.records.material import attempt, call, segment

ROOT = Path(__file__).resolve().parents[3]
NOW = int(time.time() * 1000)


def run(journal: Path) -> subprocess.CompletedProcess[bytes]:
    task = msgspec.json.encode(CompactTask(str(journal), ()))
    return subprocess.run([sys.executable, "-m", "proxy.records.compactor"], cwd=ROOT, input=task, capture_output=True, check=False)


def test_it_answers_with_what_it_made(tmp_path: Path) -> None:
    segment(tmp_path, 1, [*call(1, NOW - 10**6), attempt(NOW - 5 * 10**5)])
    for _ in range(2):  # no chain has noted the first answer, so the second says the same
        done = run(tmp_path)
        assert (done.returncode, done.stderr) == (0, b"")
        (made,) = msgspec.json.decode(done.stdout, type=list[Replacement])
        assert {file.name for file in made.files} == {f"{FOLDER}/{name}" for name in read_manifest(tmp_path / FOLDER).paths()}
        assert all((tmp_path / file.name).stat().st_size == file.octets for file in made.files)
        assert sum(file.events for file in made.files) == 2


def test_nothing_to_do(tmp_path: Path) -> None:
    assert run(tmp_path).stdout == b"[]"


def test_somebody_else_is_at_work(tmp_path: Path) -> None:
    with Store.opened(tmp_path / FOLDER):
        done = run(tmp_path)
    assert (done.returncode, done.stdout) == (0, b"[]")


def test_what_is_wrong_is_said_and_nothing_answered(tmp_path: Path) -> None:
    (tmp_path / FOLDER).mkdir()
    (tmp_path / FOLDER / "manifest.json").write_text("nonsense")
    done = run(tmp_path)
    assert (done.returncode, done.stdout) == (1, b"")
    assert b"manifest.json" in done.stderr
    assert b"Traceback" not in done.stderr


def test_by_hand(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    config = tmp_path / "sipwarden.toml"
    config.write_text('[[listen]]\naddress = "127.0.0.1:5060"\n[journal]\npath = "journal"\n')
    words = ["journal", "compact", "-c", str(config)]
    assert main(words) == 2
    assert "no folder" in capsys.readouterr().err
    journal = tmp_path / "journal"
    segment(journal, 1, [*call(1, NOW - 10**6), attempt(NOW - 5 * 10**5)], tail=b"torn")
    assert main([*words, "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert (told["segments"], told["records"], told["pending"], len(told["kept"])) == (1, 1, 1, 1)
    assert main(words) == 0
    assert "0 records of 0 segments; 1 events pending" in capsys.readouterr().out
    with Store.opened(journal / FOLDER):
        assert main(words) == 2
    assert "another process" in capsys.readouterr().err
