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
from proxy.generation import Fault, Report, last_opened
from proxy.slot import CHILD_ENVIRONMENT

RELOAD_NICE: Final = 10
"""Niceness of the process that reads everything again while the node runs."""

READ_LIMIT: Final = 1800.0
"""Seconds after which a reading is given up: twenty million rows take three minutes, beside many calls longer; a mount that hangs
takes for ever."""

KILL_LIMIT: Final = 2.0
"""Seconds that one which is killed is waited for: some waits in the kernel nobody can end."""

REMOVE_AFTER: Final = 60.0
"""Seconds in which workers have let the lists go that are no longer in force."""


async def read(path: Path, folder: Path, *, behind: bool) -> Report:
    """Have a process of its own read and check everything that `path` names, and write the generation to `folder`: its memory is given
    back, and neither calls nor the admin server wait. `behind`: calls go first. A fault where the system has no room for it, or where it
    takes more than READ_LIMIT; the process ends, too, where whoever waits for it is cancelled.
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
    try:
        async with asyncio.timeout(READ_LIMIT):
            output, _ = await process.communicate()
    except TimeoutError:
        name = last_opened(folder)
        what = f"reading it took more than {READ_LIMIT:g} s and was given up" + (f"; opened last: {name}" if name else "")
        return Report(faults=(_fault(path, what, "see whether what it names lies on a disk that does not answer, or is a pipe"),))
    finally:
        if process.returncode is None:
            await _kill(process)
    try:
        return msgspec.json.decode(output, type=Report)
    except msgspec.DecodeError:
        return Report(faults=(_fault(path, f"reading it ended with status {process.returncode}", "see the messages before this one"),))


async def _kill(process: asyncio.subprocess.Process) -> None:
    with suppress(ProcessLookupError):  # it has just ended
        process.kill()
    with suppress(TimeoutError):
        async with asyncio.timeout(KILL_LIMIT):
            await process.wait()


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
