"""The autoencoder: what comes back of a picture, beside a picture shrunk to as many numbers."""

from __future__ import annotations

from dataclasses import replace

import torch

from tintype.evaluation.denoising import unseen_scenes
from tintype.evaluation.examined import Examined
from tintype.evaluation.fidelity import rebuilt
from tintype.evaluation.figures import DECIBEL, Figure, Tick, Work, average
from tintype.evaluation.likeness import ssim
from tintype.evaluation.teaching import drawn
from tintype.training.measures import bicubic, psnr

BATCH = 32


def autoencoder_figures(examined: Examined, count: int) -> Work:
    """PSNR and SSIM of every style on ``count`` unseen scenes each, and the spread of every channel of the latents."""
    figures, latents = [], []
    channels = examined.model.autoencoder.config.latent_channels
    styles = examined.vocabulary.styles
    for number, style in enumerate(styles):
        values: dict[str, list[float]] = {"psnr": [], "bicubic psnr": [], "ssim": [], "bicubic ssim": []}
        scenes = [replace(scene, style=style) for scene in unseen_scenes(examined, count)]
        for start in range(0, count, BATCH):
            pixels = drawn(scenes[start : start + BATCH], examined.size)
            latents.append(examined.model.encode(pixels).cpu())
            baseline = bicubic(pixels, examined.factor, channels)
            for name, other in (("", rebuilt(examined, pixels)), ("bicubic ", baseline)):
                values[f"{name}psnr"] += psnr(other, pixels).tolist()
                values[f"{name}ssim"] += ssim(other, pixels).tolist()
            yield Tick("autoencoder", number * count + min(start + BATCH, count), len(styles) * count)
        for name, unit in (("psnr", DECIBEL), ("ssim", "")):
            other = values[f"bicubic {name}"]
            beside = {"bicubic, as many numbers": sum(other) / len(other)}
            figures.append(average("Autoencoder", f"{name.upper()}, {style}", values[name], beside, unit))
    return [*figures, *_spread(torch.cat(latents))]


def _spread(latents: torch.Tensor) -> list[Figure]:
    """The standard deviation of every channel, which should be about 1: (n c h w)."""
    return [
        Figure(
            "Autoencoder", f"latent std, channel {number}", channel.std().item(), None, {"wanted": 1.0}, of=len(latents)
        )
        for number, channel in enumerate(latents.unbind(1))
    ]
