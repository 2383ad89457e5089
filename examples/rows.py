"""Draw the rows of training that the model in the box ships with: its first 24 scenes, with their first captions.

python examples/rows.py tintype/box/rows
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

from PIL import Image

from tintype.scenes import caption, draw
from tintype.training.draws import Draw
from tintype.training.pictures import scene_of
from tintype.training.recipes import LARGE

COUNT = 24


def main(folder: Path) -> None:
    """Scene, picture and words of each row are functions of the recipe's seed and the row's number alone."""
    folder.mkdir(parents=True, exist_ok=True)
    rows = []
    for number in range(COUNT):
        scene = scene_of(LARGE.seed, number, LARGE.vocabulary)
        words = caption(scene, Draw(LARGE.clip.seed, 0, number).rng("caption"))
        Image.fromarray(draw(scene, LARGE.size)).save(folder / f"{number:02}.webp", lossless=True, method=6)
        rows.append({"caption": words, "scene": scene.to_dict()})
    text = json.dumps({"seed": LARGE.seed, "rows": rows}, indent=1)
    (folder / "rows.json").write_text(text + "\n", encoding="utf-8")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
