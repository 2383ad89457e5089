"""Skies: air, sun and moon, stars and planets, clouds, rainbows, and the weather that falls in front of it all."""

from dataclasses import dataclass

import numpy as np

from tintype.scenes.brush import Brush, arc, box, curve, line, oval, skia
from tintype.scenes.colours import RGB, WHITE, mix, multiply, rgb
from tintype.scenes.light import Light
from tintype.scenes.scene import Scene

RAINBOW = [rgb(code) for code in ("#f0323c", "#ff8a1e", "#ffe135", "#3cc552", "#2f7bf0", "#8a3fd0")]
STARS = 90
PLANET_PLACES = ((0.16, 0.15, 0.09), (0.62, 0.1, 0.05), (0.4, 0.25, 0.03))
NEBULA = [rgb(code) for code in ("#ff4fb0", "#4fd8ff", "#b46cff", "#ff9a5c")]
PLANETS = [(rgb("#ffd9a0"), rgb("#b0552e")), (rgb("#a8f0ff"), rgb("#2456a8")), (rgb("#ffb8e0"), rgb("#7a2a8c"))]


def paint_sky(brush: Brush, scene: Scene, light: Light, horizon: float, rng: np.random.Generator) -> None:
    """Everything behind the land."""
    sky, time = scene.sky, scene.time
    air = [light.top, light.middle, light.horizon, light.horizon]
    brush.shade(box(-0.1, -0.1, 1.1, 1.1), (0, 0), (0, 1), air, stops=[0, 0.55 * horizon, horizon, 1], shines=True)
    if sky == "cosmic":
        _nebula(brush, rng)
    if sky == "cosmic" or (time == "night" and sky in ("clear", "rainbow")):
        _stars(brush, horizon, rng)
    if sky == "cosmic":
        _planets(brush, rng)
    if sky not in ("rain", "snow"):
        _sun(brush, scene, light, 0.6 if sky == "cloudy" else 1.0)
    if sky == "rainbow":
        _rainbow(brush, horizon, rng)
    if sky in CLOUDS:
        _clouds(brush, CLOUDS[sky], light, rng)


def paint_weather(brush: Brush, sky: str, rng: np.random.Generator) -> None:
    """What falls between the eye and the land."""
    if sky == "rain":
        _falling_rain(brush, rng)
    elif sky == "snow":
        _falling_snow(brush, rng)


SUNS = {"day": (0.062, 0.34), "sunrise": (0.078, 0.55), "sunset": (0.11, 0.62), "night": (0.06, 0.26)}
"""Time: (radius of the disc, of its glow)."""


def _sun(brush: Brush, scene: Scene, light: Light, strength: float) -> None:
    """Sun or crescent; a night has room for one moon, so the crescent yields to the subject and to planets."""
    night = scene.time == "night"
    if night and (scene.subject == "moon" or scene.sky == "cosmic"):
        return
    (x, y), (radius, reach) = light.sun, SUNS[scene.time]
    brush.glow(x, y, reach, light.shine, (0.5 if night else 0.85) * strength)
    if night:
        with brush.at(x, y, radius, turn=-30):
            brush.fill(_crescent(), rgb("#fff6d6"), strength, shines=True)
    else:
        brush.fill(oval(x, y, radius), light.shine, strength, shines=True)


def _crescent() -> skia.Path:
    outer, bite = oval(0, 0, 1), oval(0.5, -0.06, 0.84)
    return skia.Op(outer, bite, skia.PathOp.kDifference_PathOp)


def _stars(brush: Brush, horizon: float, rng: np.random.Generator) -> None:
    places = rng.uniform((0, 0), (1, 0.92 * horizon), size=(STARS, 2))
    sizes = rng.uniform(0.0016, 0.0042, size=STARS)
    for (x, y), size in zip(places, sizes, strict=True):
        brush.fill(oval(x, y, size), WHITE, 0.9 * (1 - 0.6 * y / horizon), shines=True)
    for x, y in places[:4]:
        brush.glow(x, y, 0.022, WHITE, 0.8)


def _nebula(brush: Brush, rng: np.random.Generator) -> None:
    tilt, shift = rng.uniform(-0.12, 0.12), rng.uniform(-0.05, 0.05)
    for i in range(9):
        x = -0.05 + 0.14 * i + rng.uniform(-0.04, 0.04)
        y = 0.24 + shift + tilt * (x - 0.5) + rng.uniform(-0.08, 0.08)
        brush.glow(x, y, rng.uniform(0.16, 0.26), NEBULA[i % len(NEBULA)], 0.42)


