from __future__ import annotations

import json
import tomllib
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest

from proxy.signing import OUTCOMES, Credential, Signer, date, destination, div_claims, encoded, read, shaken_claims, sip_date
from proxy.sip.message import SipMessage
from proxy.token import Secret
from rules.call import Call, Trunk
from rules.directory import Directory, DirectoryConfig, load_directory
from rules.verdict import Verdict
from tests.proxy.passports import X5U, claims_of, credential, decoded, identity, key, signed_by
from tests.proxy.wire import SECRET, SEGMENTS

FOLDER = Path(__file__).parents[1] / "cases"
CASES = tomllib.loads((FOLDER / "signing.toml").read_text(encoding="utf-8"))["case"]
NOW = 1700000000.0


def request(*lines: str) -> SipMessage:
    head = ["INVITE sip:x@127.0.0.1 SIP/2.0", "From: <sip:x@127.0.0.1>;tag=1", *lines]
    return SipMessage.parse(("\r\n".join(head) + "\r\n\r\n").encode())


def verdict_on(call: Call, authenticated: bool | None = True, code: str = "AUTH_OK") -> Verdict:
    trunk = call.trunk
    made = Verdict("pass", code, "", None, "", "", None, None, trunk.id, "", [], call.labels, "enforce", None, "", "")
    made.authenticated = authenticated
    return made


def own_call(**options: Any) -> Call:
    return Call(Trunk(id="acme", customer="acme", kind="enterprise"), "+8675583123456", "+862161234567", at=NOW, **options)


def signer(tell: Any = None, **options: Any) -> Signer:
    return Signer(credential()._replace(**options), Secret(SECRET), tell)


@pytest.fixture(scope="module")
def directory(tmp_path_factory: pytest.TempPathFactory) -> Directory:
    folder = tmp_path_factory.mktemp("lists")
    (folder / "segments.csv").write_text(SEGMENTS)
    trunks = {"acme": Trunk(id="acme", customer="acme", kind="enterprise")}
    return load_directory(DirectoryConfig(segments=("segments.csv",)), folder, trunks)


@pytest.mark.parametrize("case", CASES, ids=lambda case: case["name"])
def test_what_is_signed(case: dict[str, Any], directory: Directory) -> None:
    came = [
        identity({"alg": "ES256", "ppt": one["ppt"], "typ": "passport"}, {"orig": {"tn": one["orig"]}, "dest": {"tn": one["dest"]}})
        for one in case.get("identity", [])
    ]
    pai = tuple(case.get("pai", ()))
    lines = case.get("lines", [f"P-Asserted-Identity: <{one}>" for one in pai])
    message = request(*[f"Identity: {value}" for value in came], *lines)
    call = Call(
        Trunk(id="acme", customer="acme", kind=case.get("kind", "enterprise"), home_area="755", **case.get("trunk", {})),
        case.get("from", "+8675583123456"),
        case.get("to", "+862161234567"),
        at=NOW,
        pai=pai,
        privacy=tuple(case.get("privacy", ())),
        diversion=tuple(case.get("forwarded", ())),
        identity=tuple(came),
    )
    call.labels = case.get("labels")
    call.proven = case.get("proven", False)
    call.tenant = case.get("tenant")
    verdict = verdict_on(call, case.get("authenticated"), case.get("code", "AUTH_OK"))
    assert signer().sign(message, call, verdict, directory, NOW) == case["outcome"]
    sent = SipMessage.parse(message.to_bytes())
    assert sent.count(b"identity") == case.get("left", 1)
    signed = [claims for value in sent.all(b"identity") if (claims := claims_of(value.decode())) is not None]
    assert len(signed) == (case["outcome"] in ("A", "B", "C", "div"))
    assert sent.count(b"date") == len(signed)
    if "claims" in case:
        assert signed == [json.loads(case["claims"])]
    if case["outcome"] in ("A", "B", "C"):
        assert signed[0]["attest"] == case["outcome"]


def test_every_outcome_is_told_what_it_means() -> None:
    assert {case["outcome"] for case in CASES} | {"expired", "no_key", "failed"} == set(OUTCOMES)


def test_serialised_to_the_octet_as_in_the_examples_of_rfc_8588() -> None:
    claims = shaken_claims("A", '{"tn":["12125551213"]}', 1443208345, "12155551212", "123e4567-e89b-12d3-a456-426655440000")
    assert claims == (
        '{"attest":"A","dest":{"tn":["12125551213"]},"iat":1443208345,"orig":{"tn":"12155551212"},'
        '"origid":"123e4567-e89b-12d3-a456-426655440000"}'
    )
    made = Signer(Credential("https://cert.example.org/passport.cer", lambda data: b"\0" * 64), Secret(SECRET))
    assert decoded(made._shaken.head.decode()) == (
        b'{"alg":"ES256","ppt":"shaken","typ":"passport","x5u":"https://cert.example.org/passport.cer"}'
    )


