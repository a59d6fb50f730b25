"""Events for tests of the journal."""

from __future__ import annotations

from typing import Any

import msgspec

from proxy.events import Attempt

LINES = (
    b'From: "Sales" <sip:075583123401@pbx.acme.example>;tag=t1',
    b"To: <sip:13800138000@gw1.example>",
    b"Via: SIP/2.0/UDP 127.0.0.2:5060;branch=z9hG4bK-1",
    b"P-Asserted-Identity: <tel:+8675583123401>",
)


def attempt(number: int, **changes: Any) -> Attempt:
    """The attempt of a rejected call, with these fields changed."""
    one = Attempt(
        at=1_764_000_000_000 + number,
        call_id=b"%d@a" % number,
        from_tag=b"t",
        trunk="acme",
        cseq=1,
        kind="enterprise",
        customer="acme",
        upstream="",
        address="127.0.0.2",
        port=5060,
        transport="udp",
        caller="+8675583123401",
        caller_kind="GEO",
        called="+8613800138000",
        called_kind="MOBILE",
        caller_raw="075583123401",
        called_raw="13800138000",
        action="reject",
        code="AUTH_FAIL",
        rule="segments",
        status=403,
        marks=("ID_FROM_MISMATCH",),
        mode="enforce",
        would_code="",
        would_rule="",
        policy_version="0123456789ab",
        directory_version="fedcba987654",
        elapsed_us=21,
        egress="",
        sent_as="",
        answers="",
        passport="",
        lines=LINES,
    )
    return msgspec.structs.replace(one, **changes)
