"""The start noise of other programs: what ``torch.randn`` gives on an NVIDIA GPU, computed on any machine.

CUDA's generator is Philox 4x32-10 (Salmon et al. 2011, "Parallel random numbers: as easy as 1, 2, 3", section 4.3):
a counter of four words is enciphered under the seed as the key, in ten rounds. Each element of a tensor has its own
counter, so no element waits for another; two words of the result become a normal number by the transform of Box and
Muller. AUTOMATIC1111's web UI calls this source of noise "GPU", and "NV" where it computes it on the CPU.

A GPU gives an element a counter of its own as long as the tensor has at most as many elements as the GPU runs threads
(2,048 for each of its multiprocessors, a few less on some); that is so for every latent of usual size.
"""

from __future__ import annotations

import math

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

MULTIPLIERS = (0xD2511F53, 0xCD9E8D57)
WEYL = (0x9E3779B9, 0xBB67AE85)  # added to the key after each round
ROUNDS = 10
WORD = np.uint64(0xFFFFFFFF)

UNIT = np.float32(2.3283064e-10)  # 2^-32, as CUDA writes it
TURN = np.float32(2.3283064e-10 * 6.2831855)  # 2 pi 2^-32

Words = NDArray[np.uint32]


def philox(counter: Words, seed: int) -> Words:
    """Four words of randomness, (4 n), for counters (4 n) under a 64-bit key."""
    words = counter.astype(np.uint64)
    key = [seed & 0xFFFFFFFF, seed >> 32]
    for _ in range(ROUNDS):
        first, second = words[0] * np.uint64(MULTIPLIERS[0]), words[2] * np.uint64(MULTIPLIERS[1])
        words = np.stack(
            [
                (second >> np.uint64(32)) ^ words[1] ^ np.uint64(key[0]),
                second & WORD,
                (first >> np.uint64(32)) ^ words[3] ^ np.uint64(key[1]),
                first & WORD,
            ]
        )
        key = [(part + step) & 0xFFFFFFFF for part, step in zip(key, WEYL, strict=True)]
    return words.astype(np.uint32)


def philox_normal(seed: int, shape: tuple[int, ...], call: int = 0) -> Tensor:
    """Unit-normal numbers, fp32 on the CPU, as the ``call``-th ``torch.randn`` of a CUDA generator of that seed."""
    count = math.prod(shape)
    counter = np.zeros((4, count), dtype=np.uint32)
    counter[0] = call
    counter[2] = np.arange(count, dtype=np.uint32)
    words = philox(counter, seed)
    u = words[0].astype(np.float64) * UNIT + UNIT / np.float32(2)
    v = words[1].astype(np.float64) * TURN + TURN / np.float32(2)
    normal = (np.sqrt(-2.0 * np.log(u)) * np.sin(v)).astype(np.float32)
    return torch.from_numpy(normal).reshape(shape)
