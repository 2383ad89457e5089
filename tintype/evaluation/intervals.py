"""How sure a figure is: 95 % intervals."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

Interval = tuple[float, float]

Z = 1.959963984540054
"""The standard normal's 97.5th percentile."""

RESAMPLES = 2_000


def wilson(right: int, of: int) -> Interval:
    """Of a share, ``right`` of ``of`` (Wilson 1927): holds near 0 and 1, and for few."""
    if of == 0:
        return 0.0, 1.0
    share, z2 = right / of, Z**2
    middle = (share + z2 / (2 * of)) / (1 + z2 / of)
    half = Z / (1 + z2 / of) * math.sqrt(share * (1 - share) / of + z2 / (4 * of**2))
    return max(0.0, middle - half), min(1.0, middle + half)


def bootstrap_mean(values: Sequence[float], seed: int = 0) -> Interval:
    """Of a mean: the middle 95 % of the means of samples drawn from the values, with replacement."""
    array = np.asarray(values, dtype=np.float64)
    return _middle(array[_resampled(len(array), seed)].mean(axis=1))


def bootstrap_ratio(values: Sequence[float], others: Sequence[float], seed: int = 0) -> Interval:
    """Of mean(values) / mean(others), measured on the same things and so drawn together."""
    above, below = np.asarray(values, dtype=np.float64), np.asarray(others, dtype=np.float64)
    picks = _resampled(len(above), seed)
    return _middle(above[picks].mean(axis=1) / np.maximum(below[picks].mean(axis=1), 1e-12))


def jackknife(value: float, without: Sequence[float]) -> Interval:
    """Of ``value``, known what it is ``without`` each of g equal groups in turn: about +-1.96 standard errors."""
    array = np.asarray(without, dtype=np.float64)
    error = math.sqrt((len(array) - 1) / len(array) * float(np.square(array - array.mean()).sum()))
    return value - Z * error, value + Z * error


def _resampled(count: int, seed: int) -> np.ndarray:
    return np.random.default_rng(seed).integers(count, size=(RESAMPLES, count))


def _middle(values: np.ndarray) -> Interval:
    low, high = np.percentile(values, (2.5, 97.5))
    return float(low), float(high)
