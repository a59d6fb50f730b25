"""The only bridge from policy to SIP: a Verdict becomes a refusal, or edits on the request that is forwarded."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, Final

from proxy.history import anonymised, diversion_shown
from proxy.limits import RULE
from proxy.sip.caller import anonymous, with_prefix, with_verstat, without_verstat
from proxy.sip.grammar import PERCENT, SEMICOLON, split_list
from proxy.sip.message import REPEATED, SipMessage, mark, unfold
from rules.profile import refusal as profile_refusal

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from rules.call import Trunk
    from rules.verdict import Verdict


class Refusal:
    """A final response of ours without its copied header fields: status line and further header lines. `original`: Contact names the
    Request-URI, which each request brings along, so that what is remembered of many is one object.
    """

    __slots__ = ("extra", "original", "phrase", "start", "status")

    def __init__(self, status: int, phrase: str, extra: bytes = b"", *, original: bool = False) -> None:
        self.status = status
        self.phrase = phrase
        self.start = f"SIP/2.0 {status} {phrase}".encode()
        self.extra = extra
        self.original = original

    def lines(self, message: SipMessage) -> bytes:
        """The further header lines of the response to this request."""
        return self.extra + b"Contact: <" + message.uri + b">\r\n" if self.original else self.extra


_TRY_LATER: Final = Refusal(503, "Service Unavailable", b"Retry-After: 1\r\n")
"""Above a limit. A second, no more: who heeds it sends nothing at all meanwhile, emergency calls included (RFC 3261 §21.5.4)."""
_REFUSALS: Final[dict[tuple[int, str, str, str, str], Refusal]] = {}
_BY_REASON: Final[dict[str, Refusal]] = {}
"""The last of those without Call-Info and Contact, by their Reason: most of all refusals are one and the same."""
_HIDES_FROM_CALLEE: Final = frozenset(("id", "header", "user"))
_HIDES_HISTORY: Final = frozenset(("history", "header", "session"))
_CALLER: Final = (b"from", b"p-asserted-identity", b"remote-party-id")
_TOLD_BY_NETWORKS: Final = mark(b"call-info") | mark(b"attestation-info") | mark(b"origination-id")
"""Header fields besides verstat in which a network says what it found of a caller (RFC 9796; 3GPP TS 24.229 §7.2.18, §7.2.19)."""
_ASSERTED: Final = mark(b"p-asserted-identity")
_REMOTE_PARTY: Final = mark(b"remote-party-id")
_HISTORY: Final = mark(b"history-info")
_DIVERSION: Final = mark(b"diversion")
_PREFERRED: Final = mark(b"p-preferred-identity")
_RICH: Final = re.compile(rb"(?i);\s*(?:call-reason|verified|purpose\s*=\s*(?:rcd-)?jcard)\b")
_VERSTAT: Final = {True: b"TN-Validation-Passed", False: b"TN-Validation-Failed", None: b"No-TN-Validation"}


def refusal(verdict: Verdict, trunk: Trunk) -> Refusal:
    """How this verdict is said: the status, Reason (RFC 3326) and Call-Info of the trunk's reject profile, nothing of why; where the rule
    redirects, 302 with the URI it names; where the rule wants silence and that cannot be kept, as `plain_refusal`.
    """
    if verdict.action == "redirect":
        return _refusal(302, verdict.phrase, "", "", str((verdict.labels or {})["redirect_to"]))
    if verdict.action == "drop":
        return plain_refusal(verdict, trunk)
    if verdict.status == 503 and verdict.rule == RULE:
        return _TRY_LATER
    status = verdict.status or 403
    if not verdict.call_info:
        found = _BY_REASON.get(verdict.reason)
        if found is not None and found.status == status and found.phrase == verdict.phrase:
            return found
    return _refusal(status, verdict.phrase, verdict.reason, verdict.call_info)


def plain_refusal(verdict: Verdict, trunk: Trunk) -> Refusal:
    """How the trunk's profile says no to this verdict, whatever its rule would rather do: nobody is redirected inside a dialog."""
    said = profile_refusal(trunk.reject_profile, verdict.code, trunk.redress)
    return _refusal(said.status, said.phrase, said.reason, said.call_info)


