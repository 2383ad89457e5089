"""Reading one safetensors file: names, shapes and types from its header first, weights by memory map afterwards.

The format: eight bytes, little-endian, the length of a JSON header; the header, name -> dtype, shape and the
begin and end of the bytes; then the bytes. It can run no code. What it can do is lie, so everything that the header
says is checked against the file before a weight is touched.
https://huggingface.co/docs/safetensors/index#format
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, TypeGuard

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open

from tintype.errors import CheckpointError
from tintype.layouts import dtypes
from tintype.layouts.dtypes import DType

if TYPE_CHECKING:
    from torch import Tensor

# SDXL's header has 300,000 bytes and 40,000 of these marks; a hostile one should neither keep us busy for long nor fill
# the memory, of which a list needs 64 bytes for each two in the file.
MAX_HEADER_BYTES = 6_000_000
MAX_HEADER_MARKS = 500_000

DTYPES = {
    "F64": dtypes.DTYPES["float64"],
    "F32": dtypes.DTYPES["float32"],
    "F16": dtypes.DTYPES["float16"],
    "BF16": dtypes.DTYPES["bfloat16"],
    "F8_E4M3": dtypes.DTYPES["float8_e4m3fn"],
    "F8_E5M2": dtypes.DTYPES["float8_e5m2"],
    "I64": dtypes.DTYPES["int64"],
    "I32": dtypes.DTYPES["int32"],
    "I16": dtypes.DTYPES["int16"],
    "I8": dtypes.DTYPES["int8"],
    "U8": dtypes.DTYPES["uint8"],
    "BOOL": dtypes.DTYPES["bool"],
}
"""By the format's names."""


@dataclass(frozen=True)
class TensorInfo:
    """What a header says of one tensor."""

    shape: tuple[int, ...]
    dtype: DType

    def on_meta(self) -> Tensor:
        """A tensor of this shape and type without memory."""
        import torch

        return torch.empty(self.shape, dtype=self.dtype.torch, device="meta")


