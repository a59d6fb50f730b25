"""Whatever a call presents: evaluate gives a verdict, no built-in rule fails, explain comes to the same, and every code has words."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from rules import Call, reason_codes
from rules.call import Diverted
from tests.rules.cases import evaluated, make_call, policy, trunks, view

PIECES = st.sampled_from(
    [
        "+",
        "00",
        "86",
        "0",
        "755",
        "10",
        "110",
        "95588",
        "83123456",
        "13802881946",
        "400",
        "106",
        "1064812345678",
        "9513012345",
        "2",
        "*",
        "５",
        "%",
    ]
)
USERS = st.one_of(st.lists(PIECES, max_size=5).map("".join), st.text(max_size=20))
URIS = st.one_of(USERS, USERS.map("sip:{}@host;user=phone".format), USERS.map("tel:{};phone-context=+86".format), st.text(max_size=40))


@settings(max_examples=300, deadline=None)
@given(
    trunk=st.sampled_from(["", *trunks()]),
    sender=URIS,
    to=URIS,
    pai=st.lists(URIS, max_size=3).map(tuple),
    diversion=st.lists(URIS, max_size=2).map(tuple),
    history=st.lists(st.builds(Diverted, URIS, st.sampled_from([None, 302, 380])), max_size=8).map(tuple),
    privacy=st.lists(st.sampled_from(["id", "none", "user", "x"]), max_size=2).map(tuple),
)
def test_any_call(
    trunk: str,
    sender: str,
    to: str,
    pai: tuple[str, ...],
    diversion: tuple[str, ...],
    history: tuple[Diverted, ...],
    privacy: tuple[str, ...],
) -> None:
    ruleset = policy()

    def call() -> Call:
        return make_call(trunk, sender, to, pai=pai, diversion=diversion, history_info=history, privacy=privacy)

    def judge() -> dict[str, object]:
        return view(evaluated(ruleset, call()))

    explained = view(ruleset.explain(call()))
    found = judge()
    assert explained == found
    assert {found["code"], *explained["marks"]} <= set(reason_codes())
    # An enterprise call passes with authorised numbers, in observe, or as an emergency, and in no other way.
    if found["action"] == "pass" and trunk and trunks()[trunk].kind == "enterprise":
        assert found["code"] in ("AUTH_OK", "FWD_OK", "EMG_OVERRIDE") or found["mode"] == "observe"
    assert trunk or found["code"] == "TRK_UNKNOWN"
    assert not any(ruleset.failures.values())
