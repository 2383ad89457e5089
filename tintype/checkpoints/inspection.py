"""What a file or folder of weights is, told without loading it: the headers alone are read."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from tintype.checkpoints import configs
from tintype.checkpoints.config_values import read_json
from tintype.checkpoints.detect import Detected, detect, text_prefixes
from tintype.checkpoints.families import check_channels, family_of
from tintype.checkpoints.folder import INDEX
from tintype.diffusion import Schedule
from tintype.errors import CheckpointError
from tintype.layouts import ldm
from tintype.layouts.safetensors_reader import TensorInfo
from tintype.layouts.tensor_files import is_pickle, open_tensors
from tintype.layouts.weight_files import open_weights


@dataclass(frozen=True)
class PartReport:
    """One network of a file: how many tensors and parameters, in which precisions."""

    name: str
    tensors: int
    parameters: int
    precisions: tuple[str, ...]


@dataclass(frozen=True)
class Report:
    """All that is told of a file or folder."""

    path: str
    form: str  # "safetensors", "pickle (read without running it)", "folder"
    what: str
    loads: bool
    why_not: str | None
    family: str | None
    prediction: str | None
    evidence: str | None
    parts: tuple[PartReport, ...]
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
    file = open_tensors(path)
    found = detect(file.infos, file.metadata)
    missing = [] if found.kind != "model" else [f"text encoder {i + 1}" for i, t in enumerate(found.texts) if t is None]
    if found.kind == "model" and found.autoencoder is None:
        missing.append("autoencoder (give one as vae=)")
    why_not = found.refused or (f"It lacks: {', '.join(missing)}." if missing else None)
    return Report(
        str(path),
        "pickle (read without running it)" if is_pickle(path) else "safetensors",
        found.what,
        why_not is None,
        why_not,
        found.family.name if found.family else None,
        found.prediction.kind + (", zero terminal SNR" if found.prediction.zero_terminal_snr else "")
        if found.prediction
        else None,
        found.prediction.evidence if found.prediction else None,
        _parts(file.infos, found),
        file.metadata,
        file.notices,
        found.unknown,
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
    precisions = Counter(str(info.dtype).removeprefix("torch.") for info in infos)
    return PartReport(
        name,
        len(infos),
        sum(math.prod(info.shape) for info in infos),
        tuple(name for name, _ in precisions.most_common()),
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
    kind = str(read_json(path / INDEX).get("_class_name", "of no class"))
    parts, notices = [], []
    for name, shown in FOLDER_PARTS.items():
        if (path / name).is_dir():
            stem = "model" if name.startswith("text") else "diffusion_pytorch_model"
            try:
                weights = open_weights(path / name, stem)
            except CheckpointError as error:
                notices.append(str(error))
                continue
            parts.append(_part(shown, weights.infos.values()))
    family = prediction = why_not = None
    try:
        unet = configs.read_unet(read_json(path / "unet" / "config.json"))
        family = family_of(unet).name
        check_channels(unet, configs.read_autoencoder(read_json(path / "vae" / "config.json")))
        schedule = Schedule.from_diffusers(read_json(path / "scheduler" / "scheduler_config.json"))
        prediction = schedule.prediction + (", zero terminal SNR" if schedule.zero_terminal_snr else "")
    except CheckpointError as error:
        why_not = str(error)
    why_not = why_not or (notices[0] if notices else None)
    evidence = "scheduler/scheduler_config.json" if prediction else None
    return Report(
        str(path),
        "folder",
        kind,
        why_not is None,
        why_not,
        family,
        prediction,
        evidence,
        tuple(parts),
        {},
        tuple(notices),
        (),
    )