class SafetensorsFile:
    """An opened file: ``infos`` and ``metadata`` from the header. No weight is read before ``tensors``.

    Raises ``CheckpointError`` for a file that is missing, truncated, lying, or something else in disguise.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        try:
            header, data_bytes = _read_header(self.path)
        except OSError as error:
            raise CheckpointError(f"{self.path} cannot be read: {error.strerror or error}.") from error
        self.metadata = _metadata(self.path, header.pop("__metadata__", None))
        self.infos, self._begins = _infos(self.path, header, data_bytes)
        self.notices: tuple[str, ...] = ()

    def tensors(self) -> Iterator[tuple[str, Tensor]]:
        """(name, tensor) one after the other, on the CPU, each a view of the mapped file."""
        try:
            with safe_open(self.path, framework="pt", device="cpu") as file:
                for name in self.infos:
                    yield name, file.get_tensor(name)
        except (SafetensorError, OSError) as error:
            raise CheckpointError(f"{self.path} cannot be read: {error}.") from error

    def numbers(self, name: str) -> NDArray[np.float64]:
        """One small tensor, without torch."""
        info = self.infos[name]
        try:
            with self.path.open("rb") as file:
                file.seek(self._begins[name])
                content = file.read(math.prod(info.shape) * info.dtype.itemsize)
            return info.dtype.numbers(content).reshape(info.shape)
        except (OSError, ValueError) as error:
            raise CheckpointError(f"{self.path}: {name} cannot be read: {error}.") from error


def _read_header(path: Path) -> tuple[dict, int]:
    """The header and the number of bytes behind it."""
    size = path.stat().st_size
    with path.open("rb") as file:
        start = file.read(9)
        if start[8:] != b"{":
            raise CheckpointError(f"{path} is no safetensors file: {_what_begins_with(start)}")
        length = int.from_bytes(start[:8], "little")
        if length > MAX_HEADER_BYTES:
            raise CheckpointError(
                f"{path} is no safetensors file: its header would be {length:,} bytes long, "
                f"at most {MAX_HEADER_BYTES:,} are allowed."
            )
        if 8 + length > size:
            raise CheckpointError(f"{path} is truncated: its header ends at byte {8 + length:,} of {size:,}.")
        file.seek(8)
        text = file.read(length)
    if sum(text.count(mark) for mark in (b"[", b"{", b",")) > MAX_HEADER_MARKS:
        raise CheckpointError(f"{path} is no safetensors file: its header lists more than any model has.")
    try:
        header = json.loads(text.decode("utf-8"), object_pairs_hook=_without_repetition)
    except (ValueError, RecursionError) as error:
        raise CheckpointError(f"{path} is no safetensors file: its header cannot be read ({error}).") from error
    if not isinstance(header, dict):
        raise CheckpointError(f"{path} is no safetensors file: its header is a {type(header).__name__}.")
    return header, size - 8 - length


def _what_begins_with(start: bytes) -> str:
    """What a file that is no safetensors file seems to be, from its first bytes, and what to do."""
    if start.startswith(b"version "):
        return "it is a Git LFS pointer to one. Run `git lfs pull`."
    if start.startswith((b"PK\x03\x04", b"\x80\x02", b"\x80\x03", b"\x80\x04", b"\x80\x05")):
        return "it is a pickle in spite of its name, or damaged."
    return f"it begins with {start!r}."


def _without_repetition(pairs: list[tuple[str, object]]) -> dict[str, object]:
    content = dict(pairs)
    if len(content) != len(pairs):
        raise ValueError("a name stands in it twice")
    return content


def _metadata(path: Path, metadata: object) -> dict[str, str]:
    if metadata is None:
        return {}
    if not isinstance(metadata, dict) or not all(isinstance(value, str) for value in metadata.values()):
        raise CheckpointError(f"{path} is damaged: its metadata is not text.")
    return metadata


def _infos(path: Path, header: dict, data_bytes: int) -> tuple[dict[str, TensorInfo], dict[str, int]]:
    """The tensors, after checking that they fill the file without gap or overlap; and where in it each begins."""
    infos: dict[str, TensorInfo] = {}
    spans: list[tuple[int, int, str]] = []
    for name, entry in header.items():
        info, begin, end = _entry(path, name, entry)
        promised = math.prod(info.shape) * info.dtype.itemsize
        if end - begin != promised:
            raise CheckpointError(
                f"{path} is damaged: {name} of shape {list(info.shape)} needs {promised:,} bytes, has {end - begin:,}."
            )
        infos[name] = info
        spans.append((begin, end, name))
    position = 0
    for begin, end, name in sorted(spans):
        if begin != position:
            raise CheckpointError(f"{path} is damaged: {name} begins at byte {begin:,}, expected {position:,}.")
        position = end
    if position != data_bytes:
        problem = "truncated" if position > data_bytes else "damaged"
        raise CheckpointError(f"{path} is {problem}: its tensors take {position:,} bytes, it has {data_bytes:,}.")
    data = path.stat().st_size - data_bytes
    return infos, {name: data + begin for begin, _, name in spans}


def _entry(path: Path, name: str, entry: object) -> tuple[TensorInfo, int, int]:
    """Shape, type and bytes of one tensor."""
    damaged = f"{path} is damaged: the header's entry for {name!r} is not understood"
    if not isinstance(entry, dict):
        raise CheckpointError(f"{damaged}.")
    shape, offsets, dtype = entry.get("shape"), entry.get("data_offsets"), entry.get("dtype")
    if not (_are_sizes(shape) and _are_sizes(offsets) and len(offsets) == 2):
        raise CheckpointError(f"{damaged}: shape {_short(shape)}, data_offsets {_short(offsets)}.")
    if not isinstance(dtype, str) or dtype not in DTYPES:
        raise CheckpointError(f"{path}: {name} is of type {_short(dtype)}; known are {', '.join(DTYPES)}.")
    return TensorInfo(tuple(shape), DTYPES[dtype]), offsets[0], offsets[1]


def _are_sizes(values: object) -> TypeGuard[list[int]]:
    """Whether it is a list of at most 16 whole numbers from 0 to 2^63 - 1."""
    if not isinstance(values, list) or len(values) > 16:
        return False
    return all(type(value) is int and 0 <= value < 2**63 for value in values)


def _short(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "..."
