"""The picture, from the sky behind to the snow in front."""

import zlib

import numpy as np

from tintype.scenes.brush import Brush, skia
from tintype.scenes.grounds import SETTINGS
from tintype.scenes.light import light_of
from tintype.scenes.scene import Scene
from tintype.scenes.skies import paint_sky, paint_weather
from tintype.scenes.styles import apply_style, style_size
from tintype.scenes.subjects import paint_subjects


def paint(scene: Scene, size: int) -> np.ndarray:
    """The scene as (size size 3) of 8 bits."""
    flat = _paint_flat(scene, style_size(scene.style, size))
    return np.ascontiguousarray(apply_style(flat, scene.style, size, _chance(scene, "style")))


def _paint_flat(scene: Scene, size: int) -> np.ndarray:
    pixels = np.zeros((size, size, 4), np.uint8)
    light, setting = light_of(scene.time, scene.sky, _chance(scene, "light")), SETTINGS[scene.setting]
    with skia.Surface(pixels) as canvas:
        canvas.scale(size, size)
        brush = Brush(canvas, light.on_ground)
        paint_sky(brush, scene, light, setting.horizon, _chance(scene, "sky"))
        setting.paint(brush, light, setting.horizon, _chance(scene, "setting"))
        paint_subjects(brush, scene, setting, light, _chance(scene, "subject"))
        paint_weather(brush, scene.sky, _chance(scene, "weather"))
    return pixels[..., :3]


def _chance(scene: Scene, part: str) -> np.random.Generator:
    """Each part of the picture throws its own dice, so that another sky leaves the land as it was."""
    return np.random.default_rng((scene.seed, zlib.crc32(part.encode())))
