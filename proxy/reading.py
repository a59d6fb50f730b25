"""Configuration, policy and lists, read again for a running node by a process of their own: a generation in a folder, or what is wrong."""

from __future__ import annotations

import asyncio
import os
import shutil
import sys
from contextlib import suppress
from pathlib import Path
from typing import Final

import msgspec

from proxy.config import Config
from proxy.generation import Fault, Report
from proxy.slot import CHILD_ENVIRONMENT

RELOAD_NICE: Final = 10
"""Niceness of the process that reads everything again while the node runs."""

REMOVE_AFTER: Final = 60.0
"""Seconds in which workers have let the lists go that are no longer in force."""


async def read(path: Path, folder: Path, *, behind: bool) -> Report:
    """Have a process of its own read and check everything that `path` names, and write the generation to `folder`: its memory is given
    back, and neither calls nor the admin server wait. `behind`: calls go first. A fault where the system has no room for it.
    """
    try:
        await asyncio.to_thread(folder.mkdir)
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-P",
            "-m",
            "proxy.generation",
            str(path),
            str(folder),
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            env=CHILD_ENVIRONMENT,
        )
    except OSError as error:
        return Report(faults=(_fault(path, f"nothing can read it: {error}", "see what the system is out of"),))
    if behind:
        with suppress(OSError):  # it has ended, or a sandbox forbids it
            os.setpriority(os.PRIO_PROCESS, process.pid, RELOAD_NICE)
    output, _ = await process.communicate()
    try:
        return msgspec.json.decode(output, type=Report)
    except msgspec.DecodeError:
        return Report(faults=(_fault(path, f"reading it ended with status {process.returncode}", "see the messages before this one"),))


async def remove(folder: Path) -> None:
    """Remove a generation when no worker has it mapped any more: whoever lets a removed file go last waits while the kernel frees it,
    for a second where it is large.
    """
    await asyncio.sleep(REMOVE_AFTER)
    await asyncio.to_thread(shutil.rmtree, folder, ignore_errors=True)


def fixed(before: Config, new: Config) -> list[Fault]:
    """What a reload cannot change, since sockets and processes outlive it."""
    return [
        Fault(new.file, None, key, "cannot change while running", "", "restart sipwarden, or set it back")
        for (key, old), (_, now) in zip(_fixed_parts(before), _fixed_parts(new), strict=True)
        if old != now
    ]


def _fixed_parts(config: Config) -> list[tuple[str, object]]:
    return [
        ("listen", [(listen.address, listen.transports, listen.named) for listen in config.listen]),
        ("node.workers", config.node.workers),
        ("node.worker_ports", config.node.worker_ports),
        ("node.steering", config.node.steering),
        ("node.secret_file", config.node.secret_file),
        ("admin", config.admin),
        ("journal", None if (journal := config.journal) is None else (journal.path, journal.buffer, journal.buffer_path)),
    ]


def _fault(path: Path, what: str, hint: str) -> Fault:
    return Fault(str(path), None, "", what, "", hint)
