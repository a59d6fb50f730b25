"""The other policy of a replay: a configuration of its own, or only a policy.toml for the configuration that there is."""

from __future__ import annotations

import tomllib
from pathlib import Path

import msgspec

from proxy.decision import Judge
from proxy.generation import Fault, Faults
from rules import PolicyFaults, load_policy
from rules.document import reader
from rules.text_file import TextFault, read_toml_text


def load_candidate(path: Path, judge: Judge) -> Judge:
    """The Judge of a candidate. Raises Faults.

    A file with a table of trunks, listeners or lists is a sipwarden.toml, and stands for itself; any other is a policy, which is put in
    the place of the one that `judge` has.
    """
    try:
        text = read_toml_text(path)
    except TextFault as fault:
        raise Faults((Fault(str(path), fault.line or None, "", fault.problem, "", fault.remedy),)) from None
    if _is_configuration(text):
        return Judge.load(path)
    generation = judge.generation
    config = generation.config
    read = reader(path.parent)
    try:
        ruleset = load_policy(text, file=str(path), directory=generation.directory, trunks=config.trunks, read=read)
    except PolicyFaults as error:
        raise Faults(
            tuple(Fault(fault.file, fault.line, fault.key, fault.message, fault.value, fault.remedy) for fault in error.faults)
        ) from None
    return Judge(msgspec.structs.replace(generation, ruleset=ruleset, policy=text))


def _is_configuration(text: str) -> bool:
    try:
        document = tomllib.loads(text)
    except tomllib.TOMLDecodeError:
        return False  # which the policy's loader tells, with its line
    return not {"node", "listen", "trunk", "next_hop", "directory", "policy"}.isdisjoint(document)
