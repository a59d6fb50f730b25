"""sipwarden.toml text → Config. Every fault is collected before any is raised: syntax first, then types, then meaning."""

from __future__ import annotations

import re
from collections.abc import Sequence
from difflib import get_close_matches
from pathlib import Path
from typing import Any, Final, Literal, TypeVar, get_args, get_origin, get_type_hints

import msgspec

from proxy.config.certificates import CertificatesConfig
from proxy.config.duration import Duration
from proxy.config.faults import ConfigFault, ConfigFaults
from proxy.config.journal import JournalConfig
from proxy.config.lookups import LookupConfig
from proxy.config.meaning import check
from proxy.config.model import AdminConfig, Config, Listen, NextHop, Node, PolicyConfig
from proxy.config.report import Report
from proxy.config.signing import SigningConfig
from proxy.config.size import Size
from rules.call import Trunk
from rules.directory import DirectoryConfig
from rules.faults import in_order
from rules.text_file import SPARE, TextFault, read_toml, read_toml_text
from rules.toml_lines import Path as KeyPath
from rules.toml_lines import key_lines

_ONE: Final[dict[str, type[msgspec.Struct]]] = {
    "node": Node,
    "signing": SigningConfig,
    "policy": PolicyConfig,
    "directory": DirectoryConfig,
    "journal": JournalConfig,
    "admin": AdminConfig,
    "certificates": CertificatesConfig,
}
_MANY: Final[dict[str, type[msgspec.Struct]]] = {"listen": Listen, "trunk": Trunk, "next_hop": NextHop, "lookup": LookupConfig}
_PLACE: Final = re.compile(r" - at `\$(.*)`$")
_TOGETHER: Final = 256  # trunks that are decoded in one go, for which a worker's calls wait
_STEP: Final = re.compile(r"\.([^.\[\]]+)|\[(\d+)\]")
_FIELD: Final = re.compile(r"field `([^`]*)`")
_TYPES: Final = {
    "str": ("must be text", 'text in quotes, "..."'),
    "int": ("must be a whole number", "a whole number, without quotes"),
    "float": ("must be a number", "a number, without quotes"),
    "bool": ("must be true or false", "true or false, without quotes"),
    "array": ("must be a list", '["...", "..."]'),
    "object": ("must be a table", "{ ... = ... }"),
}
"""What msgspec calls a type, said to an operator: what is wrong, what would be right."""

S = TypeVar("S", bound=msgspec.Struct)


def load_config(path: Path | str, *, text: str | None = None, base: Path | None = None) -> Config:
    """Read and check a configuration; `text` stands for the file's content where it has been read already.

    Raises ConfigFaults, also where the file cannot be read.
    """
    file = str(path)
    if text is None:
        try:
            text = read_toml_text(Path(path))
        except TextFault as fault:
            raise ConfigFaults([ConfigFault(file, fault.line or None, "", fault.problem, "", fault.remedy)]) from None
    try:
        content, twice = read_toml(text)
    except TextFault as fault:
        raise ConfigFaults([ConfigFault(file, fault.line or None, "", fault.problem, "", fault.remedy)]) from None
    report = Report(file, key_lines(text))
    report.faults += [ConfigFault(file, fault.line or None, "", fault.problem, "", fault.remedy) for fault in twice]
    if twice:
        content = {key: value for key, value in content.items() if not key.startswith(SPARE)}
    tables = _decode(content, report)
    config = Config(file=file, base=Path(path).parent.absolute() if base is None else base, text=text, **tables)
    check(config, report)
    if report.faults:
        rest = msgspec.structs.replace(config, trunk=(*config.trunk, *_named(content, config)))
        raise ConfigFaults(in_order(report.faults), rest)
    return msgspec.structs.replace(config, warnings=tuple(sorted(report.warnings, key=lambda warning: warning.line or 0)))


def _named(content: dict[str, Any], config: Config) -> list[Trunk]:
    """Stand-ins for trunks that could not be decoded: lists name them all the same."""
    tables = content.get("trunk")
    found = {}
    for table in tables if isinstance(tables, list) else ():
        if isinstance(table, dict) and isinstance(name := table.get("id"), str) and name not in config.trunks:
            customer = table.get("customer")
            found[name] = Trunk(id=name, kind="enterprise", customer=customer if isinstance(customer, str) else "")
    return list(found.values())


