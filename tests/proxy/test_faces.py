"""Four faces, one decision: the same calls through each face give the same verdict, said as that face says it.

The calls are those of tests/cases/policy. A face is a function from a case to what it answered; HTTP joins by one more entry in FACES.
What a face may say otherwise than the others stands in `Face`, with the reason.
"""

from __future__ import annotations

import itertools
import json
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import formatdate
from functools import cache
from pathlib import Path
from typing import Any

import msgspec
import pytest

from proxy.config import Config, load_config
from proxy.core import Proxy
from proxy.decision import Judge
from proxy.events import Attempt
from proxy.flow import Flow
from proxy.generation import Generation
from proxy.journal.frame import event_of
from proxy.replay.arrivals import Arrivals
from proxy.replay.judging import Replay
from proxy.replay.policy import Policy
from proxy.replay.recorded import Recorded
from proxy.replay.summary import Summary
from proxy.replay.trouble import Trouble
from proxy.report import verdict_json
from proxy.sip.message import SipMessage
from rules import Lookup, RuleSet, Trunk, Verdict, load_policy
from tests.rules.cases import AT, call_of, case_files, directory, legs_of, load_cases, policy, table, trunks
from tests.rules.passport.material import DEST, ORIG, URL, Authority

CALLED = "sip:075583668888@gw1.example"
STRANGER = "203.0.113.9"
BASE = """
[[listen]]
address = "127.0.0.1:5060"
[[trunk]]
id = "some"
kind = "enterprise"
sources = ["127.0.0.2"]
next_hop = "switch"
[[next_hop]]
id = "switch"
targets = ["sip:127.0.0.5:5080"]
"""


@dataclass(frozen=True, eq=False)
class Case:
    """A call of the policy cases; `answers` are what a look-up service says by number, None where there is no service."""

    name: str
    described: dict[str, Any]
    answers: dict[str, str] | None = None
    roaming_file: bool = True

    def policy(self) -> RuleSet:
        """A policy of its own: what it remembers of emergency calls is no other case's."""
        return policy(roaming=self.roaming_file, service=self.answers is not None)

    def answer(self, lookup: Lookup) -> object:
        """What the service says, None where it does not answer."""
        assert self.answers is not None
        said = self.answers[lookup.key]
        return None if said == "none" else said

    @property
    def at(self) -> float:
        return datetime.fromisoformat(self.described["at"]).timestamp() if "at" in self.described else AT


def _cases() -> list[Case]:
    cases = []
    for file in case_files():
        cases += [Case(f"{file}: {case['name']}", case) for case in load_cases(file)]
    for row in table("international"):
        cases.append(Case(f"international: {row['trunk']} {row['presented']}", {"trunk": row["trunk"], "from": row["presented"]}))
    for row in table("roaming"):
        shown = row["presented"].split()
        answers = dict(pair.split("=") for pair in row["service"].split())
        described = {"trunk": row["trunk"], "from": shown[0], "pai": shown}
        cases.append(Case(f"roaming: {row['note']} {row['trunk']} {row['presented']}", described, answers, row["file"] == "yes"))
    return cases


ALL = _cases()


@dataclass(frozen=True)
class Answer:
    """What a face answered: the verdict as JSON, and on the wire the start lines that came out, provisional ones left out."""

    verdict: dict[str, Any] | None
    sent: list[bytes]


def _as_it_is(trunk: Trunk) -> Trunk:
    return trunk


@dataclass(frozen=True)
class Face:
    """One face: `ask` has it judge a case; `trunk` is the trunk that the case's becomes there, `same` the trunk that an inline node would
    decide alike for; `differs` names the fields of a verdict that are this face's own.
    """

    ask: Callable[[Face, Case], Answer]
    trunk: Callable[[Trunk], Trunk] = _as_it_is
    same: Callable[[Trunk], Trunk] = _as_it_is
    differs: tuple[str, ...] = ()
    wire: bool = False


def _asks(go_on: str) -> Callable[[Trunk], Trunk]:
    return lambda trunk: msgspec.structs.replace(trunk, reject_profile="redirect", go_on=go_on, next_hop=None)


def _with_rpid(trunk: Trunk) -> Trunk:
    return msgspec.structs.replace(trunk, rpid_as_pai=True)


