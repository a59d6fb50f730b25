"""Reading: files, pipes, compression, progress, order, and what goes wrong outside of the packets."""

from __future__ import annotations

import gzip
import subprocess
import sys
from pathlib import Path

import pytest

from proxy.hep import Hep, encode
from proxy.replay import trouble as kinds
from proxy.replay.captured import Trouble, read
from proxy.replay.octets import Counted, Gzip, Octets
from proxy.replay.trouble import EXAMPLES, KINDS
from tests.proxy.replay.traces import (
    Slow,
    datagram,
    enhanced,
    found,
    interface,
    methods,
    pcap,
    pieces4,
    request,
    response,
    section,
    segment,
    udp,
)

CALL = pcap([datagram(request()), datagram(response(), "192.0.2.2", "192.0.2.1")])


def test_what_is_told_of_a_message(tmp_path: Path) -> None:
    (invite, answer), trouble = found(pcap([datagram(request(), source_port=5070)]) + CALL[24:], tmp_path / "a.pcap")[0][:2], Trouble()
    assert (invite.at, invite.source, invite.source_port) == (1_700_000_000.0, "192.0.2.1", 5070)
    assert (invite.destination, invite.destination_port, invite.transport, invite.whole) == ("192.0.2.2", 5060, "udp", True)
    assert invite.data == request() == answer.data
    assert invite.place == f"{tmp_path}/a.pcap:1"
    assert str(tmp_path) in repr(invite)
    assert trouble.unparsable == 0


def test_mapped_addresses_are_those_of_ipv4(tmp_path: Path) -> None:
    (message,), _ = found(pcap([datagram(request(), "::ffff:192.0.2.1", "::ffff:192.0.2.2")]), tmp_path / "a")
    assert (message.source, message.destination) == ("192.0.2.1", "192.0.2.2")


@pytest.mark.parametrize(
    ("options", "ticks", "at"),
    [
        (b"", 1_700_000_000_250_000, 1_700_000_000.25),
        (b"\x09\0\1\0\x09\0\0\0", 1_700_000_000_250_000_000, 1_700_000_000.25),
        (b"\x09\0\1\0\x8a\0\0\0", 1_700_000_000 << 10 | 256, 1_700_000_000.25),
        (b"\x09\0\1\0\0\0\0\0" + b"\x0e\0\x08\0" + (1_000_000_000).to_bytes(8, "little"), 700_000_000, 1_700_000_000.0),
        (b"\x02\0\3\0lo\0\0" + b"\x09\0\1\0\x03\0\0\0\0\0\0\0", 1_700_000_000_250, 1_700_000_000.25),
        (b"\x09\0\1\0\xff\0\0\0", 5, 0.0),
        (b"\x09\0\1\0\0\0\0\0", 1 << 63, 0.0),
        (b"\x0e\0\x08\0" + (-1 << 63).to_bytes(8, "little", signed=True), 5, 0.0),
    ],
)
def test_time_of_pcapng(options: bytes, ticks: int, at: float, tmp_path: Path) -> None:
    data = section() + interface(101, options=options) + enhanced(datagram(request()), ticks=ticks)
    (message,), trouble = found(data, tmp_path / "a")
    assert message.at == pytest.approx(at, abs=1e-6)
    assert trouble.counts == {}


def test_nanoseconds(tmp_path: Path) -> None:
    messages, _ = found(pcap([datagram(request())] * 2, magic=0xA1B23C4D), tmp_path / "a")
    assert [message.at for message in messages] == [1_700_000_000.0, pytest.approx(1_700_000_000.1)]


def test_hep_file(tmp_path: Path) -> None:
    hep = encode(Hep(bytes(15) + b"\1", 5060, bytes(15) + b"\2", 5061, 1_700_000_000, 500_000, request(), protocol=6))
    (first, second), trouble = found(hep * 2, tmp_path / "a.hep")
    assert (first.at, first.source, first.source_port, first.destination_port, first.transport) == (
        1_700_000_000.5,
        "::1",
        5060,
        5061,
        "tcp",
    )
    assert second.place.endswith(":2")
    assert (trouble.packets, trouble.counts) == (2, {})
    for cut in (7, len(hep) - 1):
        assert found(hep + hep[:cut], tmp_path / "a.hep")[1].counts == {"cut": 1}
    assert found(hep + b"junk and more", tmp_path / "a.hep")[1].counts == {"damaged": 1}
    assert found(hep[:10] + b"\xff" + hep[11:] + hep, tmp_path / "a.hep")[1].counts == {"hep": 1}


def test_compressed_payload_in_hep_is_named(tmp_path: Path) -> None:
    hep = encode(Hep(bytes(4), 1, bytes(4), 2, 0, 0, b"\x78\x9c", compressed=True))
    messages, trouble = found(hep, tmp_path / "a.hep")
    assert (messages, trouble.counts) == ([], {"hep": 1})


def test_gzip_of_several_members(tmp_path: Path) -> None:
    messages, trouble = found(gzip.compress(CALL[:100]) + gzip.compress(CALL[100:]) + bytes(512), tmp_path / "a.gz")
    assert (methods(messages), trouble.counts) == (["INVITE", "200"], {})


