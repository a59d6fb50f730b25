"""How a refusal is said in SIP: the reject profile of the ingress trunk (policy.md, "Saying no in SIP").

A profile speaks of the kind of refusal and of the address for appeals, never of rules, lists or codes: those are for our own records.
"""

from __future__ import annotations

import re
from functools import lru_cache

import msgspec


class Refusal(msgspec.Struct, frozen=True):
    """A final response: status and phrase, and the values of Reason (RFC 3326) and Call-Info (RFC 3261 §20.9), "" where there is none."""

    status: int
    phrase: str
    reason: str
    call_info: str = ""


DEFAULT = Refusal(403, "Forbidden", "Q.850;cause=21")
UNWANTED = Refusal(607, "Unwanted", "")  # RFC 8197
REJECTED = Refusal(608, "Rejected", "")  # RFC 8688
ANONYMITY_DISALLOWED = Refusal(433, "Anonymity Disallowed", "")  # RFC 5079
STOP = Refusal(603, "Decline", "Q.850;cause=21")
UNDECIDED = Refusal(503, "Service Unavailable", "")
"""What a redirect server cannot decide; without Retry-After, which would take it out of service for calls that it can."""

REDIRECT = "redirect"
"""The profile of a trunk whose peer asks us as a redirect server (RFC 3261 §8.3): it gets an answer, and nothing is sent on."""

TOO_MANY = Refusal(503, "Service Unavailable", "")
"""A trunk or segment has as many calls as it may have; with Retry-After."""
BUSY = Refusal(486, "Busy Here", "")

_ANONYMOUS = frozenset({"CLI_ANON", "ENT_CLI_HIDDEN"})
_IDENTITY = {
    # RFC 8224 §6.2.2, which has 403 for an old iat as for an old Date; every other STIR code is an Identity header that does not verify
    "STIR_MISSING": (428, "Use Identity Header"),
    "STIR_CERT": (436, "Bad Identity Info"),
    "STIR_CREDENTIAL": (437, "Unsupported Credential"),
    "STIR_STALE": (403, "Stale Date"),
}
_INVALID_IDENTITY = (438, "Invalid Identity Header")

_PROFILES = ("default", "rfc8688", "rfc8197", "us-603plus", "stir", "anonymous", REDIRECT)
_WAYS = {"https": "url", "http": "url", "tel": "tel", "mailto": "email"}
"""What ATIS-1000099 calls a way to whoever blocked the call, by the scheme of the redress address."""
_REDRESS = {"rfc8688": ("https",), "us-603plus": tuple(_WAYS)}
"""Profiles that name the redress address, and the schemes it may have there."""
_ADDRESS = re.compile(r"[A-Za-z]+:[A-Za-z0-9\-._~:/?#\[\]@!$&'()*+=%]+")
"""A URI that can stand between <> and, where semicolons separate, in quotes."""


def known_profiles() -> tuple[str, ...]:
    """Names that a trunk's `reject_profile` may have in this version."""
    return _PROFILES


def redress_fault(profile: str, redress: str) -> tuple[str, str] | None:
    """What is wrong with a trunk's redress address for its profile, and what would be right; None where nothing is."""
    schemes = _REDRESS.get(profile)
    if schemes is None:
        return None
    right = f"an address for appeals that begins with {' or '.join(f'{scheme}:' for scheme in schemes)}"
    if profile == "rfc8688":
        right += " and gives the signed jCard of RFC 8688"
    if not redress:
        return f"profile {profile} names a redress address, and there is none", right
    if redress.partition(":")[0].lower() not in schemes or not _ADDRESS.fullmatch(redress):
        return f"profile {profile} cannot name this redress address", right
    return None


@lru_cache(maxsize=4096)
def refusal(profile: str, code: str, redress: str = "") -> Refusal:
    """The response of a profile for a reason code; `redress` is the trunk's address for appeals.

    An address that the profile cannot name is left out, and where the response would mean nothing without one, the default's stands.
    Raises KeyError where the profile is not one of `known_profiles()`.
    """
    if profile == "default":
        return DEFAULT
    if profile == "rfc8197":
        return UNWANTED
    if profile == "anonymous":
        return ANONYMITY_DISALLOWED if code in _ANONYMOUS else DEFAULT
    if profile == REDIRECT:
        return UNDECIDED if code == "RULE_FAILED" else STOP
    if profile == "rfc8688":
        if redress_fault(profile, redress) is not None:
            return REJECTED
        # RFC 8688 §3.4: the URI is where the signed jCard with the ways to appeal is fetched
        return msgspec.structs.replace(REJECTED, call_info=f"<{redress}>;purpose=jwscard")
    if profile == "us-603plus":
        if not code.startswith(("BEH_", "LABEL_")) or redress_fault(profile, redress) is not None:
            return DEFAULT
        scheme, _, rest = redress.partition(":")
        way = _WAYS[scheme.lower()]
        text = f"v=analytics1;{way}={redress if way == 'url' else rest}"
        return Refusal(603, "Network Blocked", f'SIP;cause=603;text="{text}";location=LN')
    if profile == "stir":
        if not code.startswith("STIR_"):
            return DEFAULT
        status, phrase = _IDENTITY.get(code, _INVALID_IDENTITY)
        return Refusal(status, phrase, stir_reason(code))
    raise KeyError(profile)


def above_limit(profile: str, over_limit: str) -> Refusal:
    """The response to a call above a limit (`max_calls`, `max_cps`): 503, or the 486 that the trunk's `over_limit` asks for. To a peer that
    asks us as a redirect server 503 would mean that we cannot decide, and the call might go on: it is told to stop.
    """
    if profile == REDIRECT:
        return STOP
    return BUSY if over_limit == "486" else TOO_MANY


def stir_reason(code: str, signature: str = "") -> str:
    """A value of Reason for a STIR code (RFC 9410 §4); `signature`, in base64url, names the PASSporT in compact form (§5), where a call has
    several.
    """
    status, phrase = _IDENTITY.get(code, _INVALID_IDENTITY)
    return f'STIR;cause={status};text="{phrase}"' + (f';ppi="..{signature}"' if signature else "")
