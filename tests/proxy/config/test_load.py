from __future__ import annotations

import tomllib
from pathlib import Path

import pytest

from proxy.config import Config, ConfigFaults, LookupConfig, load_config, pack, unpack
from proxy.records.join import LONGEST

CASES = Path(__file__).parents[2] / "cases" / "config"
GOOD = (CASES / "good.toml").read_text()
FAULTS = tomllib.loads((CASES / "faults.toml").read_text())["case"]
SAMPLE = Path(__file__).parents[3] / "deploy" / "config" / "sipwarden.toml"


def load(text: str) -> Config:
    return load_config("gw.toml", text=text, base=Path("/etc"))


def faults(text: str) -> list[str]:
    with pytest.raises(ConfigFaults) as raised:
        load(text)
    return [str(fault) for fault in raised.value.faults]


def changed(case: dict[str, str]) -> str:
    if "add" in case:
        return GOOD + case["add"]
    assert GOOD.count(case["replace"]) == 1 or case["replace"] == "[[next_hop]]"
    if case["replace"] == "[[next_hop]]":
        head, _, rest = GOOD.partition(case["replace"])
        return head + case["text"] + rest.partition("[[next_hop]]")[0]
    return GOOD.replace(case["replace"], case["text"])


def test_good_file_has_no_warning() -> None:
    assert load(GOOD).warnings == ()


def test_sample_has_no_warning() -> None:
    config = load_config(SAMPLE)
    assert config.warnings == ()
    assert {trunk.kind for trunk in config.trunk} == {"enterprise", "interconnect", "international", "core"}


def test_the_look_up_in_the_sample_is_good_once_it_is_no_comment() -> None:
    before, _, rest = SAMPLE.read_text(encoding="utf-8").partition("# [[lookup]]\n")
    table, _, after = rest.partition("\n\n")
    text = f"{before}[[lookup]]\n" + table.replace("# ", "", 1).replace("\n# ", "\n") + "\n\n" + after
    config = load_config(SAMPLE, text=text)
    assert config.warnings == ()
    (lookup,) = config.lookup
    defaults = LookupConfig(kind="roaming", url=lookup.url)
    assert lookup.lives == defaults.lives
    for name in ("deadline", "field", "remembered", "concurrent", "failures", "pause"):
        assert getattr(lookup, name) == getattr(defaults, name), name


def test_the_signing_table_in_the_sample_is_good_once_it_is_no_comment() -> None:
    before, _, rest = SAMPLE.read_text(encoding="utf-8").partition("# [signing]\n")
    table, _, after = rest.partition("\n\n")
    text = f"{before}[signing]\n" + table.replace("# ", "", 1).replace("\n# ", "\n") + "\n\n" + after
    config = load_config(SAMPLE, text=text.replace("sign = false", "sign = true"))
    assert config.warnings == ()
    assert config.signing is not None
    assert config.signing.key == "signing.key"


@pytest.mark.parametrize("case", FAULTS, ids=lambda case: case["name"])
def test_fault_says_line_key_value_and_remedy(case: dict[str, str]) -> None:
    assert any(fault.startswith("gw.toml:" + case["says"]) for fault in faults(changed(case))), faults(changed(case))


def test_all_faults_are_found_at_once() -> None:
    text = GOOD.replace("workers = 1", "wrokers = 1").replace('"127.0.0.2"', '"here"').replace("10s", "10").replace('"755"', '"0755"')
    assert [fault.partition(": ")[0] for fault in faults(text)] == ["gw.toml:3", "gw.toml:13", "gw.toml:14", "gw.toml:29"]


def test_a_fault_in_one_table_hides_none_in_another() -> None:
    text = GOOD.replace('kind = "enterprise"', 'kind = "no"').replace('kind = "core"', 'kind = "core"\nnext_hop = "nowhere"')
    found = faults(text)
    assert len(found) == 2
    assert "trunk[2].next_hop" in found[1]


def test_empty_file_wants_a_listener() -> None:
    assert faults("") == ['gw.toml: no [[listen]]: nothing would be received ([[listen]] with address = "127.0.0.1:5060")']


def test_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(ConfigFaults, match="No such file"):
        load_config(tmp_path / "none.toml")


def test_file_that_is_not_utf8(tmp_path: Path) -> None:
    (tmp_path / "gw.toml").write_bytes(b"[node]\nname = '\xb5'\n")
    with pytest.raises(ConfigFaults, match=r"gw\.toml:2: not UTF-8"):
        load_config(tmp_path / "gw.toml")


def test_keys_not_in_force_are_accepted_with_a_warning() -> None:
    (warning,) = load(GOOD.replace('home_area = "755"', "tls_identity = 'x'")).warnings
    assert str(warning).startswith("gw.toml:14: trunk[1].tls_identity: ")


def test_limits_of_a_trunk() -> None:
    loaded = load(GOOD.replace('home_area = "755"', 'max_cps = 0.5\nmax_calls = 0\nover_limit = "486"'))
    assert not loaded.warnings
    assert (loaded.trunk[0].max_cps, loaded.trunk[0].max_calls) == (0.5, 0)


