"""A run that is recorded draws, bit for bit, what it draws alone; and what is recorded is what happened."""

from __future__ import annotations

import random
import threading
from math import sqrt

import pytest
import torch

from tests.unit.illustrate.tiny import tiny
from tintype.adapters import save_lora
from tintype.adapters.deltas import Delta
from tintype.adapters.lora import layers_of
from tintype.diffusion import SAMPLERS
from tintype.errors import SettingsError, TintypeError
from tintype.illustrate import record
from tintype.models import Attention

PROMPT = "a paradise cosmic beach"
OPTIONS = {
    "not square": {"width": 72, "height": 104},
    "batch of four": {"batch_size": 4, "image": 2},
    "two prompts": {"prompt": ["a red boat", PROMPT], "batch_size": 2, "image": 3},
    "without guidance": {"guidance_scale": 1.0},
    "guidance in an interval": {"guidance_interval": (0.5, 5.0)},
    "rescaled": {"guidance_rescale": 0.7},
    "long": {"prompt": "a red boat on a blue sea, " * 30},
    "truncated": {"prompt": "a red boat on a blue sea, " * 30, "long_prompt": "truncate"},
    "weighted": {"prompt": "a (red:1.4) boat [under] the moon", "negative_prompt": "two birds"},
}


def hanging(model) -> list[str]:
    """What is left on the networks: hooks, and attention that was replaced."""
    found = []
    for network in (model.unet, model.autoencoder, *(tower.encoder for tower in model.conditioner.towers)):
        for name, module in network.named_modules():
            if module._forward_hooks or module._forward_pre_hooks or "forward" in vars(module):
                found.append(name)
            if isinstance(module, Attention) and "attend" in vars(module):
                found.append(name)
    return found


def same(model, settings, index=0, **inputs):
    """The recording of a run whose latents and pictures are those of the same run without one."""
    plain = model.run(settings, **inputs)
    run = model.run(plain.settings, **inputs)
    recorder = record(run, image=index)
    for step, expected in zip(run, plain, strict=True):
        assert torch.equal(step.x_next, expected.x_next)
        assert not hanging(model), "something hangs on the networks between two steps"
    recording = recorder.recording(decode=2)
    assert torch.equal(run.latents, plain.latents)
    assert [a.tobytes() for a in run.images] == [b.tobytes() for b in plain.images]
    assert not hanging(model)
    assert torch.equal(recording.latents, plain.latents[index])
    assert recording.image.tobytes() == plain.images[index].tobytes()
    return recording


def settings_of(model, prompt=PROMPT, **settings):
    return model.text2img(prompt, seed=settings.pop("seed", 7), **settings).settings


@pytest.mark.parametrize("name", SAMPLERS)
def test_every_sampler_draws_the_same_and_its_equations_hold(sd, name):
    recording = same(sd, settings_of(sd, sampler=name, steps=7))
    residuals = [step.equation.residual for step in recording.steps]
    print(f"{name}: {max(residuals):.1e}, terms {[len(step.equation.terms) for step in recording.steps]}")
    assert max(residuals) < 1e-5


