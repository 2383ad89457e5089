"""Chance that can be repeated: every random draw of a picture is a function of (seed, epoch, picture).

Not of the worker, the process or the moment: so training resumes bit-exactly, and the same pictures get the same
noise on one machine or on eight.
"""

from __future__ import annotations

import zlib
from dataclasses import dataclass

import numpy as np


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


def visits(seed: int, num_pictures: int, start: int, stop: int) -> list[Draw]:
    """The visits number ``start`` to ``stop`` of an endless walk: each epoch sees every picture once, shuffled."""
    found = []
    while start < stop:
        epoch, offset = divmod(start, num_pictures)
        order = np.random.default_rng([seed, epoch]).permutation(num_pictures)
        taken = order[offset : offset + stop - start]
        found += [Draw(seed, epoch, int(index)) for index in taken]
        start += len(taken)
    return found
