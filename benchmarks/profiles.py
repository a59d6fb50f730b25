"""Where the work of a call is: instructions by function of the compiled core, and flame graphs of the worker where it is interpreted.

    make profile [ARGS='--only instructions,flame --top 40']        or        python benchmarks/profiles.py ...

Instructions: callgrind counts what the core executes for the messages of CALLS rejected, completed and cancelled calls, without a socket,
from the wheel in `.venv-compiled`. The counts do not depend on the machine's speed or on what else runs, and repeat within 1 %: they say
whether a change took work away where times are noisy. Flame graphs: py-spy looks at the one worker of `sipwarden run` 500 times a second
while it has as many completed calls as it takes, with the compiled kernel and as pure Python.

Everything is written into build/profile: instructions-WORD.txt, flame-NAME.svg, functions-NAME.txt (the share of each function's own time
and of what it calls), and a summary is printed. Wants valgrind (apt) and pip for py-spy, which gets an environment of its own there.
"""

from __future__ import annotations

import argparse
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Final

if not __package__:
    sys.path.append(str(Path(__file__).resolve().parent.parent))  # behind what is installed, which may be compiled

from benchmarks.feed import ENTRIES, WORDS
from benchmarks.loads import SATURATED, Bench, Load
from benchmarks.memory import workers
from benchmarks.proxies import NotRunning, compiled, ours

ROOT: Final = Path(__file__).resolve().parent.parent
RESULTS: Final = ROOT / "build" / "profile"
CALLS: Final = 300
PY_SPY: Final = "0.4.3"
SECONDS: Final = 10
PARTS: Final = ("instructions", "flame")


class Counts:
    """Instructions of one call: in all, by function of its own and with what it calls, and by the program or library that it is in."""

    def __init__(self, own: str, whole: str, calls: int) -> None:
        """Of what callgrind_annotate says, without and with --inclusive=yes."""
        self.total = 0
        self.own: Counter[str] = Counter()
        self.whole: dict[str, int] = {}
        self.places: Counter[str] = Counter()
        for count, function, place in _annotated(own, calls):
            if function:
                self.own[function] += count
                self.places[place.rpartition("/")[2].partition(".cpython")[0] or "?"] += count
            else:
                self.total = count
        for count, function, _ in _annotated(whole, calls):
            self.whole[function] = max(count, self.whole.get(function, 0))

    def lines(self) -> list[str]:
        """The places, then the functions."""
        share = self.total or 1
        shown = [f"{count:9,} {count / share:6.1%}  in {place}" for place, count in self.places.most_common(6)]
        shown.append("      own         with what it calls")
        return shown + [
            f"{count:9,} {count / share:6.1%} {self.whole.get(name, count):9,}  {name}" for name, count in self.own.most_common()
        ]

    def dearest(self) -> list[str]:
        """Functions of ours with what they call."""
        mine = [(count, name) for name, count in self.whole.items() if name.startswith(("CPyDef_", "__pyx_"))]
        return [f"{count:9,} {count / (self.total or 1):6.1%}  {name}" for count, name in sorted(mine, reverse=True)]


def _annotated(text: str, calls: int) -> Iterator[tuple[int, str, str]]:
    for line in text.splitlines():
        if match := re.match(r"^ *([\d,]+) \([ \d.]+%\)  (?:PROGRAM TOTALS|[^:]*:(\S.*?)(?: \[(\S+)\])?)$", line):
            yield round(int(match[1].replace(",", "")) / calls), re.sub(r"'\d+$", "", match[2] or ""), match[3] or ""


def count_instructions(word: str, folder: Path) -> Counts:
    """Of a call of this kind. NotRunning without valgrind or the wheel."""
    program, valgrind = compiled(ROOT), shutil.which("valgrind")
    if program is None or valgrind is None:
        raise NotRunning("instructions want valgrind (apt-get install valgrind) and the wheel (make profile builds it)")
    out = folder / f"callgrind-{word}"
    toggles = [f"--toggle-collect={entry}" for entry in ENTRIES]
    command = [valgrind, "--tool=callgrind", f"--callgrind-out-file={out}", *toggles, str(program.with_name("python"))]
    environment = os.environ | {"PYTHONSAFEPATH": "1", "PYTHONHASHSEED": "0", "PYTHONDONTWRITEBYTECODE": "1"}
    feed = ["-m", "benchmarks.feed", word, str(CALLS)]
    done = subprocess.run([*command, *feed], env=environment, cwd=ROOT, capture_output=True, text=True, check=False)
    if done.returncode or not out.exists():
        raise NotRunning(f"callgrind of {word}: {(done.stderr or done.stdout).strip()[-600:]}")
    annotate = ["callgrind_annotate", "--threshold=99.5", "--auto=no"]
    own, whole = (
        subprocess.run([*annotate, f"--inclusive={answer}", str(out)], capture_output=True, text=True, check=True).stdout
        for answer in ("no", "yes")
    )
    found = Counts(own, whole, CALLS)
    if not found.total:
        raise NotRunning(f"callgrind of {word} counted nothing: are {', '.join(ENTRIES)} still functions of the core?")
    return found


