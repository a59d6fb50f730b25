"""The same tests pass on interpreted modules and on compiled ones, whose classes show less of themselves."""

from __future__ import annotations

import inspect

import pytest

from proxy.build import CORE

interpreted = pytest.mark.skipif(CORE == "compiled", reason="puts something into the place of what compiled code calls directly")


def fields(kind: type) -> list[str]:
    """Names of a class's data attributes, as __slots__ lists them; a compiled class has none."""
    return sorted(name for name, _ in inspect.getmembers_static(kind, inspect.isdatadescriptor) if not name.startswith("__"))
