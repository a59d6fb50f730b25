"""Which worker the kernel gives a datagram to: a classic BPF program that goes by Call-ID, so that one worker gets all of a call.

Left to itself the kernel goes by addresses and ports: one busy peer then keeps one worker busy and the others idle, and the responses of a
switch all reach the same worker. Responses that reach another worker are handed over, by the worker id that stands in our branches; so is a
caller's CANCEL, or its ACK for a failure, by what is noted of INVITEs that the program does not find (`proxy.owners`). The program needs no
privileges (SO_ATTACH_REUSEPORT_CBPF, Linux 4.5).

Classic BPF jumps forward only and has 4096 instructions, so the search is unrolled. It looks at four octets out of every seven: of the
ten in `CR LF Call-ID :`, in whatever case, one such word is among these wherever they begin. The Call-ID's first octets are then hashed
with two numbers drawn at each start: whoever picks his Call-IDs cannot know which worker they lead to (that all of them lead to one he can
always have, by the same Call-ID each time). No Call-ID found (its compact form `i`, blanks before the colon, a place behind the part that
is searched, what is no SIP at all): the program answers with no worker, and the kernel goes by addresses and ports.
"""

from __future__ import annotations

import ctypes
import errno
import logging
import secrets
import socket
import struct
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from proxy.sockets import Binding, place

BEGIN: Final = 72
"""Octets at the start that are not searched: a first line and a Via, at least."""

LARGE: Final = (2, 101)
"""Places looked at in a chunk, and chunks, as many as 4096 instructions hold. Behind what only looked like a Call-ID the search goes on in
the next chunk.
"""

_STRIDE: Final = 7
_WORD: Final = 4
"""Octets looked at in one go."""

HASHED: Final = 12
"""Words of four octets of the Call-ID that count."""

NO_WORKER: Final = 0xFFFFFFFF
"""What the kernel takes for no answer."""

_LOWER: Final = 0x20202020  # makes letters small, "-*" of CR LF, and nothing else of "-", ":" and small letters
_NAME: Final = bytes(octet | 0x20 for octet in b"\r\nCall-ID:")
_FOUND: Final = tuple(int.from_bytes(_NAME[at : at + _WORD], "big") for at in range(len(_NAME) - _WORD + 1))
_WHICH: Final = 0x5D829E77
"""Times this, the upper three bits of the word at place n of _FOUND are 6 - n: saves seven branches with a number each."""

_SO_ATTACH_REUSEPORT_CBPF: Final = 51

# operation codes (linux/bpf_common.h): class, size or operation, mode or source
_LD_LEN, _LD_IMM, _LD_MEM, _LDX_IMM, _LDX_MEM, _ST, _STX = 0x80, 0x00, 0x60, 0x01, 0x61, 0x02, 0x03
_LD_ABS, _LD_IND, _LDB_IND = 0x20, 0x40, 0x50
_ADD, _ADD_X, _SUB_X, _MUL, _MOD, _OR, _OR_X, _AND, _LSH, _RSH, _XOR_X = 0x04, 0x0C, 0x1C, 0x24, 0x94, 0x44, 0x4C, 0x54, 0x64, 0x74, 0xAC
_JA, _JEQ, _JGT, _JGE = 0x05, 0x15, 0x25, 0x35
_RET_K, _RET_A, _TAX, _TXA = 0x06, 0x16, 0x07, 0x87

log = logging.getLogger(__name__)

Instruction = tuple[int, int, int, int]  # code, jump if true, jump if false, k: struct sock_filter


@dataclass(frozen=True, slots=True)
class Key:
    """What the hash is mixed with; `factor` is odd."""

    seed: int
    factor: int

    @classmethod
    def draw(cls) -> Key:
        """One that nobody can guess."""
        return cls(secrets.randbits(32), secrets.randbits(32) | 1)


