"""Thirty icons with captions: a manner that the model in the box has never seen. White on one colour, flat, round.

python examples/icons.py icons
"""

from __future__ import annotations

import sys
from pathlib import Path

from PIL import Image, ImageDraw

SIZE, SCALE, SIDE = 128, 4, 256  # drawn on 128x128 units of 4 pixels, then shrunk: soft edges
WORD = "icon of"
COLOURS = {
    "red": "#d64545",
    "orange": "#e58a2b",
    "yellow": "#e3bb2f",
    "green": "#3d9a55",
    "blue": "#3a6fc4",
    "purple": "#8351b5",
}


def polygon(pen, *points):
    pen.polygon([(x * SCALE, y * SCALE) for x, y in points], fill="white")


def disc(pen, x, y, r, fill="white"):
    pen.ellipse([(x - r) * SCALE, (y - r) * SCALE, (x + r) * SCALE, (y + r) * SCALE], fill=fill)


def box(pen, left, top, right, bottom, fill="white"):
    pen.rectangle([left * SCALE, top * SCALE, right * SCALE, bottom * SCALE], fill=fill)


def house(pen, ground):
    polygon(pen, (64, 28), (102, 62), (26, 62))
    box(pen, 36, 62, 92, 98)
    box(pen, 57, 74, 71, 98, ground)


def sailing_boat(pen, ground):
    polygon(pen, (61, 24), (61, 74), (30, 74))
    polygon(pen, (67, 34), (67, 74), (94, 74))
    polygon(pen, (26, 80), (102, 80), (88, 100), (40, 100))


def pyramid(pen, ground):
    polygon(pen, (64, 28), (106, 98), (22, 98))
    polygon(pen, (64, 28), (68, 28), (78, 98), (74, 98))
    pen.line([64 * SCALE, 28 * SCALE, 76 * SCALE, 98 * SCALE], fill=ground, width=3 * SCALE)


def rocket(pen, ground):
    polygon(pen, (64, 18), (78, 44), (78, 84), (50, 84), (50, 44))
    polygon(pen, (50, 62), (50, 90), (36, 98))
    polygon(pen, (78, 62), (78, 90), (92, 98))
    disc(pen, 64, 50, 7, ground)
    polygon(pen, (56, 90), (72, 90), (64, 110))


def balloon(pen, ground):
    disc(pen, 64, 50, 32)
    polygon(pen, (36, 64), (92, 64), (72, 90), (56, 90))
    box(pen, 55, 94, 73, 108)


def castle(pen, ground):
    box(pen, 28, 54, 100, 100)
    for x in (28, 54, 80):
        box(pen, x, 40, x + 20, 60)
    for x in (28, 54, 80):
        box(pen, x + 7, 40, x + 13, 46, ground)
    box(pen, 55, 76, 73, 100, ground)


DRAWN = {
    "house": house,
    "sailing boat": sailing_boat,
    "pyramid": pyramid,
    "rocket": rocket,
    "hot-air balloon": balloon,
}
UNSEEN = {"castle": castle}  # never drawn for training: the manner is to carry over to it


def icon(draw, colour: str) -> Image.Image:
    """One icon: a white shape on a disc of one colour, on white."""
    image = Image.new("RGB", (SIZE * SCALE, SIZE * SCALE), "white")
    pen = ImageDraw.Draw(image)
    pen.rounded_rectangle([6 * SCALE] * 2 + [(SIZE - 6) * SCALE] * 2, radius=28 * SCALE, fill=COLOURS[colour])
    draw(pen, COLOURS[colour])
    return image.resize((SIDE, SIDE), Image.Resampling.LANCZOS)


def main(folder: str) -> None:
    """Write 5 shapes in 6 colours, each with its words in a file beside it."""
    target = Path(folder)
    target.mkdir(parents=True, exist_ok=True)
    for name, draw in DRAWN.items():
        for colour in COLOURS:
            stem = f"{colour}-{name.replace(' ', '-')}"
            icon(draw, colour).save(target / f"{stem}.png")
            article = "an" if colour[0] in "aeiou" else "a"
            (target / f"{stem}.txt").write_text(f"{WORD} {article} {colour} {name}\n")


if __name__ == "__main__":
    main(sys.argv[1])
