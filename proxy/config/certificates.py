"""`[certificates]`: whom certificates of PASSporTs may be fetched from; the check of the table."""

from __future__ import annotations

from typing import Final

import msgspec

from proxy.config.duration import Duration
from proxy.config.report import Report
from rules.passport import parse_authority

CERTIFICATE: Final = "certificate"
"""The kind of the look-up that rule passport waits for."""

LONGEST_FETCH: Final = 2.0
"""Seconds that a fetch may take, from the look for the host's address to the last octet."""


class CertificatesConfig(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Fetching over HTTPS, off while `hosts` is empty. Durations in seconds; limits hold for each worker."""

    hosts: tuple[str, ...] = ()
    """Names of hosts, each with `:port` where that is not 443; nothing is fetched from any other."""
    ca_file: str | None = None
    """Certificates (PEM) that the hosts' own lead back to; without it those of the system."""
    deadline: Duration = Duration(LONGEST_FETCH)
    keep: Duration = Duration(3600.0)
    """How long a certificate is kept before it is fetched again."""

    @property
    def authorities(self) -> frozenset[str]:
        """The hosts in one spelling, without what is none."""
        return frozenset(authority for host in self.hosts if (authority := _authority(host)) is not None)


def _authority(host: str) -> str | None:
    try:
        return parse_authority(host)[2]
    except ValueError:  # a fault by the check below
        return None


def check_certificates(certificates: CertificatesConfig, report: Report) -> None:
    """Note what is wrong with the table."""
    seen: set[str] = set()
    for place, host in enumerate(certificates.hosts):
        at = ("certificates", "hosts", place)
        try:
            authority = parse_authority(host)[2]
        except ValueError as error:
            report.fault(at, str(error), host)
            continue
        if authority in seen:
            report.fault(at, "stands there already", host, "each host once")
        seen.add(authority)
    if not 0.1 <= certificates.deadline <= LONGEST_FETCH:
        what = "out of range: a caller waits for it, and hears nothing meanwhile"
        report.fault(("certificates", "deadline"), what, f"{certificates.deadline:g} s", f'"100ms" to "{LONGEST_FETCH:g}s"')
    if not 60 <= certificates.keep <= 86400:
        report.fault(("certificates", "keep"), "out of range", f"{certificates.keep:g} s", '"1m" to "24h"')
    if not certificates.hosts:
        for key in ("ca_file", "deadline", "keep"):
            if report.given(("certificates", key)):
                report.warn(("certificates", key), "has no effect: hosts is empty, so nothing is fetched")
