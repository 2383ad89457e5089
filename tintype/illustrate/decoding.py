"""Chosen steps as pictures, painted by the autoencoder after the run."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from itertools import accumulate
from math import sqrt

from tintype.illustrate.recording import Decoded, LatentsKind, Recording
from tintype.pipeline.stable_diffusion import StableDiffusion


def decode_steps(model: StableDiffusion, recording: Recording, count: int = 16) -> Recording:
    """The recording with up to ``count`` latents painted: half of them estimates, half the noisy latents themselves.

    Steps are taken more densely where the outline moves (``chosen_steps``). Of both kinds the first step is there; the
    result is the recording's ``image``. What is painted already is not painted again.
    """
    known = {(each.index, each.of): each for each in recording.decoded}
    chosen = chosen_steps(recording.outline_changes, max(1, count // 2))
    wanted: list[tuple[int, LatentsKind]] = [(index, of) for index in chosen for of in ("denoised", "noisy")]
    decoded = [known.get(each) or _painted(model, recording, *each) for each in wanted[:count]]
    return replace(recording, decoded=tuple(decoded))


def _painted(model: StableDiffusion, recording: Recording, index: int, of: LatentsKind) -> Decoded:
    step = recording.steps[index]
    latents = step.denoised if of == "denoised" else step.x / sqrt(1 + step.sigma**2)
    return Decoded(index, of, model.images(latents[None])[0])


def chosen_steps(changes: Sequence[float], count: int) -> list[int]:
    """Up to ``count`` steps, the first and the last among them, at equal strides of progress.

    ``changes``: from each step to the next, how far the outline moves. Progress is half the way of the outline and
    half the number of steps.
    """
    whole, steps = max(sum(changes), 1e-12), max(1, len(changes))
    progress = [0.0, *accumulate(change / whole + 1 / steps for change in changes)]
    goals = [progress[-1] * i / max(1, count - 1) for i in range(count)]
    return sorted({min(range(len(progress)), key=lambda i: abs(progress[i] - goal)) for goal in goals})
