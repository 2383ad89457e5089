"""Skies: air, sun and moon, stars and planets, clouds, rainbows, and the weather that falls in front of it all."""

import numpy as np

from tintype.scenes.brush import Brush, arc, box, curve, line, oval
from tintype.scenes.colours import RGB, WHITE, mix, rgb
from tintype.scenes.light import Light

RAINBOW = [rgb(code) for code in ("#f0323c", "#ff8a1e", "#ffe135", "#3cc552", "#2f7bf0", "#8a3fd0")]
NEBULA = [rgb(code) for code in ("#ff4fb0", "#4fd8ff", "#b46cff", "#ff9a5c")]
PLANETS = [(rgb("#ffd9a0"), rgb("#b0552e")), (rgb("#a8f0ff"), rgb("#2456a8")), (rgb("#ffb8e0"), rgb("#7a2a8c"))]


def paint_sky(brush: Brush, time: str, sky: str, light: Light, horizon: float, rng: np.random.Generator) -> None:
    """Everything behind the land."""
    air = [light.top, light.middle, light.horizon, light.horizon]
    brush.shade(box(-0.1, -0.1, 1.1, 1.1), (0, 0), (0, 1), air, stops=[0, 0.55 * horizon, horizon, 1], shines=True)
    if sky == "cosmic":
        _nebula(brush, rng)
    if time == "night" or sky == "cosmic":
        _stars(brush, 90 if sky in ("clear", "cosmic") else 30, horizon, rng)
    if sky == "cosmic":
        _planets(brush, rng)
    if sky not in ("rain", "snow"):
        SUNS[time](brush, horizon, 0.55 if sky == "cloudy" else 1.0, sky == "cosmic", rng)
    if sky == "rainbow":
        _rainbow(brush, horizon, rng)
    if sky in CLOUDS:
        bright, dark = CLOUDS[sky]
        _clouds(brush, light, bright, dark, low=sky == "cloudy", rng=rng)


def paint_weather(brush: Brush, sky: str, rng: np.random.Generator) -> None:
    """What falls between the eye and the land."""
    if sky == "rain":
        _falling_rain(brush, rng)
    elif sky == "snow":
        _falling_snow(brush, rng)


def _day_sun(brush: Brush, horizon: float, strength: float, cosmic: bool, rng: np.random.Generator) -> None:
    x, y = rng.uniform(0.8, 0.9), rng.uniform(0.11, 0.16)
    brush.glow(x, y, 0.34, rgb("#fff7c8"), 0.8 * strength)
    brush.fill(oval(x, y, 0.062), rgb("#fffbe0"), strength, shines=True)


def _rising_sun(brush: Brush, horizon: float, strength: float, cosmic: bool, rng: np.random.Generator) -> None:
    x, y = rng.uniform(0.14, 0.26), horizon - rng.uniform(0.03, 0.06)
    brush.glow(x, y, 0.55, rgb("#fff3b0"), 0.85 * strength)
    brush.fill(oval(x, y, 0.075), rgb("#fffce8"), 0.95 * strength, shines=True)


def _setting_sun(brush: Brush, horizon: float, strength: float, cosmic: bool, rng: np.random.Generator) -> None:
    x, y = rng.uniform(0.7, 0.84), horizon - rng.uniform(0.01, 0.05)
    brush.glow(x, y, 0.62, rgb("#ffb03a"), 0.9 * strength)
    brush.fill(oval(x, y, 0.105), rgb("#ffe27a"), 0.97 * strength, shines=True)


def _crescent(brush: Brush, horizon: float, strength: float, cosmic: bool, rng: np.random.Generator) -> None:
    if cosmic:
        return
    x, y = rng.uniform(0.1, 0.18), rng.uniform(0.11, 0.16)
    brush.glow(x, y, 0.26, rgb("#a9c4ff"), 0.5 * strength)
    moon = curve(
        (x + 0.01, y - 0.055), (x - 0.045, y - 0.02), (x - 0.045, y + 0.03), (x + 0.012, y + 0.056), (x + 0.05, y + 0.03),
        (x + 0.012, y + 0.02), (x - 0.008, y - 0.015), closed=True,
    )  # fmt: skip
    brush.fill(moon, rgb("#fdf6d8"), strength, shines=True)


SUNS = {"day": _day_sun, "sunrise": _rising_sun, "sunset": _setting_sun, "night": _crescent}


