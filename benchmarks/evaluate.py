"""Microseconds of CPU for a Call and its verdict, over a real directory of 10,000 segments and 100,000 intercept entries.

usage: python benchmarks/evaluate.py [--rounds N]

Numbers come from the cache of `normalise`, as they do for a caller who calls again; one seen for the first time costs what `uncached` says.
Each line is the best of seven rounds: what else the machine does is not the rules' doing.
"""

from __future__ import annotations

import argparse
import platform
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from rules import Call, RuleSet, Trunk, load_policy
from rules.directory import DirectoryConfig, load_directory
from rules.numbers import normalise

AT = 1_772_416_800.0
TRUNK = Trunk(id="t1", customer="c1", kind="enterprise", home_area="755", next_hop="core")
PEER = Trunk(id="peer", kind="interconnect", next_hop="core")
CALLED = "sip:075583668888@gw1.example"


def build(folder: Path) -> RuleSet:
    """Segments of 100 numbers each under +86755 8000 0000; listed callers under +86139."""
    with (folder / "segments.csv").open("w") as file:
        file.write("customer,trunk,first,last\n")
        file.writelines(f"c1,t1,+86755{80_000_000 + 200 * i},+86755{80_000_099 + 200 * i}\n" for i in range(10_000))
    with (folder / "intercept.csv").open("w") as file:
        file.write("list_id,seq,op,number,match,type,reason,source,evidence_ref,valid_from,valid_to,scope,created_at\n")
        file.writelines(f"l,{i},A,+86139{i * 997 % 10**8:08d},exact,caller,,bench,,,,global,2026-01-01T00:00:00Z\n" for i in range(100_000))
    trunks = {trunk.id: trunk for trunk in (TRUNK, PEER)}
    directory = load_directory(DirectoryConfig(segments=("segments.csv",), intercept=("intercept.csv",)), folder, trunks)
    return load_policy(None, file="", directory=directory, trunks=trunks)


def cost(work: Callable[[], object], rounds: int) -> float:
    """Microseconds of CPU a call of `work`."""
    best = float("inf")
    for _ in range(7):
        begin = time.process_time()
        for _ in range(rounds):
            work()
        best = min(best, time.process_time() - begin)
    return best / rounds * 1e6


def verdicts(ruleset: RuleSet, make: Callable[[], Call], rounds: int) -> float:
    """The cost of evaluate alone: that of a call made and judged, less that of a call made."""
    return cost(lambda: ruleset.evaluate(make()), rounds) - cost(make, rounds)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=20_000)
    rounds = parser.parse_args().rounds
    with tempfile.TemporaryDirectory() as folder:
        ruleset = build(Path(folder))

    def authorised() -> Call:
        return Call(TRUNK, "sip:075581000050@pbx.example", CALLED, at=AT)

    def asserted() -> Call:
        return Call(TRUNK, "sip:075581000050@pbx.example", CALLED, at=AT, pai=("tel:+8675581000051",))

    def unauthorised() -> Call:
        return Call(TRUNK, "sip:075581000150@pbx.example", CALLED, at=AT)

    def intercepted() -> Call:
        return Call(TRUNK, "sip:+8613900000997@pbx.example", CALLED, at=AT)

    def interconnect() -> Call:
        return Call(PEER, "sip:+8613700000001@peer.example", CALLED, at=AT)

    expected = {authorised: "AUTH_OK", asserted: "AUTH_OK", unauthorised: "AUTH_FAIL", intercepted: "LIST_CALLER", interconnect: "OK"}
    fresh = iter(range(10**9))
    print(f"CPython {platform.python_version()} ({platform.python_compiler()}), microseconds of CPU")
    print(f"{'Call, numbers cached, From only':<44}{cost(authorised, rounds):6.2f}")
    print(f"{'Call, numbers cached, From and PAI':<44}{cost(asserted, rounds):6.2f}")
    print(f"{'normalise, uncached':<44}{cost(lambda: normalise(f'sip:+86755{next(fresh):08d}@pbx.example', '755'), rounds):6.2f}")
    for make, code in expected.items():
        verdict = ruleset.evaluate(make())
        assert getattr(verdict, "code", None) == code, (make.__name__, verdict)
        print(f"{f'evaluate, {make.__name__}, {code}':<44}{verdicts(ruleset, make, rounds):6.2f}")


if __name__ == "__main__":
    main()
