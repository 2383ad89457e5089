"""Reading what ``torch.save`` wrote (``.ckpt``, ``.pt``, ``.bin``) without running any of it.

Two formats. Since torch 1.6, a zip archive: ``<name>/data.pkl``, the objects, and ``<name>/data/<key>``, the bytes of
each storage. Before, a row of pickles in one file (a magic number, a version, the machine, the objects, the storages'
keys) and then each storage, its length before it. The pickles go through ``pickle_machine``, which calls nothing; every
tensor is checked to lie within its storage, and is read by memory map when it is asked for. torch/serialization.py
"""

from __future__ import annotations

import math
import mmap
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from tintype.errors import CheckpointError
from tintype.layouts.pickle_machine import Machine
from tintype.layouts.safetensors_reader import TensorInfo
from tintype.layouts.state_dict import find_state_dict, small_values
from tintype.layouts.stored_tensors import CONSTRUCTORS, Storage, StoredTensor, refer_to, span
from tintype.layouts.zip_directory import read_directory

if TYPE_CHECKING:
    from torch import Tensor

ZIP_BEGINS = b"PK\3\4"
MAGIC_NUMBER = 0x1950A86A20F9469CFC6C
VERSION = 1001
MAX_SHARING = 8  # how often a byte of the file may stand in tensors; tied and averaged weights make it 2

DAMAGED = (ValueError, TypeError, IndexError, KeyError, OverflowError, struct.error)


