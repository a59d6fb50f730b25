"""`sipwarden replay` beside tshark: every capture there is, read as it lies, has as many INVITEs."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path

import pytest

from proxy.__main__ import main
from tests.conftest import SYSTEM_PATH
from tests.proxy.replay.traffic import busy, write_pcap

pytestmark = pytest.mark.interop("tshark")

CONFIG = Path(__file__).parents[1] / "cases" / "judged" / "sipwarden.toml"


def invites(capture: Path) -> int:
    """INVITE requests as tshark counts them."""
    words = ["tshark", "-n", "-r", str(capture), "-Y", 'sip.Method == "INVITE"', "-T", "fields", "-e", "sip.Method"]
    done = subprocess.run(words, capture_output=True, text=True, check=True, env={**os.environ, "PATH": SYSTEM_PATH})
    return done.stdout.replace(",", "\n").split().count("INVITE")


def replayed(capture: Path, capsys: pytest.CaptureFixture[str]) -> dict[str, int]:
    assert main(["replay", "-c", str(CONFIG), str(capture), "--trunk", "peer-gz", "--json"]) == 0
    summary: dict[str, int] = json.loads(capsys.readouterr().out)["summary"]
    return summary


@pytest.mark.corpora
def test_each_foreign_capture(corpora: Path, capsys: pytest.CaptureFixture[str]) -> None:
    captures = sorted((corpora / "pcap").iterdir())
    assert len(captures) > 10
    for capture in captures:
        assert replayed(capture, capsys)["invites"] == invites(capture), capture.name


def test_our_own(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    capture = write_pcap(tmp_path / "busy.pcap", busy(100))
    summary = replayed(capture, capsys)
    assert summary["invites"] == invites(capture) > 150
    assert summary["calls"] > 150  # with --trunk the legs that the node sent on count as well
