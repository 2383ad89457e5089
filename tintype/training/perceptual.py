"""How different pictures look, and not how different their pixels are: in the eyes of our own CLIP image tower.

In the manner of LPIPS (Zhang et al. 2018, arXiv 1801.03924, equation 1) with equal weights: features of several layers,
each of unit length at every place, compared place by place.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from tintype.models import ImageEncoder, normalize_pixels


class Perceptual:
    """(b 3 H W) twice, in [-1, 1] -> the distance of each pair, (b,). The tower is frozen."""

    def __init__(self, tower: ImageEncoder) -> None:
        self.tower = tower.eval().requires_grad_(False)

    def __call__(self, rebuilt: Tensor, pixels: Tensor) -> Tensor:
        """Gradients flow to ``rebuilt`` alone."""
        with torch.no_grad():
            wanted = self._features(pixels)
        pairs = zip(self._features(rebuilt), wanted, strict=True)
        return torch.stack([(a - b).square().sum(-1).mean(1) for a, b in pairs]).mean(0)  # of (b n d) -> (b,)

    def _features(self, pixels: Tensor) -> list[Tensor]:
        """Of the patches, without the class token, before and after each layer."""
        hidden = self.tower.features(normalize_pixels(pixels))
        return [F.normalize(each[:, 1:].float(), dim=-1) for each in hidden]
