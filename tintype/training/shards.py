"""Data prepared once and kept on disk: shards of tensors with a line of JSON for each picture.

A shard is two files, ``00012.safetensors`` and ``00012.jsonl``, written under another name and renamed, the tensors
last. Writing is idempotent: shards that are there are not made again, so work that was interrupted continues, and
several machines can share it (each makes its own ``i`` of ``n``).

Pictures of one size are rows of one tensor, ``pixels``; pictures of any size are tensors of their own, ``pixels/17``
for the one of the 17th line. A line that says ``skipped`` is a picture that could not be read and has no tensor.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from safetensors.torch import load_file, save_file
from torch import Tensor

from tintype.errors import TrainingError

PER_SHARD = 1000

MakeShard = Callable[[range], tuple[dict[str, Tensor], list[dict[str, Any]]]]
"""Picture numbers -> tensors whose first dimension counts them, and a JSON-able record of each."""


def write_shards(
    folder: Path, num_pictures: int, make: MakeShard, *, part: int = 0, parts: int = 1, per_shard: int = PER_SHARD
) -> Iterator[int]:
    """Make those shards of ``num_pictures`` pictures that are not there; yields how many pictures are ready.

    ``part`` of ``parts`` makes only every parts-th shard, beginning with number ``part``.
    """
    folder.mkdir(parents=True, exist_ok=True)
    for number, start in enumerate(range(0, num_pictures, per_shard)):
        if number % parts != part:
            continue
        pictures = range(start, min(start + per_shard, num_pictures))
        target = folder / f"{number:05d}.safetensors"
        if not target.exists():
            tensors, records = make(pictures)
            beside = folder / f".{number:05d}.{os.getpid()}"
            beside.write_text("".join(json.dumps(record) + "\n" for record in records))
            beside.rename(target.with_suffix(".jsonl"))
            save_file(tensors, beside)
            beside.rename(target)
        yield pictures.stop


@dataclass(frozen=True)
class Shards:
    """The shards of a folder, memory-mapped. Pictures are numbered through all of them."""

    tensors: list[dict[str, Tensor]]
    records: list[dict[str, Any]]
    places: tuple[tuple[int, int], ...] = ()  # (shard, line) of each picture; none: shards of PER_SHARD, all full

    @classmethod
    def open(cls, folder: Path) -> Shards:
        """Raises TrainingError where there is no shard."""
        files = sorted(folder.glob("[0-9]*.safetensors"))
        if not files:
            raise TrainingError(f"No data in {folder}: expected files like 00000.safetensors.")
        records, places = [], []
        for number, file in enumerate(files):
            for line, record in enumerate(read_records(file.with_suffix(".jsonl"))):
                if "skipped" not in record:
                    records.append(record)
                    places.append((number, line))
        return cls([load_file(file) for file in files], records, tuple(places))

    def __len__(self) -> int:
        return len(self.records)

    def tensor(self, name: str, index: int) -> Tensor:
        """The tensor of one picture, a view."""
        number, line = self.places[index] if self.places else divmod(index, PER_SHARD)
        tensors = self.tensors[number]
        return tensors[name][line] if name in tensors else tensors[f"{name}/{line}"]


def read_records(path: Path) -> list[dict[str, Any]]:
    """The lines of a shard's JSON."""
    return [json.loads(line) for line in path.read_text().splitlines()]
