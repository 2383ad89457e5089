"""Files as large as the published ones, with true names and shapes and a hole where the weights would be.

A hole takes no room on disk and reads as zeros; what looks at headers alone cannot tell the difference.
"""

from __future__ import annotations

import json
import math
import struct
from collections.abc import Mapping
from pathlib import Path

import torch

from tests.unit.layouts import saved_files as saved
from tintype.layouts.safetensors_reader import DTYPES, TensorInfo

NAMES = {dtype: name for name, dtype in DTYPES.items()}
STORAGES = {"float32": "FloatStorage", "float16": "HalfStorage", "bfloat16": "BFloat16Storage"}


def safetensors(path: Path, infos: Mapping[str, TensorInfo], metadata: Mapping[str, str] | None = None) -> Path:
    """A file of safetensors."""
    header: dict[str, object] = {"__metadata__": dict(metadata)} if metadata else {}
    at = 0
    for name, info in infos.items():
        end = at + math.prod(info.shape) * info.dtype.itemsize
        header[name] = {"dtype": NAMES[info.dtype], "shape": list(info.shape), "data_offsets": [at, end]}
        at = end
    text = json.dumps(header).encode()
    with path.open("wb") as file:
        file.write(struct.pack("<Q", len(text)) + text)
        file.truncate(8 + len(text) + at)
    return path


def ckpt(path: Path, infos: Mapping[str, TensorInfo]) -> Path:
    """What ``torch.save({"state_dict": ...})`` writes, up to 4 GB: a zip archive with one entry for each tensor."""
    tensors = {}
    for index, (name, info) in enumerate(infos.items()):
        count = math.prod(info.shape)
        storage = saved.storage(
            saved.text(str(index)), saved.name("torch", STORAGES[info.dtype.name]), saved.number(count)
        )
        strides = torch.empty(info.shape, device="meta").stride()
        tensors[name] = saved.tensor(storage, shape=saved.numbers(*info.shape), strides=saved.numbers(*strides))
    body = saved.program(saved.state(state_dict=saved.state(**tensors), global_step=saved.number(470_000)))
    directory = b""
    with path.open("wb") as file:

        def member(name: bytes, size: int, data: bytes = b"") -> None:
            nonlocal directory
            at = file.tell()
            head = struct.pack("<HHHHH", 20, 0, 0, 0, 0) + struct.pack("<III", 0, size, size)
            file.write(b"PK\3\4" + head + struct.pack("<HH", len(name), 0) + name + data)
            file.seek(size - len(data), 1)
            lengths = struct.pack("<HHHHHII", len(name), 0, 0, 0, 0, 0, at)
            directory += b"PK\1\2" + struct.pack("<H", 20) + head + lengths + name

        member(b"archive/data.pkl", len(body), body)
        for index, info in enumerate(infos.values()):
            member(f"archive/data/{index}".encode(), math.prod(info.shape) * info.dtype.itemsize)
        begin, count = file.tell(), len(infos) + 1
        end = struct.pack("<4HIIH", 0, 0, count, count, len(directory), begin, 0)
        file.write(directory + b"PK\5\6" + end)
    return path
