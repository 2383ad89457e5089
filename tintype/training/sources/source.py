"""What all places of pictures have in common: a list of items, and the bytes of each picture by its number."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import astuple, dataclass
from typing import Any, Protocol

from tintype.images import Source

PICTURE_ENDINGS = (".jpg", ".jpeg", ".png", ".webp", ".bmp", ".gif", ".tif", ".tiff")

CAPTION_NAMES = ("text", "caption", "captions", "prompt")
"""The columns and keys under which the world keeps captions, the first that is there."""


@dataclass(frozen=True)
class Item:
    """One picture of a source, before any pixel of it was read."""

    name: str  # what it is called in the list of what could not be read
    captions: tuple[str, ...]  # alternatives, one of which is taken at each visit; none: no words
    repeats: int = 1  # visits in one epoch
    size: int | None = None  # bytes, where that costs nothing to know


class PictureSource(Protocol):
    """Pictures with captions in a fixed order. Nothing is decoded before it is asked for."""

    @property
    def name(self) -> str:
        """Where they are, as the user wrote it."""
        ...

    @property
    def items(self) -> list[Item]:
        """All of them, in order."""
        ...

    @property
    def notices(self) -> tuple[str, ...]:
        """What should be said of it: files that were left out, a shard that ends early."""
        ...

    def read(self, index: int) -> Source:
        """The picture as a path or as the bytes of a file. Raises ImageError where there is none."""
        ...


def fingerprint(source: PictureSource) -> str:
    """A hash of the items: names, captions, repeats and sizes. The place does not count, so that a copy is the same."""
    lines = "\n".join(json.dumps(astuple(item)) for item in source.items)
    return hashlib.sha256(lines.encode()).hexdigest()


def captions_in(record: Mapping[str, Any]) -> tuple[str, ...] | None:
    """The captions in a record of metadata, one or a list of them; None where no key is one of ``CAPTION_NAMES``."""
    for name in CAPTION_NAMES:
        if name in record:
            value = record[name]
            values = value if isinstance(value, list | tuple) else [value]
            return tuple(str(each).strip() for each in values if each is not None and str(each).strip())
    return None


def captions_of_lines(text: str) -> tuple[str, ...]:
    """The captions in a side-car file: each line that is not empty is an alternative."""
    return tuple(line.strip() for line in text.splitlines() if line.strip())
