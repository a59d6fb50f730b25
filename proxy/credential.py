"""The key that calls are signed with, read from the files that `[signing]` names. What is wrong with them is said as faults of that table.

The key itself goes nowhere: each process that signs reads the file, and no message quotes anything of it.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Callable
from pathlib import Path
from typing import Final

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ec import ECDSA, SECP256R1, EllipticCurvePrivateKey
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature
from cryptography.hazmat.primitives.hashes import SHA256, Hash
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_pem_private_key
from cryptography.x509 import Certificate, DuplicateExtension, InvalidVersion, ObjectIdentifier, load_pem_x509_certificates

from proxy.config import Config, ConfigFault, ConfigWarning, SigningConfig
from proxy.signing import Credential
from rules.toml_lines import key_lines, line_of

LARGEST: Final = 1 << 16
"""Octets of the largest file that is read."""
SOON: Final = 14 * 86400.0
"""Seconds before the end of a certificate from which it is warned of."""
TN_AUTH_LIST: Final = ObjectIdentifier("1.3.6.1.5.5.7.1.26")
"""The extension that says for which numbers a certificate may sign (RFC 8226 §9)."""

_NEW_KEY: Final = "openssl ecparam -name prime256v1 -genkey -noout makes one"


class CredentialFault(ValueError):
    """Files that cannot be signed with; `fault` names the key of `[signing]` that names the file."""

    def __init__(self, fault: ConfigFault) -> None:
        super().__init__(str(fault))
        self.fault = fault


class Read:
    """A credential, `digest` of its public key, and what may surprise about it."""

    __slots__ = ("credential", "digest", "warnings")

    def __init__(self, credential: Credential, digest: str, warnings: tuple[ConfigWarning, ...]) -> None:
        self.credential = credential
        self.digest = digest
        self.warnings = warnings


def read_credential(config: Config, signing: SigningConfig, now: float) -> Read:
    """Read key and certificate; `now` is Unix time. Raises CredentialFault."""
    warnings: list[ConfigWarning] = []

    def at(key: str) -> tuple[str, int | None, str]:
        return config.file, line_of(key_lines(config.text), ("signing", key)), f"signing.{key}"

    def fault(key: str, message: str, remedy: str) -> CredentialFault:
        return CredentialFault(ConfigFault(*at(key), message, f'"{getattr(signing, key)}"', remedy))

    def warn(key: str, message: str) -> None:
        warnings.append(ConfigWarning(*at(key), message))

    text, mode = _content(config.path(signing.key), "key", fault)
    if mode & stat.S_IRWXO:
        warn("key", f"everybody on this host can read the key (mode {stat.S_IMODE(mode):04o}): chmod o= {config.shown_path(signing.key)}")
    private = _private_key(text, fault)
    public = private.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    begins, ends = 0.0, float("inf")
    if signing.certificate is not None:
        text, _ = _content(config.path(signing.certificate), "certificate", fault)
        certificate = _certificate(text, fault)
        if certificate.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo) != public:
            raise fault("certificate", "the certificate is of another key", "the certificate that was issued for this key")
        begins, ends = certificate.not_valid_before_utc.timestamp(), certificate.not_valid_after_utc.timestamp()
        if now > ends:
            warn("certificate", f"expired on {certificate.not_valid_after_utc:%Y-%m-%d}: no call is signed")
        elif now < begins:
            warn("certificate", f"not valid before {certificate.not_valid_before_utc:%Y-%m-%d %H:%M} UTC: no call is signed until then")
        elif now > ends - SOON:
            warn("certificate", f"expires on {certificate.not_valid_after_utc:%Y-%m-%d}: no call is signed after that")
        if not any(extension.oid == TN_AUTH_LIST for extension in certificate.extensions):
            warn("certificate", "has no TNAuthList (RFC 8226): verifiers find no number that it may sign for")
    hashed = Hash(SHA256())
    hashed.update(public)
    return Read(Credential(signing.x5u, es256(private), begins, ends), hashed.finalize().hex(), tuple(warnings))


def es256(private: EllipticCurvePrivateKey) -> Callable[[bytes], bytes]:
    """What signs with this key as JSON web signatures are: r and s, 32 octets each (RFC 7518 §3.4)."""
    algorithm = ECDSA(SHA256())

    def sign(data: bytes) -> bytes:
        r, s = decode_dss_signature(private.sign(data, algorithm))
        return r.to_bytes(32, "big") + s.to_bytes(32, "big")

    return sign


Fault = Callable[[str, str, str], CredentialFault]


def _content(path: Path, key: str, fault: Fault) -> tuple[bytes, int]:
    """A file's octets and mode."""
    try:
        fd = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)  # a pipe would wait for its writer
        with open(fd, "rb") as file:
            mode = os.fstat(fd).st_mode
            if not stat.S_ISREG(mode):
                raise fault(key, "not a file", "the name of a PEM file")
            content = file.read(LARGEST + 1)
    except OSError as error:
        who = "a file that the user who runs sipwarden may read"
        raise fault(key, error.strerror or "cannot be read", who) from None
    if len(content) > LARGEST:
        raise fault(key, f"larger than {LARGEST} octets", "a PEM file with this one thing in it")
    return content, mode


def _private_key(text: bytes, fault: Fault) -> EllipticCurvePrivateKey:
    try:
        private = load_pem_private_key(text, password=None)
    except TypeError:
        raise fault("key", "the key is encrypted with a passphrase", "a key without one, in a file that only sipwarden may read") from None
    except (ValueError, UnsupportedAlgorithm):
        raise fault("key", "no private key in PEM form", _NEW_KEY) from None
    if not isinstance(private, EllipticCurvePrivateKey) or not isinstance(private.curve, SECP256R1):
        raise fault("key", "not a key on the curve P-256, which ES256 wants (RFC 8225 §6)", _NEW_KEY)
    return private


def _certificate(text: bytes, fault: Fault) -> Certificate:
    """The first certificate of a file; those behind it are its issuers'."""
    try:
        certificate = load_pem_x509_certificates(text)[0]
        certificate.public_key()
        _ = certificate.extensions
    except (ValueError, UnsupportedAlgorithm, InvalidVersion, DuplicateExtension):
        raise fault("certificate", "no certificate in PEM form", "what stands at x5u: -----BEGIN CERTIFICATE-----") from None
    return certificate
