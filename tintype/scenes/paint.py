"""The door to the painter: a scene in, pixels out. Skia is loaded when the first picture is drawn."""

import numpy as np

from tintype.errors import SettingsError
from tintype.scenes.scene import Scene


def draw(scene: Scene, size: int = 256) -> np.ndarray:
    """Paint ``scene`` as a (size size 3) array of 8-bit RGB. The same scene gives the same pixels."""
    if size < 16:
        raise SettingsError(f"A picture is at least 16 pixels wide, not {size}.")
    from tintype.scenes.picture import paint

    return paint(scene, size)