def test_serialised_to_the_octet_as_rfc_8946_has_it() -> None:
    claims = div_claims('{"tn":["12155551214"]}', "12155551213", 1443208345, "12155551212")
    assert claims == '{"dest":{"tn":["12155551214"]},"div":{"tn":"12155551213"},"iat":1443208345,"orig":{"tn":"12155551212"}}'
    made = Signer(Credential("https://www.example.com/cert.cer", lambda data: b"\0" * 64), Secret(SECRET))
    assert decoded(made._div.head.decode()) == b'{"alg":"ES256","ppt":"div","typ":"passport","x5u":"https://www.example.com/cert.cer"}'


def test_the_line_is_token_info_alg_and_type(directory: Directory) -> None:
    message, call = request(), own_call()
    signer().sign(message, call, verdict_on(call), directory, NOW)
    line = SipMessage.parse(message.to_bytes()).lines[1].decode()
    name, _, value = line.partition(": ")
    token, _, tail = value.partition(";")
    assert name == "Identity"
    assert tail == f'info=<{X5U}>;alg=ES256;ppt="shaken"'
    assert [len(decoded(part)) for part in token.split(".")[2:]] == [64]
    assert "=" not in token
    assert signed_by(value, key())
    assert decoded(token.split(".")[1]).decode().replace(signer().origid(call.trunk), "UUID") == (
        '{"attest":"A","dest":{"tn":["862161234567"]},"iat":1700000000,"orig":{"tn":"8675583123456"},"origid":"UUID"}'
    )


# Date and iat


@pytest.mark.parametrize(
    ("written", "iat"),
    [
        (None, 1700000000),
        ("Tue, 14 Nov 2023 22:13:20 GMT", 1700000000),
        ("Tue, 14 Nov 2023 22:12:20 GMT", 1699999940),
        ("Tue, 14 Nov 2023 22:14:20 GMT", 1700000060),
        ("tue, 14 nov 2023 22:13:21 gmt", 1700000001),
        ("Tue, 14 Nov 2023 22:12:19 GMT", None),
        ("Tue, 14 Nov 2023 22:14:21 GMT", None),
        ("Tue, 31 Feb 2023 22:13:20 GMT", None),
        ("Tue, 14 Xxx 2023 22:13:20 GMT", None),
        ("Tue, 14 Nov 0000 22:13:20 GMT", None),
        ("Tue, 14 Nov 2023 22:13:61 GMT", None),
        ("14 Nov 2023 22:13:20 GMT", None),
        ("٣ GMT", None),
        ("", None),
    ],
)
def test_a_fresh_date_is_kept_and_signed_and_any_other_is_replaced(written: str | None, iat: int | None, directory: Directory) -> None:
    message, call = request(*([] if written is None else [f"Date: {written}"])), own_call()
    assert signer().sign(message, call, verdict_on(call), directory, NOW + 0.7) == "A"
    sent = SipMessage.parse(message.to_bytes())
    (value,) = sent.all(b"identity")
    signed = json.loads(decoded(value.decode().split(".")[1]))["iat"]
    assert signed == (iat or 1700000000)
    kept = written is not None and iat is not None
    assert sent.first(b"date") == (str(written).encode() if kept else b"Tue, 14 Nov 2023 22:13:20 GMT")


@pytest.mark.parametrize("at", [0, 951782400, 1700000000, 2147483648, 4102444799])
def test_dates_are_read_as_they_are_written(at: int) -> None:
    assert date(sip_date(at)) == at


def test_a_date_has_its_day_of_the_week() -> None:
    assert sip_date(1289690940) == b"Sat, 13 Nov 2010 23:29:00 GMT"


# the certificate's dates, and a key that fails


@pytest.mark.parametrize(
    ("begins", "ends", "outcome"),
    [(NOW, NOW, "A"), (NOW - 100, NOW - 1, "expired"), (NOW + 1, NOW + 100, "expired")],
)
def test_nothing_is_signed_outside_the_dates_of_the_certificate(begins: float, ends: float, outcome: str, directory: Directory) -> None:
    message, call = request(), own_call()
    assert signer(begins=begins, ends=ends).sign(message, call, verdict_on(call), directory, NOW) == outcome
    assert (message.to_bytes() == message.raw) == (outcome == "expired")


def test_nor_is_a_date_outside_them(directory: Directory) -> None:
    message, call = request("Date: Tue, 14 Nov 2023 22:13:10 GMT"), own_call()
    assert signer(begins=NOW - 5, ends=NOW + 100).sign(message, call, verdict_on(call), directory, NOW) == "expired"


