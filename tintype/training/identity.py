"""What prepared data were made from, written beside them: used again where it is the same, refused where it is not."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor, nn

from tintype.errors import TrainingError

FILE_NAME = "made_from.json"


def claim(folder: Path, made_from: Mapping[str, object]) -> None:
    """Writes down what the data in ``folder`` are made from, or compares it with what stands there.

    Raises TrainingError that names each difference.
    """
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / FILE_NAME
    wanted = json.loads(json.dumps(made_from))  # tuples as lists, as they come back
    if not path.exists():
        beside = folder / f".{FILE_NAME}.{os.getpid()}"
        beside.write_text(json.dumps(wanted, indent=1) + "\n")
        beside.rename(path)
        return
    there = json.loads(path.read_text())
    names = [name for name in {**there, **wanted} if there.get(name) != wanted.get(name)]
    if names:
        told = "; ".join(f"{name} was {_short(there.get(name))} and is {_short(wanted.get(name))}" for name in names)
        raise TrainingError(
            f"The data in {folder} were prepared otherwise: {told}. Ask for the same, or remove that folder."
        )


def kept(path: Path, stated: Mapping[str, str]) -> dict[str, str]:
    """What was stated once and holds from then on: ``stated`` is added to what stands in ``path``, and all returned.

    Raises TrainingError where something else was stated before.
    """
    there: dict[str, str] = json.loads(path.read_text()) if path.exists() else {}
    for name, value in stated.items():
        if there.get(name, value) != value:
            raise TrainingError(
                f"{path.parent} was begun with {name}={there[name]}, not {value}. Say --folder for another run."
            )
    found = {**there, **stated}
    if found != there:
        path.parent.mkdir(parents=True, exist_ok=True)
        beside = path.with_name(f".{path.name}.{os.getpid()}")
        beside.write_text(json.dumps(found, indent=1) + "\n")
        beside.rename(path)
    return found


def weights_hash(network: nn.Module) -> str:
    """SHA-256 over the names and values of a network's weights, whatever file they came from."""
    digest = hashlib.sha256()
    for name, tensor in sorted(network.state_dict().items()):
        digest.update(f"{name} {tensor.dtype} {list(tensor.shape)}\n".encode())
        digest.update(_bytes(tensor))
    return digest.hexdigest()


def _bytes(tensor: Tensor) -> bytes:
    return tensor.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().tobytes()


def _short(value: object) -> str:
    text = str(value)
    return text if len(text) <= 24 else f"{text[:12]}..."
