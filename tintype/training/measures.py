"""Plain measures of a trained part, shared by the model card and the evaluation."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn


def psnr(a: Tensor, b: Tensor) -> Tensor:
    """Peak signal to noise of each picture in [-1, 1], (n 3 H W) -> (n,), in dB."""
    return 10 * torch.log10(4 / (a - b).square().flatten(1).mean(1))


def bicubic(pixels: Tensor, factor: int, latent_channels: int) -> Tensor:
    """Pictures (n 3 H W) shrunk to about as many numbers as their latents have, colours included, and enlarged again.

    What an autoencoder of this factor and so many channels must beat.
    """
    scale = math.sqrt(latent_channels / 3) / factor
    small = [max(1, round(side * scale)) for side in pixels.shape[2:]]
    shrunk = nn.functional.interpolate(pixels, size=small, mode="bicubic", antialias=True)
    return nn.functional.interpolate(shrunk, size=pixels.shape[2:], mode="bicubic").clamp(-1, 1)


def found_among(similarity: Tensor, captions: Sequence[str], rank: int = 1) -> list[bool]:
    """Whether each picture's own caption is among the ``rank`` nearest, by (n n) similarities of pictures to captions.

    Equal captions count as its own.
    """
    nearest = similarity.topk(rank, dim=1).indices.tolist()  # (n n) -> (n rank)
    return [any(captions[j] == captions[i] for j in row) for i, row in enumerate(nearest)]