def _decode(content: dict[str, Any], report: Report) -> dict[str, Any]:
    """The tables that could be decoded, by field of Config; what could not is left out and noted."""
    tables: dict[str, Any] = {}
    for name, value in content.items():
        if report.full:
            break
        if name in _ONE:
            if not isinstance(value, dict):
                report.fault((name,), "is a table", value, f"a heading [{name}]")
                report.incomplete.add(name)
                continue
            table = _convert(value, _ONE[name], (name,), report)
            if table is None:
                report.incomplete.add(name)
            else:
                tables[name] = table
        elif name in _MANY:
            if not isinstance(value, list) or not all(isinstance(item, dict) for item in value):
                report.fault((name,), "there can be several of these", "", f"a heading [[{name}]] for each")
                report.incomplete.add(name)
                continue
            made = [(index, _convert(item, _MANY[name], (name, index), report)) for index, item in enumerate(value)]
            tables[name] = tuple(item for _, item in made if item is not None)
            report.places[name] = [index for index, item in made if item is not None]
            if len(report.places[name]) < len(value):
                report.incomplete.add(name)
        else:
            report.fault((name,), "unknown table", "", _nearest(name, [*_ONE, *_MANY]))
    return tables


def _convert(value: dict[str, Any], kind: type[S], at: KeyPath, report: Report) -> S | None:
    """One table; each fault is noted and its key taken out, so that the next one shows too and what is left can still be judged."""
    rest = dict(value)
    while not report.full:
        try:
            return msgspec.convert(rest, kind, dec_hook=_special)
        except msgspec.ValidationError as error:
            key = _note(str(error), rest, kind, at, report)
            required = kind.__struct_fields__[: len(kind.__struct_fields__) - len(kind.__struct_defaults__)]
            if key is None or key in required:
                return None
            del rest[key]
    return None


def _note(text: str, value: dict[str, Any], kind: type[msgspec.Struct], at: KeyPath, report: Report) -> str | None:
    """Turn one msgspec message into a fault; the key to leave out on the next try, None where there is none."""
    field = _FIELD.search(text)
    if field and "unknown field" in text:
        report.fault((*at, field[1]), "unknown key", "", _nearest(field[1], list(kind.__struct_fields__)))
        return field[1]
    if field and "missing required field" in text:
        report.fault(at, f"{field[1]} is missing", "", f'{field[1]} = "..."')
        return None
    place = _PLACE.search(text)
    steps: KeyPath = tuple(int(index) if index else name for name, index in _STEP.findall(place[1])) if place else ()
    if not steps:
        report.fault(at, text)
        return None
    found: Any = value
    for step in steps:
        found = found[step]
    key = str(steps[0])
    what = text[: place.start()] if place else text
    report.fault((*at, *steps), *_in_words(what, found, get_type_hints(kind)[key]))
    return key


def _in_words(what: str, found: object, hint: Any) -> tuple[str, object, str]:
    """A msgspec message in an operator's words: message, value, remedy."""
    if what.startswith("Invalid enum value"):
        if found == "tls":
            what = "TLS is not in this version"
        else:
            what = "not one of the values allowed"
        return what, found, "one of " + ", ".join(f'"{choice}"' for choice in _choices(hint))
    expected = re.match(r"Expected `([a-z]+)(?: \| null)?`", what)
    if expected and expected[1] in _TYPES:
        wrong, right = _TYPES[expected[1]]
        return wrong, found, right
    message, _, remedy = what.partition(" | ")
    return message, found, remedy


def _choices(hint: Any) -> list[str]:
    """The values of the first Literal within a type."""
    if get_origin(hint) is Literal:
        return [str(choice) for choice in get_args(hint)]
    for part in get_args(hint):
        found = _choices(part)
        if found:
            return found
    return []


def _special(kind: type, value: object) -> object:
    if kind is Duration:
        return Duration.parse(value)
    if kind is Size:
        return Size.parse(value)
    raise NotImplementedError(kind)


def _nearest(name: str, known: Sequence[str]) -> str:
    close = get_close_matches(name, known, 1)
    return f"did you mean {close[0]}?" if close else "one of " + ", ".join(sorted(known))


def pack(config: Config) -> bytes:
    """A checked configuration as bytes that `unpack` reads far faster than the file."""
    encode = msgspec.msgpack.Encoder(enc_hook=_plain).encode
    parts = [encode(msgspec.structs.replace(config, trunk=()))]
    parts += [encode(config.trunk[start : start + _TOGETHER]) for start in range(0, len(config.trunk), _TOGETHER)]
    return encode(parts)


def unpack(data: bytes) -> Config:
    """What `pack` wrote."""
    rest, *trunks = msgspec.msgpack.decode(data, type=list[bytes])
    config = msgspec.msgpack.decode(rest, type=Config, dec_hook=_typed)
    decoder = msgspec.msgpack.Decoder(tuple[Trunk, ...], dec_hook=_typed)
    return msgspec.structs.replace(config, trunk=tuple([trunk for part in trunks for trunk in decoder.decode(part)]))


def _plain(value: object) -> object:
    if isinstance(value, Path):
        return str(value)
    if isinstance(value, Duration):
        return float(value)
    if isinstance(value, Size):
        return int(value)
    raise NotImplementedError(type(value))


def _typed(kind: type, value: Any) -> object:
    if kind in (Path, Duration, Size):
        return kind(value)
    raise NotImplementedError(kind)
