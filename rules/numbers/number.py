"""One number as it was received and as it is understood."""

from __future__ import annotations

from typing import Literal

Form = Literal["plus", "idd", "cc", "national", "text", "none"]

LONGEST_KEYED = 16
"""Most digits of a canonical number that fit a key."""


class Number:
    """A calling or called number after normalisation. Immutable by convention: the same object is handed out for the same input.

    raw           the user part as received: before percent-decoding, with its parameters, without a password; at most 256 characters
    digits        decoded, without parameters and visual separators, `+` or `00` kept, after a global phone-context; "" where no number
    canonical     `+` and the digits of the E.164 number, for a service code `+86` and the code; None where there is none
    kind          class: GEO MOB MVNO SAT IOT DATA EMG GOV OPR SVC1 SVC95 SVC96 C400 C800 SMS IPACC INTL HMT, None where unknown
    area          area code without the trunk 0, of a GEO number or before a service code
    flags         see below; in the order in which they were found
    code          irregularity (CLI_*), None for a regular number; a number may have both a canonical form and a code
    country       country calling code ("86" for every national form), None where there is no valid one
    nsn           what follows the country code and the trunk 0; of a LOCAL number without the area code
    form          plus (`+`), idd (`00`), cc (a bare 86), national (none of these, with a trunk 0 or not), text (no number), none (nothing)
    alternatives  other canonical readings that authorise the number just as well
    absent        no number is presented at all: code is CLI_EMPTY or CLI_ANON
    key           `(digits << 56) | value` of the canonical number, 0 where there is none or it has more than 16 digits

    Flags:

    LOCAL            a subscriber number without an area code; the trunk's home area was put before it
    TRUNK0           a trunk 0 before a national number, as dialled at home
    TRUNK0_AFTER_CC  a trunk 0 after the country code 86 (code CLI_TRUNK0 unless something worse is wrong)
    CC_NO_PLUS       86 without + or 00
    IDD86            86 after 00
    AMBIG_95_GEO     begins 951 to 955 and reads as an area code of Ningxia or as a 95 code; `alternatives` has what the other reading adds
    AMBIG_AREA       reads as an area code with a service code behind it, or as a local number or longer code; see `alternatives`
    PROTECTED        a protected code (110, 12345, 96110, 10086 ...), alone or after any of +, 00, 86, 0 and an area code; also set where
                     the whole is irregular otherwise, so that `+110` can be told from plain nonsense
    UNASSIGNED       one of the two tables of assigned ranges (ours, libphonenumber's) does not have it: to be marked CLI_UNASSIGNED
    SUB_FIRST        the subscriber number does not begin with 2 to 8 (code CLI_SUB_FIRST unless something worse is wrong)
    BOTH_LENGTHS     7 digits in one of the areas that have 7 and 8
    """

    __slots__ = (
        "_nsn",
        "absent",
        "alternatives",
        "area",
        "canonical",
        "code",
        "country",
        "digits",
        "flags",
        "form",
        "key",
        "kind",
        "raw",
    )

    def __init__(
        self,
        raw: str,
        digits: str = "",
        canonical: str | None = None,
        kind: str | None = None,
        area: str | None = None,
        flags: tuple[str, ...] = (),
        code: str | None = None,
        country: str | None = None,
        nsn: str | None = "",
        form: Form = "none",
        alternatives: tuple[str, ...] = (),
        absent: bool = False,
        key: int = -1,
    ) -> None:
        """`key`: -1 to have it worked out. `nsn`: None for all of a Chinese canonical number behind its country code."""
        self.raw = raw
        self.digits = digits
        self.canonical = canonical
        self.kind = kind
        self.area = area
        self.flags = flags
        self.code = code
        self.country = country
        self._nsn = nsn
        self.form: Form = form
        self.alternatives = alternatives
        self.absent = absent
        if key >= 0:
            self.key = key
        elif canonical is not None and (size := len(canonical) - 1) <= LONGEST_KEYED:
            self.key = (size << 56) | int(canonical)
        else:
            self.key = 0

    @property
    def nsn(self) -> str:
        """What follows the country code and the trunk 0; of a LOCAL number without the area code."""
        nsn = self._nsn
        if nsn is None:
            assert self.canonical is not None
            nsn = self.canonical[3:]
        return nsn

    def __eq__(self, other: object) -> bool:
        """The same subscriber or code; numbers without a canonical form are the same when they were written the same."""
        if not isinstance(other, Number):
            return NotImplemented
        if self.canonical is not None or other.canonical is not None:
            return self.canonical == other.canonical
        return self._written() == other._written()

    def __hash__(self) -> int:
        return hash(self.canonical) if self.canonical is not None else hash(self._written())

    def __repr__(self) -> str:
        return f"Number({self.raw!r}, {self.canonical}, {self.kind}, {self.code}, {' '.join(self.flags)})"

    def _written(self) -> tuple[str, str | None, str]:
        # Names have no digits: two different ones must not pass for the same caller.
        return self.digits, self.code, "" if self.digits else self.raw