@pytest.mark.parametrize(
    ("setting", "says"),
    [
        ("max_cps = 0", "trunk[1].max_cps: must be above 0 and finite (0.0; calls a second; leave it out for no limit)"),
        ("max_cps = inf", "trunk[1].max_cps: must be above 0 and finite"),
        ("max_cps = nan", "trunk[1].max_cps: must be above 0 and finite"),
        ("max_calls = -1", "trunk[1].max_calls: must not be negative (-1; calls at a time; leave it out for no limit)"),
        ("max_calls = 1.5", "trunk[1].max_calls: "),
        ('over_limit = "600"', "trunk[1].over_limit: "),
    ],
)
def test_limits_that_are_none(setting: str, says: str) -> None:
    with pytest.raises(ConfigFaults) as raised:
        load(GOOD.replace('home_area = "755"', setting))
    assert f"gw.toml:14: {says}" in str(raised.value)


def test_a_longest_call_that_is_too_short() -> None:
    with pytest.raises(ConfigFaults, match=r"node\.longest_call: is too short"):
        load(GOOD.replace("[node]\n", '[node]\nlongest_call = "30s"\n'))


def test_a_longest_call_that_records_could_not_follow() -> None:
    with pytest.raises(ConfigFaults) as raised:
        load(GOOD.replace("[node]\n", '[node]\nlongest_call = "25h"\n'))
    assert 'gw.toml:2: node.longest_call: is too long ("90000 s"; at most "24h"; "12h" by default)' in str(raised.value)
    assert load(GOOD.replace("[node]\n", '[node]\nlongest_call = "24h"\n')).node.longest_call * 1000 < LONGEST


@pytest.mark.parametrize(
    ("add", "says"),
    [
        ("[journal]\npath = 'x'\nretention = '30d'", "43: journal.retention: 30 days are less than the six months"),
        ("[[next_hop]]\nid = 'x'\ntargets = ['sip:127.0.0.9']", "41: next_hop[3]: no trunk uses next hop x"),
        ("[[trunk]]\nid = 'x'\nkind = 'core'", "41: trunk[3]: trunk x has no sources"),
        ("[[trunk]]\nid = 'x'\nkind = 'core'\nsources = ['0.0.0.0/0']", "44: trunk[3].sources[1]: 0.0.0.0/0 is every address there is"),
        ("[[lookup]]\nkind = 'roaming'\nurl = 'http://127.0.0.1/{number}'", "41: lookup[1]: no trunk is international"),
        ("[[trunk]]\nid = 'x'\nkind = 'core'\nsources = ['127.0.0.9']\nover_limit = '486'", "45: trunk[3].over_limit: has no effect but"),
        ("[signing]\nkey = 'k'\nx5u = 'https://a.example/c'", "41: signing: no next hop has sign = true"),
        ("[[trunk]]\nid = 'x'\nkind = 'core'\nsources = ['127.0.0.9']\nattest = 'B'", "45: trunk[3].attest: there is no [signing]"),
    ],
)
def test_what_may_surprise_is_a_warning(add: str, says: str) -> None:
    (warning,) = load(GOOD + add).warnings
    assert str(warning).startswith("gw.toml:" + says)


ASKS = """
[[trunk]]
id = "sbc"
kind = "international"
sources = ["127.0.0.9"]
reject_profile = "redirect"
unverified = "mark"
"""


def test_a_trunk_that_asks_needs_no_next_hop() -> None:
    config = load(GOOD + ASKS)
    assert config.warnings == ()
    assert [trunk.go_on for trunk in config.trunk] == ["302"] * 3
    assert load(GOOD + ASKS + 'go_on = "404"').trunk[2].go_on == "404"
    assert unpack(pack(load(GOOD + ASKS + 'go_on = "404"'))).trunk[2].go_on == "404"


@pytest.mark.parametrize(
    ("text", "says"),
    [
        (ASKS + 'next_hop = "switch"', '48: trunk[3].next_hop: has no effect with reject_profile = "redirect"'),
        (ASKS + 'methods = ["MESSAGE"]', '48: trunk[3].methods: has no effect with reject_profile = "redirect"'),
        (ASKS.replace('"mark"', '"withhold"'), "47: trunk[3].unverified: a redirect server cannot withhold a number"),
        (ASKS.replace('unverified = "mark"\n', ""), "42: trunk[3].unverified: a redirect server cannot withhold a number"),
        (ASKS + 'roaming_failure = "withhold"', "48: trunk[3].roaming_failure: a redirect server cannot withhold a number"),
        (ASKS.replace("international", "enterprise") + 'hidden = "strip"', "48: trunk[3].hidden: a redirect server cannot strip Privacy"),
        (
            ASKS.replace("redirect", "default") + 'go_on = "302"\nnext_hop = "switch"',
            '48: trunk[3].go_on: has no effect without reject_profile = "redirect"',
        ),
    ],
)
def test_what_a_redirect_server_does_not_do_is_a_warning(text: str, says: str) -> None:
    (warning,) = load(GOOD + text).warnings
    assert str(warning).startswith("gw.toml:" + says)


