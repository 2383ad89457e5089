"""Pictures with captions to learn from."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor

from tintype.scenes import Scene, Vocabulary, caption, moved, sample
from tintype.scenes import draw as paint
from tintype.training.draws import Draw
from tintype.training.shards import Shards, write_shards

PLACE = frozenset({"place"})


class Pictures(Protocol):
    """A data set: what a visit to a picture sees of it, and its words (the same picture may be worded anew)."""

    def __len__(self) -> int: ...

    def pixels(self, draw: Draw) -> Tensor:
        """(3 H W) uint8."""
        ...

    def caption(self, draw: Draw) -> str:
        """What the picture of this visit shows, in words."""
        ...

    def twins(self, draw: Draw) -> Twins | None:
        """The picture of this visit beside one that differs in one thing, where such a one can be had."""
        ...


@dataclass(frozen=True)
class Twins:
    """Two pictures (2 3 H W) uint8 that differ in one thing, and captions that name it and differ in nothing else."""

    pixels: Tensor
    captions: tuple[str, str]


class DrawnScenes:
    """Scenes that `draw_scenes` has drawn into a folder."""

    def __init__(self, folder: Path) -> None:
        self.shards = Shards.open(folder)

    def __len__(self) -> int:
        return len(self.shards)

    def pixels(self, draw: Draw) -> Tensor:
        """(3 H W) uint8."""
        return self.shards.tensor("pixels", draw.index)

    def scene(self, index: int) -> Scene:
        """The exact labels of a picture."""
        return Scene.from_dict(self.shards.records[index])

    def caption(self, draw: Draw) -> str:
        """The scene in words, phrased anew for each visit."""
        return caption(self.scene(draw.index), draw.rng("caption"))

    def twins(self, draw: Draw) -> Twins | None:
        """The scene, and the same with its subject elsewhere, painted now; None for one without a place."""
        scene = self.scene(draw.index)
        other = moved(scene, draw.rng("moved"))
        if other is None:
            return None
        pixels = self.pixels(draw)
        painted = torch.from_numpy(paint(other, pixels.shape[-1])).permute(2, 0, 1)
        said, said_of_other = (caption(each, draw.rng("caption"), naming=PLACE) for each in (scene, other))
        return Twins(torch.stack([pixels, painted]), (said, said_of_other))


def scene_of(seed: int, index: int, vocabulary: Vocabulary) -> Scene:
    """The ``index``-th scene of an endless series; never one with a held-out pair."""
    return sample(Draw(seed, 0, index).rng("scene"), vocabulary)


def draw_scenes(
    folder: Path, num_pictures: int, vocabulary: Vocabulary, *, size: int, seed: int, part: int = 0, parts: int = 1
) -> Iterator[int]:
    """Draw ``num_pictures`` scenes of ``size`` pixels into shards under ``folder``; yields how many are ready."""

    def make(numbers: range) -> tuple[dict[str, Tensor], list[dict[str, Any]]]:
        scenes = [scene_of(seed, number, vocabulary) for number in numbers]
        pixels = np.stack([paint(scene, size) for scene in scenes])  # (n H W 3)
        planes = torch.from_numpy(pixels).permute(0, 3, 1, 2).contiguous()  # (n 3 H W)
        return {"pixels": planes}, [scene.to_dict() for scene in scenes]

    return write_shards(folder, num_pictures, make, part=part, parts=parts)


def to_signed(pixels: Tensor) -> Tensor:
    """uint8 -> fp32 in [-1, 1]."""
    return pixels.float() / 127.5 - 1
