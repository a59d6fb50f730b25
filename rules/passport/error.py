"""What keeps a PASSporT from being believed."""

from __future__ import annotations


class Unverified(Exception):
    """Why an Identity does not verify: `code` is a reason code (STIR_*), `why` names the value that decided."""

    def __init__(self, code: str, why: str) -> None:
        super().__init__(why)
        self.code = code
        self.why = why
