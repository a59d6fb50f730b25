"""Classic BPF as the kernel runs it (linux/filter.h), as far as `proxy.steering` uses it, without a socket."""

from __future__ import annotations

from collections.abc import Sequence

from proxy.steering import Instruction

_MASK = 0xFFFFFFFF


class PastTheEnd(Exception):
    """A read outside the datagram: the kernel ends the program with 0, which would be the first worker."""


def checked(code: Sequence[Instruction]) -> list[Instruction]:
    """What the kernel checks before it takes a program: its length, jumps forward and inside, a return at the end."""
    assert 0 < len(code) <= 4096
    for at, (operation, true, false, k) in enumerate(code):
        assert 0 <= true < 256 and 0 <= false < 256
        if operation & 7 == 5:
            assert 0 <= k <= _MASK
            furthest = k if operation == 5 else max(true, false)
            assert at + 1 + furthest < len(code)
        else:
            assert true == false == 0
    assert code[-1][0] in (0x06, 0x16)
    return list(code)


def run(code: Sequence[Instruction], data: bytes) -> int:
    """What the program answers for a datagram. PastTheEnd as said there."""
    a = x = at = 0
    memory: dict[int, int] = {}  # what is read before it was written raises KeyError, as the kernel refuses such a program

    def octets(begin: int, count: int) -> int:
        if begin < 0 or begin + count > len(data):
            raise PastTheEnd
        return int.from_bytes(data[begin : begin + count], "big")

    while True:
        operation, true, false, k = code[at]
        at += 1
        match operation:
            case 0x80:
                a = len(data)
            case 0x00:
                a = k
            case 0x01:
                x = k
            case 0x20:
                a = octets(k, 4)
            case 0x40:
                a = octets(x + k, 4)
            case 0x50:
                a = octets(x + k, 1)
            case 0x60:
                a = memory[k]
            case 0x61:
                x = memory[k]
            case 0x02:
                memory[k] = a
            case 0x03:
                memory[k] = x
            case 0x07:
                x = a
            case 0x87:
                a = x
            case 0x05:
                at += k
            case 0x15:
                at += true if a == k else false
            case 0x25:
                at += true if a > k else false
            case 0x35:
                at += true if a >= k else false
            case 0x06:
                return k
            case 0x16:
                return a
            case _:
                a = _arithmetic(operation, a, x, k)


def _arithmetic(operation: int, a: int, x: int, k: int) -> int:
    other = x if operation & 8 else k
    match operation & 0xF0:
        case 0x00:
            a += other
        case 0x10:
            a -= other
        case 0x20:
            a *= other
        case 0x40:
            a |= other
        case 0x50:
            a &= other
        case 0x60:
            a <<= other
        case 0x70:
            a >>= other
        case 0x90:
            a %= other
        case 0xA0:
            a ^= other
        case _:
            raise AssertionError(f"{operation:#x}")
    return a & _MASK
