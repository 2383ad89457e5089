"""The steps in which the outline emerges, found by measure.

The outline of an estimate of the picture is the field of slopes, to the right and downwards, of its latents averaged
over 3 x 3: low frequencies and large edges, without texture.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor

BLUR = 3  # latents, that is 24 pixels


def outline_shares(estimates: Sequence[Tensor], final: Tensor) -> list[float]:
    """For each estimate (c h w), how much of the final picture's outline is in it: the cosine of the two, or 0 below 0.

    An estimate without any slope has no outline.
    """
    target = outline(final)
    return [max(0.0, float(F.cosine_similarity(outline(each), target, dim=0))) for each in estimates]


def outline_changes(estimates: Sequence[Tensor]) -> list[float]:
    """From each estimate (c h w) to the next, how far the outline moves, over the length of the last outline."""
    outlines = [outline(each) for each in estimates]
    length = float(outlines[-1].norm().clamp(min=1e-12))
    return [float((after - before).norm()) / length for before, after in pairwise(outlines)]


def outline_window(changes: Sequence[float]) -> tuple[int, int]:
    """The two estimates between which the outline emerges, as indices.

    It is the shortest stretch in which the outline makes half of its whole way; of equally short ones, that in which
    it makes most of it. ``changes`` are those of ``outline_changes``; without any, (0, 0).
    """
    half = sum(changes) / 2
    if half <= 0:
        return 0, 0
    for length in range(1, len(changes) + 1):
        ways = [(sum(changes[start : start + length]), -start) for start in range(len(changes) - length + 1)]
        way, start = max(ways)
        if way >= half * (1 - 1e-9):
            return -start, -start + length
    raise AssertionError("unreachable: the whole way is more than half of it")


def outline(latents: Tensor) -> Tensor:
    """(c h w) -> all slopes of the smoothed latents as one vector."""
    smooth = F.avg_pool2d(latents.float()[None], BLUR, stride=1, padding=BLUR // 2, count_include_pad=False)[0]
    right, down = smooth.diff(dim=-1), smooth.diff(dim=-2)
    return torch.cat([right.flatten(), down.flatten()])
