"""Chosen steps as pictures, painted by the autoencoder after the run."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from itertools import accumulate
from math import sqrt

from PIL import Image

from tintype.illustrate.recording import Decoded, Recording
from tintype.pipeline.stable_diffusion import StableDiffusion


def decode_steps(
    model: StableDiffusion, recording: Recording, count: int = 16, *, first: Image.Image | None = None
) -> Recording:
    """The recording with up to ``count`` latents painted: half of them estimates, half the noisy latents themselves.

    Steps are taken more densely where the outline moves (``chosen_steps``). Of both kinds the first step is there; the
    result is the recording's ``image``. ``first``: the first step's estimate, where it is painted already.
    """
    steps = recording.steps
    chosen = chosen_steps(recording.outline_changes, max(1, count // 2))
    decoded = []
    for index in chosen:
        step = steps[index]
        known = first if index == 0 else None
        decoded.append(Decoded(index, "denoised", known or model.images(step.denoised[None])[0]))
        if len(decoded) < count:
            noisy = step.x / sqrt(1 + step.sigma**2)
            decoded.append(Decoded(index, "noisy", model.images(noisy[None])[0]))
    return replace(recording, decoded=tuple(decoded))


def chosen_steps(changes: Sequence[float], count: int) -> list[int]:
    """Up to ``count`` steps, the first and the last among them, at equal strides of progress.

    ``changes``: from each step to the next, how far the outline moves. Progress is half the way of the outline and
    half the number of steps.
    """
    whole, steps = max(sum(changes), 1e-12), max(1, len(changes))
    progress = [0.0, *accumulate(change / whole + 1 / steps for change in changes)]
    goals = [progress[-1] * i / max(1, count - 1) for i in range(count)]
    return sorted({min(range(len(progress)), key=lambda i: abs(progress[i] - goal)) for goal in goals})
