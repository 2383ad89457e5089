"""The autoencoder: pictures to latents of an eighth of their height and width, and back.

The KL autoencoder of "High-Resolution Image Synthesis with Latent Diffusion Models" (arXiv 2112.10752), section
3.1. Its latents are raw here: bringing them to unit variance (``scaling_factor``) is the pipeline's work.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from tintype.models.attention import Attention
from tintype.models.configs import AutoencoderConfig
from tintype.models.layers import AsymmetricDownsample, GroupNorm, ResnetBlock, Upsample

NORM_EPS = 1e-6


@dataclass(frozen=True)
class DiagonalGaussian:
    """What the encoder says of a picture: a mean and a log-variance for every latent, each (b c h w)."""

    mean: Tensor
    logvar: Tensor

    @property
    def std(self) -> Tensor:
        """Standard deviation, (b c h w)."""
        return torch.exp(0.5 * self.logvar)

    def sample(self, noise: Tensor) -> Tensor:
        """A draw, from unit-normal ``noise`` of the same shape (the reparameterisation, arXiv 1312.6114)."""
        return self.mean + self.std * noise

    def kl(self) -> Tensor:
        """The divergence from the unit normal, in nats per picture, (b,) (arXiv 1312.6114, appendix B)."""
        return 0.5 * (self.mean**2 + self.logvar.exp() - 1 - self.logvar).sum(dim=(1, 2, 3))


class PlaceAttention(nn.Module):
    """One head of attention among all places, (b c h w) -> (b c h w)."""

    def __init__(self, channels: int, groups: int) -> None:
        super().__init__()
        self.norm = GroupNorm(groups, channels, NORM_EPS)
        self.attention = Attention(channels, num_heads=1, qkv_bias=True)

    def forward(self, x: Tensor) -> Tensor:
        tokens = self.norm(x).flatten(2).transpose(1, 2)  # (b c h w) -> (b n c)
        out = self.attention(tokens, self.attention.project(tokens))
        return x + out.transpose(1, 2).unflatten(2, x.shape[2:])  # (b n c) -> (b c h w)


class Middle(nn.Module):
    """ResNet block, attention, ResNet block, at the resolution of the latents."""

    def __init__(self, channels: int, groups: int) -> None:
        super().__init__()
        self.resnets = nn.ModuleList(ResnetBlock(channels, channels, groups=groups, eps=NORM_EPS) for _ in range(2))
        self.attention = PlaceAttention(channels, groups)

    def forward(self, x: Tensor) -> Tensor:
        return self.resnets[1](self.attention(self.resnets[0](x)))


class Level(nn.Module):
    """ResNet blocks at one resolution, then a change of it (the last level has none)."""

    def __init__(self, before: int, after: int, *, layers: int, groups: int, resample: nn.Module | None) -> None:
        super().__init__()
        widths = [(before, after)] + [(after, after)] * (layers - 1)
        self.resnets = nn.ModuleList(ResnetBlock(a, b, groups=groups, eps=NORM_EPS) for a, b in widths)
        self.resample = resample

    def forward(self, x: Tensor) -> Tensor:
        for resnet in self.resnets:
            x = resnet(x)
        if isinstance(self.resample, Upsample):
            return self.resample(x, size=(2 * x.shape[-2], 2 * x.shape[-1]))
        return x if self.resample is None else self.resample(x)


class Encoder(nn.Module):
    """(b 3 H W) -> (b 2c h w): means and log-variances."""

    def __init__(self, config: AutoencoderConfig) -> None:
        super().__init__()
        channels, groups = config.channels, config.norm_groups
        self.conv_in = nn.Conv2d(config.in_channels, channels[0], 3, padding=1)
        self.down = nn.ModuleList(
            Level(
                channels[max(i - 1, 0)],
                width,
                layers=config.layers_per_block,
                groups=groups,
                resample=AsymmetricDownsample(width) if i < len(channels) - 1 else None,
            )
            for i, width in enumerate(channels)
        )
        self.mid = Middle(channels[-1], groups)
        self.norm_out = GroupNorm(groups, channels[-1], NORM_EPS)
        self.conv_out = nn.Conv2d(channels[-1], 2 * config.latent_channels, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        x = self.conv_in(x)
        for level in self.down:
            x = level(x)
        return self.conv_out(self.norm_out.then_silu(self.mid(x)))


class Decoder(nn.Module):
    """(b c h w) -> (b 3 H W). Its levels are stored from the coarsest to the finest, as they are used."""

    def __init__(self, config: AutoencoderConfig) -> None:
        super().__init__()
        channels, groups = config.channels[::-1], config.norm_groups
        self.conv_in = nn.Conv2d(config.latent_channels, channels[0], 3, padding=1)
        self.mid = Middle(channels[0], groups)
        self.up = nn.ModuleList(
            Level(
                channels[max(i - 1, 0)],
                width,
                layers=config.layers_per_block + 1,
                groups=groups,
                resample=Upsample(width) if i < len(channels) - 1 else None,
            )
            for i, width in enumerate(channels)
        )
        self.norm_out = GroupNorm(groups, channels[-1], NORM_EPS)
        self.conv_out = nn.Conv2d(channels[-1], config.out_channels, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        x = self.mid(self.conv_in(x))
        for level in self.up:
            x = level(x)
        return self.conv_out(self.norm_out.then_silu(x))


class Autoencoder(nn.Module):
    """Pictures (b 3 H W) in [-1, 1] <-> latents (b c H/8 W/8). H and W must be multiples of ``factor``."""

    def __init__(self, config: AutoencoderConfig) -> None:
        super().__init__()
        self.config = config
        c = config.latent_channels
        self.encoder = Encoder(config)
        self.decoder = Decoder(config)
        self.quant_conv = nn.Conv2d(2 * c, 2 * c, 1)
        self.post_quant_conv = nn.Conv2d(c, c, 1)

    @property
    def factor(self) -> int:
        """Pixels to a latent, along each side."""
        return self.config.factor

    @property
    def weight(self) -> Tensor:
        """One of its weights, to know where it is and what it computes in: of a layer that stays as it is for speed."""
        return self.decoder.norm_out.weight

    def encode(self, pixels: Tensor) -> DiagonalGaussian:
        """(b 3 H W) -> a Gaussian over raw latents."""
        return self.posterior(self.encoder(pixels))

    def posterior(self, encoded: Tensor) -> DiagonalGaussian:
        """What the encoder gave, (b 2c h w) -> a Gaussian. Its log-variance is kept within [-30, 20]."""
        mean, logvar = self.quant_conv(encoded).chunk(2, dim=1)
        return DiagonalGaussian(mean, logvar.clamp(-30.0, 20.0))

    def decode(self, latents: Tensor) -> Tensor:
        """Raw latents (b c h w) -> pixels (b 3 H W), about [-1, 1], not clamped."""
        return self.decoder(self.post_quant_conv(latents))
