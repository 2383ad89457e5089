"""Chance that can be repeated: every random draw of a picture is a function of (seed, epoch, picture).

Not of the worker, the process or the moment: so training resumes bit-exactly, and the same pictures get the same
noise on one machine or on eight.
"""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

WINDOW = 512
"""Visits within which pictures of one shape are brought together, so that most batches have one shape."""


@dataclass(frozen=True)
class Draw:
    """One visit to one picture: the ``index``-th of the data set, in the ``epoch``-th pass over it."""

    seed: int
    epoch: int
    index: int

    def rng(self, purpose: str) -> np.random.Generator:
        """A generator of its own for each purpose: "noise", "time", "crop", "caption", ..."""
        key = [self.seed << 32 | zlib.crc32(purpose.encode()), self.epoch << 40 | self.index]
        return np.random.Generator(np.random.Philox(key=np.array(key, dtype=np.uint64)))


def visits(seed: int, num_pictures: int, start: int, stop: int, shapes: Sequence[int] | None = None) -> list[Draw]:
    """The visits number ``start`` to ``stop`` of an endless walk: each epoch sees every picture once, shuffled.

    With ``shapes``, the bucket of each picture, those of one shape stand together within every ``WINDOW`` visits.
    """
    found = []
    while start < stop:
        epoch, offset = divmod(start, num_pictures)
        order = np.random.default_rng([seed, epoch]).permutation(num_pictures)
        if shapes is not None:
            order = _by_shape(order, np.asarray(shapes))
        taken = order[offset : offset + stop - start]
        found += [Draw(seed, epoch, int(index)) for index in taken]
        start += len(taken)
    return found


def _by_shape(order: np.ndarray, shapes: np.ndarray) -> np.ndarray:
    """Each window of the order sorted by shape, the shapes in the order in which the window meets them first."""
    windows = [order[start : start + WINDOW] for start in range(0, len(order), WINDOW)]
    for number, window in enumerate(windows):
        _, first, shape = np.unique(shapes[window], return_index=True, return_inverse=True)
        windows[number] = window[np.argsort(first[shape], kind="stable")]
    return np.concatenate(windows)
