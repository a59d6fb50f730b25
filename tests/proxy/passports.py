"""Making and checking PASSporTs: a key of the tests' own, and what a verifier would do with what was signed with it."""

from __future__ import annotations

import json
from base64 import urlsafe_b64decode, urlsafe_b64encode
from datetime import UTC, datetime, timedelta
from functools import cache
from pathlib import Path
from typing import Any

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ec import ECDSA, SECP256R1, EllipticCurvePrivateKey, generate_private_key
from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from proxy.credential import es256
from proxy.signing import Credential

X5U = "https://cert.example.net/tests.pem"


@cache
def key() -> EllipticCurvePrivateKey:
    """The key that tests sign with."""
    return generate_private_key(SECP256R1())


def credential() -> Credential:
    """The same as the core is given it."""
    return Credential(X5U, es256(key()))


def pem(private: Any = None) -> bytes:
    """A private key as a file has it."""
    return (private or key()).private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())


def certificate(private: Any = None, begins: float = -1, ends: float = 365, numbers: bool = True) -> bytes:
    """A certificate of a key, valid from and to in days from now, with or without a TNAuthList."""
    own = private or key()
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "SHAKEN 1234")])
    now = datetime.now(UTC)
    made = x509.CertificateBuilder().subject_name(name).issuer_name(name).public_key(own.public_key()).serial_number(1)
    made = made.not_valid_before(now + timedelta(days=begins)).not_valid_after(now + timedelta(days=ends))
    if numbers:
        made = made.add_extension(
            x509.UnrecognizedExtension(x509.ObjectIdentifier("1.3.6.1.5.5.7.1.26"), b"0\x06\xa0\x04\x16\x021234"), False
        )
    return made.sign(own, SHA256()).public_bytes(Encoding.PEM)


def write_files(folder: Path, private: Any = None) -> None:
    """key.pem, with the mode that it should have, and cert.pem."""
    (folder / "key.pem").touch(0o600)
    (folder / "key.pem").write_bytes(pem(private))
    (folder / "cert.pem").write_bytes(certificate(private))


def decoded(part: str) -> bytes:
    """base64url without padding."""
    return urlsafe_b64decode(part + "=" * (-len(part) % 4))


def identity(head: object, claims: object, tail: str = ";info=<https://cert.example.org/other.pem>") -> str:
    """An Identity value as somebody else would write it, its signature worth nothing."""
    parts = [urlsafe_b64encode(json.dumps(part).encode()).rstrip(b"=").decode() for part in (head, claims)]
    return ".".join([*parts, "A" * 86]) + tail


def signed_by(value: str, private: EllipticCurvePrivateKey) -> bool:
    """Whether an Identity value was signed with this key."""
    head, claims, signature = value.partition(";")[0].split(".")
    raw = decoded(signature)
    der = encode_dss_signature(int.from_bytes(raw[:32], "big"), int.from_bytes(raw[32:], "big"))
    try:
        private.public_key().verify(der, f"{head}.{claims}".encode(), ECDSA(SHA256()))
    except InvalidSignature:
        return False
    return len(raw) == 64


def claims_of(value: str) -> dict[str, Any] | None:
    """The claims of an Identity value that is signed with the tests' key, without iat and origid; None for others."""
    if f";info=<{X5U}>;alg=ES256;ppt=" not in value or not signed_by(value, key()):
        return None
    claims: dict[str, Any] = json.loads(decoded(value.split(".")[1]))
    assert isinstance(claims.pop("iat"), int)
    claims.pop("origid", None)
    return claims
