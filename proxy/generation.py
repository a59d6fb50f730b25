"""One generation of everything that can be reloaded: configuration, directory and policy, checked together and used together.

`load` reads an operator's files. The supervisor has that done by a process of its own (`python -m proxy.generation`), which leaves the
result in a folder; workers `open_generation` it: quick, and the directory is one mapped file for all of them.
"""

from __future__ import annotations

import gc
import os
import re
import sys
from collections.abc import Callable, Iterator
from contextlib import suppress
from datetime import UTC, datetime
from importlib import import_module
from pathlib import Path
from time import time
from typing import TYPE_CHECKING, Final, TypeVar

import msgspec

from proxy.config import Config, ConfigFault, ConfigFaults, ConfigWarning, can_name_a_file, load_config, pack, unpack
from rules import PolicyFault, PolicyFaults, RuleSet, load_policy
from rules.directory import FILES, SHANGHAI, Directory, DirectoryConfig, DirectoryFault, DirectoryFaults, load_directory
from rules.document import read_document, reader
from rules.passport import CertificateFile
from rules.text_file import TextFault, read_toml_text
from rules.toml_lines import key_lines, line_of

if TYPE_CHECKING:
    from proxy.credential import Read
    from proxy.signing import Credential

CONFIG: Final = "config.msgpack"
POLICY: Final = "policy.toml"
NAMED: Final = "files.msgpack"
DIRECTORY: Final = "directory.bin"
PUBLIC_KEY: Final = "signing.sha256"
"""Digest of the public key that was checked: workers read the key file themselves, and sign with no other that has come there since."""

OPENED: Final = "opened"
"""Name of the file that was opened last, and a line end: what a reading waits for that does not end."""

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
    files: dict[str, bytes] = {}
    """What the policy's settings name, by the name that they give it."""
    ca: bytes | None = None
    """The content of `ca_file` of [certificates]."""
    credential: Credential | None = None
    """What calls are signed with."""
    public_key: str = ""
    """Digest of its public key."""
    unsigned: str = ""
    """Why there is no credential where the configuration names one."""


class Report(msgspec.Struct, frozen=True):
    """What loading had to say, for `check` and for the supervisor."""

    faults: tuple[Fault, ...] = ()
    warnings: tuple[ConfigWarning, ...] = ()


def load(path: Path | str, *, keys: bool = True) -> tuple[Generation, tuple[ConfigWarning, ...]]:
    """Read and check a configuration file, its policy, every list and, unless `keys` is False, the key that calls are signed with. Raises
    Faults with all that was found.
    """
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
    against = directory if directory is not None else _without_lists(config)
    _offer(config, against)
    files: dict[str, bytes] = {}
    judged = _attempt(lambda: _policy(config, against, files), config, faults)
    ca = _attempt(lambda: _ca(config), config, faults)
    # a table with a fault may name no files
    signs = keys and not any(fault.file == config.file and fault.key.startswith("signing") for fault in faults)
    read = _credential(config, faults) if signs else None
    if faults or directory is None or judged is None:
        raise Faults(tuple(faults), config.warnings)
    policy, ruleset = judged
    generation = Generation(config, directory, ruleset, policy, files, ca)
    if read is not None:
        generation = msgspec.structs.replace(generation, credential=read.credential, public_key=read.digest)
    warnings = (*config.warnings, *(read.warnings if read is not None else ()), *_warnings(config, directory, ruleset))
    return generation, (*warnings, *_expiries(generation))


def load_rules(path: Path | str) -> RuleSet:
    """The policy of a configuration file without its lists, for what rules say of themselves. Raises Faults."""
    try:
        config = load_config(path)
    except ConfigFaults as error:
        raise Faults(error.faults) from None
    faults: list[Fault] = []
    against = _without_lists(config)
    _offer(config, against)
    judged = _attempt(lambda: _policy(config, against, {}), config, faults)
    if judged is None:
        raise Faults(tuple(faults), config.warnings)
    return judged[1]


def save_generation(generation: Generation, folder: Path) -> None:
    """Leave a generation in a folder for the workers; what they find there is whole, since its name is told only afterwards."""
    config = generation.config
    if generation.policy is not None:
        (folder / POLICY).write_bytes(generation.policy.encode())
    generation.directory.save(folder / DIRECTORY)
    (folder / NAMED).write_bytes(msgspec.msgpack.encode((generation.files, generation.ca)))
    if generation.public_key:
        (folder / PUBLIC_KEY).write_text(generation.public_key, "ascii")
    (folder / CONFIG).write_bytes(pack(config))


def open_generation(folder: Path, *, again: bool = False) -> Generation:
    """What `save_generation` left, with the key that calls are signed with. Raises Faults where that is not the one that was checked;
    `again`: this generation is in force, and goes on without it.
    """
    config = unpack((folder / CONFIG).read_bytes())
    directory = Directory.open(folder / DIRECTORY)
    _offer(config, directory)
    # here, where no call waits: it takes a quarter of a second, and 13 MB where it is needed
    if config.lookup:
        import_module("proxy.lookup.http")
    if config.certificates.hosts:
        import_module("proxy.lookup.certificates")
    text = (folder / POLICY).read_bytes().decode() if config.policy.file is not None else None
    files, ca = msgspec.msgpack.decode((folder / NAMED).read_bytes(), type=tuple[dict[str, bytes], bytes | None])
    ruleset = load_policy(text, file=config.policy.file or "", directory=directory, trunks=config.trunks, read=files.__getitem__)
    generation = Generation(config, directory, ruleset, text, files, ca)
    if config.signing is None:
        return generation
    faults: list[Fault] = []
    read = _credential(config, faults)
    known = (folder / PUBLIC_KEY).read_text("ascii")
    if read is not None and read.digest == known:
        return msgspec.structs.replace(generation, credential=read.credential, public_key=known)
    if not faults:
        faults.append(
            Fault(config.file, None, "signing.key", "the key is not the one that was checked", f'"{config.signing.key}"', "reload")
        )
    if not again:
        raise Faults(tuple(faults))
    return msgspec.structs.replace(generation, unsigned=str(faults[0]))


