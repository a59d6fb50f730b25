"""The command `sipwarden`. Exit status: 0 done, 1 the answer is no, 2 wrong usage."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from importlib import import_module
from importlib.metadata import version
from typing import Final

COMMANDS: Final = {
    "run": "start the node: supervisor, workers, admin pages",
    "demo": "real calls through a proxy on loopback, each with its verdict",
    "check": "validate configuration, policy and every list",
    "number": "what a number is: canonical form, kind, place, holder, what is wrong with it",
    "explain": "judge one call, and show what each rule said of it",
    "replay": "judge a trace's calls as of their time, and show what another policy would change",
    "codes": "every reason code: what it means, the law behind it, the remedy",
}
"""Subcommands, each with its line of help; the module is `proxy.cli` and the name, with `add_arguments(parser)` and `main(args) -> int`."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one subcommand; what it returns is the exit status."""
    words = list(sys.argv[1:] if arguments is None else arguments)
    parser = argparse.ArgumentParser(prog="sipwarden", description="A caller-ID firewall for voice trunks.")
    parser.add_argument("--version", action="version", version=f"sipwarden {version('sipwarden')}")
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", required=True)
    for name, line in COMMANDS.items():
        command = commands.add_parser(name, help=line, description=line[0].upper() + line[1:] + ".")
        if words[:1] == [name]:  # the others' modules need not be read
            module = import_module(f"proxy.cli.{name}")
            module.add_arguments(command)
            command.set_defaults(main=module.main)
    args = parser.parse_args(words)
    try:
        status: int = args.main(args)
    except BrokenPipeError:  # the reader of our output has seen enough
        sys.stderr.close()
        return 1
    return status


if __name__ == "__main__":
    sys.exit(main())
