"""What each step looks like: decoded by the autoencoder where that was done, else by the linear map of its colours."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from PIL import Image
from torch import Tensor

from tintype.illustrate.recording import Recording

FRAME = 256
"""The longer side of a frame of the film, at most."""


@dataclass(frozen=True)
class Looks:
    """The model's belief at every step as a picture of one size, and which of them the autoencoder painted."""

    estimates: tuple[Image.Image, ...]
    decoded: frozenset[int]


def looks(recording: Recording, preview: Callable[[Tensor], Image.Image], frame: int | None = FRAME) -> Looks:
    """Every step's picture: those of ``recording.decoded``, and previews of the others brought to their size."""
    painted = {each.index: each.image for each in recording.decoded if each.of == "denoised"}
    width, height = recording.image.size
    factor = 1.0 if frame is None else min(1.0, frame / max(width, height))
    size = (round(width * factor), round(height * factor))
    found = []
    for step in recording.steps:
        image = painted.get(step.index) or preview(step.denoised)
        found.append(image if image.size == size else image.resize(size, Image.Resampling.BICUBIC))
    return Looks(tuple(found), frozenset(painted))