def test_a_key_that_fails_keeps_no_call_and_is_told_of_once_a_minute(directory: Directory) -> None:
    def broken(data: bytes) -> bytes:
        raise OSError("the token was pulled out")

    told: list[str] = []
    made = signer(told.append, sign=broken)
    call = own_call(identity=(identity({"ppt": "shaken"}, {}),))
    for second in range(130):
        message = request(f"Identity: {call.identity[0]}")
        assert made.sign(message, call, verdict_on(call), directory, NOW + second) == "failed"
        assert message.to_bytes() == message.raw
    assert told == ["the key does not sign: OSError: the token was pulled out"] * 3


# origid


def test_origid_names_a_customer_on_all_its_trunks_and_any_other_trunk_by_itself() -> None:
    made = signer()
    one = Trunk(id="acme-sz", customer="acme", kind="enterprise")
    ids = {
        name: made.origid(trunk)
        for name, trunk in {
            "sz": one,
            "gz": Trunk(id="acme-gz", customer="acme", kind="enterprise"),
            "other": Trunk(id="other", customer="other", kind="enterprise"),
            "unnamed": Trunk(id="acme", kind="enterprise"),
            "gateway": Trunk(id="hk", customer="acme", kind="international"),
            "gateway 2": Trunk(id="jp", customer="acme", kind="international"),
        }.items()
    }
    assert ids["sz"] == ids["gz"]
    assert len(set(ids.values())) == 5
    assert all(str(UUID(text)) == text and UUID(text).version == 5 for text in ids.values())
    assert signer().origid(one) == ids["sz"]
    assert Signer(credential(), Secret(b"another secret, long enough")).origid(one) != ids["sz"]


def test_customers_of_one_trunk_have_each_their_own_whoever_calls_first() -> None:
    made = signer()
    ids = [made.origid(Trunk(id="shared", kind="enterprise", customer=customer)) for customer in ("acme", "beta", "", "acme")]
    assert ids[0] == ids[3]
    assert len(set(ids)) == 3
    for customer, one in zip(("beta", "", "acme"), ids[1:], strict=True):
        assert signer().origid(Trunk(id="shared", kind="enterprise", customer=customer)) == one


def test_an_operator_may_choose_it() -> None:
    trunk = Trunk(id="a", kind="enterprise", origid="123E4567-E89B-42D3-A456-426655440000")
    assert signer().origid(trunk) == "123e4567-e89b-42d3-a456-426655440000"


# what others wrote


@pytest.mark.parametrize(
    "value",
    [
        "",
        ";info=<https://a>",
        "..",
        "...",
        "..AAAA;info=<https://a.example/c.pem>",  # compact form
        "a.b",
        "AAAA.AAAA.AAAA",
        "é.é.é",
        "\udcff.\udcff.\udcff",
        identity([], {}),
        identity({"ppt": 5}, {}),
        identity({"ppt": "shaken"}, {"orig": "8675583123456"}),
        identity({"ppt": "shaken"}, {"orig": {"tn": ["1"]}}),
        identity({"ppt": "shaken"}, {"dest": {"tn": "1"}}),
        encoded(b'{"ppt":"shaken"}').decode() + "." + encoded(b'{"x":' + b"[" * 3000 + b"]" * 3000 + b"}").decode() + ".AAAA",
        encoded(b'{"ppt":"shaken"}').decode() + "." + encoded(b'{"x":"' + b"x" * 9000 + b'"}').decode() + ".AAAA",
        encoded(b'{"ppt":"shaken","x":NaN}').decode() + ".e30.AAAA",
        encoded(b'\xff\xfe{"ppt":"shaken"}').decode() + ".e30.AAAA",
        identity({"ppt": "shaken"}, {}).replace(".", "!."),
    ],
)
def test_what_is_no_passport_is_none_and_raises_nothing(value: str, directory: Directory) -> None:
    assert read(value) is None
    call = own_call(identity=(value,) * 600)
    assert signer().sign(request(), call, verdict_on(call), directory, NOW) == "A"


def test_a_customer_is_left_no_more_passports_than_are_read(directory: Directory) -> None:
    others = [identity({"ppt": "rcd"}, {"n": number}) for number in range(40)]
    message, call = request(*[f"Identity: {value}" for value in others]), own_call(identity=tuple(others))
    assert signer().sign(message, call, verdict_on(call), directory, NOW) == "A"
    assert [value.decode() for value in SipMessage.parse(message.to_bytes()).all(b"identity")][1:] == others[:16]


SHAKEN = identity({"ppt": "shaken"}, {"orig": {"tn": "8675583123456"}})
RCD = identity({"ppt": "rcd"}, {})


