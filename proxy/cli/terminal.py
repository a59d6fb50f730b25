"""How the commands show things to people: a console, colours, reason codes in words, foreign text made harmless."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Final

from rich.console import Console
from rich.table import Table
from rich.text import Text

from proxy.report import printable as printable
from rules.codes import ReasonCode, reason_codes

ACTION_STYLE: Final = {"pass": "bold green", "reject": "bold red", "redirect": "bold yellow", "drop": "bold red"}
_UNTOLD: Final = ReasonCode(en="A code of a rule that is not built in.", zh="非内置规则的代码。")


PIPE_WIDTH: Final = 100
"""Columns where no terminal says how many there are."""


def console(*, stderr: bool = False) -> Console:
    """Standard output or standard error, without guessing at what is to be emphasised."""
    out = Console(highlight=False, emoji=False, markup=False, stderr=stderr)
    if not out.is_terminal and "COLUMNS" not in os.environ:
        out.width = PIPE_WIDTH
    return out


def in_words(code: str, codes: Mapping[str, ReasonCode] | None = None) -> ReasonCode:
    """A reason code's sentences, and what stands for them where a third party's rule does not explain it; `codes`: a RuleSet's."""
    return (reason_codes() if codes is None else codes).get(code) or _UNTOLD


def facts() -> Table:
    """A grid of names and values, one a line."""
    grid = Table.grid(padding=(0, 2))
    grid.add_column(style="dim", no_wrap=True)
    grid.add_column(overflow="fold")
    return grid


def explained(code: str, style: str, *, basis: bool = False, codes: Mapping[str, ReasonCode] | None = None) -> Text:
    """A code, its sentence in both languages, the law behind it where wanted and the remedy where there is one."""
    words = in_words(code, codes)
    text = Text.assemble((code, style), "  ", words.en, "\n", words.zh)
    if basis and words.basis:
        text.append(f"\nbasis: {words.basis}", "dim")
    if words.remedy:
        text.append(f"\n→ {words.remedy}", "cyan")
    if words.remedy_zh:
        text.append(f"\n→ {words.remedy_zh}", "cyan")
    return text
