"""No autoencoder: a diffusion that works on pixels, as the first ones did (DDPM, arXiv 2006.11239)."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from tintype.models.autoencoder import Autoencoder, DiagonalGaussian
from tintype.models.configs import PIXELS

CERTAIN = -30.0
"""The log-variance of what is known exactly, as small as an autoencoder may say it."""


class Pixels(Autoencoder):
    """Pictures are their own latents. It has no weights, so a model's folder has no ``vae``."""

    def __init__(self) -> None:
        nn.Module.__init__(self)
        self.config = PIXELS
        self.encoder, self.decoder = nn.Identity(), nn.Identity()
        self.register_buffer("nothing", torch.zeros(()), persistent=False)

    @property
    def weight(self) -> Tensor:
        """Where it is and what it computes in; there is nothing to learn."""
        return self.get_buffer("nothing")

    def encode(self, pixels: Tensor) -> DiagonalGaussian:
        """(b 3 H W) -> the same, certain."""
        return DiagonalGaussian(self.encoder(pixels), torch.full_like(pixels, CERTAIN))

    def decode(self, latents: Tensor) -> Tensor:
        """(b 3 H W) -> the same."""
        return self.decoder(latents)
