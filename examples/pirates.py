"""The beach, and a pirate ship drawn onto it: picture to picture, and inpainting, side by side.

python examples/pirates.py docs/pictures/pirates.png
"""

from __future__ import annotations

import sys

from PIL import Image

import tintype

SHIP = "a red pirate ship on a cosmic beach"
MARGIN = 12


def main(path: str) -> None:
    """Draw a beach, alter all of it, and repaint a part of it; put the three in a row."""
    sd = tintype.load()
    beach = sd.text2img("paradise cosmic beach", seed=0).images[0]
    altered = sd.img2img(beach, SHIP, strength=0.75, seed=0).images[0]
    mask = Image.new("L", beach.size, 0)
    mask.paste(255, (0, 48, beach.width, 224))
    repainted = sd.inpaint(beach, mask, SHIP, seed=1).images[0]

    side = beach.width
    row = Image.new("RGB", (3 * (side + MARGIN) - MARGIN, side), "#ffffff")
    for i, picture in enumerate((beach, altered, repainted)):
        row.paste(picture, (i * (side + MARGIN), 0))
    row.save(path, optimize=True)


if __name__ == "__main__":
    main(sys.argv[1])
