"""What only a node with our secret can write: To tags of stateless refusals, dialog tokens in Record-Route, loop hashes in Via branches.

No state is needed to recognise them, so workers, restarted workers and takeover nodes that share the secret recognise each other's.
"""

from __future__ import annotations

from collections.abc import Callable
from hashlib import blake2b
from typing import Any, Final
from uuid import UUID, uuid5

from proxy.sip.kernel import compiled

BRANCH: Final = b"z9hG4bKsw"
"""What every branch of ours begins with: RFC 3261's magic cookie and our mark, then worker, ".", serial number, ".", loop hash."""
PARAM: Final = b"sw"
"""The URI parameter of our Record-Route that carries a dialog token."""
ID_SIZE: Final = 8
TAG_SIZE: Final = 16
_HASH: Final = 12
NO_TABLE: Final = b"0000"
"""Stands in a token where no record of the call was made."""
_HEADS: Final = tuple([b"%02x" % worker for worker in range(256)])
_MAC: Final = 16
_HEAD: Final = 15
TOKEN_SIZE: Final = _HEAD + 2 * ID_SIZE + 3 * _HASH + _MAC
_KINDS: Final = (b"0", b"1", b"2")
"""A token's first octet: of a request that is no INVITE, of a call, of a call whose caller is withheld."""


class DialogToken:
    """A token that was found valid for a request: who the call came from and went to, and in which direction this request runs.

    `ingress` and `egress` are id codes (see `Secret.id_code`). `from_caller` is True for requests of the side that sent the initial INVITE.
    `withheld` says that the callee was not shown the caller's number, and must not be in any later request either. `worker` sent the
    INVITE on, `key` stands for the call that one INVITE began, `invite` says that it was one.
    """

    __slots__ = ("egress", "from_caller", "ingress", "invite", "key", "raw", "withheld")

    def __init__(self, raw: bytes, from_caller: bool) -> None:
        self.raw = raw
        self.ingress = raw[_HEAD : _HEAD + ID_SIZE]
        self.egress = raw[_HEAD + ID_SIZE : _HEAD + 2 * ID_SIZE]
        self.key = raw[TOKEN_SIZE - _MAC :]
        self.invite = raw[:1] != b"0"
        self.from_caller = from_caller
        self.withheld = raw[:1] == b"2"

    @property
    def worker(self) -> int:
        """The worker that sent the INVITE on."""
        return int(self.raw[1:3], 16)

    @property
    def table(self) -> bytes:
        """Which table of that worker has, or had, a record of the call."""
        return self.raw[3:7]


def call_key(token: bytes) -> bytes:
    """What stands for the call in a token of ours, see `DialogToken.key`."""
    return token[TOKEN_SIZE - _MAC :]


class Keyed:
    """Keyed digests of many texts: blake2b, in hex. One object with its key is made once and copied for each text.

    The compiled kernel has the same, which takes half the time of Python's objects.
    """

    __slots__ = ("_empty",)

    def __init__(self, key: bytes, size: int) -> None:
        self._empty = blake2b(key=key, digest_size=size)

    def hex(self, text: bytes) -> bytes:
        """The digest of a text, in hex digits."""
        made = self._empty.copy()
        made.update(text)
        return made.hexdigest().encode()

    def hex_lines(self, a: bytes, b: bytes, c: bytes, d: bytes | None = None) -> bytes:
        """The digest of three or four lines with a line feed between each two."""
        return self.hex(b"\n".join((a, b, c) if d is None else (a, b, c, d)))


def keyed(secret: bytes, purpose: bytes, digits: int) -> Callable[[bytes], bytes]:
    """What makes digests of so many hex digits with a key of their own for one purpose."""
    found: Callable[[bytes], bytes] = _keyed(secret, purpose, digits).hex
    return found


def keyed_lines(secret: bytes, purpose: bytes, digits: int) -> Callable[..., bytes]:
    """The same of three or four lines of a text, each an argument."""
    found: Callable[..., bytes] = _keyed(secret, purpose, digits).hex_lines
    return found


