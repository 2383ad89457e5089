"""How CLIP learns, with real numbers: the similarities of pictures and captions before and after steps of learning.

A Stable Diffusion ships the text tower only. So the image tower here is a new one, with random weights, and so is the
projection in which both meet; the text tower is a copy of the model's. What is shown is the beginning of such a
learning, on the 24 rows, and is to be told so: it is no measure of how well the model's own CLIP agreed.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from tintype.illustrate.adam import Adam
from tintype.illustrate.learning import TrainingRow
from tintype.models import CLIP, ImageEncoderConfig, attend_by_matmul, attend_with
from tintype.pipeline.stable_diffusion import StableDiffusion
from tintype.text.tokenizer import Tokenizer
from tintype.training.draws import Draw
from tintype.training.tasks.contrastive import ContrastiveTask, initialize

LEARNING_RATE = 5e-4
"""That of the recipe by which the box's CLIP was trained."""

WIDTH = 256


@dataclass(frozen=True)
class AgreementStep:
    """One step of contrastive learning on all rows at once.

    Attributes:
        similarity: (rows rows) cosines before the step, picture by caption; right pairs on the diagonal.
        loss: before the step; log(rows) is chance.
        found: the share of pictures whose own caption is the most similar.
        grad_norms: the length of the gradient in the "image tower", the "text tower" and the "temperature".
    """

    similarity: Tensor
    loss: float
    found: float
    grad_norms: dict[str, float]


@dataclass(frozen=True)
class Agreement:
    """The steps in order, and what the last one led to.

    Attributes:
        captions: of the rows.
        image_features: (rows d) unit directions before the first step.
        text_features: (rows d) likewise.
        steps: what was before each step.
        similarity: (rows rows) after the last one.
        loss: likewise.
        found: likewise.
        own: both towers had been trained together before; False: the image tower began here from random weights.
    """

    captions: tuple[str, ...]
    image_features: Tensor
    text_features: Tensor
    steps: tuple[AgreementStep, ...]
    similarity: Tensor
    loss: float
    found: float
    own: bool = False


def learn_to_agree(
    model: StableDiffusion, rows: Sequence[TrainingRow], *, steps: int = 20, seed: int = 0, rate: float = LEARNING_RATE
) -> Agreement:
    """``steps`` real steps of Adam on a new image tower and a copy of the model's text tower; the model stays."""
    clip = _clip(model, rows[0].image.width, seed)
    return _agree(clip, model.conditioner.towers[0].tokenizer, rows, steps, seed, rate)


def agree_further(
    clip: CLIP, tokenizer: Tokenizer, rows: Sequence[TrainingRow], *, steps: int, seed: int = 0, rate: float
) -> Agreement:
    """``steps`` more real steps of Adam on a copy of a CLIP that was trained."""
    further = copy.deepcopy(clip).float().requires_grad_(True)
    return replace(_agree(further, tokenizer, rows, steps, seed, rate), own=True)


def _agree(
    clip: CLIP, tokenizer: Tokenizer, rows: Sequence[TrainingRow], steps: int, seed: int, rate: float
) -> Agreement:
    """``clip`` itself learns."""
    task = ContrastiveTask(clip, _Rows(rows), tokenizer)
    batch = task.batch([Draw(seed, 0, index) for index in range(len(rows))])
    device = clip.logit_scale.device
    batch = replace(batch, pixels=batch.pixels.to(device), ids=batch.ids.to(device))
    optimizer = Adam(clip.parameters(), rate)
    features: list[tuple[Tensor, Tensor]] = []  # of every call, as the loss saw them
    listening = clip.register_forward_hook(lambda _, __, out: features.append((out[0].detach(), out[1].detach())))
    taken = []
    for _ in range(steps):
        with torch.enable_grad(), attend_with(clip, attend_by_matmul):
            loss, metrics = task.loss(batch)
            loss.backward()
        share = float(metrics["retrieval_at_1"])
        taken.append(AgreementStep(_similarity(*features[-1]), float(loss.detach()), share, _norms(clip)))
        optimizer.step()
        task.after_step()
    with torch.no_grad():
        loss, metrics = task.loss(batch)
    listening.remove()
    image, text = features[0]
    return Agreement(
        tuple(row.caption for row in rows),
        image.cpu(),
        text.cpu(),
        tuple(taken),
        _similarity(*features[-1]),
        float(loss),
        float(metrics["retrieval_at_1"]),
    )


class _Rows:
    """The rows as a data set (``training.pictures.Pictures``)."""

    def __init__(self, rows: Sequence[TrainingRow]) -> None:
        self.rows = rows

    def __len__(self) -> int:
        return len(self.rows)

    def pixels(self, draw: Draw) -> Tensor:
        return self.rows[draw.index].pixels

    def caption(self, draw: Draw) -> str:
        return self.rows[draw.index].caption

    def twins(self, draw: Draw) -> None:
        """None: the rows are shown as they are."""


def _clip(model: StableDiffusion, side: int, seed: int) -> CLIP:
    """A CLIP whose text tower is a copy of the model's, as far as the model has it; the rest is as training begins."""
    tower = model.conditioner.towers[0].encoder
    text = replace(tower.config, projection_dim=tower.config.projection_dim or WIDTH)
    image = ImageEncoderConfig(
        image_size=side,
        patch_size=side // 8,
        dim=WIDTH,
        num_layers=4,
        num_heads=4,
        mlp_dim=4 * WIDTH,
        projection_dim=text.projection_dim,
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        clip = initialize(CLIP(text, image))
    with model.lock:
        copied = {name: weight.detach().float().cpu() for name, weight in tower.state_dict().items()}
    vectors = copied["token_embedding.weight"]
    copied["token_embedding.weight"] = vectors[: text.vocab_size]  # words that were added are no part of a tower
    missing, unexpected = clip.text.load_state_dict(copied, strict=False)
    assert not unexpected and set(missing) <= {"projection.weight"}, "the copy is the tower"
    return clip.to(model.device).requires_grad_(True)


def _similarity(image: Tensor, text: Tensor) -> Tensor:
    return (image @ text.T).cpu()


def _norms(clip: CLIP) -> dict[str, float]:
    parts = {
        "image tower": list(clip.image.parameters()),
        "text tower": list(clip.text.parameters()),
        "temperature": [clip.logit_scale],
    }
    return {
        name: float(sum(float(w.grad.square().sum()) for w in weights if w.grad is not None)) ** 0.5
        for name, weights in parts.items()
    }
