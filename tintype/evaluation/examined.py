"""What is examined: a model, what it was trained on where that is written down, and both CLIP towers where they are."""

from __future__ import annotations

import functools
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, TypeVar

from tintype.checkpoints.config_values import INDEX, read_json
from tintype.checkpoints.load import BOX, load
from tintype.errors import TrainingError
from tintype.models import CLIP, ImageEncoderConfig, TextEncoderConfig
from tintype.pipeline.stable_diffusion import StableDiffusion
from tintype.scenes import FULL, Scene, Vocabulary
from tintype.text.tokenizer import Tokenizer
from tintype.training.pictures import scene_of
from tintype.training.state import load_newest_state

Labels = tuple[object, ...]
"""All of a scene but its seed."""


@dataclass(frozen=True)
class Curriculum:
    """The drawn scenes that a model was trained on."""

    seed: int
    pictures: int
    vocabulary: Vocabulary

    @functools.cached_property
    def scenes(self) -> dict[Labels, list[Scene]]:
        """All of them, by their labels."""
        found: dict[Labels, list[Scene]] = {}
        for index in range(self.pictures):
            scene = scene_of(self.seed, index, self.vocabulary)
            found.setdefault(labels(scene), []).append(scene)
        return found


@dataclass(frozen=True)
class BothTowers:
    """CLIP as it was trained, before its image tower was left behind."""

    clip: CLIP
    tokenizer: Tokenizer


@dataclass(frozen=True)
class Examined:
    """A model and what is known of it."""

    name: str
    model: StableDiffusion
    curriculum: Curriculum | None
    towers: BothTowers | None
    folder: Path | None = None  # of the model, where it is one

    @property
    def vocabulary(self) -> Vocabulary:
        """What it can be asked for; the painter's whole vocabulary where it does not say."""
        return self.curriculum.vocabulary if self.curriculum else FULL

    @property
    def size(self) -> int:
        """Pixels along each side of its pictures."""
        return self.model.defaults.width

    @property
    def wordless(self) -> bool:
        """Whether it was trained without text, and draws whatever it likes."""
        return not self.model.conditioner.towers

    @property
    def factor(self) -> int:
        """Pixels to a latent, along each side."""
        return self.model.autoencoder.factor


def labels(scene: Scene) -> Labels:
    """All of a scene but its seed."""
    return tuple(value for name, value in scene.to_dict().items() if name != "seed")


def examine(source: str | Path | None = None) -> Examined:
    """A model to measure: the one in the box, whatever ``tintype.load`` takes, or the folder of a training run."""
    if source is None:
        return examined_model(load(), BOX, "the model in the box")
    run, name = Path(source), Path(source).name or str(source)
    if (run / "model" / INDEX).is_file() and (run / "denoiser").is_dir():
        return examined_model(load(run / "model"), run / "model", name, run)
    if run.is_dir() and any((run / stage).is_dir() for stage in ("clip", "denoiser")):
        raise TrainingError(f"{run} has no model yet; make it: tintype train model RECIPE -o {run / 'model'}")
    return examined_model(load(source), run, name)


def examined_model(model: StableDiffusion, folder: Path, name: str, run: Path | None = None) -> Examined:
    """``model`` with what ``folder`` (recipe.json) and the ``run`` that made it say of it."""
    path = folder / "recipe.json"
    recipe = read_json(path) if folder.is_dir() and path.is_file() else None
    curriculum = towers = None
    if recipe is not None and recipe.get("data") is None:  # else it learnt from anybody's pictures
        words = {kind: tuple(values) for kind, values in recipe["vocabulary"].items()}
        curriculum = Curriculum(recipe["seed"], recipe["pictures"], Vocabulary(**words))
    if recipe is not None and run is not None:
        towers = _towers(run, recipe)
    return Examined(name, model, curriculum, towers, folder if folder.is_dir() else None)


def _towers(run: Path, recipe: dict[str, Any]) -> BothTowers | None:
    state = load_newest_state(run / "clip")
    if state is None:
        return None
    tokenizer = Tokenizer.load(run / "tokenizer")
    text = recipe["clip"]["text"] | {"vocab_size": len(tokenizer), "end_id": tokenizer.end}
    clip = CLIP(_config(TextEncoderConfig, text), _config(ImageEncoderConfig, recipe["clip"]["image"]))
    clip.load_state_dict(state.tensors["model"] | state.tensors.get("ema", {}))
    return BothTowers(clip.eval().requires_grad_(False), tokenizer)


C = TypeVar("C")


def _config(kind: type[C], values: dict[str, Any]) -> C:
    known = {field.name for field in fields(kind)}  # pyright: ignore[reportArgumentType]
    return kind(**{name: value for name, value in values.items() if name in known})
