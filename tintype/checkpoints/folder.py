"""A diffusers folder <-> StableDiffusion.

    model_index.json      what the parts are
    unet/  vae/  text_encoder/    config.json and weights; SDXL has a text_encoder_2/ too
    tokenizer/            vocab.json, merges.txt and their configuration; tokenizer_2/
    scheduler/            scheduler_config.json
    vocabulary.json       optional, ours: the words that a small model was trained with
    tintype.json          optional, ours: {"defaults": {"width": 128, ...}}

A model that works on pixels has no vae; one without text has no text_encoder and no tokenizer.

A folder's safety checker and feature extractor are no part of drawing and are not read.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import asdict, fields, replace
from pathlib import Path
from typing import Any

import torch

from tintype.checkpoints import configs, parts
from tintype.checkpoints.config_values import INDEX, integer, number, read_json, write_json
from tintype.checkpoints.families import REFINER, check_channels, family_of
from tintype.diffusion import Schedule
from tintype.errors import CheckpointError
from tintype.models import PIXELS, AutoencoderConfig, Pixels, TextEncoder, UNetConfig
from tintype.pipeline.conditions import SIZE_DIM
from tintype.pipeline.settings import Defaults
from tintype.pipeline.stable_diffusion import StableDiffusion
from tintype.text.conditioner import Conditioner
from tintype.text.tokenizer import Tokenizer
from tintype.text.vocabulary import Vocabulary

VECTOR_OF_SIZES = 6 * SIZE_DIM

OURS = "tintype.json"

PARTS = {
    "unet": ("UNet2DConditionModel", "UNet2DModel"),
    "scheduler": None,  # the schedule judges its own class
}
"""What every model has."""
AUTOENCODER = {"vae": ("AutoencoderKL",)}
FIRST = {"text_encoder": ("CLIPTextModel",), "tokenizer": ("CLIPTokenizer", "CLIPTokenizerFast")}
SECOND = {
    "text_encoder_2": ("CLIPTextModelWithProjection",),
    "tokenizer_2": ("CLIPTokenizer", "CLIPTokenizerFast"),
}
"""What SDXL has beside them."""
ENDINGS = ("", "_2")
NOT_READ = {"safety_checker", "feature_extractor", "image_encoder"}
ZEROS_FOR_NONE = "force_zeros_for_empty_prompt"


def load_folder(
    path: str | Path,
    *,
    device: torch.device | str = "cpu",
    dtype: torch.dtype | None = torch.float32,
    lean: bool = False,
    variant: str | None = None,
) -> StableDiffusion:
    """Reads a diffusers folder of Stable Diffusion 1, 2 or XL, also of an inpainting model.

    ``dtype`` None keeps each tensor as it is stored; with ``lean`` large weights of the UNet and the text encoders that
    are stored in fewer bits stay so. In fp16 an autoencoder whose numbers pass what fp16 can hold (SDXL's says so of
    itself) is kept in fp32.

    Raises ``CheckpointError`` for anything that is missing, damaged or not computed by us, naming it.
    """
    path = Path(path)
    index = read_json(path / INDEX)
    num_towers, on_pixels = _check_index(index)
    target: dict[str, Any] = {"variant": variant, "device": device, "dtype": dtype}
    unet_config = configs.read_unet(read_json(path / "unet" / "config.json"))
    autoencoder_config = PIXELS if on_pixels else configs.read_autoencoder(read_json(path / "vae" / "config.json"))
    family = family_of(unet_config)
    check_channels(unet_config, autoencoder_config)
    if num_towers != (len(family.towers) if unet_config.context_dim else 0):
        raise CheckpointError(
            f"{path}: the UNet is one of {family.name}, which reads {len(family.towers)} text encoders; "
            f"the folder has {num_towers}."
        )
    schedule = Schedule.from_diffusers(read_json(path / "scheduler" / "scheduler_config.json"))
    names = ENDINGS[:num_towers]
    tokenizers = [Tokenizer.load(path / f"tokenizer{name}") for name in names]
    encoders = [
        parts.load_text_encoder(path / f"text_encoder{name}", tokenizer.end, lean=lean, **target)
        for name, tokenizer in zip(names, tokenizers, strict=True)
    ]
    unet = parts.load_unet(path / "unet", lean=lean, **target)
    upcast: dict[str, Any] = target | {"dtype": autoencoder_dtype(autoencoder_config, dtype)}
    autoencoder = Pixels().to(device) if on_pixels else parts.load_autoencoder(path / "vae", **upcast)
    check_together(unet_config, tokenizers, encoders)
    conditioner = Conditioner()
    if num_towers:
        conditioner = family.conditioner(
            tokenizers,
            encoders,
            zeros_for_none=bool(index[ZEROS_FOR_NONE]) if ZEROS_FOR_NONE in index else None,
            vocabulary=Vocabulary.load(path),
        )
    sd = StableDiffusion(
        unet, autoencoder, conditioner, schedule, name=path.resolve().name, defaults=_defaults(path, autoencoder.factor)
    )
    sd.source = path.resolve()
    return sd


def save_folder(
    sd: StableDiffusion,
    path: str | Path,
    *,
    dtype: torch.dtype | None = None,
    variant: str | None = None,
    overwrite: bool = False,
    max_shard_bytes: int = parts.MAX_SHARD_BYTES,
) -> None:
    """Writes a folder that diffusers' pipelines load, in ``dtype`` or as the weights are.

    All files are written beside and take their places at the end, so that an interruption leaves no half model. An
    existing folder is only written into with ``overwrite``; what else lies in it stays. A text encoder's projection is
    left out where no feature goes through it: only contrastive training used it.
    """
    path = Path(path)
    if path.exists() and not overwrite:
        raise CheckpointError(f"{path} is there already. Choose another place, or say overwrite=True.")
    path.parent.mkdir(parents=True, exist_ok=True)
    with sd.unpacked(), tempfile.TemporaryDirectory(dir=path.parent, prefix=f".{path.name}-") as partial:
        _write(sd, Path(partial), dtype, {"variant": variant, "max_bytes": max_shard_bytes})
        _move(Path(partial), path)


def _write(sd: StableDiffusion, path: Path, dtype: torch.dtype | None, files: Mapping[str, Any]) -> None:
    side = max(sd.defaults.width, sd.defaults.height)
    parts.save_unet(sd.unet, path / "unet", dtype, sample_size=side // sd.autoencoder.factor, **files)
    if not isinstance(sd.autoencoder, Pixels):
        parts.save_autoencoder(sd.autoencoder, path / "vae", dtype, sample_size=side, **files)
    for name, tower in zip(ENDINGS, sd.conditioner.towers, strict=False):
        encoder = tower.encoder if tower.pooled else parts.without_projection(tower.encoder)
        parts.save_text_encoder(encoder, tower.tokenizer, path / f"text_encoder{name}", dtype, **files)
        tower.tokenizer.save(path / f"tokenizer{name}")
    scheduler = sd.schedule.to_diffusers()
    (path / "scheduler").mkdir()
    write_json(path / "scheduler" / "scheduler_config.json", scheduler)
    write_json(path / INDEX, _index(sd, scheduler["_class_name"]))
    write_json(path / OURS, {"defaults": asdict(sd.defaults)})
    if sd.conditioner.vocabulary is not None:
        sd.conditioner.vocabulary.save(path)


def _index(sd: StableDiffusion, scheduler: str) -> dict[str, Any]:
    network = "UNet2DConditionModel" if sd.unet.config.context_dim else "UNet2DModel"
    has_text, has_latents = bool(sd.conditioner.towers), not isinstance(sd.autoencoder, Pixels)
    index = {
        "_diffusers_version": "0.36.0",
        "feature_extractor": [None, None],
        "image_encoder": [None, None],
        "scheduler": ["diffusers", scheduler],
        "text_encoder": ["transformers", "CLIPTextModel"] if has_text else [None, None],
        "tokenizer": ["transformers", "CLIPTokenizer"] if has_text else [None, None],
        "unet": ["diffusers", network],
        "vae": ["diffusers", "AutoencoderKL"] if has_latents else [None, None],
    }
    repaints = "Inpaint" if sd.unet.config.in_channels > sd.unet.config.out_channels else ""
    if len(sd.conditioner.towers) == 2:
        return index | {
            "_class_name": f"StableDiffusionXL{repaints}Pipeline",
            ZEROS_FOR_NONE: sd.conditioner.zeros_for_none,
            "text_encoder_2": ["transformers", "CLIPTextModelWithProjection"],
            "tokenizer_2": ["transformers", "CLIPTokenizer"],
        }
    return index | {
        "_class_name": f"StableDiffusion{repaints}Pipeline",
        "requires_safety_checker": False,
        "safety_checker": [None, None],
    }


def _move(partial: Path, path: Path) -> None:
    """Puts what was written in its place: the whole folder at once where there is none, else file by file."""
    if not path.exists():
        partial.chmod(0o755)  # a temporary folder is its owner's alone
        partial.rename(path)
        partial.mkdir()  # its context manager wants to delete it
        return
    for file in sorted(file for file in partial.rglob("*") if file.is_file()):
        place = path / file.relative_to(partial)
        place.parent.mkdir(parents=True, exist_ok=True)
        os.replace(file, place)


def _check_index(index: Mapping[str, Any]) -> tuple[int, bool]:
    """The number of text encoders, and whether there is no autoencoder.

    CheckpointError unless the folder has exactly the parts of a Stable Diffusion, or of one that says that it works
    without text (UNet and text encoder say so) or on pixels.
    """
    there = sorted(part for part, entry in index.items() if isinstance(entry, list) and entry != [None, None])
    what = f"{INDEX} ({index.get('_class_name', 'of no class')})"
    if "text_encoder_2" in there and "text_encoder" not in there:
        raise CheckpointError(REFINER)
    on_pixels, without_text = (index.get(part) == [None, None] for part in ("vae", "text_encoder"))
    wanted = PARTS | ({} if on_pixels else AUTOENCODER) | ({} if without_text else FIRST)
    if "text_encoder_2" in there:
        wanted |= SECOND
    for part, classes in wanted.items():
        entry = index.get(part)
        if not isinstance(entry, list) or len(entry) != 2 or not isinstance(entry[1], str):
            raise CheckpointError(f"{what} has no {part}; it has {', '.join(there) or 'nothing'}.")
        if classes is not None and entry[1] not in classes:
            raise CheckpointError(f"{what}: {part} is a {entry[1]}, which is not supported; expected {classes[0]}.")
    others = [part for part in there if part not in wanted and part not in NOT_READ]
    if others:
        raise CheckpointError(f"{what} has parts that are not supported: {', '.join(others)}.")
    return sum(part in wanted for part in ("text_encoder", "text_encoder_2")), on_pixels


def autoencoder_dtype(config: AutoencoderConfig, dtype: torch.dtype | None) -> torch.dtype | None:
    """What an autoencoder is to compute in: ``dtype``, but fp32 for fp16 where its numbers would pass fp16's range."""
    return torch.float32 if config.force_upcast and dtype == torch.float16 else dtype