def test_damaged_gzip(tmp_path: Path) -> None:
    packed = gzip.compress(pcap([datagram(request(number=number)) for number in range(3000)]))
    messages, trouble = found(packed[: len(packed) // 2], tmp_path / "a.gz")
    assert len(messages) > 100
    assert trouble.examples["cut"][0].why == "the gzip data ends too early"
    messages, trouble = found(packed[:10] + b"\xff" * 50 + packed[60:], tmp_path / "a.gz")
    assert messages == []
    assert "damaged gzip data" in trouble.examples["file"][0].why


def test_gzip_bomb_is_read_in_pieces(tmp_path: Path) -> None:
    path = tmp_path / "bomb.gz"
    path.write_bytes(gzip.compress(bytes(1 << 26)))
    counted = Counted(str(path))
    octets = Octets(Gzip(counted))
    assert octets.skip((1 << 26) - 5)
    assert octets.held <= 1 << 18
    assert octets.take(100) == bytes(5)
    assert not octets.skip(1)
    counted.close()


def test_zstandard_without_its_library(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    messages, trouble = found(b"\x28\xb5\x2f\xfd" + bytes(50), tmp_path / "a.zst")
    assert messages == []
    assert "pyarrow is not installed" in trouble.examples["file"][0].why


def test_zstandard(tmp_path: Path) -> None:
    arrow = pytest.importorskip("pyarrow")
    packed = arrow.compress(CALL * 1, codec="zstd", asbytes=True)
    messages, trouble = found(packed, tmp_path / "a.zst")
    assert (methods(messages), trouble.counts) == (["INVITE", "200"], {})
    messages, trouble = found(packed[:8] + bytes(20), tmp_path / "a.zst")
    assert (messages, list(trouble.counts)) == ([], ["file"])


def test_files_that_cannot_be_read(tmp_path: Path) -> None:
    (tmp_path / "empty").write_bytes(b"")
    (tmp_path / "good").write_bytes(CALL)
    (tmp_path / "short").write_bytes(CALL[:10])
    trouble = Trouble()
    names = ("absent", "", "empty", "a\0b", "short", "good")
    messages = list(read([str(tmp_path / name) for name in names], trouble))
    assert methods(messages) == ["INVITE", "200"]
    assert trouble.counts == {"file": 4, "cut": 1}
    assert {example.why for example in trouble.examples["file"]} == {
        "No such file or directory", "Is a directory", "it is empty", "embedded null byte"
    }  # fmt: skip


def test_segment_of_a_journal(tmp_path: Path) -> None:
    messages, trouble = found(b"sipwarden journal segment 1\n" + request(), tmp_path / "gw1-0000000001.seg")
    assert messages == []
    assert "folder" in trouble.examples["file"][0].why


def test_stdin() -> None:
    code = (
        "from proxy.replay.captured import *; trouble = Trouble(); "
        "print([found.place for found in read(['-'], trouble, lambda done, total: print(done, total))], trouble.counts)"
    )
    done = subprocess.run([sys.executable, "-c", code], input=CALL, capture_output=True, timeout=60, check=True)
    assert done.stdout.decode().splitlines()[-1] == "['stdin:1', 'stdin:2'] {}"
    assert f"{len(CALL)} None" in done.stdout.decode()


def test_pipe_of_single_bytes() -> None:
    octets = Octets(Slow(b"abc\ndef"))
    assert octets.peek(2) == b"ab"
    assert octets.line(100) == b"abc\n"
    assert octets.take(10) == b"def"
    assert octets.line(100) == octets.peek(1) == b""


def test_progress(tmp_path: Path) -> None:
    paths = []
    for name in ("a", "b"):
        (tmp_path / name).write_bytes(pcap([datagram(bytes(1000))] * 2000))
        paths.append(str(tmp_path / name))
    size = sum(Path(path).stat().st_size for path in paths)
    told: list[tuple[int, int | None]] = []
    assert list(read(paths, Trouble(), lambda done, total: told.append((done, total)))) == []
    assert told == sorted(told)
    assert {total for _, total in told} == {size}
    assert told[-1] == (size, size)
    assert 4 < len(told) < 100


def test_rotated_files_are_one_capture(tmp_path: Path) -> None:
    """A connection and a fragmented packet go on in the next file."""
    pieces = pieces4(udp(request(number=2)), 64)
    parts = [[segment(b"", 999, 2), segment(request()[:100], 1000), pieces[0]], [*pieces[1:], segment(request()[100:], 1100)]]
    paths = []
    for name, frames in zip("ab", parts, strict=True):
        (tmp_path / name).write_bytes(pcap(frames))
        paths.append(str(tmp_path / name))
    trouble = Trouble()
    messages = list(read(paths, trouble))
    assert [message.place for message in messages] == [f"{paths[1]}:{len(pieces) - 1}", f"{paths[1]}:{len(pieces)}"]
    assert trouble.counts == {}


def test_reading_that_is_given_up_closes_its_files(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(CALL)
    reading = read([str(tmp_path / "a")] * 3, Trouble())
    next(reading)
    reading.close()  # type: ignore[attr-defined]  # a ResourceWarning would be an error


def test_trouble() -> None:
    trouble = Trouble()
    for number in range(EXAMPLES + 3):
        trouble.note("packet", f"a:{number}", "x" * 1000)
    trouble.note("tls", "a:9", "TLS")
    assert trouble.counts == {"packet": EXAMPLES + 3, "tls": 1}
    assert len(trouble.examples["packet"]) == EXAMPLES
    assert len(trouble.examples["packet"][0].why) == kinds.MAX_WHY
    assert trouble.unparsable == EXAMPLES + 3
    with pytest.raises(KeyError):
        trouble.note("nonsense", "a", "b")
    assert set(KINDS) == {getattr(kinds, name) for name in dir(kinds) if name.isupper() and isinstance(getattr(kinds, name), str)}
