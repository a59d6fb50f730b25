"""Rule 13: what Identity proves of the caller (RFC 8224; STIR/SHAKEN)."""

from __future__ import annotations

from typing import Any, ClassVar, Final

from rules.builtin.settings import PassportSettings
from rules.call import Call
from rules.directory import Directory
from rules.judge import Judge
from rules.passport import (
    Findings,
    Location,
    SignerFile,
    Unverified,
    Wanted,
    parse_location,
    stir_reason,
    trust_in,
    verify_identity,
)
from rules.rule import Check, OnError
from rules.verdict import Lookup, Outcome

KIND: Final = "certificate"
"""The look-up that answers with the certificate at a URL, as PEM."""

ASKED_AT_MOST: Final = 4
"""Certificates that one call may wait for."""

NOT_VERIFIED: Final = ("verified", False)
VERIFIED: Final = Outcome("note", "OK", labels=(("verified", True),))
MISSING: Final = Outcome("reject", "STIR_MISSING")
REJECTED: Final = {
    outcome.code: outcome
    for outcome in (
        Outcome("reject", "STIR_CERT", labels=(NOT_VERIFIED,)),
        Outcome("reject", "STIR_CREDENTIAL", labels=(NOT_VERIFIED,)),
        Outcome("reject", "STIR_SIGNATURE", labels=(NOT_VERIFIED,)),
        Outcome("reject", "STIR_STALE", labels=(NOT_VERIFIED,)),
        Outcome("reject", "STIR_ORIG", labels=(NOT_VERIFIED,)),
        Outcome("reject", "STIR_DEST", labels=(NOT_VERIFIED,)),
        Outcome("reject", "STIR_DIV", labels=(NOT_VERIFIED,)),
        Outcome("reject", "STIR_FORMAT", labels=(NOT_VERIFIED,)),
    )
}


class PassportRule:
    """Verify Identity, and let the trunk's `identity` say what becomes of a call that fails: "mark" notes it, "reject" rejects it,
    "require" rejects a call without Identity as well, "off" looks at nothing.

    Of several PASSporTs one that holds for the caller suffices; those that do not are marks then. What was found is left in labels:
    `attestation` and `origid`, and `verified`, which verstat follows: true where the signer answers for the caller's right to every number
    presented, false where nothing holds.
    """

    name: ClassVar = "passport"
    Config: ClassVar = PassportSettings
    on_error: ClassVar[OnError] = "mark"
    kinds: ClassVar = frozenset({"enterprise", "interconnect", "international"})
    quiet: ClassVar = "no Identity, and the trunk does not require one"

    def bind(self, config: PassportSettings, directory: Directory) -> Check:
        """Make the check. Raises ValueError for a certificate that lies nowhere, or is named twice."""
        return PassportCheck(config, directory)


class PassportCheck(Judge):
    """PassportRule, bound."""

    __slots__ = ("_deadline", "_heed_date", "_hosts", "_local", "_skew", "_trust")

    def __init__(self, config: PassportSettings, directory: Directory) -> None:
        self._skew: float = config.skew
        self._heed_date: bool = config.date
        self._trust = trust_in(config.roots, config.spc, listed=config.tn_auth_list)
        self._local = _local(config.certificates)
        self._hosts = directory.certificate_hosts
        self._deadline = directory.services.get(KIND)

    def judge(self, call: Call) -> Outcome | Lookup | None:
        """As the rule says."""
        trunk = call.trunk
        action = trunk.identity
        if action == "off" or (not call.identity and action != "require"):
            return None
        if call.kind == "core":
            return None
        if self._trust is None and action == "mark":
            if call.why is not None:
                call.why.append("no roots are configured: no Identity is verified")
            return None
        try:
            findings = verify_identity(call, self._trust, self._skew, Certificates(call, self), heed_date=self._heed_date)
        except Wanted as wanted:
            assert self._deadline is not None
            return Lookup(KIND, wanted.location.url, self._deadline)
        return _judge(call, findings)

    def certificate(self, call: Call, location: Location) -> str:
        """The certificate at a place. Raises Unverified, or Wanted where it has to be asked for."""
        found = self._local.get(location.url)
        if found is not None:
            return found
        if self._deadline is None or location.authority not in self._hosts:
            raise Unverified("STIR_CERT", f"no certificates are fetched from {location.authority}")
        if "?" in location.url:  # a host may have any number that mean the same
            raise Unverified("STIR_CERT", "its URL has a query, and only plain paths are fetched")
        answers = call.answers or {}
        if (KIND, location.url) in answers:
            answer = answers[KIND, location.url]
            if not isinstance(answer, str):
                raise Unverified("STIR_CERT", f"no certificate came from {location.url}")
            return answer
        if sum([kind == KIND for kind, _ in answers]) >= ASKED_AT_MOST:
            raise Unverified("STIR_CERT", f"the call has asked for {ASKED_AT_MOST} certificates already")
        raise Wanted(location)


