"""``tintype.load``: a model from wherever it is."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import torch

from tintype.checkpoints import parts
from tintype.checkpoints.folder import INDEX, load_folder
from tintype.checkpoints.hub import Progress, fetch, is_hub_name
from tintype.errors import CheckpointError, SettingsError
from tintype.pipeline.stable_diffusion import StableDiffusion

BOX = Path(__file__).parents[1] / "box"
"""The model that ships with the package."""


def load(
    source: str | Path | None = None,
    *,
    device: torch.device | str | None = None,
    dtype: torch.dtype | None = None,
    vae: str | Path | None = None,
    prediction: str | None = None,
    ema: bool = False,
    variant: str | None = None,
    revision: str | None = None,
    offline: bool = False,
    progress: Progress | None = None,
) -> StableDiffusion:
    """A model, ready to draw.

    Args:
        source: None for the model in the box, a diffusers folder, or a name on the Hub: ``owner/model``.
        device: None for a GPU where there is one, else the CPU.
        dtype: what the networks compute in. None: bf16 where the device has it natively; if not, fp32 on a CPU and
            fp16 on a GPU.
        vae: another autoencoder: its folder, a model's folder, or a name on the Hub.
        prediction: "eps", "v" or "x0", where the scheduler's configuration is wrong.
        ema: the averaged weights of a single file that holds both.
        variant: "fp16" for files such as ``model.fp16.safetensors``.
        revision: the version of a model on the Hub.
        offline: never open the network; a model of the Hub must have been fetched before.
        progress: hears of a download: a file's name, how many of its bytes are here, and how many it has.

    Raises:
        CheckpointError: the model is missing, damaged or of a kind that is not supported.
    """
    name = source if isinstance(source, str) and is_hub_name(source) else None
    if name is not None:
        source = fetch(name, revision=revision, variant=variant, offline=offline, progress=progress)
        revision = None
    folder = _folder(source)
    if ema or revision is not None:
        what = "ema chooses between weights of a single file" if ema else "revision is a version on the Hub"
        raise CheckpointError(f"{what}, and {folder} is a folder, which has one set of weights. Leave it out.")
    device = torch.device(device) if device is not None else best_device()
    dtype = dtype or native_dtype(device)
    sd = load_folder(folder, device=device, dtype=dtype, variant=variant)
    if name is not None and folder.is_dir():
        sd.name = name.split("/")[1]  # its folder is named by a commit
    if vae is not None:
        vae_folder = fetch(vae, offline=offline, progress=progress) if is_hub_name(vae) else Path(vae)
        vae_folder = vae_folder / "vae" if (vae_folder / "vae").is_dir() else vae_folder
        sd.autoencoder = parts.load_autoencoder(vae_folder, variant=variant, device=device, dtype=dtype)
    if prediction is not None:
        try:
            sd.schedule = replace(sd.schedule, prediction=prediction)
        except SettingsError as error:
            raise CheckpointError(f"prediction={prediction!r}: {error}") from error
    return sd


def best_device() -> torch.device:
    """The accelerator that torch finds, or the CPU."""
    found = torch.accelerator.current_accelerator(check_available=True)
    return found if found is not None else torch.device("cpu")


def native_dtype(device: torch.device) -> torch.dtype:
    """What a device computes in fast and safely: bf16 where it is native, else fp32 on a CPU and fp16 elsewhere."""
    if device.type in ("cpu", "meta"):
        capabilities = getattr(torch.cpu, "get_capabilities", dict)()  # torch 2.11 has it
        native = device.type == "cpu" and (capabilities.get("avx512_bf16") or capabilities.get("amx_bf16"))
        return torch.bfloat16 if native else torch.float32
    if device.type == "cuda" and torch.cuda.is_bf16_supported(including_emulation=False):
        return torch.bfloat16
    return torch.float16


def _folder(source: str | Path | None) -> Path:
    """The folder that a source means; CheckpointError for what cannot be loaded, saying why."""
    if source is None:
        if not (BOX / INDEX).is_file():
            raise CheckpointError(f"The model in the box is missing from this installation: {BOX} has no {INDEX}.")
        return BOX
    path = Path(source).expanduser()
    if path.is_dir():
        if not (path / INDEX).is_file():
            raise CheckpointError(f"{path} is no diffusers folder: it has no {INDEX}.")
        return path
    if path.is_file():
        raise CheckpointError(f"{path} is a single file. Single files are not supported yet; give a diffusers folder.")
    raise CheckpointError(f"There is no {path}.")
