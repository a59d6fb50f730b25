"""What one policy would have said of a call at that time: the live path from a checked request to its verdict, without the sockets."""

from __future__ import annotations

from collections.abc import Mapping
from time import perf_counter
from types import MappingProxyType
from typing import Final

from proxy.correlation import Correlation, Leg
from proxy.counters import Counters
from proxy.decision import Judge
from proxy.intake import asserted, call_of
from proxy.replay.arrivals import Arrivals
from proxy.sip.response import PHRASES
from proxy.validate import Request
from rules.call import NO_TRUNK, Call, Trunk, side_of
from rules.profile import REDIRECT
from rules.verdict import Lookup, Verdict


class Judged:
    """A verdict, the kinds of look-up that a rule waited for in vain (a replay asks no service), and the leg that the call leaves as
    proof of what is forwarded of it; None where nobody could forward it. `caller` and `called` are canonical where that is known.
    """

    __slots__ = ("called", "caller", "leg", "unanswered", "verdict")

    def __init__(self, verdict: Verdict, call: Call, unanswered: tuple[str, ...] = (), leg: Leg | None = None) -> None:
        self.verdict = verdict
        # not the call itself: it may be 64 kB long, and tens of thousands wait for their answers
        self.caller = verdict.caller or call.caller.raw[:SHOWN]
        self.called = verdict.called or call.called.raw[:SHOWN]
        self.unanswered = unanswered
        self.leg = leg


SHOWN: Final = 1_024
"""Characters that are kept of what a caller has written."""
_NO_WAY: Final = 404
NO_ANSWERS: Final[Mapping[str, object]] = MappingProxyType({})


class Policy:
    """One configuration with its policy and lists, and what it remembers of the trace's calls: each that it passes toward a customer or a
    peer is a leg by which a forwarded call proves itself, by the time of the capture.
    """

    def __init__(self, judge: Judge, arrivals: Arrivals) -> None:
        self.generation = judge.generation
        self.ruleset = judge.ruleset
        self.routing = judge.routing
        self.arrivals = arrivals
        self._correlation = Correlation(Counters())

    def judge(self, request: Request, trunk: Trunk, at: float, answers: Mapping[str, object] = NO_ANSWERS) -> Judged:
        """The verdict on an initial INVITE that came in by `trunk` at Unix time `at`. ParseError for what only some requests have looked
        at.

        A refusal that is no policy's (RFC 3261 §16.3: hops, scheme, Proxy-Require) has no code and no rule, only its status. A call that
        is passed and has nowhere to go keeps its action and code, with status 404. `answers`: what look-ups are known to have answered, by
        kind; no others are made.
        """
        call = call_of(request, trunk, request.flow.source, asserted(request, trunk), at, self._correlation.legs)
        refused = unfit(request, trunk)
        if refused:
            return Judged(self._refused(call, refused), call)
        unanswered: tuple[str, ...] = ()
        started = perf_counter()
        found = self.ruleset.evaluate(call)
        while isinstance(found, Lookup):
            answer = answers.get(found.kind)
            if answer is None:
                unanswered = (*unanswered, found.kind)
            found = self.ruleset.resume(call, found, answer)
        found.elapsed_us = (perf_counter() - started) * 1e6
        return Judged(found, call, unanswered, self._leave(found, call) if found.action == "pass" else None)

    def _leave(self, verdict: Verdict, call: Call) -> Leg | None:
        """A passed call goes on its way, as `proxy.screening` sends it."""
        trunk, at = call.trunk, call.at
        directory = self.ruleset.directory
        if trunk.reject_profile == REDIRECT:
            if verdict.would is not None:
                return None
            side = self.routing.side_called(call.called, directory, at, trunk.home_area)
            if side is None or (side == side_of(trunk) and verdict.authenticated is not True):
                return None
            leg = self._correlation.begin(call, (side,), 0.0)
            if leg is not None:
                leg.over(at)
            return None
        hop = self.routing.hop_for(trunk, call.called, directory, at, emergency=verdict.code == "EMG_OVERRIDE")
        if hop is None:
            verdict.status = _NO_WAY
            verdict.phrase = PHRASES[_NO_WAY]
            return None
        sides = self.routing.sides_for(hop, call.called, directory, at, trunk.home_area)
        return self._correlation.begin(call, sides, 0.0) if sides else None

    def _refused(self, call: Call, status: int) -> Verdict:
        trunk = call.trunk
        return Verdict(
            "reject",
            "",
            "",
            status,
            PHRASES[status],
            "",
            call.caller.canonical,
            call.called.canonical,
            trunk.id,
            trunk.customer,
            call.marks,
            None,
            trunk.mode,
            None,
            self.ruleset.policy_version,
            self.ruleset.directory.version,
        )


def unfit(request: Request, trunk: Trunk) -> int:
    """The status by which the proxy refuses a request before it asks policy, in its order; 0 for none. A redirect server looks at the
    scheme only (RFC 3261 §8.3), and whom no trunk knows is refused for that.
    """
    if trunk is NO_TRUNK:
        return 0
    if trunk.reject_profile != REDIRECT:
        if request.hops == 0:
            return 483
        if not request.secure and b"proxy-require" in request.message.first_line:
            return 420
    return 416 if request.secure else 0
