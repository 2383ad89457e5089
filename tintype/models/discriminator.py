"""The patch discriminator says of every part of a picture whether it looks real or rebuilt.

Isola et al. 2016 (arXiv 1611.07004), section 3.2.2, as latent diffusion's autoencoder is trained against it; with
GroupNorm in the place of BatchNorm, so that a picture's score does not depend on its batch.
"""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor, nn

from tintype.models.layers import GroupNorm


@dataclass(frozen=True)
class DiscriminatorConfig:
    """The shape of a patch discriminator. With three levels each score sees 70x70 pixels."""

    channels: tuple[int, ...] = (32, 64, 128)  # of each level, from the finest; each halves height and width
    norm_groups: int = 16


class PatchDiscriminator(nn.Module):
    """(b 3 H W) in [-1, 1] -> scores (b 1 h w), high where it looks real. H and W from 2^(levels + 2) up."""

    def __init__(self, config: DiscriminatorConfig) -> None:
        super().__init__()
        self.config = config
        first, *channels = config.channels
        layers: list[nn.Module] = [nn.Conv2d(3, first, 4, stride=2, padding=1), nn.LeakyReLU(0.2)]
        before = first
        for width in channels:
            layers += _normed(before, width, config.norm_groups, stride=2)
            before = width
        layers += _normed(before, 2 * before, config.norm_groups, stride=1)
        layers.append(nn.Conv2d(2 * before, 1, 4, padding=1))
        self.layers = nn.Sequential(*layers)
        for layer in self.layers:
            if isinstance(layer, nn.Conv2d):  # section 6.2 of the paper
                nn.init.normal_(layer.weight, std=0.02)

    def forward(self, pixels: Tensor) -> Tensor:
        return self.layers(pixels)


def _normed(before: int, after: int, groups: int, *, stride: int) -> list[nn.Module]:
    conv = nn.Conv2d(before, after, 4, stride=stride, padding=1, bias=False)
    return [conv, GroupNorm(groups, after), nn.LeakyReLU(0.2)]
