"""Where rings lie: found again after all processes were killed, given back in the end, and nobody else's."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from proxy.journal.memory import Memory, MemoryFault
from proxy.journal.ring import RingReader, RingWriter
from proxy.journal.settings import RingSetting
from tests.proxy.journal.events import attempt

MIB = 1 << 20
NOW = 1_764_000_000_000_000_000


def memory(base: Path, workers: int = 2, capacity: int = MIB, now: int = NOW) -> Memory:
    return Memory(base / "journal", workers, capacity, now, [base])


def put(made: Memory, worker: int, number: int) -> None:
    writer = RingWriter(made.ring_fd(worker), worker)
    writer.put([attempt(number)])
    writer.close()


def waiting(made: Memory) -> dict[int, int]:
    """Events that wait, by worker, as a keeper finds them."""
    found: dict[int, int] = {}
    for setting in made.settings():
        reader = RingReader(setting.fd, setting.worker)
        found[setting.worker] = found.get(setting.worker, 0) + reader.taken().events
        reader.close()
    return found


def test_what_waits_is_found_by_the_next_start(tmp_path: Path) -> None:
    made = memory(tmp_path)
    put(made, 1, 1)
    made.board.add("sealed")
    made.close()
    again = memory(tmp_path, now=NOW + 1)
    assert (waiting(again), again.board.get("sealed"), again.old) == ({0: 0, 1: 1}, 1, [])
    again.close()


def test_rings_of_a_start_with_more_workers_or_another_size_are_taken_too(tmp_path: Path) -> None:
    made = memory(tmp_path, 3)
    for worker in (0, 2):
        put(made, worker, worker)
    made.close()
    again = memory(tmp_path, 1, 2 * MIB, NOW + 1)
    assert [(old.worker, old.old) for old in again.old] == [(0, True), (2, True)]
    assert waiting(again) == {0: 1, 2: 1}
    assert isinstance(again.settings()[-1], RingSetting) and not again.settings()[-1].old
    assert again.folder is not None
    assert sorted(path.name for path in again.folder.iterdir()) == [f"0-{NOW + 1}.old", "0.ring", "2.ring", "board"]
    for setting in again.settings():
        reader = RingReader(setting.fd, setting.worker)
        reader.done(reader.taken().position)
    again.remove()
    assert list(tmp_path.iterdir()) == []


def test_memory_with_events_in_it_is_not_removed(tmp_path: Path) -> None:
    made = memory(tmp_path)
    put(made, 0, 1)
    made.remove()
    again = memory(tmp_path)
    assert waiting(again)[0] == 1
    again.close()


def test_a_folder_that_somebody_else_has_made_is_not_used(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    made = memory(tmp_path)
    folder = made.folder
    made.close()
    assert folder is not None
    folder.chmod(0o777)
    other = memory(tmp_path)
    assert other.folder is None
    assert "is somebody else's" in caplog.text
    put(other, 1, 1)  # works all the same, while a process has it
    assert waiting(other)[1] == 1
    other.close()
    for path in folder.iterdir():
        path.unlink()
    folder.rmdir()
    (tmp_path / "elsewhere").mkdir()
    folder.symlink_to(tmp_path / "elsewhere")
    assert memory(tmp_path).folder is None
    assert list((tmp_path / "elsewhere").iterdir()) == []


def test_a_ring_that_is_a_link_is_not_followed(tmp_path: Path) -> None:
    made = memory(tmp_path)
    folder = made.folder
    made.close()
    assert folder is not None
    (tmp_path / "precious").write_text("precious")
    (folder / "1.ring").unlink()
    (folder / "1.ring").symlink_to(tmp_path / "precious")
    assert memory(tmp_path).folder is None
    assert (tmp_path / "precious").read_text() == "precious"


def test_no_memory_at_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def none(_fd: int, _at: int, _length: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "posix_fallocate", none)
    with pytest.raises(MemoryFault, match="no memory for 2 buffers of 1048576 octets: No space left"):
        memory(tmp_path)
