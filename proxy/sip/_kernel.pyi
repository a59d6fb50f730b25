from collections.abc import Callable

Scanned = tuple[bytes, list[bytes], bytes, dict[bytes, int], dict[bytes, list[int]] | None, bytes, bytes, int, bytes]

class Scanner:
    def __init__(
        self,
        known: dict[bytes, bytes],
        learn: Callable[[bytes], bytes],
        single: frozenset[bytes],
        methods: frozenset[bytes],
        max_message: int,
        max_head: int,
        max_lines: int,
    ) -> None: ...
    def scan(self, raw: bytes, /) -> Scanned | None: ...

ViaParts = tuple[bytes, bytes, bytes, int | None, bytes | None, bytes | None, bytes | None]
RequestParts = tuple[bytes, ViaParts, bytes, bytes, bytes, bytes, bytes, bytes, int | None, bytes, bool]
UriParts = tuple[bytes, bytes | None, bytes, int | None, bytes]

class Vias:
    def __init__(
        self, hosts: dict[bytes, tuple[bytes, int | None]], split_host: Callable[[bytes, str], tuple[bytes, int | None]]
    ) -> None: ...
    def read(self, value: bytes, /) -> ViaParts | None: ...

class Requests:
    def __init__(self, vias: Vias, addresses: tuple[bytes, ...]) -> None: ...
    def read(
        self, lines: list[bytes], first: dict[bytes, int], more: dict[bytes, list[int]] | None, method: bytes, address: bytes
    ) -> RequestParts | None: ...

def read_uri(text: bytes) -> UriParts | None: ...
def ack_key(data: bytes, address: bytes) -> bytes | None: ...
def only_uri(line: bytes) -> bytes | None: ...
def has_no_verstat(line: bytes) -> bool: ...
def behind_user(line: bytes, parameter: bytes) -> bytes | None: ...
def splice(
    lines: list[bytes],
    replaced: dict[int, bytes | None] | None,
    start: bytes | None,
    top: list[bytes] | None,
    last: bytes | None,
    body: bytes,
) -> bytes: ...

class Keyed:
    def __init__(self, key: bytes, size: int) -> None: ...
    def hex(self, text: bytes, /) -> bytes: ...
