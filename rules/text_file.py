"""Files that people write (policy, configuration, lists) as text; what else may stand under their names is said with line and remedy."""

from __future__ import annotations

import os
import re
import stat
import tomllib
from codecs import BOM_UTF8
from pathlib import Path
from re import DOTALL, VERBOSE
from re import compile as pattern
from typing import Any, Final

from rules.faults import shown
from rules.toml_lines import error_line

HEAD: Final = 4096
"""Octets that are looked at before the rest is read."""
PART: Final = 1 << 30
"""Octets that are read at once; Linux reads no more than 2 GiB."""

TOML_AT_MOST: Final = 32 << 20
TOML_LINE: Final = 1 << 20
"""Octets of a TOML file, and of one of its lines: ten thousand trunks take 3 MiB."""

DEEPEST: Final = 16
"""Tables and lists within each other, or names in a dotted key: more than any key of ours has, far less than a parser's recursion bears."""

_UTF16: Final = (b"\xff\xfe", b"\xfe\xff")
_TOKEN: Final = pattern(
    r"""
    \"\"\" [^"\\]* (?: (?: \\. | "(?!"") ) [^"\\]* )* \"\"\" "{0,2}
    | \'\'\' .*? \'\'\' '{0,2}
    | (?!\"\"\") " [^"\\\n]* (?: \\[^\n] [^"\\\n]* )* "
    | (?!\'\'\') ' [^'\n]* '
    | (?P<open> \"\"\" .* | \'\'\' .* | " [^\n]* | ' [^\n]* )
    | \# [^\n]*
    | [\[\]{}.,=\n]
    | [A-Za-z0-9_-]+
    """,
    DOTALL | VERBOSE,
)
"""What matters for where brackets and dots stand; every sign is looked at twice at the most, whatever the text."""


class TextFault(Exception):
    """Why a file cannot be read as what it should be; `line` 0: the whole file."""

    def __init__(self, problem: str, remedy: str, line: int = 0) -> None:
        super().__init__(problem, remedy, line)
        self.problem = problem
        self.remedy = remedy
        self.line = line


def read_file(path: Path, most: int) -> bytes:
    """The content of a regular file of at most `most` octets, as one moment saw it.

    Raises TextFault: also for what would never end (a pipe, a device), for a file that changes while it is read, and, before the rest is
    read, for one that begins with NUL octets.
    """
    try:
        # A pipe that nobody writes to would keep us waiting for ever.
        handle = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOCTTY)
    except ValueError:
        raise TextFault("a NUL octet in its name", "write the name of a file") from None
    except OSError as error:
        raise TextFault(error.strerror or str(error), "check its name and its permissions") from None
    try:
        before = os.fstat(handle)
        if not stat.S_ISREG(before.st_mode):
            what = "a folder" if stat.S_ISDIR(before.st_mode) else "a pipe or a device"
            raise TextFault(f"{what}, not a file", "name a file")
        if before.st_size > most:
            raise TextFault(f"{before.st_size} octets, more than {most}", "is it the right file?")
        refuse_binary(os.pread(handle, HEAD, 0))
        parts: list[bytes] = []
        size = 0
        # In one piece, and one octet more than there should be: joining pieces would take the memory of a list twice.
        while size <= before.st_size and (part := os.read(handle, min(PART, before.st_size - size + 1))):
            parts.append(part)
            size += len(part)
        after = os.fstat(handle)
    except OSError as error:
        raise TextFault(error.strerror or str(error), "check its name and its permissions") from None
    finally:
        os.close(handle)
    if size != before.st_size or (after.st_size, after.st_mtime_ns) != (before.st_size, before.st_mtime_ns):
        raise TextFault("it changed while it was read", "write a new file beside it and rename that, or try again")
    return b"".join(parts)


def refuse_binary(data: bytes) -> None:
    """Raise TextFault for octets that no UTF-8 text has: NUL, or the mark of UTF-16."""
    if data.startswith(_UTF16):
        raise TextFault("UTF-16 text, not UTF-8", "save the file as UTF-8", 1)
    at = data.find(b"\0")
    if at >= 0:
        raise TextFault("a NUL octet: no text, or not UTF-8", "save the file as UTF-8 text", data.count(b"\n", 0, at) + 1)


def check_text(data: bytes, longest: int) -> None:
    """Raise TextFault where this is no UTF-8 text with lines of at most `longest` octets that end in LF or CRLF."""
    refuse_binary(data)
    if b"\r" in data and b"\n" not in data:
        raise TextFault("its lines end in CR alone", "save it with line ends LF or CRLF", 1)
    start = 0
    while len(data) - start > longest:
        end = data.rfind(b"\n", start, start + longest + 1)
        if end < 0:
            line = data.count(b"\n", 0, start) + 1
            raise TextFault(f"a line of more than {longest} octets", "is it the right file? a line end is missing", line)
        start = end + 1
    if data.startswith(BOM_UTF8):
        raise TextFault("begins with a byte order mark", "save it as UTF-8 without one (in an editor: 'UTF-8', not 'UTF-8 with BOM')", 1)


def not_utf8(error: UnicodeDecodeError) -> TextFault:
    """What a failed decoding is: its line, and which encoding it may be."""
    data = error.object
    line = data.count(b"\n", 0, error.start) + 1
    begin = data.rfind(b"\n", 0, error.start) + 1
    sample = data[begin : min(len(data), begin + HEAD)].partition(b"\n")[0]
    try:
        sample.decode("gb18030")
    except UnicodeDecodeError:
        return TextFault("not UTF-8", "save the file as UTF-8", line)
    return TextFault("not UTF-8, perhaps GBK", "save the file as UTF-8", line)


