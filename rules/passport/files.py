"""Files of certificates that a policy names. What reads them, 15 MB of it, is loaded where there is one."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Final

from rules.document import Document

if TYPE_CHECKING:
    from rules.passport.credential import Trust

LARGEST_PEM: Final = 64 << 10
"""Octets of a certificate with its issuers."""

INTERMEDIATES: Final = 4
"""Certificates between the one that signs and a root."""

CERTIFICATES: Final = INTERMEDIATES + 2
"""In one file: the one that signs, its issuers, and perhaps the root."""


class CertificateFile(Document):
    """PEM certificates."""

    __slots__ = ("certificates",)

    def __init__(self, name: str, content: bytes) -> None:
        """Raises ValueError where there is no certificate in it."""
        super().__init__(name, content)
        from cryptography.x509 import load_pem_x509_certificates

        from rules.passport.credential import UNREADABLE

        try:
            self.certificates = load_pem_x509_certificates(content)
        except UNREADABLE as error:
            raise ValueError(f"no PEM certificate: {error} | a file that begins with -----BEGIN CERTIFICATE-----") from None


class SignerFile(CertificateFile):
    """A certificate that signs PASSporTs, with its issuers, as it would have been fetched."""

    __slots__ = ("pem",)

    def __init__(self, name: str, content: bytes) -> None:
        """Raises ValueError where it is none that could have been."""
        super().__init__(name, content)
        from rules.passport.credential import Credential

        if len(content) > LARGEST_PEM or len(self.certificates) > CERTIFICATES:
            what = f"more than {LARGEST_PEM >> 10} KiB, or than {CERTIFICATES} certificates"
            raise ValueError(f"{what} | the one that signs first, then its issuers")
        self.pem = content.decode("latin-1")
        why = Credential(self.pem).why
        if why:
            raise ValueError(f"{why} | a certificate that may sign PASSporTs")


def trust_in(roots: Iterable[CertificateFile], spcs: Iterable[str], *, listed: bool) -> Trust | None:
    """Whom to believe (see `rules.passport.credential.Trust`); None without roots: nobody."""
    files = tuple(roots)
    if not files:
        return None
    from rules.passport.credential import Trust

    return Trust([certificate for file in files for certificate in file.certificates], spcs, listed=listed)