class _Assembly:
    """Instructions with the names of places to jump to, which stand further on."""

    def __init__(self) -> None:
        self._lines: list[tuple[int, int, str, str]] = []
        self._places: dict[str, int] = {}

    def __call__(self, code: int, k: int = 0, true: str = "", false: str = "") -> None:
        self._lines.append((code, k & 0xFFFFFFFF, true, false))

    def place(self, name: str) -> None:
        self._places[name] = len(self._lines)

    def instructions(self) -> list[Instruction]:
        def jump(at: int, name: str) -> int:
            return self._places[name] - at - 1 if name else 0

        made = []
        for at, (code, k, true, false) in enumerate(self._lines):
            if code == _JA:
                made.append((code, 0, 0, jump(at, true)))
            else:
                made.append((code, jump(at, true), jump(at, false), k))
        return made


def reach(size: tuple[int, int]) -> int:
    """Up to which octet of a datagram a program of this size searches."""
    places, chunks = size
    return BEGIN + chunks * places * _STRIDE


def program(workers: int, key: Key, size: tuple[int, int] = LARGE) -> list[Instruction]:
    """The program for a group of that many sockets; `size` as LARGE.

    It sees the datagram without UDP's header, and answers with the place of a socket in its group, or with NO_WORKER. Reading past the end
    would answer 0, a worker: so nothing is read before the length was asked.
    """
    put = _Assembly()
    places, chunks = size
    for chunk in range(chunks):
        _search(put, chunk, places)
    put.place(f"chunk {chunks}")
    put.place("none")
    put(_RET_K, NO_WORKER)
    _hash(put, key)
    put.place("mix")
    put(_LD_MEM, 2)
    for shift, factor in ((16, 0x85EBCA6B), (13, 0xC2B2AE35), (16, 0)):  # every bit comes to bear on the lowest ones
        put(_TAX)
        put(_RSH, shift)
        put(_XOR_X)
        if factor:
            put(_MUL, factor)
    put(_MOD, workers)
    put(_RET_A)
    put.place("no")
    put(_RET_K, NO_WORKER)
    return put.instructions()


def _search(put: _Assembly, chunk: int, places: int) -> None:
    """One chunk. Where the name is found, X is the place of its CR; "chunk n" is what comes next."""
    put.place(f"chunk {chunk}")
    begin = BEGIN + chunk * places * _STRIDE
    for number in range(places):
        at = begin + number * _STRIDE
        put.place(f"at {at}")
        if number % 2 == 0:
            put(_LD_LEN)
            put(_JGE, at + _STRIDE + len(_NAME), "", f"short {chunk}")
        put(_LD_ABS, at)
        put(_OR, _LOWER)
        following = f"at {at + _STRIDE}" if number < places - 1 else f"past {chunk}"
        for word in _FOUND[:-1]:
            put(_JEQ, word, f"hit {at}")
        put(_JEQ, _FOUND[-1], "", following)
        put.place(f"hit {at}")
        put(_LDX_IMM, at - len(_FOUND) + 1)
        put(_JA, 0, f"verify {chunk}")
    put.place(f"past {chunk}")
    put(_JA, 0, f"chunk {chunk + 1}")
    put.place(f"short {chunk}")
    put(_JA, 0, "none")
    put.place(f"verify {chunk}")
    put(_MUL, _WHICH)
    put(_RSH, 29)
    put(_ADD_X)
    put(_TAX)
    for at in (1, 5):
        put(_LD_IND, at)
        put(_OR, _LOWER)
        put(_JEQ, _FOUND[at], "", f"chunk {chunk + 1}")
    put(_JA, 0, "found")


