"""The noise predictor: a known amount of noise is added to latents, and the network says what was added.

Ho et al. 2020 (arXiv 2006.11239), algorithm 1, in latents (arXiv 2112.10752, eq. 3) and with text. The same Denoiser
as in sampling turns the network's output into a loss.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from tintype.diffusion import Denoiser, Schedule
from tintype.models import TextEncoder, UNet
from tintype.scenes import Scene, caption
from tintype.text.tokenizer import Tokenizer
from tintype.training.draws import Draw
from tintype.training.recipes import DenoiserRecipe
from tintype.training.shards import Shards
from tintype.training.tasks.contrastive import token_ids
from tintype.types import Conditioning


@dataclass(frozen=True)
class NoisyLatents:
    """Latents x0 and noise (b c h w), times (b,) in [0, 1000), and caption ids (b 77)."""

    x0: Tensor
    noise: Tensor
    t: Tensor
    ids: Tensor


class DiffusionTask:
    """Predict the noise in latents (or v, or x0), told the time and the caption."""

    def __init__(
        self,
        model: UNet,
        latents: Shards,
        scaling_factor: float,
        text_encoder: TextEncoder,
        tokenizer: Tokenizer,
        schedule: Schedule,
        recipe: DenoiserRecipe,
    ) -> None:
        self.model, self.latents, self.recipe = model, latents, recipe
        self.scaling_factor = scaling_factor
        self.text_encoder = text_encoder.eval().requires_grad_(False)
        self.tokenizer = tokenizer
        self.denoiser = Denoiser(model, schedule)
        self.num_pictures = len(latents)

    def batch(self, draws: list[Draw]) -> NoisyLatents:
        """Noise, time, wording and whether there are words at all: each drawn for the visit."""
        x0 = torch.stack([self.latents.tensor("latents", draw.index) for draw in draws]).float()
        noise = torch.stack(
            [torch.from_numpy(draw.rng("noise").standard_normal(x0.shape[1:], "float32")) for draw in draws]
        )
        num_times = self.denoiser.schedule.num_train_timesteps
        t = torch.tensor([int(draw.rng("time").integers(num_times)) for draw in draws])
        ids = token_ids(self.tokenizer, [self._caption(draw) for draw in draws])
        return NoisyLatents(self.scaling_factor * x0, noise, t, ids)

    def _caption(self, draw: Draw) -> str:
        if draw.rng("caption dropout").random() < self.recipe.caption_dropout:
            return ""
        return caption(Scene.from_dict(self.latents.records[draw.index]), draw.rng("caption"))

    def loss(self, batch: NoisyLatents) -> tuple[Tensor, dict[str, Tensor]]:
        """The mean over the batch of `Denoiser.loss`."""
        with torch.no_grad():
            context = self.text_encoder(batch.ids).final
        loss = self.denoiser.loss(
            batch.x0, batch.noise, batch.t, Conditioning(context), weighting=self.recipe.weighting
        ).mean()
        return loss, {}

    def after_step(self) -> None:
        """Nothing to bound."""
