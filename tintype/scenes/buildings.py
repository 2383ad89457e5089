"""Subjects with walls: each stands on y = 0 and is one unit high."""

from tintype.scenes.brush import Brush, arch, box, line, oval, polygon
from tintype.scenes.colours import CREAM, DARK_WOOD, INK, LAMP, RGB, WHITE, WOOD, Coat, mix, rgb


def _window(brush: Brush, x: float, y: float, half: float, lamps: bool) -> None:
    """A round-topped window, lit at night."""
    brush.fill(
        arch(x - half, y - 1.4 * half, x + half, y + 1.4 * half), LAMP if lamps else rgb("#3c5878"), shines=lamps
    )
    if lamps:
        brush.glow(x, y, 3 * half, LAMP, 0.45)


def pyramid(brush: Brush, coat: Coat, lamps: bool) -> None:
    """Two faces, rows of stone and a bright tip."""
    lit, shaded = polygon((0, -1), (-0.82, 0), (0.22, 0.04)), polygon((0, -1), (0.22, 0.04), (0.82, 0))
    brush.shade(lit, (0, -1), (-0.4, 0), [coat.light, coat.main])
    brush.shade(shaded, (0, -1), (0.4, 0), [coat.dark, mix(coat.dark, INK, 0.3)])
    for i in range(1, 8):
        t = i / 8
        brush.stroke(line((-0.82 * t, t - 1), (0.22 * t, 1.04 * t - 1), (0.82 * t, t - 1)), coat.dark, 0.01, 0.5)
    brush.fill(polygon((0, -1), (-0.1, -0.88), (0.03, -0.873)), mix(coat.light, CREAM, 0.7))
    brush.fill(
        polygon((-0.23, 0.022), (-0.19, -0.13), (-0.09, -0.125), (-0.06, 0.03)), LAMP if lamps else INK, shines=lamps
    )


def house(brush: Brush, coat: Coat, lamps: bool) -> None:
    """Coloured walls under a steep roof, with door, windows and chimney."""
    roof = rgb("#5a4356")
    brush.fill(box(0.22, -0.96, 0.34, -0.6), rgb("#8a5a50"))
    brush.shade(
        box(-0.44, -0.56, 0.44, 0), (-0.44, 0), (0.44, 0), [coat.light, coat.main, coat.dark], stops=[0, 0.5, 1]
    )
    brush.fill(polygon((-0.44, -0.55), (0, -0.97), (0.44, -0.55)), coat.main)
    brush.stroke(line((-0.53, -0.5), (0, -1.0), (0.53, -0.5)), roof, 0.09)
    _window(brush, -0.24, -0.3, 0.09, lamps)
    _window(brush, 0.24, -0.3, 0.09, lamps)
    _window(brush, 0, -0.66, 0.065, lamps)
    brush.fill(arch(-0.09, -0.34, 0.09, 0), DARK_WOOD)
    brush.fill(oval(0.05, -0.15, 0.017), LAMP)


def castle(brush: Brush, coat: Coat, lamps: bool) -> None:
    """A wall between two round towers, a keep behind, pointed roofs and flags."""
    roof = mix(coat.dark, INK, 0.45)
    _tower(brush, coat, 0, 0.15, -0.72, -1.0, roof)
    _battlement(brush, coat, -0.36, 0.36, -0.4)
    for x in (-0.4, 0.4):
        _tower(brush, coat, x, 0.13, -0.58, -0.86, roof)
        _window(brush, x, -0.42, 0.04, lamps)
    for x in (-0.18, 0.18):
        _window(brush, x, -0.26, 0.035, lamps)
    _window(brush, 0, -0.6, 0.045, lamps)
    brush.fill(arch(-0.12, -0.27, 0.12, 0), DARK_WOOD)
    for x in (-0.06, 0, 0.06):
        brush.stroke(line((x, -0.2), (x, 0)), INK, 0.012)


def _tower(brush: Brush, coat: Coat, x: float, half: float, top: float, tip: float, roof: RGB) -> None:
    colours = [coat.light, coat.main, coat.dark]
    brush.shade(box(x - half, top, x + half, 0), (x - half, 0), (x + half, 0), colours, stops=[0, 0.4, 1])
    brush.fill(polygon((x - 1.3 * half, top + 0.01), (x, tip), (x + 1.3 * half, top + 0.01)), roof)
    brush.stroke(line((x, tip), (x, tip - 0.09)), INK, 0.012)
    brush.fill(polygon((x, tip - 0.1), (x + 0.11, tip - 0.07), (x, tip - 0.04)), coat.main)


