"""Which files a directory is made of."""

from __future__ import annotations

import msgspec


class DirectoryConfig(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The `[directory]` table of sipwarden.toml: CSV files, relative to its folder. Several files of one kind count as one.

    `categories` are what marketing calls may sell; a row or a policy that names another is refused. Without them any word is one.
    """

    segments: tuple[str, ...] = ()
    intercept: tuple[str, ...] = ()
    release: tuple[str, ...] = ()
    own: tuple[str, ...] = ()
    ported: tuple[str, ...] = ()
    overseas: tuple[str, ...] = ()
    roaming: tuple[str, ...] = ()
    consent: tuple[str, ...] = ()
    refusals: tuple[str, ...] = ()
    holidays: tuple[str, ...] = ()
    categories: tuple[str, ...] = ()


FILES = tuple([name for name in DirectoryConfig.__struct_fields__ if name != "categories"])
"""Kinds of file, in the order in which they are read."""
