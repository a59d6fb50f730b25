"""What is compiled into the wheel: the kernel (Cython) and the core (mypyc, from the very .py files that stand beside it in the wheel).

SIPWARDEN_BUILD chooses: `all`, what a wheel gets; `kernel`, what an installation to be edited gets, for a compiled module would hide the
edited one; `pure`, nothing. What cannot be built (no compiler, no Python.h, no mypy) is left out, one line says so, and all the rest works.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

from setuptools import Extension
from setuptools.command.build_ext import build_ext

KERNEL = ("proxy.sip._kernel", "proxy.transport._batch", "rules._kernel")
"""What pyproject.toml names, and how."""

# Not here: msgspec's Structs, which mypyc cannot make; exceptions (proxy.sip.error), since the collector does not see through native ones.
# No function in a function may hold a directory: mypyc makes circles of them, and the lists of before a reload would stay mapped.
CORE = {
    "proxy": "admission answers attempts call_records call_table calls core correlation counters dialogs enforce flow forward health"
    " history indialog intake limits owners refusals relay responses routing screening spread tally token transactions validate",
    "proxy/sip": "caller grammar message reply response timers transaction uri via",
    "rules": "call judge legs ruleset shared_legs verdict",
    "rules/builtin": "emergency forwarding identity intercept international label marketing own_number passport privacy purpose regular"
    " segments trunk",
    "rules/directory": "clock directory entries index places register_index rows segment_index segments statement_index terms",
    "rules/numbers": "classify locality normalise number plan",
}
LIBRARY = "sipwarden"
"""What mypyc calls the one library that holds the code of all of them: sipwarden__mypyc."""


def say(line: str) -> None:
    """One line in the installer's output."""
    print(f"sipwarden: {line}", file=sys.stderr)


def core() -> list[Extension]:
    """The core's extensions, as C; none, and a line, where mypy is not there or refuses."""
    try:
        from mypyc.build import mypycify
    except ImportError as error:
        say(f"the core stays interpreted, as there is no mypy ({error})")
        return []
    level = os.environ.get("MYPYC_OPT_LEVEL", "3")
    files = [f"{folder}/{name}.py" for folder, names in CORE.items() for name in names.split()]
    try:
        found = mypycify(
            ["--cache-dir=build/mypy", "--follow-imports=silent", *files],
            opt_level=level,
            debug_level="0",
            target_dir="build/mypyc",
            group_name=LIBRARY,
        )
    except SystemExit as error:  # its way to say that the types do not hold
        say(f"the core stays interpreted, as mypy refuses it (status {error.code}; see above)")
        return []
    for extension in found:
        extension.optional = True
    return list(found)


class BuildExtensions(build_ext):
    """Setuptools' build_ext, with what SIPWARDEN_BUILD asks for: pyproject.toml names the kernel's modules and this class.

    All of the core's modules or none: compiled ones call each other without asking whether the other was loaded.
    """

    def finalize_options(self) -> None:
        """Take the core's extensions in, or the kernel's out."""
        wanted = os.environ.get("SIPWARDEN_BUILD") or ("all" if "bdist_wheel" in sys.argv else "kernel")
        if wanted not in ("all", "kernel", "pure"):
            sys.exit(f"SIPWARDEN_BUILD is {wanted!r}, and must be all, kernel or pure")
        kernel = [extension for extension in self.distribution.ext_modules if extension.name in KERNEL]
        self.distribution.ext_modules = ([] if wanted == "pure" else kernel) + (core() if wanted == "all" else [])
        super().finalize_options()

    def get_source_files(self) -> list[str]:
        """A source distribution holds this file too."""
        return [*super().get_source_files(), "deploy/compile.py"]

    def build_extensions(self) -> None:
        """Leave nothing half built, and nothing of an earlier build."""
        if not self.inplace:
            for left in Path(self.build_lib).rglob("*.so"):
                left.unlink()
        super().build_extensions()
        built = [Path(self.get_ext_fullpath(extension.name)) for extension in self.extensions if extension.name not in KERNEL]
        if not all(path.is_file() for path in built):
            say("the core stays interpreted, as it could not be compiled (see above)")
            for path in built:
                path.unlink(missing_ok=True)
