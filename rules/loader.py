"""policy.toml to a RuleSet. Everything wrong with a text is found and said at once; nothing is half loaded."""

from __future__ import annotations

import difflib
import hashlib
import re
import tomllib
from collections.abc import Mapping
from importlib.metadata import EntryPoint
from importlib.resources import files
from pathlib import Path
from typing import Any, cast, get_args

import msgspec

from rules.builtin.emergency import Emergency
from rules.builtin.forwarding import Forwarding
from rules.builtin.identity import Identity
from rules.builtin.intercept import Intercept
from rules.builtin.international import International
from rules.builtin.label import Label
from rules.builtin.marketing import Marketing
from rules.builtin.own_number import OwnNumber
from rules.builtin.passport import PassportRule
from rules.builtin.privacy import Privacy
from rules.builtin.purpose import Purpose
from rules.builtin.regular import Regular
from rules.builtin.segments import Segments
from rules.builtin.trunk import TrunkRule
from rules.call import Trunk
from rules.codes import ReasonCode, reason_codes
from rules.directory import Directory
from rules.document import Document, Read, read_document, reader
from rules.faults import FAULTS_PER_FILE, PolicyFault, PolicyFaults, PolicyWarning, in_order, shown
from rules.rule import OnError, Rule
from rules.ruleset import BoundRule, RuleAction, RuleMode, RuleSet
from rules.text_file import SPARE, TextFault, read_toml
from rules.third_party import Unusable, attempt, load_rule, offered, own_codes
from rules.toml_lines import Path as KeyPath
from rules.toml_lines import key_lines, line_of

BUILTIN: dict[str, type[Rule]] = {
    rule.name: cast("type[Rule]", rule)
    for rule in (
        Emergency,
        TrunkRule,
        Intercept,
        Privacy,
        Identity,
        International,
        Regular,
        OwnNumber,
        Forwarding,
        Segments,
        Purpose,
        Marketing,
        PassportRule,
        Label,
    )
}
"""The rules of this package by name, in the order of policy.md."""

FIXED = ("emergency", "trunk")
"""Rules that a policy can neither leave out nor soften."""

INSTALL = "a rule of another package is known once the package is installed beside this one"

ORDER_AT_MOST = 200
"""Rules that one policy may order."""

MODES: tuple[str, ...] = get_args(RuleMode)
ON_ERROR: tuple[str, ...] = get_args(OnError)
ACTIONS: tuple[str, ...] = get_args(RuleAction)

EVERY_RULE = ("mode", "on_error", "action", "redirect_to")
"""Keys that the table of every rule may have but those of FIXED."""

_TARGET = re.compile(
    r"sips?:(?:[A-Za-z0-9\-_.!~*'()&=+$,;?/%]+@)?(?:[A-Za-z0-9][A-Za-z0-9.\-]*|\[[0-9A-Fa-f:.]+\])(?::[0-9]{1,5})?(?:;[A-Za-z0-9\-_.!~*'()%=]+)*"
    r"|tel:\+?[0-9*#\-.()]+(?:;[A-Za-z0-9\-_.!~*'()%=+]+)*"
)
_TARGET_LONGEST = 256

_PLACE = re.compile(r" - at `\$\.?([^`]*)`")


def default_policy() -> str:
    """The text of the packaged policy."""
    return files("rules").joinpath("default.toml").read_text(encoding="utf-8")


