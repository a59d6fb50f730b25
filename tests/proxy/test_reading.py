"""Configuration read again while the node runs: whatever the system refuses is a fault of that reload, and of nothing else."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path
from typing import Any

import pytest

from proxy.reading import read
from tests.proxy.node import CONFIG, SEGMENTS


@pytest.fixture
def config(tmp_path: Path) -> Path:
    (tmp_path / "segments.csv").write_text(SEGMENTS)
    (tmp_path / "sipwarden.toml").write_text(CONFIG.format(port=5060, admin=9090, switch=5070, workers=1))
    return tmp_path / "sipwarden.toml"


@pytest.fixture
def hanging(config: Path) -> Path:
    """What it names is a pipe that nobody writes to."""
    os.mkfifo(config.parent / "ca.pem")
    config.write_text(config.read_text() + '\n[certificates]\nhosts = ["cr.example.com"]\nca_file = "ca.pem"\n')
    return config


async def test_where_a_sandbox_forbids_niceness_it_is_read_all_the_same(
    config: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def forbidden(*_: Any) -> None:
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(os, "setpriority", forbidden)
    report = await read(config, tmp_path / "1", behind=True)
    assert not report.faults
    assert (tmp_path / "1").is_dir()


async def test_a_folder_that_cannot_be_made_is_a_fault(config: Path, tmp_path: Path) -> None:
    report = await read(config, tmp_path / "absent" / "1", behind=True)
    assert [(fault.file, "No such file or directory" in str(fault)) for fault in report.faults] == [(str(config), True)]


async def test_a_process_that_cannot_be_started_is_a_fault(config: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async def none_left(*_: Any, **__: Any) -> None:
        raise BlockingIOError(11, "Resource temporarily unavailable")

    monkeypatch.setattr(asyncio, "create_subprocess_exec", none_left)
    report = await read(config, tmp_path / "1", behind=True)
    assert ["Resource temporarily unavailable" in str(fault) for fault in report.faults] == [True]


async def test_what_reads_for_too_long_is_ended(config: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("proxy.reading.READ_LIMIT", 0.001)
    report = await read(config, tmp_path / "1", behind=True)
    assert ["reading it took more than 0.001 s and was given up" in str(fault) for fault in report.faults] == [True]


async def test_whoever_gives_a_reading_up_ends_its_process(hanging: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[asyncio.subprocess.Process] = []
    there = asyncio.Event()
    make = asyncio.create_subprocess_exec

    async def noted(*words: Any, **how: Any) -> asyncio.subprocess.Process:
        made.append(await make(*words, **how))
        there.set()
        return made[0]

    monkeypatch.setattr(asyncio, "create_subprocess_exec", noted)
    reading = asyncio.create_task(read(hanging, tmp_path / "1", behind=False))
    await there.wait()
    reading.cancel()
    with pytest.raises(asyncio.CancelledError):
        await reading
    assert made[0].returncode == -9
