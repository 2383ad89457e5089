"""Before and after: what the model in the box draws for words in a manner that a LoRA has taught it.

python examples/icons.py icons
tintype train lora box data=icons rank=16 lr=2e-3 pictures=4800 warmup=80 cooldown=1600
python examples/taught.py runs/icons-lora/lora.safetensors docs/pictures/lora.png
"""

from __future__ import annotations

import sys
import textwrap

from PIL import Image, ImageDraw, ImageFont

import tintype

PROMPTS = ["icon of a red house", "icon of a blue rocket", "icon of a green sailing boat", "icon of a purple castle"]
WITHOUT = "a red house on the beach"
ROWS = {0.0: "before", 1.0: "with the LoRA"}
MARGIN, CAPTION, LABEL = 12, 40, 20


def main(lora: str, path: str) -> None:
    """The same words and seeds without and with the LoRA; the last shape was not among what it learnt from."""
    sd = tintype.load()
    drawn = {}
    for strength in ROWS:
        loras = [(lora, strength)] if strength else []
        drawn[strength] = [
            sd.text2img(prompt, seed=seed, loras=loras).images[0] for seed, prompt in enumerate([*PROMPTS, WITHOUT])
        ]
    side = drawn[0.0][0].width
    row_height = LABEL + side + MARGIN
    width = (side + MARGIN) * len(drawn[0.0]) + MARGIN
    sheet = Image.new("RGB", (width, CAPTION + row_height * len(ROWS)), "white")
    pen, font = ImageDraw.Draw(sheet), ImageFont.load_default(13)
    for row, (strength, name) in enumerate(ROWS.items()):
        top = CAPTION + row * row_height
        pen.text((MARGIN, top), name, fill="#3465a4", font=font)
        for column, (prompt, picture) in enumerate(zip([*PROMPTS, WITHOUT], drawn[strength], strict=True)):
            left = MARGIN + column * (side + MARGIN)
            sheet.paste(picture, (left, top + LABEL))
            if row == 0:
                pen.text((left, 4), textwrap.fill(prompt, 20), fill="#222222", font=font, spacing=1)
    sheet.save(path, optimize=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
