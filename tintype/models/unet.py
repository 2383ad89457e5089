"""The noise predictor: a UNet that sees noisy latents, the time and the text, and says what is noise in them.

Rombach et al. 2021, "High-Resolution Image Synthesis with Latent Diffusion Models" (arXiv 2112.10752), section
3.3. Read `UNet.forward` first: it is the picture of a U.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tintype.models.attention import Attention, KeyValue, SpatialTransformer, TransformerBlock
from tintype.models.configs import UNetConfig
from tintype.models.layers import (
    Downsample,
    EmbeddingMLP,
    GroupNorm,
    ResnetBlock,
    Upsample,
    guidance_frequencies,
    sinusoidal_embedding,
)
from tintype.types import Conditioning


@dataclass(frozen=True)
class Prepared:
    """A conditioning of which everything that stays the same from step to step is already computed."""

    keys_values: tuple[KeyValue, ...]  # of each cross-attention, in the order of the forward pass
    vector: Tensor | None = None  # (b time_dim) the vector's embedding
    concat: Tensor | None = None  # (b k h w)
    guidance: Tensor | None = None  # (b channels[0]) the guidance scale's embedding

    def __getitem__(self, images: slice) -> Prepared:
        """The part of some images of the batch."""
        return Prepared(
            tuple((k[images], v[images]) for k, v in self.keys_values),
            None if self.vector is None else self.vector[images],
            None if self.concat is None else self.concat[images],
            None if self.guidance is None else self.guidance[images],
        )

    @staticmethod
    def join(parts: list[Prepared]) -> Prepared:
        """Several as one batch, in order."""

        def cat(tensors: list[Tensor | None]) -> Tensor | None:
            there = [tensor for tensor in tensors if tensor is not None]
            return torch.cat(there) if there else None

        pairs = zip(*(part.keys_values for part in parts), strict=True)
        return Prepared(
            tuple((torch.cat([k for k, _ in pair]), torch.cat([v for _, v in pair])) for pair in pairs),
            cat([part.vector for part in parts]),
            cat([part.concat for part in parts]),
            cat([part.guidance for part in parts]),
        )


class Level(nn.Module):
    """ResNet blocks at one resolution, each followed by attention where the level has any."""

    def __init__(self, config: UNetConfig, widths: list[tuple[int, int]], *, depth: int, num_heads: int) -> None:
        super().__init__()
        block = {"time_dim": config.time_dim, "groups": config.norm_groups, "eps": config.norm_eps}
        self.resnets = nn.ModuleList(ResnetBlock(before, after, **block) for before, after in widths)
        self.attentions = nn.ModuleList(
            SpatialTransformer(after, config.context_dim, num_heads=num_heads, depth=depth, groups=config.norm_groups)
            for _, after in widths
            if depth
        )

    def layer(self, index: int, x: Tensor, time: Tensor, text: Iterator[KeyValue]) -> Tensor:
        """One ResNet block and its attention."""
        x = self.resnets[index](x, time)
        return self.attentions[index](x, text) if self.attentions else x


class DownLevel(Level):
    """On the way down: each layer's output is also a skip connection to the way up."""

    def __init__(self, config: UNetConfig, level: int) -> None:
        before = config.channels[max(level - 1, 0)]
        after = config.channels[level]
        widths = [(before, after)] + [(after, after)] * (config.layers_per_block - 1)
        super().__init__(config, widths, depth=config.transformer_depth[level], num_heads=config.num_heads[level])
        self.downsample = Downsample(after) if level < len(config.channels) - 1 else None

    def forward(self, x: Tensor, time: Tensor, text: Iterator[KeyValue]) -> list[Tensor]:
        outputs = []
        for index in range(len(self.resnets)):
            x = self.layer(index, x, time, text)
            outputs.append(x)
        if self.downsample is not None:
            outputs.append(self.downsample(x))
        return outputs


class Middle(nn.Module):
    """The bottom of the U: ResNet block, attention, ResNet block."""

    def __init__(self, config: UNetConfig) -> None:
        super().__init__()
        width = config.channels[-1]
        block = {"time_dim": config.time_dim, "groups": config.norm_groups, "eps": config.norm_eps}
        self.resnets = nn.ModuleList(ResnetBlock(width, width, **block) for _ in range(2))
        self.attentions = nn.ModuleList(
            SpatialTransformer(
                width,
                config.context_dim,
                num_heads=config.num_heads[-1],
                depth=config.mid_depth,
                groups=config.norm_groups,
            )
            for _ in range(1)
            if config.mid_depth
        )

    def forward(self, x: Tensor, time: Tensor, text: Iterator[KeyValue]) -> Tensor:
        x = self.resnets[0](x, time)
        for attention in self.attentions:
            x = attention(x, text)
        return self.resnets[1](x, time)


