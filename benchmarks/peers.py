"""What we are compared with: Kamailio, the B2BUA of sippy (Python), and the floor, a forwarder in C that does as little as can be done."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

from benchmarks.proxies import BOTH, CALLEE, ONE, NotRunning, Proxy

SHARED_MEMORY = 2000
"""MiB for Kamailio's transactions: it keeps a finished call's for 5 s. Taken at the start, so that no page fault is measured."""

SIPPY = "2.5.0"
"""The release of sippy on PyPI that is measured; it runs as it is."""

_HERE = Path(__file__).resolve().parent
_ROOT = _HERE.parent


def build_tool(folder: Path, name: str, *sources: str) -> Path:
    """Compile one of the C programs here. NotRunning where that fails."""
    program = folder / name
    compiler = shutil.which("gcc") or "cc"
    done = subprocess.run([compiler, "-O2", "-o", str(program), *(str(_HERE / source) for source in sources)], check=False)
    if done.returncode:
        raise NotRunning(f"{name} could not be compiled: `{compiler}` is wanted (apt-get install gcc libc6-dev)")
    return program


def kamailio(name: str, port: int, lists: Path, *, transport: str = "udp", workers: int = 1) -> Proxy:
    """Kamailio with the tuned allocator and the same lists. NotRunning where it is not installed."""
    program = shutil.which("kamailio", path=f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin")
    if program is None:
        raise NotRunning("there is no kamailio: apt-get install kamailio kamailio-extra-modules, or --no-kamailio")
    script = (_HERE / "kamailio.cfg").read_text(encoding="utf-8")
    for word, meant in (("FOLDER", str(lists)), ("TRANSPORT", transport), ("PORT", str(port)), ("WORKERS", str(workers))):
        script = script.replace(word, meant)
    file = lists / f"kamailio-{port}.cfg"
    file.write_text(script, encoding="utf-8")
    run = lists / f"kamailio-{port}"
    run.mkdir(exist_ok=True)
    allocator = ["-x", "tlsf", "-X", "tlsf", "-m", str(SHARED_MEMORY), "-M", "32"]
    defined = ["-A", "TCP"] if transport == "tcp" else []
    command = [program, "-f", str(file), "-Y", str(run), "-DD", "-E", *defined, *allocator]
    return Proxy(name, port, command, lists, file.with_suffix(".log"), cores=ONE if workers == 1 else BOTH, workers=workers)


def sippy(name: str, port: int, lists: Path, *, quiet: bool) -> Proxy:
    """The B2BUA of sippy, `b2bua_simple`, which sends every call on to the callee; its virtual environment is made where it is absent.

    As it comes it writes every message to its log; `quiet`: errors only. NotRunning where pip does not get it.
    """
    folder = _ROOT / "build" / "sippy"
    program = folder / "bin" / "b2bua_simple"
    if not program.is_file():
        print(f"bench: installing sippy {SIPPY} into {folder}", file=sys.stderr)
        python = shutil.which("python3", path="/usr/bin") or sys.executable
        subprocess.run([python, "-m", "venv", "--clear", str(folder)], check=True)
        install = [str(folder / "bin" / "python"), "-m", "pip", "--quiet", "--disable-pip-version-check", "install", f"sippy=={SIPPY}"]
        if subprocess.run(install, check=False, stderr=subprocess.DEVNULL).returncode or not program.is_file():
            raise NotRunning(f"pip does not install sippy=={SIPPY}: look at `{' '.join(install)}`, or leave `python` out of --only")
    command = [str(program), "-f", "-l", "127.0.0.1", "-p", str(port), "-n", CALLEE]
    environment = {"SIPLOG_LVL": "CRIT" if quiet else "INFO"}
    return Proxy(name, port, command, lists, lists / f"sippy-{port}.log", environment, words=("call",))


def floor(name: str, port: int, lists: Path) -> Proxy:
    """The forwarder in C; it refuses on the port behind."""
    program = build_tool(lists, "floor", "floor.c")
    return Proxy(name, port, [str(program), str(port), CALLEE.partition(":")[2]], lists, lists / "floor.log", refuses_at=port + 1)
