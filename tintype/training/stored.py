"""Pictures and latents that were prepared, as trainings visit them: every choice is a function of the visit's Draw."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import Tensor

from tintype.scenes import Scene
from tintype.scenes import caption as scene_caption
from tintype.training.buckets import crop
from tintype.training.draws import Draw
from tintype.training.pictures import Pictures, to_signed
from tintype.training.shards import Shards
from tintype.training.words import Sizes
from tintype.types import Conditioning


@dataclass(frozen=True)
class Seen:
    """What one visit sees: the clean picture (c h w), its words, its sizes, and its words' features where stored."""

    x0: Tensor
    caption: str
    sizes: Sizes
    features: Conditioning | None = None


class Examples(Protocol):
    """What a noise predictor learns from."""

    def __len__(self) -> int:
        """Visits in an epoch."""
        ...

    @property
    def shapes(self) -> Sequence[int] | None:
        """The number of each visit's bucket; None where all are of one size."""
        ...

    def visit(self, draw: Draw) -> Seen:
        """One picture."""
        ...


class StoredPictures:
    """Pixels that `prepare_pixels` has written: cropped anew at each visit and, with ``flip``, mirrored or not."""

    def __init__(self, folder: Path, *, flip: bool = False) -> None:
        self.shards, self.flip = Shards.open(folder), flip
        self.order = repeated(self.shards.records)

    def __len__(self) -> int:
        return len(self.order)

    def pixels(self, draw: Draw) -> Tensor:
        """(3 H W) uint8."""
        index = self.order[draw.index]
        part, _ = crop(self.shards.tensor("pixels", index), self.record(draw.index)["size"], draw.rng("cover"))
        return part.flip(-1) if self.flip and draw.rng("flip").random() < 0.5 else part

    def record(self, index: int) -> dict[str, Any]:
        """What is known of a picture."""
        return self.shards.records[self.order[index]]

    def caption(self, draw: Draw) -> str:
        """One of its captions."""
        return worded(self.record(draw.index), draw)

    def twins(self, draw: Draw) -> None:
        """Of anybody's pictures there are none."""


class StoredLatents:
    """Latents of drawn scenes or of anybody's pictures, brought to unit size."""

    def __init__(self, shards: Shards, scaling_factor: float, *, factor: int = 8) -> None:
        self.shards, self.scaling_factor, self.factor = shards, scaling_factor, factor
        self.order = repeated(shards.records)
        sizes = [tuple(shards.records[index].get("size", ())) for index in self.order]
        known = sorted(set(sizes))
        self.shapes = [known.index(size) for size in sizes] if len(known) > 1 else None

    def __len__(self) -> int:
        return len(self.order)

    def visit(self, draw: Draw) -> Seen:
        """One of the crops of a picture, and one of its captions."""
        index = self.order[draw.index]
        record = self.shards.records[index]
        latents = self.shards.tensor("latents", index)
        variant = 0
        if latents.ndim == 4:  # (v c h w): crops and their mirrors
            variant = int(draw.rng("variant").integers(len(latents)))
            latents = latents[variant]
        height, width = (self.factor * side for side in latents.shape[1:])
        original_width, original_height = record.get("original", (width, height))
        top, left = record["corners"][variant] if "corners" in record else (0, 0)
        return Seen(
            self.scaling_factor * latents.float(),
            worded(record, draw),
            (original_height, original_width, top, left, height, width),
            self._features(index, record, draw),
        )

    def _features(self, index: int, record: dict[str, Any], draw: Draw) -> Conditioning | None:
        number, line = self.shards.places[index] if self.shards.places else (0, -1)
        tensors = self.shards.tensors[number]
        if f"context/{line}" not in tensors:
            return None
        chosen = choice(record.get("captions", []), draw)
        pooled = tensors.get(f"pooled/{line}")
        return Conditioning(
            tensors[f"context/{line}"][chosen].float(), None if pooled is None else pooled[chosen].float()
        )


class ShownPictures:
    """Pictures as they are, for a noise predictor that works on pixels."""

    def __init__(self, pictures: Pictures) -> None:
        self.pictures = pictures
        self.shapes = None

    def __len__(self) -> int:
        return len(self.pictures)

    def visit(self, draw: Draw) -> Seen:
        """Pixels in [-1, 1], and one of the captions."""
        x0 = to_signed(self.pictures.pixels(draw))  # (3 H W)
        height, width = x0.shape[1:]
        return Seen(x0, self.pictures.caption(draw), (height, width, 0, 0, height, width))


def worded(record: dict[str, Any], draw: Draw) -> str:
    """The words of a visit: one of a picture's captions, or a drawn scene phrased anew."""
    if "captions" not in record:
        return scene_caption(Scene.from_dict(record), draw.rng("caption"))
    captions = record["captions"]
    return captions[choice(captions, draw)] if captions else ""


def choice(captions: Sequence[str], draw: Draw) -> int:
    """Which caption a visit takes."""
    return int(draw.rng("caption").integers(len(captions))) if len(captions) > 1 else 0


def repeated(records: Sequence[dict[str, Any]]) -> list[int]:
    """The pictures of an epoch: each as often as its ``repeats`` say."""
    return [index for index, record in enumerate(records) for _ in range(record.get("repeats", 1))]


def stacked(parts: Sequence[Conditioning]) -> Conditioning:
    """Features of single captions, (s d) each, as a batch."""
    pooled = [part.vector for part in parts if part.vector is not None]
    return Conditioning(
        torch.stack([part.context for part in parts if part.context is not None]),
        torch.stack(pooled) if pooled else None,
    )