def _without_edits(trunk: Trunk) -> Trunk:
    """The trunk for which an inline node would decide as a redirect server does, which cannot edit a request: it rejects what is to be
    withheld or stripped.
    """
    changes = {key: "reject" for key in ("unverified", "roaming_failure") if getattr(trunk, key) == "withhold"}
    if trunk.hidden == "strip":
        changes["hidden"] = "reject"
    return msgspec.structs.replace(trunk, **changes)


@cache
def _config(face: str) -> Config:
    """The trunks of the cases as this face has them, each with an address of its own; not all would pass `check`."""
    made = load_config("faces.toml", text=BASE, base=Path())
    placed = [
        FACES[face].trunk(msgspec.structs.replace(trunk, sources=(f"127.0.1.{place}",), next_hop="switch"))
        for place, trunk in enumerate(trunks().values(), 1)
    ]
    return msgspec.structs.replace(made, trunk=tuple(placed))


# the faces


def over_the_wire(face: Face, case: Case) -> Answer:
    """Bytes in, bytes out, through a proxy core; the verdict is what its observer hears."""
    proxy, heard = _proxy(face, case)
    sent = [data for _, data in proxy.take_sends() if not data.startswith(b"SIP/2.0 1")]
    return Answer(verdict_json(heard[0]) if heard else None, sent)


def from_the_journal(face: Face, case: Case) -> Answer:
    """What a replay says of the record that a proxy core made of the call, once it has been written and read."""
    proxy, heard = _proxy(face, case)
    attempts = [event for event in proxy.take_events() if isinstance(event, Attempt)]
    (written,) = [event_of(memoryview(msgspec.msgpack.encode(event))) for event in attempts]
    assert written is not None
    ruleset = case.policy()
    policy = Policy(Judge(Generation(_config("journal"), ruleset.directory, ruleset)), Arrivals(proxy.routing))
    if "legs" in case.described:
        policy._correlation.legs = legs_of(case.described["legs"], case.at)
    (row,) = Replay(policy, None, Summary(Trouble()), case.at).run([Recorded(written, "s:1")])
    if not heard:
        assert isinstance(written, Attempt) and written.code == row.verdict.code
        return Answer(None, [b"SIP/2.0 %d " % written.status])
    return Answer(verdict_json(row.verdict), [])


def _proxy(face: Face, case: Case) -> tuple[Proxy, list[Verdict]]:
    """A proxy core that has got the case's INVITE, and what its observer heard."""
    name = next(name for name, one in FACES.items() if one is face)
    config = _config(name)
    proxy = Proxy(config, case.policy(), config.listeners(), b"a secret for tests only", salt=b"0000")
    proxy.wall_offset = case.at
    if "legs" in case.described:
        proxy._screening.correlation.legs = legs_of(case.described["legs"], case.at)
    heard: list[Verdict] = []
    proxy.watch_verdicts(lambda verdict, call: heard.append(verdict))
    proxy.keep_events()
    trunk = case.described["trunk"]
    address = config.trunks[trunk].sources[0] if trunk else STRANGER
    proxy.receive(invite(case), Flow(config.listeners()[0], address, 5060), 0.0)
    for lookup, ticket in itertools.chain.from_iterable(iter(proxy.take_lookups, [])):
        proxy.resume(ticket, case.answer(lookup), 0.0)
    assert not proxy.faults, proxy.faults
    assert len(heard) <= 1
    return proxy, heard


def by_library(face: Face, case: Case) -> Answer:
    """Header values in, through JSON as HTTP will have them."""
    taken = ("from", "to", "pai", "diversion", "identity", "date", "customer")
    described = {key: value for key, value in case.described.items() if key in taken}
    described.setdefault("to", CALLED)
    described["at"] = case.at
    described["privacy"] = ";".join(case.described.get("privacy", ()))
    described["diversion"] = diversion(case.described)
    described["history_info"] = history(case.described)
    if case.described["trunk"]:
        described["trunk"] = case.described["trunk"]
    else:
        described["source"] = STRANGER
    ruleset = case.policy()
    legs = legs_of(case.described["legs"], case.at) if "legs" in case.described else None
    judge = Judge(Generation(_config("library"), ruleset.directory, ruleset), legs=legs)
    decision = judge.decide(json.dumps(described), None if case.answers is None else case.answer)
    assert [lookup.key for lookup in decision.unanswered] == [key for key, said in (case.answers or {}).items() if said == "none"]
    return Answer(decision.json(), [])


