"""`sipwarden number`: what a number is, and what is wrong with it."""

from __future__ import annotations

import argparse
from typing import Any, Final

from rich.text import Text

from proxy.cli.terminal import console, explained, facts, printable
from proxy.report import write_json
from rules.numbers import Number, describe, is_area_code, normalise

KINDS: Final = {
    "GEO": ("fixed line", "固话"),
    "MOB": ("mobile", "手机"),
    "MVNO": ("mobile of a virtual operator", "转售"),
    "SAT": ("satellite", "卫星"),
    "IOT": ("IoT card", "物联网"),
    "DATA": ("data card", "数据卡"),
    "EMG": ("emergency", "紧急"),
    "GOV": ("government service", "政府"),
    "OPR": ("operator service", "运营商"),
    "SVC1": ("service code", "服务短号"),
    "SVC95": ("national service code", "95 服务号码"),
    "SVC96": ("provincial service code", "96 服务号码"),
    "C400": ("400, inbound only", "400 号码"),
    "C800": ("800, inbound only", "800 号码"),
    "SMS": ("message code", "短信端口"),
    "IPACC": ("IP-telephony access code", "IP 接入码"),
    "INTL": ("foreign", "境外"),
    "HMT": ("Hong Kong, Macau, Taiwan", "港澳台"),
}
"""Kinds of numbers in words, English and Chinese."""

FLAGS: Final = {
    "LOCAL": "no area code; the home area was put before it",
    "TRUNK0": "a 0 before the national number, as dialled at home",
    "TRUNK0_AFTER_CC": "a 0 between the country code and the number",
    "CC_NO_PLUS": "86 without + or 00",
    "IDD86": "86 after 00",
    "AMBIG_95_GEO": "reads as a fixed line of Ningxia or as a 95 code; either may be authorised",
    "AMBIG_AREA": "reads as an area code with a service code, or as one number; either may be authorised",
    "PROTECTED": "a protected code, never a caller from abroad",
    "UNASSIGNED": "in one of the two published tables only; the call is marked CLI_UNASSIGNED",
    "SUB_FIRST": "the subscriber number does not begin with 2 to 8",
    "BOTH_LENGTHS": "7 digits, in an area that has 7 and 8",
}
"""What the flags of a number mean."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    parser.add_argument("number", metavar="NUMBER", help="a number as dialled or as a sip, sips or tel URI")
    parser.add_argument("--area", type=_area, metavar="CODE", help="home area, for local numbers: 755")
    parser.add_argument("--json", action="store_true", help="one JSON document on standard output")


def main(args: argparse.Namespace) -> int:
    """0 for a regular number, 1 where it has a code."""
    number = normalise(bare_uri(args.number), args.area)
    if args.json:
        write_json(number_json(args.number, number))
    else:
        _show(args.number, number)
    return 0 if number.code is None else 1


def bare_uri(text: str) -> str:
    """The URI of a whole header value (`"Name" <sip:...>;tag=1`), or the text itself."""
    opening, closing = text.find("<"), text.rfind(">")
    return text[opening + 1 : closing] if 0 <= opening < closing else text


def number_json(given: str, number: Number) -> dict[str, Any]:
    """The fields of product.md."""
    place, holder = describe(number)
    return {
        "input": given,
        "canonical": number.canonical,
        "kind": number.kind,
        "area": number.area,
        "place": place,
        "holder": holder,
        "flags": list(number.flags),
        "code": number.code,
    }


def _show(given: str, number: Number) -> None:
    (place_zh, holder_zh), (place_en, holder_en) = describe(number, "zh"), describe(number, "en")
    grid = facts()
    grid.add_row("input", printable(given))
    grid.add_row("canonical", Text(number.canonical, "bold") if number.canonical is not None else Text("none", "red"))
    if number.alternatives:
        grid.add_row("or", ", ".join(number.alternatives))
    if number.kind is not None:
        words, chinese = KINDS[number.kind]
        grid.add_row("kind", f"{number.kind}  {words} {chinese}")
    if number.area is not None:
        grid.add_row("area", number.area)
    for name, english, chinese_name in (("place", place_en, place_zh), ("holder", holder_en, holder_zh)):
        if english or chinese_name:
            grid.add_row(name, " ".join(text for text in (english, chinese_name) if text))
    for place, flag in enumerate(number.flags):
        grid.add_row("flags" if not place else "", f"{flag}  {FLAGS[flag]}")
    grid.add_row("code", explained(number.code, "bold red") if number.code is not None else Text("none: a regular number", "green"))
    console().print(grid)


def _area(text: str) -> str:
    """An area code; a trunk 0 before it is what people are used to write."""
    code = text.removeprefix("0")
    if not is_area_code(code):
        raise argparse.ArgumentTypeError(f"{text!r} is no area code of the plan; 755 for Shenzhen")
    return code
