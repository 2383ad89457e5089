"""Anybody's pictures made ready, once: as pixels, or as latents and text features, in shards on disk.

What cannot be read is skipped and listed. Crops and flips of latents are chosen beforehand (an encoder sees a picture
at a time): ``crops`` places of each picture, with ``flip`` each of them mirrored too; a visit takes one of them.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from torch import Tensor

from tintype.models import Autoencoder
from tintype.training.broken import MAX_BROKEN, Reader, write_skipped
from tintype.training.buckets import Buckets, Size, cover, crop
from tintype.training.draws import Draw
from tintype.training.identity import claim, weights_hash
from tintype.training.latents import encode_pictures
from tintype.training.shards import write_shards
from tintype.training.sources import Item, PictureSource
from tintype.training.sources.source import fingerprint
from tintype.training.words import Towers

PER_SHARD = 128


@dataclass(frozen=True, kw_only=True)
class Preparation:
    """How pictures are brought to size. ``step``: the sides of buckets are multiples of it; None: all are square."""

    size: int
    step: int | None = None
    crops: int = 1  # places of each picture; one is the centre
    flip: bool = False
    seed: int = 0
    max_broken: float = MAX_BROKEN

    @property
    def buckets(self) -> Buckets:
        """The sizes."""
        return Buckets.square(self.size) if self.step is None else Buckets.of_area(self.size, self.step)

    def identity(self, source: PictureSource) -> dict[str, object]:
        """All that decides what is prepared from a source."""
        how = {name: value for name, value in asdict(self).items() if name != "max_broken"}
        return {"pictures": fingerprint(source), "count": len(source.items), **how}


def prepare_pixels(
    folder: Path, source: PictureSource, how: Preparation, *, part: int = 0, parts: int = 1
) -> Iterator[int]:
    """Pictures scaled to cover their size, uint8, nothing cropped yet; yields how many are ready.

    Raises TrainingError when too many cannot be read, or where ``folder`` was prepared otherwise.
    """
    how = replace(how, crops=1, flip=False, seed=0)  # each visit crops and flips anew
    claim(folder, how.identity(source))
    reader = Reader(source, folder, how.max_broken)

    def make(numbers: range) -> tuple[dict[str, Tensor], list[dict[str, Any]]]:
        tensors, records = {}, []
        for line, number in enumerate(numbers):
            image = reader.read(number)
            if isinstance(image, Image.Image):
                size = how.buckets.nearest(*image.size)
                tensors[f"pixels/{line}"] = cover(image, size)
                records.append(_record(source.items[number], image, size))
            else:
                records.append(image)
        return tensors, records

    yield from write_shards(folder, len(source.items), make, part=part, parts=parts, per_shard=PER_SHARD)
    write_skipped(folder)


def prepare_latents(
    folder: Path,
    source: PictureSource,
    how: Preparation,
    autoencoder: Autoencoder,
    words: Towers | None = None,
    *,
    part: int = 0,
    parts: int = 1,
) -> Iterator[int]:
    """Latents (bf16) of every crop and, with ``words``, the features of every caption; yields how many are ready.

    Raises TrainingError when too many cannot be read, or where ``folder`` was prepared otherwise: with other
    pictures, settings or weights.
    """
    made_from = how.identity(source) | {
        "autoencoder": weights_hash(autoencoder),
        "text_encoders": [weights_hash(tower.encoder) for tower in words.conditioner.towers] if words else [],
    }
    claim(folder, made_from)
    reader = Reader(source, folder, how.max_broken)

    def make(numbers: range) -> tuple[dict[str, Tensor], list[dict[str, Any]]]:
        pixels: dict[int, Tensor] = {}  # by line: (v 3 H W)
        records: list[dict[str, Any]] = []
        for line, number in enumerate(numbers):
            image = reader.read(number)
            if not isinstance(image, Image.Image):
                records.append(image)
                continue
            size = how.buckets.nearest(*image.size)
            pixels[line], corners = variants(image, size, how, number)
            records.append(_record(source.items[number], image, size) | {"corners": corners})
        tensors = {f"latents/{line}": latents for line, latents in _encoded(pixels, autoencoder)}
        if words is not None:
            for line in pixels:
                tensors |= _features(words, line, records[line]["captions"])
        return tensors, records

    yield from write_shards(folder, len(source.items), make, part=part, parts=parts, per_shard=PER_SHARD)
    write_skipped(folder)


def variants(image: Image.Image, size: Size, how: Preparation, number: int) -> tuple[Tensor, list[tuple[int, int]]]:
    """The crops of a picture, (v 3 H W) uint8, with their corners; with flips, each crop is followed by its mirror."""
    covering = cover(image, size)
    found, corners = [], []
    for index in range(how.crops):
        rng = Draw(how.seed, index, number).rng("crop") if how.crops > 1 else None
        part, corner = crop(covering, size, rng)
        for mirrored in (part, part.flip(-1)) if how.flip else (part,):
            found.append(mirrored)
            corners.append(corner)
    return torch.stack(found), corners


def _encoded(pixels: dict[int, Tensor], autoencoder: Autoencoder) -> Iterator[tuple[int, Tensor]]:
    """Pictures of one size go through the encoder together: (v 3 H W) -> (v c h w), by line."""
    sizes: dict[torch.Size, list[int]] = {}
    for line, each in pixels.items():
        sizes.setdefault(each.shape, []).append(line)
    for lines in sizes.values():
        latents = encode_pictures(torch.cat([pixels[line] for line in lines]), autoencoder)
        yield from zip(lines, (each.clone() for each in latents.chunk(len(lines))), strict=True)


def _features(words: Towers, line: int, captions: list[str]) -> dict[str, Tensor]:
    """What the text towers make of each caption of a picture, bf16."""
    text = words.text(captions or [""])
    assert text.context is not None
    found = {f"context/{line}": text.context.to("cpu", torch.bfloat16)}  # (k s d)
    if text.vector is not None:
        found[f"pooled/{line}"] = text.vector.to("cpu", torch.bfloat16)
    return found


def _record(item: Item, image: Image.Image, size: Size) -> dict[str, Any]:
    return {
        "name": item.name,
        "captions": list(item.captions),
        "repeats": item.repeats,
        "original": image.size,
        "size": size,
    }
