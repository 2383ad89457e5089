"""Less memory in training: a block's inner results are computed again in the backward pass and not kept."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from tintype.models.attention import KeyValue, TransformerBlock
from tintype.models.clip import TransformerLayer
from tintype.models.layers import ResnetBlock


@contextmanager
def checkpointed(network: nn.Module) -> Iterator[None]:
    """Within the block, each ResNet block and transformer layer of ``network`` remembers its inputs only."""
    kinds = (ResnetBlock, TransformerBlock, TransformerLayer)
    blocks = [module for module in network.modules() if isinstance(module, kinds)]
    for block in blocks:
        block.forward = _transformer(block) if isinstance(block, TransformerBlock) else _plain(block)
    try:
        yield
    finally:
        for block in blocks:
            del block.forward


def _plain(block: ResnetBlock | TransformerLayer) -> Any:
    def forward(x: Tensor, other: Tensor | None = None) -> Tensor:  # the time, or which tokens are seen
        return checkpoint(type(block).forward, block, x, other, use_reentrant=False)  # pyright: ignore[reportReturnType]

    return forward


def _transformer(block: TransformerBlock) -> Any:
    def again(x: Tensor, *key_values: KeyValue) -> Tensor:
        return TransformerBlock.forward(block, x, iter(key_values))

    def forward(x: Tensor, text: Iterator[KeyValue]) -> Tensor:
        taken = (next(text),) if block.has_text else ()  # the iterator moves on once, however often this is computed
        return checkpoint(again, x, *taken, use_reentrant=False)  # pyright: ignore[reportReturnType]

    return forward
