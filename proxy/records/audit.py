"""Who asked for which call: the trail that every traceback leaves before its answer is shown (records.md, Traceback).

One JSON object a line, in a file that is only appended to. Each line names the SHA-256 of the line before it, and the journal's keeper
has its signed chain name the newest within a second or two (`proxy.journal.trail`), so that a line changed or taken out shows, the last
one too. The numbers asked for stand in it whole, as in the journal beside it.
"""

from __future__ import annotations

import fcntl
import os
import pwd
from hashlib import sha256
from pathlib import Path
from typing import Final

import msgspec

from proxy.journal.trail import NAME, NONE

_MODE: Final = 0o660
_CHUNK: Final = 1 << 16
_LOGIN_UID: Final = Path("/proc/self/loginuid")
_NOBODY: Final = 4294967295


class Asker(msgspec.Struct, frozen=True):
    """Who runs the command: `login` is who logged in, which neither su nor sudo changes (None where the kernel does not say: a service)."""

    user: str
    uid: int
    login: str | None
    login_uid: int | None


class Asked(msgspec.Struct, frozen=True, kw_only=True):
    """One line. Times are ms since 1970; `rows` is how many calls the answer shows, by match; `masked` whether numbers were; `outcome` why
    there was no answer ("" where there was one).
    """

    n: int
    at: int
    previous: str
    user: str
    uid: int
    login: str | None
    login_uid: int | None
    case: str
    basis: str
    called: str
    calling: str | None
    first: int
    last: int
    rows: dict[str, int]
    masked: bool
    outcome: str = ""


class Trail:
    """The file, open from `__enter__` to `__exit__`. Raises OSError where it cannot be written, and then nothing may be shown."""

    def __init__(self, journal: Path) -> None:
        self.path = journal / NAME
        self._fd = -1

    def __enter__(self) -> Trail:
        before = os.umask(0)
        try:
            self._fd = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC | os.O_NOFOLLOW, _MODE)
        finally:
            os.umask(before)
        folder, file = os.stat(self.path.parent), os.fstat(self._fd)
        if file.st_uid == os.geteuid() and file.st_gid != folder.st_gid:  # made by root: whoever may read the journal may ask, too
            os.fchown(self._fd, -1, folder.st_gid)
        return self

    def __exit__(self, *_exception: object) -> None:
        os.close(self._fd)

    def append(self, asked: Asked) -> Asked:
        """Write a line and wait until the disk has it; its number and what it names as the line before are filled in. Raises OSError."""
        fcntl.flock(self._fd, fcntl.LOCK_EX)  # until it is closed
        number, previous, torn = self._last()
        line = msgspec.structs.replace(asked, n=number + 1, previous=previous)
        data = (b"\n" if torn else b"") + msgspec.json.encode(line) + b"\n"
        while data:
            data = data[os.write(self._fd, data) :]
        os.fsync(self._fd)
        return line

    def _last(self) -> tuple[int, str, bool]:
        """Number and hash of the last line, and whether it was never finished: then it stands there as it is, and the chain goes on."""
        end = os.fstat(self._fd).st_size
        if not end:
            return 0, NONE, False
        tail = b""
        at = end
        while at and tail.count(b"\n", 0, -1) < 1:
            step = min(_CHUNK, at)
            at -= step
            tail = os.pread(self._fd, step, at) + tail
        torn = not tail.endswith(b"\n")
        raw = tail.rstrip(b"\n").rpartition(b"\n")[2]
        try:
            number = msgspec.json.decode(raw, type=Asked).n
        except (msgspec.DecodeError, UnicodeDecodeError):
            number = self._count(end)
        return number, sha256(raw).hexdigest(), torn

    def _count(self, end: int) -> int:
        return sum(os.pread(self._fd, _CHUNK, at).count(b"\n") for at in range(0, end, _CHUNK)) + 1


def asker() -> Asker:
    """Who runs this process."""
    uid = os.getuid()
    try:
        login_uid: int | None = int(_LOGIN_UID.read_text())
    except (OSError, ValueError):
        login_uid = None
    if login_uid == _NOBODY:
        login_uid = None
    return Asker(_name(uid), uid, None if login_uid is None else _name(login_uid), login_uid)


def _name(uid: int) -> str:
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return str(uid)
