"""Does CLIP need large batches? Retrieval after the same number of pictures, in batches of 4 to 256.

    nice -n 10 python -m benchmarks.claims.batch_size

The learning rate is chosen for each batch size on a seed and scenes of their own; other seeds are reported.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import torch

from benchmarks.claims.ground import NEVER, Results, afresh, arguments, ground, print_table, seconds_of, unseen
from tintype.evaluation.contrast import image_features, text_features
from tintype.evaluation.examined import BothTowers
from tintype.evaluation.intervals import wilson
from tintype.evaluation.teaching import drawn
from tintype.models import CLIP
from tintype.scenes import Scene, complete
from tintype.training import Chain
from tintype.training.measures import found_among

BATCHES = (4, 16, 64, 256)
RATES = (1e-3, 2e-3)
SEEN = 8_192
POOL = 256


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
    clip = training.task.model
    assert isinstance(clip, CLIP)
    return BothTowers(clip.eval(), chain.tokenizer()), seconds


@torch.no_grad()
def retrieved(towers: BothTowers, scenes: list[Scene], pixels: torch.Tensor) -> int:
    """How many pictures find their own caption first, among all of them."""
    image = torch.cat([image_features(towers, part) for part in pixels.split(64)])
    captions = [complete(scene) for scene in scenes]
    return sum(found_among(image @ text_features(towers, captions).T, captions))


def measure(chain: Chain, results: Results, pictures: int, seeds: int) -> None:
    """A row for each training."""
    choosing, reporting = ((scenes, drawn(scenes, chain.recipe.size)) for scenes in (unseen(POOL, 1), unseen(POOL)))

    def found_by(batch: int, lr: float, seed: int) -> int:
        key = f"batch={batch} lr={lr:g} seed={seed}"
        if key not in results.rows:
            towers, seconds = trained(chain, batch, lr, seed, pictures)
            found = retrieved(towers, *(reporting if seed else choosing))
            row = {"batch": batch, "lr": lr, "seed": seed, "pictures": pictures}
            results.add(key, row | {"found": found, "seconds": round(seconds, 1)})
        return results.rows[key]["found"]

    for batch in BATCHES:
        best = max(RATES, key=lambda lr, batch=batch: found_by(batch, lr, 0))
        for seed in range(1, seeds + 1):
            found_by(batch, best, seed)


def reported(results: Results) -> dict[int, list[int]]:
    """Of each batch size, what each seed that is reported found."""
    return {
        batch: [row["found"] for row in results.rows.values() if row["batch"] == batch and row["seed"]]
        for batch in BATCHES
    }


def show(results: Results) -> None:
    """The table."""
    rows = []
    for batch, found in reported(results).items():
        own = [row for row in results.rows.values() if row["batch"] == batch and row["seed"]]
        low, high = wilson(sum(found), POOL * len(found))
        rows.append(
            (
                batch,
                f"{own[0]['lr']:g}",
                own[0]["pictures"] // batch,
                f"{sum(found) / POOL / len(found):.1%} ({low:.1%} to {high:.1%})",
                ", ".join(f"{each / POOL:.1%}" for each in found),
                f"{sum(row['seconds'] for row in own) / len(own):.0f}",
            )
        )
    print_table(("batch", "lr", "updates", f"first among {POOL}", "each seed", "processor seconds"), rows)


def plot(results: Results, path: Path) -> None:
    """Retrieval against the batch size."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(5, 3), layout="constrained")
    axes = figure.subplots()
    found = reported(results)
    middle = [100 * sum(each) / POOL / len(each) for each in found.values()]
    ends = [wilson(sum(each), POOL * len(each)) for each in found.values()]
    below, above = zip(
        *((m - 100 * low, 100 * high - m) for m, (low, high) in zip(middle, ends, strict=True)), strict=True
    )
    axes.errorbar(BATCHES, middle, (below, above), marker="o", capsize=3, color="#3465a4", label="mean, 95 % interval")
    axes.axhline(100 / POOL, color="#888888", linestyle=":", label="chance")
    axes.set_xscale("log", base=2)
    axes.set_xticks(BATCHES, [str(batch) for batch in BATCHES])
    axes.set_ylim(0)
    axes.set_xlabel("batch size")
    axes.set_ylabel(f"own caption first among {POOL}, %")
    axes.legend(frameon=False)
    axes.spines[["top", "right"]].set_visible(False)
    figure.savefig(path, dpi=100)


def main() -> None:
    asked = arguments("batch-size", __doc__)
    results = Results(asked.output)
    measure(ground(asked.folder), results, int(SEEN * asked.length), asked.seeds)
    show(results)
    plot(results, asked.plot)


if __name__ == "__main__":
    main()
