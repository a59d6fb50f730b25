"""What a worker remembers of the calls it sent toward trunks."""

from __future__ import annotations

from proxy.correlation import Correlation
from proxy.counters import Counters
from rules.call import Call, Trunk
from rules.numbers import normalise

CORE = Trunk(id="core", kind="core", home_area="755")
SIDES = ("customer acme",)


def call(to: str = "83123456", sender: str = "+8613712345678", pai: tuple[str, ...] = ()) -> Call:
    return Call(CORE, sender, to, at=1000.0, pai=pai)


def test_begun_and_over() -> None:
    correlation = Correlation(Counters())
    leg = correlation.begin(call(pai=("+8613712345679",)), SIDES, 900.0)
    assert leg is not None
    called = normalise("+8675583123456", None)
    for caller in ("+8613712345678", "+8613712345679"):
        assert correlation.legs.age(SIDES[0], called, normalise(caller, None), 1100.0) == 0.0
    leg.over(150.0)
    assert correlation.legs.age(SIDES[0], called, normalise("+8613712345678", None), 1100.0) == 50.0


def test_nobody_could_ask_for_a_name() -> None:
    assert Correlation(Counters()).begin(call("sip:reception@pbx"), SIDES, 0.0) is None


def test_an_anonymous_caller_is_remembered_by_whom_he_called() -> None:
    correlation = Correlation(Counters())
    assert correlation.begin(call(sender="sip:anonymous@anonymous.invalid"), SIDES, 0.0) is not None
    assert correlation.legs.age(SIDES[0], normalise("+8675583123456", None), None, 1000.0) == 0.0