def by_explain(face: Face, case: Case) -> Answer:
    """What `sipwarden explain --json` prints, its steps apart."""
    verdict = case.policy().explain(call_of(case.described), None if case.answers is None else case.answer)
    document = verdict_json(verdict)
    assert document.pop("steps")
    return Answer(document, [])


FACES = {
    "inline": Face(over_the_wire, wire=True),
    # a rejection has the status and phrase of the profile, which is what makes a trunk one that asks; `action` stays at pass for a 302
    "redirect": Face(over_the_wire, _asks("302"), _without_edits, ("status", "phrase"), wire=True),
    "redirect 404": Face(over_the_wire, _asks("404"), _without_edits, ("status", "phrase"), wire=True),
    "journal": Face(from_the_journal, _with_rpid, wire=True),
    "library": Face(by_library),
    "explain": Face(by_explain),
}


# a case as a message


def uri(text: str) -> str:
    return text if ":" in text else f"sip:{text}@gw1.example"


def diversion(case: dict[str, Any]) -> list[str]:
    """Diversion's values; what `hops` counts beyond them is in the counter of the first."""
    values = [f"<{uri(value)}>" for value in case.get("diversion", ())]
    if values and case.get("hops", 0) > len(values):
        values[0] += f";counter={case['hops'] - len(values) + 1}"
    return values


def history(case: dict[str, Any]) -> list[str]:
    """History-Info that tells the steps of a case: each target of a diversion stands below who sent the call on."""
    steps = list(reversed(case.get("history_info", ())))
    values = []
    for place, target in enumerate([*(step["uri"] for step in steps), case.get("to", CALLED)] if steps else ()):
        cause = steps[place - 1].get("cause") if place else None
        index = ".".join(["1"] * (place + 1))
        mapped = f";mp={index[:-2]}" if place and cause is None else ""
        values.append(f"<{uri(target)}{'' if cause is None else f';cause={cause}'}>;index={index}{mapped}")
    return values


def invite(case: Case) -> bytes:
    described = case.described
    to = uri(described.get("to", CALLED))
    lines = [
        f"INVITE {to} SIP/2.0",
        "Via: SIP/2.0/UDP 127.0.0.1:5060;rport;branch=z9hG4bK1",
        "Max-Forwards: 70",
        f"From: <{uri(described['from'])}>;tag=1",
        f"To: <{to}>",
        "Call-ID: 1",
        "CSeq: 1 INVITE",
        "Contact: <sip:127.0.1.1:5060>",
    ]
    for name, values in (
        ("P-Asserted-Identity", [f"<{uri(value)}>" for value in described.get("pai", ())]),
        ("Remote-Party-ID", [described["rpid"]] if "rpid" in described else ()),
        ("Diversion", diversion(described)),
        ("History-Info", history(described)),
        ("Identity", described.get("identity", ())),
        ("Date", [described["date"]] if "date" in described else ()),
        ("Privacy", [";".join(described["privacy"])] if described.get("privacy") else ()),
    ):
        if values:
            lines.append(f"{name}: {', '.join(values)}")
    if "customer" in described:
        lines.append(f"X-Customer: {described['customer']}")
    return "\r\n".join([*lines, "Content-Length: 0", "", ""]).encode()


# the test


@cache
def reference(case: Case, trunk: Callable[[Trunk], Trunk]) -> dict[str, Any]:
    """`rules.RuleSet.evaluate`, asked directly."""
    ruleset, call = case.policy(), call_of(case.described)
    call.trunk = trunk(call.trunk)
    found = ruleset.evaluate(call)
    while isinstance(found, Lookup):
        found = ruleset.resume(call, found, case.answer(found))
    return verdict_json(found)


def comparable(document: dict[str, Any], without: tuple[str, ...]) -> dict[str, Any]:
    left = {name: value for name, value in document.items() if name not in (*without, "elapsed_us")}
    if "status" in without and left["would"] is not None:
        left["would"] = left["would"] | {"status": None}
    return left


