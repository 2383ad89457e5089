"""A file of tensors, opened as what it is: its first bytes count, not the end of its name."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import numpy as np
from numpy.typing import NDArray

from tintype.errors import CheckpointError
from tintype.layouts.pickle_reader import ZIP_BEGINS, PickleFile
from tintype.layouts.safetensors_reader import MAX_HEADER_BYTES, SafetensorsFile, TensorInfo

if TYPE_CHECKING:
    from torch import Tensor

PICKLE_BEGINS = re.compile(rb"\x80[\x02-\x05]", re.DOTALL)


class TensorFile(Protocol):
    """What ``SafetensorsFile`` and ``PickleFile`` have in common."""

    path: Path
    infos: dict[str, TensorInfo]
    """Shape and type of every tensor, before a weight is read."""
    metadata: dict[str, str]
    notices: tuple[str, ...]
    """What a user should be told of the file, in sentences."""

    def tensors(self) -> Iterator[tuple[str, Tensor]]:
        """(name, tensor) one after the other, on the CPU, as views of the mapped file."""
        ...

    def numbers(self, name: str) -> NDArray[np.float64]:
        """One small tensor, without torch. ``CheckpointError`` where that cannot be."""
        ...


def open_tensors(path: str | Path) -> TensorFile:
    """Opens safetensors, or what ``torch.save`` wrote, without running any of it.

    Raises ``CheckpointError`` for a file that is missing, damaged, hostile or something else.
    """
    return PickleFile(path) if is_pickle(path) else SafetensorsFile(path)


def is_pickle(path: str | Path) -> bool:
    """Whether a file begins as ``torch.save``'s two formats do. A file of safetensors may, by its header's length."""
    try:
        with Path(path).open("rb") as file:
            start = file.read(9)
    except OSError as error:
        raise CheckpointError(f"{path} cannot be read: {error.strerror or error}.") from error
    if start[8:] == b"{" and int.from_bytes(start[:8], "little") <= MAX_HEADER_BYTES:
        return False
    return start.startswith(ZIP_BEGINS) or PICKLE_BEGINS.match(start) is not None
