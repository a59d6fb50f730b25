"""PASSporTs and Identity values: examples of RFC 8225 and of a third party, and hostile text."""

from __future__ import annotations

import json
from typing import Any

import pytest
from cryptography.hazmat.primitives.serialization import load_pem_public_key
from hypothesis import given
from hypothesis import strategies as st

from rules.passport import Unverified
from rules.passport.credential import Credential
from rules.passport.identity import identity_values
from rules.passport.token import read_ppt, read_token
from tests.rules.passport.material import b64

# RFC 8225, appendix A. Its iat is a text, which §5.1.1 does not have: a reader that keeps to the rest of the RFC refuses it.
RFC_8225 = (
    "eyJhbGciOiJFUzI1NiIsInR5cCI6InBhc3Nwb3J0IiwieDV1IjoiaHR0cHM6Ly9jZXJ0LmV4YW1wbGUub3JnL3Bhc3Nwb3J0LmNlciJ9"
    ".eyJkZXN0Ijp7InVyaSI6WyJzaXA6YWxpY2VAZXhhbXBsZS5jb20iXX0sImlhdCI6IjE0NDMyMDgzNDUiLCJvcmlnIjp7InRuIjoiMTIxNTU1NTEyMTIifX0"
    ".rq3pjT1hoRwakEGjHCnWSwUnshd0-zJ6F1VOgFWSjHBr8Qjpjlk-cpFYpFYsojNCpTzO3QfPOlckGaS6hEck7w"
)
RFC_8225_KEY = b"""-----BEGIN PUBLIC KEY-----
MFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAE8HNbQd/TmvCKwPKHkMF9fScavGeH78YTU8qLS8I5HLHSSmlATLcslQMhNC/OhlWBYC626nIlo7XeebYS7Sb37g==
-----END PUBLIC KEY-----
"""
# Made by nobody of ours: a published demonstration of SHAKEN, with a certificate that signed itself.
CERTIFICATE = """-----BEGIN CERTIFICATE-----
MIICAjCCAaegAwIBAgIUU8x/jIsLcyFxPo8GEA//1iv+m0MwCgYIKoZIzj0EAwIw
VDELMAkGA1UEBhMCVVMxGDAWBgNVBAoMD0V4YW1wbGUgVGVsZWNvbTErMCkGA1UE
AwwiU0hBS0VOIEV4YW1wbGUgU2lnbmluZyBDZXJ0aWZpY2F0ZTAeFw0yNjA5MjIw
NTA5MDRaFw0zNjA5MTkwNTA5MDRaMFQxCzAJBgNVBAYTAlVTMRgwFgYDVQQKDA9F
eGFtcGxlIFRlbGVjb20xKzApBgNVBAMMIlNIQUtFTiBFeGFtcGxlIFNpZ25pbmcg
Q2VydGlmaWNhdGUwWTATBgcqhkjOPQIBBggqhkjOPQMBBwNCAARtAswKxsOVXpSt
5RoM1X9Dznjn3goH9lkQ04dJi/Ih4t+IUXBnU7P+Xa9DyFA/yxpv6BF81DxiKxUt
fpPCyamko1cwVTAMBgNVHRMBAf8EAjAAMA4GA1UdDwEB/wQEAwIHgDAWBggrBgEF
BQcBGgQKMAigBhYEMTIzNDAdBgNVHQ4EFgQU6cd7qcwU32dyEeTK9XUejGufvdgw
CgYIKoZIzj0EAwIDSQAwRgIhAOJVKKL/zhFn/ZgLM+6zdubEkeMunCCTXXGftgMz
uxJ1AiEA7Tjt4oM8/rbrqI6aChxjRnSM906GkxRVifxxYod/XGo=
-----END CERTIFICATE-----
"""
HEAD = (
    "eyJhbGciOiJFUzI1NiIsInBwdCI6InNoYWtlbiIsInR5cCI6InBhc3Nwb3J0IiwieDV1IjoiaHR0cHM6Ly9jZXJ0cy5leGFtcGxlLXRlbGVjb20ubmV0"
    "L3NoYWtlbi8xMjM0LmNydCJ9."
)
PUBLISHED = {
    "A": HEAD + "eyJhdHRlc3QiOiJBIiwiZGVzdCI6eyJ0biI6WyIrMTIxMjU1NTEyMzQiXX0sImlhdCI6MTc5MDA1MzIwMCwib3JpZyI6eyJ0biI6IisxMjE1NTU1MTIxMi"
    "J9LCJvcmlnaWQiOiIxZmZjYTA3Ny0yZDU2LTRmOTMtODc1OS1mYTg1Njc0MGFiM2QifQ"
    ".tZPHlhzV8GPwZaSIrG1yTNry6SKr13SEgnbICCfUruR08unv6eR_9FXud-Lw-SUL0CXeAMxKIsiUIc-Kfl4E7Q",
    "C": HEAD + "eyJhdHRlc3QiOiJDIiwiZGVzdCI6eyJ0biI6WyIrMTIxMjU1NTEyMzQiXX0sImlhdCI6MTc5MDA1MzIwMCwib3JpZyI6eyJ0biI6IisxMjE1NTU1MTIxMi"
    "J9LCJvcmlnaWQiOiI2MDQzMTAyYi0zNDZlLTQyYjEtODFiMC1mMjlhZDQ4M2M5NjAifQ"
    ".eirNY6kb299NJVzy4P0i-oaSnIlJWQXhoAtUgkp_6zFpoDcP54nLwlIqIlachjOpMP9cirn6Mk3-3AcdhLeMQQ",
    "raised": HEAD + "eyJhdHRlc3QiOiJBIiwiZGVzdCI6eyJ0biI6WyIrMTIxMjU1NTEyMzQiXX0sImlhdCI6MTc5MDA1MzIwMCwib3JpZyI6eyJ0biI6IisxMjE1NTU1MT"
    "IxMiJ9LCJvcmlnaWQiOiIxOTg3OTZkZS1kM2Q3LTQ0YjQtOGM5Ni1mMjNhOGJiNzgxYWQifQ"
    ".wPtP35DZFYinr7mG9_0cfZcBv2LDitlpTyfMCFEFm9mo3owxlt5lAKBdSuLd230LR17hx3Frr8oVO8qvTDz-yg",
}
HEADER = {"alg": "ES256", "ppt": "shaken", "typ": "passport", "x5u": "https://cert.example/a.pem"}
CLAIMS = {"attest": "A", "dest": {"tn": ["8613802881946"]}, "iat": 1790053200, "orig": {"tn": "8675583120000"}, "origid": "o"}