@pytest.mark.parametrize("case", ALL, ids=lambda case: case.name)
@pytest.mark.parametrize("name", FACES)
def test_the_same_verdict(name: str, case: Case) -> None:
    face = FACES[name]
    described = case.described
    if "tls_identity" in described and name != "explain":
        pytest.skip("TLS is not in this version")
    if face.wire and described["trunk"] == "acme-tls" and "source" not in described:
        pytest.skip("what comes over the wire has a source")
    if name == "library" and described["trunk"] == "acme-tls" and "source" in described:
        pytest.skip("TLS is not in this version: no source is looked up for its trunk")
    if face.wire and "customer" in described and described["trunk"] == "sbc-number":
        pytest.skip("over the wire only a header field could say it, and this trunk has none")
    expected = reference(case, face.same)
    answer = face.ask(face, case)
    if answer.verdict is None:  # a source without a trunk is refused before it is read
        assert (face.wire, described["trunk"], expected["code"]) == (True, "", "TRK_UNKNOWN")
        assert [data[:12] for data in answer.sent] == [b"SIP/2.0 403 "]
        return
    assert comparable(answer.verdict, face.differs) == comparable(expected, face.differs)
    if not face.wire or name == "journal":
        return
    (data,) = answer.sent
    passed = expected["action"] == "pass"
    if name == "inline":
        assert data.startswith(b"INVITE " if passed else b"SIP/2.0 %d %s\r\n" % (expected["status"], expected["phrase"].encode()))
        return
    message = SipMessage.parse(data)
    assert message.status == (int(face.trunk(trunks()["core"]).go_on) if passed else 603)
    assert (answer.verdict["status"], answer.verdict["phrase"]) == ((None, "") if passed else (603, "Decline"))
    assert message.first(b"contact") == (f"<{uri(described.get('to', CALLED))}>".encode() if message.status == 302 else None)


@dataclass(frozen=True, eq=False)
class Signed(Case):
    """A call from a peer whose certificate is in the policy file's folder."""

    folder: Authority | None = None

    def policy(self) -> RuleSet:
        assert self.folder is not None
        self.folder.path("root.pem"), self.folder.path("leaf.chain")
        text = f'[rules.own_number]\nmode = "off"\n[rules.passport]\nroots = ["root.pem"]\ncertificates = {{"{URL}" = "leaf.chain"}}\n'
        return load_policy(text, file=str(self.folder.path("policy.toml")), directory=directory(), trunks={})


@pytest.mark.parametrize(("date", "marks"), [("", []), ("later", ["STIR_STALE"]), ("-", ["STIR_FORMAT"])])
@pytest.mark.parametrize("name", ["inline", "library", "journal"])
def test_a_passport_in_compact_form_counts_from_date(name: str, date: str, marks: list[str], authority: Authority) -> None:
    at = int(time.time()) + 3600
    signed = at + 100 if date == "later" else at
    token = authority.sign(
        "leaf",
        {"alg": "ES256", "typ": "passport", "x5u": URL},
        f'{{"dest":{{"tn":["{DEST}"]}},"iat":{signed},"orig":{{"tn":"{ORIG}"}}}}',
    )
    identity = f"..{token.rpartition('.')[2]};info=<{URL}>;alg=ES256"
    written = {} if date == "-" else {"date": formatdate(signed, usegmt=True)}
    described = {"trunk": "peer", "from": f"+{ORIG}", "to": f"+{DEST}", "identity": [identity]} | written
    described["at"] = datetime.fromtimestamp(at, UTC).isoformat()
    verdict = FACES[name].ask(FACES[name], Signed("signed", described, folder=authority)).verdict
    assert verdict is not None
    assert (verdict["action"], verdict["marks"]) == ("pass", marks)


@pytest.mark.parametrize(("number", "code"), [("+8675583120001", "AUTH_OK"), ("+8675599999999", "AUTH_FAIL")])
def test_remote_party_id_counts_in_a_record_as_it_did_on_the_wire(number: str, code: str) -> None:
    face = FACES["journal"]
    case = Case("RPID", {"trunk": "acme-sz", "from": "+8675583120002", "rpid": f'"x" <sip:{number}@gw1.example>;party=calling;privacy=off'})
    _, heard = _proxy(face, case)
    assert (heard[0].caller, heard[0].code) == (number, code)
    assert comparable(face.ask(face, case).verdict or {"would": None}, ()) == comparable(verdict_json(heard[0]), ())


def test_every_kind_of_case_is_there() -> None:
    assert len(ALL) > 300
    codes = {reference(case, _as_it_is)["code"] for case in ALL}
    assert len(codes) > 30, codes
