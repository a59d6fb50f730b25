"""Certificates and PASSporTs made by the openssl command: what is verified here was signed by somebody else's code."""

from __future__ import annotations

import base64
import json
import subprocess
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature

URL = "https://cert.example/a.pem"
ORIG = "8675583120000"
DEST = "8613802881946"

ISSUER = "basicConstraints=critical,CA:TRUE\nkeyUsage=critical,keyCertSign,cRLSign"
SIGNER = "basicConstraints=critical,CA:FALSE\nkeyUsage=critical,digitalSignature"
LISTS = {
    "spc": "1.3.6.1.5.5.7.1.26=ASN1:SEQUENCE:spc_list",
    "numbers": "1.3.6.1.5.5.7.1.26=ASN1:SEQUENCE:number_list",
    "others": "1.3.6.1.5.5.7.1.26=ASN1:SEQUENCE:other_list",
    "garbage": "1.3.6.1.5.5.7.1.26=ASN1:UTF8String:nonsense",
    "claims": "1.3.6.1.5.5.7.1.26=ASN1:SEQUENCE:spc_list\n1.3.6.1.5.5.7.1.27=ASN1:SEQUENCE:spc_list",
    "critical": "1.3.6.1.5.5.7.1.26=critical,ASN1:SEQUENCE:spc_list",
    "unknown": "1.3.6.1.5.5.7.1.26=ASN1:SEQUENCE:spc_list\n1.2.3.4.5=critical,ASN1:NULL:",
    "none": "",
}
CONFIG = """
[req]
distinguished_name = name
[name]
[wanted]
{extensions}
[spc_list]
a = EXPLICIT:0,IA5STRING:1234
[number_list]
a = EXPLICIT:1,SEQUENCE:block
b = EXPLICIT:2,IA5STRING:8613802880000
[block]
start = IA5STRING:8675583120000
count = INTEGER:10000
[other_list]
a = EXPLICIT:2,IA5STRING:8675599990000
"""


def run(*words: str, given: bytes = b"") -> bytes:
    return subprocess.run(["openssl", *words], input=given, capture_output=True, check=True, timeout=30).stdout


def b64(octets: bytes) -> str:
    return base64.urlsafe_b64encode(octets).rstrip(b"=").decode()


class Authority:
    """Issues certificates into a folder: `NAME.key`, `NAME.pem`, and `NAME.chain` with the issuers behind it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._serial = 1
        self._issuers: dict[str, str] = {}

    def path(self, name: str) -> Path:
        return self.folder / name

    def chain(self, name: str) -> str:
        return self.path(f"{name}.chain").read_text()

    def issue(self, name: str, extensions: str, by: str = "", *, days: int = 100, key: str = "prime256v1") -> None:
        """A certificate signed by another, or by itself."""
        new_key, pem = str(self.path(f"{name}.key")), self.path(f"{name}.pem")
        if key == "rsa":
            run("genrsa", "-out", new_key, "2048")
        else:
            run("ecparam", "-name", key, "-genkey", "-noout", "-out", new_key)
        config = str(self.path(f"{name}.cnf"))
        Path(config).write_text(CONFIG.format(extensions=extensions))
        subject = ["-subj", f"/CN={name}", "-config", config, "-key", new_key]
        self._serial += 1
        if not by:
            run("req", "-x509", "-new", *subject, "-days", str(days), "-extensions", "wanted", "-out", str(pem))
        else:
            issuer = ["-CA", str(self.path(f"{by}.pem")), "-CAkey", str(self.path(f"{by}.key")), "-set_serial", str(self._serial)]
            request = run("req", "-new", *subject)
            run(
                *("x509", "-req", *issuer, "-days", str(days), "-extfile", config, "-extensions", "wanted", "-out", str(pem)),
                given=request,
            )
        self._issuers[name] = by
        chain = [name]
        while by and self._issuers[by]:  # without the root
            chain.append(by)
            by = self._issuers[by]
        self.path(f"{name}.chain").write_text("".join(self.path(f"{one}.pem").read_text() for one in chain))

    def sign(self, key: str, header: dict[str, Any] | str, claims: dict[str, Any] | str) -> str:
        """A token whose signature `openssl dgst` made; `header` and `claims` may be JSON text, too."""
        texts = [part if isinstance(part, str) else json.dumps(part, separators=(",", ":")) for part in (header, claims)]
        given = ".".join(b64(text.encode()) for text in texts)
        r, s = decode_dss_signature(run("dgst", "-sha256", "-sign", str(self.path(f"{key}.key")), given=given.encode()))
        return f"{given}.{b64(r.to_bytes(32, 'big') + s.to_bytes(32, 'big'))}"


def make(folder: Path) -> Authority:
    """A root, what it has issued well, and what is wrong in one thing each."""
    authority = Authority(folder)
    authority.issue("root", ISSUER, days=1000)
    authority.issue("plainroot", "basicConstraints=critical,CA:TRUE", days=1000)
    authority.issue("stranger", ISSUER, days=1000)
    authority.issue("issuer", ISSUER, "root", days=500)
    authority.issue("deep0", ISSUER, "issuer")
    for depth in range(1, 5):
        authority.issue(f"deep{depth}", ISSUER, f"deep{depth - 1}")
    authority.issue("short", "basicConstraints=critical,CA:TRUE,pathlen:0\nkeyUsage=critical,keyCertSign", "root")
    authority.issue("long", ISSUER, "short")
    authority.issue("noissuer", SIGNER, "root")
    authority.issue("nosigning", "basicConstraints=critical,CA:TRUE\nkeyUsage=critical,cRLSign", "root")
    authority.issue("limited", f"{ISSUER}\n{LISTS['others']}", "root")
    for name, by in (
        *(
            ("leaf", "issuer"),
            ("direct", "root"),
            ("plain", "plainroot"),
            ("foreign", "stranger"),
            ("deep", "deep2"),
            ("deeper", "deep3"),
            ("deepest", "deep4"),
        ),
        *(("toolong", "long"), ("unissued", "noissuer"), ("unsigned", "nosigning"), ("beyond", "limited")),
    ):
        authority.issue(name, f"{SIGNER}\n{LISTS['spc' if name != 'direct' else 'numbers']}", by)
    authority.issue("brief", f"{SIGNER}\n{LISTS['spc']}", "issuer", days=1)
    for kind in ("numbers", "others", "garbage", "claims", "critical", "unknown", "none"):
        authority.issue(f"tn-{kind}", f"{SIGNER}\n{LISTS[kind]}", "issuer")
    authority.issue("bare", LISTS["spc"], "issuer")  # neither basicConstraints nor keyUsage
    authority.issue("ca", f"{ISSUER}\n{LISTS['spc']}", "issuer")
    authority.issue("agreement", f"basicConstraints=critical,CA:FALSE\nkeyUsage=critical,keyAgreement\n{LISTS['spc']}", "issuer")
    authority.issue("p384", f"{SIGNER}\n{LISTS['spc']}", "issuer", key="secp384r1")
    authority.issue("rsa", f"{SIGNER}\n{LISTS['spc']}", "issuer", key="rsa")
    return authority
