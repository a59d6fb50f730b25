"""The project files hold together: one set of dependencies, locks pinned by hash, a wheel that misses nothing, modules under the laws."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import sysconfig
import tomllib
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
LOCKS = ("deploy/requirements.lock", "tests/requirements.lock", "deploy/build.lock")


def names(lines: list[str]) -> set[str]:
    """Distribution names of requirement lines."""
    found = (re.match(r"[A-Za-z0-9_.-]+", line) for line in lines if not line.startswith("-"))
    return {match.group().lower() for match in found if match}


def test_requirements_name_the_dependencies_of_the_project() -> None:
    wanted = (ROOT / "deploy/requirements.in").read_text(encoding="utf-8").splitlines()
    assert names(wanted) == names(PROJECT["project"]["dependencies"]) | {"setuptools", "cython"}


@pytest.mark.parametrize("lock", LOCKS)
def test_lock_pins_by_hash_and_names_no_address(lock: str) -> None:
    text = (ROOT / lock).read_text(encoding="utf-8")
    assert "://" not in text
    assert "--index-url" not in text
    pinned = re.findall(r"^[a-z].*", text, re.MULTILINE)
    assert pinned
    for block in re.split(r"^(?=[a-z])", text, flags=re.MULTILINE)[1:]:
        assert re.match(r"[a-z0-9-]+==[0-9][^ ]*( ; .*)? \\\n", block), block.splitlines()[0]
        assert "--hash=sha256:" in block


@pytest.mark.parametrize(
    ("wanted", "lock"), [("deploy/requirements.in", LOCKS[0]), ("tests/requirements.in", LOCKS[1]), ("deploy/build.in", LOCKS[2])]
)
def test_lock_holds_what_is_wanted(wanted: str, lock: str) -> None:
    pinned = names(re.findall(r"^[a-z][^ ]*", (ROOT / lock).read_text(encoding="utf-8"), re.MULTILINE))
    assert names((ROOT / wanted).read_text(encoding="utf-8").splitlines()) <= pinned


BUILDS = shutil.which("gcc") is not None and Path(sysconfig.get_paths()["include"], "Python.h").is_file()
KERNEL = {"proxy/sip/_kernel", "proxy/transport/_batch", "rules/_kernel"}


builds = pytest.mark.skipif(not BUILDS, reason="no gcc, or no Python.h (Debian: apt-get install gcc python3-dev)")


@pytest.mark.parametrize("compiler", ["/bin/false", pytest.param("gcc", marks=builds)])
def test_wheel_holds_every_file_of_the_packages(compiler: str, tmp_path: Path) -> None:
    """And the compiled kernel where there is a compiler. The core takes a minute: tests/proxy/test_compiled.py looks at that wheel."""
    tree = tmp_path / "tree"
    for package in ("proxy", "rules"):
        shutil.copytree(ROOT / package, tree / package, ignore=shutil.ignore_patterns("__pycache__", "*.so", "*.c"))
    (tree / "deploy").mkdir()
    for name in ("deploy/compile.py", "pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, tree / name)
    sources = {str(path.relative_to(tree)) for package in ("proxy", "rules") for path in (tree / package).rglob("*") if path.is_file()}
    command = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation", "--no-index", "-w", str(tmp_path), "."]
    environment = os.environ | {"CC": compiler, "CFLAGS": "-O0", "SIPWARDEN_BUILD": "kernel"}
    done = subprocess.run(command, cwd=tree, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    (wheel,) = tmp_path.glob("sipwarden-*.whl")
    with zipfile.ZipFile(wheel) as archive:
        packed = set(archive.namelist())
    assert sources - packed == set()
    assert {name.partition(".")[0] for name in packed if name.endswith(".so")} == (KERNEL if compiler == "gcc" else set())
    assert not [name for name in packed if name.endswith(".c")]
    assert {name.split("/")[0] for name in packed if ".dist-info/" not in name} == {"proxy", "rules"}


def test_all_locks_pin_the_same() -> None:
    pins: dict[str, set[str]] = {}
    for lock in LOCKS:
        for name, pinned in re.findall(r"^([a-z0-9-]+)==([^ ]+)", (ROOT / lock).read_text(encoding="utf-8"), re.MULTILINE):
            pins.setdefault(name, set()).add(pinned)
    assert {name: pinned for name, pinned in pins.items() if len(pinned) > 1} == {}


def test_what_is_built_says_which_wish_it_does_not_know() -> None:
    build = 'from setuptools import setup; setup(script_args=["--quiet", "build_ext", "--inplace"])'
    command = [sys.executable, "-W", "ignore", "-c", build]
    done = subprocess.run(command, cwd=ROOT, env=os.environ | {"SIPWARDEN_BUILD": "fast"}, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (1, "SIPWARDEN_BUILD is 'fast', and must be all, kernel or pure\n")


def test_modules_from_core_down_have_no_clock_and_no_socket() -> None:
    """The modules of the layers from `core` down are those of the contract "sans-io"; import-linter sees to it that each has a layer."""
    contracts = {contract["id"]: contract for contract in PROJECT["tool"]["importlinter"]["contracts"]}
    layers = contracts["layers"]["layers"]
    below = set(re.findall(r"\w+", " ".join(layers[layers.index("(core)") :])))
    modules = {path.stem for path in (ROOT / "proxy").iterdir() if path.suffix == ".py" or (path / "__init__.py").is_file()}
    assert {f"proxy.{module}" for module in below & modules} == set(contracts["sans-io"]["source_modules"])