def load_policy(text: str | None, *, file: str, directory: Directory, trunks: Mapping[str, Trunk], read: Read | None = None) -> RuleSet:
    """Bind the rules that a policy.toml orders to a directory; `text` None: the packaged policy.

    `file` is the name that faults carry. `trunks` are looked at for warnings only (a policy judges calls of trunks it has not seen, too).
    `read` gives the files that settings name; without it they are read from the policy file's folder. Raises PolicyFaults.
    `RuleSet.policy_version` is made of the text alone: the first 12 hexadecimal digits of its SHA-256.
    """
    if text is None:
        text, file = default_policy(), "rules/default.toml"
    try:
        document, twice = read_toml(text)
    except TextFault as fault:
        raise PolicyFaults([PolicyFault(file, fault.line or None, "", fault.problem, "", fault.remedy)]) from None
    reading = _Reading(file, key_lines(text), directory, read or reader(Path(file).parent))
    reading.faults += [PolicyFault(file, fault.line or None, "", fault.problem, "", fault.remedy) for fault in twice]
    rules = reading.read({key: value for key, value in document.items() if not key.startswith(SPARE)} if twice else document)
    if reading.faults:
        raise PolicyFaults(in_order(reading.faults))
    checked = directory.has_roaming or "roaming" in directory.services
    if not checked and (international := [trunk.id for trunk in trunks.values() if trunk.kind == "international"]):
        reading.warn((), f"no roaming check is configured: +86 mobiles on {', '.join(international)} get what `roaming_failure` says")
    if directory.marketing and not directory.has_consent:
        reading.warn((), f"no consent is configured: every marketing call of {', '.join(sorted(directory.marketing))} is MKT_NO_CONSENT")
    strict = [trunk.id for trunk in trunks.values() if trunk.identity in ("reject", "require") and trunk.kind != "core"]
    if strict and not document.get("rules", {}).get("passport", {}).get("roots"):
        reading.warn((), f"no roots of passport are configured: no Identity on {', '.join(strict)} can be verified, and each is refused")
    if not document:
        reading.warn((), "nothing is set: this is the packaged policy")
    version = hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:12]
    return RuleSet(rules, directory, version, tuple(reading.warnings), reading.codes)


