"""The messages of calls, given to one core without a socket, to be counted from outside: `python -m benchmarks.feed WORD CALLS`.

The same messages at every run. Of what is done here only the core's own entry points are of interest: see `profiles.py`. Finished
transactions are forgotten along with the calls, so that the timers are in the count.
"""

from __future__ import annotations

import gc
import sys
import tempfile
from pathlib import Path
from typing import Final

if not __package__:
    sys.path.append(str(Path(__file__).resolve().parent.parent))

from benchmarks.lists import write_lists
from benchmarks.stages import in_dialog, invite, response
from proxy.build import CORE
from proxy.config import load_config
from proxy.core import Proxy
from proxy.flow import Flow
from rules import load_policy
from rules.directory import load_directory

WORDS: Final = ("reject", "call", "cancel")
ENTRIES: Final = tuple(f"CPyPy_core___Proxy___{name}" for name in ("receive", "take_sends", "handle_timer", "next_timer"))
"""The entry points as the compiled core's symbols have them."""

STEP: Final = 0.002
"""Seconds between two calls: 500 of them a second."""
FORGOTTEN: Final = 200.0
"""Seconds after which nothing of them is remembered."""


class Feed:
    """One core and what it is given."""

    def __init__(self) -> None:
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name)
            write_lists(folder, segments=1000, intercepted=4000)  # reading them is counted by nobody, and takes its time
            callers, refused = ((folder / file).read_text(encoding="ascii").split() for file in ("pass.txt", "refuse.txt"))
            config = load_config(folder / "sipwarden.toml")
            directory = load_directory(config.directory, config.base, config.trunks)
            ruleset = load_policy(None, file="default.toml", directory=directory, trunks=config.trunks)
        listeners = config.listeners()
        self.proxy = Proxy(config, ruleset, listeners, b"a secret for benchmarks", salt=b"0000")
        self._caller, self._callee = Flow(listeners[0], "127.0.0.1", 7101), Flow(listeners[0], "127.0.0.1", 5080)
        self._numbers = {"reject": refused, "call": callers, "cancel": callers}
        self._serial = 0
        self.now = 1.0
        gc.collect()
        gc.freeze()
        gc.set_threshold(1_000, 1_000_000, 1_000_000)  # as the worker has it

    def _give(self, data: bytes, flow: Flow) -> list[bytes]:
        self.proxy.receive(data, flow, self.now)
        return [sent for _, sent in self.proxy.take_sends()]

    def run(self, word: str, calls: int) -> None:
        """So many calls."""
        for _ in range(calls):
            self._serial += 1
            self.now += STEP
            number = self._numbers[word][self._serial % len(self._numbers[word])]
            asked = invite(self._serial, f"+{number}")
            sent = self._give(asked, self._caller)
            if word == "reject":
                self._acknowledge(sent[0])
            else:
                self._give(response(sent[1], b"180 Ringing", b";tag=x", True), self._callee)
                if word == "cancel":
                    self._cancel(asked, sent[1])
                else:
                    self._complete(sent[1])
            self._look_at_timers()
        self.now += FORGOTTEN
        for _ in range(calls):  # a bounded number of timers at a time
            self._look_at_timers()

    def _look_at_timers(self) -> None:
        self.proxy.next_timer()
        self.proxy.handle_timer(self.now)
        self.proxy.take_sends()

    def _cancel(self, asked: bytes, forwarded: bytes) -> None:
        request, *lines = asked.partition(b"\r\n\r\n")[0].split(b"\r\n")
        kept = [line for line in lines if line.startswith((b"Via:", b"Max-Forwards:", b"From:", b"To:", b"Call-ID:"))]
        cancel = [request.replace(b"INVITE", b"CANCEL"), *kept, b"CSeq: 1 CANCEL", b"Content-Length: 0", b"", b""]
        sent = self._give(b"\r\n".join(cancel), self._caller)
        (onward,) = [message for message in sent if message.startswith(b"CANCEL ")]
        self._give(response(onward, b"200 OK", b"", False), self._callee)
        answers = self._give(response(forwarded, b"487 Request Terminated", b";tag=x", False), self._callee)
        (answer,) = [message for message in answers if message.startswith(b"SIP/2.0 487")]
        self._acknowledge(answer)

    def _complete(self, forwarded: bytes) -> None:
        (answer,) = self._give(response(forwarded, b"200 OK", b";tag=x", True), self._callee)
        self._give(in_dialog(answer, "ACK", self._serial), self._caller)
        (bye,) = self._give(in_dialog(answer, "BYE", self._serial), self._caller)
        self._give(response(bye, b"200 OK", b"", False), self._callee)

    def _acknowledge(self, answer: bytes) -> None:
        self._give(in_dialog(answer, "ACK", self._serial).replace(b"-A\r\n", b"-i\r\n").replace(b"Route: \r\n", b""), self._caller)


def main() -> int:
    word, calls = sys.argv[1], int(sys.argv[2])
    if CORE != "compiled":
        print("feed: the core is not compiled here: run it with .venv-compiled/bin/python and PYTHONSAFEPATH=1", file=sys.stderr)
        return 1
    Feed().run(word, calls)
    return 0


if __name__ == "__main__":
    sys.exit(main())