def _refusal(status: int, phrase: str, reason: str, call_info: str, contact: str = "") -> Refusal:
    key = (status, phrase, reason, call_info, contact)
    found = _REFUSALS.get(key)
    if found is None:
        extra = f"Reason: {reason}\r\n" if reason else ""
        if call_info:
            extra += f"Call-Info: {call_info}\r\n"
        if contact:
            extra += f"Contact: <{contact}>\r\n"
        found = _REFUSALS[key] = Refusal(status, phrase, extra.encode())  # as many as profiles, redress addresses and rules that redirect
    if not call_info and not contact:
        _BY_REASON[reason] = found
    return found


def apply_labels(
    message: SipMessage, verdict: Verdict, privacy: tuple[str, ...], ingress: Trunk, egress: Trunk | None, *, verstat: bool = False
) -> None:
    """Edit the request as the verdict and the trust boundary want it.

    `ingress` is the trunk it came from; `egress` the trunk whose customer gets the call, None toward our own network or a peer. `verstat`:
    whether the next hop is told what was found of the caller's number. RFC 3325 §7: P-Asserted-Identity leaves the trust domain only where
    Privacy does not ask to withhold it; P-Preferred-Identity never goes on (§5).
    """
    labels = verdict.labels
    if ingress.kind == "core" or (labels is None and says_nothing(message)):
        verstat = False
    else:
        distrust(message)
    if labels is not None:
        if labels.get("strip_privacy"):
            message.remove(b"privacy")
            privacy = ()
        if labels.get("withhold"):
            hide_caller(message)
            privacy = ("id",)
        if verdict.code != "EMG_OVERRIDE":
            show(message, labels, verdict.caller)
        if "stir_reasons" in labels and "request" in ingress.stir_reason:
            message.insert_top(b"Reason: " + stir_reasons(labels))
    keep_trust(message, privacy, egress)
    if egress is not None and egress.kind == "enterprise":
        hide_history(message, privacy)
    if verstat:
        passed = verdict.authenticated
        if passed is None and labels is not None:
            passed = labels.get("verified")  # what others have signed counts where we know nothing of our own
        tell_verstat(message, _VERSTAT[passed])


def tell_verstat(message: SipMessage, found: bytes) -> None:
    """Put verstat on the numbers that are asserted, on From's where none are."""
    if message.replaced is None and message.marks & _ASSERTED and not message.marks & REPEATED:  # the ordinary case: one line, not edited
        at = message.place(b"p-asserted-identity")
        line = message.line_at(at)
        changed = with_verstat(line, found)
        if changed is not line:
            message.replace_line(at, changed)
        return
    asserted = [at for at in message.positions(b"p-asserted-identity") if current(message, at) is not None]
    for at in asserted or message.positions(b"from"):
        edit(message, at, with_verstat, found)


def stir_reasons(labels: Mapping[str, Any]) -> bytes:
    """Values of Reason for Identity header fields that do not hold, of a call that goes on all the same (RFC 9410 §4)."""
    return ", ".join(labels["stir_reasons"]).encode()


def hide_history(message: SipMessage, privacy: tuple[str, ...]) -> None:
    """Who forwarded a call and wants it withheld is not told to a customer (RFC 7044 §10.1.2, RFC 5806 §4)."""
    if message.marks & _HISTORY:
        left = anonymised(message.all(b"history-info"), every=not _HIDES_HISTORY.isdisjoint(privacy))
        if left is not None:
            message.remove(b"history-info")
            message.insert_top(b"History-Info: " + b", ".join(left))
    if message.marks & _DIVERSION:
        left = diversion_shown(message.all(b"diversion"))
        if left is not None:
            message.remove(b"diversion")
            if left:
                message.insert_top(b"Diversion: " + b", ".join(left))


def says_nothing(message: SipMessage) -> bool:
    """Whether a request plainly has neither a claim of a network's to take out nor a telephone number to put verstat on.

    Most are so: From has its tag and no other parameter, P-Asserted-Identity none, and no field that only networks write is there.
    """
    line = message.line_at(message.place(b"from"))
    if line.count(b";") != 1 or line.find(b";tag=") < 0 or PERCENT in line or line.lower().find(b"tel:") >= 0:
        return False
    if message.marks & _ASSERTED:
        line = message.line_at(message.place(b"p-asserted-identity"))
        if (
            SEMICOLON in line
            or PERCENT in line
            or line.lower().find(b"tel:") >= 0
            or (message.more_lines and b"p-asserted-identity" in message.more_lines)
        ):
            return False
    return not message.marks & (_TOLD_BY_NETWORKS | _REMOTE_PARTY)