def check_together(unet: UNetConfig, tokenizers: Sequence[Tokenizer], encoders: Sequence[TextEncoder]) -> None:
    """CheckpointError where parts that are whole by themselves do not fit each other."""
    if not encoders:
        return
    width = sum(encoder.config.dim for encoder in encoders)
    if unet.context_dim != width:
        given = " + ".join(str(encoder.config.dim) for encoder in encoders)
        raise CheckpointError(f"The text features are {given} wide; the UNet expects {unet.context_dim}.")
    pooled = encoders[-1].config.projection_dim or encoders[-1].config.dim
    if unet.vector_dim not in (None, pooled + VECTOR_OF_SIZES):
        raise CheckpointError(
            f"The UNet is told a vector {unet.vector_dim} wide; the pooled text and six sizes are "
            f"{pooled} + {VECTOR_OF_SIZES}."
        )
    for tokenizer, encoder in zip(tokenizers, encoders, strict=True):
        if len(tokenizer) > encoder.config.vocab_size or tokenizer.max_length > encoder.config.length:
            raise CheckpointError(
                f"The tokenizer has {len(tokenizer)} entries and {tokenizer.max_length} positions; the text encoder "
                f"knows {encoder.config.vocab_size} and {encoder.config.length}."
            )


def _defaults(path: Path, factor: int) -> Defaults:
    """What the folder itself says of sizes and steps: ``tintype.json``, or else the UNet's sample size."""
    if (path / OURS).is_file():
        stated = read_json(path / OURS).get("defaults", {})
        names = [field.name for field in fields(Defaults)]
        if not isinstance(stated, dict) or not stated.keys() <= set(names):
            raise CheckpointError(f"{OURS}: defaults is {stated!r}; expected some of {', '.join(names)}.")
        values: dict[str, Any] = {name: integer(OURS, stated, name) for name in stated if name != "guidance_scale"}
        if "guidance_scale" in stated:
            values["guidance_scale"] = number(OURS, stated, "guidance_scale", 0.0)
        return replace(Defaults(), **values)
    unet = read_json(path / "unet" / "config.json")
    if unet.get("sample_size") is None:
        return Defaults()
    side = factor * integer("unet/config.json", unet, "sample_size")
    return Defaults(width=side, height=side)
