"""What this installation is made of: whether the compiled kernel takes part in it, and whether the core is compiled."""

from __future__ import annotations

from importlib.machinery import EXTENSION_SUFFIXES
from typing import Final, Literal

from proxy import core
from proxy.sip import kernel
from proxy.transport import batched
from rules import kernel as policy

Made = Literal["compiled", "pure"]

WITHOUT: Final = kernel.without or batched.without or policy.without
"""Why there is no kernel; empty where it takes part."""

KERNEL: Final[Made] = "pure" if WITHOUT else "compiled"

CORE: Final[Made] = "compiled" if (core.__file__ or "").endswith(tuple(EXTENSION_SUFFIXES)) else "pure"
"""deploy/compile.py compiles all of the core's modules or none, so one tells."""


def slow() -> str:
    """One line on what is not compiled, why, and what that costs; empty where all is."""
    if KERNEL == "compiled":
        return "" if CORE == "compiled" else "core: pure Python, which takes up to twice the CPU for a call (it was not compiled)"
    if CORE == "compiled":
        return f"kernel: pure Python, which takes up to twice the CPU for a call ({WITHOUT})"
    return f"kernel and core: pure Python, which takes two to four times the CPU for a call ({WITHOUT})"
