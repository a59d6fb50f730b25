"""Which calls the demo makes, and what must become of each: scenario.toml."""

from __future__ import annotations

import tomllib
from importlib.resources import files
from typing import Literal

import msgspec

Transport = Literal["udp", "tcp"]
Conduct = Literal["answers", "hangs up", "busy", "rings"]
"""What a called number does: answer and wait for the caller to hang up, answer and hang up itself, be busy, ring until cancelled."""


class Expected(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The verdict, and the status that ends the caller's INVITE."""

    action: str
    code: str
    status: int


class PlannedCall(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One call. Numbers stand as they are dialled or as URIs; `cancel`: the caller gives up when it hears that the callee rings."""

    title: str
    peer: str
    transport: Transport
    sender: str = msgspec.field(name="from")
    to: str
    pai: tuple[str, ...] = ()
    privacy: str | None = None
    cancel: bool = False
    expect: Expected


class Scenario(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Peers by id with their addresses, what called numbers do where they do not simply answer, and the calls in order."""

    peers: dict[str, str]
    callees: dict[str, Conduct]
    call: tuple[PlannedCall, ...]


def packaged_scenario() -> Scenario:
    """The one that comes with sipwarden."""
    text = files("proxy.demo").joinpath("scenario.toml").read_text(encoding="utf-8")
    return msgspec.convert(tomllib.loads(text), Scenario)
