"""The steps in which the outline emerges, found by measure."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

BLUR = 3  # latents, that is 24 pixels: what is finer is texture


def outline_shares(estimates: Sequence[Tensor], final: Tensor) -> list[float]:
    """For each estimate of the picture (c h w), how much of the final one's outline is in it, 0 to 1.

    The outline is the field of slopes, to the right and downwards, of the latents averaged over 3 x 3; the share is
    the cosine between the two fields, and 0 where they disagree. A constant estimate has no outline.
    """
    target = _slopes(final)
    return [max(0.0, float(F.cosine_similarity(_slopes(each), target, dim=0))) for each in estimates]


def outline_window(shares: Sequence[float]) -> tuple[int, int]:
    """The shortest run of steps, first and last index, in which the outline makes half of its whole rise.

    Before the first step there is none of it. Of equally short runs the one with the greatest rise; (0, 0) where
    nothing rises.
    """
    levels = [0.0, *shares]
    half = (max(levels) - levels[0]) / 2
    if half <= 0:
        return 0, 0
    for length in range(1, len(shares) + 1):
        rises = [(levels[end] - levels[end - length], end) for end in range(length, len(levels))]
        rise, end = max(rises, key=lambda pair: (pair[0], -pair[1]))
        if rise >= half:
            return end - length, end - 1
    return 0, len(shares) - 1


def _slopes(latents: Tensor) -> Tensor:
    """(c h w) -> all slopes of the smoothed latents as one vector."""
    smooth = F.avg_pool2d(latents.float()[None], BLUR, stride=1, padding=BLUR // 2, count_include_pad=False)[0]
    right, down = smooth.diff(dim=-1), smooth.diff(dim=-2)
    return torch.cat([right.flatten(), down.flatten()])
