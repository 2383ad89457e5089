"""Maps of features that are read and written by strips of rows, and what one layer needs to know of all of them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from math import ceil
from typing import Protocol

import torch
from torch import Tensor, nn

from tintype.models.layers import Upsample

Shape = tuple[int, int, int, int]
"""(b c h w)."""


class Map(Protocol):
    """A map of features of the whole picture."""

    @property
    def shape(self) -> Shape:
        """(b c h w)."""
        ...

    def rows(self, start: int, stop: int) -> Tensor:
        """(b c stop-start w)."""
        ...


@dataclass(frozen=True)
class Stored:
    """A map in memory. The layer that is handed one may write over it."""

    tensor: Tensor  # (b c h w)

    @property
    def shape(self) -> Shape:
        """(b c h w)."""
        b, c, h, w = self.tensor.shape
        return b, c, h, w

    def rows(self, start: int, stop: int) -> Tensor:
        """(b c stop-start w), not a copy."""
        return self.tensor[:, :, start:stop]


@dataclass(frozen=True)
class Upsampled:
    """A map that is not in memory: rows are computed from the smaller one below, each time that they are read."""

    upsample: Upsample
    below: Tensor  # (b c h/2 w/2)

    @property
    def shape(self) -> Shape:
        """(b c h w)."""
        b, c, h, w = self.below.shape
        return b, c, 2 * h, 2 * w

    def rows(self, start: int, stop: int) -> Tensor:
        """(b c stop-start w)."""
        first, last = max(start // 2 - 1, 0), min(ceil(stop / 2) + 1, self.below.shape[2])
        out = self.upsample(self.below[:, :, first:last], size=(2 * (last - first), self.shape[3]))
        return out[:, :, start - 2 * first : stop - 2 * first]


def strips(height: int, numbers_a_row: int, budget: int) -> Iterator[tuple[int, int]]:
    """Rows 0 to ``height`` in runs of nearly equal length, each of at most ``budget`` numbers, or of one row."""
    count = ceil(height / max(budget // numbers_a_row, 1))
    return pairwise(height * i // count for i in range(count + 1))


def bordered(x: Map, start: int, stop: int) -> tuple[Tensor, slice]:
    """The rows with one more on either side, where the picture has one, and where among them they are themselves.

    A 3x3 convolution of these, cut to the slice, is that part of the convolution of the whole: zeros are put around
    what it is given, and they reach only the rows that are cut off, except at the picture's own edge.
    """
    first, last = max(start - 1, 0), min(stop + 1, x.shape[2])
    return x.rows(first, last), slice(start - first, stop - first)


def put(out: Tensor | None, part: Tensor, start: int, height: int) -> Tensor:
    """Write a strip into a map of ``height`` rows, which is made, in the strip's memory format, if it is None."""
    if out is None:
        nhwc = part.is_contiguous(memory_format=torch.channels_last) and not part.is_contiguous()
        b, c, _, w = part.shape
        out = torch.empty(
            (b, c, height, w),
            device=part.device,
            dtype=part.dtype,
            memory_format=torch.channels_last if nhwc else torch.contiguous_format,
        )
    out[:, :, start : start + part.shape[2]] = part
    return out


@dataclass(frozen=True)
class Normalization:
    """Group normalisation by statistics of the whole picture, as x * scale + shift, both (b c 1 1)."""

    scale: Tensor
    shift: Tensor

    def __call__(self, x: Tensor) -> Tensor:
        """(b c h w), any rows of the map -> the same, normalised."""
        return torch.addcmul(self.shift, x, self.scale).to(x.dtype)


def normalization(norm: nn.GroupNorm, x: Map, budget: int) -> Normalization:
    """Read a map once, and join the mean and the sum of squared deviations of its strips.

    Chan, Golub and LeVeque, "Updating Formulae and a Pairwise Algorithm for Computing Sample Variances" (1979),
    equation 2.1. Strips are summed up in at least fp32, and joined in fp64.
    """
    _, channels, height, width = x.shape
    counts, means, squares = [], [], []
    for start, stop in strips(height, channels * width, budget):
        rows = x.rows(start, stop)
        part = rows.to(torch.promote_types(rows.dtype, torch.float32))
        part = part.unflatten(1, (norm.num_groups, -1)).flatten(2)  # (b c h w) -> (b g n)
        mean = part.mean(dim=2, keepdim=True)
        counts.append(part.shape[2])
        means.append(mean.squeeze(2))
        squares.append((part - mean).square_().sum(dim=2))
    n = torch.tensor(counts, dtype=torch.float64)[:, None, None]  # (strips 1 1)
    means, squares = torch.stack(means).cpu().double(), torch.stack(squares).cpu().double()  # (strips b g)
    mean = (n * means).sum(0) / n.sum()  # (b g)
    variance = (squares + n * (means - mean) ** 2).sum(0) / n.sum()

    weight, bias = norm.weight.cpu().double(), norm.bias.cpu().double()  # (c)
    mean, variance = (each.repeat_interleave(channels // norm.num_groups, dim=1) for each in (mean, variance))  # (b c)
    scale = weight * (variance + norm.eps).rsqrt()
    shift = bias - mean * scale
    scale, shift = (each[:, :, None, None].to(part.device, part.dtype) for each in (scale, shift))
    return Normalization(scale, shift)
