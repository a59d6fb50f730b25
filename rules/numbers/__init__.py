"""Numbers: the +86 plan, normalisation and classification; foreign numbers by country calling code.

    number = normalise("tel:+86-755-8312-3456", home_area=None)
    number.canonical, number.kind, number.area      # "+8675583123456", "GEO", "755"
    place, holder = describe(number)

The plan is data beside these modules, read once at import. libphonenumber is asked when that data is built, never at run time.
"""

from rules.numbers.describe import country_name, describe, is_area_code
from rules.numbers.normalise import normalise
from rules.numbers.number import Number
from rules.numbers.plan import PLAN, Plan

__all__ = ["PLAN", "Number", "Plan", "country_name", "describe", "is_area_code", "normalise"]