def token(header: Any = HEADER, claims: Any = CLAIMS) -> str:
    texts = [part if isinstance(part, str) else json.dumps(part) for part in (header, claims)]
    return ".".join([*(b64(text.encode("utf-8", "surrogatepass")) for text in texts), b64(bytes(64))])


def fault(text: str) -> str:
    try:
        read_token(text)
    except Unverified as error:
        return error.code
    return ""


def test_the_example_of_rfc_8225() -> None:
    assert fault(RFC_8225) == "STIR_FORMAT"
    credential = Credential("")
    credential.key = load_pem_public_key(RFC_8225_KEY)  # type: ignore[assignment]
    signed, _, signature = RFC_8225.rpartition(".")
    import base64

    octets = base64.urlsafe_b64decode(signature + "==")
    assert credential.signed(signed.encode(), octets)
    assert not credential.signed(signed.encode() + b"x", octets)
    assert not credential.signed(signed.encode(), octets[32:] + octets[:32])


@pytest.mark.parametrize("name", PUBLISHED)
def test_published_tokens(name: str) -> None:
    credential = Credential(CERTIFICATE)
    assert (credential.why, str(credential.authority)) == ("", "spc 1234")
    passport = read_token(PUBLISHED[name])
    assert (passport.ppt, passport.orig, passport.dest) == ("shaken", ("tn", "12155551212"), (("tn", "12125551234"),))
    assert credential.signed(passport.signed, passport.signature) is (name != "raised")


