"""The UNet of a loaded model, and where asked for its text encoders, taught by a folder of pictures: all their weights.

    with FinetuneLesson(tintype.load(), open_source("photos"), recipe, folder) as lesson:
        list(lesson.prepare())
        for progress in lesson.training():
            print(progress.loss)
        lesson.save()  # folder/model, which tintype and diffusers load

The model that it began with is not touched.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import torch
from torch import Tensor, nn

from tintype.checkpoints.folder import save_folder
from tintype.errors import TrainingError
from tintype.pipeline.stable_diffusion import StableDiffusion
from tintype.text.conditioner import Conditioner
from tintype.training.lesson import Lesson
from tintype.training.processes import processes
from tintype.training.recipes import FinetuneRecipe
from tintype.training.sources import PictureSource
from tintype.training.tasks import DiffusionTask

MODEL = "model"


class FinetuneLesson(Lesson[FinetuneRecipe]):
    """All weights of the UNet, and with ``text_encoder`` of the text encoders (as in arXiv 2112.10752, eq. 3).

    In ``folder`` at the end ``model/``, with the other parts as they were. What learns are copies in fp32, whatever the
    model computes in: the small steps of a training vanish in half precision. Weights, gradient, Adam's two averages
    and the moving average of a UNet of SD 1's size take 17 GB. Raises TrainingError for an embedding that is attached
    to a text encoder that is to learn.
    """

    def __init__(self, sd: StableDiffusion, source: PictureSource, recipe: FinetuneRecipe, folder: Path) -> None:
        super().__init__(sd, source, recipe, folder)
        attached = sorted({word for tower in sd.conditioner.towers for word in tower.tokenizer.added})
        if recipe.text_encoder and attached:
            raise TrainingError(
                f"The model {sd.name} has embeddings attached: {', '.join(attached)}. Expected none where the text "
                "encoder learns, since their vectors are in files of their own: detach() them."
            )
        networks = sd.networks if recipe.text_encoder else {"unet": sd.unet}
        weights = nn.ModuleDict(networks).state_dict()
        self.learnt = _filled(networks, {name: each.to(torch.float32, copy=True) for name, each in weights.items()})
        self._painter = self._with(self.learnt)

    def __enter__(self) -> FinetuneLesson:
        return self

    def __exit__(self, *error: object) -> None:
        """The model was never touched."""

    @property
    def painter(self) -> StableDiffusion:
        """The model with its networks as they learn; it knows the words of the captions."""
        return self._painter

    def _task(self) -> DiffusionTask:
        return self._denoising(self.painter.unet, learnt=self.learnt.requires_grad_(True))

    def save(self) -> tuple[Path, ...]:
        """Writes ``folder/model``: what learnt in fp32, the moving average where one is kept; the rest as it was."""
        weights, output = self.trained().averaged(), self.folder / MODEL
        with processes().first_goes_ahead(), self.sd.unpacked():
            if processes().is_first:
                save_folder(self._with(_filled(self.learnt, weights)), output, overwrite=True)
        return (output,)

    def _with(self, learnt: nn.ModuleDict) -> StableDiffusion:
        """The model with these networks in the places of its own, sharing all else."""
        sd, text = self.sd, self.sd.conditioner
        unet, *encoders = cast("list[Any]", list({**sd.networks, **learnt}.values()))
        towers = [replace(tower, encoder=encoder) for tower, encoder in zip(text.towers, encoders, strict=True)]
        vocabulary = text.vocabulary
        if vocabulary is not None:
            vocabulary = vocabulary.with_words_of(caption for item in self.source.items for caption in item.captions)
        conditioner = Conditioner(*towers, zeros_for_none=text.zeros_for_none, vocabulary=vocabulary)
        return StableDiffusion(
            unet, sd.autoencoder, conditioner, sd.schedule, name=self.folder.name, defaults=sd.defaults
        )


def _filled(networks: Mapping[str, Any] | nn.ModuleDict, weights: Mapping[str, Tensor]) -> nn.ModuleDict:
    """Networks of the same shapes that have these weights, not copied; nothing that is attached comes along."""
    with torch.device("meta"):
        others = nn.ModuleDict({name: type(network)(network.config) for name, network in networks.items()})
    others.load_state_dict({name: tensor.detach() for name, tensor in weights.items()}, assign=True)
    return others.eval()
