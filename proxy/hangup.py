"""What workers tell each other of calls. Not compiled: compiled, a field of a few words would be one of any type, which is not decoded."""

from __future__ import annotations

from typing import NamedTuple

from proxy.events import By


class Hangup(NamedTuple):
    """What the owner of a call is told by the worker that a BYE came to, or a request inside the call that was answered 408 or 481.

    `table` stands in the call's token, `tag` is the code of the callee's tag, `at` in ms since 1970.
    """

    key: bytes
    table: bytes
    tag: int
    call_id: bytes
    from_tag: bytes
    ingress: bytes
    at: int
    by: By
    why: str
