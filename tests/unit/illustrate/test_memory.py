"""What a recording holds: at most 64 MiB for 50 steps of Stable Diffusion 1.5 at 512 x 512."""

from __future__ import annotations

from dataclasses import fields, is_dataclass

import pytest
import torch
from torch import Tensor

from tintype.illustrate import record
from tintype.illustrate.attention_heat import HeatRecorder
from tintype.illustrate.features import SHOWN, THUMBNAIL
from tintype.illustrate.recorder import NOISE_BYTES, NUM_FEATURE_STEPS
from tintype.illustrate.structure import level_sizes, places
from tintype.models import UNet
from tintype.models.presets import SD1_UNET


def tensors(value) -> dict[int, int]:
    """The bytes of each storage that a record holds, by its place in memory."""
    if isinstance(value, Tensor):
        return {value.untyped_storage().data_ptr(): value.untyped_storage().nbytes()}
    found: dict[int, int] = {}
    if is_dataclass(value):
        for field in fields(value):
            found |= tensors(getattr(value, field.name))
    elif isinstance(value, tuple | list):
        for each in value:
            found |= tensors(each)
    return found


def bytes_at_most(unet: UNet, size: tuple[int, int], entries: int, steps: int, context: int) -> dict[str, int]:
    """What 50 steps hold, by what it is for: the sum of all tensors that ``Recording`` can have."""
    heat = HeatRecorder(unet, size, torch.ones(context, entries), steps)
    sizes = level_sizes(size, len(unet.config.channels))
    places_of = [h * w for h, w in sizes]
    latents = 4 * 4 * size[0] * size[1]
    found = places(unet)
    thumbnails = sum(
        3 * min(h, THUMBNAIL) * min(w, THUMBNAIL) * (4 + 1)  # as values until the end, then as bytes
        for h, w in (sizes[place.level] for place in found if place.kind in SHOWN)
    )
    return {
        "x and estimates": (2 * steps + 2) * latents,
        "noise with and without the prompt": min(2 * steps * latents, max(NOISE_BYTES, steps * latents)),
        "heat by step": sum(4 * each.maps.numel() for each in heat._resolutions.values()),
        "heat by layer": sum(2 * 4 * entries * places_of[p.level] for p in found if p.kind == "cross-attention"),
        "colours": NUM_FEATURE_STEPS * thumbnails,
        "time": 4 * steps * unet.config.time_dim,
        "text": 2 * 4 * context * (unet.config.context_dim or 0),
    }


@pytest.mark.parametrize("entries", [12, 77])
def test_fifty_steps_of_stable_diffusion_fit(entries):
    with torch.device("meta"):
        unet = UNet(SD1_UNET)
    parts = bytes_at_most(unet, (64, 64), entries, 50, 77)
    print({name: f"{size / 2**20:.1f} MiB" for name, size in parts.items()}, f"{sum(parts.values()) / 2**20:.1f} MiB")
    assert sum(parts.values()) <= 64 * 2**20


def test_the_formula_bounds_what_is_held(sd):
    run = sd.text2img("a paradise cosmic beach", seed=5, steps=9, sampler="ddim")
    recording = record(run).recording(decode=0)
    entries = 1 + max(token.entry for token in recording.tokens)
    bound = bytes_at_most(sd.unet, (8, 8), entries, 9, 77)
    held = sum(tensors(recording).values())
    print(f"held {held} bytes, bound {sum(bound.values())}")
    assert held <= sum(bound.values())
    assert held > 0.3 * sum(bound.values())
