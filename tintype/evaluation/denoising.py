"""The denoiser's error on scenes that it never saw, by noise level, told the right words, wrong ones, and none."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from tintype.diffusion import Denoiser
from tintype.evaluation.examined import Examined
from tintype.evaluation.figures import Figure, Tick, Work, average
from tintype.evaluation.teaching import drawn
from tintype.scenes import Scene, caption
from tintype.training.card import UNSEEN_SEED
from tintype.training.draws import Draw
from tintype.training.pictures import scene_of
from tintype.training.words import Towers

TIMES = (0.05, 0.2, 0.4, 0.6, 0.8, 0.95)
"""Of the schedule's length: how much noise."""

BATCH = 32


def unseen_scenes(examined: Examined, count: int) -> list[Scene]:
    """Scenes like those of training, of a series of their own."""
    return [scene_of(UNSEEN_SEED, index, examined.vocabulary) for index in range(count)]


def denoiser_figures(examined: Examined, count: int) -> Work:
    """The loss of training at each noise level, on ``count`` unseen scenes; the same noise for each kind of words.

    A model without text is told none.
    """
    scenes = unseen_scenes(examined, count)
    own = [caption(scene, Draw(UNSEEN_SEED, 0, i).rng("caption")) for i, scene in enumerate(scenes)]
    told = {"no caption": [""] * count}
    if not examined.wordless:
        told = {"own": own, "another's caption": own[1:] + own[:1]} | told
    model, losses = examined.model, _Losses(examined)
    num_times = model.schedule.num_train_timesteps
    found: dict[float, dict[str, list[float]]] = {time: {name: [] for name in told} for time in TIMES}
    for start in range(0, count, BATCH):
        stop = min(start + BATCH, count)
        x0 = model.encode(drawn(scenes[start:stop], examined.size))
        for time in TIMES:
            noise = _noise(range(start, stop), time, x0)
            for name, captions in told.items():
                found[time][name] += losses(x0, noise, round(time * num_times), captions[start:stop])
        yield Tick("loss by noise level", stop, count)
    return [_figure(examined, time, kinds) for time, kinds in found.items()]


def _figure(examined: Examined, time: float, kinds: dict[str, list[float]]) -> Figure:
    schedule = examined.model.schedule
    sigma = float(schedule.sigmas[round(time * schedule.num_train_timesteps)])
    (_, losses), *others = kinds.items()
    beside = {name: _mean(values) for name, values in others}
    return average("Denoiser", f"loss at noise {sigma:.2g}", losses, beside)


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values)


class _Losses:
    """The error of each picture, told some captions."""

    def __init__(self, examined: Examined) -> None:
        self.model = model = examined.model
        self.denoiser = Denoiser(model.unet, model.schedule, dtype=model.dtype)
        self.words = Towers(model.conditioner, takes_sizes=model.unet.config.vector_dim is not None)
        self.sizes = (examined.size, examined.size, 0, 0, examined.size, examined.size)

    def __call__(self, x0: Tensor, noise: Tensor, time: int, captions: Sequence[str]) -> list[float]:
        """(b c h w) latents and noise -> b losses."""
        t = torch.full((len(x0),), time, device=x0.device)
        with self.model.turn():
            cond = self.words(captions, [self.sizes] * len(captions)).to(x0.device)
            return self.denoiser.loss(x0, noise, t, cond).tolist()


def _noise(numbers: range, time: float, like: Tensor) -> Tensor:
    """Unit-normal noise of each picture at each level, (b c h w)."""
    shape = tuple(like.shape[1:])
    parts = [Draw(UNSEEN_SEED, 0, i).rng(f"noise at {time}").standard_normal(shape, "float32") for i in numbers]
    return torch.stack([torch.from_numpy(part) for part in parts]).to(like)
