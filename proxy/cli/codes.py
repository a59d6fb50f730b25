"""`sipwarden codes`: every reason code in words, with the law behind it and the remedy (Anti-Telecom-Fraud Law art. 32)."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import msgspec

from proxy.cli.terminal import console, explained
from proxy.generation import Faults, load_rules
from proxy.report import write_json
from rules.codes import reason_codes


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    parser.add_argument("-c", "--config", type=Path, metavar="FILE", help="sipwarden.toml: the codes of rules of other packages, too")
    parser.add_argument("--json", action="store_true", help="one JSON document on standard output")


def main(args: argparse.Namespace) -> int:
    """0, or 1 where the configuration has faults."""
    try:
        codes = reason_codes() if args.config is None else load_rules(args.config).codes
    except Faults as error:
        for fault in error.faults:
            print(fault, file=sys.stderr)
        return 1
    if args.json:
        write_json({"codes": [{"code": code, **msgspec.structs.asdict(words)} for code, words in codes.items()]})
        return 0
    out = console()
    for code in codes:
        out.print(explained(code, "bold", basis=True, codes=codes))
        out.print()
    return 0
