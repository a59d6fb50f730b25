"""The settings of the rules that have any: each the table [rules.NAME] of a policy.toml.

They stand here and not beside their rules since msgspec makes its classes itself, and the rules are compiled.
"""

from __future__ import annotations

from typing import Annotated

import msgspec

from rules.directory import Hours
from rules.passport import CertificateFile, SignerFile

Weight = Annotated[float, msgspec.Meta(ge=-1000, le=1000)]
Shown = Annotated[str, msgspec.Meta(max_length=64, pattern=r"^[^\x00-\x1f\x7f]*$")]
"""What a called party's display may show: RFC 9796 §6 advises no more than 64 characters."""


class ForwardingSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`recent`: seconds for which a call to the forwarding number counts after it was answered or refused (it counts while it rings)."""

    recent: Annotated[float, msgspec.Meta(ge=1, le=600)] = 120.0


class InternationalSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`routing_numbers`: what visiting roamers are reached by (`+861380000*` or one number). `recent`: seconds for which the domestic leg
    of a call that comes back counts after it was answered or refused (it counts while it rings).
    """

    routing_numbers: tuple[Annotated[str, msgspec.Meta(pattern=r"^\+86[0-9]+\*?$")], ...] = ()
    recent: Annotated[float, msgspec.Meta(ge=1, le=600)] = 120.0


class LabelSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`[rules.label]`. A call is suspect where its marks weigh more than `threshold`; `weights` are added to the defaults."""

    threshold: Weight = 3.0
    weights: dict[str, Weight] = {}
    prefix: Shown = ""
    """What the display name of a suspect call begins with."""
    call_reason: Shown = ""
    """What Call-Info says of a suspect call (RFC 9796)."""
    country: bool = False
    """Whether Call-Info names the country of an international caller."""


class MarketingSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """When marketing calls may be made, in the node's time zone: each category in its own hours, any other in `hours`.

    No official threshold exists for calls in general; the default is ours.
    """

    hours: Hours = Hours("09:00-20:00")
    category_hours: dict[str, Hours] = {}


class OwnNumberSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`recent`: seconds for which a call to the peer counts after it was answered or refused (it counts while it rings)."""

    recent: Annotated[float, msgspec.Meta(ge=1, le=600)] = 120.0


class PassportSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Whom to believe. File names count from the policy file's folder; without `roots` nothing is verified."""

    roots: tuple[CertificateFile, ...] = ()
    """Certificates (PEM) that those who sign must lead back to."""
    certificates: dict[str, SignerFile] = {}
    """Certificates that need no fetching: the URL that PASSporTs name, and the file."""
    skew: Annotated[float, msgspec.Meta(ge=1, le=600)] = 60.0
    """Seconds that iat and Date may lie before or after the call."""
    date: bool = True
    """Whether a Date that is old or ahead counts against a PASSporT whose iat is not."""
    spc: tuple[str, ...] = ()
    """Service provider codes that count in a TNAuthList; empty: any that a root has admitted."""
    tn_auth_list: bool = True
    """Whether a certificate that says nothing of whom it speaks for is refused."""
