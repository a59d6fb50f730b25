"""Decisions on calls: no SIP syntax, no event loop, no socket, no clock.

A library user loads a policy once and asks it about each call:

    ruleset = load_policy(None, file="", directory=directory, trunks=trunks)
    verdict = ruleset.evaluate(Call(trunk, "sip:83123456@pbx.acme.cn", "sip:13802881946@gw1", at=time.time()))
"""

from rules.sources import PURE as PURE  # first: it decides whether what follows may be read compiled

# isort: split
from rules.call import NO_TRUNK, Call, Source, Trunk
from rules.codes import ReasonCode, reason_code, reason_codes
from rules.directory import Directory
from rules.faults import PolicyFault, PolicyFaults, PolicyWarning
from rules.loader import default_policy, load_policy
from rules.profile import known_profiles
from rules.rule import Check, NoSettings, OnError, Rule
from rules.ruleset import RuleSet
from rules.verdict import Lookup, Outcome, Step, Verdict, Would

__all__ = [
    "NO_TRUNK",
    "Call",
    "Check",
    "Directory",
    "Lookup",
    "NoSettings",
    "OnError",
    "Outcome",
    "PolicyFault",
    "PolicyFaults",
    "PolicyWarning",
    "ReasonCode",
    "Rule",
    "RuleSet",
    "Source",
    "Step",
    "Trunk",
    "Verdict",
    "Would",
    "default_policy",
    "known_profiles",
    "load_policy",
    "reason_code",
    "reason_codes",
]
