"""CLIP: pictures and captions learn to recognise each other.

Radford et al. 2021 (arXiv 2103.00020), section 2.3 and figure 3.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tintype.models import CLIP, Attention, ImageEncoder, TextEncoder, normalize_pixels
from tintype.models.clip import MLP, end_positions
from tintype.text.tokenizer import Tokenizer
from tintype.training.draws import Draw
from tintype.training.pictures import Pictures, to_signed
from tintype.training.processes import processes
from tintype.training.words import token_ids

MAX_LOGIT_SCALE = math.log(100)

WINDOW = 100
"""Steps over which the loss is averaged before it counts as stuck."""

STUCK = 0.98
"""Of ln(batch), the loss of one who guesses. Training that works is far below after the first window."""


@dataclass(frozen=True)
class Pairs:
    """Pictures (b 3 H W) in [-1, 1] and their captions' ids (b s), of so many visits: a twin makes two pairs of one."""

    pixels: Tensor
    ids: Tensor
    visits: int


class ContrastiveTask:
    """Among all pictures of a batch, find the one that a caption belongs to, and the other way round.

    What no pair of a batch turns on is forgotten, since a picture finds its caption without it. So a share ``twins``
    of the pictures brings along one that differs in a single thing, as a hard negative.
    """

    def __init__(self, model: CLIP, pictures: Pictures, tokenizer: Tokenizer, *, twins: float = 0.0) -> None:
        self.model = self.network = model
        self.twins = twins
        self.pictures, self.tokenizer = pictures, tokenizer
        self.num_pictures = len(pictures)
        self.shapes = None
        self.rival = None
        self._beside_chance: list[float] = []  # loss / ln(batch) of the steps of this window
        self._windows = 0

    def batch(self, draws: list[Draw]) -> Pairs:
        """Each picture with a caption worded for this visit; and after it, by lot, its twin with its own."""
        pixels, captions = list[Tensor](), list[str]()
        for draw in draws:
            twins = self.pictures.twins(draw) if draw.rng("twins").random() < self.twins else None
            pixels.append(self.pictures.pixels(draw)[None] if twins is None else twins.pixels)
            captions += (self.pictures.caption(draw),) if twins is None else twins.captions
        return Pairs(to_signed(torch.cat(pixels)), token_ids(self.tokenizer, captions), len(draws))

    def loss(self, batch: Pairs) -> tuple[Tensor, dict[str, Tensor]]:
        """Symmetric InfoNCE: cross-entropy over rows and over columns of the similarities, (b all) and (all b).

        Other processes' pictures and captions are among those to choose from. The mean is over this one's, times what
        they count beside its visits, by which the processes' means are weighted: who has more twins has more to say.
        """
        device = self.model.logit_scale.device
        ids = batch.ids[:, : end_positions(batch.ids, self.tokenizer.end).max() + 1]  # causal: the rest has no say
        image, text = self.model(normalize_pixels(batch.pixels.to(device)), ids.to(device))
        rows, columns, first = self._similarities(image, text)
        pairs = torch.arange(first, first + len(rows), device=device)
        loss = (F.cross_entropy(rows, pairs) + F.cross_entropy(columns.T, pairs)) / 2
        found = (rows.argmax(dim=1) == pairs).float().mean()
        chance = math.log(rows.shape[1])
        if chance:
            self._beside_chance.append(loss.item() / chance)
        visits = torch.tensor(float(batch.visits), device=device)
        weight = len(rows) / rows.shape[1] * processes().summed(visits) / visits
        return weight * loss, {"retrieval_at_1": weight * found, "chance_loss": torch.tensor(chance)}

    def _similarities(self, image: Tensor, text: Tensor) -> tuple[Tensor, Tensor, int]:
        """Of these pictures to all captions (b all), of all pictures to these captions (all b); the first's number."""
        group, scale = processes(), self.model.logit_scale.exp()
        if group.alone:
            both = scale * image @ text.T
            return both, both, 0
        (images, first), (texts, _) = group.gathered(image), group.gathered(text)
        return scale * image @ texts.T, scale * images @ text.T, first

    @torch.no_grad()
    def after_step(self) -> None:
        """The temperature stays at 0.01 or above, "to prevent scaling the logits by more than 100"."""
        self.model.logit_scale.clamp_(0, MAX_LOGIT_SCALE)

    def notice(self) -> str | None:
        """At the end of each window in which nothing was learnt; of the first, which is warm-up, nothing is said."""
        if len(self._beside_chance) < WINDOW:
            return None
        mean = sum(self._beside_chance) / WINDOW
        self._beside_chance.clear()
        self._windows += 1
        if self._windows == 1 or mean < STUCK:
            return None
        return (
            f"CLIP is stuck: over the last {WINDOW} steps its loss was {mean:.0%} of ln(batch size), as if it guessed. "
            "Start anew with a lower lr, a longer warmup or a larger batch_size."
        )


@torch.no_grad()
def initialize(clip: CLIP) -> CLIP:
    """``clip`` with random weights of the sizes that CLIP's released code starts from.

    openai/CLIP, ``initialize_parameters``: each layer's output has about the size of its input, and the sum of all
    layers does not grow with their number.
    """
    for tower in (clip.text, clip.image):
        _initialize_tower(tower)
    nn.init.normal_(clip.text.token_embedding.weight, std=0.02)
    nn.init.normal_(clip.text.position_embedding.weight, std=0.01)
    nn.init.normal_(clip.image.position_embedding.weight, std=clip.image.config.dim**-0.5)
    nn.init.normal_(clip.image.class_embedding, std=clip.image.config.dim**-0.5)
    return clip


def _initialize_tower(tower: TextEncoder | ImageEncoder) -> None:
    dim, depth = tower.config.dim, tower.config.num_layers
    for layer in tower.modules():
        if isinstance(layer, Attention):
            for linear in (layer.to_q, layer.to_k, layer.to_v):
                nn.init.normal_(linear.weight, std=dim**-0.5)
            nn.init.normal_(layer.to_out.weight, std=dim**-0.5 * (2 * depth) ** -0.5)
        elif isinstance(layer, MLP):
            nn.init.normal_(layer.up.weight, std=(2 * dim) ** -0.5)
            nn.init.normal_(layer.down.weight, std=dim**-0.5 * (2 * depth) ** -0.5)
    if tower.projection is not None:
        nn.init.normal_(tower.projection.weight, std=dim**-0.5)
