"""CLIP: whether a picture finds its words. Needs the image tower, which only a training run's folder still has."""

from __future__ import annotations

from dataclasses import replace

import torch
import torch.nn.functional as F
from torch import Tensor

from tintype.errors import SettingsError
from tintype.evaluation.denoising import unseen_scenes
from tintype.evaluation.examined import BothTowers, Examined
from tintype.evaluation.fidelity import NAMES
from tintype.evaluation.figures import Figure, Tick, Work, share
from tintype.evaluation.reader import ATTRIBUTES
from tintype.evaluation.teaching import drawn
from tintype.models import normalize_pixels
from tintype.scenes import Scene, Vocabulary, complete
from tintype.training.measures import found_among
from tintype.training.words import token_ids

BATCH = 32
RANKS = (1, 5)


def clip_figures(examined: Examined, towers: BothTowers, pools: tuple[int, ...], count: int) -> Work:
    """Retrieval among each of ``pools`` many scenes, and the reading of ``count`` pictures by captions alone."""
    scenes = _distinct(examined, max(pools))
    images = []
    for start in range(0, len(scenes), BATCH):
        images.append(image_features(towers, drawn(scenes[start : start + BATCH], examined.size)))
        yield Tick("CLIP", min(start + BATCH, len(scenes)), len(scenes))
    image, captions = torch.cat(images), [complete(scene) for scene in scenes]
    text = text_features(towers, captions)
    figures = []
    for pool in (size for size in pools if size <= len(scenes)):
        similarity = image[:pool] @ text[:pool].T
        for rank in RANKS:
            found = found_among(similarity, captions[:pool], rank)
            figures.append(share("CLIP", f"retrieval at {rank} among {pool:,}", found, {"chance": rank / pool}))
    return figures + _readings(towers, scenes[:count], image[:count], examined.vocabulary)


def _distinct(examined: Examined, count: int) -> list[Scene]:
    """Unseen scenes, no two with the same caption: of such, a picture could not find its own."""
    found: dict[str, Scene] = {}
    for scene in unseen_scenes(examined, 2 * count):
        found.setdefault(complete(scene), scene)
    return list(found.values())[:count]


def _readings(towers: BothTowers, scenes: list[Scene], image: Tensor, vocabulary: Vocabulary) -> list[Figure]:
    """For every attribute: how often the right caption is nearer than those with another value of it."""
    figures = []
    for name in ATTRIBUTES:
        right, chances = [], []
        for scene, feature in zip(scenes, image, strict=True):
            captions = captions_with_others(scene, name, vocabulary)
            if len(captions) > 1:
                nearest = (text_features(towers, captions) @ feature).argmax().item()
                right.append(nearest == 0)
                chances.append(1 / len(captions))
        if right:
            beside = {"chance": sum(chances) / len(chances)}
            figures.append(share("CLIP", f"reads the {NAMES.get(name, name)}", right, beside))
    return figures


def captions_with_others(scene: Scene, name: str, vocabulary: Vocabulary) -> list[str]:
    """The scene's caption, then those with every other value of one attribute that can be painted."""
    if getattr(scene, name) is None:
        return []
    plural = {"sky": "skies"}.get(name, f"{name}s")
    captions = [complete(scene)]
    for value in getattr(vocabulary, plural):
        try:
            other = replace(scene, **{name: value})
        except SettingsError:  # no ship in the desert, no purple palm
            continue
        if complete(other) != captions[0]:
            captions.append(complete(other))
    return captions


@torch.no_grad()
def image_features(towers: BothTowers, pixels: Tensor) -> Tensor:
    """(n 3 H W) in [-1, 1] -> (n d), of unit length."""
    side = towers.clip.image.config.image_size
    if pixels.shape[-1] != side:
        pixels = F.interpolate(pixels, size=(side, side), mode="bilinear", antialias=True)
    return F.normalize(towers.clip.image(normalize_pixels(pixels)).float(), dim=-1)


@torch.no_grad()
def text_features(towers: BothTowers, captions: list[str]) -> Tensor:
    """(n d), of unit length."""
    ids = token_ids(towers.tokenizer, captions)
    return torch.cat([F.normalize(towers.clip.text(part).pooled.float(), dim=-1) for part in ids.split(64)])
