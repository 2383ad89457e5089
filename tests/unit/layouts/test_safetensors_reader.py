"""Hostile and broken weight files: one typed error each, and nothing is run or reserved."""

from __future__ import annotations

import json
import pickle
import struct
import time
import zipfile

import pytest
import torch
from safetensors.torch import save_file

from tintype.errors import CheckpointError
from tintype.layouts.safetensors_reader import SafetensorsFile


def file_of(header: object, data: bytes = b"", length: int | None = None) -> bytes:
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(text) if length is None else length) + text + data


def entry(shape=(2,), begin=0, end=8, dtype="F32") -> dict:
    return {"dtype": dtype, "shape": list(shape), "data_offsets": [begin, end]}


class Trap:
    def __reduce__(self):
        return pytest.fail, ("a pickle was opened",)


EIGHT = bytes(8)
A = b'"a": {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]}'
HOSTILE = {
    "empty": b"",
    "short": b"\x05\0\0",
    "zeros": bytes(64),
    "text": b"<!DOCTYPE html><html>not found</html>",
    "git lfs pointer": b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 4\n",
    "header longer than the file": file_of({"a": entry()}, length=1000),
    "huge header": file_of({"a": entry()}, length=2**63),
    "header of 30 MB promised": file_of(b"{}", length=30_000_000),
    "no json": file_of(b"{'a': 1}"),
    "no utf-8": file_of(b"\xff\xfe\xff\xfe"),
    "a list": file_of([1, 2]),
    "deep json": file_of(b'{"a":' + b"[" * 200_000),
    "name twice": file_of(b"{" + A + b", " + A + b"}", EIGHT),
    "truncated": file_of({"a": entry()}, bytes(7)),
    "bytes left over": file_of({"a": entry()}, bytes(9)),
    "overlap": file_of({"a": entry(), "b": entry(begin=4, end=12)}, bytes(12)),
    "gap": file_of({"a": entry(), "b": entry(begin=12, end=20)}, bytes(20)),
    "shape lies": file_of({"a": entry(shape=(3,))}, EIGHT),
    "huge shape": file_of({"a": entry(shape=(2**40, 2**40))}, EIGHT),
    "huge number": file_of({"a": entry(shape=(10**30,))}, EIGHT),
    "negative shape": file_of({"a": entry(shape=(-2, -1))}, EIGHT),
    "fraction": file_of({"a": entry(shape=(2.0,))}, EIGHT),
    "truth as a size": file_of({"a": entry(shape=(True, 2))}, EIGHT),
    "hundred dimensions": file_of({"a": entry(shape=(1,) * 100 + (2,))}, EIGHT),
    "offsets backwards": file_of({"a": entry(begin=8, end=0)}, EIGHT),
    "one offset": file_of({"a": {"dtype": "F32", "shape": [2], "data_offsets": [8]}}, EIGHT),
    "no shape": file_of({"a": {"dtype": "F32", "data_offsets": [0, 8]}}, EIGHT),
    "entry is a number": file_of({"a": 8}, EIGHT),
    "unknown type": file_of({"a": entry(dtype="F3")}, EIGHT),
    "type is a list": file_of({"a": entry(dtype=["F32"])}, EIGHT),
    "metadata is no text": file_of({"__metadata__": {"a": 1}, "b": entry()}, EIGHT),
    "pickle": pickle.dumps(Trap()),
    "pickle of protocol 2": pickle.dumps(Trap(), protocol=2),
}


@pytest.mark.parametrize("kind", HOSTILE)
def test_hostile_file_is_one_typed_error(tmp_path, kind):
    path = tmp_path / "model.safetensors"
    path.write_bytes(HOSTILE[kind])
    begin = time.perf_counter()
    with pytest.raises(CheckpointError) as caught:
        SafetensorsFile(path)
    assert time.perf_counter() - begin < 2
    assert "model.safetensors" in str(caught.value) and len(str(caught.value)) < 600


def test_zip_in_disguise(tmp_path):
    path = tmp_path / "model.safetensors"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("archive/data.pkl", pickle.dumps(Trap()))
    with pytest.raises(CheckpointError, match="pickle in spite of its name"):
        SafetensorsFile(path)


@pytest.mark.parametrize("place", ["nothing.safetensors", ""])
def test_missing_file_and_folder(tmp_path, place):
    with pytest.raises(CheckpointError, match="cannot be read"):
        SafetensorsFile(tmp_path / place)


def test_header_whose_length_looks_like_a_pickle(tmp_path):
    """A length of 640 is written as the two bytes that begin a pickle of protocol 2."""
    path = tmp_path / "model.safetensors"
    path.write_bytes(file_of(b"{" + A + b"}" + b" " * (640 - len(A) - 2), EIGHT))
    assert path.read_bytes().startswith(b"\x80\x02")
    assert torch.equal(dict(SafetensorsFile(path).tensors())["a"], torch.zeros(2))


def test_reads_what_was_written(tmp_path):
    path = tmp_path / "model.safetensors"
    tensors = {
        "a": torch.randn(3, 5),
        "half": torch.randn(7).half(),
        "brain": torch.randn(2, 2).bfloat16(),
        "eight": torch.randn(4).to(torch.float8_e4m3fn),
        "scalar": torch.tensor(2.5),
        "nothing": torch.empty(0, 3),
        "counts": torch.arange(3),
    }
    save_file(tensors, path, metadata={"format": "pt"})
    file = SafetensorsFile(path)
    assert file.metadata == {"format": "pt"}
    for name, tensor in tensors.items():
        meta = file.infos[name].on_meta()
        assert (meta.shape, meta.dtype, meta.device.type) == (tensor.shape, tensor.dtype, "meta")
    found = dict(file.tensors())
    assert found.keys() == tensors.keys()
    for name, tensor in tensors.items():
        assert torch.equal(found[name].view(torch.uint8) if tensor.ndim else found[name], as_bytes(tensor))


def as_bytes(tensor: torch.Tensor) -> torch.Tensor:
    return tensor.view(torch.uint8) if tensor.ndim else tensor