def print_instructions(top: int) -> None:
    """Each kind of call."""
    with tempfile.TemporaryDirectory(prefix="sipwarden-profile-") as name:
        for word in WORDS:
            found = count_instructions(word, Path(name))
            head = f"{word}: {found.total:,} instructions a call in the compiled core, without a socket"
            own, whole = found.lines(), ["functions of ours with what they call", *found.dearest()]
            (RESULTS / f"instructions-{word}.txt").write_text("\n".join([head, *own, "", *whole]) + "\n", encoding="utf-8")
            print("\n".join(["", head, *own[:top], *whole[:top]]), flush=True)


def py_spy() -> Path:
    """The sampler, installed where it is absent. NotRunning where pip does not get it."""
    folder = RESULTS / "py-spy"
    program = folder / "bin" / "py-spy"
    if not program.is_file():
        subprocess.run([sys.executable, "-m", "venv", "--clear", str(folder)], check=True)
        install = [str(folder / "bin" / "python"), "-m", "pip", "--quiet", "--disable-pip-version-check", "install", f"py-spy=={PY_SPY}"]
        if subprocess.run(install, check=False, stderr=subprocess.DEVNULL).returncode or not program.is_file():
            raise NotRunning(f"pip does not install py-spy=={PY_SPY}, or leave `flame` out of --only")
    return program


def functions(samples: Path, top: int) -> list[str]:
    """Lines of a table made of collapsed stacks (`a;b;c count`): own share, share with what it calls, function."""
    own: Counter[str] = Counter()
    whole: Counter[str] = Counter()
    for line in samples.read_text(encoding="utf-8").splitlines():
        stack, _, count = line.rpartition(" ")
        frames = [re.sub(r":\d+\)$", ")", frame) for frame in stack.split(";")]
        own[frames[-1]] += int(count)
        for frame in {*frames}:
            whole[frame] += int(count)
    total = sum(own.values()) or 1
    return [f"{count / total:6.1%} {whole[name] / total:6.1%}  {name}" for name, count in own.most_common(top)]


def flame(top: int) -> None:
    """Flame graphs of the interpreted workers."""
    program = py_spy()
    with tempfile.TemporaryDirectory(prefix="sipwarden-profile-") as name:
        bench = Bench(Path(name), float(SECONDS), [])
        for kind, pure in (("kernel", False), ("pure", True)):
            proxy = ours(kind, 5060, ROOT, bench.folder, pure=pure)
            with proxy.running() as process:
                (worker,) = workers(process)
                for form, file in (("raw", Path(name) / "stacks"), ("flamegraph", RESULTS / f"flame-{kind}.svg")):
                    with bench.generating(proxy, Load("call", SATURATED), SECONDS + 3.0):
                        command = [str(program), "record", "--pid", str(worker), "--duration", str(SECONDS), "--rate", "500"]
                        command += ["--native", "--format", form, "--output", str(file)]
                        done = subprocess.run(command, capture_output=True, text=True, check=False)
                    if done.returncode:
                        raise NotRunning(f"py-spy: {done.stderr.strip() or done.stdout.strip()} (it wants to be root)")
            lines = functions(Path(name) / "stacks", 1000)
            (RESULTS / f"functions-{kind}.txt").write_text("\n".join(lines) + "\n", encoding="utf-8")
            print(f"\n{kind}: own time, with what it calls, function (completed calls, saturated)")
            print("\n".join(lines[:top]), flush=True)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--only", default=",".join(PARTS), help=f"some of {','.join(PARTS)}")
    parser.add_argument("--top", type=int, default=25, help="how many functions are printed")
    options = parser.parse_args()
    wanted = options.only.split(",")
    if {*wanted} - {*PARTS}:
        parser.error(f"--only: {', '.join(PARTS)}")
    RESULTS.mkdir(parents=True, exist_ok=True)
    try:
        if "instructions" in wanted:
            print_instructions(options.top)
        if "flame" in wanted:
            flame(options.top)
    except NotRunning as reason:
        print(f"profile: {reason}", file=sys.stderr)
        return 1
    print(f"\nwritten into {RESULTS}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
