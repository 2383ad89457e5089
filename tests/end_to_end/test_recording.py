"""The model in the box, recorded: the same pictures bit for bit, and words that stand where they are drawn."""

from __future__ import annotations

import random

import numpy as np
import pytest
import torch
from PIL import Image

from tintype.diffusion import SAMPLERS
from tintype.illustrate import learn_to_agree, learning_step, record, round_trip, training_rows

PROMPT = "paradise cosmic beach"


def same(sd, run, again, image=0):
    """The recording of ``again``, whose latents and pictures are those of ``run``."""
    recorder = record(again, image=image)
    assert torch.equal(run.latents, again.latents)
    assert [picture.tobytes() for picture in run.images] == [picture.tobytes() for picture in again.images]
    return recorder.recording(decode=0)


@pytest.mark.parametrize("seed", range(5))
def test_recording_changes_no_bit(sd, seed):
    sampler = ["ddim", "euler_a", "dpmpp_2m", "heun", "unipc"][seed]
    settings = {"seed": seed, "sampler": sampler, "steps": 6, "width": 128 + 8 * seed}
    recording = same(sd, sd.text2img(PROMPT, **settings), sd.text2img(PROMPT, **settings))
    assert max(step.equation.residual for step in recording.steps) < 1e-5


@pytest.mark.proof
@pytest.mark.parametrize("seed", range(100))
def test_recording_changes_no_bit_for_a_hundred_seeds(sd, seed):
    chance = random.Random(seed)
    settings = {
        "seed": seed,
        "sampler": chance.choice(list(SAMPLERS)),
        "steps": chance.randint(3, 12),
        "batch_size": chance.choice([1, 4]),
        "width": 8 * chance.randint(12, 20),
        "height": 8 * chance.randint(12, 20),
        "guidance_scale": chance.choice([1.0, 4.0, 7.5]),
    }
    image = chance.randrange(settings["batch_size"])
    same(sd, sd.text2img(PROMPT, **settings), sd.text2img(PROMPT, **settings), image)


def test_pictures_to_start_from(sd):
    beach = training_rows()[3].image
    mask = Image.new("L", beach.size, 0)
    mask.paste(255, (0, 0, 64, 128))
    settings = {"seed": 2, "steps": 8}
    same(sd, sd.img2img(beach, "a pirate ship", **settings), sd.img2img(beach, "a pirate ship", **settings))
    same(sd, sd.inpaint(beach, mask, "a house", **settings), sd.inpaint(beach, mask, "a house", **settings))


def test_a_word_is_looked_at_where_it_is_drawn(sd):
    """The places that look at "castle" are those where the picture has the castle's red."""
    recording = record(sd.text2img("a red castle on the left of the desert", seed=1)).recording(decode=0)
    heat = recording.word_maps(recording.heat.overall)[recording.words.index("castle")]
    assert torch.allclose(recording.heat.overall.sum(0), torch.ones(heat.shape), atol=1e-5)
    pixels = np.asarray(recording.image.resize(heat.shape, Image.Resampling.BOX)).astype(float)
    red = torch.from_numpy((pixels[..., 0] > 150) & (pixels[..., 1:].max(axis=2) < 90))
    inside, outside = float(heat[red].mean()), float(heat[~red].mean())
    print(f"castle: {inside:.3f} of the attention where it is drawn ({int(red.sum())} places), {outside:.3f} elsewhere")
    assert red.sum() > 8
    assert inside > 3 * outside


def test_the_whole_of_a_recording(sd):
    recording = record(sd.text2img(PROMPT, seed=7)).recording()
    assert recording.words == ("paradise", "cosmic", "beach")
    assert len(recording.steps) == 20
    assert 1 < len(recording.decoded) <= 16
    first, last = recording.outline_steps
    print(f"the outline emerges from step {first} to {last}; {[round(step.outline, 2) for step in recording.steps]}")
    assert 0 <= first < last < 20
    assert len(recording.heat.by_step) == 2
    assert {layer.name for layer in recording.layers} >= {name for pair in recording.skips for name in pair}
    own = recording.recording_milliseconds / recording.part("unet").milliseconds
    print(f"recording took {100 * own:.1f} % of the network's time")
    assert own < 1


def test_how_it_learnt(sd):
    rows = training_rows()
    step = learning_step(sd, rows[:4])
    print(f"loss {step.loss_before:.4f} -> {step.loss_after:.4f}, gradient {step.grad_norm:.3f}")
    assert step.loss_before < 0.5, "it has learnt these pictures; without learning the loss is about 1"
    assert step.loss_after < step.loss_before
    agreement = learn_to_agree(sd, rows, steps=4)
    print(f"contrastive loss {agreement.steps[0].loss:.3f} -> {agreement.loss:.3f}, found {agreement.found:.0%}")
    assert agreement.loss < agreement.steps[0].loss
    trip = round_trip(sd, rows[0].image)
    print(f"round trip {trip.psnr:.1f} dB at {trip.compression:.0f} times fewer numbers")
    assert trip.psnr > 20
