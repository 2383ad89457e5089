"""Does CLIP need large batches? Retrieval after the same number of pictures, in batches of 8 to 512.

    nice -n 10 python -m benchmarks.claims.batch_size --output benchmarks/results/claims-batch-size.json

The learning rate is chosen for each batch size on a seed and scenes of their own; three other seeds are reported.
"""

from __future__ import annotations

from dataclasses import replace

import torch

from benchmarks.claims.ground import NEVER, Results, afresh, arguments, ground, seconds_of, unseen
from tintype.evaluation.contrast import image_features, text_features
from tintype.evaluation.examined import BothTowers
from tintype.evaluation.teaching import drawn
from tintype.scenes import Scene, complete
from tintype.training import Chain
from tintype.training.measures import found_among

BATCHES = (8, 32, 128, 512)
RATES = (2.5e-4, 5e-4, 1e-3, 2e-3)
SEEN = 32_768
POOLS = (256, 1024)
SEEDS = (1, 2, 3)


def trained(chain: Chain, batch: int, lr: float, seed: int, pictures: int) -> tuple[BothTowers, float]:
    """CLIP after so many pictures, and the processor's seconds."""
    recipe = replace(
        chain.recipe.clip,
        pictures=pictures,
        batch_size=batch,
        lr=lr,
        seed=seed,
        warmup=pictures // 16,
        cooldown=pictures // 4,
        save_every=NEVER,
    )
    afresh(chain.folder / "clip")
    training = chain.clip_training(recipe)
    seconds = seconds_of(training)
    return BothTowers(training.task.model.eval(), chain.tokenizer()), seconds


@torch.no_grad()
def retrieval(towers: BothTowers, scenes: list[Scene], pixels: torch.Tensor) -> dict[str, int]:
    """How many pictures find their own caption first, among so many."""
    image = torch.cat([image_features(towers, part) for part in pixels.split(64)])
    captions = [complete(scene) for scene in scenes]
    text = text_features(towers, captions)
    return {
        str(pool): sum(found_among(image[:pool] @ text[:pool].T, captions[:pool]))
        for pool in POOLS
        if pool <= len(scenes)
    }


def main() -> None:
    asked = arguments(__doc__)
    pictures, results = int(SEEN * asked.length), Results(asked.output)
    chain = ground(asked.folder)
    choosing, reporting = (
        (scenes, drawn(scenes, chain.recipe.size)) for scenes in (unseen(256, series=1), unseen(1024))
    )
    for batch in BATCHES:
        for lr in RATES:
            key = f"choosing batch={batch} lr={lr:g}"
            if key not in results.rows:
                towers, seconds = trained(chain, batch, lr, 0, pictures)
                found = retrieval(towers, *choosing)
                results.add(key, {"batch": batch, "lr": lr, "found": found, "seconds": round(seconds, 1)})
        lr = max(RATES, key=lambda rate: results.rows[f"choosing batch={batch} lr={rate:g}"]["found"]["256"])
        for seed in SEEDS:
            key = f"batch={batch} seed={seed}"
            if key not in results.rows:
                towers, seconds = trained(chain, batch, lr, seed, pictures)
                found = retrieval(towers, *reporting)
                row = {"batch": batch, "lr": lr, "seed": seed, "pictures": pictures, "found": found}
                results.add(key, row | {"seconds": round(seconds, 1)})


if __name__ == "__main__":
    main()
