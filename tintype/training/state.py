"""The state of a training on disk: safetensors and JSON, never half-written.

Each state is a folder of its own, ``state-000012800`` after 12,800 pictures. It is written beside under another
name, flushed, and renamed; so a kill at any instant leaves whole states only. Two are kept: should the newest be
damaged, the one before is taken, aloud.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import warnings
from dataclasses import dataclass
from pathlib import Path

from safetensors.torch import load_file, save_file
from torch import Tensor

from tintype.errors import TrainingError

KEEP = 2


@dataclass(frozen=True)
class State:
    """Named groups of tensors ("model", "ema", "optimizer") and plain numbers, after ``seen`` pictures."""

    seen: int
    tensors: dict[str, dict[str, Tensor]]
    numbers: dict[str, object]


def save_state(folder: Path, state: State) -> Path:
    """Write ``state`` under ``folder`` and drop those before the last two; when the disk is full, OSError."""
    folder.mkdir(parents=True, exist_ok=True)
    target = folder / f"state-{state.seen:012d}"
    beside = folder / f".writing-{state.seen:012d}"
    shutil.rmtree(beside, ignore_errors=True)
    beside.mkdir()
    try:
        hashes = {}
        for name, group in state.tensors.items():
            path = beside / f"{name}.safetensors"
            save_file({key: tensor.contiguous() for key, tensor in group.items()}, path)
            flush(path)
            hashes[name] = file_hash(path)
        path = beside / "state.json"
        path.write_text(json.dumps({"seen": state.seen, "sha256": hashes, "numbers": state.numbers}, indent=1))
        flush(path)
        if target.exists():
            shutil.rmtree(target)
        beside.rename(target)
        flush(folder)
    except BaseException:
        shutil.rmtree(beside, ignore_errors=True)
        raise
    for old in states(folder)[:-KEEP]:
        shutil.rmtree(old)
    return target


def load_newest_state(folder: Path) -> State | None:
    """The newest whole state, or None where there is none. Damaged ones are named in a warning and passed over.

    Raises TrainingError when there are states and all are damaged: starting anew would lose them in silence.
    """
    found = states(folder)
    for path in reversed(found):
        try:
            return load_state(path)
        except Exception as error:
            warnings.warn(f"{path} is damaged ({error}); taking the state before it.", stacklevel=2)
    if found:
        raise TrainingError(f"All {len(found)} states in {folder} are damaged. Remove them to start anew.")
    return None


def load_state(path: Path) -> State:
    """Read one state. Raises ValueError where a file is not what was written."""
    record = json.loads((path / "state.json").read_text())
    tensors = {}
    for name, expected in record["sha256"].items():
        file = path / f"{name}.safetensors"
        if file_hash(file) != expected:
            raise ValueError(f"{file.name} does not have the hash that was written down")
        tensors[name] = load_file(file)
    return State(record["seen"], tensors, record["numbers"])


def states(folder: Path) -> list[Path]:
    """The states under ``folder``, oldest first."""
    return sorted(folder.glob("state-*"))


def file_hash(path: Path) -> str:
    """SHA-256 of a file, as hex."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def flush(path: Path) -> None:
    """Return only once the disk has what was written to this file or folder."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
