"""Subjects with a face: each stands on y = 0 and is one unit high."""

from tintype.scenes.brush import Brush, box, curve, line, oval, polygon, symmetric
from tintype.scenes.colours import INK, WHITE, WOOD, Coat, mix, rgb


def bird(brush: Brush, coat: Coat, lamps: bool) -> None:
    """A round songbird on two thin legs, looking right."""
    for x in (-0.04, 0.1):
        brush.stroke(line((x, -0.2), (x + 0.02, 0), (x + 0.09, 0)), WOOD, 0.028)
    tail = polygon((-0.3, -0.5), (-0.74, -0.44), (-0.7, -0.3), (-0.28, -0.26))
    brush.fill(tail, coat.dark)
    body = curve(
        (0.22, -0.96),
        (0.4, -0.84),
        (0.4, -0.55),
        (0.26, -0.26),
        (0, -0.14),
        (-0.24, -0.2),
        (-0.36, -0.42),
        (-0.12, -0.6),
        (0.02, -0.84),
        closed=True,
    )
    brush.shade(body, (0, -0.96), (0, -0.14), [coat.light, coat.main])
    with brush.inside(body):
        brush.fill(oval(0.26, -0.32, 0.2, 0.26), rgb("#fff2dc"), 0.95)
    wing = curve((0.1, -0.58), (-0.1, -0.6), (-0.5, -0.38), (-0.1, -0.26), (0.1, -0.38), closed=True)
    brush.fill(wing, mix(coat.dark, coat.main, 0.3))
    brush.fill(polygon((0.39, -0.8), (0.58, -0.73), (0.39, -0.67)), rgb("#ffb020"))
    brush.fill(oval(0.25, -0.79, 0.045), WHITE)
    brush.fill(oval(0.26, -0.79, 0.028), INK)


def cat(brush: Brush, coat: Coat, lamps: bool) -> None:
    """A sitting cat with pointy ears, whiskers and a curled tail."""
    brush.stroke(curve((0.2, -0.06), (0.44, -0.08), (0.5, -0.26), (0.4, -0.4)), coat.dark, 0.09)
    body = symmetric((0, -0.66), (0.2, -0.48), (0.3, -0.2), (0.25, 0))
    brush.shade(body, (-0.3, 0), (0.3, 0), [coat.light, coat.main, coat.dark], stops=[0, 0.45, 1])
    brush.fill(oval(0, -0.3, 0.13, 0.21), mix(coat.main, WHITE, 0.72))
    for x in (-0.11, 0.11):
        brush.fill(oval(x, -0.035, 0.1, 0.055), mix(coat.main, WHITE, 0.5))
    for side in (-1, 1):
        brush.fill(polygon((side * 0.3, -1.03), (side * 0.31, -0.66), (side * 0.04, -0.82)), coat.main)
        brush.fill(polygon((side * 0.265, -0.94), (side * 0.265, -0.75), (side * 0.12, -0.83)), rgb("#ffb3b8"))
    head = symmetric((0, -0.88), (0.24, -0.83), (0.33, -0.66), (0.2, -0.5), (0, -0.46))
    brush.shade(head, (0, -0.9), (0, -0.46), [coat.light, coat.main])
    for side in (-1, 1):
        brush.fill(oval(side * 0.135, -0.68, 0.066, 0.062), rgb("#f4ffc8"), shines=True)
        brush.fill(oval(side * 0.135, -0.68, 0.026, 0.056), INK)
        for dy in (-0.03, 0.02):
            brush.stroke(line((side * 0.12, -0.575 + dy * 0.4), (side * 0.42, -0.585 + dy)), rgb("#fffaf0"), 0.01, 0.9)
    brush.fill(polygon((-0.035, -0.615), (0.035, -0.615), (0, -0.575)), rgb("#ff7f8e"))


def camel(brush: Brush, coat: Coat, lamps: bool) -> None:
    """A dromedary with a saddle cloth, looking right."""
    fur, shade = rgb("#d9a066"), rgb("#a86f3e")
    for x, colour in ((-0.36, shade), (0.18, shade), (-0.27, fur), (0.27, fur)):
        brush.stroke(line((x, -0.4), (x + 0.01, -0.2), (x, -0.02)), colour, 0.06)
    brush.stroke(curve((-0.42, -0.56), (-0.52, -0.42), (-0.5, -0.3)), shade, 0.03)
    body = curve(
        (-0.45, -0.52),
        (-0.25, -0.66),
        (-0.04, -0.9),
        (0.15, -0.66),
        (0.34, -0.54),
        (0.3, -0.38),
        (0, -0.32),
        (-0.38, -0.36),
        closed=True,
    )
    brush.shade(body, (0, -0.9), (0, -0.32), [mix(fur, WHITE, 0.25), shade])
    brush.stroke(curve((0.26, -0.46), (0.44, -0.5), (0.47, -0.72), (0.48, -0.88)), fur, 0.1)
    brush.fill(
        curve((0.42, -0.98), (0.56, -0.97), (0.7, -0.88), (0.68, -0.82), (0.5, -0.84), (0.42, -0.88), closed=True), fur
    )
    brush.fill(polygon((0.43, -0.96), (0.4, -1.04), (0.47, -0.98)), shade)
    brush.fill(oval(0.55, -0.92, 0.018), INK)
    with brush.inside(body):
        brush.fill(box(-0.16, -0.95, 0.1, -0.44), rgb("#c83a48"))
        for y in (-0.74, -0.52):
            brush.fill(box(-0.16, y, 0.1, y + 0.05), rgb("#ffd65c"))