def _stars(brush: Brush, count: int, horizon: float, rng: np.random.Generator) -> None:
    places = rng.uniform((0, 0), (1, 0.92 * horizon), size=(count, 2))
    sizes = rng.uniform(0.0016, 0.0042, size=count)
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
    side = rng.integers(2)
    for i, (x, y, radius) in enumerate(((0.17, 0.15, 0.085), (0.84, 0.2, 0.055), (0.6, 0.08, 0.028))):
        x, y = (1 - x if side else x) + rng.uniform(-0.03, 0.03), y + rng.uniform(-0.02, 0.03)
        light, dark = PLANETS[i]
        brush.glow(x, y, radius * 1.9, light, 0.45)
        brush.ball(x, y, radius, light, dark, shines=True)
        if i == 0:
            with brush.at(x, y, turn=-22):
                ring = curve((-0.92 * radius, -0.08 * radius), (-1.8 * radius, 0.1 * radius), (0, 0.42 * radius),
                             (1.8 * radius, 0.1 * radius), (0.92 * radius, -0.08 * radius))  # fmt: skip
                brush.stroke(ring, rgb("#ffe9c4"), 0.012, 0.95, shines=True)


def _rainbow(brush: Brush, horizon: float, rng: np.random.Generator) -> None:
    x, radius, width = rng.uniform(0.46, 0.54), rng.uniform(0.47, 0.5), 0.02
    for i, colour in enumerate(RAINBOW):
        bow = arc(x, horizon + 0.02, radius - i * width, 180, 180)
        brush.stroke(bow, mix(colour, WHITE, 0.12), width * 1.15, 0.85, shines=True)


CLOUDS = {  # sky: (colour of the lit tops, of the bellies)
    "cloudy": (rgb("#ffffff"), rgb("#b9c3d3")),
    "rain": (rgb("#8b97a8"), rgb("#4a5566")),
    "snow": (rgb("#f4f7fb"), rgb("#c3cddb")),
    "rainbow": (rgb("#ffffff"), rgb("#d3dcea")),
}


def _clouds(brush: Brush, light: Light, bright: RGB, dark: RGB, low: bool, rng: np.random.Generator) -> None:
    if bright == CLOUDS["rainbow"][0] and dark == CLOUDS["rainbow"][1]:
        places = ((0.08, 0.5, 0.5), (0.93, 0.5, 0.5))
    elif low:
        places = ((0.16, 0.13, 1.0), (0.62, 0.1, 1.15), (0.95, 0.24, 0.9), (0.34, 0.31, 0.75), (0.8, 0.42, 0.6))
    else:
        places = ((0.1, 0.04, 1.3), (0.45, 0.07, 1.4), (0.85, 0.03, 1.4), (0.25, 0.13, 0.9), (0.68, 0.15, 1.0))
    for x, y, size in places:
        _cloud(brush, x + rng.uniform(-0.06, 0.06), y + rng.uniform(-0.025, 0.025), size, light, bright, dark, rng)


def _cloud(
    brush: Brush, x: float, y: float, size: float, light: Light, bright: RGB, dark: RGB, rng: np.random.Generator
) -> None:
    tone = mix(light.subject, light.middle, 0.18)
    top = tuple(a * b for a, b in zip(bright, tone, strict=True))
    belly = mix(tuple(a * b for a, b in zip(dark, tone, strict=True)), light.middle, 0.25)
    path = box(-0.15, -0.02, 0.15, 0.045, 0.032)
    for dx, radius in ((-0.09, 0.045), (-0.035, 0.07), (0.035, 0.062), (0.09, 0.042)):
        path.addPath(oval(dx, 0.035 - radius + rng.uniform(-0.008, 0.008), radius))
    with brush.at(x, y, size):
        brush.shade(path, (0, -0.1), (0, 0.045), [top, belly], [0.97, 0.9], shines=True)


def _falling_rain(brush: Brush, rng: np.random.Generator) -> None:
    for x, y, length in rng.uniform((-0.05, -0.05, 0.045), (1.1, 1, 0.085), size=(85, 3)):
        drop = line((x, y), (x - 0.28 * length, y + length))
        brush.stroke(drop, rgb("#e4f0ff"), 0.0045, 0.55, shines=True)


def _falling_snow(brush: Brush, rng: np.random.Generator) -> None:
    for x, y, size in rng.uniform((0, 0, 0.005), (1, 1, 0.0135), size=(85, 3)):
        brush.fill(oval(x, y, size), WHITE, 0.92, shines=True)
