"""All that is needed to repeat a training, kept in its folder: recipe, versions, seed, what the data are."""

from __future__ import annotations

import hashlib
import importlib.metadata
import json
import platform
import types
import typing
from dataclasses import asdict, fields, is_dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TypeVar

import torch

from tintype.errors import TrainingError
from tintype.training.loop import Progress, Training
from tintype.training.recipes import ChainRecipe
from tintype.training.shards import Shards
from tintype.training.watching.watcher import write_json
from tintype.version import __version__

TRAINING, RECIPE = "training.json", "recipe.json"
PACKAGES = ("torch", "numpy", "safetensors", "tokenizers", "pillow", "skia-python")

R = TypeVar("R")


class ProvenanceKeeper:
    """Writes ``training.json``: how the training was started, each time that it was.

    With ``chain`` also ``recipe.json`` into that run's folder, which says how all its stages are made.
    """

    def __init__(self, chain: ChainRecipe | None = None, folder: Path | None = None) -> None:
        self.chain, self.folder = chain, folder

    def begin(self, training: Training) -> None:
        """One more start."""
        starts = read_starts(training.folder)
        write_json(training.folder / TRAINING, {"starts": [*starts, start_of(training)]})
        if self.chain is not None and self.folder is not None:
            write_json(self.folder / RECIPE, asdict(self.chain))

    def after(self, training: Training, progress: Progress) -> None:
        """Nothing to write."""

    def end(self, training: Training) -> None:
        """Nothing to write."""


def read_starts(folder: Path) -> list[dict[str, Any]]:
    """How the training in a folder was started, the newest last."""
    path = folder / TRAINING
    return json.loads(path.read_text(encoding="utf-8"))["starts"] if path.exists() else []


def start_of(training: Training) -> dict[str, Any]:
    """What a start depends on."""
    recipe = training.recipe
    learnt = [parameter for parameter in training.task.model.parameters() if parameter.requires_grad]
    return {
        "when": datetime.now(UTC).isoformat(timespec="milliseconds"),
        "seen": training.seen,
        "kind": type(recipe).__name__,
        "recipe": asdict(recipe),
        "parameters": sum(parameter.numel() for parameter in learnt),
        "data": data_of(training),
        "environment": environment(learnt[0].device),
    }


def data_of(training: Training) -> dict[str, Any]:
    """How many pictures there are and the SHA-256 of their listing: names or labels, captions, sizes, in order."""
    task = training.task
    found: dict[str, Any] = {"visits": task.num_pictures}
    shards = next(
        (each.shards for each in vars(task).values() if isinstance(getattr(each, "shards", None), Shards)), None
    )
    if shards is not None:
        found |= {"pictures": len(shards), "listing_sha256": listing_hash(shards)}
    return found


def listing_hash(shards: Shards) -> str:
    """SHA-256 over the records of all pictures in order, one line of JSON with sorted keys each."""
    digest = hashlib.sha256()
    for record in shards.records:
        digest.update(json.dumps(record, sort_keys=True, ensure_ascii=False).encode() + b"\n")
    return digest.hexdigest()


def environment(device: torch.device) -> dict[str, Any]:
    """Versions of what computes, and on what. Nothing of the person or the machine's name."""
    found: dict[str, Any] = {"tintype": __version__, "python": platform.python_version()}
    for package in PACKAGES:
        try:
            found[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            found[package] = None
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else platform.machine()
    system = f"{platform.system()} {platform.machine()}"
    return found | {"system": system, "device": f"{device.type} ({name})", "threads": torch.get_num_threads()}


def read_chain_recipe(folder: Path) -> ChainRecipe:
    """The recipe of a run of ``tintype train``, as its folder has it.

    Raises TrainingError where there is none, or one that this version does not know.
    """
    for path in (folder / RECIPE, folder / "model" / RECIPE):
        if path.is_file():
            try:
                return from_json(ChainRecipe, json.loads(path.read_text(encoding="utf-8")))
            except (ValueError, TypeError, KeyError) as error:
                raise TrainingError(f"{path} is no recipe of a run that this version can read: {error}.") from error
    raise TrainingError(
        f"{folder} has no {RECIPE}, so nothing says what was trained there. Expected the folder of a run of "
        "`tintype train`; where an older version began it, the same command writes the file when it continues."
    )


def from_json(kind: type[R], values: dict[str, Any]) -> R:
    """A frozen dataclass, dataclasses within it included, from what ``asdict`` and JSON made of it.

    Keys that it does not have are left out, since models keep more in the same file.
    """
    hints = typing.get_type_hints(kind)
    names = [field.name for field in fields(kind) if field.name in values]  # pyright: ignore[reportArgumentType]
    return kind(**{name: _typed(hints[name], values[name]) for name in names})


def _typed(hint: Any, value: Any) -> Any:
    if is_dataclass(hint) and isinstance(hint, type):
        return from_json(hint, value)
    if isinstance(value, list):
        return tuple(_typed(None, each) for each in value)
    if isinstance(hint, types.UnionType) and isinstance(value, dict):
        return next(from_json(each, value) for each in hint.__args__ if is_dataclass(each) and isinstance(each, type))
    return value
