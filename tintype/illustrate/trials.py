"""The same noise with other words: without one, without any, from a picture, or with another prompt."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
import torch
from PIL import Image

from tintype.diffusion.noise import start_noise
from tintype.illustrate.recording import Recording
from tintype.images import Source

if TYPE_CHECKING:
    from tintype.pipeline.run import Run
    from tintype.pipeline.settings import Settings
    from tintype.pipeline.stable_diffusion import StableDiffusion

PATIENCE_MS = 15_000
"""Of the UNet's time in the run: above it, trials take fewer steps."""

SLOW_STEPS = 4, 8
"""After a slow run a trial takes a fifth of its steps, within these: the page takes at most three times the run."""

PIRATES, STRENGTH = "Pirate ship", 0.75
"""The article's example of a picture that is altered."""


@dataclass(frozen=True)
class Drawn:
    """A picture of a trial, and how far it is from the one it is compared with: root mean square of 8-bit levels."""

    prompt: str
    image: Image.Image
    distance: float


@dataclass(frozen=True)
class Absence:
    """A word, its share of all attention, and the picture without it."""

    word: str
    share: float
    drawn: Drawn


@dataclass(frozen=True)
class Trials:
    """Pictures of the same noise in the same number of steps.

    ``same`` is the prompt itself: the run's own picture, or one drawn again where trials take fewer steps.
    """

    steps: int
    same: Image.Image
    without: tuple[Absence, ...]
    unconditional: Drawn
    altered: Image.Image
    altered_prompt: str
    altered_strength: float
    altered_steps: int


@dataclass(frozen=True)
class Inputs:
    """What a run was given beside its settings."""

    image: Source | None = None
    mask: Source | None = None


