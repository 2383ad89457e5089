"""A run: its steps, its seeds, what ends it and what remains."""

from __future__ import annotations

import threading
from itertools import pairwise
from math import log10

import numpy as np
import pytest
import torch

from tests.unit.pipeline.tiny import tiny_model
from tintype.diffusion import SAMPLERS, start_noise
from tintype.errors import NotFiniteError, SettingsError, TintypeError
from tintype.pipeline.settings import Settings


def psnr(a, b) -> float:
    error = np.square(np.asarray(a, dtype=np.float64) - np.asarray(b, dtype=np.float64)).mean()
    return float("inf") if error == 0 else 10 * log10(255**2 / error)


def relative_error(a: torch.Tensor, b: torch.Tensor) -> float:
    return float((a - b).abs().max() / b.std())


def counting_calls(sd):
    """A list that grows by the batch size of each call of the UNet, and a function that ends this."""
    sizes: list[int] = []
    handle = sd.unet.register_forward_pre_hook(lambda _, args: sizes.append(len(args[0])))
    return sizes, handle.remove


def test_nothing_is_computed_before_it_is_asked_for(sd):
    sizes, done = counting_calls(sd)
    run = sd.text2img("a red boat", seed=7)
    assert len(run) == 4
    assert run.seeds == (7,)
    assert not sizes
    next(iter(run))
    assert sizes == [2]
    done()


@pytest.mark.parametrize("name", SAMPLERS)
def test_every_sampler_yields_as_many_steps_as_the_run_is_long(sd, name):
    run = sd.text2img("a red boat", seed=7, sampler=name, steps=5)
    steps = list(run)
    assert [step.index for step in steps] == list(range(len(run))) == list(range(5))
    assert all(before.sigma_next == after.sigma for before, after in pairwise(steps))
    assert torch.isfinite(run.latents).all()
    assert run.latents.dtype == torch.float32
    assert run.images[0].size == (64, 64)


def test_latents_are_those_of_the_variance_preserving_form(sd):
    run = sd.text2img("a red boat", seed=7)
    last = list(run)[-1]
    assert last.sigma_next > 0  # ddim here ends at the first noise level
    assert torch.equal(run.latents, last.x_next / (1 + last.sigma_next**2) ** 0.5)


def test_an_image_does_not_depend_on_its_batch(sd):
    batch = sd.text2img("a red boat", seed=11, batch_size=3, sampler="euler_a")
    first = next(iter(batch))
    for i, seed in enumerate(batch.seeds):
        alone = sd.text2img("a red boat", seed=seed, sampler="euler_a")
        assert torch.equal(next(iter(alone)).x[0], first.x[i])
        assert psnr(alone.images[0], batch.images[i]) >= 60
        assert relative_error(batch.latents[i], alone.latents[0]) < 1e-3


def test_a_seed_starts_alike_on_every_device_and_in_every_dtype(own_sd):
    expected = start_noise([5], (4, 8, 8))
    in_fp32 = next(iter(own_sd.text2img("a red boat", seed=5, sampler="ddim"))).x
    own_sd.to(dtype=torch.bfloat16)
    run = own_sd.text2img("a red boat", seed=5, sampler="ddim")
    in_bf16 = next(iter(run)).x
    assert in_bf16.dtype == torch.float32
    assert torch.equal(in_fp32, in_bf16)
    assert torch.equal(in_fp32, run.plan.start_scale * expected)
    assert run.latents.dtype == torch.float32


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU")
def test_a_seed_starts_alike_on_a_gpu(own_sd):
    on_cpu = next(iter(own_sd.text2img("a red boat", seed=5))).x
    own_sd.to("cuda")
    assert torch.equal(on_cpu, next(iter(own_sd.text2img("a red boat", seed=5))).x.cpu())


def test_prompts_times_batch(sd):
    run = sd.text2img(["a red boat", "a lighthouse"], seed=20, batch_size=2, steps=2)
    assert run.seeds == (20, 21, 22, 23)
    assert run.latents.shape == (4, 4, 8, 8)
    assert len(run.images) == 4
    second = sd.text2img("a lighthouse", seed=22, batch_size=2, steps=2)
    assert relative_error(run.latents[2:], second.latents) < 1e-3


