"""A saved directory: the same answers, and a reason for every file that is not one."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from rules.call import Trunk
from rules.directory import Directory, DirectoryConfig, DirectoryFault, image, load_directory
from rules.numbers import normalise

TRUNKS = {"a": Trunk(id="a", kind="enterprise", customer="acme")}
FILES = {
    "segments": "customer,trunk,first,last\nacme,a,+86755831*\nacme,a,+8675583120000,+8675583120999\n",
    "intercept": "list_id,seq,op,number,match,type,reason\nx,1,A,+8613802881946,exact,caller,骚扰\n",
    "own": "number\n+86755*\n",
}
AT = 1_772_337_600.0


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    for kind, text in FILES.items():
        (tmp_path / f"{kind}.csv").write_text(text, "utf-8")
    load(tmp_path).save(tmp_path / "image")
    return tmp_path / "image"


def load(folder: Path) -> Directory:
    return load_directory(DirectoryConfig(**{kind: (f"{kind}.csv",) for kind in FILES}), folder, TRUNKS)


def test_what_was_saved_is_what_is_opened(saved: Path) -> None:
    built, opened = load(saved.parent), Directory.open(saved)
    caller, desk = normalise("13802881946", None), normalise("075583120000", None)
    assert opened.version == built.version
    assert opened.warnings == built.warnings != []
    assert opened.counts == built.counts == {"segments": 2, "intercept": 1, "own": 1}
    assert opened.listed("caller", caller, None, TRUNKS["a"], AT) == built.listed("caller", caller, None, TRUNKS["a"], AT)
    entry = opened.listed("caller", caller, None, TRUNKS["a"], AT)
    assert entry is not None and entry.reason == "骚扰"
    assert opened.segment(desk, "a", AT) == built.segment(desk, "a", AT) is not None
    assert opened.own(desk)
    opened.save(saved.with_name("again"))
    assert saved.with_name("again").read_bytes() == saved.read_bytes()


def mapped_octets(path: Path) -> tuple[int, int]:
    """How much of a file this process has mapped, and how much of that it would read without a page fault."""
    size = there = 0
    inside = False
    for line in Path("/proc/self/smaps").read_text("utf-8").splitlines():
        words = line.split()
        if "-" in words[0] and not words[0].endswith(":"):
            inside = line.endswith(str(path))
        elif inside and words[0] == "Size:":
            size += int(words[1]) << 10
        elif inside and words[0] == "Rss:":
            there += int(words[1]) << 10
    return size, there


def large(folder: Path) -> Path:
    rows = "".join([f"x,{at},A,+86138{at:08d},exact,caller,r\n" for at in range(1, 20_000)])
    (folder / "intercept.csv").write_text("list_id,seq,op,number,match,type,reason\n" + rows, "utf-8")
    load(folder).save(folder / "large")
    return folder / "large"


def test_no_call_pays_for_the_first_look_at_a_page(saved: Path) -> None:
    path = large(saved.parent)
    directory = Directory.open(path)
    size, there = mapped_octets(path)
    assert size == there > 1 << 18
    assert directory.counts["intercept"] == 19_999


def test_a_kernel_that_cannot_map_all_at_once_maps_what_is_touched(saved: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = large(saved.parent)
    monkeypatch.setattr(image, "_POPULATE_READ", 9999)
    directory = Directory.open(path)
    size, there = mapped_octets(path)
    assert 0 < there < size
    assert directory.listed("caller", normalise("13800000001", None), None, TRUNKS["a"], AT) is not None


def test_nothing_else_is_left_beside_it(saved: Path) -> None:
    load(saved.parent).save(saved)
    assert sorted(path.name for path in saved.parent.iterdir()) == ["image", *sorted(f"{kind}.csv" for kind in FILES)]


def test_whoever_has_mapped_it_keeps_it_when_another_takes_its_name(saved: Path) -> None:
    opened = Directory.open(saved)
    (saved.parent / "intercept.csv").write_text("list_id,seq,op,number,match,type\n")
    load(saved.parent).save(saved)
    caller = normalise("13802881946", None)
    assert opened.listed("caller", caller, None, TRUNKS["a"], AT) is not None
    assert Directory.open(saved).listed("caller", caller, None, TRUNKS["a"], AT) is None


def test_a_save_that_fails_leaves_the_old_file(saved: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = saved.read_bytes()

    def full(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space"):
        load(saved.parent).save(saved)
    assert saved.read_bytes() == before
    assert not [path for path in saved.parent.iterdir() if path.name.startswith(".")]


def test_every_truncation_is_refused_with_its_reason(saved: Path) -> None:
    whole = saved.read_bytes()
    for length in [*range(80), *range(80, len(whole), 97), len(whole) - 1]:
        saved.write_bytes(whole[:length])
        with pytest.raises(DirectoryFault) as caught:
            Directory.open(saved)
        assert ("truncated" if length >= 8 else "not a directory image") in str(caught.value)


def test_every_change_is_refused(saved: Path) -> None:
    whole = bytearray(saved.read_bytes())
    for at in [*range(80), *range(80, len(whole), 61), len(whole) - 1]:
        whole[at] ^= 0x40
        saved.write_bytes(whole)
        whole[at] ^= 0x40
        with pytest.raises(DirectoryFault):
            Directory.open(saved)
    saved.write_bytes(whole + b"\0")
    with pytest.raises(DirectoryFault, match="changed since it was written"):
        Directory.open(saved)


@pytest.mark.parametrize("content", [b"", b"number\n+8613802881946\n", b"\0" * 4096, b"sipwdir1" + b"\0" * 4096])
def test_foreign_files_are_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "image").write_bytes(content)
    with pytest.raises(DirectoryFault, match=r"image: not a directory image of this version of sipwarden; build it again"):
        Directory.open(tmp_path / "image")


def test_absent_and_unreadable_files_are_refused(tmp_path: Path) -> None:
    with pytest.raises(DirectoryFault, match="cannot be read: No such file"):
        Directory.open(tmp_path / "absent")
    with pytest.raises(DirectoryFault, match="cannot be read: Is a directory"):
        Directory.open(tmp_path)


def test_the_version_is_the_content(saved: Path) -> None:
    folder = saved.parent
    before = load(folder).version
    assert len(before) == 12 and set(before) <= set("0123456789abcdef")
    assert load(folder).version == before
    (folder / "own.csv").write_text("number\n+86756*\n")
    assert load(folder).version != before
