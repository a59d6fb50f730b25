"""All lists of one configuration, read and checked."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from rules.directory import calendar, fields
from rules.directory.calendar import SHANGHAI, read_holidays
from rules.directory.config import FILES, DirectoryConfig
from rules.directory.directory import Directory
from rules.directory.fault import DirectoryFaults, FaultLog
from rules.directory.image import Head
from rules.directory.index import Sections
from rules.directory.lists import ROLES, ListReader
from rules.directory.registers import COLUMNS, RegisterReader
from rules.directory.segments import SegmentReader
from rules.directory.sheet import read_sheet
from rules.directory.statements import STATEMENTS, StatementReader
from rules.numbers.normalise import normalise

if TYPE_CHECKING:
    from rules.call import Trunk


def load_directory(config: DirectoryConfig, base: Path, trunks: Mapping[str, Trunk], *, time_zone: str = SHANGHAI) -> Directory:
    """Read and check every file of `config`. `base` is the folder that their names are relative to; hours, and dates without a
    time, are those of `time_zone`.

    Raises DirectoryFaults with all faults found (at most FAULTS_PER_FILE of each file), ValueError where there is no such time zone.
    """
    log = FaultLog()
    version = hashlib.sha256()
    sections: Sections = {}
    counts: dict[str, int] = {}
    words: dict[str, tuple[str, ...]] = {}
    holidays: dict[str, int] = {}
    categories = tuple([name.lower() for name in config.categories])
    dates = fields.Dates(calendar.time_zone(time_zone))
    segments = SegmentReader(trunks, log, _canonical_form, categories, dates)
    for kind in FILES:
        files: tuple[str, ...] = getattr(config, kind)
        if not files:
            continue
        reader: SegmentReader | ListReader | RegisterReader | StatementReader | None = None
        if kind == "segments":
            reader = segments
        elif kind in ROLES:
            reader = ListReader(kind, trunks, log, _canonical_form, dates)
        elif kind in COLUMNS:
            reader = RegisterReader(kind, trunks, log)
        elif kind in STATEMENTS:
            reader = StatementReader(kind, trunks, log, categories, segments.sold, dates)
        counts[kind] = 0
        for file in files:
            data = read_sheet(base / file, file, log)
            if data is None:
                continue
            version.update(kind.encode() + b"\0" + hashlib.sha256(data).digest())
            if reader is None:
                counts[kind] += read_holidays(data, file, holidays, log)
            else:
                reader.read(data, file)
        if isinstance(reader, RegisterReader):
            counts[kind] = reader.build(sections, words, files[0])
        elif isinstance(reader, StatementReader):
            counts[kind] = reader.build(sections, files[0])
        elif reader is not None:
            counts[kind] = reader.build(sections)
    if log.faults:
        raise DirectoryFaults(tuple(log.faults))
    head = Head(
        version=version.hexdigest()[:12],
        warnings=tuple(log.warnings),
        counts=counts,
        words=words,
        time_zone=time_zone,
        holidays=holidays,
        limited=tuple(sorted(segments.limited)),
        marketing=tuple(sorted(segments.marketing)),
        capped=tuple(sorted(segments.capped)),
        categories=categories,
        everywhere=segments.everywhere,
        homes={trunk.id: trunk.home_area for trunk in trunks.values() if trunk.home_area is not None},
    )
    return Directory(head, sections)


def _canonical_form(text: str) -> str | None:
    return normalise(f"tel:{text}", None).canonical
