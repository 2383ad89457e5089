"""Attention by the kernel in ``attention.c``, where it was built and the processor can.

torch's own attention in bf16 is, on processors without AMX, as slow as in fp32. The kernel is for what a picture's
steps are made of: bf16 on a CPU, no gradients, at most one mask for all heads. Whatever else is asked of `attend` torch
does.
"""

from __future__ import annotations

import ctypes

import torch
import torch.nn.functional as F
from torch import Tensor

from tintype.speed import kernels

SMALLEST = 4_096
"""Scores of a head below which setting out costs more than it brings."""

_Strides = ctypes.c_int64 * 12


def unavailable() -> str | None:
    """Why the kernel cannot be used here; None where it can."""
    obstacle = kernels.unavailable()
    if obstacle is None and not kernels.library().tintype_attention_here():
        obstacle = "the processor has AMX, with which torch's own attention is faster"
    return obstacle


def attend(q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None = None) -> Tensor:
    """`Attention.attend`: q (b heads n d), k and v (b heads s d) -> (b heads n d), within bf16's rounding of torch's.

    Raises:
        MemoryError: none is left for keys and values in the kernel's order.
    """
    if not _fits(q, k, v) or not (mask is None or _is_one_for_all(mask, q, k)):
        return F.scaled_dot_product_attention(q, k, v, attn_mask=mask)
    batch, heads, n, d = q.shape
    out = q.new_empty(batch, n, heads, d).transpose(1, 2)  # as the layer after it reads
    strides = _Strides(*(stride for tensor in (q, k, v, out) for stride in tensor.stride()[:3]))
    places = map(kernels.place, (q, k, v, mask, out))
    failed = kernels.library().tintype_attention(
        *places, strides, batch, heads, n, k.shape[2], d, d**-0.5, torch.get_num_threads()
    )
    if failed:
        raise MemoryError(f"Attention of {n} tokens to {k.shape[2]}: no memory for the keys and values in order.")
    return out


def _fits(q: Tensor, k: Tensor, v: Tensor) -> bool:
    """Whether the kernel is for this. It reads memory as it lies, so everything that it relies on is asked here."""
    tensors = (q, k, v)
    return (
        all(kernels.can_read(each) and each.ndim == 4 for each in tensors)
        and all(each.stride(-1) == 1 for each in tensors)
        and k.shape == v.shape
        and q.shape[:2] == k.shape[:2]
        and q.shape[3] == k.shape[3]
        and q.shape[3] % 2 == 0
        and q.shape[2] * k.shape[2] >= SMALLEST
        and not (torch.is_grad_enabled() and any(each.requires_grad for each in tensors))
    )


def _is_one_for_all(mask: Tensor, q: Tensor, k: Tensor) -> bool:
    return (
        mask.shape == (q.shape[2], k.shape[2])
        and mask.dtype == q.dtype
        and mask.device == q.device
        and mask.is_contiguous()
        and not (torch.is_grad_enabled() and mask.requires_grad)
    )
