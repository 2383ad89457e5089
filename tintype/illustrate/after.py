"""Everything that is looked into after a run, in one place; each part is absent where it was not asked for or cannot be."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from PIL import Image

from tintype.illustrate.recording import Recording
from tintype.illustrate.trials import prompts
from tintype.illustrate.trials.learning import Learning, learn
from tintype.illustrate.trials.prompts import Inputs, Parting, Sweep, Trials, try_prompts
from tintype.illustrate.trials.recognition import Recognition, recognise
from tintype.illustrate.trials.roundtrip import Roundtrip, round_trip

if TYPE_CHECKING:
    from tintype.pipeline.stable_diffusion import StableDiffusion

QUICK_MS = 4_000
"""Decoding every step is done where it takes no longer."""

OTHER = "a pirate ship"
"""The prompt beside which the run's own is shown."""


@dataclass(frozen=True)
class Dials:
    """Sweeps of numbers of steps and guidance scales, and another prompt on the same seed."""

    steps: Sweep
    scales: Sweep
    parting: Parting


@dataclass(frozen=True)
class After:
    """What was found after a run. ``estimates``: the belief of every step, painted; empty where that takes too long."""

    estimates: tuple[Image.Image, ...]
    given: Image.Image | None
    trials: Trials
    trip: Roundtrip
    learning: Learning
    recognition: Recognition | None
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
    """Try what the page shows beside the run. ``progress`` is told the name of each part before it begins."""
    say = progress or (lambda name: None)
    decoder = recording.part("decoder").milliseconds or 0
    say("decode")
    quick = decoder * len(recording.steps) <= QUICK_MS
    estimates = [sd.images(step.denoised[None])[0] for step in recording.steps] if quick else []
    say("prompts")
    trials = try_prompts(sd, recording, inputs)
    say("autoencoder")
    trip = round_trip(sd, recording)
    say("learning")
    learning = learn(sd)
    say("recognition")
    recognition = recognise(sd, learning.rows)
    found = None
    if dials:
        say("dials")
        settings = (prompts.sweep_steps(sd, recording), prompts.sweep_guidance(sd, recording))
        found = Dials(*settings, prompts.part_ways(sd, recording, other or OTHER))
    given = None if inputs is None or inputs.image is None else given_picture(recording, inputs)
    return After(tuple(estimates), given, trials, trip, learning, recognition, found)


def given_picture(recording: Recording, inputs: Inputs) -> Image.Image:
    """The picture that the run began from, in the run's size."""
    from tintype.images import cover, read_picture

    assert inputs.image is not None
    return cover(read_picture(inputs.image).rgb, *recording.image.size)
