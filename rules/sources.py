"""With SIPWARDEN_PURE set every module is read from its .py file, also where a compiled one stands beside it.

`rules` and `proxy` import this before anything else of theirs; it acts on what is imported from then on.
"""

from __future__ import annotations

import os
import sys
from importlib.machinery import SOURCE_SUFFIXES, FileFinder, SourceFileLoader
from pathlib import Path
from typing import Final

PURE: Final = os.environ.get("SIPWARDEN_PURE", "0") not in ("", "0")
"""Whether Python alone is to do all the work."""

_FOLDERS: Final = tuple(str(Path(__file__).parents[1] / package) for package in ("proxy", "rules"))


def _ours(folder: str) -> bool:
    return any(folder == own or folder.startswith(own + os.sep) for own in _FOLDERS)


def sources_only(folder: str) -> FileFinder:
    """For sys.path_hooks: a finder that sees the .py files of our packages' folders. ImportError for any other folder."""
    if not _ours(folder):
        raise ImportError(f"{folder} is not of sipwarden")
    return FileFinder(folder, (SourceFileLoader, SOURCE_SUFFIXES))


if PURE:
    sys.path_hooks.insert(0, sources_only)
    for folder in filter(_ours, tuple(sys.path_importer_cache)):  # what found this module sees compiled ones too
        del sys.path_importer_cache[folder]
