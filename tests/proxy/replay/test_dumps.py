"""Messages in text, as the programs write it that engineers use."""

from __future__ import annotations

import tomllib
from datetime import timedelta, timezone
from pathlib import Path
from typing import Any

import pytest

from proxy.replay import dumps
from proxy.replay.captured import Trouble, read
from proxy.sip.message import SipMessage
from tests.proxy.replay.traces import found, request

CASES = Path(__file__).resolve().parents[2] / "cases" / "replay"
DUMPS: dict[str, list[list[Any]]] = tomllib.loads((CASES / "dumps.toml").read_text())["dumps"]


def test_all_dumps_are_described() -> None:
    assert {path.name for path in CASES.iterdir()} == {*DUMPS, "dumps.toml"}


@pytest.mark.parametrize("name", DUMPS)
def test_dump(name: str) -> None:
    path = str(CASES / name)
    trouble = Trouble()
    messages = list(read([path], trouble))
    told = [
        [
            int(message.place.removeprefix(f"{path}:")),
            pytest.approx(message.at, abs=1e-6),
            f"{message.source}:{message.source_port}",
            f"{message.destination}:{message.destination_port}",
            message.transport,
            message.data.split(b" ")[0].decode(),
            len(message.data.partition(b"\r\n\r\n")[2]),
        ]
        for message in messages
    ]
    assert told == DUMPS[name]
    assert trouble.messages == len(messages)
    assert trouble.counts == ({} if messages else {"file": 1})
    for message in messages:
        assert b"\n" not in message.data.replace(b"\r\n", b"")
        if message.whole:
            SipMessage.parse(message.data)


def test_unfinished_message_is_not_whole() -> None:
    assert [message.whole for message in read([str(CASES / "unfinished.sip")], Trouble())] == [False, True]


def test_zone_of_times_that_have_none() -> None:
    first = next(iter(read([str(CASES / "ngrep.txt")], Trouble(), zone=timezone(timedelta(hours=8)))))
    assert first.at == pytest.approx(1795514400.123456 - 8 * 3600)


def test_exact_bytes_stay(tmp_path: Path) -> None:
    data = request(body=b"\0\r\xff\n", extra="Content-Type: application/octet-stream")
    messages, trouble = found(data, tmp_path / "binary.sip")
    assert [message.data for message in messages] == [data]
    assert trouble.counts == {}


@pytest.mark.corpora
@pytest.mark.parametrize("folder", ["rfc4475", "rfc5118"])
def test_torture_messages(folder: str, corpora: Path) -> None:
    """Each file is one message; what is so malformed that its first line does not say so is counted by name."""
    for path in sorted((corpora / folder).iterdir()):
        if path.suffix == ".tsv":
            continue
        trouble = Trouble()
        messages = list(read([str(path)], trouble))
        if path.name == "dblreq.dat":  # two in one datagram; in a file, two messages
            assert [message.data.split(b" ")[0] for message in messages] == [b"REGISTER", b"INVITE"]
            continue
        assert len(messages) == 1 or (not messages and trouble.counts == {"file": 1}), path.name
        if messages and messages[0].whole:
            assert path.read_bytes().startswith(messages[0].data.rstrip(b"\r\n")), path.name


def test_byte_order_mark(tmp_path: Path) -> None:
    messages, trouble = found(b"\xef\xbb\xbf" + request(), tmp_path / "notepad.sip")
    assert [message.data for message in messages] == [request()]
    assert trouble.counts == {}


def test_endless_message_is_given_up(tmp_path: Path) -> None:
    lines = b"X: " + b"y" * 1000 + b"\r\n"
    messages, trouble = found(request() + b"INVITE sip:a@b SIP/2.0\r\n" + lines * 400 + request(number=2), tmp_path / "long.sip")
    assert len(messages) == 2
    assert trouble.counts == {"damaged": 1}


def test_endless_line(tmp_path: Path) -> None:
    messages, trouble = found(b"a" * (3 * dumps.MAX_LINE) + b"\n" + request(), tmp_path / "line.sip")
    assert [message.place.rpartition(":")[2] for message in messages] == ["2"]
    assert trouble.counts == {}
