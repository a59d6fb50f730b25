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
P256 = "prime256v1"
LISTS = {
    "spc": "1.3.6.1.5.5.7.1.26=ASN1:SEQUENCE:spc_list",
    "numbers": "1.3.6.1.5.5.7.1.26=ASN1:SEQUENCE:number_list",
    "alien": "1.3.6.1.5.5.7.1.26=ASN1:SEQUENCE:alien_list",
    "mixed": "1.3.6.1.5.5.7.1.26=ASN1:SEQUENCE:mixed_list",
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
[alien_list]
a = EXPLICIT:0,IA5STRING:9999
[mixed_list]
a = EXPLICIT:0,IA5STRING:1234
b = EXPLICIT:0,IA5STRING:9999
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


def issued() -> dict[str, tuple[str, str, int, str]]:
    """What there is: name to extensions, issuer, days, and the kind of key. What is wrong is wrong in one thing."""
    ca = "basicConstraints=critical,CA:TRUE"
    table = {
        "root": (ISSUER, "", 1000, P256),
        "plainroot": (ca, "", 1000, P256),
        "stranger": (ISSUER, "", 1000, P256),
        "issuer": (ISSUER, "root", 500, P256),
        "short": (f"{ca},pathlen:0\nkeyUsage=critical,keyCertSign", "root", 100, P256),
        "long": (ISSUER, "short", 100, P256),
        "noissuer": (SIGNER, "root", 100, P256),
        "nosigning": (f"{ca}\nkeyUsage=critical,cRLSign", "root", 100, P256),
        "limited": (f"{ISSUER}\n{LISTS['others']}", "root", 100, P256),
        "mortal": (ISSUER, "root", 1, P256),
        "provider": (f"{ISSUER}\n{LISTS['spc']}", "root", 100, P256),
        "alien": (f"{ISSUER}\n{LISTS['alien']}", "root", 100, P256),
        "holding": (f"{ISSUER}\n{LISTS['mixed']}", "root", 100, P256),
        "alien-below": (f"{ISSUER}\n{LISTS['mixed']}", "alien", 100, P256),
        "numbered": (f"{ISSUER}\n{LISTS['numbers']}", "root", 100, P256),
        "of-alien-numbers": (f"{SIGNER}\n{LISTS['numbers']}", "alien", 100, P256),
        "of-numbered-numbers": (f"{SIGNER}\n{LISTS['numbers']}", "numbered", 100, P256),
        "of-holding-both": (f"{SIGNER}\n{LISTS['mixed']}", "provider", 100, P256),
        "direct": (f"{SIGNER}\n{LISTS['numbers']}", "root", 100, P256),
        "brief": (f"{SIGNER}\n{LISTS['spc']}", "issuer", 1, P256),
        "bare": (LISTS["spc"], "issuer", 100, P256),  # neither basicConstraints nor keyUsage
        "ca": (f"{ISSUER}\n{LISTS['spc']}", "issuer", 100, P256),
        "agreement": (f"basicConstraints=critical,CA:FALSE\nkeyUsage=critical,keyAgreement\n{LISTS['spc']}", "issuer", 100, P256),
        "p384": (f"{SIGNER}\n{LISTS['spc']}", "issuer", 100, "secp384r1"),
        "rsa": (f"{SIGNER}\n{LISTS['spc']}", "issuer", 100, "rsa"),
    }
    for depth in range(5):
        table[f"deep{depth}"] = (ISSUER, f"deep{depth - 1}" if depth else "issuer", 100, P256)
    leaves = {
        "leaf": "issuer",
        "plain": "plainroot",
        "foreign": "stranger",
        "deep": "deep2",
        "deeper": "deep3",
        "deepest": "deep4",
        "toolong": "long",
        "unissued": "noissuer",
        "unsigned": "nosigning",
        "beyond": "limited",
        "outlived": "mortal",
        "of-provider": "provider",
        "of-holding": "holding",
        "of-alien": "alien",
        "of-alien-below": "alien-below",
        "of-numbered": "numbered",
    }
    for name, by in leaves.items():
        table[name] = (f"{SIGNER}\n{LISTS['spc']}", by, 100, P256)
    for kind in ("numbers", "others", "garbage", "claims", "critical", "unknown", "none"):
        table[f"tn-{kind}"] = (f"{SIGNER}\n{LISTS[kind]}", "issuer", 100, P256)
    return table


class Authority:
    """Issues what is asked for into a folder: `NAME.key`, `NAME.pem`, and `NAME.chain` with the issuers behind it, but for the root."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.table = issued()
        self._serial = 1

    def path(self, file: str) -> Path:
        """A file of this authority; made if it was not there."""
        path = self.folder / file
        name, _, kind = file.partition(".")
        if name in self.table and kind in ("key", "pem", "chain") and not path.exists():
            self._issue(name)
        return path

    def chain(self, name: str) -> str:
        return self.path(f"{name}.chain").read_text()

    def _issue(self, name: str) -> None:
        extensions, by, days, kind = self.table[name]
        key, pem = str(self.folder / f"{name}.key"), self.folder / f"{name}.pem"
        if kind == "rsa":
            run("genrsa", "-out", key, "2048")
        else:
            run("ecparam", "-name", kind, "-genkey", "-noout", "-out", key)
        config = str(self.folder / f"{name}.cnf")
        Path(config).write_text(CONFIG.format(extensions=extensions))
        subject = ["-subj", f"/CN={name}", "-config", config, "-key", key]
        self._serial += 1
        behind = ""
        if not by:
            run("req", "-x509", "-new", *subject, "-days", str(days), "-extensions", "wanted", "-out", str(pem))
        else:
            issuer = ["-CA", str(self.path(f"{by}.pem")), "-CAkey", str(self.path(f"{by}.key")), "-set_serial", str(self._serial)]
            request = run("req", "-new", *subject)
            signing = ["-days", str(days), "-extfile", config, "-extensions", "wanted", "-out", str(pem)]
            run("x509", "-req", *issuer, *signing, given=request)
            behind = self.chain(by) if self.table[by][1] else ""
        (self.folder / f"{name}.chain").write_text(pem.read_text() + behind)

    def sign(self, key: str, header: dict[str, Any] | str, claims: dict[str, Any] | str) -> str:
        """A token whose signature `openssl dgst` made; `header` and `claims` may be JSON text, too."""
        texts = [part if isinstance(part, str) else json.dumps(part, separators=(",", ":")) for part in (header, claims)]
        given = ".".join(b64(text.encode()) for text in texts)
        r, s = decode_dss_signature(run("dgst", "-sha256", "-sign", str(self.path(f"{key}.key")), given=given.encode()))
        return f"{given}.{b64(r.to_bytes(32, 'big') + s.to_bytes(32, 'big'))}"