def test_durations_are_seconds() -> None:
    config = load(GOOD)
    assert config.next_hop[0].options_interval == 10.0
    assert config.next_hop[0].no_response == 4.0
    assert config.next_hop[1].options_interval == 0.0
    assert load(GOOD.replace('"4s"', '"1500ms"')).next_hop[0].no_response == 1.5
    assert load(GOOD.replace('"10s"', '"2m"')).next_hop[0].options_interval == 120.0


LOOKUP = """
[[lookup]]
kind = "roaming"
url = "https://hlr.example:8443/v1?msisdn={number}"
deadline = "800ms"
field = "data.roaming"
answers = { abroad = [true, "ROAM", 1], home = [false] }
keep = { home = "0s", unknown = "1d" }
[[lookup]]
kind = "risk"
url = "http://[::1]:8080/{key}"
keep = { green = "1m" }
"""


def test_look_ups() -> None:
    roaming, risk = load(GOOD.replace('kind = "core"', 'kind = "international"\nnext_hop = "switch"') + LOOKUP).lookup
    assert roaming.answers == {"abroad": (True, "ROAM", 1), "home": (False,)}
    assert roaming.lives == {"abroad": 300.0, "home": 0.0, "unknown": 86400.0}
    assert (risk.deadline, risk.lives, risk.words) == (1.0, {"green": 60.0}, ())
    assert load(GOOD + LOOKUP).services == {"roaming": 0.8, "risk": 1.0}


SIGNING = """
[signing]
key = "key.pem"
certificate = "cert.pem"
x5u = "https://cert.example.net:8443/c.pem?a=1"
"""


def test_packed_is_the_same() -> None:
    config = load(GOOD.replace('no_response = "4s"', "sign = true").replace("home_area", 'attest = "C"\nhome_area') + LOOKUP + SIGNING)
    assert config.next_hop[0].sign
    assert config.trunk[0].attest == "C"
    assert unpack(pack(config)) == config


def test_a_certificate_at_an_odd_port_is_warned_of() -> None:
    good = GOOD.replace('no_response = "4s"', "sign = true") + SIGNING
    assert load(good).warnings == ()
    (warning,) = load(good.replace("8443", "8444")).warnings
    assert "signing.x5u: verifiers fetch certificates from port 443 (or 8443), few from 8444" in str(warning)


def test_listeners_name_what_is_advertised() -> None:
    text = GOOD.replace('"127.0.0.1:5060"', '"0.0.0.0:5060"\nadvertise = "203.0.113.5:5070"')
    config = load(text + '[[listen]]\naddress = "[::1]"\ntransports = ["udp"]')
    assert [(one.index, one.transport, one.host, one.port) for one in config.listeners()] == [
        (0, "udp", "203.0.113.5", 5070),
        (1, "tcp", "203.0.113.5", 5070),
        (2, "udp", "::1", 5060),
    ]
    assert config.bindings() == [("udp", "0.0.0.0", 5060), ("tcp", "0.0.0.0", 5060), ("udp", "::1", 5060)]


def test_state_is_where_the_service_may_write(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("STATE_DIRECTORY", raising=False)
    config = load(GOOD)
    assert config.state_path("var/node.secret") == Path("/etc/var/node.secret")
    monkeypatch.setenv("STATE_DIRECTORY", "/var/lib/sipwarden:/var/lib/other")
    assert config.state_path("var/node.secret") == Path("/var/lib/sipwarden/var/node.secret")
    assert config.state_path("/srv/node.secret") == Path("/srv/node.secret")


def test_a_workers_own_ports_follow_from_its_number() -> None:
    listens = "".join(f'[[listen]]\naddress = "{address}"\n' for address in ("[::1]:5060", "127.0.0.9:5060", "127.0.0.9:5070"))
    config = load(GOOD.replace("workers = 1", 'workers = 3\nworker_ports = "5100-5199"') + listens)
    assert config.worker_ports(0) == [
        ("udp", "127.0.0.1", 5100),
        ("udp", "::1", 5100),
        ("udp", "127.0.0.9", 5101),
        ("udp", "127.0.0.9", 5102),
    ]
    assert config.worker_ports(2)[0] == ("udp", "127.0.0.1", 5106)
    bound = [port for worker in range(3) for port in config.worker_ports(worker)]
    assert len(set(bound)) == len(bound)
    udp, tcp = config.listeners()[:2]
    assert config.own_ports(udp) == range(5100, 5200)
    assert list(config.own_ports(tcp)) == []
    assert load(GOOD).worker_ports(0) == []
    two = (
        GOOD.replace("workers = 1", "workers = 3\nworker_ports = '5100-5104'") + listens.partition("127.0.0.9:5070")[0].rpartition("[[")[0]
    )
    (fault,) = faults(two)
    assert "5 ports are too few for 3 workers with 2 UDP listeners each" in fault
