"""The parser's compiled kernel, where it was built (there was a compiler) and is wanted (SIPWARDEN_PURE is not set).

The kernel reads what is ordinary and answers None for all else, which the Python that asked then reads itself. So without it nothing is
missing but speed: what a message means, and what is wrong with it, is said in one place.
"""

from __future__ import annotations

import importlib
import os
from types import ModuleType
from typing import Final

PURE: Final = "SIPWARDEN_PURE"
"""The environment variable that, set to anything but 0, has the Python alone do all the work."""


def load(name: str) -> tuple[ModuleType | None, str]:
    """A compiled module of ours; None, and why, where it takes no part."""
    if os.environ.get(PURE, "0") not in ("", "0"):
        return None, f"{PURE} is set"
    try:
        return importlib.import_module(name), ""
    except ImportError as error:
        return None, str(error)


compiled, without = load("proxy.sip._kernel")


def nothing(*_: object) -> None:
    """What stands in the place of each of the kernel's readers where there is no kernel."""
