"""Subjects that carry people: ships, balloon, rocket, car. Each stands on y = 0 and is one unit high."""

from tintype.scenes.brush import Brush, box, curve, line, oval, polygon, symmetric
from tintype.scenes.colours import DARK_WOOD, INK, LAMP, WHITE, WOOD, Coat, mix, rgb

SAILS = (
    *((-0.27, -0.74, 0.19, 0.17), (-0.27, -0.54, 0.25, 0.23)),
    *((0.03, -0.84, 0.22, 0.19), (0.03, -0.62, 0.29, 0.29)),
    *((0.3, -0.68, 0.17, 0.16), (0.3, -0.49, 0.23, 0.21)),
)
"""The upper and lower sail of each mast of the pirate ship: (x, y, width, height)."""


def pirate_ship(brush: Brush, coat: Coat, lamps: bool) -> None:
    """Three masts with swelling square sails, a high stern, and the black flag."""
    for x, top in ((-0.27, -0.8), (0.03, -0.96), (0.3, -0.74)):
        brush.stroke(line((x, -0.2), (x, top)), DARK_WOOD, 0.024)
    brush.stroke(line((0.44, -0.28), (0.64, -0.42)), DARK_WOOD, 0.022)
    for x, y, width, height in SAILS:
        _square_sail(brush, coat, x, y, width, height)
    _skull_flag(brush, 0.03, -0.99)
    hull = polygon(
        (-0.54, -0.36),
        (-0.4, -0.36),
        (-0.36, -0.25),
        (0.3, -0.25),
        (0.5, -0.33),
        (0.42, -0.06),
        (0.3, 0.03),
        (-0.38, 0.03),
        (-0.5, -0.1),
    )
    brush.shade(hull, (0, -0.36), (0, 0.03), [mix(WOOD, WHITE, 0.1), DARK_WOOD])
    brush.stroke(line((-0.52, -0.27), (-0.38, -0.2), (0.3, -0.19), (0.46, -0.25)), coat.main, 0.035)
    for x in (-0.28, -0.14, 0.0, 0.14, 0.28):
        brush.fill(oval(x, -0.1, 0.027), LAMP if lamps else INK, shines=lamps)


def _square_sail(brush: Brush, coat: Coat, x: float, y: float, width: float, height: float) -> None:
    w, swell = width / 2, 0.12 * height
    sail = curve(
        (x - w, y),
        (x, y - 0.01),
        (x + w, y),
        (x + 1.12 * w, y + 0.5 * height),
        (x + 1.02 * w, y + height),
        (x, y + height - 2 * swell),
        (x - 1.02 * w, y + height),
        (x - 0.84 * w, y + 0.5 * height),
        closed=True,
    )
    brush.shade(sail, (x - w, y), (x + w, y + height), [coat.light, coat.main, coat.dark], stops=[0, 0.45, 1])
    brush.stroke(line((x - 1.05 * w, y), (x + 1.05 * w, y)), DARK_WOOD, 0.018)


def _skull_flag(brush: Brush, x: float, y: float) -> None:
    flag = curve(
        (x, y),
        (x + 0.1, y - 0.03),
        (x + 0.26, y),
        (x + 0.26, y + 0.14),
        (x + 0.1, y + 0.12),
        (x, y + 0.15),
        closed=True,
    )
    brush.fill(flag, rgb("#15131c"))
    brush.fill(oval(x + 0.13, y + 0.045, 0.035), WHITE)
    brush.fill(box(x + 0.113, y + 0.06, x + 0.147, y + 0.095, 0.01), WHITE)


def sailing_boat(brush: Brush, coat: Coat, lamps: bool) -> None:
    """One mast, two triangular sails and a white hull."""
    brush.stroke(line((0.02, -0.12), (0.02, -1.0)), DARK_WOOD, 0.024)
    main = curve((0.05, -0.98), (0.2, -0.7), (0.33, -0.4), (0.4, -0.2))
    main.lineTo(0.05, -0.2)
    main.close()
    brush.shade(main, (0.05, -0.6), (0.4, -0.3), [coat.main, coat.dark])
    jib = curve((-0.02, -0.92), (-0.14, -0.66), (-0.28, -0.4), (-0.38, -0.2))
    jib.lineTo(-0.02, -0.22)
    jib.close()
    brush.shade(jib, (-0.35, -0.6), (0, -0.3), [coat.light, coat.main])
    hull = curve(
        (-0.46, -0.14),
        (0, -0.13),
        (0.48, -0.16),
        (0.4, -0.02),
        (0.25, 0.04),
        (-0.24, 0.04),
        (-0.38, -0.02),
        closed=True,
    )
    brush.shade(hull, (0, -0.16), (0, 0.04), [rgb("#ffffff"), rgb("#b9c4d6")])
    brush.stroke(line((-0.4, -0.09), (0.43, -0.1)), coat.main, 0.028)
    if lamps:
        brush.glow(0.02, -1.0, 0.08, LAMP, 0.9)


