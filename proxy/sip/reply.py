"""A response on its way back through us: read as far as that takes."""

from __future__ import annotations

from proxy.sip.message import SipMessage


class Reply:
    """A response as it came. `onward` is what goes on of it, its topmost Via line taken off, where the kernel has read it (then nothing in
    it needs a closer look), and `from_at` the place of From's line there, -1 without one; `onward` is None for any other.
    """

    __slots__ = ("_message", "_raw", "from_at", "onward", "status")

    def __init__(self, raw: bytes, status: int, message: SipMessage | None, onward: bytes | None = None, from_at: int = -1) -> None:
        self.status = status
        self.onward = onward
        self.from_at = from_at
        self._raw = raw
        self._message = message

    @property
    def message(self) -> SipMessage:
        """The whole message."""
        if self._message is None:
            self._message = SipMessage.parse(self._raw)
        return self._message

    @property
    def goes_on(self) -> bool:
        """Whether it has a Via below ours, to whose sender it goes. ParseError for Via lines that cannot be read."""
        if self.onward is not None:
            return True
        message = self.message
        more = message.more_lines
        return (more is not None and b"via" in more) or len(message.all(b"via")) > 1

    def with_from(self, line: bytes) -> bytes:
        """What goes on, with another From line."""
        onward, at = self.onward or b"", self.from_at
        return onward if at < 0 else onward[:at] + line + onward[onward.find(b"\r\n", at) :]
