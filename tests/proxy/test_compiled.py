"""What is compiled does what the same sources do interpreted, octet for octet; and SIPWARDEN_PURE has the sources read, come what may."""

from __future__ import annotations

import ast
import importlib.metadata
import os
import subprocess
import sys
from pathlib import Path

import pytest

from proxy.build import CORE, KERNEL
from tests.proxy.sip.test_kernel import FUZZ

ROOT = Path(__file__).resolve().parents[2]
SEED = os.environ.get("SIPWARDEN_SEED", "7")


def run(*words: str, pure: str) -> subprocess.Popen[str]:
    environment = os.environ | {"SIPWARDEN_PURE": pure, "PYTHONHASHSEED": "0"}
    return subprocess.Popen(
        [sys.executable, *words], cwd=ROOT, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, errors="replace"
    )


@pytest.mark.timeout(120 * FUZZ)
@pytest.mark.skipif((KERNEL, CORE) == ("pure", "pure"), reason="nothing is compiled here")
def test_the_same_octets_compiled_and_interpreted() -> None:
    compiled, pure = (run("-m", "tests.proxy.fates", SEED, str(FUZZ), pure=value) for value in ("0", "1"))
    got, said = compiled.communicate()
    expected, _ = pure.communicate()
    assert (compiled.returncode, pure.returncode) == (0, 0), said
    assert said == f"{KERNEL} {CORE}\n"
    assert expected.count("\n") > 5000
    where = "the beginning"
    for one, other in zip(got.splitlines(), expected.splitlines(), strict=True):
        assert one == other, where
        where = one if one.startswith(("storm", "message")) else where


LOADED = """
import proxy.session, rules.builtin, sys
from proxy.build import CORE, KERNEL
print(KERNEL, CORE)
for name, module in sys.modules.items():
    if name.partition(".")[0] in ("proxy", "rules", "sipwarden__mypyc") and not (getattr(module, "__file__", None) or "").endswith(".py"):
        print(name)
"""


@pytest.mark.parametrize("first", ["import proxy", "import rules", "import proxy.sip.message", "from rules import numbers"])
def test_pure_reads_sources_only(first: str) -> None:
    done = run("-c", f"{first}\n{LOADED}", pure="1")
    out, said = done.communicate()
    assert (out, said) == ("pure pure\n", "")


def test_pure_sees_no_compiled_module_beside_a_source(tmp_path: Path) -> None:
    """Nor does it change how other packages are found."""
    code = (
        "import rules, sys, importlib.util as u, importlib.machinery as m; from rules.sources import sources_only\n"
        "assert u.find_spec('msgspec._core').origin.endswith('.so')\n"
        "finder = sources_only(rules.__path__[0])\n"
        "open(sys.argv[1] + '/x.py', 'w'); open(sys.argv[1] + '/x' + m.EXTENSION_SUFFIXES[0], 'w')\n"
        "finder.path = sys.argv[1]; print(finder.find_spec('x').origin)\n"
        "try: sources_only(sys.argv[1])\n"
        "except ImportError: print('not ours')"
    )
    out, said = run("-c", code, str(tmp_path), pure="1").communicate()
    assert (out, said) == (f"{tmp_path}/x.py\nnot ours\n", "")


@pytest.mark.skipif(CORE == "pure", reason="the core is not compiled here")
def test_all_of_the_core_is_compiled() -> None:
    """All that deploy/compile.py names."""
    packed = {str(path) for path in importlib.metadata.files("sipwarden") or () if path.suffix == ".so"}
    tree = ast.parse((ROOT / "deploy/compile.py").read_text(encoding="utf-8"))
    named = next(node.value for node in tree.body if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "CORE")
    wanted = {f"{folder}/{name}" for folder, names in ast.literal_eval(named).items() for name in names.split()}
    assert len(wanted) > 40
    kernel = {"proxy/sip/_kernel", "proxy/transport/_batch", "rules/_kernel"}
    assert {path.partition(".")[0] for path in packed} == wanted | kernel | {"sipwarden__mypyc"}
