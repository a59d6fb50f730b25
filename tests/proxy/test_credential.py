from __future__ import annotations

import os
import subprocess
import time
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import BestAvailableEncryption, Encoding, PrivateFormat

from proxy.config import Config, load_config
from proxy.credential import CredentialFault, Read, read_credential
from tests.proxy.passports import certificate, key, pem, write_files

TEXT = """[[listen]]
address = "127.0.0.1:5060"
[signing]
x5u = "https://cert.example.net/tests.pem"
key = "key.pem"
certificate = "cert.pem"
"""
DAY = 86400.0


def config(folder: Path, text: str = TEXT) -> Config:
    (folder / "gw.toml").write_text(text)
    return load_config(folder / "gw.toml")


def read(folder: Path, text: str = TEXT, later: float = 0.0) -> Read:
    loaded = config(folder, text)
    assert loaded.signing is not None
    return read_credential(loaded, loaded.signing, time.time() + later)


def fault(folder: Path) -> str:
    with pytest.raises(CredentialFault) as raised:
        read(folder)
    return str(raised.value).removeprefix(f"{folder}/gw.toml:")


def test_good_files_without_a_word(tmp_path: Path) -> None:
    write_files(tmp_path)
    made = read(tmp_path)
    assert made.warnings == ()
    assert made.credential.x5u == "https://cert.example.net/tests.pem"
    assert made.credential.begins < time.time() < made.credential.ends
    assert len(made.digest) == 64


def test_a_certificate_need_not_be_there(tmp_path: Path) -> None:
    write_files(tmp_path)
    (tmp_path / "cert.pem").unlink()
    made = read(tmp_path, TEXT.replace('certificate = "cert.pem"\n', ""))
    assert (made.credential.begins, made.credential.ends) == (0.0, float("inf"))


@pytest.mark.parametrize("form", [PrivateFormat.PKCS8, PrivateFormat.TraditionalOpenSSL])
def test_what_is_signed_openssl_finds_good(form: PrivateFormat, tmp_path: Path) -> None:
    """R and s are those of the DER that a program we did not write reads, leading zeros and ones alike."""
    made = ec.generate_private_key(ec.SECP256R1())
    write_files(tmp_path, made)
    from cryptography.hazmat.primitives.serialization import NoEncryption

    (tmp_path / "key.pem").write_bytes(made.private_bytes(Encoding.PEM, form, NoEncryption()))
    sign = read(tmp_path).credential.sign
    (tmp_path / "data").write_bytes(b"some.data")
    public = subprocess.run(["openssl", "x509", "-in", tmp_path / "cert.pem", "-noout", "-pubkey"], capture_output=True, check=True)
    (tmp_path / "public.pem").write_bytes(public.stdout)
    for _ in range(5):
        raw = sign(b"some.data")
        assert len(raw) == 64
        (tmp_path / "signature").write_bytes(der(raw))
        command = ["openssl", "dgst", "-sha256", "-verify", "public.pem", "-signature", "signature", "data"]
        done = subprocess.run(command, cwd=tmp_path, capture_output=True, check=False)
        assert done.stdout == b"Verified OK\n", done.stderr


