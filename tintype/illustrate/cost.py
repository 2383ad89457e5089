"""What one call of the UNet costs in latents, and what the same network would cost on the pixels themselves."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch.utils.flop_counter import FlopCounterMode

from tintype.illustrate.recording import Recording
from tintype.models import UNet
from tintype.types import Conditioning

if TYPE_CHECKING:
    from tintype.pipeline.stable_diffusion import StableDiffusion


def operations(sd: StableDiffusion, recording: Recording) -> tuple[int, int] | None:
    """Floating point operations of one call (one picture, one pass) in latents, and on pixels. Counted, not timed.

    The network is built without memory: shapes are computed, numbers are not. None for networks that are told more
    than text and time.
    """
    config = sd.unet.config
    if config.vector_dim or config.guidance_dim or recording.context is None:
        return None
    with torch.device("meta"):
        unet = UNet(config)
        context = torch.empty(1, *recording.context.shape)
    _, h, w = recording.latents.shape
    found = []
    for factor in (1, sd.autoencoder.factor):
        with torch.device("meta"):
            x, t = torch.empty(1, config.in_channels, factor * h, factor * w), torch.empty(1)
        with torch.no_grad(), FlopCounterMode(display=False) as counter:
            unet(x, t, Conditioning(context))
        found.append(counter.get_total_flops())
    return found[0], found[1]
