"""What one call of the UNet costs in latents, and what the same network would cost on the pixels themselves."""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from tintype.adapters.deltas import shape_of
from tintype.illustrate.recording import Recording
from tintype.models import attend_with
from tintype.types import Conditioning

if TYPE_CHECKING:
    from tintype.pipeline.stable_diffusion import StableDiffusion


@dataclass
class _Count:
    """Floating point operations: a multiplication and an addition are two."""

    once: int = 0  # whatever the size of the picture
    places: int = 0  # for each place of a map
    pairs: int = 0  # for each place with each other


def operations(sd: StableDiffusion, recording: Recording) -> tuple[int, int] | None:
    """Operations of one call (one picture, one pass) in latents, and on the pixels. Counted, not timed.

    Convolutions, projections and attention are counted in one real call. A map with f times the sides has f^2 times
    the places, and self-attention f^4 times the pairs of places. None for networks that are told more than text and
    time.
    """
    config = sd.unet.config
    if (
        config.vector_dim
        or config.guidance_dim
        or config.in_channels != config.out_channels
        or recording.context is None
    ):
        return None
    count = _Count()

    def of_layer(layer: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        assert isinstance(layer, nn.Linear | nn.Conv2d)
        each = shape_of(layer)[1:].numel()
        work = 2 * output.numel() * each
        if output.ndim == 2:  # the time
            count.once += work
        else:
            count.places += work

    def attend(q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None = None) -> Tensor:
        work = 4 * q.numel() * k.shape[-2]  # scores, and the sum of values
        if q.shape[-2] == k.shape[-2]:
            count.pairs += work
        else:
            count.places += work
        return nn.functional.scaled_dot_product_attention(q, k, v, attn_mask=mask)

    x = recording.latents[None].to(sd.device, sd.dtype)
    with sd.turn(), ExitStack() as stack:
        prepared = sd.unet.prepare(Conditioning(recording.context[None].to(sd.device)))  # once for a run: not counted
        for layer in sd.unet.modules():
            if isinstance(layer, nn.Conv2d | nn.Linear):
                stack.callback(layer.register_forward_hook(of_layer).remove)
        stack.enter_context(attend_with(sd.unet, attend))
        sd.unet(x, torch.zeros(1, device=sd.device), prepared)
    f = sd.autoencoder.factor**2
    return count.once + count.places + count.pairs, count.once + f * count.places + f**2 * count.pairs
