"""All weights of a loaded model's UNet, taught by a folder of pictures: the same loop, and a whole model at the end.

with FinetuneLesson(tintype.load(), open_source("photos"), recipe, folder) as lesson:
    list(lesson.prepare())
    for progress in lesson.training():
        print(progress.loss)
    lesson.save()  # folder/model, which tintype and diffusers load
"""

from __future__ import annotations

from pathlib import Path

import torch

from tintype.checkpoints.folder import save_folder
from tintype.models import UNet
from tintype.pipeline.stable_diffusion import StableDiffusion
from tintype.text.conditioner import Conditioner
from tintype.training.lesson import Lesson
from tintype.training.processes import processes
from tintype.training.recipes import FinetuneRecipe
from tintype.training.sources import PictureSource
from tintype.training.tasks import DiffusionTask

MODEL = "model"


class FinetuneLesson(Lesson[FinetuneRecipe]):
    """All weights of the UNet. In ``folder`` at the end ``model/``, with the other parts as they were.

    What learns is a copy in fp32, whatever the model computes in: the small steps of a training vanish in half
    precision. Weights, gradient, Adam's two averages and the moving average of a UNet of SD 1's size take 17 GB.
    """

    def __init__(self, sd: StableDiffusion, source: PictureSource, recipe: FinetuneRecipe, folder: Path) -> None:
        super().__init__(sd, source, recipe, folder)
        self.unet = _copied(sd.unet)
        self._painter = self._with(self.unet)

    def __enter__(self) -> FinetuneLesson:
        return self

    def __exit__(self, *error: object) -> None:
        """The model was never touched."""

    @property
    def painter(self) -> StableDiffusion:
        """The model with its UNet as it learns; it knows the words of the captions."""
        return self._painter

    def _task(self) -> DiffusionTask:
        return self._denoising(self.unet)

    def save(self) -> tuple[Path, ...]:
        """Writes ``folder/model``: the UNet in fp32, the moving average where one is kept; the rest as it was."""
        weights, output = self.trained().averaged(), self.folder / MODEL
        with processes().first_goes_ahead(), self.sd.unpacked():
            if processes().is_first:
                unet = _empty(self.unet)
                unet.load_state_dict({name: tensor.detach() for name, tensor in weights.items()}, assign=True)
                save_folder(self._with(unet), output, overwrite=True)
        return (output,)

    def _with(self, unet: UNet) -> StableDiffusion:
        """The model with another UNet, sharing all else."""
        sd, text = self.sd, self.sd.conditioner
        vocabulary = text.vocabulary
        if vocabulary is not None:
            vocabulary = vocabulary.with_words_of(caption for item in self.source.items for caption in item.captions)
        conditioner = Conditioner(*text.towers, zeros_for_none=text.zeros_for_none, vocabulary=vocabulary)
        return StableDiffusion(
            unet, sd.autoencoder, conditioner, sd.schedule, name=self.folder.name, defaults=sd.defaults
        )


def _copied(unet: UNet) -> UNet:
    """The same weights in fp32 and in memory of their own, ready to learn; nothing that is attached comes along."""
    copy = _empty(unet)
    weights = {name: tensor.detach().to(torch.float32, copy=True) for name, tensor in unet.state_dict().items()}
    copy.load_state_dict(weights, assign=True)
    return copy.requires_grad_(True)


def _empty(unet: UNet) -> UNet:
    """A network of the same shape without weights."""
    with torch.device("meta"):
        return UNet(unet.config).eval()
