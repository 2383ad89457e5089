"""The prompts of an evaluation: scenes whose combination was trained on, is new as a whole, or has a new pair."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from tintype.errors import TrainingError
from tintype.evaluation.examined import Examined, Labels, labels
from tintype.evaluation.figures import Tick
from tintype.scenes import Scene, complete, sample
from tintype.training.draws import Draw
from tintype.training.identity import claim, weights_hash
from tintype.training.pictures import to_signed
from tintype.training.shards import Shards, write_shards

SEED = 3_000_017
"""Prompts come from a series of scenes of their own."""

TRIES = 400
"""Scenes drawn for each that is wanted, before a group counts as impossible."""

BATCH = 16

SEEN, WHOLE, PAIR = "seen combinations", "combinations new as a whole", "held-out pairs"


@dataclass(frozen=True)
class Group:
    """Scenes of one kind, and what a model drew when it was told of them."""

    name: str
    scenes: list[Scene]
    pictures: Tensor  # (n 3 H W) uint8

    @property
    def pixels(self) -> Tensor:
        """The model's pictures, (n 3 H W) in [-1, 1]."""
        return to_signed(self.pictures)


def scenes_of_group(examined: Examined, name: str, count: int) -> list[Scene]:
    """``count`` scenes, no two with the same labels; fewer, or none, where there are no more such."""
    if name == SEEN:
        return _seen(examined, count)
    known = examined.curriculum.scenes if examined.curriculum else {}
    found: dict[Labels, Scene] = {}
    for number in range(TRIES * count):
        if len(found) == count:
            break
        rng = Draw(SEED, 0, number).rng(name)
        scene = sample(rng, examined.vocabulary, held_out=name == PAIR)
        if labels(scene) not in known:
            found.setdefault(labels(scene), scene)
    return list(found.values())


def _seen(examined: Examined, count: int) -> list[Scene]:
    """Combinations that were trained on; the seeds, so the pictures, are others."""
    if examined.curriculum is None:
        return []
    rng = Draw(SEED, 0, 0).rng(SEEN)
    combinations = [scenes[0] for scenes in examined.curriculum.scenes.values()]
    chosen = rng.permutation(len(combinations))[:count]
    return [replace(combinations[i], seed=int(rng.integers(2**31))) for i in chosen]


def draw_group(examined: Examined, scenes: list[Scene], folder: Path) -> Iterator[int]:
    """The model's pictures of the full captions of ``scenes``, into shards in ``folder``; yields how many are there.

    A model without text is told nothing. Default settings; picture i has seed i. What is there is not drawn again.
    """
    model = examined.model
    claim(folder, _identity(examined))

    def make(numbers: range) -> tuple[dict[str, Tensor], list[dict[str, Any]]]:
        prompts = ["" if examined.wordless else complete(scenes[number]) for number in numbers]
        run = model.text2img(prompts, seed=numbers.start)
        pixels = np.stack([np.asarray(image) for image in run.images])  # (n H W 3)
        planes = torch.from_numpy(pixels).permute(0, 3, 1, 2).contiguous()  # (n 3 H W)
        return {"pixels": planes}, [scenes[number].to_dict() for number in numbers]

    yield from write_shards(folder, len(scenes), make, per_shard=BATCH)


def drawn_group(name: str, scenes: list[Scene], folder: Path) -> Group:
    """What `draw_group` has drawn.

    Raises:
        TrainingError: the pictures in the folder are of other scenes.
    """
    shards = Shards.open(folder)
    if shards.records[: len(scenes)] != [scene.to_dict() for scene in scenes]:
        raise TrainingError(f"The pictures in {folder} were drawn for other prompts. Remove that folder.")
    return Group(name, scenes, torch.stack([shards.tensor("pixels", i) for i in range(len(scenes))]))


def draw_groups(examined: Examined, count: int, folder: Path) -> Iterator[Tick | Group]:
    """Yields how far the drawing is, and every group when it is ready; whole batches, so that more can follow later.

    The pictures of a model without text are one group.
    """
    count = -(-count // BATCH) * BATCH
    alone = SEEN if examined.curriculum else WHOLE
    for name in (alone,) if examined.wordless else (SEEN, WHOLE, PAIR):
        scenes = scenes_of_group(examined, name, count)
        if not scenes:
            continue
        place = folder / name.replace(" ", "-")
        for done in draw_group(examined, scenes, place):
            yield Tick(f"drawing {name}", done, len(scenes))
        yield drawn_group(name, scenes, place)


def _identity(examined: Examined) -> dict[str, object]:
    """All that decides what is drawn, but for the prompts."""
    model = examined.model
    networks = {name: weights_hash(network) for name, network in model.networks.items()}
    defaults = model.defaults
    return {
        **networks,
        "autoencoder": weights_hash(model.autoencoder),
        "size": [defaults.width, defaults.height],
        "steps": defaults.steps,
        "guidance_scale": defaults.guidance_scale,
    }
