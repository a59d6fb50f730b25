"""The compiled kernel of policy, where it was built and is wanted (SIPWARDEN_PURE is not set), as proxy.sip.kernel is that of the parser.

Without it nothing is missing but speed: each place that asks it does the same in Python.
"""

from __future__ import annotations

import importlib
import os
from types import ModuleType
from typing import Final

PURE: Final = "SIPWARDEN_PURE"
"""The environment variable that, set to anything but 0, has the Python alone do all the work."""


def _load() -> tuple[ModuleType | None, str]:
    if os.environ.get(PURE, "0") not in ("", "0"):
        return None, f"{PURE} is set"
    try:
        return importlib.import_module("rules._kernel"), ""
    except ImportError as error:
        return None, str(error)


compiled, without = _load()
