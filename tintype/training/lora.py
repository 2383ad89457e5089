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
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import asdict
from pathlib import Path

from torch import nn

from tintype.adapters import LearntLora, save_lora
from tintype.adapters.deltas import Delta
from tintype.adapters.learnt import convolution_layers, linear_layers, transformer_layers
from tintype.adapters.lora import FAMILY_BY_CONTEXT
from tintype.errors import TrainingError
from tintype.layouts.lora import Place
from tintype.pipeline.conditions import imitates_guidance, takes_masked_pictures
from tintype.pipeline.stable_diffusion import StableDiffusion
from tintype.training.identity import claim, weights_hash
from tintype.training.loop import Training
from tintype.training.prepare import Preparation, prepare_latents
from tintype.training.processes import processes
from tintype.training.recipes import LoraRecipe
from tintype.training.shards import Shards
from tintype.training.sources import PictureSource
from tintype.training.stored import StoredLatents
from tintype.training.tasks import DiffusionTask
from tintype.training.words import Towers

KOHYA_FILE, PEFT_FILE = "lora.safetensors", "pytorch_lora_weights.safetensors"
LARGE_SIZE, LARGE_STEP = 512, 64  # from this size on, buckets are multiples of 64, as other trainers have them


class LoraLesson:
    """What a model is taught, in ``folder``: ``latents/``, the state of the training, and at the end two files.

    Raises TrainingError for models that look at more than noise and words (inpainting models, LCMs).
    """

    def __init__(self, sd: StableDiffusion, source: PictureSource, recipe: LoraRecipe, folder: Path) -> None:
        if takes_masked_pictures(sd) or imitates_guidance(sd):
            raise TrainingError(
                f"The model {sd.name} repaints masks or imitates guidance, which a LoRA's training does not show it. "
                "Train on the model that it was made from; the LoRA fits both."
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
        alpha = recipe.rank if recipe.alpha is None else recipe.alpha
        self.lora = LearntLora(sd.networks, self._places(), rank=recipe.rank, alpha=alpha, seed=recipe.seed)
        self.words = Towers(
            sd.conditioner, takes_sizes=sd.unet.config.vector_dim is not None, learnt=recipe.text_encoder
        )
        self._training: Training | None = None
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
        """Continues where the folder's newest state is. TrainingError where that is of another LoRA or model."""
        with processes().first_goes_ahead():
            claim(self.folder, self._made_from())
        shards = Shards.open(self.folder / "latents")
        autoencoder = self.sd.autoencoder
        examples = StoredLatents(shards, autoencoder.config.scaling_factor, factor=autoencoder.factor)
        task = DiffusionTask(self.sd.unet, examples, self.words, self.sd.schedule, self.recipe, learnt=self.lora)
        self._training = Training(task, self.recipe, self.folder)
        return self._training

    def _made_from(self) -> dict[str, object]:
        names = ("rank", "text_encoder", "convolutions", "seed", "batch_size")
        settings = {name: getattr(self.recipe, name) for name in names}
        return settings | {"alpha": self.lora.alpha, "model": weights_hash(self.sd.unet)}

    def save(self) -> tuple[Path, Path]:
        """Writes what was learnt in kohya's names (``lora.safetensors``) and in PEFT's, under diffusers' own name."""
        if self._training is None:
            raise TrainingError("Nothing was trained yet.")
        deltas = self.lora.deltas(self._training.averaged())
        files = self.folder / KOHYA_FILE, self.folder / PEFT_FILE
        with processes().first_goes_ahead():
            if processes().is_first:
                self._write(files, deltas, self._metadata(self._training))
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