def show(message: SipMessage, labels: Mapping[str, Any], caller: str | None) -> None:
    """Put on the request what its labels say to the called party: the display name's prefix, the reason in Call-Info (RFC 9796 §6)."""
    prefix = labels.get("prefix")
    if prefix:
        for name in (b"from", b"p-asserted-identity"):
            if message.count(name) == 1 and len(message.all(name)) == 1:
                edit(message, message.first_line[name], with_prefix, _quotable(prefix), (caller or "").encode())
    reason = labels.get("call_reason")
    if reason:
        message.insert_top(b'Call-Info: <data:>;purpose=jcard;call-reason="' + _quotable(reason) + b'"')


def hide_caller(message: SipMessage) -> None:
    """Withhold the caller's number: From of nobody, and `Privacy: id` for what our own network still sees in P-Asserted-Identity.

    That is how RFC 3325 §9.3 has a network carry a number that no called party may see. Remote-Party-ID, which need not heed Privacy, and
    Identity, whose token spells the number out, go. From is the same for the whole dialog: see `DialogToken.withheld`.
    """
    message.remove(b"privacy")
    message.insert_top(b"Privacy: id")
    message.remove(b"remote-party-id")
    message.remove(b"identity")
    edit(message, message.first_line[b"from"], anonymous)


def distrust(message: SipMessage) -> None:
    """Take out what an untrusted peer says that only a network may say: verstat, attestation, rich call data."""
    repeated = message.marks & REPEATED
    for name in _CALLER:
        at = message.place(name)
        if at:
            if message.replaced is None and not repeated:  # the ordinary case: one line, and nothing edited
                line = message.line_at(at)
                changed = without_verstat(line)
                if changed is not line:
                    message.replace_line(at, changed)
                continue
            for at in message.positions(name):
                edit(message, at, without_verstat)
    if not message.marks & _TOLD_BY_NETWORKS:
        return
    message.remove(b"attestation-info")
    message.remove(b"origination-id")
    for at in message.positions(b"call-info"):
        field, _, text = message.lines[at].partition(b":")
        values = split_list(unfold(text.strip()))
        kept = [value for value in values if not _RICH.search(value.partition(b">")[2])]
        if len(kept) < len(values):
            message.replace_line(at, field + b": " + b", ".join(kept) if kept else None)


def edit(message: SipMessage, at: int, change: Callable[..., bytes], *arguments: bytes) -> None:
    """Replace a line, as earlier edits left it, by what `change` makes of it."""
    line = current(message, at)
    if line is not None:
        changed = change(line, *arguments)
        if changed is not line:
            message.replace_line(at, changed)


def current(message: SipMessage, at: int) -> bytes | None:
    """A line as earlier edits left it; None where they took it out."""
    replaced = message.replaced
    return replaced[at] if replaced is not None and at in replaced else message.lines[at]


def _quotable(text: str) -> bytes:
    return text.replace("\\", "\\\\").replace('"', '\\"').encode("utf-8", "replace")


def keep_internal(message: SipMessage, names: tuple[bytes, ...]) -> None:
    """Take out what only we are told: the header fields in which trunks say whose call it is. Nobody behind us need know, nor may anyone
    believe what another trunk puts there.
    """
    for name in names:
        if name in message.first_line:
            message.remove(name)


def keep_trust(message: SipMessage, privacy: tuple[str, ...], egress: Trunk | None) -> None:
    """What must not cross the trust boundary toward `egress`, in any request or response (RFC 3325 §5, §7)."""
    if message.marks & _PREFERRED:
        message.remove(b"p-preferred-identity")
    if privacy and egress is not None and egress.kind == "enterprise" and not _HIDES_FROM_CALLEE.isdisjoint(privacy):
        message.remove(b"p-asserted-identity")
        message.remove(b"remote-party-id")
        message.remove(b"identity")  # its token spells the same number out
