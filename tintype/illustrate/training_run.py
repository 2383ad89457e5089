"""What a training run's folder tells: its curves and sheets, its own rows, and real steps on copies of its networks."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from PIL import Image

from tintype.errors import TintypeError, TrainingError
from tintype.illustrate.after import EXAMPLES, FORWARD, OF, Learnt
from tintype.illustrate.agreement import Agreement, agree_further
from tintype.illustrate.autoencoding import Noised, RoundTrip, forward_row, round_trip
from tintype.illustrate.learning import TrainingRow, learning_step, row_latents, training_examples
from tintype.images import to_image
from tintype.models import Pixels
from tintype.pipeline.stable_diffusion import StableDiffusion
from tintype.training import Chain
from tintype.training.pictures import to_signed
from tintype.training.recipes import AutoencoderRecipe, ClipRecipe, DenoiserRecipe
from tintype.training.state import states
from tintype.training.watching.curves import Log, read_log
from tintype.training.watching.page import spread, stages_of
from tintype.training.watching.provenance import RECIPE, from_json, read_chain_recipe, read_starts
from tintype.training.watching.watcher import read_about, sheets_of

ROWS, PAIRS = 12, 8
STEPS, RATE = 8, 1e-4
FRAMES, FRAME = 12, 640
"""Sheets of a film at most, and their longer side."""

RECIPES = {"clip": ClipRecipe, "autoencoder": AutoencoderRecipe, "denoiser": DenoiserRecipe}


@dataclass(frozen=True)
class Stage:
    """One training of a run: how it was started last, what it told, and its sheets with what they show."""

    name: str
    start: dict[str, Any]
    log: Log | None
    sheets: tuple[tuple[int, Image.Image], ...]
    about: dict[str, Any]

    @property
    def seen(self) -> int:
        """Pictures, repeats counted."""
        return self.log.seen if self.log else 0


@dataclass(frozen=True)
class TrainingRun:
    """A run of ``tintype train`` as it stands.

    Attributes:
        name: of its folder.
        stages: in the order in which they were begun.
        recipe: of all of them, as JSON has it; of the one training, where there is only one.
        learnt: its rows, examples of them, a real step of the noise predictor, further steps of its CLIP; None where
            the run has no pictures of its own, as a LoRA's has.
        trip: a picture through its autoencoder and back; None before there is a noise predictor.
        others: the mean PSNR of more pictures.
        forward: the latents of that picture with more and more noise.
    """

    name: str
    stages: tuple[Stage, ...]
    recipe: dict[str, Any]
    learnt: Learnt | None = None
    trip: RoundTrip | None = None
    others: float = 0.0
    forward: tuple[Noised, ...] = ()


def read_run(folder: Path, *, progress: Callable[[str], None] | None = None) -> TrainingRun:
    """Reads a run's folder and takes real steps on copies; nothing in the folder is changed.

    Raises:
        TrainingError: there is no training in it.
    """
    say = progress or (lambda name: None)
    say("reading the run")
    stages = tuple(_stage(each) for each in stages_of(folder)) if folder.is_dir() else ()
    if not stages:
        raise TrainingError(f"{folder} has no training in it: expected the folder of a run of `tintype train`.")
    name = folder.resolve().name
    if not (folder / RECIPE).is_file():
        return TrainingRun(name, stages, stages[0].start["recipe"])
    recipe = read_chain_recipe(folder)
    chosen = {each.name: from_json(RECIPES[each.name], each.start["recipe"]) for each in stages if each.name in RECIPES}
    chain = Chain(replace(recipe, **chosen), folder)
    run = TrainingRun(name, stages, json.loads((folder / RECIPE).read_text(encoding="utf-8")))
    rows = tuple(
        TrainingRow(number, to_image(to_signed(pixels)), caption)
        for number, (pixels, caption) in enumerate(chain.rows(ROWS))
    )
    with torch.random.fork_rng():  # networks are made with random weights before they are filled
        agreement = _agreement(chain, rows, say) if states(folder / "clip") else None
        if not states(folder / "denoiser"):
            return replace(run, learnt=Learnt(rows, True, (), (), None, agreement, None))
        return _with_model(run, chain.model(), rows, agreement, say)


def _stage(folder: Path) -> Stage:
    frames = []
    for seen, path in spread(sheets_of(folder), FRAMES):
        image = Image.open(path).convert("RGB")
        image.thumbnail((FRAME, FRAME))
        frames.append((seen, image))
    return Stage(folder.name, read_starts(folder)[-1], read_log(folder), tuple(frames), read_about(folder))


def _agreement(chain: Chain, rows: tuple[TrainingRow, ...], say: Callable[[str], None]) -> Agreement:
    say("a step of CLIP, on a copy")
    return agree_further(chain.clip(), chain.tokenizer(), rows[:PAIRS], steps=STEPS, rate=RATE)


def _with_model(
    run: TrainingRun,
    sd: StableDiffusion,
    rows: tuple[TrainingRow, ...],
    agreement: Agreement | None,
    say: Callable[[str], None],
) -> TrainingRun:
    """What takes the noise predictor, and the autoencoder in front of it."""
    trip, forward, others = None, (), 0.0
    if not isinstance(sd.autoencoder, Pixels):
        say("through the autoencoder and back")
        trip = round_trip(sd, rows[0].image)
        others = sum(round_trip(sd, row.image).psnr for row in rows[1:5]) / max(1, len(rows[1:5]))
        sigmas = [float(sd.schedule.sigma(t)) if t else 0.0 for t in FORWARD]
        forward = tuple(forward_row(sd, trip.latents, sigmas, clean=trip.rebuilt))
    say("a step of the noise predictor, on a copy")
    learnt = Learnt(rows, True, (), (), None, agreement, None)
    if sd.conditioner.towers:
        learnt = replace(learnt, **_examples(sd, rows))
    return replace(run, learnt=learnt, trip=trip, forward=forward, others=others)


def _examples(sd: StableDiffusion, rows: tuple[TrainingRow, ...]) -> dict[str, Any]:
    last = sd.schedule.num_train_timesteps - 1
    chosen = rows[: len(EXAMPLES)]
    timesteps = [round(amount / OF * last) for amount in EXAMPLES[: len(chosen)]]
    latents = row_latents(sd, chosen)
    examples = training_examples(sd, chosen, timesteps=timesteps, latents=latents)
    pictures = tuple(sd.images(each.x[None] / (1 + each.sigma**2) ** 0.5)[0] for each in examples[:2])
    found: dict[str, Any] = {"examples": examples, "pictures": pictures}
    try:
        return found | {"step": learning_step(sd, chosen, latents=latents)}
    except TintypeError:
        return found | {"why_not": "memory"}
