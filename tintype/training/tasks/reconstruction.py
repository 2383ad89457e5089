"""The autoencoder: pictures through a narrow place and back.

Rombach et al. 2021 (arXiv 2112.10752), section 3.1 and appendix G: each pixel's error, how different the pictures look
to a network that has learnt to see, and what a rival still tells apart.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from tintype.models import Autoencoder
from tintype.training.draws import Draw
from tintype.training.perceptual import Perceptual
from tintype.training.pictures import Pictures, to_signed
from tintype.training.processes import processes
from tintype.training.recipes import AutoencoderRecipe
from tintype.training.rival import Rival


@dataclass(frozen=True)
class Crops:
    """Pictures (b 3 H W) in [-1, 1] and unit-normal noise for their latents (b c h w)."""

    pixels: Tensor
    noise: Tensor


class ReconstructionTask:
    """L1, squared, perceptual and adversarial error, and a slight pull of the latents to the unit normal.

    ``perceptual`` and ``rival``, a patch discriminator, are there where the recipe gives them a weight.
    """

    def __init__(
        self,
        model: Autoencoder,
        pictures: Pictures,
        recipe: AutoencoderRecipe,
        perceptual: Perceptual | None = None,
        rival: Rival | None = None,
    ) -> None:
        self.model = self.network = model
        self.pictures, self.recipe = pictures, recipe
        self.perceptual, self.rival = perceptual, rival
        self.num_pictures = len(pictures)
        self.shapes = None
        self._rivals_loss: Tensor | None = None

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
        """Per pixel: |error| + l2_weight * error^2 + kl_weight * KL, the KL of a picture shared among its pixels.

        With perceptual_weight * distance, and the rival's part, where the recipe has them.
        """
        recipe, device = self.recipe, self.model.decoder.conv_out.weight.device
        pixels = batch.pixels.to(device)
        latents = self.model.encode(pixels)
        rebuilt = self.model.decode(latents.sample(batch.noise.to(device))).float()
        error = rebuilt - pixels
        l1, l2 = error.abs().mean(), error.square().mean()
        loss = l1 + recipe.l2_weight * l2
        metrics = {"psnr": 10 * torch.log10(4 / l2.detach()), "l1": l1.detach()}  # the range of pixels is 2
        if self.perceptual is not None:
            distance = self.perceptual(rebuilt, pixels).mean()
            loss = loss + recipe.perceptual_weight * distance
            metrics["perceptual"] = distance.detach()
        if self.rival is not None and self.rival.plays:
            adversarial, told = self._contest(self.rival, pixels, rebuilt, loss)
            loss = loss + recipe.adversarial_weight * adversarial
            metrics |= told
        kl = latents.kl().float().mean() / pixels[0].numel()
        return loss + recipe.kl_weight * kl, metrics | {"kl": kl.detach()}

    def _contest(self, rival: Rival, pixels: Tensor, rebuilt: Tensor, loss: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        """What the model is to make small, weighted; and beside it, for after its step, the rival's hinge loss.

        Lim and Ye 2017 (arXiv 1705.02894), as latent diffusion has it.
        """
        discriminator = rival.network.requires_grad_(False)
        adversarial = -discriminator(rebuilt).float().mean()
        adversarial = self._weight(loss, adversarial) * adversarial
        discriminator.requires_grad_(True)
        real, fake = (discriminator(each).float() for each in (pixels, rebuilt.detach()))
        self._rivals_loss = (F.relu(1 - real).mean() + F.relu(1 + fake).mean()) / 2
        return adversarial, {"rivals_loss": self._rivals_loss.detach()}

    def _weight(self, loss: Tensor, adversarial: Tensor) -> Tensor:
        """What makes both pull the decoder's last layer equally hard (Esser et al. 2020, arXiv 2012.09841, eq. 7)."""
        last = self.model.decoder.conv_out.weight
        pulls = [processes().averaged(self._pull(each, last)).norm() for each in (loss, adversarial)]
        return (pulls[0] / (pulls[1] + 1e-6)).clamp(0, 1e4).detach()

    def _pull(self, loss: Tensor, weight: Tensor) -> Tensor:
        """The gradient of what this process counts in the mean over all."""
        share = 1.0 if self.rival is None else self.rival.share
        return share * torch.autograd.grad(loss, weight, retain_graph=True)[0]

    def after_step(self) -> None:
        """The rival's step."""
        if self.rival is not None and self._rivals_loss is not None:
            self.rival.learn(self._rivals_loss)
        self._rivals_loss = None

    def notice(self) -> None:
        """Nothing to say."""
