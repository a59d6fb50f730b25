"""`sipwarden codes`: every reason code in words, with the law behind it and the remedy (Anti-Telecom-Fraud Law art. 32)."""

from __future__ import annotations

import argparse

import msgspec

from proxy.cli.terminal import console, explained
from proxy.report import write_json
from rules.codes import reason_codes


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    parser.add_argument("--json", action="store_true", help="one JSON document on standard output")


def main(args: argparse.Namespace) -> int:
    """Always 0."""
    codes = reason_codes()
    if args.json:
        write_json({"codes": [{"code": code, **msgspec.structs.asdict(words)} for code, words in codes.items()]})
        return 0
    out = console()
    for code in codes:
        out.print(explained(code, "bold", basis=True))
        out.print()
    return 0
