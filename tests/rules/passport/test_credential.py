"""Certificates made by openssl: which of them may sign, for whom, when."""

from __future__ import annotations

import time

import pytest

from rules.passport import LARGEST_PEM, CertificateFile, SignerFile, Unverified
from rules.passport.credential import KEPT, Trust
from tests.rules.passport.material import ORIG, Authority

SOON = 3600.0
PARTY = ("tn", ORIG)
GOOD = {"leaf", "direct", "plain", "deep", "brief", "bare", "tn-numbers"}
GOOD |= {"of-provider", "of-holding", "of-holding-both", "of-alien-numbers", "of-numbered-numbers"}
BAD = {
    "foreign": "configured root",
    "deeper": "configured root",
    "deepest": "7 certificates",
    "toolong": "path length",
    "unissued": "basicConstraints",
    "unsigned": "key of an issuer is not for certificates",
    "beyond": "issuer's TNAuthList does not have",
    "of-alien": "issuers' TNAuthLists do not have its service provider: spc 1234",
    "of-alien-below": "issuers' TNAuthLists do not have its service provider",
    "of-numbered": "issuers' TNAuthLists do not have its service provider",
    "tn-others": "TNAuthList does not have",
    "tn-garbage": "TNAuthList cannot be read",
    "tn-claims": "JWTClaimConstraints",
    "tn-critical": "critical and not known",
    "tn-unknown": "critical and not known: 1.2.3.4.5",
    "tn-none": "no TNAuthList",
    "ca": "not for signatures",
    "agreement": "not for signatures",
    "p384": "P-256",
    "rsa": "P-256",
}


def trust(authority: Authority, *spcs: str, listed: bool = True) -> Trust:
    files = [CertificateFile(name, authority.path(f"{name}.pem").read_bytes()) for name in ("root", "plainroot")]
    return Trust([one for file in files for one in file.certificates], spcs, listed=listed)


def why(judge: Trust, pem: str, at: float, party: tuple[str, str] = PARTY) -> str:
    """Why a certificate may not sign, "" if it may."""
    try:
        judge.check_authority(judge.credential(pem, at), party)
    except Unverified as error:
        return error.why if error.code == "STIR_CREDENTIAL" else error.code
    return ""


@pytest.mark.parametrize("name", sorted(GOOD))
def test_good(name: str, authority: Authority) -> None:
    assert why(trust(authority), authority.chain(name), time.time() + SOON) == ""


@pytest.mark.parametrize("name", BAD)
def test_bad(name: str, authority: Authority) -> None:
    assert BAD[name] in why(trust(authority), authority.chain(name), time.time() + SOON)


def test_time(authority: Authority) -> None:
    judge = trust(authority)
    pem, now = authority.chain("brief"), time.time()
    for later, said in ((SOON, ""), (2 * 86400, "expired at"), (-86400, "not valid before"), (SOON, "")):
        assert said in why(judge, pem, now + later)
    for at in (float("nan"), float("inf"), -1e18, 1e18, 1e300):
        assert why(judge, pem, at)


def test_an_issuer_s_time_counts(authority: Authority) -> None:
    """The root of `plain` and the certificate last; what the openssl command gave each is asked of the path, not of the leaf alone."""
    assert why(trust(authority), authority.chain("leaf"), time.time() + 99 * 86400) == ""
    assert "configured root" in why(trust(authority), authority.chain("outlived"), time.time() + 2 * 86400)


def test_providers(authority: Authority) -> None:
    at = time.time() + SOON
    assert why(trust(authority, "1234"), authority.chain("leaf"), at) == ""
    assert "service provider" in why(trust(authority, "999"), authority.chain("leaf"), at)
    assert why(trust(authority, "999"), authority.chain("tn-numbers"), at) == ""


def test_a_delegate_has_no_code_that_its_provider_has_not(authority: Authority) -> None:
    """of-holding-both names 1234 and 9999, its issuer 1234 alone: the other is nobody's to give."""
    at = time.time() + SOON
    assert why(trust(authority, "1234"), authority.chain("of-holding-both"), at) == ""
    assert "none of those configured" in why(trust(authority, "9999"), authority.chain("of-holding-both"), at)


def test_uri(authority: Authority) -> None:
    at = time.time() + SOON
    assert why(trust(authority), authority.chain("leaf"), at, ("uri", "sip:a@b")) == ""
    assert why(trust(authority), authority.chain("tn-numbers"), at, ("uri", "sip:a@b"))


def test_a_list_need_not_be_asked_for(authority: Authority) -> None:
    assert why(trust(authority, listed=False), authority.chain("tn-none"), time.time() + SOON) == ""


def test_nobody_is_trusted(authority: Authority) -> None:
    assert why(Trust([]), authority.chain("leaf"), time.time() + SOON) == "no roots are configured"


@pytest.mark.parametrize(
    "pem", ["", "x", "\u4e2d\u6587", "-----BEGIN CERTIFICATE-----\n-----END CERTIFICATE-----\n", "a" * (LARGEST_PEM + 1), "\udcff"]
)
def test_what_is_no_certificate(pem: str, authority: Authority) -> None:
    assert why(trust(authority), pem, time.time())


def test_what_is_remembered_is_bounded(authority: Authority) -> None:
    judge = trust(authority)
    for number in range(KEPT + 50):
        assert why(judge, f"{number}", time.time())
    assert len(judge._kept) == KEPT


def test_files(authority: Authority) -> None:
    content = authority.path("leaf.chain").read_bytes()
    assert SignerFile("leaf", content).pem == authority.chain("leaf")
    for kind, name, octets, what in (
        (CertificateFile, "key", authority.path("leaf.key").read_bytes(), "no PEM certificate"),
        (CertificateFile, "empty", b"", "no PEM certificate"),
        (SignerFile, "many", content * 4, "6 certificates"),
        (SignerFile, "rsa", authority.path("rsa.chain").read_bytes(), "P-256"),
    ):
        with pytest.raises(ValueError, match=what):
            kind(name, octets)
