"""Where things stand in a TOML text: key path to line number, so that a fault can name `file:line`.

`tomllib` gives values without places. The scanner here walks a text that `tomllib` has already accepted, so it does not check syntax again.
"""

from __future__ import annotations

import re
from typing import Final

Path = tuple[str | int, ...]

_BARE_KEY: Final = re.compile(r"[A-Za-z0-9_-]+")
_SCALAR: Final = re.compile(r"[^,\]}#\r\n]+")
_STRING_STOP: Final = re.compile(r"[\"'\\]")
_ERROR_PLACE: Final = re.compile(r"\(at line (\d+), column \d+\)")


def key_lines(text: str) -> dict[Path, int]:
    """The line (from 1) of every key, table header and array element of a valid TOML text.

    The path of the third `[[trunk]]` table's `sources` is `("trunk", 2, "sources")`; its second element has a further 1 at the end.
    """
    return _Scanner(text).scan()


def line_of(lines: dict[Path, int], path: Path) -> int | None:
    """The line of `path`, or of the nearest thing around it that has one."""
    for length in range(len(path), 0, -1):
        line = lines.get(path[:length])
        if line is not None:
            return line
    return None


def error_line(message: str, text: str) -> int | None:
    """The line that a `tomllib.TOMLDecodeError` message names; the last line where it says the end of the document."""
    found = _ERROR_PLACE.search(message)
    if found:
        return int(found[1])
    return text.count("\n") + 1 if "end of document" in message else None


class _Scanner:
    """One pass over a text; `self.at` is the position, `self.line` its line."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.at = 0
        self.line = 1
        self.lines: dict[Path, int] = {}
        self.counts: dict[Path, int] = {}  # how many [[tables]] a path has had

    def scan(self) -> dict[Path, int]:
        table: Path = ()
        while self._skip_blank():
            line = self.line
            if self.text.startswith("[[", self.at):
                self._move(2)
                name = self._resolve(self._dotted_key(), array=True)
                count = self.counts.get(name, 0)
                self.counts[name] = count + 1
                table = (*name, count)
                self._move(2)
                self.lines.setdefault(name, line)
                self.lines[table] = line
            elif self.text[self.at] == "[":
                self._move(1)
                table = self._resolve(self._dotted_key(), array=False)
                self._move(1)
                self.lines.setdefault(table, line)
            else:
                self._pair(table)
        return self.lines

    def _resolve(self, keys: tuple[str, ...], *, array: bool) -> Path:
        """The path that a header means: within an array of tables, its latest element."""
        path: Path = ()
        for position, key in enumerate(keys):
            path = (*path, key)
            if path in self.counts and not (array and position == len(keys) - 1):
                path = (*path, self.counts[path] - 1)
        return path

    def _pair(self, table: Path) -> None:
        line = self.line
        path = (*table, *self._dotted_key())
        for length in range(len(table) + 1, len(path) + 1):
            self.lines.setdefault(path[:length], line)
        self._move(1)  # the equals sign
        self._skip_space()
        self._value(path)

    def _value(self, path: Path) -> None:
        self.lines.setdefault(path, self.line)
        first = self.text[self.at]
        if first in "\"'":
            self._string(first)
        elif first == "[":
            self._move(1)
            index = 0
            while self._skip_blank() and self.text[self.at] != "]":
                if self.text[self.at] == ",":
                    self._move(1)
                    continue
                self._value((*path, index))
                index += 1
            self._move(1)
        elif first == "{":
            self._move(1)
            while self._skip_blank() and self.text[self.at] != "}":
                if self.text[self.at] == ",":
                    self._move(1)
                    continue
                self._pair(path)
            self._move(1)
        else:
            scalar = _SCALAR.match(self.text, self.at)
            self._move(scalar.end() - self.at if scalar else 1)

    def _string(self, quote: str) -> str:
        """Move past a string of any of the four kinds; the raw text between the quotes."""
        long = self.text.startswith(quote * 3, self.at)
        end = quote * 3 if long else quote
        self._move(len(end))
        start = self.at
        while not self.text.startswith(end, self.at):
            if self.text[self.at] == "\\" and quote == '"':
                self._move(2)
                continue
            stop = _STRING_STOP.search(self.text, self.at + 1)
            self._move((stop.start() if stop else len(self.text)) - self.at)
        if long:  # up to two quotes may stand before the closing three
            while self.text.startswith(quote, self.at + 3):
                self._move(1)
        raw = self.text[start : self.at]
        self._move(len(end))
        return raw

    def _dotted_key(self) -> tuple[str, ...]:
        keys: list[str] = []
        while True:
            self._skip_space()
            if self.text[self.at] in "\"'":
                keys.append(self._string(self.text[self.at]))
            else:
                bare = _BARE_KEY.match(self.text, self.at)
                keys.append(bare[0] if bare else "")
                self._move(len(keys[-1]))
            self._skip_space()
            if self.text[self.at] != ".":
                return tuple(keys)
            self._move(1)

    def _skip_space(self) -> None:
        while self.at < len(self.text) and self.text[self.at] in " \t":
            self.at += 1

    def _skip_blank(self) -> bool:
        """Move past white space, line ends and comments; False at the end of the text."""
        while self.at < len(self.text):
            character = self.text[self.at]
            if character == "#":
                end = self.text.find("\n", self.at)
                self.at = len(self.text) if end < 0 else end
            elif character in " \t\r\n":
                self._move(1)
            else:
                return True
        return False

    def _move(self, count: int) -> None:
        self.line += self.text.count("\n", self.at, self.at + count)
        self.at += count
