"""Tensors as a pickle describes them: a storage, and which of its elements in which order. Nothing is read.

These are the only things that a pickle can make. Whatever a file says of a tensor is checked here: it has to lie
within its storage and to be no larger. torch/_utils.py, torch/serialization.py (persistent_load)
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from tintype.layouts.dtypes import DTYPES as NAMED
from tintype.layouts.dtypes import DType
from tintype.layouts.pickle_machine import Name
from tintype.layouts.safetensors_reader import TensorInfo

STORAGE_DTYPES = {
    "DoubleStorage": NAMED["float64"],
    "FloatStorage": NAMED["float32"],
    "HalfStorage": NAMED["float16"],
    "BFloat16Storage": NAMED["bfloat16"],
    "LongStorage": NAMED["int64"],
    "IntStorage": NAMED["int32"],
    "ShortStorage": NAMED["int16"],
    "CharStorage": NAMED["int8"],
    "ByteStorage": NAMED["uint8"],
    "BoolStorage": NAMED["bool"],
    "ComplexFloatStorage": NAMED["complex64"],
    "ComplexDoubleStorage": NAMED["complex128"],
    "UntypedStorage": NAMED["uint8"],
}
DTYPES = {f"torch.{name}": dtype for name, dtype in NAMED.items()}


@dataclass(eq=False, slots=True)
class Storage:
    """The bytes that tensors are views of; ``begin`` is where they lie in the file, once that is known."""

    key: str
    dtype: DType
    nbytes: int
    begin: int | None = None


@dataclass(frozen=True)
class StoredTensor(TensorInfo):
    """A tensor that was not read yet. ``PickleFile.tensor`` reads it."""

    storage: Storage = field(repr=False)
    offset: int  # in elements of dtype, as strides are
    strides: tuple[int, ...]


def refer_to(reference: Any, storages: dict[str, Storage]) -> object:
    """What torch refers to outside the pickle: ("storage", type, key, device, number of elements).

    The storage is added to ``storages``, or is the one that has the key there.
    """
    if type(reference) is not tuple or not reference or reference[0] not in ("storage", "module"):
        raise ValueError("something other than a storage is referred to")
    if reference[0] == "module":  # before torch 0.4 with its source text; the class is all that counts
        return reference[1]
    _, kind, key, _, count, *views = reference
    if not isinstance(kind, Name) or type(key) is not str or any(view is not None for view in views):
        raise ValueError(f"the reference to storage {str(key)[:40]!r} is not understood")
    dtype = STORAGE_DTYPES.get(kind.full.split(".")[-1]) if kind.full.startswith("torch.") else None
    if dtype is None:
        raise ValueError(f"storage {key!r} is a {kind.full}, which is not supported")
    nbytes = sizes_of((count,))[0] * dtype.itemsize
    storage = storages.setdefault(key, Storage(key, dtype, nbytes))
    if (storage.dtype, storage.nbytes) != (dtype, nbytes):
        raise ValueError(f"storage {key!r} is referred to with two types or sizes")
    return storage


def _tensor(storage: object, offset: object, shape: object, strides: object, dtype: DType) -> StoredTensor:
    """A tensor that lies within its storage. Without repetition: an expanded tensor can be larger than any memory."""
    if not isinstance(storage, Storage):
        raise ValueError("a tensor has no storage")
    sizes, steps, (begin,) = sizes_of(shape), sizes_of(strides), sizes_of((offset,))
    if len(sizes) != len(steps):
        raise ValueError(f"a tensor has {len(sizes)} sizes and {len(steps)} strides")
    held = storage.nbytes // dtype.itemsize
    if math.prod(sizes) > held or begin + span(sizes, steps) > held:
        raise ValueError(f"a tensor of shape {list(sizes)} does not lie in its storage of {held:,} elements")
    return StoredTensor(sizes, dtype, storage, begin, steps)


def _rebuild_tensor(storage: Any, offset: object, shape: object, strides: object, *_: object) -> StoredTensor:
    return _tensor(storage, offset, shape, strides, storage.dtype if isinstance(storage, Storage) else NAMED["uint8"])


def _rebuild_tensor_v3(
    storage: object,
    offset: object,
    shape: object,
    strides: object,
    _grad: object,
    _hooks: object,
    dtype: Any,
    *_: object,
) -> StoredTensor:
    if not isinstance(dtype, Name) or dtype.full not in DTYPES:
        raise ValueError("a tensor's type is not known")
    return _tensor(storage, offset, shape, strides, DTYPES[dtype.full])


def _rebuild_parameter(tensor: object, *_: object) -> StoredTensor:
    if not isinstance(tensor, StoredTensor):
        raise ValueError("a parameter is no tensor")
    return tensor


def _rebuild_from_type(function: object, _type: object, args: Any, *_: object) -> object:
    """A tensor of a subclass, or with attributes: the tensor."""
    make = CONSTRUCTORS.get(function.full) if isinstance(function, Name) else None
    if make is None or make not in (_rebuild_tensor, _rebuild_tensor_v3, _rebuild_parameter):
        raise ValueError("a tensor of an unknown kind is made")
    return make(*args)


def _ordered_dict(pairs: object = ()) -> dict:
    """A plain dict keeps its order too. Usually made empty and filled afterwards."""
    if not isinstance(pairs, (list, tuple)) or not all(isinstance(p, (list, tuple)) and len(p) == 2 for p in pairs):
        raise ValueError("an ordered dict is made from something that is no list of pairs")
    if not all(type(key) is str for key, _ in pairs):
        raise ValueError("an ordered dict has a key that is no text")
    return dict(pairs)


def _encode(text: object, encoding: object) -> bytes:
    """How Python 2's protocol writes bytes."""
    if type(text) is not str or encoding not in ("latin1", "latin-1"):
        raise ValueError("bytes are made from something that is no text")
    return text.encode("latin1")


def _size(sizes: object) -> tuple[int, ...]:
    return sizes_of(sizes)


CONSTRUCTORS: dict[str, Callable[..., Any]] = {
    "torch._utils._rebuild_tensor": _rebuild_tensor,
    "torch._utils._rebuild_tensor_v2": _rebuild_tensor,
    "torch._utils._rebuild_tensor_v3": _rebuild_tensor_v3,
    "torch._utils._rebuild_parameter": _rebuild_parameter,
    "torch._utils._rebuild_parameter_with_state": _rebuild_parameter,
    "torch.nn.parameter.Parameter": _rebuild_parameter,
    "torch._tensor._rebuild_from_type_v2": _rebuild_from_type,
    "torch.Size": _size,
    "collections.OrderedDict": _ordered_dict,
    "collections.defaultdict": lambda factory=None: {},
    "_codecs.encode": _encode,
}
"""All that a file can make. Every other call becomes a record."""


def sizes_of(values: object) -> tuple[int, ...]:
    """The numbers, where they are at most 16 whole ones from 0 to 2^63 - 1."""
    if not isinstance(values, (tuple, list)) or len(values) > 16:
        raise ValueError("sizes are no list of at most 16 numbers")
    if not all(type(value) is int and 0 <= value < 2**63 for value in values):
        raise ValueError("a size is no whole number from 0")
    return tuple(values)


def span(shape: tuple[int, ...], strides: tuple[int, ...]) -> int:
    """How many elements lie between a tensor's first and its last one, both counted."""
    if 0 in shape:
        return 0
    return 1 + sum((size - 1) * stride for size, stride in zip(shape, strides, strict=True))
