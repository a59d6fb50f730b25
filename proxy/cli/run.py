"""`sipwarden run`: start the node and stay."""

from __future__ import annotations

import argparse
import asyncio
import sys
from pathlib import Path

from proxy.log import start_logging
from proxy.secret import SecretFault
from proxy.sockets import SocketFault
from proxy.supervisor import StartFault, Supervisor


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    parser.add_argument("-c", "--config", type=Path, required=True, metavar="FILE", help="sipwarden.toml")


def main(args: argparse.Namespace) -> int:
    """0 after an orderly end, 1 where the node could not start or failed itself: a service manager starts it again."""
    start_logging()
    try:
        return 0 if asyncio.run(_run(args.config)) else 1
    except (StartFault, SocketFault, SecretFault) as fault:
        print(fault, file=sys.stderr)
        return 1


async def _run(path: Path) -> bool:
    return await Supervisor(path, _say).run()


def _say(line: str) -> None:
    print(line, flush=True)
