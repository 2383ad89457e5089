"""Generated pictures as a crowd: how far from drawn ones, and how near to those that were trained on."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import torch
from torch import Tensor

from tintype.evaluation.contrast import image_features
from tintype.evaluation.denoising import unseen_scenes
from tintype.evaluation.examined import Examined, labels
from tintype.evaluation.figures import Figure, Tick, Work, average
from tintype.evaluation.groups import Group
from tintype.evaluation.likeness import frechet, frechet_with_interval, frechet_without_bias
from tintype.evaluation.reader import Judge, judge_features
from tintype.evaluation.teaching import drawn

BATCH = 32

Features = Callable[[Tensor], Tensor]
"""(n 3 H W) in [-1, 1] -> (n d)."""


def features_of(examined: Examined, judge: Judge) -> tuple[str, Features]:
    """In whose features pictures are compared: the model's own CLIP's where its image tower is, else the judge's."""
    towers = examined.towers
    if towers is not None:
        return "CLIP", lambda pixels: image_features(towers, pixels)
    return "the judge", lambda pixels: judge_features(judge, pixels)


def frechet_figures(examined: Examined, groups: Sequence[Group], judge: Judge, references: int) -> Work:
    """The distance of generated pictures from drawn ones, and that of drawn pictures of the very same scenes."""
    name, features = features_of(examined, judge)
    reference, scenes = [], unseen_scenes(examined, references)
    for start in range(0, references, BATCH):
        reference.append(features(drawn(scenes[start : start + BATCH], examined.size)))
        yield Tick("pictures to compare with", min(start + BATCH, references), references)
    others = torch.cat(reference).numpy()
    generated = _numpy(torch.cat([features(group.pixels) for group in groups]))
    floor = _numpy(torch.cat([features(drawn(group.scenes, examined.size)) for group in groups]))
    width = others.shape[1]
    if len(generated) <= width:
        note = f"{len(generated)} pictures say little in {width} dimensions"
    else:
        endless = frechet_without_bias(generated, others), frechet_without_bias(floor, others)
        note = f"of endless samples: {endless[0]:.3g}, drawn {endless[1]:.3g}"
    value, interval = frechet_with_interval(generated, others)
    beside = {"drawn, the same scenes": frechet(floor, others)}
    title = f"Fréchet distance, in the features of {name}"
    return [Figure("Likeness", title, value, interval, beside, of=len(generated), note=note)]


def nearest_figures(examined: Examined, group: Group, judge: Judge) -> Work:
    """How far each picture is from the nearest training picture of its labels, beside a fresh drawing of its scene."""
    assert examined.curriculum is not None, "training pictures are known"
    name, features = features_of(examined, judge)
    distances: dict[str, list[list[float]]] = {"pixels": [], f"the features of {name}": []}
    for number, scene in enumerate(group.scenes):
        trained_on = drawn(examined.curriculum.scenes[labels(scene)], examined.size)
        both = torch.cat([group.pixels[number : number + 1], drawn([scene], examined.size)])
        pixels = (both[:, None] - trained_on[None]).square().flatten(2).mean(2).sqrt() * 127.5  # (2 k)
        distances["pixels"].append(pixels.amin(dim=1).tolist())
        distances[f"the features of {name}"].append(_apart(features(both), features(trained_on)))
        if number % BATCH == BATCH - 1 or number == len(group.scenes) - 1:
            yield Tick("nearest training pictures", number + 1, len(group.scenes))
    return [_nearest(space, pairs) for space, pairs in distances.items()]


def _apart(features: Tensor, trained_on: Tensor) -> list[float]:
    return torch.cdist(features.float(), trained_on.float()).amin(dim=1).tolist()


def _nearest(space: str, pairs: list[list[float]]) -> Figure:
    generated, fresh = ([pair[which] for pair in pairs] for which in (0, 1))
    note = f"the nearest of all {min(generated):.3g}, of the fresh {min(fresh):.3g}"
    beside = {"a fresh drawing": sum(fresh) / len(fresh)}
    title = f"distance to the nearest training picture, in {space}"
    return average("Likeness", title, generated, beside, note=note)


def _numpy(features: Tensor) -> np.ndarray:
    return features.float().cpu().numpy()
