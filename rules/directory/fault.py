"""What is wrong with a list file, said so that an operator can mend it without reading source code."""

from __future__ import annotations

from rules.faults import FAULTS_PER_FILE, shown

__all__ = ["FAULTS_PER_FILE", "CellFault", "DirectoryFault", "DirectoryFaults", "FaultLog"]


class DirectoryFault(Exception):
    """One fault: `value` is what stood there (as far as a message repeats it), `remedy` what would be right; `line` is 0 and `column` empty
    where it is the whole file's.
    """

    def __init__(self, file: str, line: int, column: str, value: str, problem: str, remedy: str = "") -> None:
        super().__init__(file, line, column, value, problem, remedy)
        self.file = file
        self.line = line
        self.column = shown(column)
        self.value = shown(value)
        self.problem = problem
        self.remedy = remedy

    def __str__(self) -> str:
        place = f"{self.file}:{self.line}" if self.line else self.file
        column = f" {self.column}:" if self.column else ""
        value = f" '{self.value}':" if self.value else ""
        remedy = f"; {self.remedy}" if self.remedy else ""
        return f"{place}:{column}{value} {self.problem}{remedy}"


class DirectoryFaults(Exception):
    """Every fault found while the lists were loaded, in the order of the files. Nothing of a directory with a fault is used."""

    def __init__(self, faults: tuple[DirectoryFault, ...]) -> None:
        super().__init__(faults)
        self.faults = faults

    def __str__(self) -> str:
        return "\n".join(map(str, self.faults))


class CellFault(Exception):
    """A value that is refused: what is wrong with it and what would be right. Whoever knows its place makes a DirectoryFault of it."""

    def __init__(self, problem: str, remedy: str = "") -> None:
        super().__init__(problem, remedy)
        self.problem = problem
        self.remedy = remedy


class FaultLog:
    """Collects the faults and warnings of one load; at most FAULTS_PER_FILE of each for one file."""

    def __init__(self) -> None:
        self.faults: list[DirectoryFault] = []
        self.warnings: list[str] = []
        self._faults_of: dict[str, int] = {}
        self._warnings_of: dict[str, int] = {}

    def fault(self, file: str, line: int, column: str, value: str, problem: str, remedy: str = "") -> None:
        """Note a fault; see DirectoryFault."""
        count = self._faults_of[file] = self._faults_of.get(file, 0) + 1
        if count <= FAULTS_PER_FILE:
            self.faults.append(DirectoryFault(file, line, column, value, problem, remedy))
        elif count == FAULTS_PER_FILE + 1:
            self.faults.append(DirectoryFault(file, 0, "", "", f"more than {FAULTS_PER_FILE} faults", "the others are not shown"))

    def refuse(self, file: str, line: int, column: str, value: str, fault: CellFault) -> None:
        """Note the fault of one cell."""
        self.fault(file, line, column, value, fault.problem, fault.remedy)

    def full(self, file: str) -> bool:
        """True when there is no use in reading on in this file."""
        return self._faults_of.get(file, 0) > FAULTS_PER_FILE

    def warn(self, file: str, line: int, text: str) -> None:
        """Note what is odd but used all the same."""
        count = self._warnings_of[file] = self._warnings_of.get(file, 0) + 1
        if count <= FAULTS_PER_FILE:
            self.warnings.append(f"{file}:{line}: {text}")
        elif count == FAULTS_PER_FILE + 1:
            self.warnings.append(f"{file}: more than {FAULTS_PER_FILE} warnings; the others are not shown")
