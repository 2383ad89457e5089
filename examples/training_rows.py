"""The first pictures that the model in the box was trained on, drawn again, with the captions of their first visit.

    python examples/training_rows.py FOLDER

made tintype/box/training_rows.webp and training_rows.json: the page of a run shows them.
"""

import json
import sys
from pathlib import Path

from PIL import Image

from tintype.scenes import Vocabulary, caption, draw
from tintype.training.draws import Draw
from tintype.training.pictures import scene_of

ROWS, ACROSS = 24, 6
BOX = Path(__file__).parents[1] / "tintype" / "box"

folder = Path(sys.argv[1])
recipe = json.loads((BOX / "recipe.json").read_text())
vocabulary = Vocabulary(**{name: tuple(values) for name, values in recipe["vocabulary"].items()})
size, seed = recipe["size"], recipe["seed"]
sheet = Image.new("RGB", (ACROSS * size, ROWS // ACROSS * size))
captions = []
for index in range(ROWS):
    scene = scene_of(seed, index, vocabulary)
    captions.append(caption(scene, Draw(seed, 0, index).rng("caption")))
    sheet.paste(Image.fromarray(draw(scene, size)), (index % ACROSS * size, index // ACROSS * size))
sheet.save(folder / "training_rows.webp", lossless=True, method=6)
rows = {"size": size, "across": ACROSS, "first": 0, "of": recipe["pictures"], "captions": captions}
(folder / "training_rows.json").write_text(json.dumps(rows, indent=1) + "\n")
