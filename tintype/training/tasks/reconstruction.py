"""The autoencoder: pictures through a narrow place and back.

Rombach et al. 2021 (arXiv 2112.10752), section 3.1 and appendix G, without the perceptual and adversarial parts.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from tintype.models import Autoencoder
from tintype.training.draws import Draw
from tintype.training.pictures import Pictures, to_signed
from tintype.training.recipes import AutoencoderRecipe


@dataclass(frozen=True)
class Crops:
    """Pictures (b 3 H W) in [-1, 1] and unit-normal noise for their latents (b c h w)."""

    pixels: Tensor
    noise: Tensor


class ReconstructionTask:
    """L1 and squared error of the reconstruction, and a slight pull of the latents to the unit normal."""

    def __init__(self, model: Autoencoder, pictures: Pictures, recipe: AutoencoderRecipe) -> None:
        self.model = self.network = model
        self.pictures, self.recipe = pictures, recipe
        self.num_pictures = len(pictures)
        self.shapes = None

    def batch(self, draws: list[Draw]) -> Crops:
        """A random crop of each picture."""
        pixels = torch.stack([self._crop(draw) for draw in draws])
        side = self.recipe.crop // self.model.factor
        shape = (self.model.config.latent_channels, side, side)
        noise = [torch.from_numpy(draw.rng("latent noise").standard_normal(shape, "float32")) for draw in draws]
        return Crops(to_signed(pixels), torch.stack(noise))

    def _crop(self, draw: Draw) -> Tensor:
        picture = self.pictures.pixels(draw)  # (3 H W)
        crop, rng = self.recipe.crop, draw.rng("crop")
        top, left = (int(rng.integers(side - crop + 1)) for side in picture.shape[1:])
        return picture[:, top : top + crop, left : left + crop]

    def loss(self, batch: Crops) -> tuple[Tensor, dict[str, Tensor]]:
        """Per pixel: |error| + l2_weight * error^2 + kl_weight * KL, the KL of a picture shared among its pixels."""
        latents = self.model.encode(batch.pixels)
        rebuilt = self.model.decode(latents.sample(batch.noise)).float()
        error = rebuilt - batch.pixels
        l1, l2 = error.abs().mean(), error.square().mean()
        kl = latents.kl().float().mean() / batch.pixels[0].numel()
        loss = l1 + self.recipe.l2_weight * l2 + self.recipe.kl_weight * kl
        psnr = 10 * torch.log10(4 / l2.detach())  # the range of pixels is 2
        return loss, {"psnr": psnr, "l1": l1.detach(), "kl": kl.detach()}

    def after_step(self) -> None:
        """Nothing to bound."""