@pytest.mark.parametrize("options", OPTIONS.values(), ids=OPTIONS)
def test_every_option_draws_the_same(sd, options):
    options = dict(options)
    image = options.pop("image", 0)
    recording = same(sd, settings_of(sd, **options), image)
    assert recording.seed == 7 + image
    assert recording.prompt == recording.settings.prompts[image // recording.settings.batch_size]


@pytest.mark.parametrize("family", ["sd2", "sdxl"])
def test_every_family_draws_the_same(models, family):
    recording = same(models[family], settings_of(models[family]))
    assert recording.prediction == ("v" if family == "sd2" else "eps")
    assert len(recording.parts) == (4 if family == "sdxl" else 3)
    assert {layer.kind for layer in recording.layers} >= {"resnet", "cross-attention", "down", "up"}


@pytest.mark.parametrize("seed", range(5))
def test_seeds(sd, seed):
    same(sd, settings_of(sd, seed=seed, sampler=list(SAMPLERS)[seed]))


@pytest.mark.proof
@pytest.mark.parametrize("seed", range(100))
def test_a_hundred_seeds(models, seed):
    chance = random.Random(seed)
    model = models[chance.choice(list(models))]
    sampler = chance.choice(list(SAMPLERS))
    width, height = (8 * chance.randint(8, 14) for _ in range(2))
    batch = chance.choice([1, 2, 4])
    scale = chance.choice([1.0, 3.0, 7.5])
    settings = settings_of(
        model, seed=seed, sampler=sampler, width=width, height=height, batch_size=batch, guidance_scale=scale
    )
    same(model, settings, chance.randrange(batch))


def test_pictures_to_start_from(sd, picture, mask):
    altered = sd.img2img(picture, PROMPT, seed=3, strength=0.6, steps=6)
    recording = same(sd, altered.settings, image=picture)
    assert len(recording.steps) == 3
    repainted = sd.inpaint(picture, mask, PROMPT, seed=3, steps=5)
    recording = same(sd, repainted.settings, image=picture, mask=mask)
    assert max(step.equation.residual for step in recording.steps) < 1e-5


def test_a_lora_of_the_run_alone(tmp_path):
    sd = tiny()
    generator = torch.Generator().manual_seed(1)
    deltas = {}
    for network, module in sd.networks.items():
        for name in layers_of(module):
            weight = module.get_submodule(name).weight
            down = 0.2 * torch.randn(2, *weight.shape[1:], generator=generator)
            up = 0.2 * torch.randn(weight.shape[0], 2, *[1] * (weight.ndim - 2), generator=generator)
            deltas[network, name] = Delta({"down": down, "up": up}, alpha=1.0)
    path = tmp_path / "style.safetensors"
    save_lora(path, deltas, sd.networks)
    without = same(sd, settings_of(sd))
    recording = same(sd, settings_of(sd, loras=[(str(path), 0.8)]))
    assert not torch.equal(recording.latents, without.latents)
    assert not torch.equal(recording.context, without.context), "the text encoder has the LoRA on, as in the run"
    tagged = same(sd, settings_of(sd, prompt=f"{PROMPT}<lora:{path}:0.8>"))
    assert torch.equal(tagged.context, recording.context)
    assert tagged.prompt == PROMPT
    merged = sd.attach(str(path), 0.8)
    merged.merge()
    same(sd, settings_of(sd))


def test_two_recorders_and_another_attention(sd):
    plain = sd.text2img(PROMPT, seed=7)
    run = sd.run(plain.settings)
    first, second = record(run), record(run)
    assert torch.equal(run.latents, plain.latents)
    a, b = first.recording(decode=0), second.recording(decode=0)
    assert torch.equal(a.heat.overall, b.heat.overall)
    assert [layer.moved for layer in a.layers] == [layer.moved for layer in b.layers]


def test_steps_are_those_of_the_run(sd):
    run = sd.text2img(PROMPT, seed=7, sampler="heun", batch_size=2)
    recorder = record(run, image=1)
    steps = list(run)
    recording = recorder.recording(decode=0)
    for step, recorded in zip(steps, recording.steps, strict=True):
        assert (step.index, step.sigma, step.sigma_next) == (recorded.index, recorded.sigma, recorded.sigma_next)
        assert torch.equal(step.x[1], recorded.x)
        assert torch.equal(step.denoised[1], recorded.denoised)
        torch.testing.assert_close(step.x_next[1], recorded.x_next, rtol=1e-6, atol=1e-6)
    assert [step.evaluations for step in recording.steps] == [2, 2, 2, 1]
    assert recording.part("unet").calls == 7


@pytest.mark.parametrize("family", ["sd1", "sd2"])
def test_predicted_noise_is_what_guidance_joins(models, family):
    model = models[family]
    run = model.text2img(PROMPT, seed=7)
    recorder = record(run, heat_maps=False, features=False)
    recording = recorder.recording(decode=0)
    scale = recording.guidance_scale
    for step in recording.steps:
        guided = step.noise_uncond + scale * (step.noise_cond - step.noise_uncond)
        torch.testing.assert_close(guided, step.noise, rtol=1e-4, atol=1e-4)
        torch.testing.assert_close(step.guidance, step.noise_cond - step.noise_uncond)
        torch.testing.assert_close(step.removed, step.x - step.x_next)
    assert recording.heat is None
    assert recording.layers == ()


def test_without_guidance_there_is_one_prediction(sd):
    recording = record(run := sd.text2img(PROMPT, seed=7, guidance_scale=1)).recording(decode=0)
    assert len(recording.steps) == len(run)
    for step in recording.steps:
        assert step.noise_uncond is None
        assert step.guidance is None
        torch.testing.assert_close(step.noise_cond, step.noise, rtol=1e-4, atol=1e-4)
    assert recording.context_uncond is None


def test_parts_say_what_they_are_and_how_long_they_took(sd):
    recording = record(sd.text2img(PROMPT, seed=7)).recording(decode=0)
    text, unet, decoder = recording.parts
    assert (text.class_name, text.shape_in, text.shape_out) == ("TextEncoder", (77,), (77, 32))
    assert (unet.class_name, unet.shape_in, unet.shape_out) == ("UNet", (4, 8, 8), (4, 8, 8))
    assert (decoder.class_name, decoder.shape_in, decoder.shape_out) == ("Decoder", (4, 8, 8), (3, 64, 64))
    assert unet.parameters == sum(weight.numel() for weight in sd.unet.parameters())
    assert unet.bytes == 4 * unet.parameters
    assert (text.calls, unet.calls, decoder.calls) == (2, 4, 1)
    assert all(part.milliseconds > 0 for part in recording.parts)
    assert torch.equal(recording.context, sd.conditioner([PROMPT]).context[0])
    assert torch.equal(recording.context_uncond, sd.conditioner([""]).context[0])


def test_a_stopped_run_has_the_steps_that_were_done(sd):
    run = sd.text2img(PROMPT, seed=7, steps=6)
    recorder = record(run)
    for step in run:
        if step.index == 2:
            run.stop()
    recording = recorder.recording(decode=4)
    assert len(recording.steps) == 3
    assert torch.equal(recording.latents, recording.steps[-1].denoised)
    assert max(step.equation.residual for step in recording.steps) < 1e-5
    assert all(len(layer.moved) == 3 for layer in recording.layers if layer.moved)
    assert recording.heat.step(2) is not None

    unbegun = sd.text2img(PROMPT, seed=7)
    recorder = record(unbegun)
    unbegun.stop()
    with pytest.raises(TintypeError, match="stopped before its first step"):
        recorder.recording()


def test_what_cannot_be_recorded_is_said(sd):
    with pytest.raises(SettingsError, match="image is 1; this run has 1"):
        record(sd.text2img(PROMPT), image=1)
    run = sd.text2img(PROMPT)
    next(iter(run))
    with pytest.raises(TintypeError, match="has begun"):
        record(run)


def test_an_error_within_leaves_no_trace(sd, monkeypatch):
    run = sd.text2img(PROMPT, seed=7)
    record(run)
    monkeypatch.setattr(sd.unet.mid.resnets[1], "forward", lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        list(run)
    monkeypatch.undo()
    assert not hanging(sd)
    assert sd.lock.acquire(blocking=False)
    sd.lock.release()


def test_another_run_between_is_neither_seen_nor_changed(sd):
    """Two runs on one model, in turns of two threads, one of them recorded."""
    expected = sd.text2img("a red boat", seed=1, steps=8).latents
    alone = record(sd.text2img(PROMPT, seed=7, steps=8)).recording(decode=0)
    other, run = sd.text2img("a red boat", seed=1, steps=8), sd.text2img(PROMPT, seed=7, steps=8)
    recorder = record(run)
    thread = threading.Thread(target=lambda: other.latents)
    thread.start()
    recording = recorder.recording(decode=0)
    thread.join()
    assert torch.equal(other.latents, expected)
    assert torch.equal(recording.heat.overall, alone.heat.overall)
    assert recording.part("unet").calls == 8


def test_chosen_steps_are_painted(sd):
    run = sd.text2img(PROMPT, seed=7, steps=9)
    recording = record(run).recording(decode=6)
    assert [(each.index, each.of) for each in recording.decoded[:2]] == [(0, "denoised"), (0, "noisy")]
    assert len(recording.decoded) <= 6
    assert recording.decoded[-1].index == 8
    step = recording.steps[0]
    assert recording.decoded[0].image.tobytes() == sd.images(step.denoised[None])[0].tobytes()
    assert recording.decoded[1].image.tobytes() == sd.images(step.x[None] / sqrt(1 + step.sigma**2))[0].tobytes()