def _keyed(secret: bytes, purpose: bytes, digits: int) -> Any:
    key = blake2b(secret, person=purpose, digest_size=32).digest()
    return Keyed(key, digits // 2) if compiled is None else compiled.Keyed(key, digits // 2)


class Secret:
    """The node secret, with one key derived from it for each purpose."""

    __slots__ = ("_dialog", "_id", "_identity", "_loop", "_origins", "_tag")

    def __init__(self, secret: bytes) -> None:
        """`secret`: 16 bytes or more, shared by the workers and takeover nodes; ValueError when shorter."""
        if len(secret) < 16:
            raise ValueError("a node secret has at least 16 bytes")
        self._tag = keyed_lines(secret, b"sw-to-tag", TAG_SIZE)
        self._dialog = keyed_lines(secret, b"sw-dialog", _MAC)
        self._identity = keyed(secret, b"sw-identity", _HASH)
        self._loop = keyed(secret, b"sw-loop", _HASH)
        self._id = keyed(secret, b"sw-id", ID_SIZE)
        self._origins = UUID(bytes=blake2b(secret, person=b"sw-origins", digest_size=16).digest())

    def to_tag(self, branch: bytes, call_id: bytes, from_tag: bytes, cseq: bytes) -> bytes:
        """The To tag of our refusal of this request, the same for every retransmission and worker (RFC 3261 §8.2.7)."""
        return self._tag(branch, call_id, from_tag, cseq)

    def id_code(self, identifier: str) -> bytes:
        """Eight hex digits that stand for a trunk or next hop on the wire without naming it."""
        return self._id(identifier.encode())

    def tag_code(self, tag: bytes) -> int:
        """A number of 4 octets, never 0, that stands for a To tag: nobody can make another tag with the same."""
        return int(self._id(b"tag " + tag), 16) or 1

    def origin_id(self, name: str) -> str:
        """A UUID that stands for a customer or trunk (RFC 9562 §5.5): its name space is secret, so that nobody can try names."""
        return str(uuid5(self._origins, name))

    def identity(self, sender: bytes, pai: tuple[bytes, ...] = ()) -> bytes:
        """Digest of the identity a request presents: From's URI and the P-Asserted-Identity values that say something else."""
        return self._identity(b"\n".join((sender, *pai)) if pai and pai != (sender,) else sender)

    def loop_hash(self, fields: tuple[bytes, ...]) -> bytes:
        """Digest of RFC 5393 §4.2's fields of a request with its ingress and egress; it goes into our branch, and names a loop when it
        comes back.
        """
        return self._loop(b"\n".join(fields))

    def dialog_token(
        self,
        call_id: bytes,
        from_tag: bytes,
        ingress: bytes,
        egress: bytes,
        sender: bytes,
        pai: tuple[bytes, ...],
        callee: bytes,
        *,
        worker: int = 0,
        table: bytes = NO_TABLE,
        serial: int = 0,
        withheld: bool = False,
        invite: bool = True,
    ) -> bytes:
        """The token of a dialog that this initial INVITE may set up: whether the caller's number is withheld, the worker that sends it on
        and the table in which it notes the call (4 hex digits), ids, what each side's identity was, and a MAC over all with Call-ID and
        From tag. `serial` makes the tokens of INVITEs different that are alike in all else.
        """
        own = self._identity(sender)
        asserted = self.identity(sender, pai) if pai and pai != (sender,) else own
        head = _HEADS[worker & 0xFF]
        kind = b"2" if withheld else b"1" if invite else b"0"
        body = b"".join((kind, head, table, b"%08x" % (serial & 0xFFFFFFFF), ingress, egress, own, asserted, self._identity(callee)))
        return body + self._mac(body, call_id, from_tag)

    def _mac(self, body: bytes, call_id: bytes, from_tag: bytes) -> bytes:
        return self._dialog(body, call_id, from_tag)

    def check_dialog(self, token: bytes, call_id: bytes, from_tag: bytes, to_tag: bytes) -> DialogToken | None:
        """The token when it is ours and belongs to this dialog (either side may have written the request), None otherwise."""
        if len(token) != TOKEN_SIZE or token[:1] not in _KINDS:
            return None
        body, mac = token[:-_MAC], token[-_MAC:]
        # plain comparison: a MAC can be tried online only, and each try is counted
        if mac == self._mac(body, call_id, from_tag):
            return DialogToken(token, True)
        if mac == self._mac(body, call_id, to_tag):
            return DialogToken(token, False)
        return None

    def same_identity(self, token: DialogToken, sender: bytes, pai: tuple[bytes, ...]) -> bool:
        """Whether a request inside the dialog presents what its side presented when the dialog was set up."""
        at = _HEAD + 2 * ID_SIZE
        own, asserted, callee = (
            token.raw[at : at + _HASH],
            token.raw[at + _HASH : at + 2 * _HASH],
            token.raw[at + 2 * _HASH : at + 3 * _HASH],
        )
        found = self.identity(sender, pai)
        if token.from_caller:
            return found == (asserted if pai else own)
        return not pai and found == callee
