"""What made a picture: its record and A1111's text, from the run that drew it; and pictures saved with both."""

from __future__ import annotations

import platform
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from PIL import Image

from tintype.adapters.places import find_lora
from tintype.errors import CheckpointError
from tintype.images import pixel_hash
from tintype.layouts.hashes import data_sha256, file_sha256
from tintype.pipeline import a1111
from tintype.pipeline.embedded import fits
from tintype.pipeline.infotext import build
from tintype.pipeline.outputs import FORMATS, output_place, save_image, slug
from tintype.speed import attention_of
from tintype.text.tags import split_loras
from tintype.version import __version__

if TYPE_CHECKING:
    from tintype.pipeline.run import Run
    from tintype.pipeline.settings import Settings
    from tintype.pipeline.stable_diffusion import StableDiffusion


def environment(model: StableDiffusion, settings: Settings) -> dict[str, Any]:
    """All beside settings and weights that the bits of a picture depend on: versions, machine, threads, precision."""
    width, height = settings.size
    return {
        "tintype": __version__,
        "torch": torch.__version__,
        "python": platform.python_version(),
        "machine": machine_class(model.device),
        "device": model.device.type,
        "dtype": str(model.dtype).removeprefix("torch."),
        "speed": model.profile,
        "attention": attention_of(model.unet),
        "threads": torch.get_num_threads(),
        "tiles": tiles.size if (tiles := model.tiling) is not None and tiles.takes(height, width) else "none",
    }


def machine_class(device: torch.device) -> str:
    """Of a CPU its architecture and the widest vectors that torch uses on it, of a GPU its name."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    capability = torch.backends.cpu.get_cpu_capability()
    return f"{platform.machine()} {capability}"


def record_of(run: Run, index: int, image: Image.Image) -> dict[str, Any]:
    """What is kept in a picture, as JSON: enough to draw it again, and to tell whether it came out the same."""
    origin, model = run.model.origin, run.model
    stopped = run.steps_done < len(run)
    return {
        "index": index,
        **environment(model, run.settings),
        "model": model.name,
        "model_sha256": origin and origin.sha256(),
        "vae_sha256": origin and origin.vae_sha256(),
        "load": dict(origin.options) if origin else {},
        "loras": {name: file_sha256(path) for name, path in lora_files(run.settings, run.model).items()},
        "settings": run.settings.to_dict(),
        **({"stopped_after": run.steps_done, "estimates": run.estimates_done} if stopped else {}),
        "pixels_sha256": pixel_hash(image),
    }


def parameters_of(run: Run, index: int) -> str:
    """A1111's text of one picture of a run."""
    settings, origin = run.settings, run.model.origin
    prompt = settings.prompts[index // settings.batch_size]
    negative = settings.negative_prompts[index // settings.batch_size] if settings.negative_prompts else None
    tags = "".join(f" <lora:{Path(name).stem}:{strength:g}>" for name, strength in settings.loras)
    hashes: dict[str, str | None] = {
        f"lora {path.stem}": _lora_hash(path) for path in lora_files(run.settings, run.model).values()
    }
    if origin is not None:
        hashes |= {"model": origin.sha256(), "vae": origin.vae_sha256()}
    values = a1111.values_of(
        settings, index, run.model.schedule, model=run.model.name, hashes=hashes, version=__version__
    )
    return build(prompt + tags, negative, values)


def save_picture(run: Run, index: int, output: str | Path | None = None) -> tuple[Path, tuple[str, ...]]:
    """Write one picture of a run, with what made it, and give its path and what should be said of it.

    ``output`` is a folder or the picture's file name, as ``output_place`` reads it.
    """
    image, prompt = run.images[index], run.settings.prompts[index // run.settings.batch_size]
    place = output_place(output, f"{slug(prompt)}-{run.seeds[index]}")
    record, parameters = record_of(run, index, image), parameters_of(run, index)
    lost = fits(record, parameters) if FORMATS[place.suffix.lower()] == "JPEG" else None
    return save_image(image, place, record, parameters), (lost,) if lost else ()


def lora_files(settings: Settings, model: StableDiffusion) -> dict[str, Path]:
    """The file of each LoRA that settings ask for, by field or in the prompt, by the name that they ask by."""
    asked = [*settings.loras, *split_loras(settings.prompts[0])[1]]
    files: dict[str, Path] = {}
    for name, _ in asked:
        try:
            files[name] = find_lora(name, model.lora_folders)
        except CheckpointError:  # it was here when the run began
            continue
    return files


def differences(record: Mapping[str, Any], now: Mapping[str, Any]) -> tuple[str, ...]:
    """What is not as it was recorded, of the things that can change the bits of a picture; unknown things are told."""
    told = []
    record = {"speed": "plain", "attention": "torch"} | dict(record)  # pictures from before there were others
    for name in ("tintype", "torch", "machine", "device", "dtype", "speed", "attention", "threads", "tiles"):
        before = record.get(name)
        if before is None:
            told.append(f"{name} was not recorded; now {now[name]}")
        elif before != now[name]:
            told.append(f"{name} was {str(before)[:60]}, now {now[name]}")
    return tuple(told)


def _lora_hash(path: Path) -> str | None:
    """The hash by which the web UI names a LoRA: of its tensors alone, so that editing its metadata keeps it."""
    try:
        return data_sha256(path) if path.suffix == ".safetensors" else file_sha256(path)
    except OSError:
        return None
