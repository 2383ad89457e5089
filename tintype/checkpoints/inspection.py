"""What a file or folder of weights is, told without loading it: the headers alone are read."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from tintype.checkpoints import configs
from tintype.checkpoints.config_values import INDEX, read_json
from tintype.checkpoints.detect import Detected, detect, text_prefixes
from tintype.checkpoints.families import check_channels, family_of, name_of
from tintype.checkpoints.inspection_details import embedding_details, lora_details
from tintype.diffusion import Schedule
from tintype.errors import CheckpointError
from tintype.layouts import ldm
from tintype.layouts.safetensors_reader import TensorInfo
from tintype.layouts.tensor_files import is_pickle, open_tensors
from tintype.layouts.weight_files import Weights, find_variants, open_weights
from tintype.models import PIXELS


@dataclass(frozen=True)
class PartReport:
    """One network of a file: how many tensors and parameters, in which precisions, how large."""

    name: str
    tensors: int
    parameters: int
    precisions: tuple[str, ...]
    bytes: int


@dataclass(frozen=True)
class Report:
    """All that is told of a file or folder. ``details``: what is particular to its kind, in words."""

    path: str
    form: str  # "safetensors", "pickle (read without running it)", "picture", "folder"
    bytes: int
    what: str
    loads: bool
    why_not: str | None
    family: str | None
    prediction: str | None
    evidence: str | None
    parts: tuple[PartReport, ...]
    details: Mapping[str, str]
    metadata: Mapping[str, str]
    notices: tuple[str, ...]
    unknown: tuple[str, ...]

    def to_dict(self) -> dict[str, Any]:
        """A dictionary that JSON can hold."""
        return asdict(self)


def inspect(path: str | Path) -> Report:
    """What the file or folder is. Raises ``CheckpointError`` for one that is missing, damaged or hostile."""
    path = Path(path).expanduser()
    if path.is_dir():
        return _folder(path)
    if path.suffix.lower() == ".png":
        return _picture(path)
    file = open_tensors(path)
    found = detect(file.infos, file.metadata)
    missing = [] if found.kind != "model" else [f"text encoder {i + 1}" for i, t in enumerate(found.texts) if t is None]
    if found.kind == "model" and found.autoencoder is None:
        missing.append("autoencoder (give one as vae=)")
    why_not = found.refused or (f"It lacks: {', '.join(missing)}." if missing else None)
    family, details = (found.family.name if found.family else None), {}
    try:
        if found.kind == "LoRA":
            family, details = lora_details(file)
        elif found.kind == "embedding":
            family, details = embedding_details(path)
    except CheckpointError as error:  # of that kind, and yet of no use
        why_not = str(error)
    said = found.prediction
    return Report(
        path=str(path),
        form="pickle (read without running it)" if is_pickle(path) else "safetensors",
        bytes=path.stat().st_size,
        what=found.what,
        loads=why_not is None,
        why_not=why_not,
        family=family,
        prediction=said.kind + (ZERO if said.zero_terminal_snr else "") if said else None,
        evidence=said.evidence if said else None,
        parts=_parts(file.infos, found),
        details=details,
        metadata=file.metadata,
        notices=file.notices,
        unknown=found.unknown,
    )


ZERO = ", zero terminal SNR"


def _picture(path: Path) -> Report:
    """A textual inversion in a picture of A1111's web UI."""
    family, details = embedding_details(path)
    return Report(
        path=str(path),
        form="picture",
        bytes=path.stat().st_size,
        what="a textual inversion: a word, no model",
        loads=False,
        why_not="It is no model by itself: give a model, and this by its word in a prompt.",
        family=family,
        prediction=None,
        evidence=None,
        parts=(),
        details=details,
        metadata={},
        notices=(),
        unknown=(),
    )


def _parts(infos: Mapping[str, TensorInfo], found: Detected) -> tuple[PartReport, ...]:
    if found.kind != "model":
        return (_part(found.kind, infos.values()),)
    assert found.family is not None or found.refused is not None
    texts = text_prefixes(found.family) if found.family else ldm.SDXL_TEXT_PREFIXES
    places = {"UNet": ldm.UNET_PREFIX, "autoencoder": found.autoencoder_prefix}
    places |= {f"text encoder {i + 1}" if len(texts) > 1 else "text encoder": p for i, p in enumerate(texts)}
    places["UNet, averaged"] = ldm.EMA_PREFIX
    parts = (
        _part(name, [info for key, info in infos.items() if key.startswith(prefix)]) for name, prefix in places.items()
    )
    return tuple(part for part in parts if part.tensors)


def _part(name: str, infos: Iterable[TensorInfo]) -> PartReport:
    infos = list(infos)
    precisions = Counter(info.dtype.name for info in infos)
    return PartReport(
        name,
        len(infos),
        sum(math.prod(info.shape) for info in infos),
        tuple(name for name, _ in precisions.most_common()),
        sum(math.prod(info.shape) * info.dtype.itemsize for info in infos),
    )


FOLDER_PARTS = {
    "unet": "UNet",
    "vae": "autoencoder",
    "text_encoder": "text encoder",
    "text_encoder_2": "text encoder 2",
}


def _folder(path: Path) -> Report:
    if not (path / INDEX).is_file():
        raise CheckpointError(f"{path} is no diffusers folder: it has no {INDEX}.")
    index = read_json(path / INDEX)
    kind = str(index.get("_class_name", "of no class"))
    parts, notices = [], []
    for name, shown in FOLDER_PARTS.items():
        if (path / name).is_dir():
            stem = "model" if name.startswith("text") else "diffusion_pytorch_model"
            try:
                parts.append(_part(shown, _weights(path / name, stem).infos.values()))
            except CheckpointError as error:
                notices.append(str(error))
    what, family, prediction, why_not = kind, None, None, None
    try:
        unet = configs.read_unet(read_json(path / "unet" / "config.json"))
        what = name_of(unet)
        family = family_of(unet).name
        on_pixels = index.get("vae") == [None, None]
        check_channels(unet, PIXELS if on_pixels else configs.read_autoencoder(read_json(path / "vae" / "config.json")))
        schedule = Schedule.from_diffusers(read_json(path / "scheduler" / "scheduler_config.json"))
        prediction = schedule.prediction + (ZERO if schedule.zero_terminal_snr else "")
    except CheckpointError as error:
        why_not = str(error)
    why_not = why_not or (notices[0] if notices else None)
    return Report(
        path=str(path),
        form="folder",
        bytes=sum(file.stat().st_size for file in path.rglob("*") if file.is_file()),
        what=what,
        loads=why_not is None,
        why_not=why_not,
        family=family,
        prediction=prediction,
        evidence="scheduler/scheduler_config.json" if prediction else None,
        parts=tuple(parts),
        details={"made for": kind},
        metadata={},
        notices=tuple(notices),
        unknown=(),
    )


def _weights(folder: Path, stem: str) -> Weights:
    """The plain weights, or those of a variant where there are no others."""
    variants = find_variants((file.name for file in folder.iterdir()), stem)
    return open_weights(folder, stem, variants[0] if variants else None)
