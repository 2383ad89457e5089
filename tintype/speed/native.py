"""Kernels of our own (``kernels/``), where a compiler was when the package was built and the processor can run them.

torch's own attention in bf16 is, on processors without AMX, as slow as in fp32; between normalisation and SiLU it
writes a map that nobody needs. The kernels are for what pictures are made of: bf16 on a CPU, no mask, no gradients,
maps that lie channels-last. Whatever else is asked of a seam the networks' own way does.
"""

from __future__ import annotations

import ctypes
import os
from collections.abc import Callable
from functools import cache
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tintype.models import Attention
from tintype.models.layers import NormSiLU

LIBRARY = Path(__file__).with_name("kernels.so")

SMALLEST = 16_384
"""Scores of a head, or numbers of a map, below which setting out costs more than it brings."""

_Strides = ctypes.c_int64 * 12
_POINTER, _SIZE, _FLOAT, _THREADS = ctypes.c_void_p, ctypes.c_int64, ctypes.c_float, ctypes.c_int


@cache
def unavailable() -> str | None:
    """Why the kernels cannot be used here; None where they can."""
    if not LIBRARY.exists():
        return "they were not built: there was no C compiler, or the processor is not of the kind that they are for"
    try:
        here = bool(ctypes.CDLL(str(LIBRARY)).tintype_here())
    except (OSError, AttributeError) as error:  # of another machine, or another version
        return f"{LIBRARY.name} cannot be loaded: {error}"
    return None if here else "the processor has no AVX-512 bf16, or it has AMX, with which torch's own are faster"


@cache
def _library() -> ctypes.CDLL:
    library = ctypes.CDLL(str(LIBRARY))
    strides = ctypes.POINTER(ctypes.c_int64)
    library.tintype_attention.argtypes = [*[_POINTER] * 4, strides, *[_SIZE] * 5, _FLOAT, _THREADS]
    library.tintype_norm_silu.argtypes = [*[_POINTER] * 4, *[_SIZE] * 4, _FLOAT, _THREADS]
    library.tintype_use.restype = None
    library.tintype_use.argtypes = [_POINTER]
    library.tintype_use(_team_of_torch())
    return library


def _team_of_torch() -> ctypes.c_void_p | None:
    """GNU OpenMP's way into the threads that torch computes with, where its wheel brings that."""
    for path in Path(torch.__file__).parent.glob("lib/libgomp*"):
        try:
            loaded = ctypes.CDLL(str(path), mode=os.RTLD_NOW | os.RTLD_NOLOAD)
            return ctypes.cast(loaded.GOMP_parallel, _POINTER)
        except (OSError, AttributeError):  # it is not the one in use
            continue
    return None


def attend(q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None = None) -> Tensor:
    """`Attention.attend`: q (b heads n d), k and v (b heads s d) -> (b heads n d), within bf16's rounding of torch's.

    Raises:
        MemoryError: none is left for keys and values in the kernel's order.
    """
    if mask is not None or not _fits(q, k, v):
        return F.scaled_dot_product_attention(q, k, v, attn_mask=mask)
    batch, heads, n, d = q.shape
    out = q.new_empty(batch, n, heads, d).transpose(1, 2)  # as the layer after it reads
    tensors = (q, k, v, out)
    strides = _Strides(*(stride for tensor in tensors for stride in tensor.stride()[:3]))
    places = (tensor.data_ptr() for tensor in tensors)
    failed = _library().tintype_attention(
        *places, strides, batch, heads, n, k.shape[2], d, d**-0.5, torch.get_num_threads()
    )
    if failed:
        raise MemoryError(f"Attention of {n} tokens to {k.shape[2]}: no memory for the keys and values in order.")
    return out


def norm_silu(x: Tensor, groups: int, weight: Tensor, bias: Tensor, eps: float, fresh: bool) -> Tensor:
    """`NormSiLU.compute`, (b c h w) -> (b c h w), rounded once.

    Raises:
        MemoryError: none is left for the sums.
    """
    usable = _plain(x, weight, bias) and x.ndim == 4 and x.is_contiguous(memory_format=torch.channels_last)
    if not usable or x.numel() < SMALLEST:
        return NormSiLU.compute(x, groups, weight, bias, eps, fresh)
    out = x if fresh else torch.empty_like(x)
    batch, channels, height, width = x.shape
    places = (tensor.data_ptr() for tensor in (x, out, weight, bias))
    if _library().tintype_norm_silu(*places, batch, height * width, channels, groups, eps, torch.get_num_threads()):
        raise MemoryError(f"Group normalisation of {tuple(x.shape)}: no memory for the sums.")
    return out


SEAMS: dict[type[nn.Module], tuple[str, Callable[..., Tensor]]] = {
    Attention: ("attend", attend),
    NormSiLU: ("compute", norm_silu),
}
"""Kinds of layers, the name of the one function in each that may be replaced, and what replaces it."""


def _plain(*tensors: Tensor) -> bool:
    """bf16 on a CPU, and no gradients are asked for: what all kernels rely on, since they read memory as it lies."""
    return all(each.dtype == torch.bfloat16 and each.device.type == "cpu" for each in tensors) and not (
        torch.is_grad_enabled() and any(each.requires_grad for each in tensors)
    )


def _fits(q: Tensor, k: Tensor, v: Tensor) -> bool:
    """Whether the kernel for attention is for this."""
    tensors = (q, k, v)
    return (
        _plain(*tensors)
        and all(each.ndim == 4 and each.stride(-1) == 1 for each in tensors)
        and k.shape == v.shape
        and q.shape[:2] == k.shape[:2]
        and q.shape[3] == k.shape[3]
        and q.shape[3] % 2 == 0
        and q.shape[2] * k.shape[2] >= SMALLEST
    )