class _Reading:
    """One pass over a document, collecting what is wrong."""

    def __init__(self, file: str, lines: dict[KeyPath, int], directory: Directory, read: Read) -> None:
        self.file = file
        self.lines = lines
        self.directory = directory
        self.read_file = read
        self.faults: list[PolicyFault] = []
        self.full = False  # there is no use in looking on
        self.warnings: list[PolicyWarning] = []
        self.codes: dict[str, ReasonCode] = {}  # of third-party rules

    def fault(self, path: KeyPath, message: str, remedy: str, value: object = None) -> None:
        if len(self.faults) < FAULTS_PER_FILE:
            said = "" if value is None else shown(repr(value))
            self.faults.append(PolicyFault(self.file, line_of(self.lines, path), key_text(path), message, said, remedy))
        elif not self.full:
            self.full = True
            self.faults.append(PolicyFault(self.file, None, "", f"more than {FAULTS_PER_FILE} faults", "", "the others are not shown"))

    def warn(self, path: KeyPath, message: str) -> None:
        self.warnings.append(PolicyWarning(self.file, line_of(self.lines, path), key_text(path), message))

    def read(self, document: dict[str, Any]) -> tuple[BoundRule, ...]:
        for key in document:
            if self.full:
                break
            if key not in ("order", "rules"):
                self.fault((key,), "unknown key", f"a policy has `order` and tables [rules.NAME]{suggest(key, ('order', 'rules'))}")
        tables = document.get("rules", {})
        if not isinstance(tables, dict):
            self.fault(("rules",), "not a table", "write [rules.NAME] and its settings below", tables)
            tables = {}
        order = self.order(document.get("order"))
        rules: list[BoundRule] = []
        others = offered() if any(name not in BUILTIN for name in (*order, *tables)) else {}
        known = (*BUILTIN, *[name for name in others if name not in BUILTIN])
        for position, name in enumerate(order):
            path: KeyPath = ("order", position)
            if self.full:
                break
            if name not in known:
                self.fault(path, "unknown rule", f"known rules: {', '.join(known)}{suggest(name, known)}; {INSTALL}", name)
                continue
            try:
                rule = BUILTIN[name]() if name in BUILTIN else self.third_party(name, others[name])
            except Unusable as unusable:
                self.fault(path, str(unusable), "mend or reinstall the package, or take the rule out of `order`", name)
                continue
            bound = self.bind(name, rule, tables.get(name, {}), path)
            if bound is not None:
                rules.append(bound)
        for name in tables:
            if self.full:
                break
            if name in order:
                continue
            if name not in known:
                self.fault(("rules", name), "unknown rule", f"known rules: {', '.join(known)}{suggest(name, known)}; {INSTALL}")
            else:
                self.warn(("rules", name), "has no effect: the rule is not in `order`")
        label = tables.get("label")
        if isinstance(label, dict) and isinstance(label.get("weights"), dict):
            self.weights(label["weights"], strangers=any(rule.name not in BUILTIN for rule in rules))
        return tuple(rules)

    def third_party(self, name: str, points: list[EntryPoint]) -> Rule:
        """Load a rule of another package and take in what its codes mean. Raises Unusable."""
        rule = load_rule(name, points)
        codes = own_codes(rule)
        twice = [code for code in codes if code in self.codes]
        if twice:
            raise Unusable(f"its codes explain {', '.join(twice)}, as those of another rule in `order` do")
        self.codes |= codes
        return rule

    def weights(self, weights: dict[str, Any], *, strangers: bool) -> None:
        """Warn of marks that no rule gives. `strangers`: a third party's rule is in `order`, which may give any but those it explains."""
        known = (*reason_codes(), *self.codes)
        for code in weights:
            if code in known:
                continue
            meant = suggest(code, known, cutoff=0.8) or suggest(code.upper(), known, cutoff=0.8)
            ours = code.partition("_")[0] in {name.partition("_")[0] for name in reason_codes() if "_" in name}
            if meant or ours or not strangers:
                self.warn(("rules", "label", "weights", code), f"has no effect: no rule gives this mark{meant}")

    def order(self, value: object) -> list[str]:
        """The names in `order` that can be gone on with; without the key, the packaged order."""
        if value is None:
            return list(tomllib.loads(default_policy())["order"])
        if not isinstance(value, list):
            self.fault(("order",), "not a list", 'write order = ["emergency", "trunk", ...]', value)
            return []
        order: list[str] = []
        if len(value) > ORDER_AT_MOST:
            self.fault(("order",), f"{len(value)} names", f"at most {ORDER_AT_MOST}")
            return []
        for position, name in enumerate(value):
            if not isinstance(name, str):
                self.fault(("order", position), "not a rule's name", "write names in quotes", name)
            elif name in order:
                self.fault(("order", position), "named twice", "a rule has one position", name)
                order.append("")  # keeps positions; never a rule's name
            else:
                order.append(name)
        names = [name for name in order if name]
        if not names or names[0] != "emergency":
            place: KeyPath = ("order", 0) if names else ("order",)
            self.fault(place, "emergency is not first", 'put "emergency" first: nothing may stand before it')
        for name in BUILTIN:
            if name in names or name == "emergency":
                continue
            if name in FIXED:
                self.fault(("order",), f"{name} is missing", f'put "{name}" into `order`: it cannot be left out')
            else:
                self.warn(("order",), f"the built-in rule {name} is not in it and judges no call")
        if "label" in names and names[-1] != "label":
            unweighed = ", ".join(names[names.index("label") + 1 :])
            self.warn(("order", order.index("label")), f"label is not last: the marks of {unweighed} weigh nothing")
        return names

    def bind(self, name: str, rule: Rule, table: object, place: KeyPath) -> BoundRule | None:
        """One rule with its settings; None where a fault was found."""
        path: KeyPath = ("rules", name)
        if not isinstance(table, dict):
            self.fault(path, "not a table", f"write [rules.{name}] and its settings below", table)
            return None
        before = len(self.faults)
        settings = dict(table)
        fixed = name in FIXED
        mode = self.choice(path, settings, "mode", MODES, "enforce", fixed)
        on_error = self.choice(path, settings, "on_error", ON_ERROR, getattr(rule, "on_error", "mark"), fixed)
        action, redirect_to = "reject", ""
        if "action" not in rule.Config.__struct_fields__:  # a rule of a third party may have a setting of that name
            action = self.choice(path, settings, "action", ACTIONS, "reject", fixed)
            redirect_to = self.redirect_to(path, settings, action, fixed)
        config = self.config(path, rule.Config, settings)
        if config is None or len(self.faults) > before:
            return None
        try:
            check = attempt(lambda: rule.bind(config, self.directory), "cannot be bound")
            if not callable(check):
                raise Unusable(f"its bind gives {check!r}, which cannot be called")
        except Unusable as unusable:
            at = path if path in self.lines else place
            self.fault(at, str(unusable), "see the rule's own documentation for its settings", name)
            return None
        return BoundRule(
            name,
            check,
            mode=cast(RuleMode, mode),
            on_error=cast(OnError, on_error),
            fixed=fixed,
            kinds=getattr(rule, "kinds", None),
            quiet=getattr(rule, "quiet", ""),
            action=cast(RuleAction, action),
            redirect_to=redirect_to,
            silent=name in BUILTIN,
        )

    def choice(self, path: KeyPath, settings: dict[str, Any], key: str, values: tuple[str, ...], default: str, fixed: bool) -> str:
        """Take one of the keys that every rule has out of its settings."""
        if key not in settings:
            return default
        value = settings.pop(key)
        if fixed:
            self.fault((*path, key), f"{path[-1]} has no {key}", "take the key out: this rule is always enforced", value)
        elif value not in values:
            self.fault((*path, key), "no such value", f"one of {', '.join(repr(known) for known in values)}", value)
        else:
            return str(value)
        return default

    def redirect_to(self, path: KeyPath, settings: dict[str, Any], action: str, fixed: bool) -> str:
        """Take the URI that a rule sends callers to out of its settings; "" where there is none."""
        remedy = 'redirect_to = "sip:announcement@192.0.2.9"'
        key: KeyPath = (*path, "redirect_to")
        if "redirect_to" not in settings:
            if action == "redirect":
                self.fault((*path, "action"), "redirects, and redirect_to is missing", remedy, action)
            return ""
        value = settings.pop("redirect_to")
        if fixed:
            self.fault(key, f"{path[-1]} has no redirect_to", "take the key out: this rule redirects nobody", value)
        elif not isinstance(value, str) or len(value) > _TARGET_LONGEST or not _TARGET.fullmatch(value):
            self.fault(key, "not a SIP or tel URI", f"a URI without <> and header fields: {remedy}", value)
        elif action != "redirect":
            self.warn(key, 'has no effect without action = "redirect"')
        else:
            return value
        return ""

    def config(self, path: KeyPath, type_: type[msgspec.Struct], settings: dict[str, Any]) -> msgspec.Struct | None:
        """A rule's own settings, unknown keys refused."""
        known = type_.__struct_encode_fields__
        unknown = [key for key in settings if key not in known]
        for key in unknown:
            if self.full:
                break
            every = (*EVERY_RULE, *known) if path[-1] not in FIXED else tuple(known)
            remedy = f"it has: {', '.join(every)}{suggest(key, every)}" if every else "it has no settings"
            self.fault((*path, key), "unknown key", remedy, settings[key])
        if unknown:
            return None
        try:
            return msgspec.convert(settings, type_, dec_hook=self.parsed)
        except msgspec.ValidationError as error:
            message = str(error)
            found = _PLACE.search(message)
            inner = tuple(int(part) if part.isdigit() else part for part in re.findall(r"[^.\[\]]+", found[1])) if found else ()
            if found and found[1].endswith("[...]") and len(inner) == 1:
                inner = (*inner, self.refused_key(settings, str(inner[0]), type_))
            value: Any = settings
            for part in inner:
                try:
                    value = value[part]
                except (LookupError, TypeError):
                    break
            what, _, remedy = _PLACE.sub("", message).partition(" | ")
            self.fault((*path, *inner), what, remedy or "see the rule's settings", value)
            return None

    def parsed(self, kind: type, value: object) -> object:
        """A setting that names a file, or of a type with a class method `parse`, which raises ValueError ("what is wrong | what would be
        right").
        """
        if issubclass(kind, Document):
            return read_document(kind, value, self.read_file)
        parse = getattr(kind, "parse", None)
        if parse is None:
            raise NotImplementedError(kind)
        return parse(value)

    def refused_key(self, settings: dict[str, Any], name: str, type_: type[msgspec.Struct]) -> str:
        """Which key of a table within the settings was refused: msgspec does not say."""
        for key, value in settings[name].items():
            try:
                msgspec.convert({**settings, name: {key: value}}, type_, dec_hook=self.parsed)
            except msgspec.ValidationError as error:
                if f"$.{name}[...]" in str(error):
                    return str(key)
        raise AssertionError(f"{name} was refused, and none of its keys is")


def key_text(path: KeyPath) -> str:
    """How a fault names a key: `rules.intercept.mode`, `order[3]`."""
    return "".join(f"[{part}]" if isinstance(part, int) else f".{shown(part)}" for part in path).lstrip(".")


def suggest(word: str, known: tuple[str, ...], *, cutoff: float = 0.6) -> str:
    """What the writer may have meant; `cutoff`: how alike it must be, from 0 to 1."""
    close = difflib.get_close_matches(word, known, n=1, cutoff=cutoff)
    return f"; did you mean {close[0]!r}?" if close else ""
