"""`[signing]`: the key and certificate that calls are signed with (STIR/SHAKEN, RFC 8224); the check of the table and of what refers to it.

What the files hold is checked where they are read: `proxy.credential`.
"""

from __future__ import annotations

import re
from typing import Final
from urllib.parse import urlsplit
from uuid import UUID

import msgspec

from proxy.config.report import Report
from rules.call import Trunk

_FORM: Final = "the https URL where others fetch the certificate, for example https://cert.example.net/2027.pem"
_UNSAFE: Final = re.compile(r'[^!-~]|[<>"\\^`{|}]')
"""No characters of a URI (RFC 3986); some would end the <> or the JSON text that it stands in."""
_PORTS: Final = (None, 443, 8443)


class SigningConfig(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`[signing]`. Calls that leave by a next hop with `sign = true` carry a PASSporT made with this key."""

    key: str
    """PEM file of the private key, on the curve P-256."""
    x5u: str
    """Where others fetch the certificate."""
    certificate: str | None = None
    """PEM file of the same certificate: with it the key is checked against it, and nothing is signed outside its dates."""


def check_signing(signing: SigningConfig | None, trunks: tuple[Trunk, ...], signed: list[int], report: Report) -> None:
    """Note what is wrong with the table, and with the keys of trunks and next hops that need it. `signed`: which next hops sign."""
    given = signing is not None or "signing" in report.incomplete
    if signing is not None:
        _check_url(signing.x5u, report)
        for name in ("key", "certificate"):
            if getattr(signing, name) == "":
                report.fault(("signing", name), "is empty", "", "the name of a PEM file")
        if not signed and "next_hop" not in report.incomplete:
            report.warn(("signing",), "no next hop has sign = true: no call is signed")
    elif not given:
        for index in signed:
            remedy = "a [signing] table with key and x5u, or sign = false"
            report.fault((*report.place("next_hop", index), "sign"), "there is no [signing] to sign with", True, remedy)
    for index, trunk in enumerate(trunks):
        at = report.place("trunk", index)
        if trunk.origid is not None and not _is_uuid(trunk.origid):
            what = "a UUID (RFC 9562), for example 123e4567-e89b-42d3-a456-426655440000; leave it out to have one made"
            report.fault((*at, "origid"), "not a UUID", trunk.origid, what)
        for key in ("attest", "origid"):
            if not given and report.given((*at, key)):
                report.warn((*at, key), "there is no [signing]: no call is signed")


def _check_url(url: str, report: Report) -> None:
    at = ("signing", "x5u")
    if _UNSAFE.search(url):
        report.fault(at, "a URL has none of these characters: blanks, quotes, < > \\ ^ ` { | }, any beyond ASCII", url, _FORM)
        return
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError as error:
        report.fault(at, f"not a URL: {error}", url, _FORM)
        return
    if parts.scheme != "https" or not parts.hostname:
        report.fault(at, "not an https URL", url, _FORM)
    elif "@" in parts.netloc:
        report.fault(at, "a user and password here are sent along with every call", url, _FORM)
    elif "#" in url:
        report.fault(at, "what follows # is not sent to a server", url, _FORM)
    elif port not in _PORTS:
        report.warn(at, f"verifiers fetch certificates from port 443 (or 8443), few from {port}")


def _is_uuid(text: str) -> bool:
    try:
        return str(UUID(text)) == text.lower()
    except ValueError:
        return False
