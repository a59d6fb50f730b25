"""The number plan as tables, read once from the data files beside this module.

`plan.toml` is kept by hand, `areas.csv` and `oracle.csv` are made from libphonenumber by `build_plan.py`, `countries.csv` is kept by hand
and checked by it. Each says in its first line which date it stands for.
"""

from __future__ import annotations

import csv
import tomllib
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, Final, Literal, NamedTuple

FOLDER: Final = Path(__file__).parent

LONGEST_AREA: Final = 3
LONGEST: Final = 32
"""More digits than this are no number of any class, call-centre extensions included."""

Names = dict[str, str]
"""A name by language, "zh" and "en"."""


class Area(NamedTuple):
    """One area code: how many digits its subscriber numbers have (7, 8 or both), and where it is: city and province ("" unknown)."""

    code: str
    lengths: tuple[int, ...]
    names: Names
    province: Names


class Country(NamedTuple):
    """One country calling code; `region` is ISO 3166-1 (the largest user's), "001" for a network that belongs to no country."""

    code: str
    region: str
    names: Names


class Class(NamedTuple):
    """Numbers that a prefix and a length name: `low` to `high` digits. `canonical` False: not a subscriber's number, none is given."""

    kind: str
    low: int
    high: int
    code: str | None
    holder: str | None
    canonical: bool
    flags: tuple[str, ...]


Locality = Literal["", "area", "province"]
"""Where a service code is the same code: all over the country, behind one area code, in one province."""


class Service(NamedTuple):
    """A service code. `base` is the number of digits before extension digits, 0 where the code takes none."""

    kind: str
    lengths: tuple[int, ...]
    base: int
    protected: bool
    local: Locality


