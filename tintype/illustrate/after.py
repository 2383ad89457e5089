"""Everything that is looked into after a run, in one place; parts that cannot be are absent, with the reason."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from PIL import Image

from tintype.errors import TintypeError
from tintype.illustrate import trials
from tintype.illustrate.agreement import Agreement, learn_to_agree
from tintype.illustrate.autoencoding import Noised, RoundTrip, forward_row, round_trip
from tintype.illustrate.cost import operations
from tintype.illustrate.learning import (
    LearningStep,
    NoisyExample,
    TrainingRow,
    learning_step,
    row_latents,
    training_examples,
    training_rows,
)
from tintype.illustrate.recording import Recording
from tintype.illustrate.trials import Inputs, Parting, Sweep, Trials, try_prompts

if TYPE_CHECKING:
    from tintype.pipeline.stable_diffusion import StableDiffusion

QUICK = 3e12
"""Parameters of the decoder times pixels times steps: every step is decoded where it is no more than this."""

OTHER = "a pirate ship"
"""The prompt beside which the run's own is shown."""

FORWARD = (0, 415, 722, 999)
"""Times of a thousand: the article's amounts 0 to 3 of noise on the way to noise alone."""

EXAMPLES = (3, 14, 7, 42, 2, 21)
"""The article's amounts of noise in its table of training examples, of ``OF``."""

OF = 50
FEW_STEPS = 6
PAIRS, PAIR_STEPS, PAIR_RATE = 6, 6, 1e-4
SLOW_EXAMPLES, SLOW_PAIR_STEPS = 2, 2
"""After a slow run: a step of a large UNet, of 6 examples, and of its CLIP would take a third of the run."""

WhyNot = Literal["memory", "kind"]


@dataclass(frozen=True)
class Learnt:
    """How it learnt: the rows, examples of them, a real step, CLIP's first steps; None where they cannot be had.

    ``own``: the model was trained on these rows.
    """

    rows: tuple[TrainingRow, ...]
    own: bool
    examples: tuple[NoisyExample, ...]
    pictures: tuple[Image.Image, ...]  # of the first two examples, with their noise
    step: LearningStep | None
    agreement: Agreement | None
    why_not: WhyNot | None


@dataclass(frozen=True)
class Dials:
    """Sweeps of guidance scales and numbers of steps, and another prompt on the same seed.

    ``scales`` were drawn in ``scale_steps`` steps each; ``steps`` and ``parting`` only where they were asked for.
    """

    scales: Sweep
    scale_steps: int
    steps: Sweep | None = None
    parting: Parting | None = None


@dataclass(frozen=True)
class After:
    """What was found after a run.

    Attributes:
        estimates: the belief of every step, painted; empty where that takes too long.
        given: the picture that the run began from, if any, in its size.
        trials: other prompts on the same noise.
        trip: the run's picture through the autoencoder and back.
        others: the mean PSNR of pictures of the training set, which no decoder painted.
        forward: the picture's latents with more and more noise.
        operations: of a call of the UNet in latents and on pixels.
        learnt: how it learnt.
        dials: what was turned; None after a slow run, unless it was asked for.
    """

    estimates: tuple[Image.Image, ...]
    given: Image.Image | None
    trials: Trials
    trip: RoundTrip
    others: float
    forward: tuple[Noised, ...]
    operations: tuple[int, int] | None
    learnt: Learnt
    dials: Dials | None = None


def look_after(
    sd: StableDiffusion,
    recording: Recording,
    inputs: Inputs | None = None,
    *,
    dials: bool = False,
    other: str | None = None,
    progress: Callable[[str], None] | None = None,
) -> After:
    """Try what the page shows beside the run. ``progress`` is told the name of each stage before it begins."""
    say = progress or (lambda name: None)
    say("painting the steps")
    width, height = recording.image.size
    quick = recording.part("decoder").parameters * width * height * len(recording.steps) <= QUICK
    estimates = _estimates(sd, recording) if quick else []
    say("drawing again with other words")
    tried = try_prompts(sd, recording, inputs)
    say("through the autoencoder and back")
    rows = training_rows()
    trip = round_trip(sd, recording.image)
    others = [round_trip(sd, row.image).psnr for row in rows[:4]]
    sigmas = [float(sd.schedule.sigma(t)) if t else 0.0 for t in FORWARD]
    slow = trials.is_slow(recording)
    forward = forward_row(sd, trip.latents, sigmas, seed=recording.seed, clean=trip.rebuilt, paint=not slow)
    say("a step of training, on a copy")
    learnt = _learn(sd, rows, slow)
    found = None
    if dials or not slow:
        say("turning the dials")
        found = _turn(sd, recording, dials, other or OTHER)
    given = None if inputs is None or inputs.image is None else _given(recording, inputs)
    work = operations(sd, recording)
    return After(tuple(estimates), given, tried, trip, sum(others) / len(others), tuple(forward), work, learnt, found)


def _estimates(sd: StableDiffusion, recording: Recording) -> list[Image.Image]:
    """The belief of every step, painted where it is not yet."""
    painted = {each.index: each.image for each in recording.decoded if each.of == "denoised"}
    steps = enumerate(recording.steps)
    return [painted[i] if i in painted else sd.images(step.denoised[None])[0] for i, step in steps]


def _turn(sd: StableDiffusion, recording: Recording, all_of_them: bool, other: str) -> Dials:
    whole = recording.settings.steps or len(recording.steps)
    if not all_of_them:
        steps = min(whole, FEW_STEPS)
        return Dials(trials.sweep_guidance(sd, recording, trials.FEW_SCALES, steps), steps)
    scales = trials.sweep_guidance(sd, recording)
    return Dials(scales, whole, trials.sweep_steps(sd, recording), trials.part_ways(sd, recording, other))


def _learn(sd: StableDiffusion, rows: tuple[TrainingRow, ...], slow: bool) -> Learnt:
    own = sd.name == "box"
    config = sd.unet.config
    if config.vector_dim or config.guidance_dim or config.in_channels != config.out_channels:
        return Learnt(rows, own, (), (), None, None, "kind")
    last = sd.schedule.num_train_timesteps - 1
    chosen = rows[: len(EXAMPLES)]
    latents = row_latents(sd, chosen)
    times = [round(amount / OF * last) for amount in EXAMPLES]
    examples = training_examples(sd, chosen, timesteps=times, latents=latents)
    pictures = tuple(sd.images(each.x[None] / (1 + each.sigma**2) ** 0.5)[0] for each in examples[:2])
    try:
        count = SLOW_EXAMPLES if slow else len(chosen)
        step = learning_step(sd, chosen[:count], latents=latents[:count])
        steps = SLOW_PAIR_STEPS if slow else PAIR_STEPS
        agreement = learn_to_agree(sd, rows[:PAIRS], steps=steps, rate=PAIR_RATE)
    except TintypeError:
        return Learnt(rows, own, examples, pictures, None, None, "memory")
    return Learnt(rows, own, examples, pictures, step, agreement, None)


def _given(recording: Recording, inputs: Inputs) -> Image.Image:
    from tintype.images import cover, read_picture

    assert inputs.image is not None
    return cover(read_picture(inputs.image).rgb, *recording.image.size)
