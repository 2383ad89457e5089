"""Why latents: a picture through the autoencoder and back, and the same latents under more and more noise."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import log10, sqrt

import torch
from PIL import Image
from torch import Tensor

from tintype.diffusion import start_noise
from tintype.illustrate.previews import latent_colours, preview_images
from tintype.images import to_image, to_tensor
from tintype.pipeline.stable_diffusion import StableDiffusion


@dataclass(frozen=True)
class RoundTrip:
    """A picture, its latents, what the decoder makes of them, and what was lost.

    Attributes:
        image: before, 8-bit RGB.
        latents: (c h w) fp32, of about unit variance.
        rebuilt: after.
        error: (H W) fp32, for each pixel the largest difference of its three colours, 0 to 1.
        psnr: in dB, of the 8-bit pictures; infinite where they are equal.
        numbers: how many numbers the picture has.
        latent_numbers: and its latents; Stable Diffusion's are 48 times fewer.
    """

    image: Image.Image
    latents: Tensor
    rebuilt: Image.Image
    error: Tensor
    psnr: float
    numbers: int
    latent_numbers: int

    @property
    def compression(self) -> float:
        """How many times fewer the numbers of the latents are."""
        return self.numbers / self.latent_numbers


@dataclass(frozen=True)
class Noised:
    """Latents with a known amount of noise, as they are (c h w) and painted; or, not ``decoded``, as mere colours."""

    sigma: float
    timestep: float
    x: Tensor
    image: Image.Image
    decoded: bool = True


def round_trip(model: StableDiffusion, image: Image.Image) -> RoundTrip:
    """Encode (the mean) and decode. Width and height must be multiples of 8."""
    pixels = to_tensor(image)  # (1 3 H W)
    latents = model.encode(pixels)
    rebuilt = to_image(model.decode(latents)[0])
    difference = (to_tensor(rebuilt) - pixels).abs()[0] / 2  # (3 H W), 0 to 1
    mean_square = float(difference.square().mean())
    return RoundTrip(
        image,
        latents[0].cpu(),
        rebuilt,
        difference.amax(dim=0),
        -10 * log10(mean_square) if mean_square > 0 else float("inf"),
        pixels.numel(),
        latents.numel(),
    )


def forward_row(
    model: StableDiffusion,
    latents: Tensor,
    sigmas: Sequence[float],
    *,
    seed: int = 0,
    clean: Image.Image | None = None,
    paint: bool = True,
) -> list[Noised]:
    """Latents (c h w) with one noise in growing amounts, each painted: the row that training walks.

    ``clean``: the latents themselves, where they are painted already. Without ``paint`` the noisy ones are shown by the
    linear map from latents to colours.
    """
    c, h, w = latents.shape
    noise = start_noise([seed], (c, h, w))[0]
    row = []
    for sigma in sigmas:
        x = latents.float().cpu() + sigma * noise
        scaled, decoded = (x / sqrt(1 + sigma**2))[None], paint or sigma == 0
        if sigma == 0 and clean is not None:
            painted = clean
        elif decoded:
            painted = model.images(scaled)[0]
        else:
            painted = preview_images(scaled, latent_colours(model), model.autoencoder.factor)[0]
        time = model.schedule.timestep(sigma) if sigma > 0 else 0.0
        row.append(Noised(sigma, float(torch.as_tensor(time)), x, painted, decoded))
    return row
