"""What a national number is: class, area and canonical digits, or what is wrong with it.

The order is that of numbers.md, "Normalisation" 7. Where two readings exist, these decide (none of them loses a protected code):

- Digits that begin with an area code and end as a service code may also be something else as a whole: a local number without its area
  (`83196110` in Shenzhen is 8319 6110, not Yibin's 96110) or a longer code (`95195588`, `10112`). A trunk 0 says that an area code follows.
  Without one the whole wins, and the other reading is an alternative that authorises just as well; but a *protected* code behind an area
  code (`+8610110`, `951110`) always counts as that code, except in a local number of the trunk's own area.
- A 10-digit number in 951 to 955 is a fixed line of Ningxia unless its subscriber digit is impossible there; the base of the 95 code is an
  alternative where that code takes extension digits.
- Behind an area code a service code has at most 8 digits, as a subscriber number has.
- Whatever is read stays so: the canonical form classifies as itself.
"""

from __future__ import annotations

from typing import Final, NamedTuple

from rules.numbers.plan import LONGEST, Area, Plan, Service

LONGEST_CODE_IN_AREA: Final = 8
SUBSCRIBER_FIRST: Final = frozenset("2345678")


class Reading(NamedTuple):
    """A national number understood. `digits` is what follows +86 in the canonical form, None where no canonical form is given."""

    code: str | None
    kind: str | None = None
    digits: str | None = None
    area: str | None = None
    flags: tuple[str, ...] = ()
    alternatives: tuple[str, ...] = ()


LEN: Final = Reading("CLI_LEN")
ALL_ZERO: Final = Reading("CLI_ALL_ZERO")
REPEAT: Final = Reading("CLI_REPEAT")
UNASSIGNED: Final = Reading("CLI_UNASSIGNED")
AC_UNASSIGNED: Final = Reading("CLI_AC_UNASSIGNED")
LOCAL_NO_AREA: Final = Reading("CLI_LOCAL_NO_AREA")

PROTECTED: Final = ("PROTECTED",)


def classify(plan: Plan, nsn: str, *, bare: bool, trunk0: bool, home: Area | None) -> Reading:
    """Read a national number: digits after the country code and one trunk 0, which `trunk0` says was there.

    `bare`: neither a country code nor a trunk 0 stood before it, so it may be a local number of the area `home`.
    """
    size = len(nsn)
    if not nsn or size > LONGEST:
        return LEN
    if not nsn.strip("0"):
        return ALL_ZERO
    found = plan.find_class(nsn)
    if found is not None:
        return Reading(found.code, found.kind, nsn if found.canonical else None, None, found.flags)
    if bare and 7 <= size <= 8 and nsn[0] > "1" and not plan.has_service_prefix(nsn):
        reading = local(plan, nsn, home)
    else:
        reading = national(plan, nsn, bare, trunk0)
    if reading.kind != "GEO" and size > 1 and nsn == nsn[0] * size:
        return REPEAT
    return reading


def local(plan: Plan, nsn: str, home: Area | None) -> Reading:
    """Seven or eight bare digits that begin as no service code does."""
    area = plan.find_area(nsn)
    behind = behind_area(plan, nsn, area) if area is not None else None
    if home is not None and len(nsn) in home.lengths:
        regular = nsn[0] in SUBSCRIBER_FIRST
        if not regular and behind is None and plan.find_service(home.code + nsn) is not None:
            # No subscriber's, and with its area code (951 9xxxxxx) somebody's 95 code: no canonical form that could be taken for that.
            return Reading("CLI_SUB_FIRST", flags=("LOCAL", "SUB_FIRST"))
        if regular or behind is None:
            flags = ("LOCAL",) if behind is None else ("LOCAL", "AMBIG_AREA")
            alternatives = () if behind is None else (f"+86{behind.digits}", *behind.alternatives)
            return subscriber(home, nsn, flags, alternatives)
    if behind is not None:
        return behind
    return LEN if home is not None else LOCAL_NO_AREA