def read_toml_text(path: Path) -> str:
    """The text of a TOML file. Raises TextFault."""
    data = read_file(path, TOML_AT_MOST)
    check_text(data, TOML_LINE)
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError as error:
        raise not_utf8(error) from None


def read_toml(text: str) -> tuple[dict[str, Any], list[TextFault]]:
    """The document, and what is wrong with it that need not keep the rest from being read: keys and tables that stand there twice.

    Raises TextFault as `parse_toml`.
    """
    faults: list[TextFault] = []
    lines = text.split("\n")
    while True:
        try:
            return parse_toml("\n".join(lines)), faults
        except TextFault as fault:
            twice = _twice(lines, fault) if len(faults) < TWICE_AT_MOST else None
            if twice is None:
                if faults:  # what could not be gone on with is not the only fault
                    return {}, [*faults, fault]
                raise
            faults.append(twice)
            lines[twice.line - 1] = f"[{SPARE}{twice.line}]" if lines[twice.line - 1].lstrip().startswith("[") else ""


def _twice(lines: list[str], fault: TextFault) -> TextFault | None:
    """The fault with the name of what stands there twice and the line where it stood first; None where it is another one."""
    line = fault.line
    if not fault.problem.startswith(("not valid TOML: Cannot overwrite", "not valid TOML: Cannot declare", "not valid TOML: Duplicate")):
        return None
    if not 0 < line <= len(lines):
        return None
    text = lines[line - 1].strip()
    if text.startswith("["):
        name = text.partition("]")[0].strip("[ ")
        before = [at for at, other in enumerate(lines[: line - 1], 1) if other.strip().partition("]")[0].strip("[ ") == name]
        what = f"[{name}]"
    else:
        found = re.match(r"([A-Za-z0-9_-]+)\s*=", text)
        if found is None or text.count('"""') % 2 or text.count("'''") % 2 or text.count("[") != text.count("]"):
            return None  # a value of several lines: what is left of it would be no TOML
        what = found[1]
        table = max((at for at, other in enumerate(lines[: line - 1]) if other.lstrip().startswith("[")), default=-1)
        before = [at + 1 for at in range(table + 1, line - 1) if re.match(rf"\s*{re.escape(what)}\s*=", lines[at])]
    first = f" (first on line {before[0]})" if before else ""
    return TextFault(f"not valid TOML: {shown(what)} stands there twice{first}", _TOML_REMEDIES["Cannot"], line)


SPARE: Final = "_stood_there_twice_"
TWICE_AT_MOST: Final = 20
"""Keys and tables of one file that stand there twice, as far as they are told one by one."""


def parse_toml(text: str) -> dict[str, Any]:
    """The document. Raises TextFault for what is no TOML, and for what no recursion would bear."""
    line = _too_deep(text)
    if line:
        raise TextFault(f"nested more than {DEEPEST} deep", "no key of ours is: take it out", line)
    try:
        return tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        what = shown(str(error).rpartition(" (at ")[0])
        left_open = _left_open(text) if "end of document" in str(error) else None
        if left_open is not None:
            line, remedy = left_open
        else:
            line = error_line(str(error), text) or 0
            remedy = _TOML_REMEDIES.get(what.partition(" ")[0], "see toml.io for how values are written")
        raise TextFault(f"not valid TOML: {what}", remedy, line) from None
    except RecursionError:
        raise TextFault("not valid TOML: nested too deep", "no key of ours is") from None
    except ValueError:  # Python's own bound on the digits of a number, which tomllib lets through
        line = next(number for number, part in enumerate(text.split("\n"), 1) if _DIGITS.search(part))
        raise TextFault("a number of too many digits", "write a smaller one", line) from None


_DIGITS: Final = pattern(r"[0-9_]{4300}")
_TOML_REMEDIES: Final = {
    "Cannot": "each key and each [table] once; several tables of one kind have [[two brackets]]",
    "Invalid": 'a line is a [table], or key = value; text stands in quotes, "..."',
    "Unclosed": "close the bracket",
    "Unterminated": "close the quotation mark",
    "Expected": 'a line is a [table], or key = value; text stands in quotes, "..."',
    "Illegal": "take the sign out, or save the file with line ends LF or CRLF",
    "Duplicate": "each key once",
}
"""What would be right, by the first word of what tomllib says."""


def _too_deep(text: str) -> int:
    """The first line on which something is nested more than DEEPEST deep, 0 where nothing is."""
    line = 1
    open_brackets = dots = 0
    for token in _TOKEN.finditer(text):
        first = token[0][0]
        if first == ".":
            dots += 1
        elif first in "[{":
            open_brackets += 1
            dots = 0
        elif first in "]}":
            open_brackets -= 1
            dots = 0
        elif first in "=,#\n":
            dots = 0
        if open_brackets > DEEPEST or dots > DEEPEST:
            return line
        line += token[0].count("\n")
    return 0


def _left_open(text: str) -> tuple[int, str] | None:
    """Where a quotation mark or a bracket was opened that nothing closes: tomllib tells only that the text ends first."""
    opened: list[int] = []
    line = 1
    for token in _TOKEN.finditer(text):
        if token["open"] is not None:
            return line, "close the quotation mark"
        if token[0] in "[{":
            opened.append(line)
        elif token[0] in "]}" and opened:
            opened.pop()
        line += token[0].count("\n")
    return (opened[0], "close the bracket") if opened else None
