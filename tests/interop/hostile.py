"""What an enemy sends: noise, broken copies of valid messages, torture messages. The same for the same seed."""

from __future__ import annotations

import random
import re
import select
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from proxy.token import TOKEN_SIZE
from tests.conftest import CORPORA
from tests.interop.node import CALLED, CALLER, STRANGER

TORTURE = Path(__file__).resolve().parents[1] / "cases" / "sip" / "torture"
_NAMES = (b"Via", b"From", b"To", b"Call-ID", b"CSeq", b"Contact", b"Max-Forwards", b"Content-Length", b"Route", b"Record-Route")
_SPLICES = (b"\r\n", b"\r\n\r\n", b"\x00", b",", b";", b"<", b">", b'"', b"%", b"\xff\xfe", b"\r\n ", b": ", b"sip:", b"z9hG4bK", b"9" * 40)


def files() -> list[bytes]:
    """Torture messages: ours, and third parties' where they are there."""
    found = sorted(TORTURE.glob("*.sip"))
    for folder in ("rfc4475", "rfc5118", "protos"):
        found += sorted(path for path in (CORPORA / folder).glob("*") if path.suffix not in (".md", ".tsv"))
    return [path.read_bytes() for path in found]


def datagrams(seed: int, count: int, port: int, files: list[bytes]) -> Iterator[bytes]:
    """`count` datagrams for a node at this port: a tenth noise, four tenths torture messages, half broken copies."""
    chance = random.Random(seed)
    for number in range(count):
        kind = chance.random()
        if kind < 0.1:
            yield chance.randbytes(chance.choice((1, 5, 20, 100, 1000, 9000)))
        elif kind < 0.5:
            yield chance.choice(files)[:60000]
        else:
            data = _valid(chance, number, seed, port)
            for _ in range(chance.choice((1, 1, 2, 5, 30))):
                data = _broken(chance, data)
            yield data[:60000]


def _valid(chance: random.Random, number: int, seed: int, port: int) -> bytes:
    tag = f"{seed}x{number}"
    if chance.random() < 0.2:  # a response to something that was never sent, or with a branch that looks like ours
        branch = chance.choice((f"z9hG4bK{tag}", f"z9hG4bKsw{chance.randrange(4)}.0000{number:x}.abcd", "z9hG4bKsw9999999.1.2"))
        status = chance.choice((100, 180, 200, 302, 486, 503, 699))
        head = f"SIP/2.0 {status} Whatever\r\nVia: SIP/2.0/UDP 127.0.0.1:{port};branch={branch}\r\n"
        method = "INVITE"
    else:
        method = chance.choice(("INVITE", "INVITE", "INVITE", "ACK", "BYE", "CANCEL", "OPTIONS", "UPDATE", "REGISTER", "MESSAGE"))
        head = f"{method} sip:{CALLED}@127.0.0.1:{port} SIP/2.0\r\n"
    caller = chance.choice((CALLER, CALLER, STRANGER))
    token = "1" + "A" * (TOKEN_SIZE - 1)  # of the right form, and forged
    to_tag = chance.choice(("", "", f";tag=to{tag}"))
    body = "v=0\r\no=- 1 1 IN IP4 127.0.0.2\r\ns=-\r\nc=IN IP4 127.0.0.2\r\nt=0 0\r\nm=audio 9000 RTP/AVP 8\r\n"
    return (
        f"{head}Via: SIP/2.0/UDP 127.0.0.2:9;branch=z9hG4bK{tag};rport\r\nMax-Forwards: 70\r\n"
        f"From: <sip:{caller}@127.0.0.2>;tag=f{tag}\r\nTo: <sip:{CALLED}@127.0.0.1>{to_tag}\r\nCall-ID: h{tag}@127.0.0.2\r\n"
        f"CSeq: 1 {method}\r\nContact: <sip:127.0.0.2:9>\r\nP-Asserted-Identity: <sip:{caller}@127.0.0.2>, <tel:+86{caller[1:]}>\r\n"
        f"Route: <sip:127.0.0.1:{port};lr;sw={token}>\r\nContent-Type: application/sdp\r\nContent-Length: {len(body)}\r\n\r\n{body}"
    ).encode()


def _broken(chance: random.Random, data: bytes) -> bytes:
    if not data:
        return data
    at = chance.randrange(len(data))
    match chance.randrange(9):
        case 0:
            return data[:at] + bytes((chance.randrange(256),)) + data[at + 1 :]
        case 1:
            return data[:at]
        case 2:
            return data[:at] + data[at + chance.randrange(1, 40) :]
        case 3:
            return data[:at] + chance.choice(_SPLICES) + data[at:]
        case 4:
            return data[:at] + data[at : at + chance.randrange(1, 400)] * chance.choice((2, 3, 50)) + data[at:]
        case 5:
            lines = data.split(b"\r\n")
            chance.shuffle(lines)
            return b"\r\n".join(lines)
        case 6:
            return data.replace(chance.choice(_NAMES) + b":", chance.choice(_NAMES) + b":", 1)
        case 7:
            name = chance.choice(_NAMES)
            return re.sub(
                rb"(?m)^" + name + rb":.*$", name + b": " + chance.randbytes(chance.choice((0, 3, 300))).replace(b"\\", b"/"), data, count=1
            )
        case _:
            return data.replace(b"\r\n", chance.choice((b"\n", b"\r", b"\r\n\r\n", b"\r\n\t")), chance.choice((1, 3, 100)))


@contextmanager
def switch_that_is_busy(address: str, port: int, proxy: tuple[str, int]) -> Iterator[None]:
    """A switch that says 486 to every INVITE and 200 to everything else, however odd it looks."""
    ended = threading.Event()
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.bind((address, port))

        def serve() -> None:
            while not ended.is_set():
                if select.select([sock], [], [], 0.1)[0]:
                    answer = _answer(sock.recv(65535))
                    if answer:
                        sock.sendto(answer, proxy)

        thread = threading.Thread(target=serve)
        thread.start()
        try:
            yield
        finally:
            ended.set()
            thread.join()


def _answer(request: bytes) -> bytes:
    if request.startswith((b"ACK ", b"SIP/")):
        return b""
    head = request.partition(b"\r\n\r\n")[0]
    lines = re.split(rb"\r\n(?![ \t])", head)[1:]
    copied = [line for line in lines if re.match(rb"(?i)(via|v|from|f|to|t|call-id|i|cseq)[ \t]*:", line)]
    status = b"486 Busy Here" if request.startswith(b"INVITE ") else b"200 OK"
    return b"\r\n".join([b"SIP/2.0 " + status, *copied, b"Content-Length: 0", b"", b""])
