"""``tintype.load``: a model from wherever it is."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import torch

from tintype.checkpoints import configs, parts
from tintype.checkpoints.config_values import INDEX, read_json
from tintype.checkpoints.detect import detect
from tintype.checkpoints.families import family_of, with_prediction
from tintype.checkpoints.folder import autoencoder_dtype, load_folder
from tintype.checkpoints.hub import Progress, fetch, is_hub_name
from tintype.checkpoints.parts import DIFFUSERS, TRANSFORMERS
from tintype.checkpoints.single_file import load_autoencoder_file, load_single_file
from tintype.errors import CheckpointError, SettingsError
from tintype.layouts.tensor_files import open_tensors
from tintype.layouts.weight_files import open_weights
from tintype.models import Autoencoder
from tintype.pipeline.origin import Origin
from tintype.pipeline.stable_diffusion import StableDiffusion
from tintype.speed.memory import whole_memory

BOX = Path(__file__).parents[1] / "box"
"""The model that ships with the package."""

PARTS = ("unet", "vae", "text_encoder", "text_encoder_2")
"""The parts of a model's folder that have weights."""


def load(
    source: str | Path | None = None,
    *,
    device: torch.device | str | None = None,
    dtype: torch.dtype | None = None,
    vae: str | Path | None = None,
    prediction: str | None = None,
    zero_terminal_snr: bool | None = None,
    ema: bool = False,
    lean: bool | None = None,
    variant: str | None = None,
    revision: str | None = None,
    offline: bool = False,
    progress: Progress | None = None,
) -> StableDiffusion:
    """A model, ready to draw.

    Args:
        source: None for the model in the box; a single file (``.safetensors``, ``.ckpt``), a diffusers folder, or a
            name on the Hub: ``owner/model``.
        device: None for a GPU where there is one, else the CPU.
        dtype: what the networks compute in. None: bf16 where the device has it natively; if not, fp32 on a CPU and
            fp16 on a GPU.
        vae: another autoencoder: its file, its folder, a model's folder, or a name on the Hub.
        prediction: "eps", "v" or "x0", where the model's own word is wrong or missing.
        zero_terminal_snr: whether the schedule ends in noise alone (arXiv 2305.08891), likewise.
        ema: the averaged weights of a single file that holds both.
        lean: on a CPU large weights of the UNet and the text encoders that are stored in half precision stay so and are
            widened at each call, bit for bit as if at once: less memory, a little slower (``tintype.speed.lean``).
            None: where the weights would take more than half of the machine's memory otherwise.
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
    path = model_path(source)
    device = torch.device(device) if device is not None else best_device()
    target: dict[str, Any] = {"device": device, "dtype": dtype or native_dtype(device)}
    if revision is not None:
        raise CheckpointError(f"revision is a version on the Hub, and {path} lies on this machine. Leave it out.")
    other = place = None
    if vae is not None:
        place = fetch(vae, offline=offline, progress=progress) if is_hub_name(vae) else Path(vae).expanduser()
        other = _autoencoder(place, path, variant, target)
    told = {
        "prediction": prediction,
        "zero_terminal_snr": zero_terminal_snr,
        "ema": ema or None,
        "lean": lean,
        "variant": variant,
    }
    told = {option: value for option, value in told.items() if value is not None}
    target["lean"] = _is_large(path, variant, target) if lean is None else lean
    if path.is_file():
        sd = load_single_file(
            path, vae=other, prediction=prediction, zero_terminal_snr=zero_terminal_snr, ema=ema, **target
        )
        sd.origin = _origin(sd, path, place, told)
        return sd
    if ema:
        raise CheckpointError(f"ema chooses between weights of a single file, and {path} is a folder. Leave it out.")
    sd = load_folder(path, variant=variant, **target)
    sd.origin = _origin(sd, path, place, told)
    if name is not None:
        sd.name = name.split("/")[1]  # its folder is named by a commit
    sd.autoencoder = other or sd.autoencoder
    try:
        sd.schedule = with_prediction(sd.schedule, prediction, zero_terminal_snr)
    except SettingsError as error:
        raise CheckpointError(f"prediction={prediction!r}: {error}") from error
    return sd


def _is_large(path: Path, variant: str | None, target: Mapping[str, Any]) -> bool:
    """Whether weights in half precision, as most are stored, would take half of a CPU's memory in the target's type."""
    if target["device"].type != "cpu":
        return False
    files = (path,) if path.is_file() else weights_of(path, variant=variant)
    whole = whole_memory()
    return whole is not None and sum(file.stat().st_size for file in files) * target["dtype"].itemsize / 2 > whole / 2


def _origin(sd: StableDiffusion, path: Path, vae: Path | None, options: Mapping[str, str | bool]) -> Origin:
    """Which files a model, and perhaps another autoencoder, were read from."""
    variant = str(options["variant"]) if "variant" in options else None
    path = path.resolve()
    vae = None if vae is None else _autoencoder_place(vae).resolve()
    files = (path,) if path.is_file() else weights_of(path, PARTS[: 2 + len(sd.conditioner.towers)], variant)
    vae_files = () if vae is None else (vae,) if vae.is_file() else weights_of(vae, [""], variant)
    return Origin(path, files, vae, vae_files, dict(options))


def weights_of(folder: Path, parts: Iterable[str] = PARTS, variant: str | None = None) -> tuple[Path, ...]:
    """The files of weights in the parts of a folder that are there."""
    found: list[Path] = []
    for part in parts:
        if (folder / part).is_dir():
            stem = TRANSFORMERS if part.startswith("text") else DIFFUSERS
            found += [file.path for file in open_weights(folder / part, stem, variant).files]
    return tuple(found)


def _autoencoder_place(place: Path) -> Path:
    """Where a folder's autoencoder lies: in ``vae``, or it is one itself."""
    return place / "vae" if (place / "vae").is_dir() else place


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


def has_bf16(device: torch.device) -> bool:
    """Whether a device computes in bf16 natively. A CPU that does not is some fifty times slower in it than in fp32."""
    return native_dtype(device) == torch.bfloat16


def model_path(source: str | Path | None) -> Path:
    """The file or folder that a source means; CheckpointError where there is none."""
    if source is None:
        if not (BOX / INDEX).is_file():
            raise CheckpointError(f"The model in the box is missing from this installation: {BOX} has no {INDEX}.")
        return BOX
    path = Path(source).expanduser()
    if path.is_dir() and not (path / INDEX).is_file():
        raise CheckpointError(f"{path} is no diffusers folder: it has no {INDEX}.")
    if not path.exists():
        raise CheckpointError(f"There is no {path}.")
    return path


def _autoencoder(place: Path, model: Path, variant: str | None, target: dict[str, Any]) -> Autoencoder:
    """The autoencoder at a place: a folder of its own, a model's folder, or a file."""
    if place.is_file():
        family = "SD 1"
        if model.is_file():
            file = open_tensors(model)
            found = detect(file.infos, file.metadata).family
            family = found.name if found is not None else family
        else:
            family = family_of(configs.read_unet(read_json(model / "unet" / "config.json"))).name
        return load_autoencoder_file(place, like=family, **target)
    place = _autoencoder_place(place)
    config = configs.read_autoencoder(read_json(place / "config.json"))
    return parts.load_autoencoder(
        place, variant=variant, **target | {"dtype": autoencoder_dtype(config, target["dtype"])}
    )
