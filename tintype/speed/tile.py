"""Large pictures through the autoencoder, piece by piece: the same result in a part of the memory.

The usual tiling runs the whole network on one tile after the other. Each tile then has its own group statistics and
its own attention, which shows as seams, and overlaps are blended to hide them. Here it is the other way round: each
layer is finished for all tiles before the next begins. A tile is a strip of whole rows. A convolution reads one row
more than the strip on either side; group normalisation gathers its statistics from all strips before it normalises
any; attention takes its queries in portions. The result is that of the whole, up to rounding.

What is kept from layer to layer is one map of features and, inside a ResNet block, a second one. What comes out of the
last upsampling, twice as large as either, is not kept: its rows are computed where they are read, which is two times.
For a picture of H x W pixels in a type of e bytes, channels c0, c1, ... from the finest level, that makes

    decode    e H W (2 c0 + c1 / 4)    =    320 e H W for Stable Diffusion's 128, 256, 512, 512
    encode    e H W (2 c0)             =    256 e H W

bytes, and temporaries of a few times e size^2 c0, whatever H and W are.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from tintype.errors import SettingsError
from tintype.models.autoencoder import Autoencoder, Decoder, DiagonalGaussian, Encoder, Level, Middle, PlaceAttention
from tintype.models.layers import ResnetBlock, Upsample, silu_of_fresh
from tintype.speed.strips import Map, Normalization, Stored, Upsampled, bordered, normalization, put, strips

SMALLEST = 64  # pixels, as of a picture


@dataclass(frozen=True)
class Tiling:
    """Which pictures are taken apart, and into how large tiles.

    Raises:
        SettingsError: a size below 64, or ``above`` below 0.
    """

    size: int = 256
    """A tile is as large in memory as size x size pixels of the finest level. Smaller is leaner, and slower."""
    above: int = 768
    """Pictures of more than above x above pixels in all are taken apart; 0 for every picture."""

    def __post_init__(self) -> None:
        if self.size < SMALLEST:
            raise SettingsError(f"Tiles of {self.size} pixels cannot be; expected {SMALLEST} or more.")
        if self.above < 0:
            raise SettingsError(f"Tiles above {self.above} pixels cannot be; expected 0 or more.")

    def takes(self, height: int, width: int) -> bool:
        """Whether a picture of so many pixels is taken apart."""
        return height * width > self.above**2


def encode(autoencoder: Autoencoder, pixels: Tensor, tiling: Tiling | None) -> DiagonalGaussian:
    """``autoencoder.encode(pixels)``, in tiles where the picture is large and there is a tiling."""
    if tiling is None or not tiling.takes(*pixels.shape[2:]):
        return autoencoder.encode(pixels)
    return encode_in_tiles(autoencoder, pixels, tiling.size)


def decode(autoencoder: Autoencoder, latents: Tensor, tiling: Tiling | None) -> Tensor:
    """``autoencoder.decode(latents)``, in tiles where the picture is large and there is a tiling."""
    height, width = (side * autoencoder.factor for side in latents.shape[2:])
    if tiling is None or not tiling.takes(height, width):
        return autoencoder.decode(latents)
    return decode_in_tiles(autoencoder, latents, tiling.size)


@torch.no_grad()
def encode_in_tiles(autoencoder: Autoencoder, pixels: Tensor, size: int) -> DiagonalGaussian:
    """``autoencoder.encode(pixels)``: (b 3 H W) -> a Gaussian over raw latents. No gradients."""
    return autoencoder.posterior(encoder_by_strips(autoencoder.encoder, pixels, size))


@torch.no_grad()
def decode_in_tiles(autoencoder: Autoencoder, latents: Tensor, size: int) -> Tensor:
    """``autoencoder.decode(latents)``: raw latents (b c h w) -> pixels (b 3 H W). No gradients."""
    return decoder_by_strips(autoencoder.decoder, autoencoder.post_quant_conv(latents), size, lean=True)


def encoder_by_strips(encoder: Encoder, pixels: Tensor, size: int) -> Tensor:
    """``encoder(pixels)``, picture by picture: (b 3 H W) -> (b 2c h w). No gradients."""
    return torch.cat([_encoded(encoder, each, size**2 * encoder.conv_in.out_channels) for each in pixels.split(1)])


def _encoded(encoder: Encoder, pixels: Tensor, budget: int) -> Tensor:
    x = Stored(_convolve(encoder.conv_in, Stored(pixels), budget))
    for level in encoder.down:
        assert isinstance(level, Level)
        x = _resnets(level, x, budget)
        if level.resample is not None:
            x = Stored(_halve(level.resample, x, budget))
    x = _middle(encoder.mid, x, budget)
    return _convolve(encoder.conv_out, x, budget, normalization(encoder.norm_out, x, budget))


def decoder_by_strips(decoder: Decoder, latents: Tensor, size: int, *, lean: bool) -> Tensor:
    """``decoder(latents)``, picture by picture: (b c h w) -> (b 3 H W). No gradients.

    ``lean``: what comes out of the last upsampling is not kept.
    """
    budget = size**2 * decoder.conv_out.in_channels
    return torch.cat([_decoded(decoder, each, budget, lean) for each in latents.split(1)])


def _decoded(decoder: Decoder, latents: Tensor, budget: int, lean: bool) -> Tensor:
    x: Map = _middle(decoder.mid, Stored(_convolve(decoder.conv_in, Stored(latents), budget)), budget)
    for index, level in enumerate(decoder.up):
        assert isinstance(level, Level)
        x = _resnets(level, x, budget)
        if isinstance(level.resample, Upsample):
            x = Upsampled(level.resample, x.tensor)
            if not lean or index < len(decoder.up) - 2:  # coarser levels have memory to spare; their rows cost time
                x = Stored(_gather(x, budget))
    return _convolve(decoder.conv_out, x, budget, normalization(decoder.norm_out, x, budget))


def _resnets(level: Level, x: Map, budget: int) -> Stored:
    """The ResNet blocks of a level, at least one."""
    for resnet in level.resnets:
        assert isinstance(resnet, ResnetBlock)
        x = Stored(_resnet(resnet, x, budget))
    assert isinstance(x, Stored)
    return x


def _resnet(block: ResnetBlock, x: Map, budget: int) -> Tensor:
    """``block(x)``. Where the way past the convolutions leaves a map as it is, the sum is written over that map."""
    _, channels, height, width = x.shape
    out = x.tensor if isinstance(x, Stored) and isinstance(block.shortcut, nn.Identity) else None
    in_place, hidden = out is not None, None
    first = normalization(block.norm1, x, budget)
    for start, stop in strips(height, width * max(channels, block.conv1.out_channels), budget):
        rows, inner = bordered(x, start, stop)
        hidden = put(hidden, _activated(block.conv1, rows, first)[:, :, inner], start, height)
        if not in_place:
            out = put(out, block.shortcut(rows[:, :, inner]), start, height)
    assert hidden is not None and out is not None

    maps = Stored(hidden)
    second = normalization(block.norm2, maps, budget)
    for start, stop in strips(height, width * block.conv2.out_channels, budget):
        rows, inner = bordered(maps, start, stop)
        out[:, :, start:stop] += _activated(block.conv2, rows, second)[:, :, inner]
    return out


def _middle(middle: Middle, x: Stored, budget: int) -> Stored:
    """``middle(x)``, written over x."""
    before, after = middle.resnets
    assert isinstance(before, ResnetBlock) and isinstance(after, ResnetBlock)
    x = Stored(_resnet(before, x, budget))
    _attend(middle.attention, x, budget)
    return Stored(_resnet(after, x, budget))


def _attend(place: PlaceAttention, x: Stored, budget: int) -> None:
    """``place(x)``, written over x. Even where scores are written out, those of one portion are within the budget."""
    tokens = normalization(place.norm, x, budget)(x.tensor).flatten(2).transpose(1, 2)  # (b c h w) -> (b n c)
    keys_values = place.attention.project(tokens)
    for start, stop in strips(tokens.shape[1], max(tokens.shape[1:]), budget):
        tokens[:, start:stop] = place.attention(tokens[:, start:stop], keys_values)
    x.tensor.add_(tokens.transpose(1, 2).unflatten(2, x.shape[2:]))  # (b n c) -> (b c h w)


def _convolve(conv: nn.Conv2d, x: Map, budget: int, normalized: Normalization | None = None) -> Tensor:
    """A convolution of 3x3 that keeps the size, behind normalisation and SiLU where given."""
    _, channels, height, width = x.shape
    out = None
    for start, stop in strips(height, width * max(channels, conv.out_channels), budget):
        rows, inner = bordered(x, start, stop)
        part = conv(rows) if normalized is None else _activated(conv, rows, normalized)
        out = put(out, part[:, :, inner], start, height)
    assert out is not None
    return out


def _activated(conv: nn.Module, rows: Tensor, normalized: Normalization) -> Tensor:
    return conv(silu_of_fresh(normalized(rows)))


def _halve(downsample: nn.Module, x: Stored, budget: int) -> Tensor:
    """``downsample(x)``. Row i reads rows 2i to 2i+2: a strip needs one more at its end, none at its beginning.

    The zeros below that the module adds are beyond what the last row of a strip reads, but at the picture's end.
    """
    _, channels, height, width = x.shape
    out = None
    for start, stop in strips(height // 2, 2 * channels * width, budget):
        part = downsample(x.rows(2 * start, min(2 * stop + 1, height)))
        out = put(out, part, start, height // 2)
    assert out is not None
    return out


def _gather(x: Map, budget: int) -> Tensor:
    """The map in memory."""
    _, channels, height, width = x.shape
    out = None
    for start, stop in strips(height, channels * width, budget):
        out = put(out, x.rows(start, stop), start, height)
    assert out is not None
    return out
