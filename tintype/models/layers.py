"""The blocks that the UNet and the autoencoder share."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn


def sinusoidal_embedding(t: Tensor, dim: int) -> Tensor:
    """Times as waves of geometrically spaced frequencies: (b,) -> (b dim), fp32, cosines before sines.

    "Attention Is All You Need" (arXiv 1706.03762), section 3.5, in the order of DDPM's released code.
    """
    half = dim // 2
    frequencies = torch.exp(-math.log(10_000) / half * torch.arange(half, dtype=torch.float32, device=t.device))
    angles = t.float()[:, None] * frequencies  # (b dim/2)
    return torch.cat([angles.cos(), angles.sin()], dim=-1)


def guidance_frequencies(scale: Tensor, dim: int) -> Tensor:
    """Guidance scales as waves, for networks that imitate guidance: (b,) -> (b dim), fp32, sines before cosines.

    "On Distillation of Guided Diffusion Models" (arXiv 2210.03142), as in the released code of LCM (arXiv
    2310.04378), where guidance 1, none, is 0.
    """
    half = dim // 2
    frequencies = torch.exp(-math.log(10_000) / (half - 1) * torch.arange(half, dtype=torch.float32))
    angles = 1000 * (scale.float()[:, None] - 1) * frequencies.to(scale.device)  # (b dim/2)
    return F.pad(torch.cat([angles.sin(), angles.cos()], dim=-1), (0, dim % 2))


def silu_of_fresh(x: Tensor) -> Tensor:
    """SiLU of a tensor that nobody else holds: in its place, unless a gradient will ask for what it was.

    Memory for a new map is dearer than the arithmetic: its pages must be faulted in (docs/log.md).
    """
    return F.silu(x, inplace=not torch.is_grad_enabled())


class GroupNorm(nn.GroupNorm):
    """Normalisation over the channels of a group and all pixels, (b c h w) -> (b c h w).

    Wu and He 2018, "Group Normalization" (arXiv 1803.08494).
    """

    def then_silu(self, x: Tensor) -> Tensor:
        """SiLU of what is normalised. One method, so that both can be computed at once."""
        return silu_of_fresh(self(x))


class EmbeddingMLP(nn.Module):
    """Linear, SiLU, linear: a time or a vector of facts becomes an embedding, (b in_dim) -> (b out_dim)."""

    def __init__(self, in_dim: int, out_dim: int) -> None:
        super().__init__()
        self.linear_1 = nn.Linear(in_dim, out_dim)
        self.linear_2 = nn.Linear(out_dim, out_dim)

    def forward(self, x: Tensor) -> Tensor:
        return self.linear_2(F.silu(self.linear_1(x)))


class ResnetBlock(nn.Module):
    """Two convolutions around a sum with the time embedding, and a way past them.

    (b in_channels h w), (b time_dim) -> (b out_channels h w). The autoencoder has no time: ``time_dim`` None.
    """

    def __init__(
        self, in_channels: int, out_channels: int, *, time_dim: int | None = None, groups: int, eps: float
    ) -> None:
        super().__init__()
        self.norm1 = GroupNorm(groups, in_channels, eps)
        self.conv1 = nn.Conv2d(in_channels, out_channels, 3, padding=1)
        self.time = nn.Linear(time_dim, out_channels) if time_dim else None
        self.norm2 = GroupNorm(groups, out_channels, eps)
        self.conv2 = nn.Conv2d(out_channels, out_channels, 3, padding=1)
        self.shortcut = nn.Conv2d(in_channels, out_channels, 1) if in_channels != out_channels else nn.Identity()

    def forward(self, x: Tensor, time: Tensor | None = None) -> Tensor:
        h = self.conv1(self.norm1.then_silu(x))
        if self.time is not None:
            h = h + self.time(time)[:, :, None, None]  # (b c) -> (b c 1 1)
        h = self.conv2(self.norm2.then_silu(h))
        if torch.is_grad_enabled() or self.conv2._forward_hooks:  # somebody will look at h again
            return self.shortcut(x) + h
        return h.add_(self.shortcut(x))


class Downsample(nn.Module):
    """Halve height and width by a convolution of stride 2: (b c h w) -> (b c ceil(h/2) ceil(w/2))."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(channels, channels, 3, stride=2, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        return self.conv(x)


class AsymmetricDownsample(nn.Module):
    """The autoencoder's way of halving: zeros only at the right and bottom, (b c h w) -> (b c h//2 w//2)."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(channels, channels, 3, stride=2)

    def forward(self, x: Tensor) -> Tensor:
        return self.conv(F.pad(x, (0, 1, 0, 1)))


class Upsample(nn.Module):
    """Repeat pixels up to ``size`` (h w), then smooth by a convolution.

    The size is given and not just doubled: where a level of the UNet was odd, its half was rounded up, and the
    way back must meet the skip connection exactly.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(channels, channels, 3, padding=1)

    def forward(self, x: Tensor, size: tuple[int, int] | torch.Size) -> Tensor:
        return self.conv(F.interpolate(x, size=tuple(size), mode="nearest"))
