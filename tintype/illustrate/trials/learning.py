"""How the noise predictor learns: training rows, and a real training step on a copy that is thrown away."""

from __future__ import annotations

import copy
import json
import os
from dataclasses import dataclass
from math import sqrt
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from PIL import Image
from torch import Tensor, nn

from tintype.diffusion import Denoiser
from tintype.images import to_tensor
from tintype.models import attend_by_matmul, attend_with
from tintype.training.tasks.contrastive import token_ids
from tintype.types import Conditioning

if TYPE_CHECKING:
    from tintype.pipeline.stable_diffusion import StableDiffusion

BOX = Path(__file__).parents[2] / "box"
ROWS = "training_rows.json"
LEARNING_RATE = 1e-4

AMOUNTS = (3, 14, 7, 42, 2, 21)
"""The article's amounts of noise in its table of training examples, on its scale of 50."""


@dataclass(frozen=True)
class Rows:
    """Pictures with captions. ``own``: whether the model was trained on them; ``of``: how many there were."""

    pictures: tuple[Image.Image, ...]
    captions: tuple[str, ...]
    own: bool
    of: int


@dataclass(frozen=True)
class Example:
    """A training example: a picture, a known amount of noise, both together, and the caption.

    ``latents``, ``noise`` and ``noisy`` are (c h w); ``noisy`` is of about unit variance, as the network sees it.
    """

    picture: Image.Image
    caption: str
    amount: int
    timestep: int
    sigma: float
    latents: Tensor
    noise: Tensor
    noisy: Tensor
    noisy_image: Image.Image | None


@dataclass(frozen=True)
class TrainingStep:
    """One step on a copy of the UNet: what it predicted, how wrong it was, what changed, how wrong it is then.

    ``gradients``: the norm by part of the network. ``moved``: the norm of the change of all weights over that of the
    weights themselves.
    """

    predicted: tuple[Tensor, ...]
    loss: float
    loss_after: float
    gradients: tuple[tuple[str, float], ...]
    moved: float
    parameters: int


@dataclass(frozen=True)
class Learning:
    """Rows, examples of them, and a step; ``step`` None with ``why_not`` where it could not be taken."""

    rows: Rows
    examples: tuple[Example, ...]
    step: TrainingStep | None
    why_not: str | None = None


def training_rows(sd: StableDiffusion) -> Rows:
    """Rows that stand beside the model, on which it was trained; or else those of the box."""
    place = sd.source if sd.source is not None and (sd.source / ROWS).is_file() else BOX
    facts = json.loads((place / ROWS).read_text(encoding="utf-8"))
    size, across = facts["size"], facts["across"]
    with Image.open(place / ROWS.replace(".json", ".webp")) as sheet:
        pictures = [
            sheet.crop((i % across * size, i // across * size, (i % across + 1) * size, (i // across + 1) * size))
            for i in range(len(facts["captions"]))
        ]
    return Rows(tuple(pictures), tuple(facts["captions"]), place == sd.source, facts["of"])


def learn(sd: StableDiffusion, seed: int = 0) -> Learning:
    """Make six training examples as training does, and take one step on them if memory allows."""
    rows = training_rows(sd)
    generator = torch.Generator().manual_seed(seed)
    factor = sd.autoencoder.factor
    side = max(8 * factor, rows.pictures[0].width)
    examples = []
    for number, amount in enumerate(AMOUNTS):
        picture = rows.pictures[number].resize((side, side)) if side != rows.pictures[0].width else rows.pictures[number]
        latents = sd.encode(to_tensor(picture))[0].cpu()
        noise = torch.randn(latents.shape, generator=generator)
        t = round(amount / 50 * (sd.schedule.num_train_timesteps - 1))
        sigma = float(sd.schedule.sigmas[t])
        noisy = (latents + sigma * noise) / sqrt(1 + sigma**2)
        image = sd.images(noisy[None])[0] if number < 2 else None
        examples.append(Example(picture, rows.captions[number], amount, t, sigma, latents, noise, noisy, image))
    needed, free = 16 * sum(p.numel() for p in sd.unet.parameters()), free_memory()
    if sd.unet.config.vector_dim or sd.unet.config.in_channels != sd.unet.config.out_channels:
        return Learning(rows, tuple(examples), None, "kind")
    if needed > (free or 2**31) / 2:
        return Learning(rows, tuple(examples), None, "memory")
    return Learning(rows, tuple(examples), train_once(sd, tuple(examples)))


def free_memory() -> int | None:
    """Bytes that are free now; None where the system does not tell."""
    try:
        return os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (ValueError, OSError, AttributeError):
        return None


def train_once(sd: StableDiffusion, examples: tuple[Example, ...]) -> TrainingStep:
    """Pick, predict, compare, update: on a copy of the UNet in fp32."""
    with sd.turn():
        unet = copy.deepcopy(sd.unet).float().requires_grad_(True)
        context = sd.conditioner.towers[0].encoder(
            token_ids(sd.conditioner.towers[0].tokenizer, [example.caption for example in examples]).to(sd.device)
        ).final.float()
    x0, noise = (torch.stack([getattr(e, name) for e in examples]).to(sd.device) for name in ("latents", "noise"))
    t = torch.tensor([example.timestep for example in examples])
    denoiser, cond = Denoiser(unet, sd.schedule), Conditioning(context)
    optimizer = torch.optim.AdamW(unet.parameters(), lr=LEARNING_RATE)
    before = [p.detach().clone() for p in unet.parameters()]
    with torch.enable_grad(), attend_with(unet, attend_by_matmul):
        predicted = _noise(denoiser, x0, noise, t, cond)
        loss = denoiser.loss(x0, noise, t, cond).mean()
        loss.backward()
    gradients = _gradients(unet)
    optimizer.step()
    with torch.no_grad():
        after = float(denoiser.loss(x0, noise, t, cond).mean())
        change = sum(float((p - b).square().sum()) for p, b in zip(unet.parameters(), before, strict=True))
        whole = sum(float(b.square().sum()) for b in before)
    moved = sqrt(change / whole)
    return TrainingStep(
        tuple(predicted.cpu()), float(loss.detach()), after, gradients, moved, sum(p.numel() for p in unet.parameters())
    )


@torch.no_grad()
def _noise(denoiser: Denoiser, x0: Tensor, noise: Tensor, t: Tensor, cond: Conditioning) -> Tensor:
    """The noise that the network predicts, whatever it was trained to answer, (b c h w)."""
    sigma = denoiser.schedule.sigmas.float()[t].to(x0)
    x = x0 + sigma[:, None, None, None] * noise
    return (x - denoiser(x, sigma, cond)) / sigma[:, None, None, None]


def _gradients(unet: nn.Module) -> tuple[tuple[str, float], ...]:
    """The gradient's norm by part: each level on the way down and up, the middle, and what is before and after."""
    squares: dict[str, float] = {}
    for name, parameter in unet.named_parameters():
        if parameter.grad is not None:
            pieces = name.split(".")
            part = ".".join(pieces[:2]) if pieces[0] in ("down", "up") else pieces[0]
            squares[part] = squares.get(part, 0.0) + float(parameter.grad.square().sum())
    return tuple((part, sqrt(square)) for part, square in squares.items())
