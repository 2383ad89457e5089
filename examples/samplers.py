"""Draw the sheets of docs/samplers.md: one prompt, one seed, by sampler and number of steps, and by spacing.

python examples/samplers.py docs/pictures
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

from PIL import Image, ImageDraw, ImageFont

import tintype
from tintype.diffusion import SAMPLERS

PROMPT, SEED = "a red pirate ship on a beach at sunset", 1
STEPS = (2, 4, 8, 16, 32)
SPACINGS = ("leading", "trailing", "linspace", "sgm_uniform", "simple", "karras", "exponential", "beta", "ays")
SIDE, LABEL, HEAD, GAP = 128, 130, 26, 6  # pictures are shown at half their size
INK, PAPER = "#222222", "#ffffff"


def main(folder: Path) -> None:
    """Draw both sheets into a folder; LCM is left out, since the box is no consistency model."""
    sd = tintype.load()

    def draw(steps: int, **how: str) -> Image.Image:
        return sd.text2img(PROMPT, seed=SEED, steps=steps, **how).images[0]

    names = [name for name in SAMPLERS if name != "lcm"]
    by_sampler = [[draw(steps, sampler=name, spacing="trailing") for steps in STEPS] for name in names]
    save(folder / "samplers.png", names, by_sampler)
    by_spacing = [[draw(steps, sampler="dpmpp_2m", spacing=name) for steps in STEPS] for name in SPACINGS]
    save(folder / "spacings.png", SPACINGS, by_spacing)


def save(path: Path, names: Sequence[str], rows: Sequence[Sequence[Image.Image]]) -> None:
    """Rows of pictures with their names, columns with their numbers of steps."""
    size = (LABEL + len(STEPS) * (SIDE + GAP), HEAD + len(rows) * (SIDE + GAP))
    sheet = Image.new("RGB", size, PAPER)
    pen, font = ImageDraw.Draw(sheet), ImageFont.load_default(15)
    for column, steps in enumerate(STEPS):
        pen.text((LABEL + column * (SIDE + GAP), 4), f"{steps} steps", fill=INK, font=font)
    for row, (name, pictures) in enumerate(zip(names, rows, strict=True)):
        y = HEAD + row * (SIDE + GAP)
        pen.text((8, y + SIDE // 2 - 8), name, fill=INK, font=font)
        for column, picture in enumerate(pictures):
            sheet.paste(picture.resize((SIDE, SIDE), Image.Resampling.LANCZOS), (LABEL + column * (SIDE + GAP), y))
    sheet.quantize(192, method=Image.Quantize.MEDIANCUT).save(path, optimize=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