class Certificates:
    """What `verify_identity` asks for a certificate."""

    __slots__ = ("_call", "_check")

    def __init__(self, call: Call, check: PassportCheck) -> None:
        self._call = call
        self._check = check

    def __call__(self, location: Location) -> str:
        """The certificate at a place."""
        return self._check.certificate(self._call, location)


def _local(files: dict[str, SignerFile]) -> dict[str, str]:
    local: dict[str, str] = {}
    for url, file in files.items():
        try:
            location = parse_location(url)
        except ValueError as error:
            raise ValueError(f"certificates: {url!r} is {error}") from None
        if location.url in local:
            raise ValueError(f"certificates: {url!r} stands there twice")
        local[location.url] = file.pem
    return local


def _judge(call: Call, findings: Findings) -> Outcome | None:
    """What becomes of the call, and what is left in its labels."""
    if call.why is not None:
        _explain(call.why, findings)
    codes = list(dict.fromkeys([reading.fault.code for reading in findings.failed if reading.fault is not None]))
    if findings.more:
        codes.append("STIR_FORMAT")
    vouching = findings.vouching
    action = call.trunk.identity
    labels: list[tuple[str, Any]] = []
    if call.trunk.stir_reason and codes:
        several = len(findings.failed) > 1 or vouching is not None
        labels.append(("stir_reasons", _reasons(findings, several=several)))
    if vouching is not None:
        if vouching.attest:
            call.label("attestation", vouching.attest)
            call.label("origid", vouching.origid)
        if findings.full:
            labels.append(("verified", True))
    elif not codes:
        return MISSING if action == "require" else None
    else:
        labels.append(NOT_VERIFIED)
        if action != "mark":
            for code in codes[1:]:
                call.mark(code)
            return REJECTED[codes[0]]
    if not codes:
        return VERIFIED if findings.full else None
    for code in codes[1:]:
        call.mark(code)
    return Outcome("mark", codes[0], labels=tuple(labels))


def _reasons(findings: Findings, *, several: bool) -> tuple[str, ...]:
    """Reason values (RFC 9410), one for each Identity that does not hold."""
    said = [
        stir_reason(reading.fault.code, reading.value.signature if several and reading.passport is not None else "")
        for reading in findings.failed
        if reading.fault is not None
    ]
    return tuple(dict.fromkeys(said))


def _explain(why: list[str], findings: Findings) -> None:
    vouching = findings.vouching
    if vouching is not None:
        kind = f"{vouching.ppt or 'PASSporT'} {vouching.attest}".rstrip()
        over = (
            f", over {findings.diversions} diversions" if findings.diversions > 1 else ", over a diversion" if findings.diversions else ""
        )
        why.append(f"{kind} for {vouching.orig[1]} holds, signed {findings.proof}, iat {vouching.iat}{over}")
    for reading in findings.failed:
        if reading.fault is not None:
            kind = reading.passport.ppt if reading.passport is not None else reading.value.ppt
            why.append(f"{reading.fault.code} for {kind or 'PASSporT'}: {reading.fault.why}")
    if findings.more:
        why.append("STIR_FORMAT: more Identity values than are read")
    why.extend(f"ppt {ppt!r} is not read: its Identity is ignored" for ppt in findings.ignored)
    if vouching is None and not findings.failed:
        why.append("no Identity that is read")
