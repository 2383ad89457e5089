"""Maps of features that are read and written by strips of rows, and what one layer needs to know of all of them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from math import ceil
from typing import Protocol

import torch
import torch.nn.functional as F
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
    """Write a strip into a map of ``height`` rows, which is made, in the strip's memory format, if it is None.

    A strip that is all of the map becomes the map.
    """
    if out is None and part.shape[2] == height:
        return part
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
    """Group normalisation by statistics of the whole picture.

    Once they are known for every channel, it is batch normalisation in evaluation, whose kernels read a strip once.
    """

    mean: Tensor  # (c), this and the others in at least fp32
    variance: Tensor
    weight: Tensor
    bias: Tensor
    eps: float

    def __call__(self, x: Tensor) -> Tensor:
        """(1 c h w), any rows of the map -> the same, normalised."""
        return F.batch_norm(x, self.mean, self.variance, self.weight, self.bias, eps=self.eps)


def normalization(norm: nn.GroupNorm, x: Map, budget: int) -> Normalization:
    """Read the map of one picture once, and join the means and variances of each strip and channel to those of groups.

    Chan, Golub and LeVeque, "Updating Formulae and a Pairwise Algorithm for Computing Sample Variances" (1979),
    equation 2.1. Each is computed in at least fp32, and they are joined in fp64.
    """
    b, channels, height, width = x.shape
    assert b == 1
    counts, means, variances = [], [], []
    for start, stop in strips(height, channels * width, budget):
        rows = x.rows(start, stop)
        mean, variance = torch.batch_norm_update_stats(rows, None, None, 0.0)  # (c)
        counts.append(rows.shape[2] * width)
        means.append(mean)
        variances.append(variance)

    n = torch.tensor(counts, dtype=torch.float64)[:, None, None]  # (strips 1 1)
    n = n / (n.sum() * (channels // norm.num_groups))
    means, variances = (torch.stack(each).cpu().double() for each in (means, variances))  # (strips c)
    means, variances = (each.unflatten(1, (norm.num_groups, -1)) for each in (means, variances))  # (strips g c/g)
    mean = (n * means).sum((0, 2), keepdim=True)  # (1 g 1)
    variance = (n * (variances + (means - mean) ** 2)).sum((0, 2), keepdim=True)

    kept = torch.promote_types(rows.dtype, torch.float32)
    mean, variance = (each.expand(1, -1, channels // norm.num_groups).flatten() for each in (mean, variance))
    mean, variance = (each.to(rows.device, kept) for each in (mean, variance))
    return Normalization(mean, variance, norm.weight.to(kept), norm.bias.to(kept), norm.eps)
