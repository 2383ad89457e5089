"""A LoRA for a model that is there, from a folder of pictures: prepared once, learnt, written for all programs.

    with LoraLesson(tintype.load(), open_source("photos"), recipe, folder) as lesson:
        list(lesson.prepare())
        for progress in lesson.training():
            print(progress.loss)
        lesson.save()

The model's own weights are not touched; after the block it is as it was, bit for bit.
"""

from __future__ import annotations

import json
from collections import Counter
from contextlib import ExitStack
from dataclasses import asdict
from pathlib import Path

from torch import nn

from tintype.adapters import LearntLora, save_lora
from tintype.adapters.deltas import Delta
from tintype.adapters.learnt import convolution_layers, linear_layers, transformer_layers
from tintype.adapters.lora import FAMILY_BY_CONTEXT
from tintype.layouts.lora import Place
from tintype.pipeline.stable_diffusion import StableDiffusion
from tintype.training.lesson import Lesson
from tintype.training.loop import Training
from tintype.training.processes import processes
from tintype.training.recipes import LoraRecipe
from tintype.training.sources import PictureSource
from tintype.training.tasks import DiffusionTask

KOHYA_FILE, PEFT_FILE = "lora.safetensors", "pytorch_lora_weights.safetensors"


class LoraLesson(Lesson[LoraRecipe]):
    """A LoRA in ``folder``: ``latents/``, the state of the training, and at the end two files."""

    def __init__(self, sd: StableDiffusion, source: PictureSource, recipe: LoraRecipe, folder: Path) -> None:
        super().__init__(sd, source, recipe, folder)
        alpha = recipe.rank if recipe.alpha is None else recipe.alpha
        self.lora = LearntLora(sd.networks, self._places(), rank=recipe.rank, alpha=alpha, seed=recipe.seed)
        self._open = ExitStack()

    def __enter__(self) -> LoraLesson:
        self._open.enter_context(_frozen(self.sd.networks))
        self._open.enter_context(self.lora.attached())
        return self

    def __exit__(self, *error: object) -> None:
        self._open.close()

    def _places(self) -> list[Place]:
        """The layers that learn."""
        names = transformer_layers(self.sd.unet)
        if self.recipe.convolutions:
            names += convolution_layers(self.sd.unet)
        places = [("unet", name) for name in names]
        if self.recipe.text_encoder:
            encoders = {name: network for name, network in self.sd.networks.items() if name != "unet"}
            places += [(name, layer) for name, network in encoders.items() for layer in linear_layers(network)]
        return places

    def _task(self) -> DiffusionTask:
        return self._denoising(self.sd.unet, learnt=self.lora)

    def _made_from(self) -> dict[str, object]:
        recipe = self.recipe
        lora = {"rank": recipe.rank, "convolutions": recipe.convolutions, "alpha": self.lora.alpha}
        return super()._made_from() | lora

    def save(self) -> tuple[Path, ...]:
        """Writes what was learnt in kohya's names (``lora.safetensors``) and in PEFT's, under diffusers' own name."""
        training = self.trained()
        deltas = self.lora.deltas(training.averaged())
        files = self.folder / KOHYA_FILE, self.folder / PEFT_FILE
        with processes().first_goes_ahead():
            if processes().is_first:
                self._write(files, deltas, self._metadata(training))
        return files

    def _write(self, files: tuple[Path, Path], deltas: dict[Place, Delta], metadata: dict[str, str]) -> None:
        for path, style in zip(files, ("kohya", "peft"), strict=True):
            beside = path.with_name(f".{path.name}")
            save_lora(beside, deltas, self.sd.networks, style=style, metadata=metadata)
            beside.rename(path)

    def _metadata(self, training: Training) -> dict[str, str]:
        """What other programs look for: kohya's ``ss_`` keys, and Stability's ModelSpec 1.0.1."""
        recipe, family, predicts = self.recipe, family_of(self.sd), self.sd.schedule.prediction
        words = Counter(caption for item in self.source.items for caption in item.captions)
        size = self.preparation.size
        said: dict[str, object] = {
            "ss_network_module": "networks.lora",
            "ss_network_dim": recipe.rank,
            "ss_network_alpha": self.lora.alpha,
            "ss_base_model_version": BASE_VERSIONS.get(family, self.sd.name or "other"),
            "ss_sd_model_name": self.sd.name,
            "ss_learning_rate": recipe.lr,
            "ss_batch_size_per_device": recipe.batch_size,
            "ss_steps": -(-training.seen // recipe.batch_size),
            "ss_num_train_images": len(self.source.items),
            "ss_resolution": f"({size}, {size})",
            "ss_seed": recipe.seed,
            "ss_caption_dropout_rate": recipe.caption_dropout,
            "ss_noise_offset": recipe.offset_noise,
            "ss_min_snr_gamma": 5.0 if recipe.weighting == "min_snr" else "None",
            "ss_tag_frequency": json.dumps({Path(self.source.name).name: dict(words.most_common(100))}),
            "modelspec.sai_model_spec": "1.0.1",
            "modelspec.architecture": f"{ARCHITECTURES.get(family, 'stable-diffusion-v1')}/lora",
            "modelspec.implementation": "https://github.com/kohya-ss/sd-scripts",
            "modelspec.title": self.folder.name,
            "modelspec.resolution": f"{size}x{size}",
            "modelspec.prediction_type": "epsilon" if predicts == "eps" else predicts,
            "tintype.recipe": json.dumps(asdict(recipe)),
        }
        if recipe.convolutions:
            said["ss_network_args"] = json.dumps({"conv_dim": str(recipe.rank), "conv_alpha": str(self.lora.alpha)})
        return {name: str(value) for name, value in said.items()}


BASE_VERSIONS = {"SD 1": "sd_v1", "SD 2": "sd_v2", "SDXL": "sdxl_base_v1-0"}
ARCHITECTURES = {"SD 2": "stable-diffusion-v2-768-v", "SDXL": "stable-diffusion-xl-v1-base"}


def family_of(sd: StableDiffusion) -> str:
    """By the width of the text that the UNet looks at."""
    if sd.unet.config.vector_dim is not None:
        return "SDXL"
    return FAMILY_BY_CONTEXT.get(sd.unet.config.context_dim or 0, "other")


class _frozen:
    """Within the block no weight of these networks takes part in learning."""

    def __init__(self, networks: dict[str, nn.Module]) -> None:
        self.learning = [p for network in networks.values() for p in network.parameters() if p.requires_grad]

    def __enter__(self) -> None:
        for parameter in self.learning:
            parameter.requires_grad_(False)

    def __exit__(self, *error: object) -> None:
        for parameter in self.learning:
            parameter.requires_grad_(True)
