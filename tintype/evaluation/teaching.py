"""How the judge is taught: freshly drawn scenes, each seen once, as drawn and in a mirror."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from safetensors.torch import save_file
from torch import Tensor

from tintype.errors import SettingsError
from tintype.evaluation.reader import ATTRIBUTES, NOT_THERE, SIDE, Judge, judge_from, labels_of, read
from tintype.scenes import FULL, SMALL, Scene, Vocabulary, draw, sample
from tintype.training.card import count_parameters
from tintype.training.chain import seeded
from tintype.training.draws import Draw
from tintype.training.loop import Training
from tintype.training.pictures import to_signed
from tintype.training.processes import processes
from tintype.training.recipes import Recipe

UNSEEN_SEED = 2_000_003
"""Scenes that the judge is measured on come from a series of their own."""

SERIES = 65_536
"""Scenes of one epoch; longer trainings draw them anew, so this is only a unit of shuffling."""

MIRRORED = (2, 1, 0)  # left, middle, right

RECIPE = Recipe(
    pictures=16_000,
    batch_size=16,
    lr=2e-3,
    warmup=800,
    cooldown=8_000,
    save_every=2_000,
    precision="fp32",
    clip_norm=5.0,
)
"""What the judge that ships was trained by; about 7 minutes of one core."""


@dataclass(frozen=True)
class Views:
    """Pictures (b 3 128 128) in [-1, 1] and their labels, each attribute (b,)."""

    pixels: Tensor
    labels: dict[str, Tensor]


class JudgeTask:
    """Say what a drawn scene shows, held-out pairs included: the judge must not share a model's blind spots."""

    def __init__(self, judge: Judge) -> None:
        self.model = self.network = judge
        self.num_pictures = SERIES
        self.shapes = None
        self.rival = None

    def batch(self, draws: list[Draw]) -> Views:
        """Every scene drawn, and its mirror image; each a little blurred, noisy, lighter or darker."""
        scenes = [scene_to_read(each) for each in draws]
        pixels = drawn(scenes)
        both = torch.cat([pixels, pixels.flip(-1)])
        rngs = [draw.rng(view) for view in ("view", "mirrored view") for draw in draws]
        views = torch.stack([_worn(each, rng) for each, rng in zip(both, rngs, strict=True)])
        labels = labels_of(scenes)
        return Views(views, {name: torch.cat([known, _mirrored(name, known)]) for name, known in labels.items()})

    def loss(self, batch: Views) -> tuple[Tensor, dict[str, Tensor]]:
        """Cross entropy, summed over attributes; the metrics are the share that was read right."""
        scores = self.model(batch.pixels)
        losses, right = [], {}
        for name, known in batch.labels.items():
            there = known != NOT_THERE
            if there.any():
                losses.append(F.cross_entropy(scores[name][there], known[there], label_smoothing=0.02))
                right[name] = (scores[name][there].argmax(dim=1) == known[there]).float().mean()
        return torch.stack(losses).sum(), right

    def after_step(self) -> None:
        """Nothing to bound."""

    def notice(self) -> None:
        """Nothing to say."""


def judge_training(recipe: Recipe, folder: Path) -> Training:
    """The training of a judge; it continues where the folder was left. SettingsError where batches would be divided."""
    if recipe.accumulate > 1 or not processes().alone:
        raise SettingsError(
            "The judge's loss is a mean over what each batch happens to show, and so its batches are not divided: "
            "expected one process and accumulate=1."
        )
    return Training(JudgeTask(seeded(recipe.seed, Judge)), recipe, folder)


def scene_to_read(visit: Draw) -> Scene:
    """A scene of either vocabulary, with or without held-out pairs; every epoch has its own."""
    rng = visit.rng("scene to read")
    return sample(rng, SMALL if rng.random() < 0.5 else FULL, held_out=None)


def drawn(scenes: list[Scene], size: int = SIDE) -> Tensor:
    """The scenes as (n 3 H W) in [-1, 1]."""
    pixels = torch.from_numpy(np.stack([draw(scene, size) for scene in scenes]))
    return to_signed(pixels.permute(0, 3, 1, 2).contiguous())  # (n H W 3) -> (n 3 H W)


