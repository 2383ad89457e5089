"""What diffusers says beside its schedulers' trajectories: few-step models, published lists of sigmas, guidance."""

import diffusers
import pytest
import torch
from diffusers import DPMSolverMultistepScheduler, DPMSolverSinglestepScheduler
from diffusers.pipelines.stable_diffusion.pipeline_stable_diffusion import rescale_noise_cfg
from diffusers.schedulers import AysSchedules

from tests.parity.scheduler_oracles import SHAPE, noises, ours, smooth, theirs
from tintype.diffusion import Denoiser, Schedule, guided

TOLERANCE = 1e-3
BETAS = {"beta_start": 0.00085, "beta_end": 0.012, "beta_schedule": "scaled_linear"}
START = torch.randn(SHAPE, generator=noises(0))


def difference(got, expected):
    return float((got - expected).abs().max() / expected.std())


@pytest.mark.parametrize(
    "config",
    [
        {"_class_name": "EulerAncestralDiscreteScheduler", "timestep_spacing": "trailing"},  # SD and SDXL Turbo
        {"_class_name": "EulerDiscreteScheduler", "timestep_spacing": "trailing"},  # Lightning
        {"_class_name": "LCMScheduler", "timestep_spacing": "leading", "original_inference_steps": 50},
    ],
    ids=lambda config: config["_class_name"],
)
@pytest.mark.parametrize("prediction", ["epsilon", "sample"])
@pytest.mark.parametrize("steps", [1, 2, 3, 4, 8])
def test_few_steps_by_the_configurations_of_few_step_models(config, prediction, steps):
    if (prediction, config["_class_name"]) == ("sample", "EulerAncestralDiscreteScheduler"):
        pytest.skip("diffusers has none")
    config = config | BETAS | {"steps_offset": 1, "prediction_type": prediction, "clip_sample": False}
    scheduler = getattr(diffusers, config["_class_name"]).from_config(config)
    stochastic = config["_class_name"][:5] != "Euler" or "Ancestral" in config["_class_name"]
    expected = theirs(scheduler, smooth, START, steps, noises(1) if stochastic else None)
    schedule = Schedule.from_diffusers(config)
    assert difference(ours(schedule, schedule.sampler, smooth, START, steps, generator=noises(1)), expected) < TOLERANCE


def test_a_turbo_step_starts_at_the_last_timestep_and_ends_at_the_picture():
    schedule = Schedule.from_diffusers(
        {"_class_name": "EulerAncestralDiscreteScheduler", "timestep_spacing": "trailing", **BETAS}
    )
    plan = schedule.plan(schedule.sampler, None, 1)
    assert plan.timesteps == (999.0,)
    assert plan.sigmas == (pytest.approx(14.6146, rel=1e-4), 0.0)


@pytest.mark.parametrize(("name", "key"), [("ays", "StableDiffusionSigmas"), ("ays_sdxl", "StableDiffusionXLSigmas")])
def test_the_published_levels_of_align_your_steps(name, key):
    plan = Schedule.scaled_linear().plan("euler", name, 10)
    assert list(plan.sigmas) == pytest.approx(AysSchedules[key], abs=1e-9)


def test_dpmpp_2s_without_noise_is_a_pair_of_steps_of_the_single_step_solver():
    """diffusers counts the point halfway as a step; on a geometric list it stands where ours does."""
    scheduler = DPMSolverSinglestepScheduler(**BETAS, use_exponential_sigmas=True, lower_order_final=True)
    timeless = lambda x, t, cond=None: smooth(x, 500)  # noqa: E731
    expected = theirs(scheduler, timeless, START, 13)
    assert scheduler.order_list == [1, 2] * 6 + [1]
    sigmas = [*scheduler.sigmas[:-1:2].tolist(), 0.0]
    schedule = Schedule.scaled_linear(spacing="leading")  # which starts with the variance of picture and noise
    assert difference(ours(schedule, "dpmpp_2s_a", timeless, START, 7, eta=0.0, spacing=sigmas), expected) < TOLERANCE


def test_the_stochastic_third_order_step_of_diffusers_has_another_sign():
    """Its last term there grows with smaller steps, where k-diffusion's, and ours, vanishes."""
    scheduler = DPMSolverMultistepScheduler(
        **BETAS, solver_order=3, solver_type="heun", algorithm_type="sde-dpmsolver++", timestep_spacing="linspace"
    )
    expected = theirs(scheduler, smooth, START, 20, noises(1))
    got = ours(Schedule.scaled_linear(spacing="linspace"), "dpmpp_3m_sde", smooth, START, 20, generator=noises(1))
    assert difference(got, expected) > 10 * TOLERANCE


@pytest.mark.parametrize("rescale", [0.3, 0.7, 1.0])
@pytest.mark.parametrize("prediction", ["eps", "v", "x0"])
def test_guidance_rescale_is_that_of_diffusers(rescale, prediction):
    def network(x, t, cond):
        return torch.tanh(x) + cond * x.roll(1, -1)

    x, sigma = 3 * START, 2.0
    denoiser = Denoiser(network, Schedule.scaled_linear(prediction=prediction))
    with_text, without = denoiser.raw(x, sigma, 1.0), denoiser.raw(x, sigma, -0.5)
    expected = rescale_noise_cfg(without + 7.5 * (with_text - without), with_text, guidance_rescale=rescale)
    got = guided(denoiser, 1.0, -0.5, 7.5, rescale=rescale, batched=False)(x, sigma)
    assert torch.allclose(got, denoiser.x0_from(expected, x, sigma), rtol=1e-5, atol=1e-5)
