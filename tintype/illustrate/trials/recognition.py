"""How CLIP learns: pictures and captions, two encoders, one matrix of similarities; real steps, thrown away after."""

from __future__ import annotations

import copy
from dataclasses import dataclass
from math import sqrt
from typing import TYPE_CHECKING

import torch
from PIL import Image
from torch import Tensor, nn

from tintype.illustrate.trials.learning import Rows, free_memory
from tintype.images import to_tensor
from tintype.models import CLIP, ImageEncoderConfig, attend_by_matmul, attend_with, normalize_pixels
from tintype.training.tasks.contrastive import Pairs, initialize, token_ids

if TYPE_CHECKING:
    from tintype.pipeline.stable_diffusion import StableDiffusion

PAIRS = 8
STEPS = 40
LEARNING_RATE = 1e-4
SIDE, PATCH, WIDTH, LAYERS, HEADS = 128, 16, 256, 4, 4
"""Of the image encoder that is begun anew: the box's own shape."""


@dataclass(frozen=True)
class Recognition:
    """Pairs, their embeddings before (b d), similarities (b b) before, after one step and after ``steps``.

    The text encoder begins as a copy of the model's own; the image encoder, which no Stable Diffusion keeps, begins
    at random. ``gradients``: (image encoder, text encoder), norms of the first step.
    """

    pictures: tuple[Image.Image, ...]
    captions: tuple[str, ...]
    image_embeddings: Tensor
    text_embeddings: Tensor
    before: Tensor
    once: Tensor
    after: Tensor
    losses: tuple[float, ...]
    gradients: tuple[float, float]
    steps: int


def recognise(sd: StableDiffusion, rows: Rows, *, steps: int = STEPS, seed: int = 0) -> Recognition | None:
    """Take real steps of contrastive training on some rows; None where memory does not allow it."""
    encoder = sd.conditioner.towers[0].encoder
    if 16 * sum(p.numel() for p in encoder.parameters()) > (free_memory() or 2**31) / 2:
        return None
    chosen = _different(rows)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        dim = encoder.config.projection_dim or encoder.config.dim
        shape = ImageEncoderConfig(SIDE, PATCH, WIDTH, LAYERS, HEADS, 4 * WIDTH, "quick_gelu", dim)
        clip = initialize(CLIP(encoder.config, shape))
    clip.text = copy.deepcopy(encoder).float()
    clip.requires_grad_(True)
    clip.to(sd.device)
    pictures = tuple(rows.pictures[i] for i in chosen)
    captions = tuple(rows.captions[i] for i in chosen)
    pixels = torch.cat([to_tensor(picture.resize((SIDE, SIDE))) for picture in pictures]).to(sd.device)
    batch = Pairs(pixels, token_ids(sd.conditioner.towers[0].tokenizer, list(captions)).to(sd.device))
    return _train(clip, batch, pictures, captions, steps)


def _train(
    clip: CLIP, batch: Pairs, pictures: tuple[Image.Image, ...], captions: tuple[str, ...], steps: int
) -> Recognition:
    optimizer = torch.optim.AdamW(clip.parameters(), lr=LEARNING_RATE, betas=(0.9, 0.99))
    ids = batch.ids
    losses, similarities, first, gradients = [], [], None, (0.0, 0.0)
    with torch.enable_grad(), attend_with(clip, attend_by_matmul):
        for step in range(steps + 1):
            image, text = clip(normalize_pixels(batch.pixels), ids)
            logits = clip.logit_scale.exp() * image @ text.T  # (b b)
            pairs = torch.arange(len(logits), device=logits.device)
            cross_entropy = nn.functional.cross_entropy
            loss = (cross_entropy(logits, pairs) + cross_entropy(logits.T, pairs)) / 2
            losses.append(float(loss))
            similarities.append((image @ text.T).detach().cpu())
            first = first or (image.detach().cpu(), text.detach().cpu())
            if step == steps:
                break
            optimizer.zero_grad()
            loss.backward()
            if step == 0:
                gradients = (_norm(clip.image), _norm(clip.text))
            optimizer.step()
    assert first is not None
    return Recognition(
        pictures, captions, *first, similarities[0], similarities[1], similarities[-1], tuple(losses), gradients, steps
    )


def _norm(network: nn.Module) -> float:
    return sqrt(sum(float(p.grad.square().sum()) for p in network.parameters() if p.grad is not None))


def _different(rows: Rows) -> list[int]:
    """Rows whose captions all differ."""
    chosen: dict[str, int] = {}
    for index, caption in enumerate(rows.captions):
        chosen.setdefault(caption, index)
    return list(chosen.values())[:PAIRS]
