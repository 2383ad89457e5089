"""Subjects that grow, fall or rise: each stands on y = 0 and is one unit high."""

from tintype.scenes.brush import Brush, arc, box, curve, line, oval, polygon, symmetric
from tintype.scenes.colours import INK, RGB, WHITE, Coat, mix, rgb

FRONDS = (
    *((-0.5, 0.16, 0.5), (0.46, 0.18, 0.5), (-0.36, 0.36, 0.4), (0.34, 0.38, 0.4)),
    *((-0.4, -0.06, 0.0), (0.38, -0.06, 0.1), (0.13, -0.2, 0.15), (-0.16, -0.2, 0.0)),
)
"""Of each frond of the palm, from back to front: how far it reaches, how low it hangs, how dark it is."""

SEAS = ((-0.16, -0.62, 0.11), (0.13, -0.44, 0.13), (-0.12, -0.32, 0.08), (0.14, -0.72, 0.06), (0.29, -0.6, 0.05))
"""The dark spots of the moon: (x, y, radius)."""


def palm_tree(brush: Brush, coat: Coat, lamps: bool) -> None:
    """A leaning trunk under a crown of hanging fronds."""
    trunk = curve(
        (-0.12, 0),
        (-0.08, -0.3),
        (-0.0, -0.55),
        (0.07, -0.74),
        (0.12, -0.73),
        (0.07, -0.5),
        (0.01, -0.26),
        (0.0, 0),
        closed=True,
    )
    brush.shade(trunk, (-0.1, 0), (0.08, 0), [rgb("#c48a55"), rgb("#6e4428")])
    for i in range(7):
        x, y = -0.09 + 0.021 * i + 0.001 * i * i, -0.08 - 0.09 * i
        brush.stroke(line((x, y), (x + 0.075, y + 0.01)), rgb("#6e4428"), 0.012, 0.8)
    for reach, drop, dark in FRONDS:
        _frond(brush, 0.09, -0.75, reach, drop, mix(rgb("#45c053"), rgb("#12592f"), dark))
    for x, y in ((0.06, -0.7), (0.13, -0.7), (0.09, -0.67)):
        brush.fill(oval(x, y, 0.035), rgb("#7a4a28"))


def _frond(brush: Brush, x: float, y: float, reach: float, drop: float, colour: RGB) -> None:
    tip, back = (x + reach, y + drop), 0.06 if drop > -0.15 else 0.02
    leaf = curve(
        (x, y),
        (x + 0.45 * reach, y + 0.25 * drop - 0.13),
        (x + 0.85 * reach, y + 0.65 * drop - 0.05),
        tip,
        (x + 0.7 * reach, y + 0.6 * drop + back),
        (x + 0.35 * reach, y + 0.2 * drop - 0.01),
        closed=True,
    )
    brush.fill(leaf, colour)


def pine_tree(brush: Brush, coat: Coat, lamps: bool) -> None:
    """Four tiers of branches."""
    brush.fill(box(-0.06, -0.16, 0.06, 0), rgb("#7a4c2c"))
    for i, (top, base, half) in enumerate(
        ((-0.5, -0.1, 0.4), (-0.68, -0.3, 0.34), (-0.84, -0.5, 0.27), (-1, -0.7, 0.19))
    ):
        tier = symmetric((0, top), (0.45 * half, base - 0.12), (half, base), (0, base + 0.035))
        brush.shade(tier, (-half, 0), (half, 0), [mix(rgb("#3fb06a"), WHITE, 0.06 * i), rgb("#1f7a4c"), rgb("#0f4a34")])


def flower(brush: Brush, coat: Coat, lamps: bool) -> None:
    """One big bloom with eight petals on a stem with two leaves."""
    brush.stroke(curve((0, -0.66), (0.025, -0.35), (0, 0)), rgb("#2f9a44"), 0.045)
    for side in (-1, 1):
        leaf = curve((0.01, -0.1), (side * 0.14, -0.28), (side * 0.34, -0.34), (side * 0.2, -0.14), closed=True)
        brush.fill(leaf, rgb("#3cb455") if side < 0 else rgb("#258a40"))
    for i in range(8):
        with brush.at(0, -0.66, turn=45 * i):
            brush.shade(oval(0, -0.21, 0.105, 0.15), (0, -0.36), (0, -0.05), [coat.light, coat.main, coat.dark])
    brush.fill(oval(0, -0.66, 0.125), coat.dark)
    brush.ball(0, -0.66, 0.105, rgb("#ffe9a8"), rgb("#e89a28"))


def mushroom(brush: Brush, coat: Coat, lamps: bool) -> None:
    """A domed cap with white spots on a pale stem."""
    stem = symmetric((0.13, -0.5), (0.12, -0.25), (0.19, 0))
    brush.shade(stem, (-0.17, 0), (0.17, 0), [rgb("#fffaf0"), rgb("#f3e6d0"), rgb("#b9a48c")])
    cap = symmetric((0, -1), (0.24, -0.94), (0.46, -0.72), (0.54, -0.4), (0, -0.34))
    brush.shade(cap, (-0.4, -0.9), (0.45, -0.4), [coat.light, coat.main, coat.dark], stops=[0, 0.45, 1])
    for x, y, r in (
        (-0.29, -0.58, 0.07),
        (-0.07, -0.78, 0.085),
        (0.2, -0.7, 0.07),
        (0.08, -0.5, 0.06),
        (0.37, -0.52, 0.05),
    ):
        brush.fill(oval(x, y, r, 0.85 * r), rgb("#fffaf0"))


def snowman(brush: Brush, coat: Coat, lamps: bool) -> None:
    """Three balls of snow with hat, scarf and carrot."""
    for y, r in ((-0.24, 0.27), (-0.57, 0.195), (-0.79, 0.14)):
        brush.ball(0, y, r, rgb("#ffffff"), rgb("#a9bedc"))
    for side in (-1, 1):
        brush.stroke(line((side * 0.17, -0.6), (side * 0.42, -0.74), (side * 0.48, -0.83)), rgb("#6a442c"), 0.026)
    brush.fill(box(-0.16, -0.935, 0.16, -0.895, 0.01), INK)
    brush.fill(box(-0.105, -1.06, 0.105, -0.9, 0.015), INK)
    brush.fill(box(-0.105, -0.96, 0.105, -0.92), rgb("#d8303c"))
    brush.stroke(curve((-0.13, -0.69), (0, -0.655), (0.13, -0.69)), rgb("#d8303c"), 0.055)
    brush.stroke(line((0.09, -0.67), (0.11, -0.5)), rgb("#d8303c"), 0.05)
    for x in (-0.05, 0.05):
        brush.fill(oval(x, -0.83, 0.019), INK)
    brush.fill(polygon((-0.01, -0.8), (-0.01, -0.76), (0.13, -0.77)), rgb("#ff8a1e"))
    for y in (-0.58, -0.47, -0.3):
        brush.fill(oval(0, y, 0.02), INK)


def moon(brush: Brush, coat: Coat, lamps: bool) -> None:
    """The full moon, large, with its seas, in a ring of light."""
    brush.glow(0, -0.5, 0.85, rgb("#fff3c4"), 0.85)
    brush.ball(0, -0.5, 0.46, rgb("#fffbe6"), rgb("#d9cda4"), shines=True)
    for x, y, r in SEAS:
        brush.fill(oval(x, y, r), rgb("#b9ab84"), 0.6, shines=True)
        brush.stroke(arc(x, y, r, 20, 130), rgb("#fffdf0"), 0.018, 0.8, shines=True)
