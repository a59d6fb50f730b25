"""Lists of a large operator, and calls that ask them: the same at every run.

Segments: fixed lines in every city with eight digits (one by one, tens, hundreds, prefixes), mobiles and 95 codes, of 2,000 trunks of 1,000
customers; some for marketing, with hours, dates or for incoming calls only. Intercept entries: nine in ten are callers by their exact
number, mobile and fixed; the rest are called numbers, pairs, prefixes, ranges and the raw digits of irregular callers, with an evidence id
each, some with scope or expiry. Refusals are of different numbers; every other one has an evidence id of its own. Consent: one row for a
hundred refusals.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final

from rules import Call, Trunk
from rules.call import Diverted
from rules.legs import Legs
from rules.numbers.plan import PLAN

AT: Final = 1_772_416_800.0
"""10:00 on a Monday in Shanghai."""

TRUNKS: Final = 2000
CITIES: Final = tuple([int(code) for code, area in PLAN.areas.items() if area.lengths == (8,)])
"""Area codes whose lines have eight digits."""

CONFIG = """
[node]
name = "capacity"
workers = 2

[[listen]]
address = "127.0.0.1:{port}"
transports = ["udp"]

[[next_hop]]
id = "switch"
targets = ["sip:127.0.0.9:{switch}"]

[[trunk]]
id = "peer"
kind = "interconnect"
sources = ["127.0.0.3"]
next_hop = "switch"

[[trunk]]
id = "abroad"
kind = "international"
sources = ["127.0.0.4"]
next_hop = "switch"
{trunks}

[admin]
listen = "127.0.0.1:{admin}"

[directory]
segments = ["segments.csv"]
intercept = ["intercept.csv"]
refusals = ["refusals.csv"]
consent = ["consent.csv"]
"""


def trunk_of(number: int) -> str:
    """The table of one customer's line; the first of them is on loopback."""
    source = "127.0.0.2" if number == 0 else f"10.{number // 250}.{number % 250}.1"
    return (
        f'\n[[trunk]]\nid = "t{number}"\nkind = "enterprise"\ncustomer = "c{number // 2}"\nsources = ["{source}"]\n'
        f'home_area = "{CITIES[number % len(CITIES)]}"\nnext_hop = "switch"\n'
    )


def trunks() -> dict[str, Trunk]:
    """The same trunks as rules know them."""
    made = {
        f"t{n}": Trunk(id=f"t{n}", kind="enterprise", customer=f"c{n // 2}", home_area=str(CITIES[n % len(CITIES)]), next_hop="switch")
        for n in range(TRUNKS)
    }
    made["peer"] = Trunk(id="peer", kind="interconnect", next_hop="switch")
    made["abroad"] = Trunk(id="abroad", kind="international", next_hop="switch")
    return made


def block(n: int) -> tuple[int, str, int]:
    """The n-th segment: its trunk, the first of its numbers, how many they are (0: a prefix of them)."""
    trunk = n // 100 * 7919 % TRUNKS
    form = n % 100
    if form < 8:  # mobiles of a fleet
        return trunk, f"+86139{n * 41 % 10**8:08d}", 1
    if form == 8:
        return trunk, f"+8695{n // 100 % 10_000 + 10_000}", 1
    city = CITIES[n % len(CITIES)]
    line = 20_000_000 + n // len(CITIES) * 220
    if form < 70:
        return trunk, f"+86{city}{line}", 1
    if form < 85:
        return trunk, f"+86{city}{line // 10}0", 10
    if form < 99:
        return trunk, f"+86{city}{line // 100}00", 100
    return trunk, f"+86{city}{line // 100}*", 0


