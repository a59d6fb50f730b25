"""Where the faults and warnings of one file are collected while it is read."""

from __future__ import annotations

from proxy.config.faults import ConfigFault, ConfigWarning
from rules.faults import FAULTS_PER_FILE, shown
from rules.toml_lines import Path as KeyPath
from rules.toml_lines import line_of


class Report:
    """Collects faults and warnings of one file; `at` is a key path such as ("trunk", 0, "sources")."""

    def __init__(self, file: str, lines: dict[KeyPath, int]) -> None:
        self.file = file
        self.lines = lines
        self.faults: list[ConfigFault] = []
        self.full = False  # there is no use in looking on
        self.warnings: list[ConfigWarning] = []
        self.incomplete: set[str] = set()  # tables of which a part could not be decoded, so that names in them may seem to be missing
        self.places: dict[str, list[int]] = {}  # which [[tables]] of a name could be decoded

    def fault(self, at: KeyPath, message: str, value: object = "", remedy: str = "") -> None:
        """Note what is wrong; a message "what | remedy" is taken apart."""
        if len(self.faults) >= FAULTS_PER_FILE:
            if not self.full:
                self.full = True
                self.faults.append(ConfigFault(self.file, None, "", f"more than {FAULTS_PER_FILE} faults", "", "the others are not shown"))
            return
        what, _, right = message.partition(" | ")
        self.faults.append(ConfigFault(self.file, line_of(self.lines, at), name_of(at), what, _shown(value), remedy or right))

    def warn(self, at: KeyPath, message: str) -> None:
        """Note what will not do as its writer may expect."""
        self.warnings.append(ConfigWarning(self.file, line_of(self.lines, at), name_of(at), message))

    def place(self, table: str, index: int) -> KeyPath:
        """Where the index-th decoded table of a name stands in the file."""
        return (table, self.places[table][index])

    def given(self, at: KeyPath) -> bool:
        """Whether the file sets this key itself."""
        return at in self.lines


def name_of(at: KeyPath) -> str:
    """A key path as an operator would write it: trunk[2].sources[0]; tables count from 1 as a reader does."""
    name = ""
    for step in at:
        name += f"[{step + 1}]" if isinstance(step, int) else f".{shown(step)}" if name else shown(step)
    return name


def _shown(value: object) -> str:
    """A value as the file has it, short."""
    if isinstance(value, str) and not value:
        return ""
    if isinstance(value, str):
        return value if value == '""' else f'"{shown(value)}"'
    return shown(str(value).lower() if isinstance(value, bool) else str(value))
