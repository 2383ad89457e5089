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
from typing import Any, TypeVar

import torch
from torch import Tensor, nn

from tintype.checkpoints.folder import save_folder
from tintype.models import TextEncoder, UNet
from tintype.pipeline.stable_diffusion import StableDiffusion
from tintype.text.conditioner import Conditioner
from tintype.training.lesson import Lesson
from tintype.training.processes import processes
from tintype.training.recipes import FinetuneRecipe
from tintype.training.sources import PictureSource
from tintype.training.tasks import DiffusionTask
from tintype.training.words import Towers

MODEL = "model"

Network = TypeVar("Network", UNet, TextEncoder)


class FinetuneLesson(Lesson[FinetuneRecipe]):
    """All weights of the UNet, and with ``text_encoder`` of the text encoders (as in arXiv 2112.10752, eq. 3).

    In ``folder`` at the end ``model/``, with the other parts as they were. What learns are copies in fp32, whatever the
    model computes in: the small steps of a training vanish in half precision. Weights, gradient, Adam's two averages
    and the moving average of a UNet of SD 1's size take 17 GB.
    """

    def __init__(self, sd: StableDiffusion, source: PictureSource, recipe: FinetuneRecipe, folder: Path) -> None:
        super().__init__(sd, source, recipe, folder)
        self.unet = _copied(sd.unet)
        self.encoders = [_copied(tower.encoder) for tower in sd.conditioner.towers] if recipe.text_encoder else []
        self._painter = self._with(self.unet, self.encoders)
        takes_sizes = sd.unet.config.vector_dim is not None
        self.words = Towers(self._painter.conditioner, takes_sizes=takes_sizes, learnt=recipe.text_encoder)

    def __enter__(self) -> FinetuneLesson:
        return self

    def __exit__(self, *error: object) -> None:
        """The model was never touched."""

    @property
    def painter(self) -> StableDiffusion:
        """The model with its networks as they learn; it knows the words of the captions."""
        return self._painter

    def _task(self) -> DiffusionTask:
        encoders = {f"text_encoder_{index}": encoder for index, encoder in enumerate(self.encoders)}
        learnt = nn.ModuleDict({"unet": self.unet, **encoders})
        return self._denoising(self.unet, learnt=learnt.requires_grad_(True))

    def _made_from(self) -> dict[str, object]:
        return super()._made_from() | {"text_encoder": self.recipe.text_encoder}

    def save(self) -> tuple[Path, ...]:
        """Writes ``folder/model``: what learnt in fp32, the moving average where one is kept; the rest as it was."""
        weights, output = self.trained().averaged(), self.folder / MODEL
        with processes().first_goes_ahead(), self.sd.unpacked():
            if processes().is_first:
                unet = _filled(self.unet, _part(weights, "unet"))
                encoders = [
                    _filled(encoder, _part(weights, f"text_encoder_{index}"))
                    for index, encoder in enumerate(self.encoders)
                ]
                save_folder(self._with(unet, encoders), output, overwrite=True)
        return (output,)

    def _with(self, unet: UNet, encoders: list[TextEncoder]) -> StableDiffusion:
        """The model with another UNet and, if there are any, other text encoders, sharing all else."""
        sd, text = self.sd, self.sd.conditioner
        towers = text.towers
        if encoders:
            towers = [replace(tower, encoder=encoder) for tower, encoder in zip(towers, encoders, strict=True)]
        vocabulary = text.vocabulary
        if vocabulary is not None:
            vocabulary = vocabulary.with_words_of(caption for item in self.source.items for caption in item.captions)
        conditioner = Conditioner(*towers, zeros_for_none=text.zeros_for_none, vocabulary=vocabulary)
        return StableDiffusion(
            unet, sd.autoencoder, conditioner, sd.schedule, name=self.folder.name, defaults=sd.defaults
        )


def _copied(network: Network) -> Network:
    """The same weights in fp32 and in memory of their own; nothing that is attached comes along."""
    weights = {name: tensor.to(torch.float32, copy=True) for name, tensor in network.state_dict().items()}
    return _filled(network, weights)


def _filled(network: Network, weights: Mapping[str, Tensor]) -> Network:
    """A network of the same shape that has these weights, not copied."""
    with torch.device("meta"):
        other: Any = UNet(network.config) if isinstance(network, UNet) else TextEncoder(network.config)
    other.load_state_dict({name: tensor.detach() for name, tensor in weights.items()}, assign=True)
    return other.eval()


def _part(weights: Mapping[str, Tensor], name: str) -> dict[str, Tensor]:
    """Those of one network of several."""
    begin = f"{name}."
    return {key.removeprefix(begin): tensor for key, tensor in weights.items() if key.startswith(begin)}