def national(plan: Plan, nsn: str, bare: bool, trunk0: bool) -> Reading:
    """An area code with a service code or subscriber number behind it, or a service code."""
    # Whether these digits are a service code as a whole, area code or not.
    whole = plan.find_service(nsn) if nsn[0] in plan.service_digits else None
    area = plan.find_area(nsn)
    if area is not None:
        behind = behind_area(plan, nsn, area)
        if behind is not None and (whole is None or trunk0 or "PROTECTED" in behind.flags):
            if whole is None or trunk0:
                return behind
            flags = (*behind.flags, ambiguity(nsn))
            return behind._replace(flags=flags, alternatives=(f"+86{nsn}", *bases(whole, nsn), *behind.alternatives))
        rest = nsn[len(area.code) :]
        if len(rest) in area.lengths and (whole is None or rest[0] in SUBSCRIBER_FIRST):
            # With a trunk 0 this is a fixed line and nothing else.
            ambiguous = not trunk0 and nsn[0] == "9" and plan.has_service_prefix(nsn)
            if not ambiguous:
                return subscriber(area, rest, (), ())
            return subscriber(area, rest, ("AMBIG_95_GEO",), bases(whole, nsn) if whole is not None else ())
        if whole is not None and behind is not None:
            reading = service(whole, nsn, None)
            return reading._replace(flags=(*reading.flags, ambiguity(nsn)), alternatives=(*reading.alternatives, f"+86{behind.digits}"))
        if trunk0 and whole is not None and 0 < whole.base < len(nsn) and len(rest) not in area.lengths:
            return LEN  # 0951 234567 is a fixed line of Yinchuan a digit short: no extension digits behind a trunk 0 and an area code
    if whole is not None:
        return service(whole, nsn, None)
    return irregular(plan, nsn, area, bare)


def behind_area(plan: Plan, nsn: str, area: Area) -> Reading | None:
    """The service code behind an area code."""
    code = nsn[len(area.code) :]
    if not 3 <= len(code) <= LONGEST_CODE_IN_AREA or code[0] not in plan.service_digits:
        return None
    found = plan.find_service(code)
    if found is None or code == code[0] * len(code):
        return None  # 0755 111: one digit repeated is no better behind an area code
    inner = plan.find_area(code)
    if inner is not None:
        # 0755 10110: as 10110 alone counts as Beijing's 110, so it does here.
        protected = plan.find_service(code[len(inner.code) :])
        if protected is not None and protected.protected:
            return service(protected, code[len(inner.code) :], inner.code)
    return service(found, code, area.code)


def service(found: Service, code: str, area: str | None) -> Reading:
    """A service code, its base an alternative where it carries extension digits."""
    return Reading(None, found.kind, code, area, PROTECTED if found.protected else (), bases(found, code))


def bases(found: Service, code: str) -> tuple[str, ...]:
    """The call-centre code without its extension digits: whoever owns it owns them."""
    return (f"+86{code[: found.base]}",) if found.base and len(code) > found.base else ()


def ambiguity(nsn: str) -> str:
    """Name of the flag for digits that read as a code and as an area with a code behind it."""
    return "AMBIG_95_GEO" if nsn[0] == "9" else "AMBIG_AREA"


def subscriber(area: Area, number: str, flags: tuple[str, ...], alternatives: tuple[str, ...]) -> Reading:
    """A fixed line, its length already found right."""
    if not number.strip("0"):
        return ALL_ZERO  # nobody has it, and an area code before it makes it no better
    if len(area.lengths) > 1 and len(number) == min(area.lengths):
        flags = (*flags, "BOTH_LENGTHS")
    code = None
    if number[0] not in SUBSCRIBER_FIRST:
        code = "CLI_SUB_FIRST"
        flags = (*flags, "SUB_FIRST")
    return Reading(code, "GEO", area.code + number, area.code, flags, alternatives)


def irregular(plan: Plan, nsn: str, area: Area | None, bare: bool) -> Reading:
    """What is wrong with a number that is none.

    The prefix is judged first: where it names a class or an area, the length must be wrong (CLI_LEN); where it names none, the number is
    not in the plan. Too few digits to tell are CLI_LEN, and so are bare digits no longer than a local number (an extension of a PBX).
    """
    size = len(nsn)
    first = nsn[0]
    if first == "0":
        return UNASSIGNED  # a second trunk 0: no national number begins so
    if first == "1":
        if size == 11 and (nsn[1] in "12" or not plan.has_prefix(nsn, oracle=False)):
            # As long as a mobile number: one that does not exist (168...: only libphonenumber knows shorter codes there), or a North
            # American one without its +.
            return UNASSIGNED
        return LEN if size < 5 or area is not None or plan.has_prefix(nsn) else UNASSIGNED
    if area is not None or size < 3 or plan.has_prefix(nsn) or (bare and (size <= 8 or nsn.startswith("86"))):
        return LEN
    return AC_UNASSIGNED


def names_protected(plan: Plan, digits: str) -> bool:
    """Whether a protected code is all that remains after any of +, 00, 86, one trunk 0 and an area code (policy.md, INTL_FAKE_SVC)."""
    rest = digits[1:] if digits.startswith("+") else digits.removeprefix("00")
    return _protected(plan, rest) or (rest.startswith("86") and _protected(plan, rest[2:]))


def _protected(plan: Plan, rest: str) -> bool:
    rest = rest.removeprefix("0")
    if len(rest) > plan.longest_protected:
        return False
    found = plan.find_service(rest)
    if found is not None and found.protected:
        return True
    area = plan.find_area(rest)
    if area is None:
        return False
    found = plan.find_service(rest[len(area.code) :])
    return found is not None and found.protected
