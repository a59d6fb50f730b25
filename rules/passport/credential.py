"""Certificates that sign PASSporTs (RFC 8226): read from PEM, led back to configured roots, asked for their numbers.

The path is built and checked by `cryptography.x509.verification`. Its own demands are those of the web: a host name, a purpose of TLS.
They are replaced here (`extension_policies`), so that what is left is RFC 5280's: signatures, validity, names, basicConstraints and
keyUsage of each issuer, its pathLenConstraint.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Final

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ec import ECDSA, SECP256R1, EllipticCurvePublicKey
from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.x509.verification import Criticality, ExtensionPolicy, Policy, PolicyBuilder, Store, VerificationError

from rules.passport.error import Unverified
from rules.passport.files import CERTIFICATES, INTERMEDIATES, LARGEST_PEM
from rules.passport.tn_auth_list import OID, TnAuthList, read_tn_auth_list

KEPT: Final = 256
"""Certificates whose reading is kept."""

_TN_AUTH_LIST: Final = x509.ObjectIdentifier(OID)
_CONSTRAINTS: Final = frozenset({"1.3.6.1.5.5.7.1.27", "1.3.6.1.5.5.7.1.33"})
"""JWTClaimConstraints and EnhancedJWTClaimConstraints (RFC 8226 §8, RFC 9118): what the certificate may sign at all."""

UNREADABLE: Final = (
    ValueError,
    TypeError,
    UnsupportedAlgorithm,
    x509.InvalidVersion,
    x509.DuplicateExtension,
    x509.UnsupportedGeneralNameType,
)
"""What `cryptography` raises on certificates that are none."""


def _is_issuer(policy: Policy, certificate: x509.Certificate, extension: x509.ExtensionType) -> None:
    if not isinstance(extension, x509.BasicConstraints) or not extension.ca:
        raise ValueError("an issuer is no certification authority")


def _signs_certificates(policy: Policy, certificate: x509.Certificate, extension: x509.ExtensionType | None) -> None:
    if isinstance(extension, x509.KeyUsage) and not extension.key_cert_sign:
        raise ValueError("the key of an issuer is not for certificates")


_ISSUER: Final = (
    ExtensionPolicy.permit_all()
    .require_present(x509.BasicConstraints, Criticality.AGNOSTIC, _is_issuer)
    .may_be_present(x509.KeyUsage, Criticality.AGNOSTIC, _signs_certificates)
)


class Credential:
    """A certificate with its issuers. `why` says what keeps it from ever signing, "" if nothing does; the path to a root is another
    question, and depends on the time.
    """

    __slots__ = ("authority", "certificates", "key", "parents", "path_from", "path_until", "why")

    def __init__(self, pem: str) -> None:
        self.why = ""
        self.authority: TnAuthList | None = None
        self.parents: tuple[TnAuthList, ...] = ()
        self.path_from = self.path_until = 0.0  # Unix time in which a path was found to hold
        self.certificates: list[x509.Certificate] = []
        try:
            self._read(pem)
        except UNREADABLE as error:
            self.why = f"the certificate cannot be read: {str(error)[:120]}"

    def _read(self, pem: str) -> None:
        octets = pem.encode("latin-1", "replace")
        if len(octets) > LARGEST_PEM:
            self.why = f"the certificate is larger than {LARGEST_PEM >> 10} KiB"
            return
        self.certificates = x509.load_pem_x509_certificates(octets)
        if len(self.certificates) > CERTIFICATES:
            self.why = f"there are {len(self.certificates)} certificates, {CERTIFICATES} at the most are read"
            return
        leaf = self.certificates[0]
        key = leaf.public_key()
        if not isinstance(key, EllipticCurvePublicKey) or not isinstance(key.curve, SECP256R1):
            self.why = "the certificate's key is not on the curve P-256"
            return
        self.key = key
        self.authority = _authority(leaf)
        self.parents = tuple([found for issuer in self.certificates[1:] if (found := _authority(issuer)) is not None])
        for extension in leaf.extensions:
            value = extension.value
            if isinstance(value, x509.BasicConstraints) and value.ca:
                self.why = "the certificate is an issuer's"
            elif isinstance(value, x509.KeyUsage) and not value.digital_signature:
                self.why = "the certificate's key is not for signatures"
            elif extension.oid.dotted_string in _CONSTRAINTS:
                self.why = "the certificate limits what it may sign (JWTClaimConstraints), which is not read"
            elif extension.critical and isinstance(value, x509.UnrecognizedExtension):
                # TNAuthList, too, were it critical: the check of the path cannot be told that it is read here
                self.why = f"the certificate has an extension that is critical and not known: {extension.oid.dotted_string}"

    def signed(self, data: bytes, signature: bytes) -> bool:
        """Whether its key made this signature of ES256, 64 octets."""
        r, s = int.from_bytes(signature[:32], "big"), int.from_bytes(signature[32:], "big")
        try:
            self.key.verify(encode_dss_signature(r, s), data, ECDSA(SHA256()))
        except InvalidSignature:
            return False
        return True


class Trust:
    """Roots, and what is asked of certificates that lead back to them. Remembers what it has read of the last KEPT certificates.

    `spcs`: service provider codes that count, empty for any. `listed`: whether a certificate without TNAuthList is refused.
    """

    def __init__(self, roots: Iterable[x509.Certificate], spcs: Iterable[str] = (), *, listed: bool = True) -> None:
        anchors = list(roots)
        self._store = Store(anchors) if anchors else None
        self._spcs = frozenset(spcs)
        self._listed = listed
        self._kept: dict[str, Credential] = {}

    def credential(self, pem: str, at: float) -> Credential:
        """The certificate that leads back to a root at that Unix time. Raises Unverified (STIR_CREDENTIAL)."""
        credential = self._kept.pop(pem, None) or Credential(pem)
        while len(self._kept) >= KEPT:
            del self._kept[next(iter(self._kept))]
        self._kept[pem] = credential
        if credential.why:
            raise Unverified("STIR_CREDENTIAL", credential.why)
        if not credential.path_from <= at <= credential.path_until:
            self._find_path(credential, at)
        return credential

    def check_authority(self, credential: Credential, party: tuple[str, str]) -> tuple[bool, str]:
        """That a certificate may speak for ("tn", digits) or ("uri", text): whether because the number itself is named there, and in words
        by what. Raises Unverified (STIR_CREDENTIAL).
        """
        authority = credential.authority
        kind, name = party
        if authority is None:
            if self._listed:
                raise Unverified("STIR_CREDENTIAL", "the certificate has no TNAuthList")
            return False, "without a TNAuthList"
        for parent in credential.parents:
            if parent.names_numbers and not parent.spcs and (kind != "tn" or name not in parent):
                raise Unverified("STIR_CREDENTIAL", f"its issuer's TNAuthList does not have {name}: {parent}")
        if kind == "tn" and name in authority:
            return True, f"its TNAuthList has {name}"
        # a delegate has no more than who delegated to it (RFC 9060): which numbers a provider has is not known, which codes is
        delegated = authority.spcs.intersection(*[parent.spcs for parent in credential.parents])
        if authority.spcs and not delegated:
            raise Unverified("STIR_CREDENTIAL", f"its issuers' TNAuthLists do not have its service provider: {authority}")
        providers = delegated & self._spcs if self._spcs else delegated
        if providers:
            return False, f"as service provider {min(providers)}"
        if authority.spcs and not authority.names_numbers:
            raise Unverified("STIR_CREDENTIAL", f"the service provider is none of those configured: {authority}")
        raise Unverified("STIR_CREDENTIAL", f"its TNAuthList does not have {name}: {authority}")

    def _find_path(self, credential: Credential, at: float) -> None:
        if self._store is None:
            raise Unverified("STIR_CREDENTIAL", "no roots are configured")
        leaf, *issuers = credential.certificates
        try:
            moment = datetime.fromtimestamp(at, UTC).replace(tzinfo=None)
            builder = PolicyBuilder().store(self._store).time(moment).max_chain_depth(INTERMEDIATES)
            builder = builder.extension_policies(ca_policy=_ISSUER, ee_policy=ExtensionPolicy.permit_all())
            path = builder.build_client_verifier().verify(leaf, issuers).chain
        except (VerificationError, OverflowError, OSError, *UNREADABLE) as error:
            raise Unverified("STIR_CREDENTIAL", self._why(leaf, at, error)) from None
        credential.path_from = max(certificate.not_valid_before_utc.timestamp() for certificate in path)
        credential.path_until = min(certificate.not_valid_after_utc.timestamp() for certificate in path)

    @staticmethod
    def _why(leaf: x509.Certificate, at: float, error: Exception) -> str:
        if at < leaf.not_valid_before_utc.timestamp():
            return f"the certificate is not valid before {leaf.not_valid_before_utc:%Y-%m-%d %H:%M:%SZ}"
        if at > leaf.not_valid_after_utc.timestamp():
            return f"the certificate expired at {leaf.not_valid_after_utc:%Y-%m-%d %H:%M:%SZ}"
        return f"the certificate does not lead back to a configured root: {str(error)[:160]}"


def _authority(certificate: x509.Certificate) -> TnAuthList | None:
    """A certificate's TNAuthList. Raises ValueError for one that cannot be read."""
    try:
        value = certificate.extensions.get_extension_for_oid(_TN_AUTH_LIST).value
    except x509.ExtensionNotFound:
        return None
    assert isinstance(value, x509.UnrecognizedExtension)
    try:
        return read_tn_auth_list(value.value)
    except ValueError as error:
        raise ValueError(f"its TNAuthList cannot be read: {error}") from None
