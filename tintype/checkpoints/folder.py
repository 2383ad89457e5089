"""A diffusers folder <-> StableDiffusion.

    model_index.json      what the parts are
    unet/  vae/  text_encoder/    config.json and weights
    tokenizer/            vocab.json, merges.txt and their configuration
    scheduler/            scheduler_config.json
    vocabulary.json       optional, ours: the words that a small model was trained with
    tintype.json          optional, ours: {"defaults": {"width": 128, ...}}

A folder's safety checker and feature extractor are no part of drawing and are not read.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Mapping
from dataclasses import asdict, fields, replace
from pathlib import Path
from typing import Any

import torch

from tintype.checkpoints import parts
from tintype.checkpoints.config_values import integer, number, read_json, write_json
from tintype.diffusion import Schedule
from tintype.errors import CheckpointError
from tintype.models import Autoencoder, TextEncoder, UNet
from tintype.pipeline.settings import Defaults
from tintype.pipeline.stable_diffusion import StableDiffusion
from tintype.text.conditioner import Conditioner, Tower
from tintype.text.tokenizer import Tokenizer
from tintype.text.vocabulary import Vocabulary

INDEX, OURS = "model_index.json", "tintype.json"

PARTS = {
    "unet": ("UNet2DConditionModel",),
    "vae": ("AutoencoderKL",),
    "text_encoder": ("CLIPTextModel",),
    "tokenizer": ("CLIPTokenizer", "CLIPTokenizerFast"),
    "scheduler": None,  # the schedule judges its own class
}
NOT_READ = {"safety_checker", "feature_extractor", "requires_safety_checker"}


def load_folder(
    path: str | Path,
    *,
    device: torch.device | str = "cpu",
    dtype: torch.dtype = torch.float32,
    variant: str | None = None,
) -> StableDiffusion:
    """Reads a diffusers folder of Stable Diffusion 1's anatomy.

    Raises ``CheckpointError`` for anything that is missing, damaged or not computed by us, naming it.
    """
    path = Path(path)
    _check_index(read_json(path / INDEX))
    target: dict[str, Any] = {"variant": variant, "device": device, "dtype": dtype}
    schedule = Schedule.from_diffusers(read_json(path / "scheduler" / "scheduler_config.json"))
    tokenizer = Tokenizer.load(path / "tokenizer")
    encoder = parts.load_text_encoder(path / "text_encoder", tokenizer.end, **target)
    unet = parts.load_unet(path / "unet", **target)
    autoencoder = parts.load_autoencoder(path / "vae", **target)
    _check_together(tokenizer, encoder, unet, autoencoder)
    conditioner = Conditioner(Tower(tokenizer, encoder), vocabulary=Vocabulary.load(path))
    return StableDiffusion(
        unet, autoencoder, conditioner, schedule, name=path.resolve().name, defaults=_defaults(path, autoencoder.factor)
    )


def save_folder(
    sd: StableDiffusion,
    path: str | Path,
    *,
    dtype: torch.dtype | None = None,
    variant: str | None = None,
    overwrite: bool = False,
    max_shard_bytes: int = parts.MAX_SHARD_BYTES,
) -> None:
    """Writes a folder that diffusers' StableDiffusionPipeline loads, in ``dtype`` or as the weights are.

    All files are written beside and take their places at the end, so that an interruption leaves no half model. An
    existing folder is only written into with ``overwrite``; what else lies in it stays. A text encoder's projection,
    which only contrastive training uses, is left out.
    """
    path = Path(path)
    if path.exists() and not overwrite:
        raise CheckpointError(f"{path} is there already. Choose another place, or say overwrite=True.")
    if len(sd.conditioner.towers) != 1:
        raise CheckpointError("Models with several text encoders cannot be saved as a folder yet.")
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=path.parent, prefix=f".{path.name}-") as partial:
        _write(sd, Path(partial), dtype, {"variant": variant, "max_bytes": max_shard_bytes})
        _move(Path(partial), path)


def _write(sd: StableDiffusion, path: Path, dtype: torch.dtype | None, files: Mapping[str, Any]) -> None:
    (tower,) = sd.conditioner.towers
    side = max(sd.defaults.width, sd.defaults.height)
    encoder = parts.without_projection(tower.encoder)
    parts.save_unet(sd.unet, path / "unet", dtype, sample_size=side // sd.autoencoder.factor, **files)
    parts.save_autoencoder(sd.autoencoder, path / "vae", dtype, sample_size=side, **files)
    parts.save_text_encoder(encoder, tower.tokenizer, path / "text_encoder", dtype, **files)
    tower.tokenizer.save(path / "tokenizer")
    scheduler = sd.schedule.to_diffusers()
    (path / "scheduler").mkdir()
    write_json(path / "scheduler" / "scheduler_config.json", scheduler)
    write_json(path / INDEX, _index(sd.unet, scheduler["_class_name"]))
    write_json(path / OURS, {"defaults": asdict(sd.defaults)})
    if sd.conditioner.vocabulary is not None:
        sd.conditioner.vocabulary.save(path)


def _index(unet: UNet, scheduler: str) -> dict[str, Any]:
    network = "UNet2DConditionModel" if unet.config.context_dim else "UNet2DModel"
    return {
        "_class_name": "StableDiffusionPipeline",
        "_diffusers_version": "0.36.0",
        "feature_extractor": [None, None],
        "image_encoder": [None, None],
        "requires_safety_checker": False,
        "safety_checker": [None, None],
        "scheduler": ["diffusers", scheduler],
        "text_encoder": ["transformers", "CLIPTextModel"],
        "tokenizer": ["transformers", "CLIPTokenizer"],
        "unet": ["diffusers", network],
        "vae": ["diffusers", "AutoencoderKL"],
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


def _check_index(index: Mapping[str, Any]) -> None:
    """CheckpointError unless the folder has exactly the parts of a Stable Diffusion 1."""
    there = sorted(part for part, entry in index.items() if isinstance(entry, list) and entry != [None, None])
    what = f"{INDEX} ({index.get('_class_name', 'of no class')})"
    for part, classes in PARTS.items():
        entry = index.get(part)
        if not isinstance(entry, list) or len(entry) != 2 or not isinstance(entry[1], str):
            raise CheckpointError(f"{what} has no {part}; it has {', '.join(there) or 'nothing'}.")
        if classes is not None and entry[1] not in classes:
            raise CheckpointError(f"{what}: {part} is a {entry[1]}, which is not supported; expected {classes[0]}.")
    others = [part for part in there if part not in PARTS and part not in NOT_READ]
    if others:
        raise CheckpointError(f"{what} has parts that are not supported: {', '.join(others)}.")


def _check_together(tokenizer: Tokenizer, encoder: TextEncoder, unet: UNet, autoencoder: Autoencoder) -> None:
    """CheckpointError where parts that are whole by themselves do not fit each other."""
    latents, channels = autoencoder.config.latent_channels, unet.config.in_channels
    if channels != latents or unet.config.out_channels != latents:
        raise CheckpointError(
            f"The UNet takes {channels} channels and the autoencoder's latents have {latents}. Inpainting and editing "
            "checkpoints, whose UNets take more, are not supported yet."
        )
    if unet.config.context_dim != encoder.config.dim:
        raise CheckpointError(
            f"The text encoder gives features {encoder.config.dim} wide; the UNet expects {unet.config.context_dim}."
        )
    if unet.config.vector_dim is not None:
        raise CheckpointError("The UNet expects sizes and pooled text as SDXL does, which is not supported yet.")
    if len(tokenizer) > encoder.config.vocab_size or tokenizer.max_length > encoder.config.length:
        raise CheckpointError(
            f"The tokenizer has {len(tokenizer)} entries and {tokenizer.max_length} positions; the text encoder knows "
            f"{encoder.config.vocab_size} and {encoder.config.length}."
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