def _credential(config: Config, faults: list[Fault]) -> Read | None:
    """The credential that a configuration names; None where it names none, or after a fault was noted."""
    if config.signing is None:
        return None
    module = import_module("proxy.credential")  # 15 MB that only nodes which sign need
    try:
        read: Read = module.read_credential(config, config.signing, time())
    except module.CredentialFault as error:
        faults.append(error.fault)
        return None
    return read


def _without_lists(config: Config) -> Directory:
    return load_directory(DirectoryConfig(categories=config.directory.categories), config.base, config.trunks)


def _offer(config: Config, directory: Directory) -> None:
    """Tell a directory what rules can ask beyond its lists."""
    directory.services = config.services
    directory.certificate_hosts = config.certificates.authorities


def _policy(config: Config, directory: Directory, files: dict[str, bytes]) -> tuple[str | None, RuleSet]:
    """The policy's text and what it says; `files` takes what it names."""
    name = config.policy.file
    if name is None or not can_name_a_file(name):
        return None, load_policy(None, file="", directory=directory, trunks=config.trunks)
    file = config.shown_path(name)
    try:
        text = read_toml_text(config.path(name))
    except TextFault as fault:
        raise PolicyFaults([PolicyFault(file, fault.line or None, "", fault.problem, "", fault.remedy)]) from None
    read = reader(config.path(name).parent)

    def keep(named: str) -> bytes:
        files[named] = read(named)
        return files[named]

    return text, load_policy(text, file=file, directory=directory, trunks=config.trunks, read=keep)


def _ca(config: Config) -> bytes | None:
    """What the hosts of [certificates] are trusted by; None: by the system's certificates."""
    name = config.certificates.ca_file
    if name is None:
        return None
    from cryptography.hazmat.primitives.serialization import Encoding

    try:
        file = read_document(CertificateFile, name, reader(config.base))
    except ValueError as error:
        what, _, remedy = str(error).partition(" | ")
        line = line_of(key_lines(config.text), ("certificates", "ca_file"))
        raise ConfigFaults([Fault(config.file, line, "certificates.ca_file", what, f'"{name}"', remedy)]) from None
    return b"".join([certificate.public_bytes(Encoding.PEM) for certificate in file.certificates])  # without what stands around them


def _expiries(generation: Generation) -> Iterator[ConfigWarning]:
    """Certificates that are not valid now."""
    config = generation.config
    shown = {str(Path(config.policy.file or "").parent / name): content for name, content in generation.files.items()}
    if generation.ca is not None and config.certificates.ca_file is not None:
        shown[config.certificates.ca_file] = generation.ca
    now = datetime.now(UTC)
    for name, content in shown.items():
        for certificate in CertificateFile(name, content).certificates if b"-----BEGIN CERTIFICATE" in content else ():
            subject = certificate.subject.rfc4514_string() or "a certificate"
            if certificate.not_valid_after_utc < now:
                yield ConfigWarning(config.shown_path(name), None, "", f"{subject} expired on {certificate.not_valid_after_utc:%Y-%m-%d}")
            elif certificate.not_valid_before_utc > now:
                yield ConfigWarning(
                    config.shown_path(name), None, "", f"{subject} is not valid before {certificate.not_valid_before_utc:%Y-%m-%d}"
                )


def _readable(directory: DirectoryConfig) -> DirectoryConfig:
    """Without the names that name no file: they are a fault already."""
    return msgspec.structs.replace(directory, **{kind: tuple(filter(can_name_a_file, getattr(directory, kind))) for kind in FILES})


def _attempt(step: Callable[[], T], config: Config, faults: list[Fault]) -> T | None:
    try:
        return step()
    except PolicyFaults as error:
        faults += [Fault(fault.file, fault.line, fault.key, fault.message, fault.value, fault.remedy) for fault in error.faults]
    except ConfigFaults as error:
        faults += error.faults
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


def last_opened(folder: Path) -> str:
    """The file that the process which fills a folder opened last, or tries to; "" where none is known."""
    try:
        return (folder / OPENED).read_bytes().partition(b"\n")[0].decode("utf-8", "backslashreplace")
    except OSError:
        return ""


def _note_opened(folder: Path) -> None:
    """Leave the name of each file before it is opened, for as long as this process lives: one on a mount that hangs is never open."""
    note = os.open(folder / OPENED, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o600)

    def opens(event: str, arguments: tuple[object, ...]) -> None:
        if event == "open" and isinstance(name := arguments[0], str):
            with suppress(OSError):  # no room: whoever opens a list is not to hear of that, what is written next says it
                os.pwrite(note, name.encode("utf-8", "surrogateescape") + b"\n", 0)

    sys.addaudithook(opens)


def main(arguments: list[str]) -> int:
    """Check the configuration file and fill the folder that are named, print a Report as JSON; 1 where there are faults."""
    path, folder = arguments
    gc.disable()  # what is loaded stays until the end, which is soon: looking for garbage in millions of rows only takes time
    _note_opened(Path(folder))
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