class Plan:
    """The tables of one state of the plan.

    classes    prefix (2 to 5 digits) to its classes; the longest prefix whose length fits counts; `class_digits` has the digits that
               any of them begins with
    services   prefix (2 to 4 digits) to its service codes, likewise; `codes` has whole codes, asked first, and
               `service_digits` the digits that any of them begins with
    local      beginnings of the service codes that differ by area or province
    areas      area code to Area
    countries  country calling code to Country
    hmt        country calling codes of Hong Kong, Macau and Taiwan
    longest_protected  digits at the most of a protected code behind an area code
    repeated   foreign numbers (without +) of one repeated digit that are somebody's all the same
    """

    __slots__ = (
        "_own_stems",
        "_stems",
        "anonymous_hosts",
        "anonymous_users",
        "areas",
        "class_digits",
        "classes",
        "code_holders",
        "codes",
        "countries",
        "date",
        "hmt",
        "holders",
        "local",
        "longest_protected",
        "repeated",
        "service_digits",
        "services",
        "unavailable_hosts",
        "unavailable_users",
    )

    def __init__(self, folder: Path = FOLDER, *, oracle: bool = True) -> None:
        """Read the tables in `folder`. `oracle` False leaves libphonenumber's answers out: what `build_plan.py` compares with."""
        with (folder / "plan.toml").open("rb") as file:
            data = tomllib.load(file)
        self.date: str = data["plan_date"]
        self.hmt: frozenset[str] = frozenset(data["hmt"])
        absent = data["absent"]
        self.anonymous_users: frozenset[str] = frozenset(absent["anonymous_users"])
        self.anonymous_hosts: frozenset[str] = frozenset(absent["anonymous_hosts"])
        self.unavailable_users: frozenset[str] = frozenset(absent["unavailable_users"])
        self.unavailable_hosts: frozenset[str] = frozenset(absent["unavailable_hosts"])
        self.holders: dict[str, Names] = data["holder"]
        self.code_holders: dict[str, Names] = data["code_holder"]
        self.classes: dict[str, tuple[Class, ...]] = {}
        for row in data["class"]:
            found = Class(row["kind"], row["min"], row["max"], row.get("code"), row.get("holder"), row.get("canonical", True), ())
            self._add_class(prefixes(row["prefixes"]), found)
        self.codes: dict[str, Service] = {}
        self.services: dict[str, tuple[Service, ...]] = {}
        for row in data["service"]:
            lengths = tuple(row.get("lengths", ()))
            service = Service(row["kind"], lengths, row.get("base", 0), row.get("protected", False), row.get("local", ""))
            for code in row.get("codes", ()):
                self.codes[code] = service
            for prefix in row.get("prefixes", ()):
                self.services[prefix] = (*self.services.get(prefix, ()), service)
        self.local = tuple(
            [code for code, service in self.codes.items() if service.local]
            + [stem for stem, several in self.services.items() if any(service.local for service in several)]
        )
        self.service_digits = frozenset(stem[0] for stem in (*self.codes, *self.services))
        guarded = [len(code) for code, service in self.codes.items() if service.protected]
        guarded += [length for found in self.services.values() for one in found if one.protected for length in one.lengths]
        guarded += [LONGEST for found in self.services.values() for one in found if one.protected and one.base]
        self.longest_protected = LONGEST_AREA + max(guarded, default=0)
        self.repeated: frozenset[str] = frozenset()
        if oracle:
            self._read_oracle(folder / "oracle.csv")
        self.class_digits = frozenset(stem[0] for stem in self.classes)
        self._stems = frozenset((*self.classes, *self.services))
        self._own_stems = frozenset(
            (*[stem for stem, found in self.classes.items() if not all(one.flags for one in found)], *self.services)
        )
        self.areas: dict[str, Area] = {
            code: Area(code, tuple(int(length) for length in lengths.split()), {"zh": zh, "en": en}, {"zh": province_zh, "en": province_en})
            for code, lengths, zh, en, province_zh, province_en in rows(folder / "areas.csv")
        }
        self.countries: dict[str, Country] = {
            code: Country(code, region, {"zh": zh, "en": en}) for code, region, zh, en in rows(folder / "countries.csv")
        }

    def _add_class(self, stems: Iterable[str], found: Class) -> None:
        for stem in stems:
            self.classes[stem] = (*self.classes.get(stem, ()), found)

    def _read_oracle(self, path: Path) -> None:
        repeated = []
        for what, digits, length, kind in rows(path):
            if what == "repeated":
                repeated.append(digits)
            else:
                self._add_class((digits,), Class(kind, int(length), int(length), None, None, True, ("UNASSIGNED",)))
        self.repeated = frozenset(repeated)

    def find_class(self, nsn: str) -> Class | None:
        """The class of a national number that its prefix and length name, None where only area and service codes can tell."""
        if nsn[:1] not in self.class_digits:
            return None
        classes = self.classes
        size = len(nsn)
        for end in (5, 4, 3, 2):
            found = classes.get(nsn[:end])
            if found is not None:
                for one in found:
                    if one.low <= size <= one.high:
                        return one
        return None

    def find_service(self, code: str) -> Service | None:
        """The service code that this is, whole or with extension digits."""
        found = self.codes.get(code)
        if found is not None:
            return found
        services = self.services
        size = len(code)
        for end in (4, 3, 2):
            candidates = services.get(code[:end])
            if candidates is not None:
                for one in candidates:
                    if size in one.lengths or (one.base and size >= one.base):
                        return one
        return None

    def find_area(self, nsn: str) -> Area | None:
        """The area whose code, of two or three digits, the number begins with (prefix-free: at most one fits)."""
        areas = self.areas
        return areas.get(nsn[:3]) or areas.get(nsn[:2])

    def find_country(self, digits: str) -> Country | None:
        """The country calling code that an international number without its + begins with (prefix-free: at most one fits)."""
        countries = self.countries
        return countries.get(digits[:1]) or countries.get(digits[:2]) or countries.get(digits[:3])

    def has_prefix(self, nsn: str, *, oracle: bool = True) -> bool:
        """Whether the number begins as some class or service code does, whatever its length; `oracle` False leaves libphonenumber's out."""
        stems = self._stems if oracle else self._own_stems
        return nsn[:2] in stems or nsn[:3] in stems or nsn[:4] in stems or nsn[:5] in stems

    def has_service_prefix(self, nsn: str) -> bool:
        """Whether the number begins as some service code does: no subscriber number can."""
        services = self.services
        return nsn[:2] in services or nsn[:3] in services or nsn[:4] in services


def prefixes(written: Iterable[str]) -> Iterator[str]:
    """Each prefix of a list in which "130-132" stands for 130, 131 and 132."""
    for one in written:
        first, _, last = one.partition("-")
        yield from (str(value) for value in range(int(first), int(last or first) + 1))


def rows(path: Path) -> Iterator[list[Any]]:
    """Rows of a data file after its comment lines and its head."""
    with path.open(encoding="utf-8", newline="") as file:
        lines = csv.reader(line for line in file if not line.startswith("#"))
        next(lines)
        yield from lines


PLAN: Final = Plan()
"""The plan in force, read at import."""