def _planets(brush: Brush, rng: np.random.Generator) -> None:
    for (x, y, radius), (light, dark) in zip(PLANET_PLACES, PLANETS, strict=True):
        x, y = x + rng.uniform(-0.03, 0.03), y + rng.uniform(-0.02, 0.03)
        brush.glow(x, y, radius * 1.9, light, 0.45)
        brush.ball(x, y, radius, light, dark, shines=True)
        if light == PLANETS[0][0]:
            _ring(brush, x, y, radius)


def _ring(brush: Brush, x: float, y: float, radius: float) -> None:
    with brush.at(x, y, radius, turn=-22):
        ring = curve((-0.92, -0.08), (-1.7, 0.14), (0, 0.42), (1.7, 0.14), (0.92, -0.08))
        brush.stroke(ring, rgb("#ffe9c4"), 0.15, 0.95, shines=True)


def _rainbow(brush: Brush, horizon: float, rng: np.random.Generator) -> None:
    x, radius, width = rng.uniform(0.46, 0.54), rng.uniform(0.47, 0.5), 0.02
    for i, colour in enumerate(RAINBOW):
        bow = arc(x, horizon + 0.02, radius - i * width, 180, 180)
        brush.stroke(bow, mix(colour, WHITE, 0.12), width * 1.15, 0.85, shines=True)


@dataclass(frozen=True)
class Clouds:
    """The colour of the lit tops and of the bellies, and each cloud's (x, y, size)."""

    top: RGB
    belly: RGB
    places: tuple[tuple[float, float, float], ...]


FLAKES = 9
OVERHEAD = ((0.08, 0.03, 1.5), (0.47, 0.02, 1.6), (0.88, 0.03, 1.5), (0.26, 0.12, 1.0), (0.7, 0.14, 1.1))
CLOUDS = {
    "cloudy": Clouds(
        rgb("#ffffff"),
        rgb("#bcc8da"),
        ((0.8, 0.43, 0.6), (0.3, 0.35, 0.7), (0.95, 0.26, 0.95), (0.14, 0.16, 1.1), (0.6, 0.12, 1.25)),
    ),
    "rain": Clouds(rgb("#7d8999"), rgb("#3d4757"), OVERHEAD),
    "snow": Clouds(rgb("#f6f9fd"), rgb("#b4c1d3"), OVERHEAD),
    "rainbow": Clouds(rgb("#ffffff"), rgb("#d3dcea"), ((0.08, 0.53, 0.55), (0.93, 0.53, 0.55))),
}


def _clouds(brush: Brush, clouds: Clouds, light: Light, rng: np.random.Generator) -> None:
    tone = mix(light.subject, light.middle, 0.12)
    top = multiply(clouds.top, tone)
    belly = mix(multiply(clouds.belly, tone), light.middle, 0.25)
    if clouds.places is OVERHEAD:
        brush.shade(box(-0.1, -0.1, 1.1, 0.3), (0, 0), (0, 0.2), [belly, belly], [1.0, 0.0], shines=True)
    for x, y, size in clouds.places:
        with brush.at(x + rng.uniform(-0.06, 0.06), y + rng.uniform(-0.025, 0.025), size):
            brush.shade(_cloud(rng), (0, -0.1), (0, 0.045), [top, belly], [1.0, 0.92], shines=True)


def _cloud(rng: np.random.Generator) -> skia.Path:
    """A flat foot with five round heads."""
    path = box(-0.17, -0.02, 0.17, 0.045, 0.032)
    for x, radius in ((-0.11, 0.045), (-0.06, 0.064), (0.0, 0.078), (0.065, 0.06), (0.115, 0.042)):
        radius *= rng.uniform(0.85, 1.1)
        path.addPath(oval(x, 0.04 - radius, radius))
    return path


def _scattered(rng: np.random.Generator) -> np.ndarray:
    """Points strewn evenly over the picture, (FLAKES^2 2)."""
    row, column = np.divmod(np.arange(FLAKES**2), FLAKES)
    return (np.stack((column, row), axis=1) + rng.uniform(0.05, 0.95, size=(FLAKES**2, 2))) / FLAKES


def _falling_rain(brush: Brush, rng: np.random.Generator) -> None:
    for (x, y), length in zip(_scattered(rng), rng.uniform(0.045, 0.085, size=FLAKES**2), strict=True):
        drop = line((x, y), (x - 0.28 * length, y + length))
        brush.stroke(drop, rgb("#e4f0ff"), 0.0045, 0.55, shines=True)


def _falling_snow(brush: Brush, rng: np.random.Generator) -> None:
    for (x, y), size in zip(_scattered(rng), rng.uniform(0.005, 0.0135, size=FLAKES**2), strict=True):
        brush.fill(oval(x, y, size), WHITE, 0.92, shines=True)
