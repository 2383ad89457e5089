"""A file is opened as what its first bytes say, whatever its name."""

from __future__ import annotations

import pytest
import torch
from safetensors.torch import save_file

from tintype.errors import CheckpointError
from tintype.layouts.pickle_reader import PickleFile
from tintype.layouts.safetensors_reader import SafetensorsFile
from tintype.layouts.tensor_files import open_tensors

TENSORS = {"a": torch.randn(3, 4), "b": torch.arange(5)}


def same(file) -> bool:
    found = dict(file.tensors())
    return found.keys() == TENSORS.keys() and all(torch.equal(found[name], TENSORS[name]) for name in TENSORS)


@pytest.mark.parametrize("suffix", ["safetensors", "ckpt", "pt", "bin", ""])
@pytest.mark.parametrize("written", ["safetensors", "zip", "pickles"])
def test_the_first_bytes_count(tmp_path, suffix, written):
    path = tmp_path / f"model.{suffix}"
    if written == "safetensors":
        save_file(TENSORS, path, metadata={"k": "v"})
    else:
        torch.save({**TENSORS, "k": "v"}, path, _use_new_zipfile_serialization=written == "zip")
    file = open_tensors(path)
    assert isinstance(file, SafetensorsFile if written == "safetensors" else PickleFile)
    assert same(file) and file.path == path and file.metadata == {"k": "v"}
    assert {name: (info.shape, info.dtype.torch) for name, info in file.infos.items()} == {
        name: (tuple(tensor.shape), tensor.dtype) for name, tensor in TENSORS.items()
    }
    assert file.numbers("a").tolist() == TENSORS["a"].double().tolist()  # without torch
    in_disguise = suffix == "safetensors" and written != "safetensors"
    assert bool(file.notices) == in_disguise
    if in_disguise:
        assert "pickle in spite of its name" in file.notices[0]


def test_safetensors_whose_header_is_as_long_as_a_pickle_begins(tmp_path):
    """A length of 640 is written as the two bytes that begin a pickle of protocol 2."""
    path = tmp_path / "model.ckpt"
    for spaces in range(640):
        save_file(TENSORS, path, metadata={"k": " " * spaces})
        if path.read_bytes()[:2] == b"\x80\x02":
            break
    assert path.read_bytes().startswith(b"\x80\x02")
    assert same(open_tensors(path))


@pytest.mark.parametrize(
    "content", [b"", b"x", b"<!DOCTYPE html><html>", b"PK\5\6" + bytes(18), b"\x1f\x8b" + bytes(20)]
)
def test_something_else_is_a_typed_error(tmp_path, content):
    path = tmp_path / "model.ckpt"
    path.write_bytes(content)
    with pytest.raises(CheckpointError, match=r"model\.ckpt is no safetensors file"):
        open_tensors(path)


def test_a_missing_file_and_a_folder(tmp_path):
    for path in (tmp_path / "nothing.ckpt", tmp_path):
        with pytest.raises(CheckpointError, match="cannot be read"):
            open_tensors(path)
