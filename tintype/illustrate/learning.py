"""How the model learnt, with its own parts: training rows, known noise, one real step of learning on a copy.

The rows are the first 24 of the pictures that the model in the box was trained on, with their captions; they ship
with it. Another model's training pictures are not known here; the same rows can be shown to it all the same.
"""

from __future__ import annotations

import copy
import json
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn

from tintype.checkpoints.load import BOX
from tintype.diffusion import Denoiser
from tintype.errors import CheckpointError, TintypeError
from tintype.illustrate.adam import Adam
from tintype.images import to_tensor
from tintype.models import attend_by_matmul, attend_with
from tintype.pipeline.stable_diffusion import StableDiffusion
from tintype.speed.memory import free_memory
from tintype.training.draws import Draw
from tintype.types import Conditioning

STEP_LR = 1e-5
"""Adam's first step moves each weight by at most this: small, since the copy has learnt already."""


@dataclass(frozen=True)
class TrainingRow:
    """A picture that the model in the box was trained on, and its caption in the first epoch."""

    number: int
    image: Image.Image
    caption: str

    @cached_property
    def pixels(self) -> Tensor:
        """(3 H W) uint8."""
        return torch.from_numpy(np.asarray(self.image).copy()).permute(2, 0, 1).contiguous()  # (H W 3) -> (3 H W)


@dataclass(frozen=True)
class NoisyExample:
    """One training example: a known picture, a known noise, an amount; and what the network says of it.

    All tensors are (c h w) fp32, in the coordinate x = x0 + sigma * noise.
    """

    row: int
    caption: str
    timestep: int  # the amount of noise, 0 to 999, as the network is told it
    sigma: float  # the same as a noise level
    x0: Tensor
    noise: Tensor  # the label
    x: Tensor  # what the network sees
    predicted: Tensor  # the noise that it predicts, told the caption
    denoised: Tensor  # what it believes the picture is
    loss: float  # as in training, of this example


@dataclass(frozen=True)
class LearningStep:
    """One real step of training on a throw-away copy of the UNet; the model itself is as it was.

    Attributes:
        examples: the batch, with predictions from before the step.
        loss_before: mean over the batch.
        loss_after: of the same batch after the step.
        grad_norm: the length of the whole gradient.
        grad_norms: of each part, by name, in the order of the forward pass.
        change_norms: how far the weights of each part moved, over their length.
        learning_rate: of Adam, whose first step it is.
        parameters: how many were updated.
    """

    examples: tuple[NoisyExample, ...]
    loss_before: float
    loss_after: float
    grad_norm: float
    grad_norms: dict[str, float]
    change_norms: dict[str, float]
    learning_rate: float
    parameters: int


def training_rows() -> tuple[TrainingRow, ...]:
    """The 24 rows that ship with the model in the box.

    Raises:
        CheckpointError: they are missing from this installation.
    """
    folder = BOX / "rows"
    try:
        rows = json.loads((folder / "rows.json").read_text(encoding="utf-8"))["rows"]
        return tuple(
            TrainingRow(number, Image.open(folder / f"{number:02}.webp").convert("RGB"), row["caption"])
            for number, row in enumerate(rows)
        )
    except (OSError, ValueError, KeyError) as error:
        raise CheckpointError(f"The training rows are missing from this installation: {error}.") from error


def row_latents(model: StableDiffusion, rows: Sequence[TrainingRow]) -> Tensor:
    """The rows' pictures as the autoencoder sees them, (b c h w) fp32."""
    return torch.cat([model.encode(to_tensor(row.image)) for row in rows])


def training_examples(
    model: StableDiffusion,
    rows: Sequence[TrainingRow],
    *,
    timesteps: Sequence[int] | None = None,
    seed: int = 0,
    latents: Tensor | None = None,
) -> tuple[NoisyExample, ...]:
    """A training example of each row: noise and amount are drawn as in training, or the amounts are ``timesteps``.

    ``latents``: those of the rows, where they are at hand (``row_latents``).
    """
    x0, noise, t = _drawn(model, rows, timesteps, seed, latents)
    return _examples(model, model.unet, rows, x0, noise, t, _contexts(model, rows))