def balloon(brush: Brush, coat: Coat, lamps: bool) -> None:
    """A striped envelope over a basket."""
    skin = symmetric((0, -1), (0.24, -0.94), (0.36, -0.74), (0.3, -0.5), (0.1, -0.27))
    pale = mix(coat.main, WHITE, 0.75)
    brush.stroke(line((-0.09, -0.28), (-0.06, -0.13)), INK, 0.012)
    brush.stroke(line((0.09, -0.28), (0.06, -0.13)), INK, 0.012)
    brush.fill(skin, coat.main)
    with brush.inside(skin):
        for half, colour in ((0.29, pale), (0.19, coat.main), (0.08, pale)):
            gore = symmetric((0, -1.02), (half, -0.72), (0.3 * half, -0.25))
            brush.fill(gore, colour)
        brush.shade(box(-0.4, -1, 0.4, -0.2), (-0.3, 0), (0.42, 0), [WHITE, coat.main, rgb("#20104a")], [0.3, 0, 0.5])
        if lamps:
            brush.glow(0, -0.3, 0.4, LAMP, 0.7)
    brush.shade(box(-0.085, -0.14, 0.085, 0.0, 0.025), (0, -0.14), (0, 0), [WOOD, DARK_WOOD])


def rocket(brush: Brush, coat: Coat, lamps: bool) -> None:
    """A round body with fins and a porthole, standing on its flame."""
    flame = curve((-0.1, -0.16), (-0.11, -0.08), (0, 0.06), (0.11, -0.08), (0.1, -0.16))
    brush.glow(0, -0.06, 0.26, rgb("#ffb040"), 0.8)
    brush.fill(flame, rgb("#ff8a1e"), shines=True)
    brush.fill(curve((-0.05, -0.16), (0, -0.02), (0.05, -0.16)), rgb("#fff0a0"), shines=True)
    fin = mix(coat.dark, INK, 0.3)
    for side in (-1, 1):
        brush.fill(polygon((side * 0.14, -0.45), (side * 0.33, -0.22), (side * 0.33, -0.06), (side * 0.12, -0.18)), fin)
    body = symmetric((0, -1), (0.15, -0.78), (0.19, -0.5), (0.13, -0.16))
    brush.shade(body, (-0.19, 0), (0.19, 0), [coat.light, coat.main, coat.dark], stops=[0, 0.45, 1])
    with brush.inside(body):
        brush.fill(box(-0.3, -1.02, 0.3, -0.83), fin)
    brush.fill(oval(0, -0.6, 0.09), rgb("#f8f8fc"))
    brush.fill(oval(0, -0.6, 0.065), LAMP if lamps else rgb("#3a7fd0"), shines=lamps)
    brush.fill(box(-0.022, -0.4, 0.022, -0.08, 0.02), fin)


def car(brush: Brush, coat: Coat, lamps: bool) -> None:
    """A round little car, seen from the side; wider than high."""
    body = curve(
        (-0.82, -0.3),
        (-0.78, -0.52),
        (-0.5, -0.6),
        (-0.36, -0.92),
        (0.0, -1.0),
        (0.3, -0.9),
        (0.48, -0.58),
        (0.78, -0.5),
        (0.86, -0.3),
        (0.8, -0.14),
        (-0.76, -0.14),
        closed=True,
    )
    brush.shade(body, (0, -1), (0, -0.1), [coat.light, coat.main, coat.dark], stops=[0, 0.5, 1])
    glass = LAMP if lamps else rgb("#bfe6fa")
    for points in (
        ((-0.36, -0.6), (-0.27, -0.84), (-0.04, -0.89), (-0.04, -0.6)),
        ((0.04, -0.6), (0.04, -0.89), (0.25, -0.82), (0.38, -0.6)),
    ):
        brush.fill(polygon(*points), glass, shines=lamps)
    for x in (-0.46, 0.48):
        brush.fill(oval(x, -0.16, 0.2), rgb("#26242e"))
        brush.fill(oval(x, -0.16, 0.09), rgb("#d8dce4"))
    brush.fill(oval(0.8, -0.38, 0.06), rgb("#fff6c0"), shines=True)
    if lamps:
        brush.glow(0.86, -0.38, 0.3, LAMP, 0.8)
