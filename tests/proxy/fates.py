"""What the core sends for ordinary, torture and spoilt messages and for storms of them, one line each: the same, compiled or not.

`python -m tests.proxy.fates SEED TIMES`
"""

from __future__ import annotations

import random
import sys
import tempfile
from collections.abc import Iterator
from hashlib import blake2b
from pathlib import Path

import pytest

from proxy.build import CORE, KERNEL
from proxy.signing import Credential
from proxy.sip.error import ParseError
from proxy.sip.stream import Framer
from tests.conftest import CORPORA
from tests.proxy import test_hostile
from tests.proxy.party import PEERS
from tests.proxy.passports import X5U
from tests.proxy.sip.test_kernel import TORTURE, USUAL, spoilt
from tests.proxy.wire import Wire, make_proxy


def tell(wire: Wire) -> None:
    """Print what came out, and forget it."""
    for who, data in wire.out:
        print(who, data.partition(b"\r\n")[0], blake2b(data, digest_size=8).hexdigest())
    wire.out.clear()


class ToldStorm(test_hostile.Storm):
    """A storm that says what comes out."""

    def drain(self, cause: bytes = b"") -> None:
        """As Storm, and print it."""
        self.wire.collect()
        out = self.wire.out[:]
        super().drain(cause)
        self.wire.out[:] = out
        tell(self.wire)


def messages(draw: random.Random, times: int) -> Iterator[bytes]:
    """All that there are, and spoilt ones."""
    whole = [*USUAL, *TORTURE]
    for folder in ("rfc4475", "rfc5118", "protos"):
        whole += [path.read_bytes() for path in sorted((CORPORA / folder).glob("*")) if path.is_file()]
    yield from whole
    for _ in range(3000 * times):
        yield spoilt(draw.choice((*USUAL * 10, *whole)), draw)


def storms(draw: random.Random, times: int) -> None:
    """Storms, each on a proxy of its own."""
    for number in range(150 * times):
        print("storm", number)
        storm = ToldStorm()
        for _ in range(60):
            kind = draw.choice(("request", "request", "response", "response", "mutate", "mutate", "splice", "wait", "other"))
            storm.play(kind, draw.randrange(1 << 16), draw.randrange(1 << 16), draw.randrange(1 << 16))


def main(seed: int, times: int) -> None:
    """Print the lines."""
    print(KERNEL, CORE, file=sys.stderr)
    draw = random.Random(seed)
    # no two of a key's own signatures are alike
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(test_hostile, "credential", lambda: Credential(X5U, lambda token: blake2b(token).digest()))
        storms(draw, times)
    with tempfile.TemporaryDirectory() as folder:
        wire = Wire(make_proxy(Path(folder)))
        for number, data in enumerate(messages(draw, times)):
            print("message", number)
            wire.give(data, wire.flow_of(draw.choice(("watched", "pbx", "peer", "switch", "inside"))))
            try:
                for one in Framer().feed(data):
                    wire.give(one, wire.flow("tcp", PEERS["watched"][1], 40000))
            except ParseError as fault:
                print(fault.status, fault.phrase)
            tell(wire)
            wire.wait(0.3)
            tell(wire)


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