@pytest.mark.parametrize(
    ("lines", "left"),
    [
        ([f"Identity: {RCD}, {SHAKEN}"], [RCD]),
        ([f"Identity: {SHAKEN},{SHAKEN}", f"y: {RCD},\r\n {RCD}"], [f"{RCD}, {RCD}"]),
        ([f"Identity: {SHAKEN}\r\n ;ppt=shaken", f"identity :{RCD}"], [RCD]),
        ([f'Identity: {RCD};x=", {SHAKEN}'], []),
        ([f'Identity: {RCD};x=",", {SHAKEN}'], [f'{RCD};x=","']),
        (["Identity:"], []),
        # decided by the type alone: claims that are not read here may be read by who gets them
        ([f"Identity: {identity({'ppt': 'shaken'}, {'orig': {'tn': ['8675583123456']}})}"], []),
        ([f"Identity: {identity({'ppt': 'div'}, {'dest': {'tn': '862161234567'}})}"], []),
        ([f"Identity: {identity({'ppt': 'SHAKEN'}, {})}"], []),
        (["Identity: ..AAAA;info=<https://a.example/c.pem>;alg=ES256;ppt=shaken"], []),
        (['Identity: ..AAAA;info=<https://a.example/c.pem>;PPT="Div"'], []),
        ([f"Identity: {RCD};ppt=shaken"], []),
        ([f"Identity: {RCD.replace('.', '=.', 1)}"], []),
        (["Identity: a.b.c"], []),
        ([f"Identity: {RCD};ppt=rcd;ppt=shaken"], []),
        (["Identity: ..AAAA;info=<https://a.example/c.pem>"], ["..AAAA;info=<https://a.example/c.pem>"]),
        ([f"Identity: {RCD};ppt=rcd"], [f"{RCD};ppt=rcd"]),
        ([f"Identity: {identity({'ppt': 'rcd'}, {'orig': {'tn': ['1']}})}"], [identity({"ppt": "rcd"}, {"orig": {"tn": ["1"]}})]),
    ],
)
def test_a_customers_attestations_go_however_they_are_written(lines: list[str], left: list[str], directory: Directory) -> None:
    message = request(*lines)
    call = own_call(identity=tuple(value.decode() for value in message.all(b"identity")))
    assert signer().sign(message, call, verdict_on(call), directory, NOW) == "A"
    assert [value.decode() for value in SipMessage.parse(message.to_bytes()).all(b"identity")][1:] == left


def test_a_network_may_write_a_comma_list(directory: Directory) -> None:
    message = request(f"Identity: {RCD}, {SHAKEN}")
    call = Call(Trunk(id="i", kind="interconnect"), "+8675583123456", "+862161234567", at=NOW, identity=(f"{RCD}, {SHAKEN}",))
    assert signer().sign(message, call, verdict_on(call, None), directory, NOW) == "carried"
    assert message.to_bytes() == message.raw


def test_full_attestation_is_for_customers_only(directory: Directory) -> None:
    call = Call(Trunk(id="i", kind="interconnect"), "+8675583123456", "+862161234567", at=NOW)
    assert signer().sign(request(), call, verdict_on(call), directory, NOW) == "C"


def test_a_passport_is_read_with_and_without_plus_and_with_claims_unknown() -> None:
    claims = {"orig": {"tn": "+861"}, "dest": {"tn": ["+862", "863"], "uri": ["x"]}, "iat": 1.5}
    found = read(identity({"ppt": "shaken", "new": [1]}, claims))
    assert found == ("shaken", "861", ("862", "863"))


@pytest.mark.parametrize(
    ("to", "uri"),
    [
        ("sip:alice@example.com", "sip:alice@example.com"),
        ("SIPS:alice:secret@[2001:DB8::1]:5061;x?y", "sips:alice@[2001:db8::1]"),
        ("sip:a?b@c", "sip:a@c"),
        ("sip:" + "a" * 250 + "@" + "b" * 6, "sip:" + "a" * 250 + "@" + "b" * 6),
        ("sip:" + "a" * 250 + "@" + "b" * 7, None),
        ("sip:" + "a" * 60000, None),
        ("sip:" + "a;" * 30000, None),
        ("sip:@@@@", None),
        ("sip:a@[::1", None),
        ("sip:@b", None),
        ("tel:alice", None),
        ("sip:a@b\n", None),
        ("sip:a\udcff@b", None),
        ("", None),
    ],
)
def test_who_is_called_without_a_number(to: str, uri: str | None) -> None:
    found = destination(Call(Trunk(id="a", kind="core"), "1", to, at=NOW))
    assert (json.loads(found) if found is not None else None) == (None if uri is None else {"uri": [uri]})
