"""Settings: the land, layer by layer from the horizon to the foot of the picture."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from tintype.scenes.brush import Brush, box, curve, land, line, oval, polygon
from tintype.scenes.colours import BLACK, LAMP, RGB, WHITE, mix, rgb
from tintype.scenes.light import Light

Rng = np.random.Generator


@dataclass(frozen=True)
class Setting:
    """How a setting is painted, where its horizon lies, and on which height things stand and boats float."""

    paint: Callable[[Brush, Light, float, Rng], None]
    horizon: float
    stand: float
    float_at: float = 0.8


def _water(brush: Brush, light: Light, top: float, bottom: float, near: RGB, far: RGB, rng: Rng) -> None:
    """Water that mirrors the sky, with glitter."""
    far = mix(brush.light(far), light.horizon, light.mirror)
    near = mix(brush.light(near), light.middle, 0.5 * light.mirror)
    brush.shade(box(-0.1, top, 1.1, bottom), (0, top), (0, bottom), [far, near], shines=True)
    for depth, x, length in rng.uniform((0.03, 0, 0.5), (1, 1, 1), size=(26, 3)):
        y = top + (bottom - top) * depth
        half = length * (0.02 + 0.055 * depth)
        brush.stroke(
            line((x - half, y), (x + half, y)), mix(light.horizon, WHITE, 0.3), 0.003 + 0.004 * depth, 0.4, True
        )
    for depth, dx, length in rng.uniform((0, -1, 0.5), (1, 1, 1), size=(30, 3)):
        x, y = light.sun[0] + dx * (0.03 + 0.05 * depth), top + (bottom - top) * depth
        half = length * (0.025 + 0.03 * depth)
        brush.stroke(line((x - half, y), (x + half, y)), light.shine, 0.004 + 0.005 * depth, 0.75 * light.glitter, True)


def _beach(brush: Brush, light: Light, horizon: float, rng: Rng) -> None:
    _water(brush, light, horizon, 0.82, rgb("#1fc3c8"), rgb("#1478c0"), rng)
    tilt = rng.uniform(-0.012, 0.012)
    shore = [(-0.1, 0.78 - tilt), (0.2, 0.765), (0.5, 0.785), (0.8, 0.765 + tilt), (1.1, 0.78)]
    brush.fill(land(*((x, y - 0.028) for x, y in shore)), mix(WHITE, light.haze, 0.1), 0.55)
    brush.fill(land(*((x, y - 0.012) for x, y in shore)), WHITE, 0.9)
    brush.fill(land(*shore), rgb("#d9ac68"))
    sand = land(*((x, y + 0.022) for x, y in shore))
    brush.shade(sand, (0, 0.79), (0, 1), [rgb("#ffe3a3"), rgb("#eebd72")])
    for x, y, size in rng.uniform((0, 0.86, 0.004), (1, 0.98, 0.009), size=(12, 3)):
        brush.fill(oval(x, y, size * 1.6, size), rgb("#c98f52"), 0.6)


def _sea(brush: Brush, light: Light, horizon: float, rng: Rng) -> None:
    _water(brush, light, horizon, 1.02, rgb("#06407e"), rgb("#2a86c8"), rng)
    phase = rng.uniform(0, 6)
    for i, y in enumerate((0.72, 0.84, 0.93)):
        crest = [(x / 8, y + 0.012 * np.sin(1.9 * x + phase + 2 * i)) for x in range(-1, 10)]
        colour = mix(brush.light(rgb("#1a72b8")), brush.light(rgb("#06356e")), i / 2)
        brush.fill(land(*crest), mix(colour, light.middle, 0.4 * light.mirror), 0.6, shines=True)
        brush.stroke(curve(*crest), mix(light.horizon, WHITE, 0.3), 0.005, 0.6, shines=True)


def _desert(brush: Brush, light: Light, horizon: float, rng: Rng) -> None:
    shift = rng.uniform(-0.08, 0.08)
    dunes = (
        ([(-0.1, 0.62), (0.2 + shift, 0.55), (0.5, 0.63), (0.8 + shift, 0.56), (1.1, 0.61)], "#eeb665", 0.35),
        ([(-0.1, 0.66), (0.3, 0.7), (0.66 + shift, 0.61), (1.1, 0.7)], "#e9a04c", 0.12),
        ([(-0.1, 0.72), (0.25 + shift, 0.7), (0.6, 0.76), (1.1, 0.71)], "#f2b45c", 0.0),
    )
    for ridge, code, haze in dunes:
        colour = mix(brush.light(rgb(code)), light.haze, haze)
        brush.shade(
            land(*ridge), (0, 0.55), (0, 1), [mix(colour, WHITE, 0.15), mix(colour, rgb("#8a3d22"), 0.3)], shines=True
        )
    for y in (0.86, 0.91, 0.96):
        ripple = curve((-0.1, y), (0.25, y - 0.012), (0.55, y + 0.006), (1.1, y - 0.01))
        brush.stroke(ripple, rgb("#c47a3a"), 0.006, 0.4)
    for x, height in ((0.06 + shift / 4, 0.1), (0.95 + shift / 4, 0.12)):
        _cactus(brush, x, 0.76, height)


def _cactus(brush: Brush, x: float, y: float, height: float) -> None:
    green = rgb("#3d8a4c")
    with brush.at(x, y, height):
        brush.stroke(line((0, 0), (0, -1)), green, 0.22)
        brush.stroke(line((0, -0.4), (-0.3, -0.4), (-0.3, -0.75)), green, 0.15)
        brush.stroke(line((0, -0.3), (0.3, -0.3), (0.3, -0.6)), green, 0.15)


def _mountains(brush: Brush, light: Light, horizon: float, rng: Rng) -> None:
    shift = rng.uniform(-0.05, 0.05)
    for x, top, half, haze in (
        (0.5 + shift, 0.3, 0.34, 0.5),
        (0.1 - shift, 0.24, 0.38, 0.25),
        (0.92 + shift, 0.2, 0.4, 0.18),
    ):
        _peak(brush, light, x, top, half, horizon + 0.1, haze)
    hills = (
        ([(-0.1, 0.64), (0.25, 0.67), (0.55 + shift, 0.62), (1.1, 0.66)], "#4f7f6a", 0.3),
        ([(-0.1, 0.74), (0.3 - shift, 0.7), (0.7, 0.75), (1.1, 0.71)], "#5f9a58", 0.0),
    )
    for ridge, code, haze in hills:
        colour = mix(brush.light(rgb(code)), light.haze, haze)
        brush.shade(
            land(*ridge), (0, 0.62), (0, 1), [mix(colour, WHITE, 0.1), mix(colour, rgb("#16302c"), 0.3)], shines=True
        )


def _peak(brush: Brush, light: Light, x: float, top: float, half: float, base: float, haze: float) -> None:
    def tone(code: str) -> RGB:
        return mix(brush.light(rgb(code)), light.haze, haze)

    slope = (base - top) / half
    brush.fill(polygon((x - half, base), (x, top), (x + half, base)), tone("#8a92a8"), shines=True)
    brush.fill(
        polygon((x, top), (x + half, base), (x + 0.1 * half, base), (x - 0.03, top + 0.16)),
        tone("#636b86"),
        shines=True,
    )
    cap = 0.36 * half
    y = top + slope * cap
    snow = [
        (x, top),
        (x + cap, y),
        (x + 0.4 * cap, y - 0.03),
        (x + 0.1 * cap, y + 0.03),
        (x - 0.4 * cap, y - 0.035),
        (x - cap, y),
    ]
    brush.fill(polygon(*snow), tone("#fbfdff"), shines=True)
    brush.fill(
        polygon((x, top), (x + cap, y), (x + 0.4 * cap, y - 0.03), (x + 0.1 * cap, y - 0.01)),
        tone("#cdd8ea"),
        shines=True,
    )


def _forest(brush: Brush, light: Light, horizon: float, rng: Rng) -> None:
    for row, (base, height, code, haze) in enumerate(((0.66, 0.32, "#4a9068", 0.42), (0.71, 0.36, "#2c7a50", 0.1))):
        colour = mix(brush.light(rgb(code)), light.haze, haze)
        for i in range(-1, 10):
            x = (i + 0.5 * row + rng.uniform(-0.15, 0.15)) / 9
            edge = 1 + (0.55 if row else 0.25) * min(1.0, (2 * abs(x - 0.5)) ** 2)
            _fir(brush, light, x, base, height * edge * rng.uniform(0.88, 1.08), colour)
        brush.fill(box(-0.1, base - 0.02, 1.1, 1.02), mix(colour, BLACK, 0.3), shines=True)
    floor = land((-0.1, 0.71), (0.3, 0.735), (0.7, 0.715), (1.1, 0.73))
    brush.shade(floor, (0, 0.7), (0, 1), [rgb("#6fae4a"), rgb("#2c6a38")])
    for x, y in rng.uniform((0, 0.8), (1, 0.98), size=(16, 2)):
        brush.stroke(line((x - 0.01, y - 0.02), (x, y), (x + 0.01, y - 0.022)), rgb("#9ad05c"), 0.005, 0.7)


def _fir(brush: Brush, light: Light, x: float, base: float, height: float, colour: RGB) -> None:
    """A fir against the sky, bright at its tip and dark at its foot."""
    w = 0.27 * height
    top = base - height
    outline = [(x, top)]
    for i in (1, 2, 3):
        y = top + height * i / 3.2
        outline += [(x + w * i / 3, y), (x + w * (i / 3 - 0.16), y - 0.012)]
    left = [(2 * x - px, py) for px, py in reversed(outline[1:])]
    tones = [mix(colour, light.rim, 0.22), colour, mix(colour, BLACK, 0.3)]
    brush.shade(polygon(*outline, (x, base), *left), (0, top), (0, base), tones, shines=True)


def _city(brush: Brush, light: Light, horizon: float, rng: Rng) -> None:
    window = LAMP if light.lamps else rgb("#e6f4ff")
    rows = ((0.66, (0.22, 0.4), "#8d9cc0", 0.45, 11), (0.7, (0.2, 0.46), "#4c5680", 0.1, 8))
    for row, (base, heights, code, haze, n) in enumerate(rows):
        colour = mix(brush.light(rgb(code)), light.haze, haze)
        for i in range(n):
            x0, x1 = (i - 0.1) / n, (i + 0.84) / n
            edge = 0.55 + 0.5 * abs(2 * (i + 0.5) / n - 1) if row else 1.0
            top = base - edge * rng.uniform(*heights)
            brush.shade(
                box(x0, top, x1, base + 0.02), (0, top), (0, base), [colour, mix(colour, light.haze, 0.3)], shines=True
            )
            if rng.random() < 0.4:
                brush.fill(polygon((x0, top), ((x0 + x1) / 2, top - 0.05), (x1, top)), colour, shines=True)
            if row:
                _windows(brush, x0, x1, top, base, window, 0.95 if light.lamps else 0.6, rng)
    brush.shade(box(-0.1, 0.7, 1.1, 1.02), (0, 0.7), (0, 1), [rgb("#a7a9b8"), rgb("#6d7086")])
    brush.fill(box(-0.1, 0.7, 1.1, 0.715), rgb("#d8d9e2"))
    for i in range(-1, 6):
        x = 0.2 * i + 0.1
        brush.fill(polygon((x, 0.93), (x + 0.11, 0.93), (x + 0.1, 0.955), (x - 0.02, 0.955)), rgb("#f6f1dc"), 0.9)


def _windows(brush: Brush, x0: float, x1: float, top: float, base: float, colour: RGB, alpha: float, rng: Rng) -> None:
    step = (x1 - x0) / 3.3
    panes = box(0, 0, 0, 0)
    for y in np.arange(top + 0.025, base - 0.03, 0.042):
        for column in range(3):
            if rng.random() < 0.72:
                x = x0 + step * (0.3 + column)
                panes.addPath(box(x, y, x + 0.62 * step, y + 0.022))
    brush.fill(panes, colour, alpha, shines=True)


def _meadow(brush: Brush, light: Light, horizon: float, rng: Rng) -> None:
    shift = rng.uniform(-0.08, 0.08)
    hills = (
        ([(-0.1, 0.6), (0.25 + shift, 0.54), (0.6, 0.61), (0.85, 0.56), (1.1, 0.58)], "#8fce6a", 0.35),
        ([(-0.1, 0.68), (0.4, 0.63), (0.7 + shift, 0.6), (1.1, 0.66)], "#78c850", 0.12),
        ([(-0.1, 0.7), (0.3 + shift, 0.73), (0.65, 0.7), (1.1, 0.74)], "#66bf42", 0.0),
    )
    for ridge, code, haze in hills:
        colour = mix(brush.light(rgb(code)), light.haze, haze)
        brush.shade(
            land(*ridge), (0, 0.56), (0, 1), [mix(colour, WHITE, 0.12), mix(colour, rgb("#1d5a30"), 0.35)], shines=True
        )
    petals = [rgb("#ffffff"), rgb("#ff8fb8"), rgb("#ffe25c")]
    for i, (x, depth) in enumerate(rng.uniform((0, 0), (1, 1), size=(42, 2))):
        y = 0.76 + 0.22 * depth
        brush.fill(oval(x, y, 0.005 + 0.007 * depth), petals[i % 3], 0.95)


def _lake(brush: Brush, light: Light, horizon: float, rng: Rng) -> None:
    shift = rng.uniform(-0.08, 0.08)
    ridge = [(-0.1, 0.5), (0.18 + shift, 0.42), (0.42, 0.53), (0.62, 0.5), (0.86 + shift, 0.4), (1.1, 0.5)]
    colour = mix(brush.light(rgb("#4c8a86")), light.haze, 0.35)
    brush.fill(land(*ridge, base=horizon), colour, shines=True)
    _water(brush, light, horizon, 0.9, rgb("#3a8fb0"), rgb("#6fc0d8"), rng)
    mirrored = land(*((x, 2 * horizon - y - 0.01) for x, y in ridge), base=horizon)
    brush.fill(mirrored, colour, 0.5, shines=True)
    brush.fill(
        land((-0.1, horizon - 0.012), (0.5, horizon - 0.006), (1.1, horizon - 0.014), base=horizon + 0.006),
        rgb("#3f8a4a"),
    )
    bank = land((-0.1, 0.8), (0.15, 0.85), (0.5, 0.885), (0.85, 0.85), (1.1, 0.8))
    brush.shade(bank, (0, 0.8), (0, 1), [rgb("#6cba50"), rgb("#2c7a3c")])
    for side in (0.05, 0.95):
        for dx in rng.uniform(-0.06, 0.06, size=5):
            reed = curve((side + dx, 0.86), (side + 1.1 * dx, 0.76), (side + 1.6 * dx, 0.7))
            brush.stroke(reed, rgb("#3c7a34"), 0.006)
            brush.stroke(line((side + 1.5 * dx, 0.705), (side + 1.6 * dx, 0.675)), rgb("#7a4a2a"), 0.014)


def _snowfield(brush: Brush, light: Light, horizon: float, rng: Rng) -> None:
    shift = rng.uniform(-0.08, 0.08)
    snows = (
        ([(-0.1, 0.58), (0.3 + shift, 0.53), (0.6, 0.6), (1.1, 0.54)], "#d4e2f4", 0.35),
        ([(-0.1, 0.64), (0.35, 0.66), (0.75 + shift, 0.6), (1.1, 0.65)], "#e4eefa", 0.15),
        ([(-0.1, 0.72), (0.3 + shift, 0.69), (0.7, 0.74), (1.1, 0.7)], "#f8fbff", 0.0),
    )
    for i, (ridge, code, haze) in enumerate(snows):
        colour = mix(brush.light(rgb(code)), light.haze, haze)
        brush.shade(
            land(*ridge), (0, 0.55), (0, 1), [colour, mix(colour, brush.light(rgb("#8fb4e4")), 0.6)], shines=True
        )
        if i == 1:
            for x in (0.04, 0.12, 0.9, 0.97):
                _fir(brush, light, x, 0.7, rng.uniform(0.16, 0.2), brush.light(rgb("#4d8078")))
                _fir(brush, light, x, 0.62, 0.07, brush.light(rgb("#f4f9ff")))


def _canyon(brush: Brush, light: Light, horizon: float, rng: Rng) -> None:
    shift = rng.uniform(-0.02, 0.02)
    mesa = mix(brush.light(rgb("#c8694a")), light.haze, 0.4)
    brush.fill(polygon((0.3, 0.7), (0.36, 0.46), (0.62, 0.46), (0.7, 0.7)), mesa, shines=True)
    brush.fill(
        land((-0.1, 0.66), (0.5, 0.64), (1.1, 0.66)), mix(brush.light(rgb("#d98850")), light.haze, 0.25), shines=True
    )
    for mirrored in (False, True):
        with brush.at(1.0 if mirrored else 0.0, 0.0, (-1.0, 1.0) if mirrored else 1.0):
            wall = polygon(
                (-0.1, 0.18),
                (0.13 + shift, 0.2),
                (0.16 + shift, 0.34),
                (0.22, 0.36),
                (0.23, 0.52),
                (0.32, 0.56),
                (0.34, 0.76),
                (-0.1, 0.8),
            )
            with brush.inside(wall):
                for i, code in enumerate(("#d9653c", "#b8482e", "#e07a48", "#a83e2c", "#cc5a38", "#b04630")):
                    y = 0.16 + 0.11 * i
                    strip = land((-0.1, y), (0.1, y + 0.012), (0.25, y - 0.006), (0.4, y + 0.006))
                    brush.fill(strip, rgb(code))
    floor = land((-0.1, 0.76), (0.25, 0.725), (0.6, 0.74), (1.1, 0.75))
    brush.shade(floor, (0, 0.72), (0, 1), [rgb("#e59a5e"), rgb("#b25a36")])


SETTINGS = {
    "beach": Setting(_beach, horizon=0.56, stand=0.91, float_at=0.755),
    "sea": Setting(_sea, horizon=0.56, stand=0.83, float_at=0.83),
    "desert": Setting(_desert, horizon=0.6, stand=0.86),
    "mountains": Setting(_mountains, horizon=0.6, stand=0.88),
    "forest": Setting(_forest, horizon=0.6, stand=0.88),
    "city": Setting(_city, horizon=0.62, stand=0.9),
    "meadow": Setting(_meadow, horizon=0.6, stand=0.88),
    "lake": Setting(_lake, horizon=0.54, stand=0.93, float_at=0.8),
    "snowfield": Setting(_snowfield, horizon=0.58, stand=0.88),
    "canyon": Setting(_canyon, horizon=0.6, stand=0.88),
}