def learning_step(
    model: StableDiffusion,
    rows: Sequence[TrainingRow],
    *,
    seed: int = 0,
    learning_rate: float = STEP_LR,
    latents: Tensor | None = None,
) -> LearningStep:
    """One step of Adam on a copy of the UNet, in fp32, with one example of each row.

    ``latents``: those of the rows, where they are at hand (``row_latents``).

    Raises:
        TintypeError: there is not memory enough for the copy, its gradient and Adam's state.
    """
    _check_memory(model)
    x0, noise, t = _drawn(model, rows, None, seed, latents)
    context = _contexts(model, rows)
    examples = _examples(model, model.unet, rows, x0, noise, t, context)
    with model.lock:
        unet = copy.deepcopy(model.unet)
    unet = unet.float().requires_grad_(True)
    before = [weight.detach().clone() for weight in unet.parameters()]
    denoiser = Denoiser(unet, model.schedule)
    context = context.to(x0.device)
    optimizer = Adam(unet.parameters(), learning_rate)
    with torch.enable_grad(), attend_with(unet, attend_by_matmul):
        loss = denoiser.loss(x0, noise, t, Conditioning(context)).mean()
        loss.backward()
    gradients = {name: _length(weight.grad for weight in part.parameters()) for name, part in _parts(unet).items()}
    optimizer.step()
    with torch.no_grad():
        after = denoiser.loss(x0, noise, t, Conditioning(context)).mean()
    moved = {id(weight): weight.detach() - old for weight, old in zip(unet.parameters(), before, strict=True)}
    changes = {
        name: _length(moved[id(weight)] for weight in part.parameters()) / _length(part.parameters())
        for name, part in _parts(unet).items()
    }
    whole = sum(value**2 for value in gradients.values()) ** 0.5
    count = sum(weight.numel() for weight in unet.parameters())
    return LearningStep(examples, float(loss.detach()), float(after), whole, gradients, changes, learning_rate, count)


def _drawn(
    model: StableDiffusion,
    rows: Sequence[TrainingRow],
    timesteps: Sequence[int] | None,
    seed: int,
    latents: Tensor | None,
) -> tuple[Tensor, Tensor, Tensor]:
    """Latents, noise (b c h w) and times (b,): each row's chance is its own, as in training."""
    draws = [Draw(seed, 0, row.number) for row in rows]
    x0 = row_latents(model, rows) if latents is None else latents
    noise = torch.stack(
        [torch.from_numpy(draw.rng("noise").standard_normal(tuple(x0.shape[1:]), "float32")) for draw in draws]
    )
    if timesteps is None:
        timesteps = [int(draw.rng("time").integers(model.schedule.num_train_timesteps)) for draw in draws]
    return x0, noise.to(x0.device), torch.tensor(list(timesteps), device=x0.device)


def _contexts(model: StableDiffusion, rows: Sequence[TrainingRow]) -> Tensor:
    with model.turn():
        context = model.conditioner([row.caption for row in rows]).context
    assert context is not None, "a text encoder gives a context"
    return context.float()


def _examples(
    model: StableDiffusion,
    unet: nn.Module,
    rows: Sequence[TrainingRow],
    x0: Tensor,
    noise: Tensor,
    t: Tensor,
    context: Tensor,
) -> tuple[NoisyExample, ...]:
    denoiser = Denoiser(unet, model.schedule, dtype=model.dtype)
    sigmas = model.schedule.sigmas.float().to(x0.device)[t]  # (b,)
    x = x0 + sigmas.reshape(-1, 1, 1, 1) * noise
    with model.turn():
        denoised = denoiser(x, sigmas, Conditioning(context))
    _, c_out, _ = denoiser.parameterization(sigmas)
    losses = (denoised - x0).square().flatten(1).mean(1) / c_out**2  # (b,): the loss of training, without a second call
    predicted = (x - denoised) / sigmas.reshape(-1, 1, 1, 1)
    tensors = [each.cpu() for each in (x0, noise, x, predicted, denoised)]
    return tuple(
        NoisyExample(
            row.number,
            row.caption,
            int(t[i]),
            float(sigmas[i]),
            *(tensor[i] for tensor in tensors),
            loss=float(losses[i]),
        )
        for i, row in enumerate(rows)
    )


def _parts(unet: nn.Module) -> dict[str, nn.Module]:
    """The parts that gradients are told of: the UNet's own children, its levels one by one."""
    found: dict[str, nn.Module] = {}
    for name, child in unet.named_children():
        if isinstance(child, nn.ModuleList):
            found |= {f"{name}.{number}": each for number, each in enumerate(child)}
        else:
            found[name] = child
    return found


def _length(tensors) -> float:
    """The length of some tensors as one vector; those that are None count as 0."""
    return float(sum(float(tensor.detach().float().square().sum()) for tensor in tensors if tensor is not None)) ** 0.5


def _check_memory(model: StableDiffusion) -> None:
    """TintypeError where a copy, what it was, its gradient and Adam's two moments, in fp32, do not fit."""
    needed = 5 * 4 * sum(weight.numel() for weight in model.unet.parameters())
    free = free_memory(model.device)
    if free is not None and needed > free:
        raise TintypeError(
            f"A step of learning on a copy needs {needed / 2**30:.1f} GiB and {free / 2**30:.1f} GiB are free; "
            "nothing of it is shown."
        )
