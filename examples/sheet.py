"""Draw the sheet of the README: prompts in order, seeds 0, 1, 2 ... in order, nothing selected.

python examples/sheet.py docs/pictures/sheet.png
"""

from __future__ import annotations

import sys
import textwrap

from PIL import Image, ImageDraw, ImageFont

import tintype

PROMPTS = [
    "paradise cosmic beach",
    "a red pirate ship on a beach at sunset",
    "a blue house in the forest in the snow",
    "a yellow hot-air balloon over the mountains by day",
    "a purple castle in the city at night",
    "a green lighthouse on the sea in the rain",
    "an orange pyramid on the right of the desert",
    "a rainbow over the sea at sunrise",
]
COLUMNS, MARGIN, CAPTION = 4, 12, 44
ZOOM = 2
INK, PAPER = "#222222", "#ffffff"


def main(path: str) -> None:
    """Draw every prompt with the seed of its number and put the pictures, with their words, on one sheet."""
    sd = tintype.load()
    pictures = [sd.text2img(prompt, seed=seed).images[0] for seed, prompt in enumerate(PROMPTS)]
    side = ZOOM * pictures[0].width
    cell = (side + MARGIN, side + CAPTION + MARGIN)
    rows = -(-len(pictures) // COLUMNS)
    sheet = Image.new("RGB", (COLUMNS * cell[0] + MARGIN, rows * cell[1] + MARGIN), PAPER)
    pen, font = ImageDraw.Draw(sheet), ImageFont.load_default(14)
    for i, (prompt, picture) in enumerate(zip(PROMPTS, pictures, strict=True)):
        x, y = (i % COLUMNS) * cell[0] + MARGIN, (i // COLUMNS) * cell[1] + MARGIN
        sheet.paste(picture.resize((side, side), Image.Resampling.BICUBIC), (x, y))
        pen.text((x, y + side + 5), "\n".join(textwrap.wrap(prompt, 36)), fill=INK, font=font, spacing=2)
    sheet.save(path, optimize=True)


if __name__ == "__main__":
    main(sys.argv[1])