def _hash(put: _Assembly, key: Key) -> None:
    """From the name on: M[0] is where we are, M[1] what was read, M[2] the hash."""
    put.place("found")
    put(_LD_IMM, key.seed)
    put(_ST, 2)
    put(_LD_LEN)
    put(_SUB_X)
    put(_JGE, len(_NAME) + 2, "", "none too")
    put(_LDB_IND, len(_NAME) - 1)
    put(_JEQ, ord(":"), "", "none too")
    put(_LDB_IND, len(_NAME))
    put(_JEQ, ord(" "), "blank")
    put(_TXA)
    put(_JA, 0, "value")
    put.place("blank")
    put(_TXA)
    put(_ADD, 1)
    put.place("value")
    put(_ADD, len(_NAME))
    put(_TAX)
    put(_LDB_IND, 0)
    put(_JGT, ord(" "), "word 0", "none too")  # one blank is usual; more, or none at all to be read, are not
    put.place("none too")
    put(_JA, 0, "no")
    for word in range(HASHED):
        put.place(f"word {word}")
        put(_STX, 0)
        put(_LD_LEN)
        put(_SUB_X)
        put(_JGE, _WORD, "", f"ends {word}")
        put(_LD_IND, 0)
        put(_ST, 1)
        put(_LDX_MEM, 1)
        put(_LSH, 1)
        put(_OR_X)
        put(_AND, 0x40404040)
        put(_JEQ, 0x40404040, "", f"last {word}")  # every octet has bit 5 or 6: no blank but the space, no CR
        put(_LD_MEM, 2)
        put(_XOR_X)
        put(_MUL, key.factor)
        put(_ST, 2)
        put(_LD_MEM, 0)
        put(_ADD, _WORD)
        put(_TAX)
        put(_JA, 0, f"word {word + 1}")
        put.place(f"ends {word}")
        put(_JA, 0, "no")  # where a message ends at that, it has no end
        put.place(f"last {word}")
        put(_JA, 0, "tail")
    put.place(f"word {HASHED}")
    put(_JA, 0, "mix")
    put.place("tail")
    put(_LDX_MEM, 0)
    for at in range(_WORD - 1):
        put(_LDB_IND, at)
        put(_JGT, ord(" "), "", f"over {at}")
        put(_ST, 1)
        put(_LDX_MEM, 1)
        put(_LD_MEM, 2)
        put(_XOR_X)
        put(_MUL, key.factor)
        put(_ST, 2)
        put(_LDX_MEM, 0)
        put(_JA, 0, f"next {at}")
        put.place(f"over {at}")
        put(_JA, 0, "mix")
        put.place(f"next {at}")


def attach(sock: socket.socket, workers: int, key: Key) -> int:
    """Have the group of UDP sockets that `sock` is one of, bound in the order of the workers, steered by Call-ID.

    How many octets of a datagram are searched. OSError where it cannot be done, as where the kernel has no room for the program
    (net.core.optmem_max, 20480 before Linux 6.7): a shorter one would find the Call-ID of a CANCEL and not that of its INVITE, which has
    more lines before it, and the two would reach different workers.
    """
    made = program(workers, key)
    code = ctypes.create_string_buffer(b"".join(struct.pack("=HBBI", *one) for one in made))
    try:
        sock.setsockopt(socket.SOL_SOCKET, _SO_ATTACH_REUSEPORT_CBPF, struct.pack("@HP", len(made), ctypes.addressof(code)))
    except OSError as error:
        if error.errno == errno.ENOMEM:
            raise OSError(errno.ENOMEM, "the kernel has no room for the program: sysctl net.core.optmem_max=131072 makes it") from None
        raise
    return reach(LARGE)


def steer(sockets: Sequence[Sequence[socket.socket]], bindings: Sequence[Binding], *, wanted: bool = True) -> dict[str, int]:
    """Steer each group of UDP sockets: `sockets` by worker, then in the order of `bindings`. Tells the log once of what cannot be.

    Of each UDP binding up to which octet datagrams are searched for a Call-ID, 0 where the kernel goes by addresses and ports.
    """
    reached = {}
    key = Key.draw()
    for at, binding in enumerate(bindings):
        if binding[0] != "udp":
            continue
        searched = 0
        if wanted and len(sockets) > 1:
            try:
                searched = attach(sockets[0][at], len(sockets), key)
            except OSError as error:
                log.warning("%s: datagrams go to workers by the peer's address and port, not by Call-ID: %s", place(binding), error)
        reached[place(binding)] = searched
    return reached
