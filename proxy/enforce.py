"""The only bridge from policy to SIP: a Verdict becomes a refusal, or edits on the request that is forwarded."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from proxy.history import anonymised, diversion_shown
from proxy.sip.message import SipMessage

if TYPE_CHECKING:
    from rules.call import Trunk
    from rules.verdict import Verdict


class Refusal:
    """A final response of ours without its copied header fields: status line and further header lines."""

    __slots__ = ("extra", "start", "status")

    def __init__(self, status: int, phrase: str, extra: bytes = b"") -> None:
        self.status = status
        self.start = f"SIP/2.0 {status} {phrase}".encode()
        self.extra = extra


_REFUSALS: Final[dict[tuple[int, str, str], Refusal]] = {}
_HIDES_FROM_CALLEE: Final = frozenset(("id", "header", "user"))
_HIDES_HISTORY: Final = frozenset(("history", "header", "session"))


def refusal(verdict: Verdict) -> Refusal:
    """How this verdict is said: the status and Reason (RFC 3326) of the trunk's reject profile, nothing of why."""
    key = (verdict.status or 403, verdict.phrase, verdict.reason)
    found = _REFUSALS.get(key)
    if found is None:
        extra = f"Reason: {verdict.reason}\r\n".encode() if verdict.reason else b""
        found = _REFUSALS[key] = Refusal(key[0], verdict.phrase, extra)  # as many as there are profiles
    return found


def apply_labels(message: SipMessage, verdict: Verdict, privacy: tuple[str, ...], egress: Trunk | None) -> None:
    """Edit the request as the verdict and the trust boundary want it.

    `egress` is the trunk whose customer gets the call, None toward our own network or a peer. RFC 3325 §7: P-Asserted-Identity leaves
    the trust domain only where Privacy does not ask to withhold it; P-Preferred-Identity never goes on (§5).
    """
    labels = verdict.labels
    if labels is not None:
        if labels.get("strip_privacy"):
            message.remove(b"privacy")
            privacy = ()
        if labels.get("withhold"):
            message.remove(b"privacy")
            message.insert_top(b"Privacy: id")
            privacy = ("id",)
    keep_trust(message, privacy, egress)
    if egress is not None and egress.kind == "enterprise":
        hide_history(message, privacy)


def hide_history(message: SipMessage, privacy: tuple[str, ...]) -> None:
    """Who forwarded a call and wants it withheld is not told to a customer (RFC 7044 §10.1.2, RFC 5806 §4)."""
    if b"history-info" in message.first_line:
        left = anonymised(message.all(b"history-info"), every=not _HIDES_HISTORY.isdisjoint(privacy))
        if left is not None:
            message.remove(b"history-info")
            message.insert_top(b"History-Info: " + b", ".join(left))
    if b"diversion" in message.first_line:
        left = diversion_shown(message.all(b"diversion"))
        if left is not None:
            message.remove(b"diversion")
            if left:
                message.insert_top(b"Diversion: " + b", ".join(left))


def keep_trust(message: SipMessage, privacy: tuple[str, ...], egress: Trunk | None) -> None:
    """What must not cross the trust boundary toward `egress`, in any request or response (RFC 3325 §5, §7)."""
    if b"p-preferred-identity" in message.first_line:
        message.remove(b"p-preferred-identity")
    if privacy and egress is not None and egress.kind == "enterprise" and not _HIDES_FROM_CALLEE.isdisjoint(privacy):
        message.remove(b"p-asserted-identity")
        message.remove(b"remote-party-id")
