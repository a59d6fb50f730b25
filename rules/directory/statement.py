"""What one row of consent or of refusals is."""

from __future__ import annotations

import msgspec


class Statement(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """One row but for its number. `category` and `customer` are "" where it holds for any; it counts while valid_from <= t < valid_to."""

    evidence_ref: str
    category: str
    customer: str
    valid_from: float | None
    valid_to: float | None

    def __str__(self) -> str:
        of = f" of {self.customer}" if self.customer else ""
        return f"{self.category or 'any'} marketing{of}, evidence {self.evidence_ref or 'none'}"