class PickleFile:
    """An opened file. No weight is read before ``tensors`` or ``tensor``.

    ``infos``: the tensors of the innermost state dict, by dotted names. ``tree``: everything, as dicts, lists, numbers
    and text, with tensors as ``StoredTensor`` and objects of other classes as ``Record``. ``metadata``: the numbers
    and short texts beside the state dict. ``notices``: what a user should be told.

    Raises ``CheckpointError`` for a file that is damaged, hostile, or has no tensors.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        self._storages: dict[str, Storage] = {}
        try:
            with self.path.open("rb") as file:
                # Copy on write: torch wants memory that may be written; the file is never changed.
                self._data = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_COPY)
            self.tree = self._read_zip() if self._data[:4] == ZIP_BEGINS else self._read_pickles()
            self._stored, around = find_state_dict(self.tree)
            self._check_sharing()
        except OSError as error:
            raise CheckpointError(f"{self.path} cannot be read: {error.strerror or error}.") from error
        except DAMAGED as error:
            raise CheckpointError(f"{self.path} cannot be read as weights saved by torch: {_said(error)}.") from error
        self.metadata = small_values(around)
        self.infos = {name: TensorInfo(stored.shape, stored.dtype) for name, stored in self._stored.items()}
        self.notices = ()
        if self.path.suffix == ".safetensors":
            self.notices = (f"{self.path.name} is a pickle in spite of its name; it was read without running it.",)

    def tensors(self) -> Iterator[tuple[str, Tensor]]:
        """(name, tensor) one after the other, on the CPU, each a view of the mapped file where it lies evenly."""
        for name, stored in self._stored.items():
            yield name, self.tensor(stored)

    def tensor(self, stored: StoredTensor) -> Tensor:
        """Reads one tensor of ``tree``."""
        import torch

        dtype, size = stored.dtype.torch, stored.dtype.itemsize
        count = span(stored.shape, stored.strides)
        if stored.storage.begin is None or count == 0:
            return torch.empty(stored.shape, dtype=dtype)
        begin = stored.storage.begin + stored.offset * size
        if begin % size:  # the old format aligns nothing
            flat = torch.frombuffer(self._data, dtype=torch.uint8, count=count * size, offset=begin).clone()
            flat = flat.view(dtype)
        else:
            flat = torch.frombuffer(self._data, dtype=dtype, count=count, offset=begin)
        return flat.as_strided(stored.shape, stored.strides)

    def numbers(self, name: str) -> NDArray[np.float64]:
        """One small tensor, without torch."""
        return self.numbers_of(self._stored[name])

    def numbers_of(self, stored: StoredTensor) -> NDArray[np.float64]:
        """One small tensor of ``tree``, without torch. ``CheckpointError`` where that cannot be."""
        size, count = stored.dtype.itemsize, span(stored.shape, stored.strides)
        if stored.storage.begin is None or count == 0:
            return np.zeros(stored.shape)
        begin = stored.storage.begin + stored.offset * size
        try:
            flat = stored.dtype.numbers(self._data[begin : begin + count * size])
        except ValueError as error:
            raise CheckpointError(f"{self.path} cannot be read: {error}.") from error
        strides = tuple(step * flat.itemsize for step in stored.strides)
        return np.lib.stride_tricks.as_strided(flat, stored.shape, strides).copy()

    def _read_zip(self) -> object:
        entries = read_directory(self._data)
        roots = [name.removesuffix("data.pkl") for name in entries if name.endswith("/data.pkl")]
        if len(roots) != 1:
            raise ValueError(f"a zip archive of torch has one data.pkl, this one has {len(roots)}")
        (root,) = roots
        if f"{root}constants.pkl" in entries:
            raise ValueError("it is a TorchScript program, not weights")
        for entry in entries.values():
            if not entry.is_stored:
                raise ValueError(f"{entry.name} is compressed, which torch does not do")
        order = entries.get(f"{root}byteorder")
        if order is not None and order.read(self._data) != b"little":
            raise ValueError("its bytes are in big-endian order, which is not supported")
        machine = Machine(entries[f"{root}data.pkl"].read(self._data), CONSTRUCTORS, self._refer)
        tree = machine.load()
        for storage in self._storages.values():
            entry = entries.get(f"{root}data/{storage.key}")
            if entry is None or entry.size < storage.nbytes:
                there = "is missing" if entry is None else f"has {entry.size:,} bytes"
                raise ValueError(f"storage {storage.key!r} should have {storage.nbytes:,} bytes, and {there}")
            storage.begin = entry.begin
        return tree

    def _read_pickles(self) -> object:
        machine = Machine(self._data, CONSTRUCTORS, self._refer)
        if machine.load() != MAGIC_NUMBER:
            raise ValueError("it is a pickle, but torch.save did not write it")
        if (version := machine.load()) != VERSION:
            raise ValueError(f"its version is {version!r}, expected {VERSION}")
        made_on = machine.load()
        if not isinstance(made_on, dict) or made_on.get("little_endian") is not True:
            raise ValueError("its bytes are in big-endian order, which is not supported")
        tree = machine.load()
        keys = machine.load()
        if type(keys) is not list or len(set(keys)) != len(keys) or set(keys) != set(self._storages):
            raise ValueError("the storages that it lists are not those that its tensors use")
        at = machine.at
        for key in keys:
            storage = self._storages[key]
            (count,) = struct.unpack_from("<q", self._data, at)
            if count * storage.dtype.itemsize != storage.nbytes or at + 8 + storage.nbytes > len(self._data):
                raise ValueError(f"storage {key!r} should have {storage.nbytes:,} bytes, which are not there")
            storage.begin = at + 8
            at += 8 + storage.nbytes
        return tree

    def _refer(self, reference: object) -> object:
        return refer_to(reference, self._storages)

    def _check_sharing(self) -> None:
        """ValueError where a small file says that it is a large model."""
        total = sum(math.prod(stored.shape) * stored.dtype.itemsize for stored in self._stored.values())
        if total > MAX_SHARING * len(self._data):
            raise ValueError(f"its tensors take {total:,} bytes, all of them views of {len(self._data):,} bytes")


def _said(error: Exception) -> str:
    """An exception of the machine in words."""
    if isinstance(error, (IndexError, KeyError, TypeError)):
        return f"its pickle is damaged ({type(error).__name__}: {str(error)[:80]})"
    return str(error)[:300]
