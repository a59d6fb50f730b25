"""What this installation is made of: whether the compiled kernel takes part in it."""

from __future__ import annotations

from typing import Final, Literal

from proxy.sip import kernel
from proxy.transport import batched

WITHOUT: Final = kernel.without or batched.without
"""Why the Python alone does all the work; empty where the kernel takes part."""

KERNEL: Final[Literal["compiled", "pure"]] = "pure" if WITHOUT else "compiled"
