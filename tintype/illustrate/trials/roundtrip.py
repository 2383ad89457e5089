"""From the picture to latents and back, with noise added on the way: what the autoencoder keeps, and what it saves."""

from __future__ import annotations

from dataclasses import dataclass
from math import log10, sqrt
from typing import TYPE_CHECKING

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from tintype.illustrate.recording import Recording
from tintype.illustrate.trials.learning import training_rows
from tintype.images import to_tensor
from tintype.models import UNet
from tintype.types import Conditioning

if TYPE_CHECKING:
    from tintype.pipeline.stable_diffusion import StableDiffusion

OTHERS = 4

AMOUNTS = (0, 1, 2, 3)
"""The article's amounts of noise; 3 of 3 is close to noise alone."""


@dataclass(frozen=True)
class NoisyLatents:
    """Latents with a known amount of noise, and the decoder's picture of them."""

    amount: int
    timestep: int
    sigma: float
    latents: Tensor  # (c h w), of unit variance
    image: Image.Image


@dataclass(frozen=True)
class Roundtrip:
    """A picture, its latents (c h w), the picture that the decoder makes of them, and what that cost.

    ``psnr`` in decibels; ``worst``: the largest error of a pixel, of 255 levels, but for one in two hundred; ``others``:
    the mean PSNR of a few pictures of the training set, which no decoder painted.

    ``operations``: multiply-adds, in floating point operations, of one call of the UNet on these latents, and of the
    same network on the pixels themselves; None where a text is needed that this UNet does not have.
    """

    image: Image.Image
    latents: Tensor
    restored: Image.Image
    psnr: float
    worst: float
    others: float
    forward: tuple[NoisyLatents, ...]
    operations: tuple[int, int] | None

    @property
    def compression(self) -> float:
        """Numbers of the picture over numbers of the latents."""
        return 3 * self.image.width * self.image.height / self.latents.numel()


def round_trip(sd: StableDiffusion, recording: Recording) -> Roundtrip:
    """Encode the run's picture, decode it, and add noise to it as training does."""
    image = recording.image
    latents = sd.encode(to_tensor(image))[0].cpu()
    restored = sd.images(latents[None])[0]
    a, b = (np.asarray(each, dtype=np.float64) for each in (image, restored))
    worst = max(1.0, float(np.quantile(np.abs(a - b).mean(-1), 0.995)))
    others = [_psnr(each, sd.images(sd.encode(to_tensor(each)))[0]) for each in training_rows(sd).pictures[:OTHERS]]
    noise = torch.randn(latents.shape, generator=torch.Generator().manual_seed(recording.seed % 2**63))
    last = sd.schedule.num_train_timesteps - 1
    forward = []
    for amount in AMOUNTS:
        t = round(last * (amount / AMOUNTS[-1]) ** 0.8)
        sigma = float(sd.schedule.sigmas[t]) if amount else 0.0
        noisy = (latents + sigma * noise) / sqrt(1 + sigma**2)
        forward.append(NoisyLatents(amount, t if amount else 0, sigma, noisy, sd.images(noisy[None])[0]))
    measured = (_psnr(image, restored), worst, sum(others) / len(others))
    return Roundtrip(image, latents, restored, *measured, tuple(forward), operations(sd, recording))


def _psnr(one: Image.Image, other: Image.Image) -> float:
    """Of 8-bit pictures, in decibels."""
    a, b = (np.asarray(image, dtype=np.float64) for image in (one, other))
    return 10 * log10(255**2 / max(float(np.mean((a - b) ** 2)), 1e-9))


def operations(sd: StableDiffusion, recording: Recording) -> tuple[int, int] | None:
    """Floating point operations of one call of the UNet in latents, and of the same network in pixels. Exact counts.

    The network is built without memory: shapes are computed, numbers are not.
    """
    config = sd.unet.config
    if config.vector_dim or config.guidance_dim or recording.context is None:
        return None
    with torch.device("meta"):
        unet = UNet(config)
        context = torch.empty(1, *recording.context.shape)
    _, h, w = recording.latents.shape
    found = []
    for factor in (1, sd.autoencoder.factor):
        with torch.device("meta"):
            x, t = torch.empty(1, config.in_channels, factor * h, factor * w), torch.empty(1)
        with torch.no_grad(), FlopCounterMode(display=False) as counter:
            unet(x, t, Conditioning(context))
        found.append(counter.get_total_flops())
    return found[0], found[1]
