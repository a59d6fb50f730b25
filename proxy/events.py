"""What the core tells of calls, as it happens: attempt, ringing, answer, end (records.md). A reader joins the events of one call.

All events of a call share its key: Call-ID, From tag and ingress trunk; `cseq` tells attempts with the same key apart (a caller that was
challenged, or that redials within its dialog). A call that passes us twice (a spiral) has another ingress, and is a record of its own.
A proxy before us that forks may send several INVITEs with all of these alike: each has its Attempt and its End.
Each event stands for itself: nothing is kept between them, so that a worker that was started again goes on where the one before it ended.
"""

from __future__ import annotations

from typing import Literal

import msgspec

By = Literal["caller", "callee", "proxy"]
"""Who ended a call: by CANCEL or BYE, by its answer or BYE, or this node (no answer in time, no way, a limit)."""


class Attempt(msgspec.Struct, array_like=True, tag="attempt", gc=False):
    """An initial INVITE and what became of it. Times are milliseconds since 1970, UTC.

    `status` is the final response that this node gave at once, 0 for a call that was sent on (and for silence, which `action` "drop"
    tells); its End follows. `action` is "" where no verdict was reached: what cannot be sent on whatever the rules say (483, 420, 416), a
    full node (503), a caller that gave up while its call waited for a look-up (487). A call that passed and was refused all the same (no
    way, a loop, a full or ending node) has action "pass" and its status. Call-ID and tags are cut at 256 octets. `lines` are the header
    lines of the request as they came that records keep (see `proxy.attempts`), never its body nor any other line: signalling only
    (Telecom Regulation art. 65). `sent_as` is the caller as the next hop is shown it.
    """

    at: int
    call_id: bytes
    from_tag: bytes
    trunk: str
    cseq: int
    kind: str
    customer: str
    upstream: str
    address: str
    port: int
    transport: str
    caller: str
    caller_kind: str
    called: str
    called_kind: str
    caller_raw: str
    called_raw: str
    action: str
    code: str
    rule: str
    status: int
    marks: tuple[str, ...]
    mode: str
    would_code: str
    would_rule: str
    policy_version: str
    directory_version: str
    elapsed_us: int
    egress: str
    sent_as: str
    answers: str
    passport: str
    lines: tuple[bytes, ...]


class Ringing(msgspec.Struct, array_like=True, tag="ringing", gc=False):
    """The first 101 to 199 went to the caller."""

    at: int
    call_id: bytes
    from_tag: bytes
    trunk: str
    cseq: int
    status: int


class Answer(msgspec.Struct, array_like=True, tag="answer", gc=False):
    """The first 2xx went to the caller; `egress` is the next hop that answered, `target` its address (after a failover not the first)."""

    at: int
    call_id: bytes
    from_tag: bytes
    trunk: str
    cseq: int
    status: int
    egress: str
    target: str


class End(msgspec.Struct, array_like=True, tag="end", gc=False):
    """A call that was sent on is over: refused, cancelled or timed out (`status` is the final response, `cseq` the attempt's), or hung up
    (`status` 0, `cseq` 0: a BYE does not tell which attempt it ends).

    `why` is a word for records: "refused", "cancelled", "timeout", "bye", "lost" (nothing ended it in the longest time that a call may
    last, or a request inside it was answered 408 or 481). An Answer may come after an End: a callee that picked up when its caller had been
    told of a failure; the call then has another End. The first End counts where there are two without an Answer between them.
    """

    at: int
    call_id: bytes
    from_tag: bytes
    trunk: str
    cseq: int
    status: int
    by: By
    why: str


Event = Attempt | Ringing | Answer | End
