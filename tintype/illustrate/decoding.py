"""Chosen steps as pictures, painted by the autoencoder after the run."""

from __future__ import annotations

from dataclasses import replace
from math import sqrt

from tintype.illustrate.recording import Decoded, Recording
from tintype.pipeline.stable_diffusion import StableDiffusion


def decode_steps(model: StableDiffusion, recording: Recording, count: int = 16) -> Recording:
    """The recording with up to ``count`` latents painted: half of them estimates, half the noisy latents themselves.

    Estimates are taken more densely where the outline emerges: at equal strides of the outline's share and of the
    steps. Of both kinds the first step is there; the result is the recording's ``image``.
    """
    steps = recording.steps
    chosen = chosen_steps([step.outline for step in steps], max(1, count // 2))
    decoded = []
    for index in chosen:
        step = steps[index]
        decoded.append(Decoded(index, "denoised", model.images(step.denoised[None])[0]))
        if len(decoded) < count:
            noisy = step.x / sqrt(1 + step.sigma**2)
            decoded.append(Decoded(index, "noisy", model.images(noisy[None])[0]))
    return replace(recording, decoded=tuple(decoded))


def chosen_steps(outlines: list[float], count: int) -> list[int]:
    """Up to ``count`` steps, the first and the last among them, at equal strides of progress.

    Progress is half that of the steps and half that of the outline, which never falls here: where a share is below
    one before it, that one stands.
    """
    best, progress = 0.0, []
    for index, share in enumerate(outlines):
        best = max(best, share)
        progress.append(index / max(1, len(outlines) - 1) + best / max(max(outlines), 1e-12))
    low, high = progress[0], progress[-1]
    goals = [low + (high - low) * i / max(1, count - 1) for i in range(count)]
    nearest = {min(range(len(progress)), key=lambda i: abs(progress[i] - goal)) for goal in goals}
    return sorted(nearest)