DEEP = "[" * 4000
HOSTILE = {
    "empty": "",
    "dots": "...",
    "two parts": "a.b",
    "padding": token().replace(".", "=.", 1),
    "not base64url": "+/+/.+/+/.+/+/",
    "a length that base64 has not": "aaaaa.aaaa.aaaa",
    "no JSON": "aaaa.aaaa.aaaa",
    "a list": token([], CLAIMS),
    "null": token("null"),
    "deep": token(HEADER, DEEP),
    "deep objects": token(HEADER, '{"a":' * 900),
    "NaN": token(HEADER, '{"iat":NaN}'),
    "a number of 5000 digits": token(HEADER, '{"iat":' + "9" * 5000 + "}"),
    "an exponent": token(HEADER, CLAIMS | {"iat": 1e308}),
    "huge": token(HEADER, CLAIMS | {"aaa": "a" * 100_000}),
    "ten thousand called": token(HEADER, CLAIMS | {"dest": {"tn": ["1"] * 10_000}}),
    "a lone surrogate": token(HEADER, '{"orig":"\udcff"}'),
    "an escaped surrogate": token(HEADER, '{"attest":"A","dest":{"tn":["1"]},"iat":1,"orig":{"tn":"\\ud800"},"origid":"o"}'),
    "a name twice": token('{"alg":"none","alg":"ES256","typ":"passport","x5u":"https://a/"}'),
    "a name twice, escaped": token('{"alg":"ES256","\\u0061lg":"ES256","typ":"passport","x5u":"https://a/"}'),
    "a NUL": token(HEADER, CLAIMS | {"orig": {"tn": "8675583120000\0"}}),
    "a line end": token(HEADER, CLAIMS | {"orig": {"tn": "8675583120000\n"}}),
    "superscript": token(HEADER, CLAIMS | {"orig": {"tn": "86755831200\u00b2"}}),
    "an empty number": token(HEADER, CLAIMS | {"orig": {"tn": ""}}),
    "a number as a number": token(HEADER, CLAIMS | {"orig": {"tn": 8675583120000}}),
    "no object": token(HEADER, CLAIMS | {"orig": "8675583120000"}),
    "ppt is a list": token(HEADER | {"ppt": ["shaken"]}),
    "x5u is a number": token(HEADER | {"x5u": 1}),
    "origid with a line end": token(HEADER, CLAIMS | {"origid": "a\r\nb"}),
    "a hidden kind": token(HEADER, CLAIMS | {"orig": {"tn": "1", "TN": "2"}}),
    "div of nobody": token(HEADER | {"ppt": "div"}, CLAIMS | {"div": {"hi": "1"}}),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile(name: str) -> None:
    assert fault(HOSTILE[name]) in ("STIR_FORMAT", "STIR_SIGNATURE")
    read_ppt(HOSTILE[name])


def test_what_is_read() -> None:
    passport = read_token(token(HEADER, CLAIMS | {"dest": {"tn": ["+1", "2#"], "uri": ["sip:a@b"]}, "exp": 5, "unknown": {"a": [1]}}))
    assert passport.dest == (("tn", "1"), ("tn", "2#"), ("uri", "sip:a@b"))
    assert (passport.iat, passport.expires, passport.attest, passport.origid, passport.div) == (1790053200, 5, "A", "o", None)


VALUES = {
    "a.b.c": [("a.b.c", "", "", "", False)],
    "a.b.c;info=<https://a/b,c;d>;alg=ES256;ppt=shaken": [("a.b.c", "https://a/b,c;d", "ES256", "shaken", False)],
    'a.b.c ; PPT = "div" ;x , ..d;info=< u >': [("a.b.c", "", "", "div", False), ("..d", "u", "", "", False)],
    "a.b.c;ppt=a;ppt=b": [("a.b.c", "", "", "a", True)],
    "a.b.c;info=<x": [("a.b.c", "", "", "", True)],
    "a.b.c d": [("a.b.c", "", "", "", True)],
    ", a.b.c": [("", "", "", "", True)],
    "": [],
    '"a"': [("", "", "", "", True)],
    "a.b.c" + ";x=1" * 17: [("a.b.c", "", "", "", True)],
    "a.b.c" + "".join(f";x{number}" for number in range(16)): [("a.b.c", "", "", "", False)],
    "a.b.c" + "".join(f";x{number}" for number in range(17)): [("a.b.c", "", "", "", True)],
    "a.b.c,": [("a.b.c", "", "", "", False)],
}


@pytest.mark.parametrize("field", VALUES)
def test_values(field: str) -> None:
    values, more = identity_values([field], 8)
    found = [(value.token, value.info, value.alg, value.ppt, bool(value.fault)) for value in values]
    assert [each if not each[4] else (each[0], "", "", "", True) for each in found] == [
        each if not each[4] else (each[0], "", "", "", True) for each in VALUES[field]
    ]
    assert not more


def test_many_values() -> None:
    values, more = identity_values(["a.b.c," * 100_000] * 1000, 8)
    assert (len(values), more) == (8, True)


@pytest.mark.parametrize("unit", ["a", " ", ";", ",", "<", '"', "\\", ";a", ";a=<", ';a="', "; ", ";a= ", "a.b,", '";'])
def test_long_fields_take_no_time(unit: str) -> None:
    identity_values([f"a.b.c;info={unit * 60_000}", unit * 60_000], 8)


@given(
    st.text(max_size=200)
    | st.lists(st.sampled_from([*token(), ";", ",", "<", ">", '"', "=", " ", "info", "ppt"]), max_size=60).map("".join)
)
def test_any_text(text: str) -> None:
    values, _ = identity_values([text], 8)
    for value in values:
        fault(value.token)
        read_ppt(value.token)


GOOD = token()


@given(st.lists(st.tuples(st.integers(0, len(GOOD) - 1), st.characters()), max_size=3))
def test_mutated_tokens(edits: list[tuple[int, str]]) -> None:
    text = list(GOOD)
    for at, character in edits:
        text[at] = character
    assert fault("".join(text)) in ("", "STIR_FORMAT", "STIR_SIGNATURE")
