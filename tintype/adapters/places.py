"""Where the files of adapters are looked for by name: in folders of one's own, and where other programs keep them."""

from __future__ import annotations

import difflib
import os
from collections.abc import Iterable, Mapping
from pathlib import Path

from tintype.errors import CheckpointError

LORAS = (".safetensors", ".pt", ".ckpt", ".bin")
EMBEDDINGS = (".safetensors", ".pt", ".bin", ".png")
"""The best first."""


def lora_folders(model: Path | None) -> list[Path]:
    """Where LoRAs are looked for by name: TINTYPE_LORAS, ``loras`` and ``models/Lora`` here, and beside the model."""
    beside = [model.parent, model.parent / "loras", model.parent.parent / "Lora"] if model is not None else []
    return [*_stated("TINTYPE_LORAS"), Path("loras"), Path("models/Lora"), *beside]


def embedding_folders(model: Path | None) -> list[Path]:
    """Where embeddings are looked for by name.

    TINTYPE_EMBEDDINGS; ``embeddings`` and ``models/embeddings`` here; and where A1111's web UI and ComfyUI keep them,
    seen from a model in ``models/Stable-diffusion`` or ``models/checkpoints``.
    """
    beside = [folder / "embeddings" for folder in model.parents[:3]] if model is not None else []
    return list(dict.fromkeys([*_stated("TINTYPE_EMBEDDINGS"), Path("embeddings"), Path("models/embeddings"), *beside]))


def find_lora(name: str, folders: Iterable[Path]) -> Path:
    """The file that a name means: a path, or a name in one of the folders. CheckpointError says where was looked."""
    path, folders = Path(name).expanduser(), list(folders)
    if path.is_file():
        return path
    known: dict[str, Path] = {}
    for folder in folders:
        for file in sorted(folder.rglob("*")) if folder.is_dir() else ():
            if file.suffix in LORAS:
                known.setdefault(file.stem, file)
                known.setdefault(file.name, file)
    return _named("LoRA", name, known, folders)


def find_embedding(name: str, folders: Iterable[Path]) -> Path:
    """The file that a name means: a path, or a name in one of the folders. CheckpointError says where was looked."""
    path, folders = Path(name).expanduser(), list(folders)
    if path.is_file():
        return path
    known = find_embeddings(folders)
    return _named("embedding", name, known | {file.name: file for file in known.values()}, folders)


def find_embeddings(folders: Iterable[str | Path]) -> dict[str, Path]:
    """The files that may be embeddings, by name without suffix.

    Of two with one name the first folder's counts, and within a folder weights count before a picture: it may be there
    to show what they look like.
    """
    found: dict[str, Path] = {}
    for folder in folders:
        files = [path for path in sorted(Path(folder).glob("*")) if path.suffix.lower() in EMBEDDINGS]
        files = [path for path in files if path.is_file() and not path.stem.endswith(".preview")]
        for path in sorted(files, key=lambda file: EMBEDDINGS.index(file.suffix.lower())):
            found.setdefault(path.stem, path)
    return found


def _stated(variable: str) -> list[Path]:
    return [Path(part) for part in os.environ.get(variable, "").split(os.pathsep) if part]


def _named(kind: str, name: str, known: Mapping[str, Path], folders: Iterable[Path]) -> Path:
    if name in known:
        return known[name]
    close = difflib.get_close_matches(name, known, n=3)
    near = f" Close: {', '.join(close)}." if close else ""
    looked = ", ".join(str(folder) for folder in folders) or "no folder"
    raise CheckpointError(f"There is no {kind} {name!r}; looked in {looked}.{near}")
