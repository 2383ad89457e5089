"""Draw the sheet of the README: 48 prompts in order, seeds 0 to 47 in order, nothing selected.

python examples/sheet.py docs/pictures/sheet.jpg
"""

from __future__ import annotations

import sys
import textwrap

from PIL import Image, ImageDraw, ImageFont

import tintype

PROMPTS = """
paradise cosmic beach
a red pirate ship on a beach at sunset
a blue house in the forest in the snow
a yellow hot-air balloon over the mountains by day
a purple castle in the city at night
a green lighthouse on the sea in the rain
an orange pyramid on the right of the desert
a rainbow over the sea at sunrise
a cat with pointy ears in the forest
a palm on the left of the beach
a blue house in the mountains
a red house in the forest at midnight
a pirate ship on the sea under the stars
planets over the desert at night
snow in the forest
rain over the city at night
a yellow house in the mountains at night
a purple hot-air balloon on the left
a lighthouse on a beach at sunrise
an emerald palm on a beach
a castle in the mountains in the snow
a blue pirate ship on the sea at dusk
a rocket in the desert under the stars
a green house in the middle of the forest
a pyramid at sunset
a red lighthouse on the left of the sea
a castle at night under the stars
a cloudy day in the mountains
an orange castle in the forest
a cosmic sky over the mountains
a sailing boat on the sea by day
a yellow house in the city in the rain
the desert at sunrise
a blue hot-air balloon over the city
a rainbow over the city
a spaceship over the desert
a purple pyramid in the desert at night
the forest at sunrise
a red boat on the right of the sea
a red hot-air balloon over the sea
a scarlet castle on the left of the forest
the city by day, clear sky
a lemon hot-air balloon over the desert
a green pyramid under a cosmic sky
the sea at sunset
a cat in the snow
a lighthouse in the rain
a pirate ship in the snow
""".strip().splitlines()
COLUMNS, MARGIN, CAPTION = 8, 14, 56
INK, PAPER = "#222222", "#ffffff"


def main(path: str) -> None:
    """Draw every prompt with the seed of its number and put the pictures, with their words, on one sheet."""
    sd = tintype.load()
    pictures = [sd.text2img(prompt, seed=seed).images[0] for seed, prompt in enumerate(PROMPTS)]
    side = pictures[0].width
    cell = (side + MARGIN, side + CAPTION + MARGIN)
    rows = -(-len(pictures) // COLUMNS)
    sheet = Image.new("RGB", (COLUMNS * cell[0] + MARGIN, rows * cell[1] + MARGIN), PAPER)
    pen, font = ImageDraw.Draw(sheet), ImageFont.load_default(18)
    for i, (prompt, picture) in enumerate(zip(PROMPTS, pictures, strict=True)):
        x, y = (i % COLUMNS) * cell[0] + MARGIN, (i // COLUMNS) * cell[1] + MARGIN
        sheet.paste(picture, (x, y))
        pen.text((x, y + side + 5), "\n".join(textwrap.wrap(prompt, 28)), fill=INK, font=font, spacing=2)
    sheet.save(path, quality=90, optimize=True)


if __name__ == "__main__":
    main(sys.argv[1])
