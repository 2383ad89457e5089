"""The same compute in pixels and in latents: how near are the pictures to drawn ones?

    nice -n 10 python -m benchmarks.claims.pixels_or_latents

Two noise predictors of about as many parameters, without text, one on 32x32 pixels and one on 8x8 latents. Compute is
floating-point operations of training, counted and not timed; the latents' arm is measured without and with what its
autoencoder cost. The distance is the kernel distance (arXiv 1801.01401) in the features of the judge, which has no
part in training; its estimate has no bias, so that few pictures are enough, and it can be below 0.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from benchmarks.claims.ground import (
    NEVER,
    Results,
    afresh,
    arguments,
    ground,
    pictures_by,
    print_table,
    seconds_of,
    unseen,
)
from tintype.evaluation.intervals import Interval, jackknife
from tintype.evaluation.reader import judge_features, load_judge
from tintype.evaluation.teaching import drawn
from tintype.models import UNetConfig
from tintype.training import Chain
from tintype.training.draws import visits
from tintype.training.loop import Training
from tintype.training.recipes import DenoiserRecipe

AUTOENCODER_SEEN = 4_096
COMPUTE = 1_600.0
"""Billions of floating-point operations of a whole training."""

PARTS = (0.25, 0.5, 1.0)
"""Of the compute, after which pictures are drawn."""

SCENES, PICTURES, STEPS = 512, 128, 15

PIXELS = UNetConfig(
    channels=(16, 32, 64), layers_per_block=1, transformer_depth=(0, 0, 0), num_heads=(1, 1, 2), norm_groups=8
)
LATENTS = UNetConfig(channels=(40, 56), layers_per_block=1, transformer_depth=(0, 0), num_heads=(1, 2), norm_groups=8)


def operations(training: Training) -> float:
    """Billions, of one picture: forward and backward."""
    task, recipe = training.task, training.recipe
    batch = task.batch(visits(recipe.seed, task.num_pictures, 0, recipe.batch_size))
    with FlopCounterMode(display=False) as counter:
        task.loss(batch)[0].backward()
    task.model.zero_grad()
    return counter.get_total_flops() / recipe.batch_size / 1e9


def kernel_distance(a: Tensor, b: Tensor) -> float:
    """The squared MMD of two crowds of features, (n d) and (m d), without bias; kernel (x y / d + 1)^3."""
    a, b = a.double(), b.double()

    def kernel(x: Tensor, y: Tensor) -> Tensor:
        return (x @ y.T / x.shape[1] + 1) ** 3

    def among(x: Tensor) -> float:
        inner, n = kernel(x, x), len(x)
        return float((inner.sum() - inner.diagonal().sum()) / (n * (n - 1)))

    return among(a) + among(b) - 2 * float(kernel(a, b).mean())


def with_interval(sample: Tensor, reference: Tensor) -> tuple[float, Interval]:
    """The distance, and how far it might be for another sample (leaving out tenths)."""
    value, group = kernel_distance(sample, reference), torch.arange(len(sample)) % 10
    return value, jackknife(value, [kernel_distance(sample[group != g], reference) for g in range(10)])


def pictures_of(chain: Chain, training: Training, recipe: DenoiserRecipe) -> Tensor:
    """What a training in work draws, with its averaged weights: (n 3 H W), always from the same seeds."""
    training.save()
    own = Chain(replace(chain.recipe, denoiser=recipe), chain.folder)
    return pictures_by(own, [""] * PICTURES, STEPS, scale=1.0)


def follow(
    chain: Chain, recipe: DenoiserRecipe, marks: dict[str, float], measured: Callable[[Tensor], dict[str, object]]
) -> dict[str, dict[str, object]]:
    """Train, and measure the pictures when each of the ``marks``, billions of operations, is reached."""
    afresh(chain.folder / "denoiser")
    each = operations(chain.denoiser_training(recipe))
    batch = recipe.batch_size
    stops = {name: max(1, math.floor(mark / each / batch)) * batch for name, mark in marks.items()}
    afresh(chain.folder / "denoiser")
    training = chain.denoiser_training(replace(recipe, pictures=max(stops.values())))
    started, seconds, found = time.process_time(), 0.0, {}
    for progress in training:
        reached = [name for name, stop in stops.items() if stop == progress.seen]
        if reached:
            seconds += time.process_time() - started
            row = measured(pictures_of(chain, training, recipe))
            row |= {"pictures": progress.seen, "seconds": round(seconds, 1)}
            row |= {"parameters": sum(p.numel() for p in training.task.model.parameters())}
            found |= dict.fromkeys(reached, row)
            started = time.process_time()
    return found


def train_autoencoder(chain: Chain, length: float) -> dict[str, object]:
    """The first stage of the latents' arm, and what it cost."""
    pictures = int(AUTOENCODER_SEEN * length)
    recipe = replace(chain.recipe.autoencoder, pictures=pictures, cooldown=pictures // 3, save_every=NEVER)
    each = operations(chain.autoencoder_training(recipe))
    afresh(chain.folder / "autoencoder")
    seconds = seconds_of(chain.autoencoder_training(recipe))
    afresh(chain.folder / "latents")
    list(chain.cache_latents())
    return {"compute": each * pictures, "seconds": round(seconds, 1), "pictures": pictures}


def measure(chain: Chain, results: Results, length: float, seeds: int) -> None:
    """A row for each arm, seed and mark."""
    judge, scenes = load_judge(), unseen(SCENES + PICTURES)
    features = judge_features(judge, drawn(scenes, chain.recipe.size))
    unit = features[:SCENES].square().mean().sqrt()
    reference = features[:SCENES] / unit

    def measured(pixels: Tensor) -> dict[str, object]:
        value, (low, high) = with_interval(judge_features(judge, pixels) / unit, reference)
        return {"distance": round(value, 4), "low": round(low, 4), "high": round(high, 4)}

    if "autoencoder" not in results.rows:
        results.add("autoencoder", train_autoencoder(chain, length))
    pixels = drawn(scenes[SCENES:], chain.recipe.size)
    results.add("drawn", measured(pixels))
    with torch.no_grad():
        model = chain.autoencoder().eval()
        results.add("drawn, through the autoencoder", measured(model.decode(model.encode(pixels).mean).clamp(-1, 1)))
    whole, paid = COMPUTE * length, results.rows["autoencoder"]["compute"]
    base = replace(
        chain.recipe.denoiser, text=False, batch_size=16, prediction="v", cooldown=0, save_every=NEVER, ema=0.99
    )
    for seed in range(seeds):
        for name, dials in (("latents", {"unet": LATENTS}), ("pixels", {"unet": PIXELS, "pixels": True})):
            if f"{name}, 1, seed {seed}" in results.rows:
                continue
            marks = {f"{part:g}": part * whole for part in PARTS}
            if name == "latents" and whole > paid:
                marks["with its autoencoder"] = whole - paid
            found = follow(chain, replace(base, seed=seed, **dials), marks, measured)
            for mark, row in found.items():
                compute = marks[mark] + (paid if mark == "with its autoencoder" else 0)
                results.add(f"{name}, {mark}, seed {seed}", {"arm": name, "compute": round(compute, 1)} | row)


def show(results: Results) -> None:
    """The table."""
    rows = []
    for key, row in results.rows.items():
        if key == "autoencoder":
            continue
        cells = (
            [f"{row['compute']:.0f}", row["pictures"], row["parameters"], row["seconds"]] if "arm" in row else [""] * 4
        )
        rows.append((key, *cells, f"{row['distance']:.2f} ({row['low']:.2f} to {row['high']:.2f})"))
    print_table(
        ("arm, part", "10^9 operations", "pictures", "parameters", "processor seconds", "kernel distance"), rows
    )
    spent = results.rows["autoencoder"]
    print(f"\nThe autoencoder: {spent['compute']:.0f} billions, {spent['seconds']} s, {spent['pictures']} crops.")


def plot(results: Results, path: Path) -> None:
    """The distance against the compute, a line for each arm and seed."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(5, 3), layout="constrained")
    axes = figure.subplots()
    colours = {"pixels": "#a40000", "latents": "#3465a4"}
    for arm, colour in colours.items():
        of_arm = [(key, row) for key, row in results.rows.items() if row.get("arm") == arm and "with" not in key]
        for seed in sorted({key.rsplit(" ", 1)[1] for key, _ in of_arm}):
            rows = [row for key, row in of_arm if key.endswith(f"seed {seed}")]
            ends = np.array([(row["distance"] - row["low"], row["high"] - row["distance"]) for row in rows]).T
            axes.errorbar(
                [row["compute"] for row in rows],
                [row["distance"] for row in rows],
                ends,
                marker="o",
                capsize=3,
                color=colour,
                label=arm if seed == "0" else None,
            )
    paid = [row for key, row in results.rows.items() if "with its autoencoder" in key]
    if paid:
        axes.scatter(
            [row["compute"] for row in paid],
            [row["distance"] for row in paid],
            marker="s",
            facecolors="none",
            edgecolors=colours["latents"],
            label="latents, autoencoder paid too",
            zorder=3,
        )
    axes.axhline(results.rows["drawn"]["distance"], color="#888888", linestyle=":", label="drawn scenes")
    axes.set_xlabel("billions of operations of training")
    axes.set_ylabel("kernel distance")
    axes.legend(frameon=False, fontsize=8)
    axes.spines[["top", "right"]].set_visible(False)
    figure.savefig(path, dpi=100)


def main() -> None:
    asked = arguments("pixels-or-latents", __doc__)
    results = Results(asked.output)
    measure(ground(asked.folder), results, asked.length, asked.seeds)
    show(results)
    plot(results, asked.plot)


if __name__ == "__main__":
    main()
