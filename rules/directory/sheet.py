"""A CSV file as people and spreadsheets save it, row by row.

UTF-8 without a byte order mark, LF or CRLF, lines of 64 KiB at most; the first row that is no comment names the columns, in any
order; lines that are blank (also as a spreadsheet writes them: `,,,`) or begin with `#` are skipped; cells are trimmed; missing trailing
cells are empty. One line is one row: a quoted cell that runs over a line end is a fault, so that a lost quotation mark cannot swallow the
rest of the list unseen.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Iterator
from operator import itemgetter
from pathlib import Path
from typing import Any, Final

from rules.directory.fault import FaultLog
from rules.text_file import TextFault, check_text, not_utf8, read_file

OCTETS_AT_MOST: Final = 4 << 30
"""Of one file: several times what ten million rows of an intercept list take."""
LINE_AT_MOST: Final = 1 << 16
COLUMNS_AT_MOST: Final = 200

_BLANKS = " \t\u00a0\u3000"  # the last two: no-break and ideographic space
_PADDING = tuple([mark.encode() for mark in (", ", " ,", "\n ", " \n", " \r", '" ', ' "', "\t", "\u00a0", "\u3000")])

Row = tuple[int, tuple[str, ...]]


def read_sheet(path: Path, file: str, log: FaultLog) -> bytes | None:
    """The file's content, or None and a fault. `file` is the name that messages use."""
    try:
        return read_file(path, OCTETS_AT_MOST)
    except TextFault as fault:
        cannot = "" if fault.line else "cannot be read: "
        log.fault(file, fault.line, "", "", cannot + fault.problem, fault.remedy)
        return None


def sheet_rows(data: bytes, file: str, columns: tuple[str, ...], required: int, log: FaultLog, *, more: bool = False) -> Iterator[Row]:
    """Yield (line number, cells in the order of `columns`) for every row; faults go to `log`.

    The first `required` columns must be in the header row. Unknown columns are a fault unless `more` (then they are not looked at).
    """
    try:
        check_text(data, LINE_AT_MOST)
        if not data.isascii():
            data.decode("utf-8")  # whole, and not kept: of ten million rows it is some GiB
    except UnicodeDecodeError as error:
        fault = not_utf8(error)
        log.fault(file, fault.line, "", "", fault.problem, "save the sheet as 'CSV UTF-8'")
        return
    except TextFault as fault:
        log.fault(file, fault.line, "", "", fault.problem, fault.remedy)
        return
    trim = _padded(data)
    comments = b"#" in data
    lines: Iterator[str] = io.TextIOWrapper(io.BytesIO(data), "utf-8", newline="\n")
    if comments:
        lines = ("\n" if line.startswith("#") else line for line in lines)
    reader = csv.reader(lines, strict=True)
    header: list[str] | None = None
    width = 0
    pick: Callable[[list[str]], Any] = tuple
    previous = 0
    while True:
        try:
            row = next(reader, None)
        except csv.Error as error:
            if log.full(file):
                return
            what, remedy = f"not a CSV row ({error})", 'quote a cell with a comma or a quotation mark "like ""this"""'
            if "new-line" in str(error):
                what, remedy = "a line end of CR alone", "save the sheet with line ends LF or CRLF"
            elif "field limit" in str(error):  # longer than any line may be
                what, remedy = "a quoted cell runs over the end of its line", "close the quotation mark"
            log.fault(file, previous + 1, "", "", what, remedy)
            if reader.line_num > previous + 1:
                return  # an open quotation mark swallowed lines: what follows cannot be told apart
            previous = reader.line_num
            continue
        if row is None:
            break
        line = reader.line_num
        if line != previous + 1:
            log.fault(file, previous + 1, "", "", "a quoted cell runs over the end of its line", "close the quotation mark")
            return
        previous = line
        if not row:
            continue
        if trim:
            row = [cell.strip(_BLANKS) for cell in row]
        first = row[0]
        if first[:1] == "#" or not (first or any(row)):
            continue
        if header is None:
            header = [name.strip(_BLANKS).lower() for name in row]
            while header and not header[-1]:
                header.pop()
            positions = _positions(header, file, line, columns, required, log, more)
            if positions is None:
                return
            width = len(header)
            pick = itemgetter(*positions) if len(positions) > 1 else itemgetter(slice(positions[0], positions[0] + 1))
            continue
        if len(row) != width:
            if len(row) > width and any(row[width:]):
                log.fault(file, line, "", ",".join(row[width:]), f"more cells than the header's {width}", "quote a cell that holds a comma")
                if log.full(file):
                    return
                continue
            del row[width:]
            row.extend([""] * (width - len(row)))
        row.append("")
        yield line, tuple(pick(row))
        if log.faults and log.full(file):
            return
    if header is None:
        log.fault(file, 0, "", "", "no header row", f"begin with the line {','.join(columns)}")


def _padded(data: bytes) -> bool:
    """Whether some cell may begin or end with a blank; most files have none, and trimming a million rows for nothing takes a second."""
    return data[:1] in b" \t" or data[-1:] in b" \t" or any(mark in data for mark in _PADDING)


def _positions(
    header: list[str], file: str, line: int, columns: tuple[str, ...], required: int, log: FaultLog, more: bool
) -> list[int] | None:
    """Where each column stands in a row; absent ones point behind the row, where an empty cell is put. None after a fault."""
    good = True
    if len(header) > COLUMNS_AT_MOST:
        log.fault(file, line, "", "", f"a header of {len(header)} columns", f"the columns are {','.join(columns)}")
        return None
    for position, name in enumerate(header):
        if name in header[:position]:
            log.fault(file, line, name, name, "column named twice", "name each column once")
            good = False
        elif name not in columns and not more:
            hint = "separate columns by commas" if ";" in name or "\t" in name else f"the columns are {','.join(columns)}"
            log.fault(file, line, name, name, "unknown column", hint)
            good = False
    for name in columns[:required]:
        if name not in header:
            log.fault(file, line, name, "", "column is missing", f"the header row names {','.join(columns[:required])}")
            good = False
    if not good:
        return None
    return [header.index(name) if name in header else len(header) for name in columns]