class UpLevel(Level):
    """On the way up: each ResNet block sees the skip connection of its mirror image beside its input."""

    def __init__(self, config: UNetConfig, level: int) -> None:
        last = len(config.channels) - 1
        below = config.channels[min(level + 1, last)]
        width = config.channels[level]
        finer = config.channels[max(level - 1, 0)]
        inputs = [below] + [width] * config.layers_per_block
        skips = [width] * config.layers_per_block + [finer]
        widths = [(x + skip, width) for x, skip in zip(inputs, skips, strict=True)]
        super().__init__(config, widths, depth=config.transformer_depth[level], num_heads=config.num_heads[level])
        self.upsample = Upsample(width) if level > 0 else None

    def forward(self, x: Tensor, skips: list[Tensor], time: Tensor, text: Iterator[KeyValue]) -> Tensor:
        for index in range(len(self.resnets)):
            x = self.layer(index, torch.cat([x, skips.pop()], dim=1), time, text)
        return x if self.upsample is None else self.upsample(x, size=skips[-1].shape[-2:])


class UNet(nn.Module):
    """(b in_channels h w), (b,) times, conditioning -> (b out_channels h w). Any h and w from 1 up.

    ``up`` is stored from the deepest level to the finest, in the order of the forward pass.
    """

    def __init__(self, config: UNetConfig) -> None:
        super().__init__()
        self.config = config
        levels = range(len(config.channels))
        self.time_embedding = EmbeddingMLP(config.channels[0], config.time_dim)
        self.vector_embedding = EmbeddingMLP(config.vector_dim, config.time_dim) if config.vector_dim else None
        self.guidance_embedding = (
            nn.Linear(config.guidance_dim, config.channels[0], bias=False) if config.guidance_dim else None
        )
        self.conv_in = nn.Conv2d(config.in_channels, config.channels[0], 3, padding=1)
        self.down = nn.ModuleList(DownLevel(config, level) for level in levels)
        self.mid = Middle(config)
        self.up = nn.ModuleList(UpLevel(config, level) for level in reversed(levels))
        self.norm_out = GroupNorm(config.norm_groups, config.channels[0], config.norm_eps)
        self.conv_out = nn.Conv2d(config.channels[0], config.out_channels, 3, padding=1)

    def prepare(self, cond: Conditioning) -> Prepared:
        """Compute once what no step changes: keys and values of the text, and the vector's embedding.

        Raises ValueError where the network needs a part of the conditioning that is not there.
        """
        cond = cond.to(dtype=self.norm_out.weight.dtype)
        keys_values, vector, guidance = (), None, None
        if self.config.context_dim:
            context = _needed(cond.context, "context (text features)")
            keys_values = tuple(attention.project(context) for attention in self.cross_attentions())
        if self.vector_embedding is not None:
            vector = self.vector_embedding(_needed(cond.vector, "vector (pooled text and sizes)"))
        if self.guidance_embedding is not None:
            scale = _needed(cond.guidance, "guidance scale")
            frequencies = guidance_frequencies(scale, self.guidance_embedding.in_features)
            guidance = self.guidance_embedding(frequencies.to(self.norm_out.weight.dtype))  # (b) -> (b channels[0])
        return Prepared(keys_values, vector, cond.concat, guidance)

    def cross_attentions(self) -> Iterator[Attention]:
        """The layers through which text enters, in the order of the forward pass."""
        for part in (self.down, self.mid, self.up):
            for block in part.modules():
                if isinstance(block, TransformerBlock) and block.has_text:
                    yield block.cross_attention

    def forward(
        self,
        x: Tensor,
        t: Tensor,
        cond: Conditioning | Prepared,
        *,
        residuals: tuple[Tensor, ...] | None = None,
    ) -> Tensor:
        """Predict.

        ``residuals`` (ControlNet's place): a tensor to add to each skip connection in the order in which they
        arise, and as the last one the tensor to add to the middle's output.
        """
        prepared = self.prepare(cond) if isinstance(cond, Conditioning) else cond
        text = iter(prepared.keys_values)
        frequencies = sinusoidal_embedding(t, self.config.channels[0]).to(x.dtype)  # (b channels[0])
        if prepared.guidance is not None:
            frequencies = frequencies + prepared.guidance
        time = self.time_embedding(frequencies)  # (b time_dim)
        if prepared.vector is not None:
            time = time + prepared.vector
        time = F.silu(time)  # every ResNet block begins its use of the time with this
        if prepared.concat is not None:
            x = torch.cat([x, prepared.concat], dim=1)

        skips = [self.conv_in(x)]
        for level in self.down:
            skips += level(skips[-1], time, text)
        x = self.mid(skips[-1], time, text)
        if residuals is not None:
            skips = [skip + residual for skip, residual in zip(skips, residuals, strict=False)]
            x = x + residuals[-1]
        for level in self.up:
            x = level(x, skips, time, text)
        return self.conv_out(self.norm_out.then_silu(x))


def _needed(tensor: Tensor | None, name: str) -> Tensor:
    if tensor is None:
        raise ValueError(f"This UNet was built to be told a {name}; the Conditioning has none.")
    return tensor


def without_text(config: UNetConfig) -> UNetConfig:
    """The same network without text, as diffusion begins (DDPM, arXiv 2006.11239)."""
    return replace(config, context_dim=None)
