"""What a model that is there is taught from a folder of pictures: prepared once, learnt, written."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator
from functools import cached_property
from pathlib import Path
from typing import Generic, Self, TypeVar

from torch import nn

from tintype.errors import TrainingError
from tintype.models import UNet
from tintype.pipeline.conditions import imitates_guidance, takes_masked_pictures
from tintype.pipeline.stable_diffusion import StableDiffusion
from tintype.training.identity import claim, weights_hash
from tintype.training.loop import Training
from tintype.training.prepare import Preparation, prepare_latents
from tintype.training.processes import processes
from tintype.training.recipes import LessonRecipe
from tintype.training.shards import Shards
from tintype.training.sources import PictureSource
from tintype.training.stored import StoredLatents
from tintype.training.tasks import DiffusionTask
from tintype.training.words import Towers

LARGE_SIZE, LARGE_STEP = 512, 64  # from this size on, buckets are multiples of 64, as other trainers have them

R = TypeVar("R", bound=LessonRecipe)


class Lesson(ABC, Generic[R]):
    """What all lessons share. In ``folder``: ``latents/``, the state of the training, and at the end what was learnt.

    A lesson is a block; after it the model is as it was, bit for bit. Raises TrainingError for models that look at
    more than noise and words (inpainting models, LCMs).
    """

    def __init__(self, sd: StableDiffusion, source: PictureSource, recipe: R, folder: Path) -> None:
        if takes_masked_pictures(sd) or imitates_guidance(sd):
            raise TrainingError(
                f"The model {sd.name} repaints masks or imitates guidance, which this training does not show it. "
                "Train on the model that it was made from; a LoRA of that one fits both."
            )
        self.sd, self.source, self.recipe, self.folder = sd, source, recipe, folder
        size = recipe.size or sd.defaults.width
        step = sd.autoencoder.factor * 2 ** (len(sd.unet.config.channels) - 1)
        self.preparation = Preparation(
            size=size,
            step=(max(step, LARGE_STEP) if size >= LARGE_SIZE else step) if recipe.buckets else None,
            crops=recipe.crops,
            flip=recipe.flip,
            seed=recipe.seed,
            max_broken=recipe.max_broken,
        )
        self._training: Training | None = None

    @abstractmethod
    def __enter__(self) -> Self: ...

    @abstractmethod
    def __exit__(self, *error: object) -> None: ...

    @property
    def painter(self) -> StableDiffusion:
        """The model with what it has learnt so far."""
        return self.sd

    @cached_property
    def words(self) -> Towers:
        """How captions are told."""
        takes_sizes = self.sd.unet.config.vector_dim is not None
        return Towers(self.painter.conditioner, takes_sizes=takes_sizes, learnt=self.recipe.text_encoder)

    def prepare(self, *, part: int = 0, parts: int = 1) -> Iterator[int]:
        """Latents and text features of the pictures, once; yields how many are ready.

        Features are not kept where the text encoder learns too. Raises TrainingError as ``prepare_latents`` does.
        """
        words = None if self.recipe.text_encoder else self.words
        how = self.preparation
        yield from prepare_latents(
            self.folder / "latents", self.source, how, self.sd.autoencoder, words, part=part, parts=parts
        )

    def training(self) -> Training:
        """Continues where the folder's newest state is. TrainingError where that is of other settings or models."""
        with processes().first_goes_ahead():
            claim(self.folder, self._made_from())
        self._training = Training(self._task(), self.recipe, self.folder)
        return self._training

    def trained(self) -> Training:
        """The training that was begun. TrainingError where none was."""
        if self._training is None:
            raise TrainingError("Nothing was trained yet.")
        return self._training

    @abstractmethod
    def save(self) -> tuple[Path, ...]:
        """Writes what was learnt, and says where."""

    @abstractmethod
    def _task(self) -> DiffusionTask: ...

    def _denoising(self, unet: UNet, learnt: nn.Module | None = None) -> DiffusionTask:
        """Prediction of noise in the prepared latents."""
        autoencoder = self.sd.autoencoder
        shards = Shards.open(self.folder / "latents")
        examples = StoredLatents(shards, autoencoder.config.scaling_factor, factor=autoencoder.factor)
        return DiffusionTask(unet, examples, self.words, self.sd.schedule, self.recipe, learnt=learnt)

    def _made_from(self) -> dict[str, object]:
        """What a training cannot be continued without."""
        settings: dict[str, object] = {
            name: getattr(self.recipe, name) for name in ("text_encoder", "seed", "batch_size")
        }
        return settings | {"model": weights_hash(self.sd.unet)}
