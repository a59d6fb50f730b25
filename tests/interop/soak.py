"""`python -m tests.interop.soak [--rate 300] [--seconds 60]`: calls through a node for a minute; figures, and status 1 if one was lost."""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path

from tests.interop.load import figures, run
from tests.interop.node import running


def main() -> int:
    """0 where every call was complete and nothing was sent twice."""
    parser = argparse.ArgumentParser(prog="python -m tests.interop.soak", description=__doc__)
    parser.add_argument("--rate", type=int, default=300, help="calls a second")
    parser.add_argument("--seconds", type=int, default=60)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--hold", type=int, default=0, help="milliseconds between answer and BYE")
    parser.add_argument("--transport", default="u1", help="the caller's: u1 one UDP port, un a port for each call, t1 TCP")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="soak-") as name, running(Path(name), args.workers) as node:
        outcome = run(node, Path(name), rate=args.rate, seconds=args.seconds, transport=args.transport, hold=args.hold)
        print(figures(outcome))
        try:
            outcome.clean()
            node.healthy()
        except AssertionError as fault:
            print(fault, file=sys.stderr)
            return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