def try_prompts(sd: StableDiffusion, recording: Recording, inputs: Inputs | None = None, words: int = 3) -> Trials:
    """Draw again without each of the strongest words, and without all; and alter the result."""
    inputs = inputs or Inputs()
    settings = one_picture(recording)
    whole = recording.settings.steps or len(recording.steps)
    slow = is_slow(recording)
    fewest, most = SLOW_STEPS
    steps = min(whole, max(fewest, min(most, whole // 5))) if slow else whole
    settings = replace(settings, steps=steps, spacing=settings.spacing if steps == whole else None)
    same = recording.image if steps == whole else _image(sd, settings, inputs)

    tried = [
        (recording.words[number], share, prompt)
        for number, share in strongest(recording)[:words]
        if (prompt := without_word(recording.prompt, recording.words, number)) is not None
    ]
    together = _in_one_chunk(sd, recording) and not (slow or settings.eta)
    images = _images(sd, settings, [prompt for _, _, prompt in tried], inputs, together)
    without = tuple(
        Absence(word, share, Drawn(prompt, image, distance(image, same)))
        for (word, share, prompt), image in zip(tried, images, strict=True)
    )
    image = _image(sd, replace(settings, prompt="", guidance_scale=1.0, negative_prompt=None), inputs)
    plain = Drawn("", image, distance(image, same))
    if inputs.image is None:
        prompt, strength = PIRATES, STRENGTH
        anew = replace(settings, prompt=prompt, strength=strength, spacing=None)
        run = sd.run(anew, image=same)
        altered, altered_steps = run.images[0], len(run)
    else:
        prompt, strength = recording.prompt, settings.strength or 1.0
        altered, altered_steps = recording.image, len(recording.steps)
    return Trials(steps, same, without, plain, altered, prompt, strength, altered_steps)


def is_slow(recording: Recording) -> bool:
    """Whether the run took so long that trials are to be few."""
    return (recording.part("unet").milliseconds or 0) > PATIENCE_MS


def one_picture(recording: Recording) -> Settings:
    """Settings that repeat the recorded picture alone."""
    return replace(
        recording.settings,
        prompt=recording.prompt,
        negative_prompt=recording.negative_prompt,
        seed=recording.seed,
        batch_size=1,
        latents_sha256=None,
    )


def _image(sd: StableDiffusion, settings: Settings, inputs: Inputs) -> Image.Image:
    return sd.run(settings, image=inputs.image, mask=inputs.mask).images[0]


def _in_one_chunk(sd: StableDiffusion, recording: Recording) -> bool:
    """Whether the prompt, and so every part of it, is told to the network in one chunk of tokens."""
    context = recording.context
    return context is not None and len(context) <= sd.conditioner.towers[0].encoder.config.length


def _images(
    sd: StableDiffusion, settings: Settings, prompts: Sequence[str], inputs: Inputs, together: bool
) -> list[Image.Image]:
    """A picture of each prompt on the same noise.

    ``together``: as one batch, which is faster and takes more memory. A solver that draws noise would draw another for
    each picture of a batch, and prompts of several lengths would be filled up to the longest; such go one by one.
    """
    if not together or len(prompts) < 2:
        return [_image(sd, replace(settings, prompt=prompt), inputs) for prompt in prompts]
    (width, height), factor = settings.size, sd.autoencoder.factor
    shape = (sd.autoencoder.config.latent_channels, height // factor, width // factor)
    noise = start_noise([settings.seed or 0], shape, settings.noise).expand(len(prompts), -1, -1, -1)
    settings = replace(settings, prompt=tuple(prompts))
    return sd.run(settings, image=inputs.image, mask=inputs.mask, latents=noise).images


def strongest(recording: Recording) -> list[tuple[int, float]]:
    """The words by their mean share of attention, strongest first: (number, share)."""
    if recording.heat is None or not recording.words:
        return [(number, 0.0) for number in range(len(recording.words))]
    maps = recording.word_maps(recording.heat.overall)
    shares = maps.flatten(1).mean(1).tolist()
    letters = [any(c.isalnum() for c in word) for word in recording.words]
    ranked = sorted(range(len(shares)), key=lambda number: -shares[number])
    return [(number, shares[number]) for number in ranked if letters[number]]


def without_word(prompt: str, words: Sequence[str], number: int) -> str | None:
    """The prompt without its word of that number; None where the word cannot be found in it as it was read."""
    before = sum(word == words[number] for word in words[:number])
    pattern = rf"(?<!\w){re.escape(words[number])}(?!\w)"
    places = list(re.finditer(pattern, prompt, re.IGNORECASE))
    if before >= len(places):
        return None
    start, end = places[before].span()
    return re.sub(r"\s+", " ", prompt[:start] + " " + prompt[end:]).strip()


def distance(one: Image.Image, other: Image.Image) -> float:
    """The root mean square difference of two pictures in 8-bit levels."""
    a, b = (np.asarray(image.convert("RGB"), dtype=np.float64) for image in (one, other))
    return float(np.sqrt(np.mean((a - b) ** 2)))


@dataclass(frozen=True)
class Sweep:
    """Pictures of one noise by a setting's values, with a measure of each where there is one."""

    values: tuple[float, ...]
    images: tuple[Image.Image, ...]
    measures: tuple[float, ...] = ()


@dataclass(frozen=True)
class Parting:
    """Two prompts on one seed.

    ``apart`` (steps,): the norm of the difference of the two beliefs over that of the first; ``step`` is the first
    index at which it is above ``bound``.
    """

    prompts: tuple[str, str]
    images: tuple[Image.Image, Image.Image]
    beliefs: tuple[tuple[Image.Image, Image.Image], ...]
    shown: tuple[int, ...]
    apart: tuple[float, ...]
    step: int
    bound: float


STEPS = (1, 2, 4, 5, 6, 10, 20, 30, 40, 50, 100, 500)
"""The article's numbers of steps."""

SCALES = (1.0, 1.5, 2.5, 4.0, 7.5, 12.0)
FEW_SCALES = (1.0, 2.5, 7.5)
APART = 0.25


def sweep_steps(sd: StableDiffusion, recording: Recording, most: int = STEPS[-1]) -> Sweep:
    """The same noise with other numbers of steps."""
    settings = replace(one_picture(recording), strength=None, spacing=None, image_sha256=None, mask_sha256=None)
    values = [steps for steps in STEPS if steps <= most]
    images = [sd.run(replace(settings, steps=steps, mask_blur=None)).images[0] for steps in values]
    return Sweep(tuple(values), tuple(images))


def sweep_guidance(
    sd: StableDiffusion, recording: Recording, scales: Sequence[float] = SCALES, steps: int | None = None
) -> Sweep:
    """The same noise at several guidance scales, and how well the model finds its own words in each picture."""
    settings = replace(one_picture(recording), strength=None, image_sha256=None, mask_sha256=None, mask_blur=None)
    settings = replace(settings, steps=steps or settings.steps, spacing=None)
    images, measures = [], []
    for scale in scales:
        image = sd.run(replace(settings, guidance_scale=scale)).images[0]
        images.append(image)
        measures.append(agreement(sd, image, recording.prompt))
    return Sweep(tuple(scales), tuple(images), tuple(measures))


def agreement(sd: StableDiffusion, image: Image.Image, prompt: str, draws: int = 3) -> float:
    """How much the words lower the noise predictor's error on a picture: the share of its error without them.

    Above 0 where the picture looks like the words to the model itself ("Your Diffusion Model is Secretly a Zero-Shot
    Classifier", arXiv 2303.16203, eq. 5, as a share). The same noise and times for every picture.
    """
    from tintype.diffusion import Denoiser
    from tintype.images import to_tensor
    from tintype.types import Conditioning

    x0 = sd.encode(to_tensor(image)).to(sd.device).expand(draws, -1, -1, -1)  # (draws c h w)
    generator = torch.Generator().manual_seed(0)
    noise = torch.randn(x0.shape, generator=generator).to(sd.device)
    last = sd.schedule.num_train_timesteps
    t = torch.linspace(0.2 * last, 0.8 * last, draws).long()
    conds = sd.conditioner([prompt, ""])
    denoiser = Denoiser(sd.predict, sd.schedule, dtype=sd.dtype)
    losses = []
    for index in (0, 1):
        one: Conditioning = conds[index : index + 1]
        cond = one.map(lambda tensor: tensor.expand(draws, *tensor.shape[1:]))
        with torch.no_grad():
            losses.append(float(denoiser.loss(x0, noise, t, cond).mean()))
    return 1 - losses[0] / losses[1]


def part_ways(sd: StableDiffusion, recording: Recording, other: str) -> Parting:
    """Another prompt on the same seed, and the step at which the two beliefs part."""
    settings = replace(
        one_picture(recording), strength=None, spacing=None, image_sha256=None, mask_sha256=None, mask_blur=None
    )

    def beliefs(run: Run) -> list[torch.Tensor]:
        return [step.denoised[0].cpu() for step in run]

    runs = [sd.run(replace(settings, prompt=prompt)) for prompt in (recording.prompt, other)]
    ones, others = (beliefs(run) for run in runs)
    apart = [float((a - b).norm() / a.norm()) for a, b in zip(ones, others, strict=True)]
    step = next((index for index, value in enumerate(apart) if value > APART), len(apart) - 1)
    shown = sorted({0, step, *(round(i * (len(apart) - 1) / 4) for i in range(5))})
    pairs = tuple((sd.images(ones[i][None])[0], sd.images(others[i][None])[0]) for i in shown)
    images = (runs[0].images[0], runs[1].images[0])
    return Parting((recording.prompt, other), images, pairs, tuple(shown), tuple(apart), step, APART)
