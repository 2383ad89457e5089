"""What the UNet of a run is told beside noisy latents: words, and by family sizes, a masked picture, a scale."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from tintype.adapters.lora import applied
from tintype.images import to_tensor
from tintype.models import Prepared
from tintype.models.layers import sinusoidal_embedding
from tintype.pipeline.finite import require_finite
from tintype.pipeline.inputs import Inputs
from tintype.pipeline.prompts import Prompts
from tintype.pipeline.settings import Settings
from tintype.types import Conditioning

if TYPE_CHECKING:
    from tintype.pipeline.stable_diffusion import StableDiffusion

SIZE_DIM = 256
"""SDXL is told each of its six sizes as waves of so many frequencies (arXiv 2307.01952, section 2.2)."""


def conditionings(
    model: StableDiffusion,
    settings: Settings,
    scale: float,
    inputs: Inputs,
    prompts: Prompts,
) -> tuple[Prepared, Prepared | None]:
    """The prompts and what to steer away from, as the UNet wants them, one for each picture (b = P * batch_size).

    Guidance 1 asks for no negative prompt; nor does a network that is told the guidance scale and imitates it.
    """
    texts = _texts(model, settings, scale, prompts)
    for text in texts:
        if text.context is not None:
            require_finite(text.context, "text encoder", text.context.dtype)
    concat = masked_picture(model, settings, inputs) if takes_masked_pictures(model) else None
    prepared = []
    for text in texts:
        cond = _with_sizes(model, settings, text.to(model.device))
        cond = cond.map(lambda each: each.repeat_interleave(settings.batch_size, dim=0))  # (P ...) -> (b ...)
        count = settings.num_images
        if concat is not None:
            cond = replace(cond, concat=concat.expand(count, -1, -1, -1))
        if imitates_guidance(model):
            cond = replace(cond, guidance=torch.full((count,), scale, device=model.device))
        with model.turn(), applied(prompts.loras):
            prepared.append(model.unet.prepare(cond))
    return prepared[0], prepared[1] if len(prepared) == 2 else None


def without_effect(model: StableDiffusion, settings: Settings, scale: float) -> tuple[str, ...]:
    """What was asked for and does nothing here."""
    notices: tuple[str, ...] = ()
    if settings.negative_prompt is not None and (scale == 1 or imitates_guidance(model)):
        why = "at guidance_scale 1" if scale == 1 else "with this model, which imitates guidance in one pass"
        notices += (f"negative_prompt has no effect {why}.",)
    if scale == 0 and not imitates_guidance(model):
        notices += (
            "guidance_scale 0 draws the negative prompt alone; 1 is no guidance, which diffusers also calls 0.",
        )
    sizes = [name for name in ("original_size", "crop", "target_size") if getattr(settings, name) is not None]
    if sizes and model.unet.config.vector_dim is None:
        notices += (f"{', '.join(sizes)}: without effect, this model is not told sizes (SDXL is).",)
    return notices


def imitates_guidance(model: StableDiffusion) -> bool:
    """Whether the UNet is told the guidance scale, as latent consistency models are, and needs no second pass."""
    return model.unet.config.guidance_dim is not None


def takes_masked_pictures(model: StableDiffusion) -> bool:
    """Whether the UNet was trained to repaint: it sees a mask and the latents of what is to stay."""
    return model.unet.config.in_channels == 2 * model.autoencoder.config.latent_channels + 1


def masked_picture(model: StableDiffusion, settings: Settings, inputs: Inputs) -> Tensor:
    """(1 5 h w): the mask, 1 where the picture is drawn anew, and the latents of the picture without that part.

    Without a picture all of it is drawn anew; the part that is missing is grey, as in training. The mask comes to the
    size of latents by the nearest pixel.
    """
    width, height = settings.size
    mask, pixels = torch.ones(1, 1, height, width), torch.zeros(1, 3, height, width)
    if inputs.image is not None and inputs.mask is not None:
        mask = (inputs.mask >= 0.5).float()
        pixels = to_tensor(inputs.image) * (1 - mask)
    elif inputs.image is not None:  # image to image: nothing stays as it is
        pixels = torch.zeros_like(to_tensor(inputs.image))
    latents = model.encode(pixels).to(model.device)
    small = torch.nn.functional.interpolate(mask, size=latents.shape[-2:]).to(model.device)
    return torch.cat([small, latents], dim=1)


def _texts(model: StableDiffusion, settings: Settings, scale: float, prompts: Prompts) -> list[Conditioning]:
    how: dict[str, Any] = {name: getattr(settings, name) for name in ("clip_skip", "long_prompt", "emphasis")}
    with model.turn(), prompts.applied():
        if scale == 1 or imitates_guidance(model):
            return [model.conditioner(prompts.texts, **how)]
        pair = model.conditioner.pair(prompts.texts, prompts.negatives, **how)
        return [pair.cond, pair.uncond]


def _with_sizes(model: StableDiffusion, settings: Settings, text: Conditioning) -> Conditioning:
    """SDXL's vector: the pooled text, then the picture's sizes as waves, (P pooled) -> (P pooled + 6 * 256)."""
    if model.unet.config.vector_dim is None or text.vector is None:
        return replace(text, vector=None)
    width, height = settings.size
    sizes = (
        *(settings.original_size or (height, width)),
        *(settings.crop or (0, 0)),
        *(settings.target_size or (height, width)),
    )
    waves = sinusoidal_embedding(torch.tensor(sizes, dtype=torch.float32, device=text.vector.device), SIZE_DIM)
    waves = waves.flatten().expand(len(text.vector), -1)  # (6 256) -> (P 1536)
    return replace(text, vector=torch.cat([text.vector.float(), waves], dim=-1))
