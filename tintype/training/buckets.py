"""Aspect-ratio buckets: pictures keep their shape, and those of one shape are learnt from together.

NovelAI's idea (2022): a list of sizes of about one area, sides multiples of a step; each picture is enlarged or shrunk
until it just covers the size of the nearest shape, and what hangs over is cropped.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from tintype.errors import SettingsError

Size = tuple[int, int]
"""(width, height) in pixels."""

MAX_ASPECT = 2.0


@dataclass(frozen=True)
class Buckets:
    """The sizes that pictures are brought to."""

    sizes: tuple[Size, ...]

    @staticmethod
    def square(size: int) -> Buckets:
        """One size for all."""
        return Buckets(((size, size),))

    @staticmethod
    def of_area(size: int, step: int, max_aspect: float = MAX_ASPECT) -> Buckets:
        """Every width that is a multiple of ``step``, with the largest height whose area is at most ``size``^2.

        SettingsError unless ``size`` is a multiple of ``step``.
        """
        if size < step or size % step:
            raise SettingsError(f"size is {size}; expected a multiple of {step}, so that the networks can halve it.")
        found = set()
        for width in range(step, int(size * math.sqrt(max_aspect)) + 1, step):
            height = size * size // width // step * step
            if height and max(width / height, height / width) <= max_aspect:
                found |= {(width, height), (height, width)}
        return Buckets(tuple(sorted(found | {(size, size)})))

    def nearest(self, width: int, height: int) -> Size:
        """The size whose shape is nearest to that of a picture."""
        aspect = math.log(width / height)
        return min(self.sizes, key=lambda size: (abs(math.log(size[0] / size[1]) - aspect), size))


def cover(image: Image.Image, size: Size) -> Tensor:
    """The picture scaled until it just covers ``size``, uint8 (3 H W). One side may hang over."""
    scale = max(size[0] / image.width, size[1] / image.height)
    width, height = (max(side, round(full * scale)) for side, full in zip(size, image.size, strict=True))
    if (width, height) != image.size:
        image = image.resize((width, height), Image.Resampling.LANCZOS)
    return torch.from_numpy(np.array(image)).permute(2, 0, 1).contiguous()  # (H W 3) -> (3 H W)


def crop(pixels: Tensor, size: Size, rng: np.random.Generator | None = None) -> tuple[Tensor, tuple[int, int]]:
    """A part of ``size`` of pixels (3 H W), and its (top, left): anywhere by ``rng``, or the centre."""
    width, height = size
    room = (pixels.shape[1] - height, pixels.shape[2] - width)
    top, left = (int(rng.integers(free + 1)) if rng else free // 2 for free in room)
    return pixels[:, top : top + height, left : left + width], (top, left)
