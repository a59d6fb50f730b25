"""`sipwarden check`: every fault of configuration, policy and lists, as file:line: key: message."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import msgspec

from proxy.generation import Faults, Report, load


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    parser.add_argument("-c", "--config", type=Path, required=True, metavar="FILE", help="sipwarden.toml")
    parser.add_argument("--json", action="store_true", help="one JSON document on standard output")


def main(args: argparse.Namespace) -> int:
    """0 where everything can be used, 1 where there is a fault."""
    try:
        generation, warnings = load(args.config)
    except Faults as error:
        report = Report(faults=error.faults, warnings=error.warnings)
    else:
        report = Report(warnings=warnings)
    if args.json:
        document = {"ok": not report.faults, "faults": report.faults, "warnings": report.warnings}
        sys.stdout.write(msgspec.json.format(msgspec.json.encode(document)).decode() + "\n")
        return 1 if report.faults else 0
    for fault in report.faults:
        print(fault)
    for warning in report.warnings:
        print(f"warning: {warning}")
    if report.faults:
        print(f"{args.config}: {_count(len(report.faults), 'fault')}")
        return 1
    config = generation.config
    things = ((len(config.listen), "listener"), (len(config.trunk), "trunk"), (len(config.next_hop), "next hop"))
    what = ", ".join(_count(*thing) for thing in things)
    print(f"{args.config}: good: {what}; policy {generation.ruleset.policy_version}, directory {generation.directory.version}")
    return 0


def _count(number: int, thing: str) -> str:
    return f"{number} {thing}{'' if number == 1 else 's'}"
