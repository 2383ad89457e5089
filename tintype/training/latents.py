"""Latents prepared once: what the autoencoder's encoder makes of every picture, and how large they are."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from tintype.checkpoints.load import has_bf16
from tintype.models import Autoencoder
from tintype.training.draws import Draw
from tintype.training.pictures import DrawnScenes, to_signed
from tintype.training.shards import Shards, write_shards

ENCODE_PIXELS = 50 * 128 * 128  # that go through the encoder together


@torch.no_grad()
def encode_pictures(pixels: Tensor, autoencoder: Autoencoder) -> Tensor:
    """(n 3 H W) uint8 -> raw latents (n c h w) bf16: the mean, which differs from a draw by very little."""
    weight = autoencoder.weight
    device, dtype = weight.device, weight.dtype  # that of a loaded model may be half precision
    batch = max(1, ENCODE_PIXELS // pixels[0, 0].numel())
    with torch.autocast(device.type, torch.bfloat16, has_bf16(device)):
        parts = [autoencoder.encode(to_signed(part.to(device)).to(dtype)).mean for part in pixels.split(batch)]
    return torch.cat(parts).to("cpu", torch.bfloat16)


def cache_latents(
    folder: Path, pictures: DrawnScenes, autoencoder: Autoencoder, *, part: int = 0, parts: int = 1
) -> Iterator[int]:
    """Encode all pictures into shards under ``folder``; yields how many are ready."""

    def make(numbers: range) -> tuple[dict[str, Tensor], list[dict[str, Any]]]:
        pixels = torch.stack([pictures.pixels(Draw(0, 0, number)) for number in numbers])
        records = [pictures.shards.records[number] for number in numbers]
        return {"latents": encode_pictures(pixels, autoencoder)}, records

    return write_shards(folder, len(pictures), make, part=part, parts=parts)


def measure_scaling_factor(shards: Shards) -> float:
    """One over the standard deviation of all raw latents, about zero: what brings them to unit size.

    Rombach et al. 2021 (arXiv 2112.10752), appendix G, on a first batch; here on up to 20 shards.
    """
    sample = torch.cat(
        [
            latents.float().flatten()
            for tensors in shards.tensors[:20]
            for name, latents in tensors.items()
            if name.startswith("latents")
        ]
    )
    return 1 / sample.square().mean().sqrt().item()
