"""The redirect face: a trunk with the profile "redirect" asks us as a redirect server (RFC 3261 §8.3, §21.3.3), for calls that it sends on
itself.

Every request gets a final answer, none is sent on. A call that policy passes gets 302 with the Request-URI as it came in Contact, or
404, which many session border controllers take for "no other route here, go on with yours": the trunk's `go_on`. A call that policy
rejects gets 603, and one that could not be judged 503, so that the asker's own fail policy decides. What a redirect server cannot do
(withhold a caller, strip Privacy) rejects the call, in `rules.ruleset`; what only informs the called party (verstat, Call-Info, a prefix)
is left out, for there is no standard way to say it in a 302.
"""

from __future__ import annotations

from typing import Final

from proxy.enforce import Refusal, refusal
from proxy.sip.response import PHRASES
from proxy.validate import Request
from rules.call import Trunk
from rules.profile import UNDECIDED as UNDECIDED_PROFILE
from rules.verdict import Verdict

UNDECIDED: Final = Refusal(UNDECIDED_PROFILE.status, UNDECIDED_PROFILE.phrase)

CANCELLED: Final = Refusal(200, PHRASES[200])
"""To a CANCEL that comes after the final answer (§8.3: a redirect server answers 2xx)."""

_GO_ON: Final = {"302": Refusal(302, "Moved Temporarily", original=True), "404": Refusal(404, PHRASES[404])}
_METHODS: Final = b"Allow: INVITE, ACK, CANCEL, OPTIONS\r\n"
_CAPABLE: Final = Refusal(200, PHRASES[200], _METHODS + b"Accept: application/sdp\r\nSupported: \r\n")
_NOT_ASKED: Final = Refusal(405, PHRASES[405], _METHODS)
_FORBIDDEN: Final = Refusal(403, PHRASES[403])


def final_answer(verdict: Verdict, trunk: Trunk) -> Refusal:
    """The answer to an INVITE of a trunk that asks."""
    return _GO_ON[trunk.go_on] if verdict.action == "pass" else refusal(verdict, trunk)


def other_answer(request: Request, trunk: Trunk) -> Refusal:
    """The answer to any other request of its, outside dialogs."""
    if request.method == b"OPTIONS":
        return _CAPABLE
    return _FORBIDDEN if trunk.suspended else _NOT_ASKED
