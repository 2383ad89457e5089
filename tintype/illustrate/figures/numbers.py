"""Numbers as people read them."""

from __future__ import annotations

import math
from collections.abc import Iterable


def count(value: float) -> str:
    """15889796 -> "15.9 million"; small numbers in full, with commas."""
    for bound, letter in ((1e9, "G"), (1e6, "M")):
        if value >= bound:
            return f"{value / bound:.3g} {letter}"
    return f"{value:,.0f}"


def size(num_bytes: float) -> str:
    """Bytes as MB or GB."""
    if num_bytes >= 1e9:
        return f"{num_bytes / 1e9:.1f} GB"
    return f"{num_bytes / 1e6:.1f} MB" if num_bytes >= 1e5 else f"{num_bytes / 1e3:.1f} kB"


def shape(dims: Iterable[int]) -> str:
    """(4, 64, 64) -> "4 × 64 × 64"."""
    return " × ".join(map(str, dims))


def duration(milliseconds: float | None) -> str:
    """Milliseconds up to a second, then seconds, then minutes."""
    if milliseconds is None:
        return "–"
    if milliseconds < 1000:
        return f"{milliseconds:.0f} ms"
    seconds = milliseconds / 1000
    return f"{seconds:.1f} s" if seconds < 120 else f"{seconds / 60:.1f} min"


def number(value: float, digits: int = 3) -> str:
    """A measured number with so many digits, without an exponent where it can be read without."""
    if value == 0 or not math.isfinite(value):
        return f"{value:g}"
    if 1e-4 <= abs(value) < 1e6:
        decimals = max(0, digits - 1 - math.floor(math.log10(abs(value))))
        return f"{value:,.{min(decimals, 6)}f}"
    return f"{value:.{digits - 1}e}"


def percent(share: float) -> str:
    """0.125 -> "12 %"; below 10 with one decimal."""
    value = 100 * share
    return f"{value:.0f} %" if abs(value) >= 10 else f"{value:.1f} %"