def _worn(pixels: Tensor, rng: np.random.Generator) -> Tensor:
    """As an autoencoder might give it back: softer, noisier, of another lightness. (3 H W)."""
    side = pixels.shape[-1]
    if rng.random() < 0.5:
        smaller = int(rng.integers(side // 2, side))
        soft = F.interpolate(pixels[None], size=(smaller, smaller), mode="bilinear", antialias=True)
        pixels = F.interpolate(soft, size=(side, side), mode="bilinear")[0]
    noise = torch.from_numpy(rng.standard_normal(tuple(pixels.shape), "float32"))
    contrast, light = 1 + 0.08 * rng.uniform(-1, 1), 0.08 * rng.uniform(-1, 1)
    return (pixels * contrast + light + rng.uniform(0, 0.08) * noise).clamp(-1, 1)


def _mirrored(name: str, known: Tensor) -> Tensor:
    """The labels of the mirror images: left is right."""
    if name != "place":
        return known
    return torch.where(known == NOT_THERE, known, torch.tensor(MIRRORED)[known.clamp(min=0)])


def accuracies(judge: Judge, vocabulary: Vocabulary, num_scenes: int) -> dict[str, tuple[int, int]]:
    """How much is read right on drawn scenes that it never saw: (right, of) for every attribute."""
    scenes = [sample(Draw(UNSEEN_SEED, 0, i).rng("scene"), vocabulary, held_out=None) for i in range(num_scenes)]
    labels = labels_of(scenes)
    found: dict[str, tuple[int, int]] = dict.fromkeys(ATTRIBUTES, (0, 0))
    for start in range(0, num_scenes, 64):
        said = read(judge, drawn(scenes[start : start + 64]))
        for name, values in said.items():
            known = labels[name][start : start + 64]
            right, of = found[name]
            found[name] = right + int((values == known).sum()), of + int((known != NOT_THERE).sum())
    return found


def write_judge(training: Training, folder: Path, *, num_scenes: int = 2_000) -> dict[str, dict[str, tuple[int, int]]]:
    """Weights in fp16, what these measure on drawn scenes, and a card, into ``folder``; gives the measures."""
    folder.mkdir(parents=True, exist_ok=True)
    weights = {
        name: tensor.half().contiguous()
        for name, tensor in training.averaged().items()
        if not name.endswith("num_batches_tracked")
    }
    save_file(weights, folder / "model.safetensors")
    judge = judge_from(folder / "model.safetensors")
    measured = {name: accuracies(judge, words, num_scenes) for name, words in (("small", SMALL), ("full", FULL))}
    record = {"scenes_seen": training.seen, "measured_on": num_scenes, "right_and_of": measured}
    (folder / "measured.json").write_text(json.dumps(record, indent=1) + "\n")
    (folder / "README.md").write_text(_card(judge, training.seen, num_scenes, measured))
    return measured


def _card(judge: Judge, seen: int, num_scenes: int, measured: dict[str, dict[str, tuple[int, int]]]) -> str:
    lines = [
        "# The judge",
        "",
        f"Reads from a picture of {SIDE}x{SIDE} what it shows. {count_parameters(judge):,} parameters, fp16.",
        "Trained by `tintype train judge` from random weights, on scenes drawn by `tintype.scenes` and their",
        f"exact labels, and on nothing else: {seen:,} scenes, each seen once, as drawn and in a mirror, half of them",
        "of the small vocabulary. Held-out pairs are among them, so that it does not share the blind spots of the",
        "models that it judges.",
        "It knows no photograph; what it says of pictures of other kinds means nothing.",
        "",
        f"Read right on {num_scenes:,} drawn scenes that it never saw, beside a guess among all values:",
        "",
        "| | small vocabulary | full vocabulary | guess |",
        "| --- | ---: | ---: | ---: |",
    ]
    for name, values in ATTRIBUTES.items():
        shares = [measured[words][name][0] / measured[words][name][1] for words in ("small", "full")]
        lines.append(f"| {name} | {shares[0]:.1%} | {shares[1]:.1%} | {1 / len(values):.1%} |")
    lines += ["", "Licence: Apache-2.0, weights included."]
    return "\n".join(lines) + "\n"
