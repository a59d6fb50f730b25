"""Who may use which number, and which numbers are stopped: segments, intercept and release lists, registers, consent and refusals of
marketing calls, and holidays, from CSV files.

    directory = load_directory(config.directory, folder, trunks)     # every fault of every file, or a Directory
    directory.save(path); Directory.open(path)                       # one file that all workers map

Rules ask a Directory and nothing else; `fields` says what may stand in a cell, `sheet` what a CSV file may look like.
"""

from rules.directory.calendar import SHANGHAI, Hours, time_zone
from rules.directory.config import FILES, DirectoryConfig
from rules.directory.directory import Directory
from rules.directory.entries import Entry
from rules.directory.fault import DirectoryFault, DirectoryFaults
from rules.directory.load import load_directory
from rules.directory.segment import Segment
from rules.directory.statement import Statement
from rules.directory.terms import Terms

__all__ = [
    "FILES",
    "SHANGHAI",
    "Directory",
    "DirectoryConfig",
    "DirectoryFault",
    "DirectoryFaults",
    "Entry",
    "Hours",
    "Segment",
    "Statement",
    "Terms",
    "load_directory",
    "time_zone",
]