def test_prompts_of_different_length_share_a_batch(sd):
    long = "a red boat on a blue sea " * 12
    run = sd.text2img(["a red boat", long], seed=1, steps=2)
    assert torch.isfinite(run.latents).all()
    assert any("chunks" in notice for notice in run.notices)
    alone = sd.text2img(long, seed=2, steps=2)
    assert relative_error(run.latents[1:], alone.latents) < 1e-3


def test_a_negative_prompt_for_each_prompt(sd):
    both = sd.text2img(["a boat", "a house"], negative_prompt=["red", "moon"], seed=1, steps=2)
    house = sd.text2img("a house", negative_prompt="moon", seed=2, steps=2)
    assert relative_error(both.latents[1:], house.latents) < 1e-3


@pytest.mark.parametrize(("width", "height"), [(72, 64), (64, 72), (136, 88), (64, 200)])
def test_odd_sizes(sd, width, height):
    run = sd.text2img("a red boat", seed=1, steps=2, width=width, height=height)
    assert run.latents.shape == (1, 4, height // 8, width // 8)
    assert run.images[0].size == (width, height)


def test_guidance_1_costs_no_unconditional_pass(sd):
    sizes, done = counting_calls(sd)
    list(sd.text2img("a red boat", seed=1, steps=3, guidance_scale=1))
    assert sizes == [1, 1, 1]
    sizes.clear()
    list(sd.text2img("a red boat", seed=1, steps=3, guidance_scale=2))
    assert sizes == [2, 2, 2]
    sizes.clear()
    run = sd.text2img("a red boat", seed=1, steps=3, guidance_scale=2, guidance_interval=(0.5, 2))
    steps = list(run)
    assert sizes == [2 if 0.5 < step.sigma <= 2 else 1 for step in steps]
    assert set(sizes) == {1, 2}
    done()


def test_words_steer(sd):
    boat, beach = (sd.text2img(words, seed=1).latents for words in ("a red boat", "a paradise cosmic beach"))
    away = sd.text2img("a red boat", negative_prompt="moon", seed=1).latents
    assert relative_error(boat, beach) > 1e-3
    assert relative_error(boat, away) > 1e-3


def test_text_is_encoded_once_and_prepared_once(sd):
    encoded, prepared = [], []
    tower = sd.conditioner.towers[0].encoder
    hook = tower.register_forward_pre_hook(lambda *_: encoded.append(1))
    sd.unet.prepare, before = lambda cond: prepared.append(1) or before(cond), sd.unet.prepare
    list(sd.text2img("a red boat", seed=1, steps=4))
    hook.remove()
    del sd.unet.prepare
    assert len(encoded) == len(prepared) == 2  # what is wanted and what is not


# Iterating


def test_a_second_loop_goes_on_and_a_finished_run_yields_nothing(sd):
    run = sd.text2img("a red boat", seed=3)
    whole = sd.text2img("a red boat", seed=3).latents
    for step in run:
        if step.index == 1:
            break
    assert [step.index for step in run] == [2, 3]
    assert list(run) == []
    assert torch.equal(run.latents, whole)
    assert run.images == run.images
    assert run.steps_done == 4


def test_images_after_some_steps_run_to_the_end(sd):
    run = sd.text2img("a red boat", seed=3)
    next(iter(run))
    assert run.images[0].tobytes() == sd.text2img("a red boat", seed=3).images[0].tobytes()
    assert list(run) == []


def test_nothing_is_held_between_steps(sd):
    free = []

    def try_the_lock() -> None:
        free.append(sd.lock.acquire(timeout=5))
        sd.lock.release()

    for _ in sd.text2img("a red boat", seed=3, steps=2):
        assert torch.is_grad_enabled()
        other = threading.Thread(target=try_the_lock)
        other.start()
        other.join()
    assert free == [True, True]


def test_a_training_step_between_two_steps_of_a_run(own_sd):
    own_sd.unet.requires_grad_(True)
    run = iter(own_sd.text2img("a red boat", seed=3))
    step = next(run)
    assert not step.x_next.requires_grad
    x = torch.randn(1, 4, 8, 8)
    own_sd.unet(x, torch.tensor([5.0]), own_sd.conditioner(["a red boat"])).mean().backward()
    assert own_sd.unet.conv_in.weight.grad is not None
    assert not next(run).x_next.requires_grad


# Stopping


def test_stop_keeps_the_last_estimate(sd):
    run = sd.text2img("a red boat", seed=3)
    for step in run:
        if step.index == 1:
            run.stop()
    assert step.index == 1
    assert run.steps_done == 2
    assert torch.equal(run.latents, step.denoised)
    assert run.images[0].size == (64, 64)
    assert list(run) == []


def test_stop_from_another_thread_ends_before_the_next_network_call(own_sd):
    calls = []
    second_call, go_on = threading.Event(), threading.Event()

    def slow(*_):
        calls.append(1)
        if len(calls) == 2:
            second_call.set()
            assert go_on.wait(10)

    own_sd.unet.register_forward_pre_hook(slow)
    run = own_sd.text2img("a red boat", seed=3, sampler="heun", steps=4)  # two calls a step

    def stop() -> None:
        second_call.wait(10)
        run.stop()
        go_on.set()

    thread = threading.Thread(target=stop)
    thread.start()
    steps = list(run)
    thread.join()
    assert len(calls) == 2
    assert len(steps) == 1
    assert torch.isfinite(run.latents).all()


def test_stop_within_a_step_keeps_the_estimate_of_its_first_call(own_sd):
    run = own_sd.text2img("a red boat", seed=3, sampler="heun", steps=4)
    own_sd.unet.register_forward_hook(lambda *_: run.stop())
    assert list(run) == []
    assert run.steps_done == 0
    assert torch.isfinite(run.latents).all()


def test_stop_before_the_first_step_leaves_nothing_to_show(sd):
    run = sd.text2img("a red boat", seed=3)
    run.stop()
    assert list(run) == []
    with pytest.raises(TintypeError, match="before its first step"):
        _ = run.images


def test_stop_after_the_end_changes_nothing(sd):
    run = sd.text2img("a red boat", seed=3)
    before = run.latents
    run.stop()
    assert torch.equal(run.latents, before)


def test_a_run_that_waits_for_its_turn_hears_stop(sd):
    run = sd.text2img("a red boat", seed=3)
    next(iter(run))
    sizes, done = counting_calls(sd)
    with sd.lock:
        thread = threading.Thread(target=lambda: list(run))
        thread.start()
        run.stop()
    thread.join()
    done()
    assert not sizes


def test_an_interrupt_from_the_keyboard_keeps_what_is_there(own_sd):
    run = own_sd.text2img("a red boat", seed=3)
    step = next(iter(run))

    def interrupt(*_):
        raise KeyboardInterrupt

    handle = own_sd.unet.register_forward_hook(interrupt)
    with pytest.raises(KeyboardInterrupt):
        next(iter(run))
    handle.remove()
    assert torch.equal(run.latents, step.denoised)


# Several runs


def test_two_interleaved_runs_give_what_each_gives_alone(sd):
    def make():
        return (
            sd.text2img("a red boat", seed=3, sampler="euler_a"),
            sd.text2img("a lighthouse", seed=4, sampler="dpmpp_2m", width=72),
        )

    alone = [run.latents for run in make()]
    together = make()
    for _ in zip(*together, strict=True):
        pass
    assert all(torch.equal(run.latents, expected) for run, expected in zip(together, alone, strict=True))


def test_runs_in_several_threads_give_what_each_gives_alone(sd):
    def make():
        return [sd.text2img("a red boat", seed=seed, sampler="euler_a") for seed in range(4)]

    alone = [run.images[0].tobytes() for run in make()]
    together = make()
    threads = [threading.Thread(target=lambda run=run: run.images) for run in together]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [run.images[0].tobytes() for run in together] == alone


def test_runs_take_turns_by_network_call(sd):
    order: list[int] = []
    hook = sd.unet.register_forward_pre_hook(lambda *_: order.append(threading.get_ident()))
    runs = [sd.text2img("a red boat", seed=seed, steps=100, width=128) for seed in range(2)]
    threads = [threading.Thread(target=lambda run=run: list(run)) for run in runs]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    hook.remove()
    assert len(order) == 200
    assert sum(one != other for one, other in pairwise(order)) > 5  # one after the other would be 1


def test_threads_may_share_a_run(sd):
    run = sd.text2img("a red boat", seed=3, steps=20)
    seen: list[int] = []
    threads = [threading.Thread(target=lambda: seen.extend(step.index for step in run)) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(seen) == list(range(20))


# Errors


def test_an_error_in_the_middle_is_raised_again(own_sd):
    calls = []

    def break_down(*_):
        calls.append(1)
        if len(calls) == 3:
            raise RuntimeError("out of memory, say")

    own_sd.unet.register_forward_pre_hook(break_down)
    run = own_sd.text2img("a red boat", seed=3)
    seen = []
    with pytest.raises(RuntimeError, match="out of memory"):
        seen.extend(run)
    for again in (lambda: list(run), lambda: run.latents, lambda: run.images, lambda: run.latents):
        with pytest.raises(RuntimeError, match="out of memory"):
            again()
    assert len(calls) == 3
    # The model is not harmed: its lock is free and another run draws.
    assert torch.isfinite(own_sd.text2img("a red boat", seed=3).latents).all()


def test_an_error_of_the_caller_does_not_harm_the_run(sd):
    run = sd.text2img("a red boat", seed=3)
    with pytest.raises(ZeroDivisionError):
        for _ in run:
            1 / 0  # noqa: B018
    assert torch.equal(run.latents, sd.text2img("a red boat", seed=3).latents)


@pytest.mark.parametrize(
    ("stage", "part"),
    [
        ("text encoder", lambda sd: sd.conditioner.towers[0].encoder.final_norm.weight),
        ("unet", lambda sd: sd.unet.conv_out.bias),
        ("autoencoder", lambda sd: sd.autoencoder.decoder.conv_out.bias),
    ],
)
@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_what_is_not_finite_is_an_error_that_names_its_stage(own_sd, stage, part, value):
    with torch.no_grad():
        part(own_sd)[0] = value
    run = own_sd.text2img("a red boat", seed=3)
    for _ in range(2):
        with pytest.raises(NotFiniteError, match=stage) as caught:
            _ = run.images
        assert caught.value.stage == stage


def test_nan_is_told_a_step_late_and_never_missed_at_the_end(own_sd):
    calls = []

    def spoil_the_last(_, __, output):
        calls.append(1)
        return output * float("nan") if len(calls) == 4 else output

    own_sd.unet.register_forward_hook(spoil_the_last)
    run = own_sd.text2img("a red boat", seed=3)
    with pytest.raises(NotFiniteError, match="unet"):
        _ = run.latents
    assert run.steps_done == 4


def test_nan_in_the_estimate_that_stop_would_keep(own_sd):
    run = own_sd.text2img("a red boat", seed=3, sampler="heun")

    def spoil(_, __, output):
        run.stop()
        return output * float("nan")

    own_sd.unet.register_forward_hook(spoil)
    with pytest.raises(NotFiniteError, match="unet"):
        _ = run.images


# Repeating


def test_settings_repeat_a_run_bit_for_bit(sd):
    run = sd.text2img(["a red boat", "a house"], negative_prompt="moon", batch_size=2, sampler="euler_a", eta=0.7)
    again = sd.run(run.settings)
    assert again.settings == run.settings
    assert torch.equal(again.latents, run.latents)
    assert all(a.tobytes() == b.tobytes() for a, b in zip(again.images, run.images, strict=True))


def test_a_seed_is_chosen_and_told(sd):
    seeds = {sd.text2img("a red boat").seeds[0] for _ in range(8)}
    assert len(seeds) == 8
    assert all(0 <= seed < 2**32 for seed in seeds)


def test_given_noise_is_used_and_recorded(sd):
    noise = start_noise([42], (4, 8, 8))
    run = sd.text2img("a red boat", latents=noise, seed=1)
    expected = sd.text2img("a red boat", seed=42)
    assert torch.equal(run.latents, expected.latents)
    assert len(run.settings.latents_sha256) == 64
    noise.zero_()  # the run has its own copy
    again = sd.run(run.settings, latents=start_noise([42], (4, 8, 8)))
    assert torch.equal(again.latents, expected.latents)
    with pytest.raises(SettingsError, match="another one"):
        sd.run(run.settings, latents=noise)
    with pytest.raises(SettingsError, match="not given"):
        sd.run(run.settings)


@pytest.mark.parametrize(
    ("latents", "what"),
    [
        (torch.zeros(1, 4, 8, 9), "shape"),
        (torch.zeros(2, 4, 8, 8), "shape"),
        (torch.zeros(4, 8, 8), "latents must be"),
        (torch.zeros(1, 4, 8, 8, dtype=torch.int64), "latents must be"),
        (torch.full((1, 4, 8, 8), float("nan")), "NaN"),
    ],
)
def test_noise_that_does_not_fit(sd, latents, what):
    with pytest.raises(SettingsError, match=what):
        sd.text2img("a red boat", latents=latents)


def test_what_has_no_effect_is_told(sd):
    assert sd.text2img("a red boat", negative_prompt="moon").notices == ()
    assert "negative_prompt" in sd.text2img("a red boat", negative_prompt="moon", guidance_scale=1).notices[0]
    assert "1 is no guidance" in sd.text2img("a red boat", guidance_scale=0).notices[0]
    assert "crop" in sd.text2img("a red boat", crop=(0, 0)).notices[0]


def test_noise_of_a_sampler_that_has_none(sd):
    run = sd.text2img("a red boat", sampler="heun", eta=0.5)
    with pytest.raises(SettingsError, match="heun"):
        list(run)


def test_none_means_the_models_own(sd):
    settings = sd.text2img("a red boat").settings
    assert (settings.width, settings.height, settings.steps, settings.guidance_scale) == (64, 64, 4, 5.0)
    other = tiny_model(sampler="euler_a", spacing="trailing")
    run = other.text2img("a red boat")
    assert (run.settings.sampler, run.settings.eta) == ("euler_a", 1.0)
    assert run.plan.timesteps[0] == 999  # trailing
    assert sd.text2img("a red boat", sampler="heun").settings.sampler == "heun"


def test_sigmas_given_by_hand(sd):
    run = sd.text2img("a red boat", seed=1, sampler="euler", spacing=[14.0, 5.0, 1.0, 0.0])
    assert run.settings.steps == 3
    assert [step.sigma for step in run] == [14.0, 5.0, 1.0]
    assert torch.equal(sd.run(Settings.from_dict(run.settings.to_dict())).latents, run.latents)


def test_unknown_sampler_and_spacing_are_told_before_anything_runs(sd):
    with pytest.raises(SettingsError, match="euler"):
        sd.text2img("a red boat", sampler="eular")
    with pytest.raises(SettingsError, match="karras"):
        sd.text2img("a red boat", spacing="karas")


# Wrapping


def test_a_wrapper_sees_every_call_and_changes_nothing(sd):
    seen = []

    def recorder(denoise):
        def record(x, sigma):
            with sd.lock:  # a recorder holds the model while it has something attached to it
                denoised = denoise(x, sigma)
            seen.append((sigma, denoised))
            return denoised

        return record

    run = sd.text2img("a red boat", seed=3).wrap(recorder)
    steps = list(run)
    assert [sigma for sigma, _ in seen] == [step.sigma for step in steps]
    assert all(torch.equal(denoised, step.denoised) for (_, denoised), step in zip(seen, steps, strict=True))
    assert torch.equal(run.latents, sd.text2img("a red boat", seed=3).latents)


def test_the_last_wrapper_is_outermost_and_none_comes_late(sd):
    order = []

    def named(name):
        return lambda denoise: lambda x, sigma: order.append(name) or denoise(x, sigma)

    run = sd.text2img("a red boat", seed=3, steps=1).wrap(named("inner")).wrap(named("outer"))
    assert run.latents is not None
    assert order == ["outer", "inner"]
    with pytest.raises(TintypeError, match="has begun"):
        run.wrap(named("late"))
