"""The policy cases: trunks, lists and calls as data, and the calls they make."""

from __future__ import annotations

import csv
import tomllib
from datetime import datetime
from functools import cache
from pathlib import Path
from typing import Any

import msgspec
import pytest

from rules import NO_TRUNK, Call, RuleSet, Source, Trunk, Verdict, load_policy
from rules.call import Diverted, side_of
from rules.directory import Directory, DirectoryConfig, load_directory
from rules.legs import Legs

CASES = Path(__file__).resolve().parent.parent / "cases" / "policy"
AT = datetime.fromisoformat("2026-03-02T10:00:00+08:00").timestamp()


@cache
def trunks() -> dict[str, Trunk]:
    document = tomllib.loads((CASES / "trunks.toml").read_text(encoding="utf-8"))
    return {trunk.id: trunk for trunk in msgspec.convert(document["trunk"], list[Trunk])}


@cache
def directory(*, roaming: bool = True, service: bool = False) -> Directory:
    """The lists of cases/policy/lists, with or without the roaming file; `service`: there is somebody to ask about roaming, too."""
    config = DirectoryConfig(
        segments=("segments.csv",),
        intercept=("intercept.csv",),
        release=("release.csv",),
        own=("own.csv",),
        ported=("ported.csv",),
        overseas=("overseas.csv",),
        roaming=("roaming.csv",) if roaming else (),
        consent=("consent.csv",),
        refusals=("refusals.csv",),
        holidays=("holidays.csv",),
        categories=("finance", "property"),
    )
    made = load_directory(config, CASES / "lists", trunks())
    made.services = {"roaming": 1.5} if service else {}
    return made


def policy(text: str | None = None, *, roaming: bool = True, service: bool = False) -> RuleSet:
    return load_policy(text, file="policy.toml", directory=directory(roaming=roaming, service=service), trunks=trunks())


def make_call(trunk: str, sender: str, to: str = "sip:075583668888@gw1.example", **fields: Any) -> Call:
    """A call over a trunk of trunks.toml; "" is the trunk of a source that matches none."""
    return Call(NO_TRUNK if trunk == "" else trunks()[trunk], sender, to, at=fields.pop("at", AT), **fields)


def call_of(case: dict[str, Any]) -> Call:
    """The call that a case of a .toml file describes: `trunk`, `from`, and what else it names."""
    fields: dict[str, Any] = {name: tuple(case[name]) for name in ("pai", "diversion", "privacy", "identity") if name in case}
    fields |= {name: case[name] for name in ("hops", "customer") if name in case}
    if "history_info" in case:
        fields["history_info"] = msgspec.convert(case["history_info"], tuple[Diverted, ...])
    if "at" in case:
        fields["at"] = datetime.fromisoformat(case["at"]).timestamp()
    if "source" in case:
        fields["source"] = Source(case["source"], 5060, case.get("transport", "udp"), case.get("tls_identity"))
    if "legs" in case:
        fields["legs"] = legs_of(case["legs"], fields.get("at", AT))
    return make_call(case["trunk"], case["from"], case.get("to", "sip:075583668888@gw1.example"), **fields)


def legs_of(legs: list[dict[str, Any]], at: float) -> Legs:
    """Calls that were delivered before: `toward` a trunk, `called`, `callers`; `ago` seconds before `at`, and still `ringing` or not."""
    memory = Legs()
    for leg in legs:
        trunk = trunks()[leg["toward"]]
        side = side_of(msgspec.structs.replace(trunk, customer=leg.get("customer", trunk.customer)))
        assert side is not None
        told = ((side,), leg["called"], tuple(leg["callers"]), at - leg["ago"])
        memory.begin(*told)
        if not leg.get("ringing"):
            memory.end(*told)
    return memory


def case_files() -> list[str]:
    """Names of the .toml files that hold cases of calls."""
    return sorted(path.stem for path in CASES.glob("*.toml") if "case" in tomllib.loads(path.read_text(encoding="utf-8")))


def load_cases(name: str) -> list[dict[str, Any]]:
    document = tomllib.loads((CASES / f"{name}.toml").read_text(encoding="utf-8"))
    cases: list[dict[str, Any]] = document["case"]
    return cases


def view(verdict: Verdict) -> dict[str, Any]:
    """What a case can expect of a verdict."""
    return {
        "action": verdict.action,
        "code": verdict.code,
        "rule": verdict.rule,
        "status": verdict.status,
        "phrase": verdict.phrase,
        "reason": verdict.reason,
        "caller": verdict.caller,
        "called": verdict.called,
        "trunk": verdict.trunk,
        "customer": verdict.customer,
        "marks": list(verdict.marks),
        "labels": verdict.labels or {},
        "mode": verdict.mode,
        "would": None if verdict.would is None else [verdict.would.code, verdict.would.rule],
        "observed": [would.code for would in verdict.observed or ()],
    }


def evaluated(ruleset: RuleSet, call: Call) -> Verdict:
    """The verdict of a policy that needs no look-up."""
    verdict = ruleset.evaluate(call)
    assert isinstance(verdict, Verdict)
    return verdict


def check_case(case: dict[str, Any]) -> None:
    """Judge the call of a case and compare what it names of the verdict (`none` lists fields that must be null).

    `explain` must say the same.
    """
    ruleset = policy()
    expected: dict[str, Any] = case["expect"] | dict.fromkeys(case.get("none", ()))
    found = view(evaluated(ruleset, call_of(case)))
    assert {name: found[name] for name in expected} == expected
    explained = ruleset.explain(call_of(case))
    assert view(explained) == found
    assert explained.steps is not None and all(step.detail for step in explained.steps)
    assert not any(ruleset.failures.values())


def cases(name: str) -> Any:
    """Parametrises a test with the cases of cases/policy/NAME.toml."""
    return pytest.mark.parametrize("case", load_cases(name), ids=lambda case: case["name"])


def table(name: str) -> list[dict[str, str]]:
    """Rows of cases/policy/NAME.csv, comments left out."""
    lines = [line for line in (CASES / f"{name}.csv").read_text(encoding="utf-8").splitlines() if not line.startswith("#")]
    return list(csv.DictReader(lines))
