"""Files that a policy names in its settings, read when it is loaded."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

LARGEST = 1 << 20
"""Octets of such a file at the most."""

Read = Callable[[str], bytes]
"""Gives the content of a file that a policy names. May raise OSError."""


class Document:
    """A setting that names a file; its path counts from the policy file. Subclasses read `content` and raise ValueError ("what is wrong |
    what would be right") where it is of no use to them.
    """

    __slots__ = ("content", "name")

    def __init__(self, name: str, content: bytes) -> None:
        self.name = name
        self.content = content

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.name!r}, {len(self.content)} octets)"


D = TypeVar("D", bound=Document)


def reader(base: Path) -> Read:
    """Reads files whose names count from a folder. What it gives is at most one octet longer than LARGEST."""

    def read(name: str) -> bytes:
        with open(base / name, "rb") as file:
            return file.read(LARGEST + 1)

    return read


def read_document(kind: type[D], name: object, read: Read) -> D:
    """The file that a setting names. Raises ValueError, worded as in `Document`."""
    if not isinstance(name, str) or not name or "\0" in name:
        raise ValueError("not a file name | the file's path in quotes, counted from the policy file's folder")
    try:
        content = read(name)
    except OSError as error:
        raise ValueError(f"{error.strerror or error} | a readable file; its path counts from the policy file's folder") from None
    if len(content) > LARGEST:
        raise ValueError(f"the file is larger than {LARGEST >> 20} MiB | the right file")
    return kind(name, content)
