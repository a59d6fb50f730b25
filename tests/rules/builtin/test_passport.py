"""Rule 13: tests/cases/passport.toml, signed by openssl."""

from __future__ import annotations

import re
import time
import tomllib
from email.utils import formatdate
from typing import Any

import msgspec
import pytest

from rules import Call, Lookup, RuleSet, Trunk, Verdict, load_policy
from rules.call import TrunkKind
from tests.rules.cases import CASES, directory, trunks, view
from tests.rules.passport.material import DEST, ORIG, Authority, b64

AT = float(int(time.time()) + 3600)  # the certificates are made after this line is read
ZERO, ONES = bytes(32), b"\xff" * 32
TRUNKS = {"interconnect": "peer", "enterprise": "acme-sz", "core": "core", "international": "gw"}


@pytest.fixture(scope="module")
def ruleset(authority: Authority) -> RuleSet:
    return policy(authority)


def policy(authority: Authority, settings: str = "", *, hosts: tuple[str, ...] = ("cert.example",)) -> RuleSet:
    """The packaged order, with the roots of an authority; certificates are asked for."""
    roots = [f"{name}.pem" for name in ("root", "plainroot")]
    lists = directory(service=True)
    before = lists.services, lists.certificate_hosts
    lists.services, lists.certificate_hosts = {"certificate": 2.0}, frozenset(hosts)
    try:
        for name in roots:
            authority.path(name)
        text = f'[rules.own_number]\nmode = "off"\n[rules.passport]\nroots = {roots}\n{settings}'
        return load_policy(text, file=str(authority.path("policy.toml")), directory=lists, trunks={})
    finally:
        lists.services, lists.certificate_hosts = before


def certificate(authority: Authority, lookup: Lookup) -> str | None:
    assert lookup.kind == "certificate"
    found = re.fullmatch(r"https://cert\.example/([a-z0-9-]+)\.pem", lookup.key)
    if lookup.key.endswith("nonsense"):
        return "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"
    return authority.chain(found[1]) if found and found[1] in authority.table else None


def merged(base: dict[str, Any], given: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in (base | given).items() if value != "-"}


def identity(authority: Authority, token: dict[str, Any], at: float) -> str:
    """An Identity value as a case describes it."""
    key = token.get("key", "leaf")
    header = merged({"alg": "ES256", "ppt": "shaken", "typ": "passport", "x5u": f"https://cert.example/{key}.pem"}, token.get("header", {}))
    iat = int(at) - token.get("ago", 0)
    claims = merged(
        {"attest": "A", "dest": {"tn": [DEST]}, "iat": iat, "orig": {"tn": ORIG}, "origid": "o"},
        token.get("claims", {}),
    )
    signed = authority.sign(key, token.get("header_text", header), token.get("claims_text", claims))
    return changed(signed, token.get("change", "")) + token.get("parameters", "")


def changed(token: str, change: str) -> str:
    head, claims, signature = token.split(".")
    match change:
        case "signature":
            return f"{head}.{claims}.{signature[:40]}{'A' if signature[40] != 'A' else 'B'}{signature[41:]}"
        case "attest":
            return token.replace(claims, b64(b64_text(claims).replace('"A"', '"B"').encode()))
        case "unsigned":
            return f"{head}.{claims}."
        case "r zero":
            return f"{head}.{claims}.{b64(ZERO + ONES)}"
        case "s zero":
            return f"{head}.{claims}.{b64(ONES + ZERO)}"
        case "all ones":
            return f"{head}.{claims}.{b64(ONES + ONES)}"
        case "der":
            return f"{head}.{claims}.{b64(b'0E' + bytes(69))}"
        case "compact":
            return f"..{signature}"
        case "":
            return token
    raise AssertionError(change)


def b64_text(text: str) -> str:
    import base64

    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4)).decode()


def trunk_of(case: dict[str, Any]) -> Trunk:
    kind: TrunkKind = case.get("kind", "interconnect")
    return msgspec.structs.replace(
        trunks()[TRUNKS[kind]],
        identity=case.get("identity", "mark"),
        stir_reason=tuple(case.get("stir_reason", ())),
        reject_profile="stir",
        home_area=None if kind == "international" else "755",
    )


def call_of(authority: Authority, case: dict[str, Any]) -> tuple[Call, list[str]]:
    at = AT + case.get("later", 0)
    values = [identity(authority, token, at) for token in case.get("token", ())]
    date = formatdate(at - case["date_ago"], usegmt=True) if "date_ago" in case else case.get("date", "")
    fields = tuple([", ".join(values)] if case.get("joined") else values)
    pai = tuple(case.get("pai", ()))
    sender, to = case.get("from", "sip:+8675583120000@peer.example"), case.get("to", "sip:13802881946@gw1.example")
    return Call(trunk_of(case), sender, to, at=at, pai=pai, identity=fields, date=date), values


def decided(ruleset: RuleSet, call: Call, authority: Authority) -> Verdict:
    found = ruleset.evaluate(call)
    for _ in range(10):
        if isinstance(found, Verdict):
            return found
        found = ruleset.resume(call, found, certificate(authority, found))
    raise AssertionError("it asks for ever")


@pytest.mark.parametrize("case", tomllib.loads((CASES.parent / "passport.toml").read_text("utf-8"))["case"], ids=lambda case: case["name"])
def test_case(case: dict[str, Any], authority: Authority, ruleset: RuleSet) -> None:
    call, values = call_of(authority, case)
    found = view(decided(ruleset, call, authority))
    if found["labels"].get("stir_reasons"):
        signature = values[0].rpartition(".")[2]
        found["labels"]["stir_reasons"] = [reason.replace(signature, "SIGNATURE") for reason in found["labels"]["stir_reasons"]]
    expected = case["expect"]
    assert {name: found[name] for name in expected} == expected
    explained = ruleset.explain(call_of(authority, case)[0], lambda lookup: certificate(authority, lookup))
    assert (explained.action, explained.code, explained.marks) == (found["action"], found["code"], found["marks"])
    assert explained.steps is not None and all(step.detail for step in explained.steps if step.rule == "passport")
    assert not any(ruleset.failures.values()), explained.steps


@pytest.mark.parametrize(
    "tokens", [[{}], [{}, {"change": "signature"}], [{"change": "signature"}]], ids=["it holds", "one of two holds", "none holds"]
)
def test_in_observe_mode_nothing_is_said_of_the_caller(tokens: list[dict[str, Any]], authority: Authority) -> None:
    observing = policy(authority, 'mode = "observe"\n')
    for action in ("mark", "reject"):
        call, _ = call_of(authority, {"identity": action, "token": tokens})
        verdict = decided(observing, call, authority)
        assert verdict.action == "pass"
        assert "verified" not in (verdict.labels or {})


@pytest.mark.parametrize(
    ("tokens", "verified"),
    [([{}], True), ([{}, {"change": "signature"}], True), ([{"change": "signature"}], False), ([], None)],
    ids=["it holds", "one of two holds", "none holds", "none there"],
)
def test_what_an_observed_trunk_lets_go_on_is_said_as_it_is(
    tokens: list[dict[str, Any]], verified: bool | None, authority: Authority, ruleset: RuleSet
) -> None:
    """The rule itself is in force: a call goes on that it would have rejected, as one whose Identity does not hold."""
    call, _ = call_of(authority, {"identity": "reject", "token": tokens})
    call.trunk = msgspec.structs.replace(call.trunk, mode="observe")
    verdict = decided(ruleset, call, authority)
    assert verdict.action == "pass"
    assert (verdict.labels or {}).get("verified") is verified
    assert (verdict.would is not None) == (verified is False)
