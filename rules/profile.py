"""How a refusal is said in SIP: the reject profile of the ingress trunk (policy.md, "Saying no in SIP")."""

from __future__ import annotations

import msgspec


class Refusal(msgspec.Struct, frozen=True):
    """A final response: status and phrase, and the value of a Reason header field (RFC 3326) or ""."""

    status: int
    phrase: str
    reason: str


DEFAULT = Refusal(403, "Forbidden", "Q.850;cause=21")
UNWANTED = Refusal(607, "Unwanted", "")  # RFC 8197
ANONYMITY_DISALLOWED = Refusal(433, "Anonymity Disallowed", "")  # RFC 5079

_PROFILES: dict[str, tuple[Refusal, dict[str, Refusal]]] = {
    # name: for every code, and for single codes
    "default": (DEFAULT, {}),
    "rfc8197": (UNWANTED, {}),
    "anonymous": (DEFAULT, {"CLI_ANON": ANONYMITY_DISALLOWED, "ENT_CLI_HIDDEN": ANONYMITY_DISALLOWED}),
}


def known_profiles() -> tuple[str, ...]:
    """Names that a trunk's `reject_profile` may have in this version."""
    return tuple(_PROFILES)


def refusal(profile: str, code: str) -> Refusal:
    """The response of a profile for a reason code. Raises KeyError where the profile is not one of `known_profiles()`."""
    every, single = _PROFILES[profile]
    return single.get(code, every)
