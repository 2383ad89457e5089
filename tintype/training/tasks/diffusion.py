"""The noise predictor: a known amount of noise is added to latents, and the network says what was added.

Ho et al. 2020 (arXiv 2006.11239), algorithm 1, in latents (arXiv 2112.10752, eq. 3) or in pixels, and with text. The
same Denoiser as in sampling turns the network's output into a loss.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from tintype.diffusion import Denoiser, Schedule
from tintype.models import UNet
from tintype.training.draws import Draw
from tintype.training.recipes import NoiseRecipe
from tintype.training.stored import Examples, Seen, stacked
from tintype.training.words import Sizes, Words
from tintype.types import Conditioning


@dataclass(frozen=True)
class NoisyLatents:
    """Pictures of one size: x0 and noise (b c h w), times (b,) in [0, 1000), and what is said of each."""

    x0: Tensor
    noise: Tensor
    t: Tensor
    captions: tuple[str, ...]
    sizes: tuple[Sizes, ...]
    features: Conditioning | None  # of the captions, where they were computed before


class DiffusionTask:
    """Predict the noise in latents (or v, or x0), told the time and the caption.

    ``learnt`` is what is trained: the UNet itself, or an adapter that is attached to it.
    """

    def __init__(
        self,
        unet: UNet,
        examples: Examples,
        words: Words,
        schedule: Schedule,
        recipe: NoiseRecipe,
        *,
        learnt: nn.Module | None = None,
    ) -> None:
        self.network, self.model = unet, unet if learnt is None else learnt
        self.examples, self.words, self.recipe = examples, words, recipe
        self.denoiser = Denoiser(unet, schedule, dtype=unet.conv_in.weight.dtype)
        self.num_pictures = len(examples)
        self.shapes = examples.shapes
        self.rival = None

    def batch(self, draws: list[Draw]) -> tuple[NoisyLatents, ...]:
        """Noise, time, wording and whether there are words at all: each drawn for the visit. One part for each size."""
        parts: dict[torch.Size, list[tuple[Draw, Seen]]] = {}
        for draw in draws:
            seen = self.examples.visit(draw)
            parts.setdefault(seen.x0.shape, []).append((draw, seen))
        return tuple(self._noisy(*zip(*part, strict=True)) for part in parts.values())

    def _noisy(self, draws: Sequence[Draw], seen: Sequence[Seen]) -> NoisyLatents:
        dropped = [draw.rng("caption dropout").random() < self.recipe.caption_dropout for draw in draws]
        captions = tuple("" if drop else each.caption for drop, each in zip(dropped, seen, strict=True))
        features = None
        if all(each.features is not None for each in seen):
            empty = self._empty_features() if any(dropped) else None
            kept = [empty if drop else each.features for drop, each in zip(dropped, seen, strict=True)]
            features = stacked([part for part in kept if part is not None])
        num_times = self.denoiser.schedule.num_train_timesteps
        return NoisyLatents(
            torch.stack([each.x0 for each in seen]),
            torch.stack([self._noise(draw, each.x0.shape) for draw, each in zip(draws, seen, strict=True)]),
            torch.tensor([int(draw.rng("time").integers(num_times)) for draw in draws]),
            captions,
            tuple(each.sizes for each in seen),
            features,
        )

    def _noise(self, draw: Draw, shape: torch.Size) -> Tensor:
        """Unit-normal, and a little that is one number for a whole channel: light and dark pictures are reached then.

        Guttenberg 2023, "Diffusion with Offset Noise".
        """
        noise = torch.from_numpy(draw.rng("noise").standard_normal(tuple(shape), "float32"))
        if self.recipe.offset_noise:
            offset = torch.from_numpy(draw.rng("offset noise").standard_normal((shape[0], 1, 1), "float32"))
            noise = noise + self.recipe.offset_noise * offset
        return noise

    def _empty_features(self) -> Conditioning:
        """What "" becomes, (s d), computed like those that are stored."""
        with torch.no_grad():
            return self.words.text([""]).map(lambda t: t[0].float().cpu())

    def loss(self, batch: tuple[NoisyLatents, ...]) -> tuple[Tensor, dict[str, Tensor]]:
        """The mean over the batch of `Denoiser.loss`."""
        device = self.network.conv_in.weight.device
        losses = [
            self.denoiser.loss(
                part.x0.to(device), part.noise.to(device), part.t, self._told(part), weighting=self.recipe.weighting
            )
            for part in batch
        ]
        return torch.cat(losses).mean(), {}

    def _told(self, part: NoisyLatents) -> Conditioning:
        if part.features is None:
            return self.words(part.captions, part.sizes)
        return self.words.with_sizes(part.features.to(self.network.conv_in.weight.device), part.sizes)

    def after_step(self) -> None:
        """Nothing to bound."""

    def notice(self) -> None:
        """Nothing to say."""
