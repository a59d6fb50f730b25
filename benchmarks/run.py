"""CPU of one worker for each rejected, completed and cancelled call, beside one Kamailio worker under the same load and lists; and more.

    make bench [ARGS='--quick' | ARGS='--only udp,tcp --results FILE']        or        python benchmarks/run.py ...

Proxies run on core 0, the caller and callee (sipgen.c) on core 1. In each round all proxies are started anew, then each load is given to
one after the other; the proxies take turns to be first. A load beside which the rest of the machine was busy is given to all of them once
more. Prints every load, then one table of ratios with their spreads, the aims, and where each stands. With `--results` the rows go to a
file, sections that are in it already are kept, and the table is of all of them. See README.md in this folder.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import shutil
import subprocess
import sys
import sysconfig
import tempfile
import time
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from benchmarks.loads import BUSY, Bench
from benchmarks.proxies import NotRunning, compiled
from benchmarks.sections import ROOT, SECTIONS
from benchmarks.tables import Table
from proxy.build import KERNEL as CHECKOUT_KERNEL


def python_build() -> str:
    """Which Python this is and who built it: Debian's own build is a quarter to a half faster than one without profile feedback."""
    binary = os.path.realpath(sys.executable)
    build = f"{binary}, not Debian's own build, configured {sysconfig.get_config_var('CONFIG_ARGS')}"
    if shutil.which("dpkg-query"):
        asked = subprocess.run(["dpkg-query", "-S", binary], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, check=False, text=True)
        package = asked.stdout.partition(":")[0]
        if package:
            wanted = ["dpkg-query", "-W", "-f=${Version}", package]
            version = subprocess.run(wanted, stdout=subprocess.PIPE, check=False, text=True).stdout
            build = f"Debian's own build, {package} {version}"
    return f"{platform.python_implementation()} {platform.python_version()} ({build})"


def arguments() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "--quick", action="store_true", help="one round of a second each, two rates, a tenth of the long lists: some minutes"
    )
    parser.add_argument("--only", default=",".join(SECTIONS), metavar="SECTIONS", help=f"some of {','.join(SECTIONS)}")
    parser.add_argument("--results", type=Path, metavar="FILE", help="keep the rows here; sections measured before are in the table, too")
    parser.add_argument("--rounds", type=int, help="how many rounds of each section")
    parser.add_argument("--seconds", type=float, help="how long each load lasts")
    parser.add_argument(
        "--beside", type=Path, metavar="CHECKOUT", help="another checkout of this project, to measure a change (section udp)"
    )
    parser.add_argument("--journal", action="store_true", help="one proxy more in section udp: ours that keeps records")
    parser.add_argument("--lists", type=Path, metavar="DIR", help="CSV files of benchmarks/capacity.py, for sections capacity and memory")
    parser.add_argument("--calls", type=int, help="how many calls section memory has at a time")
    parser.add_argument("--no-kamailio", action="store_true", help="only ours")
    parser.add_argument("--no-pure", action="store_true", help="not ours as pure Python")
    parser.add_argument("--no-kernel", action="store_true", help="not ours with the compiled kernel and the core interpreted")
    options = parser.parse_args()
    unknown = {*options.only.split(",")} - {*SECTIONS}
    if unknown:
        parser.error(f"--only {','.join(sorted(unknown))}: sections are {', '.join(SECTIONS)}")
    if options.beside is not None and not (options.beside / "proxy").is_dir():
        parser.error(f"--beside {options.beside}: no checkout of this project")
    if options.rounds is not None and options.rounds < 1:
        parser.error("--rounds: 1 or more")
    return options


def main() -> int:
    options = arguments()
    if (os.cpu_count() or 1) < 2:
        print("bench: wants two cores, one for the proxy and one for the load", file=sys.stderr)
        return 1
    made = "kernel and core compiled" if compiled(ROOT) else f"kernel {CHECKOUT_KERNEL}, core interpreted"
    setting = f"{python_build()}; kernel {platform.release()}, {os.cpu_count()} cores; sipwarden: {made}"
    print(setting, flush=True)
    wanted = options.only.split(",")
    rows: list[dict[str, Any]] = []
    if options.results is not None and options.results.exists():
        try:
            rows = [row for row in json.loads(options.results.read_text(encoding="utf-8")) if row["section"] not in wanted]
        except (ValueError, TypeError, KeyError):
            print(f"bench: --results {options.results}: it is not what an earlier run has written", file=sys.stderr)
            return 1
    failed = []
    with tempfile.TemporaryDirectory(prefix="sipwarden-bench-") as name:
        try:
            bench = Bench(Path(name), options.seconds or (1.0 if options.quick else 2.0), rows)
        except NotRunning as reason:
            print(f"bench: {reason}", file=sys.stderr)
            return 1
        for section in (section for section in SECTIONS if section in wanted):
            began = time.monotonic()
            try:
                SECTIONS[section](bench, options)
            except NotRunning as reason:
                print(f"bench: {section}: {reason}", file=sys.stderr)
                failed.append(section)
            print(f"section {section}: {time.monotonic() - began:.0f} s", flush=True)
            if options.results is not None:
                options.results.write_text(json.dumps(rows, indent=1), encoding="utf-8")
    print(f"\n{setting}\nCPU of one worker each for a call, Kamailio's single worker = 1, median of the rounds [lowest..highest]:\n")
    print(Table(rows).markdown())
    beside = sum(row.get("foreign", 0.0) >= BUSY for row in rows)
    if beside:
        print(f"\nbench: {beside} of {len(rows)} loads were measured beside other work", file=sys.stderr)
    if failed:
        print(f"\nbench: not measured: {', '.join(failed)}", file=sys.stderr)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
