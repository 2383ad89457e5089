"""Attention: where every token looks at every other, and where text enters the picture.

``Attention.attend`` is the one seam: the only place in Tintype where attention is computed. Whoever wants to
record heat maps, use a faster kernel or bend attention replaces that one function on an instance
(`attend_with`), and nothing else in this folder changes.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tintype.models.layers import GroupNorm

KeyValue = tuple[Tensor, Tensor]
"""Keys and values split into heads, each (b heads s d)."""

Attend = Callable[..., Tensor]
"""(q, k, v, mask=None) -> (b heads n d), all in heads: q (b heads n d), k and v (b heads s d)."""


class Attention(nn.Module):
    """Multi-head attention: softmax(q k^T / sqrt(d)) v ("Attention Is All You Need", arXiv 1706.03762, eq. 1).

    Keys and values are projected apart from the queries, since those of the text are the same at every step:

        attention(x, attention.project(x))          # self-attention
        attention(x, attention.project(context))    # cross-attention
    """

    def __init__(self, dim: int, context_dim: int | None = None, *, num_heads: int, qkv_bias: bool = False) -> None:
        super().__init__()
        context_dim = context_dim or dim
        self.num_heads = num_heads
        self.to_q = nn.Linear(dim, dim, bias=qkv_bias)
        self.to_k = nn.Linear(context_dim, dim, bias=qkv_bias)
        self.to_v = nn.Linear(context_dim, dim, bias=qkv_bias)
        self.to_out = nn.Linear(dim, dim)

    def project(self, context: Tensor) -> KeyValue:
        """(b s context_dim) -> keys and values, each (b heads s d)."""
        return self.split(self.to_k(context)), self.split(self.to_v(context))

    def split(self, x: Tensor) -> Tensor:
        """(b n heads*d) -> (b heads n d)."""
        return x.unflatten(-1, (self.num_heads, -1)).transpose(1, 2)

    def forward(self, x: Tensor, key_value: KeyValue, mask: Tensor | None = None) -> Tensor:
        k, v = key_value
        out = self.attend(self.split(self.to_q(x)), k, v, mask)  # (b heads n d)
        return self.to_out(out.transpose(1, 2).flatten(2))  # (b n heads*d)

    def attend(self, q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None = None) -> Tensor:
        """The seam. ``mask`` is added to the scores before the softmax, (n s) or broadcastable to (b heads n s)."""
        return F.scaled_dot_product_attention(q, k, v, attn_mask=mask)


def attend_by_matmul(q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None = None) -> Tensor:
    """Attention written out. Its backward pass on a CPU is about twice as fast as the fused kernel's."""
    scores = (q * (1 / math.sqrt(q.shape[-1]))) @ k.transpose(-2, -1)  # (b heads n s)
    if mask is not None:
        scores = scores + mask
    return scores.softmax(dim=-1) @ v


@contextmanager
def attend_with(model: nn.Module, attend: Attend) -> Iterator[None]:
    """Within the block, every `Attention` of ``model`` computes with ``attend``. Nests; leaves no trace."""
    layers = [module for module in model.modules() if isinstance(module, Attention)]
    found = [vars(layer).get("attend") for layer in layers]
    for layer in layers:
        layer.attend = attend
    try:
        yield
    finally:
        for layer, before in zip(layers, found, strict=True):
            if before is None:
                del layer.attend
            else:
                layer.attend = before


class FeedForward(nn.Module):
    """A gated layer between attentions, (b n dim) -> (b n dim). GEGLU: arXiv 2002.05202, eq. 6."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.up = nn.Linear(dim, 8 * dim)
        self.down = nn.Linear(4 * dim, dim)

    def forward(self, x: Tensor) -> Tensor:
        return self.down(self.gated(self.up(x)))

    def gated(self, both: Tensor) -> Tensor:
        """Values times GELU of their gates, (b n 8*dim) -> (b n 4*dim)."""
        value, gate = both.chunk(2, dim=-1)
        return value * F.gelu(gate)


class TransformerBlock(nn.Module):
    """The picture looks at itself, then at the text, then thinks. (b n dim) -> (b n dim).

    Without text (``context_dim`` None) the middle part is absent.
    """

    def __init__(self, dim: int, context_dim: int | None, num_heads: int) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(dim)
        self.self_attention = Attention(dim, num_heads=num_heads)
        if context_dim:
            self.norm2 = nn.LayerNorm(dim)
            self.cross_attention = Attention(dim, context_dim, num_heads=num_heads)
        self.norm3 = nn.LayerNorm(dim)
        self.feed_forward = FeedForward(dim)
        self.has_text = bool(context_dim)

    def forward(self, x: Tensor, text: Iterator[KeyValue]) -> Tensor:
        normed = self.norm1(x)
        x = x + self.self_attention(normed, self.self_attention.project(normed))
        if self.has_text:
            x = x + self.cross_attention(self.norm2(x), next(text))
        return x + self.feed_forward(self.norm3(x))


class SpatialTransformer(nn.Module):
    """Transformer blocks on a map of features: every place becomes a token, (b c h w) -> (b c h w).

    ``text`` yields the keys and values of each cross-attention, in the order in which they are met.
    """

    def __init__(self, channels: int, context_dim: int | None, *, num_heads: int, depth: int, groups: int) -> None:
        super().__init__()
        self.norm = GroupNorm(groups, channels, eps=1e-6)
        self.proj_in = nn.Linear(channels, channels)
        self.blocks = nn.ModuleList(TransformerBlock(channels, context_dim, num_heads) for _ in range(depth))
        self.proj_out = nn.Linear(channels, channels)

    def forward(self, x: Tensor, text: Iterator[KeyValue]) -> Tensor:
        b, c, h, w = x.shape
        tokens = self.norm(x).permute(0, 2, 3, 1).reshape(b, h * w, c)  # (b c h w) -> (b n c)
        tokens = self.proj_in(tokens)
        for block in self.blocks:
            tokens = block(tokens, text)
        out = self.proj_out(tokens).reshape(b, h, w, c).permute(0, 3, 1, 2)  # (b n c) -> (b c h w)
        return x + out


def causal_mask(length: int, like: Tensor) -> Tensor:
    """(length length): 0 where a token may look, -inf at those that come after it."""
    return torch.full((length, length), -math.inf, dtype=like.dtype, device=like.device).triu(1)
