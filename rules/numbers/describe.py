"""Names for people: where a number is and who holds its range."""

from __future__ import annotations

from typing import Literal

from rules.numbers.number import Number
from rules.numbers.plan import PLAN

Language = Literal["zh", "en"]


def describe(number: Number, language: Language = "zh") -> tuple[str | None, str | None]:
    """(place, holder) of a number, None for what is not known.

    place: the city of its area code, or the country. holder: the operator that was given the range, who need not serve the number today
    (portability), or whose a well-known service code is.
    """
    place: str | None = None
    holder: str | None = None
    if number.area is not None:
        area = PLAN.areas.get(number.area)
        if area is not None:
            place = area.names[language] or None
    elif number.country is not None and number.country != "86":
        place = country_name(number.country, language)
    if number.canonical is not None and number.country == "86":
        digits = number.canonical[3:]
        names = PLAN.code_holders.get(digits)
        if names is None:
            found = PLAN.find_class(digits)
            names = PLAN.holders[found.holder] if found is not None and found.holder is not None else None
        holder = names[language] if names is not None else None
    return place, holder


def country_name(code: str, language: Language = "zh") -> str | None:
    """Name of the country or network of a country calling code (without +), None for one that is not in use."""
    country = PLAN.countries.get(code)
    return country.names[language] if country is not None else None


def is_area_code(code: str) -> bool:
    """Whether this is an assigned area code, written without its trunk 0."""
    return code in PLAN.areas
