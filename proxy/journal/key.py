"""The key that a node signs its journal with: Ed25519, in a file that only its owner may read, and its public half beside it."""

from __future__ import annotations

import os
import stat
from hashlib import sha256
from pathlib import Path
from typing import Final

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_pem_private_key,
    load_pem_public_key,
)

PUBLIC: Final = ".pub"
"""What the name of the public half ends with."""

LARGEST: Final = 1 << 16


class KeyFault(Exception):
    """A key that cannot be used; says what to do."""


class Verifier:
    """A public key. `name` is the beginning of its SHA-256, which entries of the chain call it by."""

    def __init__(self, public: Ed25519PublicKey) -> None:
        self._public = public
        self.name = key_name(public)

    def holds(self, data: bytes, signature: bytes) -> bool:
        """Whether this key signed the data."""
        try:
            self._public.verify(signature, data)
        except InvalidSignature:
            return False
        return True


def key_name(public: Ed25519PublicKey) -> str:
    """Sixteen hexadecimal digits."""
    return sha256(public.public_bytes_raw()).hexdigest()[:16]


def signing_key(path: Path) -> Ed25519PrivateKey:
    """Read the key, or make one where there is no file; its public half is written beside it where it is missing. Raises KeyFault."""
    try:
        key = _read(path)
    except FileNotFoundError:
        _make(path)
        key = _read(path)
    _export(path.with_suffix(PUBLIC), key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo))
    return key


def public_key(path: Path) -> Verifier:
    """A public key in PEM form. Raises KeyFault."""
    try:
        with open(path, "rb") as file:
            key = load_pem_public_key(file.read(LARGEST))
    except OSError as error:
        raise KeyFault(f"{path}: cannot be read: {error.strerror}") from None
    except (ValueError, UnsupportedAlgorithm):
        raise KeyFault(f"{path}: not a public key in PEM form") from None
    if not isinstance(key, Ed25519PublicKey):
        raise KeyFault(f"{path}: not an Ed25519 key")
    return Verifier(key)


def _read(path: Path) -> Ed25519PrivateKey:
    try:
        with open(path, "rb") as file:
            mode = os.fstat(file.fileno()).st_mode
            if mode & 0o077:
                raise KeyFault(f"{path}: others may read this key (mode {stat.S_IMODE(mode):04o}); chmod 600 {path}")
            key = load_pem_private_key(file.read(LARGEST), None)
    except FileNotFoundError:
        raise
    except OSError as error:
        raise KeyFault(f"{path}: cannot be read: {error.strerror}") from None
    except (ValueError, TypeError, UnsupportedAlgorithm):
        raise KeyFault(f"{path}: not a private key in PEM form without a passphrase; move it away to have another made") from None
    if not isinstance(key, Ed25519PrivateKey):
        raise KeyFault(f"{path}: not an Ed25519 key; move it away to have one made")
    return key


def _make(path: Path) -> None:
    text = Ed25519PrivateKey.generate().private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    try:
        path.parent.mkdir(mode=0o750, parents=True, exist_ok=True)
        aside = path.with_name(f".{path.name}.{os.getpid()}")
        aside.unlink(missing_ok=True)
        try:
            _write(aside, text, 0o600)
            os.link(aside, path)  # fails where another process has made one meanwhile
        finally:
            aside.unlink(missing_ok=True)
    except FileExistsError:
        pass
    except OSError as error:
        raise KeyFault(f"{path}: cannot be made: {error.strerror}; name a writable place in [journal] key") from None


def _export(path: Path, text: bytes) -> None:
    """Have the public half in a file of its own. One that is there already and is another's stays: it is for `verify` to say so."""
    if path.exists():
        return
    aside = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        aside.unlink(missing_ok=True)
        _write(aside, text, 0o644)
        aside.rename(path)
    except OSError as error:
        raise KeyFault(f"{path}: cannot be written: {error.strerror}") from None


def _write(path: Path, text: bytes, mode: int) -> None:
    with open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode), "wb") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
