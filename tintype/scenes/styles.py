"""Styles: what is done to the flat picture so that it looks painted in water or set in pixels."""

from collections.abc import Callable
from functools import lru_cache

import numpy as np

from tintype.scenes.brush import skia

PIXEL_GRID = 64
PIXEL_LEVELS = 10
PAPER = np.array([250, 247, 238], dtype=np.float32)


def style_size(style: str, size: int) -> int:
    """The size at which the flat picture is to be drawn for a style."""
    return 2 * PIXEL_GRID if style == "pixel art" else size


def apply_style(picture: np.ndarray, style: str, size: int, rng: np.random.Generator) -> np.ndarray:
    """The picture in its style: (h w 3) of 8 bits in, (size size 3) out."""
    return STYLES[style](picture, size, rng)


def _flat(picture: np.ndarray, size: int, rng: np.random.Generator) -> np.ndarray:
    return picture


def _pixel_art(picture: np.ndarray, size: int, rng: np.random.Generator) -> np.ndarray:
    """A coarse grid with few levels of each colour."""
    grid = PIXEL_GRID
    coarse = picture.reshape(grid, 2, grid, 2, 3).mean(axis=(1, 3))
    contrast = (coarse - 128) * 1.12 + 128
    steps = np.round(np.clip(contrast, 0, 255) / 255 * (PIXEL_LEVELS - 1)) * (255 / (PIXEL_LEVELS - 1))
    nearest = (np.arange(size) * grid) // size
    return steps.astype(np.uint8)[nearest[:, None], nearest[None, :]]


def _watercolour(picture: np.ndarray, size: int, rng: np.random.Generator) -> np.ndarray:
    """Wobbling edges, pigment that gathers in grains, and a ragged margin of bare paper."""
    shift = rng.integers(0, 64, size=2)
    wobble_x, wobble_y, cloud, grain = (
        _noise(size, cells, layer, *shift) for layer, cells in enumerate((22, 22, 7, 90))
    )
    row, column = np.mgrid[0:size, 0:size].astype(np.float32)
    reach = 0.011 * size
    row = np.clip(row + reach * wobble_y, 0, size - 1).astype(np.intp)
    column = np.clip(column + reach * wobble_x, 0, size - 1).astype(np.intp)
    wet = picture[row, column].astype(np.float32)
    thin = np.clip(0.2 + 0.13 * cloud + 0.04 * grain, 0.02, 0.6)[..., None]
    wet += (PAPER - wet) * thin
    bare = _margin(size, wobble_x + 0.6 * cloud)[..., None]
    return (wet + (PAPER - wet) * bare).astype(np.uint8)


def _margin(size: int, ragged: np.ndarray) -> np.ndarray:
    """How bare the paper is: 1 at the rim, 0 inside, with a torn edge between."""
    along = np.minimum(np.arange(size) + 0.5, size - 0.5 - np.arange(size)).astype(np.float32) / size
    inset = np.minimum(along[:, None], along[None, :])
    return np.clip((0.05 + 0.014 * ragged - inset) * 90, 0, 1)


def _noise(size: int, cells: int, layer: int, dy: int, dx: int) -> np.ndarray:
    """Smooth noise of about -1..1 with ``cells`` bumps along each side, one of 4,096 cuts out of a fixed field."""
    field = _field(size, cells, layer)
    return np.roll(field, (dy * size // 64, dx * size // 64), axis=(0, 1))


@lru_cache(maxsize=32)
def _field(size: int, cells: int, layer: int) -> np.ndarray:
    bumps = np.random.default_rng((layer, cells)).integers(0, 256, size=(cells, cells), dtype=np.uint8)
    bumps = np.pad(bumps, 2, mode="wrap")
    image = skia.Image.fromarray(np.repeat(bumps[..., None], 4, axis=2) | np.array([0, 0, 0, 255], np.uint8))
    wide = np.zeros((size, size, 4), np.uint8)
    with skia.Surface(wide) as canvas:
        canvas.scale(size / cells, size / cells)
        canvas.drawImage(image, -2, -2, skia.SamplingOptions(skia.CubicResampler.Mitchell()))
    field = wide[..., 0].astype(np.float32) / 127.5 - 1
    return (field - field.mean()) / (2 * field.std())


STYLES: dict[str, Callable[[np.ndarray, int, np.random.Generator], np.ndarray]] = {
    "flat": _flat,
    "watercolour": _watercolour,
    "pixel art": _pixel_art,
}
