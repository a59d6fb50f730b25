"""The one exception that malformed SIP ends in."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from proxy.sip.message import SipMessage


class ParseError(Exception):
    """A message that is not valid SIP.

    `status` is the response that a malformed request deserves (RFC 3261 §16.3: 400, 416, 505, 513), or 0 where the message is to be
    discarded (responses, ACK, and what has too little to be answered). `phrase` says what is wrong, fit for a reason phrase. `message`
    is what could be read of the request, enough to build the response from; `head` the bytes of a stream message that ended its connection.
    """

    def __init__(self, status: int, phrase: str, message: SipMessage | None = None, head: bytes = b"") -> None:
        super().__init__(f"{status} {phrase}")
        self.status = status
        self.phrase = phrase
        self.message = message
        self.head = head