def _battlement(brush: Brush, coat: Coat, x0: float, x1: float, top: float) -> None:
    wall = box(x0, top, x1, 0)
    step = (x1 - x0) / 9
    for i in range(0, 9, 2):
        wall.addPath(box(x0 + i * step, top - 0.06, x0 + (i + 1) * step, top + 0.01))
    brush.shade(wall, (0, top), (0, 0), [coat.light, coat.main])


def lighthouse(brush: Brush, coat: Coat, lamps: bool) -> None:
    """A tapering tower in white and colour; the lamp throws its beams when it is dark."""
    if lamps:
        for side in (-1, 1):
            beam = polygon((0, -0.86), (side * 1.1, -1.08), (side * 1.1, -0.66))
            brush.shade(beam, (0, 0), (side * 1.1, 0), [LAMP, LAMP], [0.75, 0.0], shines=True)
    tower = polygon((-0.14, -0.78), (0.14, -0.78), (0.24, 0), (-0.24, 0))
    brush.fill(tower, rgb("#fbfaf6"))
    with brush.inside(tower):
        for y in (-0.78, -0.46, -0.14):
            brush.fill(box(-0.3, y, 0.3, y + 0.19), coat.main)
        brush.shade(box(-0.3, -0.8, 0.3, 0), (-0.24, 0), (0.24, 0), [WHITE, rgb("#20104a")], [0.12, 0.4])
    brush.fill(box(-0.2, -0.81, 0.2, -0.765), INK)
    brush.fill(box(-0.1, -0.92, 0.1, -0.81), LAMP, shines=True)
    brush.stroke(line((0, -0.92), (0, -0.81)), INK, 0.014)
    brush.fill(polygon((-0.15, -0.91), (0, -1.04), (0.15, -0.91)), coat.main)
    brush.fill(arch(-0.055, -0.12, 0.055, 0), INK)
    if lamps:
        brush.glow(0, -0.865, 0.3, LAMP, 0.95)


def windmill(brush: Brush, coat: Coat, lamps: bool) -> None:
    """A tapering mill with four latticed sails."""
    tower = polygon((-0.14, -0.62), (0.14, -0.62), (0.24, 0), (-0.24, 0))
    brush.shade(tower, (-0.22, 0), (0.22, 0), [coat.light, coat.main, coat.dark], stops=[0, 0.45, 1])
    brush.fill(polygon((-0.19, -0.6), (0, -0.8), (0.19, -0.6)), rgb("#5a4356"))
    brush.fill(arch(-0.07, -0.22, 0.07, 0), DARK_WOOD)
    _window(brush, 0, -0.38, 0.05, lamps)
    for turn in (22, 112, 202, 292):
        with brush.at(0, -0.62, turn=turn):
            brush.stroke(line((0, 0), (0, -0.46)), DARK_WOOD, 0.024)
            brush.fill(box(0.015, -0.46, 0.14, -0.1), rgb("#fff8e6"))
            for y in (-0.37, -0.28, -0.19):
                brush.stroke(line((0.015, y), (0.14, y)), WOOD, 0.012)
    brush.fill(oval(0, -0.62, 0.035), INK)


def tent(brush: Brush, coat: Coat, lamps: bool) -> None:
    """A ridge tent with an open door."""
    brush.shade(
        polygon((0, -1), (-0.78, 0), (0.78, 0)),
        (-0.7, 0),
        (0.7, 0),
        [coat.light, coat.main, coat.dark],
        stops=[0, 0.5, 1],
    )
    brush.fill(polygon((0, -0.78), (-0.26, 0), (0.26, 0)), LAMP if lamps else INK, shines=lamps)
    brush.fill(polygon((0, -0.8), (0.29, 0), (0.42, 0), (0.1, -0.5)), mix(coat.main, WHITE, 0.5))
    brush.fill(polygon((0, -0.8), (-0.29, 0), (-0.42, 0), (-0.1, -0.5)), mix(coat.main, WHITE, 0.65))
    for side in (-1, 1):
        brush.stroke(line((side * 0.04, -0.95), (side * 0.95, 0.02)), CREAM, 0.016, 0.8)
    brush.stroke(line((0, -1.0), (0, -1.08)), WOOD, 0.03)
    if lamps:
        brush.glow(0, -0.25, 0.5, LAMP, 0.6)