def der(raw: bytes) -> bytes:
    """r||s as the SEQUENCE of two INTEGERs, written out by hand."""
    parts = [raw[:32].lstrip(b"\0"), raw[32:].lstrip(b"\0")]
    numbers = b"".join(b"\x02" + bytes([len(part) + (part[0] >> 7)]) + (b"\0" if part[0] >> 7 else b"") + part for part in parts)
    return b"\x30" + bytes([len(numbers)]) + numbers


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (None, '5: signing.key: No such file or directory ("key.pem"; a file that the user who runs sipwarden may read)'),
        (b"", '5: signing.key: no private key in PEM form ("key.pem"; openssl ecparam -name prime256v1 -genkey -noout makes one)'),
        (b"\xff" * 70000, '5: signing.key: larger than 65536 octets ("key.pem"; '),
        (b"-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n", "5: signing.key: no private key in PEM form"),
        (certificate(), "5: signing.key: no private key in PEM form"),
        (pem(ec.generate_private_key(ec.SECP384R1())), "5: signing.key: not a key on the curve P-256"),
        (pem(ec.generate_private_key(ec.SECP256K1())), "5: signing.key: not a key on the curve P-256"),
        (pem(ed25519.Ed25519PrivateKey.generate()), "5: signing.key: not a key on the curve P-256"),
        (pem(rsa.generate_private_key(65537, 2048)), "5: signing.key: not a key on the curve P-256"),
        (
            key().private_bytes(Encoding.PEM, PrivateFormat.PKCS8, BestAvailableEncryption(b"secret")),
            "5: signing.key: the key is encrypted with a passphrase",
        ),
        (pem(ec.generate_private_key(ec.SECP256R1())), "6: signing.certificate: the certificate is of another key"),
    ],
    ids=["missing", "empty", "large", "broken", "certificate", "P-384", "secp256k1", "Ed25519", "RSA", "passphrase", "another"],
)
def test_a_key_that_cannot_sign(content: bytes | None, says: str, tmp_path: Path) -> None:
    write_files(tmp_path)
    (tmp_path / "key.pem").unlink()
    if content is not None:
        (tmp_path / "key.pem").write_bytes(content)
    said = fault(tmp_path)
    assert said.startswith(says)
    assert "BEGIN" not in said or b"BEGIN" not in (content or b"")


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (None, "6: signing.certificate: No such file or directory"),
        (b"nonsense", "6: signing.certificate: no certificate in PEM form"),
        (pem(), "6: signing.certificate: no certificate in PEM form"),
        (certificate(rsa.generate_private_key(65537, 2048)), "6: signing.certificate: the certificate is of another key"),
    ],
)
def test_a_certificate_that_does_not_fit(content: bytes | None, says: str, tmp_path: Path) -> None:
    write_files(tmp_path)
    (tmp_path / "cert.pem").unlink()
    if content is not None:
        (tmp_path / "cert.pem").write_bytes(content)
    assert fault(tmp_path).startswith(says)


def test_what_is_no_file_is_not_waited_for(tmp_path: Path) -> None:
    write_files(tmp_path)
    (tmp_path / "key.pem").unlink()
    os.mkfifo(tmp_path / "key.pem")
    assert fault(tmp_path).startswith("5: signing.key: not a file")
    (tmp_path / "key.pem").unlink()
    (tmp_path / "key.pem").mkdir()
    assert fault(tmp_path).startswith("5: signing.key: ")


@pytest.mark.parametrize(("mode", "warned"), [(0o600, False), (0o640, False), (0o644, True), (0o602, True)])
def test_a_key_that_everybody_can_read_is_warned_of(mode: int, warned: bool, tmp_path: Path) -> None:
    write_files(tmp_path)
    (tmp_path / "key.pem").chmod(mode)
    assert [str(warning).partition("gw.toml:")[2] for warning in read(tmp_path).warnings] == (
        [f"5: signing.key: everybody on this host can read the key (mode {mode:04o}): chmod o= {tmp_path}/key.pem"] if warned else []
    )


@pytest.mark.parametrize(
    ("later", "says"),
    [
        (-2 * DAY, "6: signing.certificate: not valid before "),
        (350 * DAY, None),
        (352 * DAY, "6: signing.certificate: expires on "),
        (366 * DAY, "6: signing.certificate: expired on "),
    ],
)
def test_the_dates_of_the_certificate_are_warned_of(later: float, says: str | None, tmp_path: Path) -> None:
    write_files(tmp_path)
    found = [str(warning).partition("gw.toml:")[2] for warning in read(tmp_path, later=later).warnings]
    assert len(found) == (says is not None)
    assert says is None or found[0].startswith(says)


def test_a_certificate_that_may_sign_for_no_number_is_warned_of(tmp_path: Path) -> None:
    write_files(tmp_path)
    (tmp_path / "cert.pem").write_bytes(certificate(numbers=False))
    (warning,) = read(tmp_path).warnings
    assert "6: signing.certificate: has no TNAuthList" in str(warning)


def test_issuers_behind_the_certificate_do_not_matter(tmp_path: Path) -> None:
    write_files(tmp_path)
    other = certificate(ec.generate_private_key(ec.SECP256R1()))
    (tmp_path / "cert.pem").write_bytes(certificate() + other)
    read(tmp_path)
    (tmp_path / "cert.pem").write_bytes(other + certificate())
    assert fault(tmp_path).startswith("6: signing.certificate: the certificate is of another key")
