"""The time of which a journal is replayed."""

from __future__ import annotations

from typing import Final, NamedTuple

from proxy.events import Attempt, Event

SETUP: Final = 240_000
"""Milliseconds after the window in which the final response of a call that came within it is still looked for."""


class Window(NamedTuple):
    """Calls received from `first` on and before `last`; milliseconds since 1970, UTC."""

    first: int
    last: int

    def has(self, event: Event) -> bool:
        """Whether an event is that of a call in the window, or may tell how one ended."""
        return self.first <= event.at < (self.last if isinstance(event, Attempt) else self.last + SETUP)


ALWAYS: Final = Window(-(1 << 63), 1 << 63)