def segment_rows(count: int) -> Iterator[str]:
    """Rows of segments.csv."""
    yield "customer,trunk,first,last,purpose,valid_from,valid_to,hours,direction,category\n"
    for n in range(count):
        trunk, first, size = block(n)
        last = f"+{int(first) + size - 1}" if size > 1 else ""
        odd = n % 50
        extra = ",,,,,"
        if odd == 3:
            extra = "marketing,2024-01-01,,Mon-Sat 09:00-20:00,," + ("property", "finance", "")[n // 50 % 3]
        elif odd == 4:
            extra = ",,2030-12-31,Mon-Fri 08:00-19:00,,"
        elif odd == 5:
            extra = ",,,,in,"
        elif odd < 30:
            extra = "service,2023-05-01,,,,"
        yield f"c{trunk // 2},t{trunk},{first},{last},{extra}\n"


def mobile(n: int) -> str:
    """The n-th of a thousand million mobile numbers, all different, in no order."""
    return f"+861{'3578'[n % 4]}{n * 387_420_489 % 10**9:09d}"


def fixed(n: int) -> str:
    """The n-th fixed line that is in no segment."""
    return f"+86{(10, 21, 20, 755)[n % 4]}{60_000_000 + n * 7919 % 9_999_991}"


def entry(n: int) -> tuple[str, str, str]:
    """The n-th intercept entry: its number, match and type."""
    form = n % 1000
    if form < 850:
        return mobile(n), "exact", "caller"
    if form < 920:
        return fixed(n), "exact", "caller"
    if form < 945:
        return mobile(n), "exact", "called"
    if form < 965:
        return f"{mobile(n)}>{mobile(n + 1)}", "exact", "pair"
    if form < 980:
        return f"10698{n * 7 % 10**9:09d}", "exact", "caller"
    if form < 985:
        return f"+44{7_000_000_000 + n * 13 % 10**9}", "exact", "caller"
    if form < 995:
        return mobile(n)[:11], "prefix", "caller"
    if form < 997:
        return f"+{75 + n % 3}{n % 1000:03d}>{mobile(n)[:9]}", "prefix", "pair"
    first = mobile(n)[:12]
    return f"{first}00-{first}{n % 90 + 10}", "range", "caller"


def intercept_rows(count: int) -> Iterator[str]:
    """Rows of intercept.csv."""
    yield "list_id,seq,op,number,match,type,reason,source,evidence_ref,valid_from,valid_to,scope,created_at\n"
    reasons = ("complaint", "fraud", "harassment", "spoofing")
    for n in range(count):
        number, match, kind = entry(n)
        scope = "global" if n % 20 else f"customer:c{n // 20 % 1000}"
        until = "2027-06-30" if n % 5 == 0 else ""
        source = "police" if n % 50 == 7 else "12321"
        yield (
            f"L{n % 31:02d},{n},A,{number},{match},{kind},{reasons[n % 4]},{source},E{n:010d},2025-01-01,{until},{scope},"
            "2025-01-01T08:00:00+08:00\n"
        )


def refused(n: int) -> str:
    """The n-th number that refuses marketing calls."""
    return f"+861{'3578'[n % 4]}{(n * 387_420_489 + 5) % 10**9:09d}"


def refusal_rows(count: int) -> Iterator[str]:
    """Rows of refusals.csv."""
    yield "number,evidence_ref,category,valid_from\n"
    for n in range(count):
        yield f"{refused(n)},{f'12321-{n:09d}' if n % 2 else ''},{'property' if n % 4 == 0 else ''},2025-01-01\n"


def consent_rows(count: int) -> Iterator[str]:
    """Rows of consent.csv: by numbers that do not refuse."""
    yield "number,evidence_ref,category,customer,valid_from,valid_to\n"
    for n in range(count // 100):
        yield f"{fixed(n)},C{n:08d},,,2025-01-01,2027-01-01\n"


def write_lists(folder: Path, port: int, switch: int, admin: int, segments: int, entries: int, refusals: int) -> None:
    """The four lists and sipwarden.toml."""
    for name, rows in (
        ("segments.csv", segment_rows(segments)),
        ("intercept.csv", intercept_rows(entries)),
        ("refusals.csv", refusal_rows(refusals)),
        ("consent.csv", consent_rows(refusals)),
    ):
        with open(folder / name, "w", encoding="ascii") as file:
            file.writelines(rows)
    write_config(folder, port, switch, admin)


def write_config(folder: Path, port: int, switch: int, admin: int) -> None:
    """sipwarden.toml alone."""
    tables = "".join(trunk_of(number) for number in range(TRUNKS))
    (folder / "sipwarden.toml").write_text(CONFIG.format(port=port, switch=switch, admin=admin, trunks=tables), encoding="ascii")


class Calls:
    """Calls of each kind from callers that do not come again, over lists of those sizes."""

    def __init__(self, segments: int, entries: int, refusals: int) -> None:
        self._draw = random.Random(5)
        self._segments = segments
        self._entries = entries
        self._refusals = refusals
        self._trunks = trunks()
        self._legs = Legs()
        self.kinds: dict[str, tuple[float, Callable[[], Call]]] = {
            "enterprise, its own number": (0.50, self.own),
            "enterprise, From and PAI differ": (0.10, self.own_two),
            "enterprise, not its number": (0.06, self.foreign),
            "caller intercepted": (0.04, self.intercepted),
            "interconnect": (0.18, self.interconnect),
            "international, foreign caller": (0.04, self.international),
            "international, +86 fixed line": (0.02, self.spoofed),
            "forwarded, with Diversion": (0.03, self.forwarded),
            "marketing": (0.03, self.marketing),
        }
        """By name: its share of the mix, and how one is made."""

    def _number(self, wanted: Callable[[int], bool] = lambda n: True) -> tuple[Trunk, str]:
        """A number of a random segment, with its trunk."""
        while True:
            n = self._draw.randrange(self._segments)
            if wanted(n % 50):
                trunk, first, size = block(n)
                if not size:
                    return self._trunks[f"t{trunk}"], first[:-1] + f"{self._draw.randrange(100):02d}"
                return self._trunks[f"t{trunk}"], f"+{int(first) + self._draw.randrange(size)}"

    def _called(self) -> str:
        return f"sip:+86{self._draw.choice((10, 21, 755, 28))}{self._draw.randrange(20_000_000, 59_999_999)}@gw.example"

    def own(self) -> Call:
        """A customer calls with a number of its own."""
        trunk, number = self._number(lambda odd: odd not in (3, 5))
        uri = f"sip:{number}@pbx.example"
        return Call(trunk, uri, self._called(), at=AT, pai=(uri,))

    def own_two(self) -> Call:
        """The same with another number of that segment in From."""
        trunk, number = self._number(lambda odd: odd not in (3, 5))
        return Call(trunk, f"sip:0{number[3:]}@pbx.example", self._called(), at=AT, pai=(f"tel:{number}",))

    def foreign(self) -> Call:
        """A customer calls with somebody else's number."""
        trunk, _ = self._number(lambda odd: odd not in (3, 5))
        return Call(trunk, f"sip:{mobile(self._draw.randrange(5 * 10**8, 9 * 10**8))}@pbx.example", self._called(), at=AT)

    def intercepted(self) -> Call:
        """A caller on the list."""
        while True:
            number, match, kind = entry(self._draw.randrange(self._entries))
            if match == "exact" and kind == "caller" and number[0] == "+":
                return Call(self._trunks["peer"], f"sip:{number}@peer.example", self._called(), at=AT)

    def interconnect(self) -> Call:
        """A mobile caller of another operator."""
        number = f"sip:{mobile(self._draw.randrange(5 * 10**8, 9 * 10**8))}@peer.example"
        return Call(self._trunks["peer"], number, self._called(), at=AT, pai=(number,))

    def international(self) -> Call:
        """A caller from abroad."""
        number = f"sip:+{self._draw.choice(('1212', '4420', '4930', '8133'))}{self._draw.randrange(10**7):07d}@gw.example"
        return Call(self._trunks["abroad"], number, self._called(), at=AT, pai=(number,))

    def spoofed(self) -> Call:
        """A fixed line of ours, from abroad."""
        _, number = self._number(lambda odd: True)
        return Call(self._trunks["abroad"], f"sip:{number}@gw.example", self._called(), at=AT)

    def forwarded(self) -> Call:
        """A customer forwards a call that it got a moment ago."""
        trunk, number = self._number(lambda odd: odd not in (3, 5))
        caller = mobile(self._draw.randrange(5 * 10**8, 9 * 10**8))
        self._legs.begin((f"customer {trunk.customer}",), number, (caller,), AT - 1)
        return Call(
            trunk,
            f"sip:{caller}@pbx.example",
            self._called(),
            at=AT,
            pai=(f"sip:{caller}@pbx.example",),
            diversion=(f"sip:{number}@pbx.example",),
            history_info=(Diverted(f"sip:{number}@pbx.example", 302),),
            legs=self._legs,
        )

    def marketing(self) -> Call:
        """A sales call: to somebody who refuses, who consents, or who has said nothing."""
        trunk, number = self._number(lambda odd: odd == 3)
        whom = self._draw.randrange(3)
        n = self._draw.randrange(self._refusals)
        called = refused(n) if whom == 0 else fixed(n // 100) if whom == 1 else mobile(n + 10**8)
        return Call(trunk, f"sip:{number}@pbx.example", f"sip:{called}@gw.example", at=AT)
