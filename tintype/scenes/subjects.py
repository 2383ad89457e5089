"""The subjects: which brushwork paints each, how large it is, and where it goes in the picture."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from tintype.scenes import animals, buildings, nature, vessels
from tintype.scenes.brush import Brush, box, curve, line, oval, skia
from tintype.scenes.colours import BLACK, DARK_WOOD, WHITE, WOOD, Coat, coat_of, mix
from tintype.scenes.grounds import Setting
from tintype.scenes.light import Light
from tintype.scenes.scene import Scene
from tintype.scenes.vocabulary import BOATS, FLYERS, WATERS

CENTRES = {"left": 0.23, "middle": 0.5, "right": 0.77}
GROUPS = {2: (0.28, 0.72), 3: (0.19, 0.5, 0.81)}
GROUP_HALF_WIDTH = {1: 0.5, 2: 0.185, 3: 0.125}
GROUP_SCALE = {1: 1.0, 2: 0.82, 3: 0.66}


@dataclass(frozen=True)
class Subject:
    """How a subject is painted, its height as a share of the picture's, and half its width as a share of its height."""

    paint: Callable[[Brush, Coat, bool], None]
    height: float
    half_width: float


SUBJECTS = {
    "pirate ship": Subject(vessels.pirate_ship, 0.48, 0.56),
    "sailing boat": Subject(vessels.sailing_boat, 0.5, 0.48),
    "pyramid": Subject(buildings.pyramid, 0.35, 0.82),
    "cat": Subject(animals.cat, 0.44, 0.4),
    "house": Subject(buildings.house, 0.42, 0.56),
    "palm tree": Subject(nature.palm_tree, 0.57, 0.48),
    "hot-air balloon": Subject(vessels.balloon, 0.52, 0.36),
    "castle": Subject(buildings.castle, 0.45, 0.55),
    "rocket": Subject(vessels.rocket, 0.56, 0.3),
    "lighthouse": Subject(buildings.lighthouse, 0.58, 0.24),
    "pine tree": Subject(nature.pine_tree, 0.54, 0.4),
    "windmill": Subject(buildings.windmill, 0.52, 0.3),
    "tent": Subject(buildings.tent, 0.31, 0.8),
    "car": Subject(vessels.car, 0.25, 0.84),
    "flower": Subject(nature.flower, 0.5, 0.36),
    "mushroom": Subject(nature.mushroom, 0.42, 0.55),
    "snowman": Subject(nature.snowman, 0.46, 0.47),
    "moon": Subject(nature.moon, 0.4, 0.46),
    "bird": Subject(animals.bird, 0.38, 0.68),
    "camel": Subject(animals.camel, 0.42, 0.62),
}

FLIGHT = {"hot-air balloon": 0.62, "moon": 0.48}
"""Where the lowest point of a flying subject is."""


def paint_subjects(brush: Brush, scene: Scene, setting: Setting, light: Light, rng: np.random.Generator) -> None:
    """The subject, once or several times, with its shadow or mirror image."""
    if scene.subject is None:
        return
    subject, coat = SUBJECTS[scene.subject], coat_of(scene.subject, scene.colour)
    size = min(subject.height * GROUP_SCALE[scene.count], GROUP_HALF_WIDTH[scene.count] / subject.half_width)
    centres = GROUPS.get(scene.count) or (CENTRES[scene.place or "middle"],)
    for centre in centres:
        scale = size * rng.uniform(0.94, 1.06)
        margin = 0.92 * scale * subject.half_width
        x = min(max(centre + rng.uniform(-0.025, 0.025), margin), 1 - margin)
        y = _foot(scene, setting) + rng.uniform(-0.012, 0.012)
        _paint_one(brush, scene, subject, coat, light, x, y, scale)


def _foot(scene: Scene, setting: Setting) -> float:
    """The height in the picture at which the subject stands, floats or hovers."""
    if scene.subject in FLYERS:
        return FLIGHT[scene.subject] - 0.1 * (scene.count > 1)
    return setting.float_at if _floats(scene) else setting.stand


def _floats(scene: Scene) -> bool:
    """On water: boats wherever there is some, everything else on a raft at sea."""
    return scene.setting == "sea" or (scene.setting in WATERS and scene.subject in BOATS)


def _paint_one(
    brush: Brush, scene: Scene, subject: Subject, coat: Coat, light: Light, x: float, y: float, scale: float
) -> None:
    half = subject.half_width * scale
    if scene.subject not in FLYERS:
        if _floats(scene):
            _mirror(brush, subject, coat, light, x, y, scale)
            if scene.subject not in BOATS:
                _raft(brush, x, y, max(0.12, 1.12 * half))
        else:
            shadow = oval(x + 0.02, y + 0.004, 1.05 * half, 0.02)
            brush.fill(shadow, mix(light.haze, BLACK, 0.75), 0.45, blur=0.012)
    brush.glow(x, y - 0.5 * scale, 0.75 * scale, mix(light.haze, light.rim, 0.5), 0.35 * light.rim_strength)
    rim = skia.Color4f(*light.rim, light.rim_strength).toColor()
    shine = skia.Paint(ImageFilter=skia.ImageFilters.DropShadow(0, 0, 0.011, 0.011, rim))
    with (
        brush.layer((x - 1.4 * half - 0.1, y - 1.2 * scale, x + 1.4 * half + 0.1, y + 0.1), shine),
        brush.at(x, y, scale),
    ):
        subject.paint(Brush(brush.canvas, light.on_subject), coat, light.lamps)


def _mirror(brush: Brush, subject: Subject, coat: Coat, light: Light, x: float, y: float, scale: float) -> None:
    """The subject upside down in the water, faint and pressed flat."""
    faint = skia.Paint(Alphaf=0.33)
    with brush.layer((x - scale, y, x + scale, y + 0.5 * scale), faint), brush.at(x, y, (scale, -0.45 * scale)):
        subject.paint(Brush(brush.canvas, light.on_subject), coat, False)
    for i in range(3):
        half = (0.3 + 0.12 * i) * scale
        ripple = line((x - half, y + 0.02 + 0.022 * i), (x + half, y + 0.02 + 0.022 * i))
        brush.stroke(ripple, mix(light.horizon, WHITE, 0.4), 0.004, 0.5, shines=True)


def _raft(brush: Brush, x: float, y: float, half: float) -> None:
    deck = box(x - half, y - 0.012, x + half, y + 0.022, 0.012)
    brush.shade(deck, (0, y - 0.012), (0, y + 0.022), [mix(WOOD, WHITE, 0.15), DARK_WOOD])
    brush.stroke(curve((x - 1.1 * half, y + 0.03), (x, y + 0.036), (x + 1.1 * half, y + 0.03)), WHITE, 0.006, 0.7)
