"""The library of kernels in C beside this file, where a compiler was when the package was built and the processor can.

They are for bf16 on processors with AVX-512 bf16. What uses them has torch's way beside it.
"""

from __future__ import annotations

import ctypes
import os
from functools import cache
from pathlib import Path

import torch
from torch import Tensor

LIBRARY = Path(__file__).with_name("libtintype.so")

LANES = 16
"""Numbers that are computed with at once. Widths must be multiples of it where a kernel says so."""

_POINTER, _INTEGER, _FLOAT, _INT = ctypes.c_void_p, ctypes.c_int64, ctypes.c_float, ctypes.c_int
_FUNCTIONS = {
    "tintype_attention": [*[_POINTER] * 5, ctypes.POINTER(_INTEGER), *[_INTEGER] * 5, _FLOAT, _INT],
    "tintype_geglu": [*[_POINTER] * 3, *[_INTEGER] * 2, _INT],
    "tintype_quick_gelu": [_POINTER, _INTEGER, _INT],
    "tintype_normalize": [*[_POINTER] * 8, *[_INTEGER] * 5, _FLOAT, _INT, _INT],
}


@cache
def unavailable() -> str | None:
    """Why the kernels cannot be used here; None where they can."""
    if not LIBRARY.exists():
        return "it was not built: there was no C compiler, or the processor is not of the kind that it is for"
    try:
        here = bool(library().tintype_here())
    except (OSError, AttributeError) as error:  # of another machine, or another version
        return f"{LIBRARY.name} cannot be loaded: {error}"
    return None if here else "the processor has no AVX-512 bf16"


def can_read(x: Tensor) -> bool:
    """Whether these are numbers for the kernels. How they must lie, each says by itself."""
    return x.dtype == torch.bfloat16 and x.device.type == "cpu" and x.numel() > 0


def place(x: Tensor | None) -> int | None:
    """Where a tensor's numbers begin, for a kernel; who calls it keeps the tensor."""
    return None if x is None else x.data_ptr()


@cache
def library() -> ctypes.CDLL:
    """The library, told how its functions are called and whose threads to use."""
    found = ctypes.CDLL(str(LIBRARY))
    for name, arguments in _FUNCTIONS.items():
        getattr(found, name).argtypes = arguments
    found.tintype_use.argtypes, found.tintype_use.restype = [_POINTER], None
    found.tintype_use(team_of_torch())
    return found


def team_of_torch() -> ctypes.c_void_p | None:
    """GNU OpenMP's way into the threads that torch computes with, where its wheel brings that."""
    for path in Path(torch.__file__).parent.glob("lib/libgomp*"):
        try:
            loaded = ctypes.CDLL(str(path), mode=os.RTLD_NOW | os.RTLD_NOLOAD)
            return ctypes.cast(loaded.GOMP_parallel, _POINTER)
        except (OSError, AttributeError):  # it is not the one in use
            continue
    return None
