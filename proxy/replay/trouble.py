"""What could not be read of a trace: counted by kind, the first few named."""

from __future__ import annotations

from typing import Final, NamedTuple

EXAMPLES = 5
MAX_WHY = 200

FILE: Final = "file"
CUT: Final = "cut"
DAMAGED: Final = "damaged"
LINK: Final = "link"
PACKET: Final = "packet"
SNAPLEN: Final = "snaplen"
FRAGMENTS: Final = "fragments"
STREAM: Final = "stream"
HEP: Final = "hep"
MESSAGE: Final = "message"
TLS: Final = "tls"
WEBSOCKET: Final = "websocket"

KINDS: Final = {
    FILE: "files that could not be opened, or that are nothing we know",
    CUT: "files that end within a record",
    DAMAGED: "records whose lengths lie",
    LINK: "packets of a link type that is not read",
    PACKET: "packets whose headers lie",
    SNAPLEN: "messages that the capture cut (its snapshot length)",
    FRAGMENTS: "packets of which fragments are missing or overlap",
    STREAM: "TCP streams with a gap, or that lost their frames",
    HEP: "HEP packets that could not be read",
    MESSAGE: "messages that the SIP parser refuses",
    TLS: "connections that are encrypted",
    WEBSOCKET: "WebSocket connections, which are not read",
}
# What these count was understood and is no fault of the trace.
UNREAD: Final = frozenset((TLS, WEBSOCKET))


class Example(NamedTuple):
    """One case: the place ("file.pcap:123", see Captured) and the reason in words."""

    place: str
    why: str


class Trouble:
    """Counters of one reading. `packets` and `messages` count what was read, `counts` by kind (see KINDS) what was not."""

    __slots__ = ("counts", "examples", "messages", "packets")

    def __init__(self) -> None:
        self.packets = 0
        self.messages = 0
        self.counts: dict[str, int] = {}
        self.examples: dict[str, list[Example]] = {}

    def note(self, kind: str, place: str, why: str) -> None:
        """Count one of this kind (one of KINDS; anything else is KeyError); the first EXAMPLES of a kind are kept by name."""
        count = self.counts.get(kind, 0)
        if not count:
            KINDS[kind]  # a wrong name is our own mistake
            self.examples[kind] = []
        self.counts[kind] = count + 1
        if count < EXAMPLES:
            self.examples[kind].append(Example(place, why[:MAX_WHY]))

    @property
    def unparsable(self) -> int:
        """How many things were malformed, whatever the kind; what is only encrypted is not among them."""
        return sum(count for kind, count in self.counts.items() if kind not in UNREAD)
