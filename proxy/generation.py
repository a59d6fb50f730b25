"""One generation of everything that can be reloaded: configuration, directory and policy, checked together and used together.

`load` reads an operator's files. The supervisor has that done by a process of its own (`python -m proxy.generation`), which leaves the
result in a folder; workers `open_generation` it: quick, and the directory is one mapped file for all of them.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Iterator
from importlib import import_module
from pathlib import Path
from typing import Final, TypeVar

import msgspec

from proxy.config import Config, ConfigFault, ConfigFaults, ConfigWarning, can_name_a_file, load_config, pack, unpack
from rules import PolicyFault, PolicyFaults, RuleSet, load_policy
from rules.directory import FILES, SHANGHAI, Directory, DirectoryConfig, DirectoryFault, DirectoryFaults, load_directory
from rules.text_file import TextFault, read_toml_text

CONFIG: Final = "config.msgpack"
POLICY: Final = "policy.toml"
DIRECTORY: Final = "directory.bin"

_PLACE: Final = re.compile(r"(.+?):([0-9]+): (.*)")

Fault = ConfigFault
"""Faults of all three kinds of file are shown in one form."""

T = TypeVar("T")


class Faults(Exception):
    """Everything that keeps a configuration, its policy or its lists from being used."""

    def __init__(self, faults: tuple[Fault, ...], warnings: tuple[ConfigWarning, ...] = ()) -> None:
        super().__init__("\n".join(map(str, faults)))
        self.faults = faults
        self.warnings = warnings


class Generation(msgspec.Struct, frozen=True):
    """What the core runs on."""

    config: Config
    directory: Directory
    ruleset: RuleSet
    policy: str | None = None
    """The text that `ruleset` was made from; None: the packaged policy."""


class Report(msgspec.Struct, frozen=True):
    """What loading had to say, for `check` and for the supervisor."""

    faults: tuple[Fault, ...] = ()
    warnings: tuple[ConfigWarning, ...] = ()


def load(path: Path | str) -> tuple[Generation, tuple[ConfigWarning, ...]]:
    """Read and check a configuration file, its policy and every list. Raises Faults with all that was found."""
    faults: list[Fault] = []
    try:
        config = load_config(path)
        zone = config.node.time_zone
    except ConfigFaults as error:
        if error.rest is None:
            raise Faults(error.faults) from None
        faults += error.faults  # one run shows what is wrong with the files that it names, too
        config, zone = error.rest, SHANGHAI
    directory = _attempt(lambda: load_directory(_readable(config.directory), config.base, config.trunks, time_zone=zone), config, faults)
    # a policy can be checked without the lists, so that one run shows the faults of both
    against = (
        directory
        if directory is not None
        else load_directory(DirectoryConfig(categories=config.directory.categories), config.base, config.trunks)
    )
    against.services = config.services
    judged = _attempt(lambda: _policy(config, against), config, faults)
    if faults or directory is None or judged is None:
        raise Faults(tuple(faults), config.warnings)
    policy, ruleset = judged
    return Generation(config, directory, ruleset, policy), (*config.warnings, *_warnings(config, directory, ruleset))


def save_generation(generation: Generation, folder: Path) -> None:
    """Leave a generation in a folder for the workers; what they find there is whole, since its name is told only afterwards."""
    config = generation.config
    if generation.policy is not None:
        (folder / POLICY).write_bytes(generation.policy.encode())
    generation.directory.save(folder / DIRECTORY)
    (folder / CONFIG).write_bytes(pack(config))


def open_generation(folder: Path) -> Generation:
    """What `save_generation` left."""
    config = unpack((folder / CONFIG).read_bytes())
    directory = Directory.open(folder / DIRECTORY)
    directory.services = config.services
    if config.lookup:
        import_module("proxy.lookup.http")  # here, where no call waits: it takes a quarter of a second, and 13 MB where it is needed
    text = (folder / POLICY).read_bytes().decode() if config.policy.file is not None else None
    ruleset = load_policy(text, file=config.policy.file or "", directory=directory, trunks=config.trunks)
    return Generation(config, directory, ruleset, text)


def _policy(config: Config, directory: Directory) -> tuple[str | None, RuleSet]:
    name = config.policy.file
    if name is None or not can_name_a_file(name):
        return None, load_policy(None, file="", directory=directory, trunks=config.trunks)
    file = config.shown_path(name)
    try:
        text = read_toml_text(config.path(name))
    except TextFault as fault:
        raise PolicyFaults([PolicyFault(file, fault.line or None, "", fault.problem, "", fault.remedy)]) from None
    return text, load_policy(text, file=file, directory=directory, trunks=config.trunks)


def _readable(directory: DirectoryConfig) -> DirectoryConfig:
    """Without the names that name no file: they are a fault already."""
    return msgspec.structs.replace(directory, **{kind: tuple(filter(can_name_a_file, getattr(directory, kind))) for kind in FILES})


def _attempt(step: Callable[[], T], config: Config, faults: list[Fault]) -> T | None:
    try:
        return step()
    except PolicyFaults as error:
        faults += [Fault(fault.file, fault.line, fault.key, fault.message, fault.value, fault.remedy) for fault in error.faults]
    except DirectoryFaults as error:
        faults += [_list_fault(config, fault) for fault in error.faults]
    return None


def _warnings(config: Config, directory: Directory, ruleset: RuleSet) -> Iterator[ConfigWarning]:
    for text in directory.warnings:
        found = _PLACE.fullmatch(text)
        yield ConfigWarning(config.shown_path(found[1]), int(found[2]), "", found[3]) if found else ConfigWarning("", None, "", text)
    for warning in ruleset.warnings:
        yield ConfigWarning(warning.file, warning.line, warning.key, warning.message)


def _list_fault(config: Config, fault: DirectoryFault) -> Fault:
    return Fault(config.shown_path(fault.file), fault.line or None, fault.column, fault.problem, fault.value, fault.remedy)


def main(arguments: list[str]) -> int:
    """Check the configuration file and fill the folder that are named, print a Report as JSON; 1 where there are faults."""
    path, folder = arguments
    try:
        generation, warnings = load(path)
        save_generation(generation, Path(folder))
    except Faults as error:
        report = Report(faults=error.faults, warnings=error.warnings)
    else:
        report = Report(warnings=warnings)
    sys.stdout.buffer.write(msgspec.json.encode(report))
    return 1 if report.faults else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
