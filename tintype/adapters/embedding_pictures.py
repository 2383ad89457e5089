"""Textual inversions in the pictures of A1111's web UI: in a text beside the pixels, and in the pixels themselves.

The text is lost when a picture passes through a site that strips it. So the same data, a JSON that zlib packed, also
stand at both sides of the picture, each behind a black column: the lower four bits of every byte at the left, the upper
four at the right, in the lower four bits of the pixels, mixed with a row of numbers that everybody knows.
"""

from __future__ import annotations

import base64
import json
import zlib
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from tintype.errors import CheckpointError

CHUNK = "sd-ti-embedding"
"""Under this name the text stands, as JSON in base 64."""
MAX_HALVES = 4_000_000
"""Half bytes at a side; 75 vectors of SDXL's two towers take 2 million."""
MAX_BYTES = 32_000_000
"""Of the JSON; those vectors take 4 million."""
LOW = 0x0F

DAMAGED = (
    *(OSError, ValueError, KeyError, TypeError, AttributeError, OverflowError, RecursionError),
    *(zlib.error, Image.DecompressionBombError),
)


def read_picture(path: Path) -> dict[str, NDArray[np.float32]]:
    """The tensors in a picture, by A1111's names. CheckpointError for one without, or that is damaged."""
    try:
        with Image.open(path) as picture:
            text = picture.info.get(CHUNK)
            content = json.loads(_in_pixels(picture) if text is None else base64.b64decode(text))
        if content is None:
            raise CheckpointError(
                f"{path} is a picture without an embedding: it has no text called {CHUNK!r} and nothing in its pixels."
            )
        params = content["string_to_param"]
        return {name: np.array(value["TORCHTENSOR"], dtype=np.float32) for name, value in params.items()}
    except DAMAGED as error:
        raise CheckpointError(f"The embedding in {path} cannot be read: {error}.") from error


def has_embedding(path: Path) -> bool:
    """Whether a picture carries one, be it damaged."""
    try:
        with Image.open(path) as picture:
            return CHUNK in picture.info or _in_pixels(picture) != "null"
    except DAMAGED:
        return False


def _in_pixels(picture: Image.Image) -> str | bytes:
    """The JSON at the sides of a picture; "null" where there is none."""
    pixels = np.asarray(picture.convert("RGB"), dtype=np.uint8)  # (H W 3)
    bright = np.asarray((pixels > 0).all(axis=2))
    if not bright.any():
        return "null"
    rows, columns = np.flatnonzero(bright.any(axis=1)), np.flatnonzero(bright.any(axis=0))
    halves = pixels[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1] & LOW
    black = np.flatnonzero(~halves.any(axis=(0, 2)))
    if len(black) < 2:
        return "null"
    left, right = halves[:, : black[0]], halves[:, black[-1] + 1 :]
    if left.shape != right.shape or not 0 < left.size <= MAX_HALVES:
        return "null"
    mixed = np.fromiter(_row(left.size), np.uint8, left.size).reshape(left.shape) & LOW
    packed = ((right ^ mixed) << 4 | (left ^ mixed)).tobytes()
    try:
        content = zlib.decompressobj().decompress(packed, MAX_BYTES)  # what is behind the data is filling
    except zlib.error:  # a picture with dark columns
        return "null"
    if len(content) == MAX_BYTES:
        raise ValueError("what is in its pixels unpacks to more than any embedding has")
    return content


def _row(count: int) -> Iterator[int]:
    """The numbers that the data are mixed with (a linear congruential generator, Numerical Recipes' constants)."""
    state = 0
    for _ in range(count):
        state = (1664525 * state + 1013904223) % 2**32
        yield state % 255
