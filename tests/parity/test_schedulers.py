"""Whole trajectories equal those of diffusers' schedulers.

Both sides run the same network from the same noise; the final latents are compared. The networks are a smooth function
that wants no weights, and a tiny diffusers UNet with random ones. ``DEVIATIONS`` lists where Tintype differs on
purpose, and the tests make sure that it does.
"""

from dataclasses import dataclass

import diffusers
import pytest
import torch

from tintype.diffusion import Denoiser, Schedule, sampler
from tintype.errors import SettingsError

TOLERANCE = 1e-3
STEPS = (2, 5, 20, 50)
PREDICTIONS = {"eps": "epsilon", "v": "v_prediction", "x0": "sample"}
SHAPE = (2, 4, 8, 8)


@dataclass(frozen=True)
class Oracle:
    scheduler: type
    spacings: tuple[str, ...]
    curves: tuple[str | None, ...] = (None,)
    predictions: tuple[str, ...] = ("eps", "v", "x0")


ALL_CURVES = (None, "karras", "exponential", "beta")
SWITCHES = {
    "karras": {"use_karras_sigmas": True},
    "exponential": {"use_exponential_sigmas": True},
    "beta": {"use_beta_sigmas": True},
    None: {},
}

ORACLES = {
    "ddpm": Oracle(diffusers.DDPMScheduler, ("leading", "trailing", "linspace")),
    "ddim": Oracle(diffusers.DDIMScheduler, ("leading", "trailing", "linspace")),
    "pndm": Oracle(diffusers.PNDMScheduler, ("leading", "trailing", "linspace"), predictions=("eps", "v")),
    "euler": Oracle(diffusers.EulerDiscreteScheduler, ("leading", "trailing", "linspace"), ALL_CURVES),
    "euler_a": Oracle(
        diffusers.EulerAncestralDiscreteScheduler, ("leading", "trailing", "linspace"), predictions=("eps", "v")
    ),
    "heun": Oracle(diffusers.HeunDiscreteScheduler, ("leading", "trailing", "linspace"), ALL_CURVES),
    "dpmpp_2m": Oracle(diffusers.DPMSolverMultistepScheduler, ("leading", "trailing", "linspace"), (None, "karras")),
    "dpmpp_2m_sde": Oracle(
        diffusers.DPMSolverMultistepScheduler, ("leading", "trailing", "linspace"), (None, "karras")
    ),
    "dpm2": Oracle(
        diffusers.KDPM2DiscreteScheduler,
        ("leading", "trailing", "linspace"),
        (None, "exponential", "beta"),
        predictions=("eps", "v"),
    ),
    "dpm2_a": Oracle(
        diffusers.KDPM2AncestralDiscreteScheduler,
        ("leading", "trailing", "linspace"),
        (None,),
        predictions=("eps", "v"),
    ),
    "lms": Oracle(diffusers.LMSDiscreteScheduler, ("leading", "trailing", "linspace"), ALL_CURVES),
    "unipc": Oracle(diffusers.UniPCMultistepScheduler, ("leading", "trailing", "linspace"), (None, "karras")),
    "deis": Oracle(diffusers.DEISMultistepScheduler, ("leading", "trailing", "linspace"), (None, "karras")),
    "lcm": Oracle(diffusers.LCMScheduler, ("leading",)),
}

DEVIATIONS = {
    ("ddim", "linspace", None): "diffusers steps down to t - 1000 // N, not to the next point of its list",
    ("pndm", "linspace", None): "the same",
    ("ddim", "trailing, N does not divide 1000", None): "the same",
    ("pndm", "trailing, N does not divide 1000", None): "the same",
    ("pndm", None, "v"): "diffusers mixes the v of several noise levels; the paper, and Tintype, mix the noise",
    ("euler", "linspace, N = 1", None): "diffusers takes its one step from timestep 0, where a run cannot start",
}


def smooth(x, t, cond=None):
    """A network in closed form that looks at neighbours and at the time."""
    t = torch.as_tensor(t, dtype=torch.float32).reshape(-1, 1, 1, 1)
    return 0.8 * x + 0.3 * torch.sin(2 * x.roll(1, -1) + t / 150) - 0.1 * torch.cos(t / 90) * x.roll(1, -2)


@pytest.fixture(scope="module")
def unet():
    torch.set_num_threads(1)
    torch.manual_seed(0)
    model = diffusers.UNet2DConditionModel(
        sample_size=8,
        block_out_channels=(16,),
        layers_per_block=1,
        down_block_types=("CrossAttnDownBlock2D",),
        up_block_types=("CrossAttnUpBlock2D",),
        cross_attention_dim=16,
        attention_head_dim=8,
        norm_num_groups=8,
    ).eval()
    text = torch.randn(SHAPE[0], 7, 16)

    @torch.no_grad()
    def network(x, t, cond=None):
        return model(x, t, encoder_hidden_states=text).sample

    return network


def noises(seed):
    """A generator for each side, in the same state."""
    return torch.Generator().manual_seed(seed)


def theirs(scheduler, network, start, steps, **step):
    """What a diffusers pipeline does with a scheduler."""
    scheduler.set_timesteps(steps)
    x = start * scheduler.init_noise_sigma
    for t in scheduler.timesteps:
        output = network(scheduler.scale_model_input(x, t), t)
        x = scheduler.step(output, t, x, **step).prev_sample
    return x


def ours(schedule, name, network, start, steps, eta=None, generator=None, spacing=None):
    chosen = sampler(name)
    plan = schedule.plan(chosen, spacing, steps)
    denoiser = Denoiser(network, schedule).for_plan(plan)
    taken = list(
        chosen.solve(
            denoiser,
            start * plan.start_scale,
            plan,
            eta=chosen.eta if eta is None else eta,
            noise=lambda sigma, sigma_next: torch.randn(SHAPE, generator=generator),
        )
    )
    assert len(taken) == len(plan) == steps
    return taken[-1].x_next / (1 + plan.sigmas[-1] ** 2) ** 0.5


def compared(name, network, steps, *, spacing, curve=None, prediction="eps", eta=None, betas="scaled_linear", **config):
    """Relative difference of the final latents: the largest over the standard deviation."""
    make = {"scaled_linear": Schedule.scaled_linear, "linear": Schedule.linear, "squaredcos_cap_v2": Schedule.cosine}
    ends = {"scaled_linear": (0.00085, 0.012), "linear": (0.0001, 0.02), "squaredcos_cap_v2": (0.0001, 0.02)}[betas]
    schedule = make[betas](
        prediction=prediction,
        spacing=spacing,
        curve=curve,
        zero_terminal_snr=config.get("rescale_betas_zero_snr", False),
        set_alpha_to_one=config.get("set_alpha_to_one", False),
    )
    if name in ("ddim", "pndm"):
        config.setdefault("set_alpha_to_one", False)
    if name in ("ddim", "ddpm"):
        config["clip_sample"] = False
    if name == "pndm":
        config["skip_prk_steps"] = True
    config |= SWITCHES[curve]
    if name == "dpmpp_2m_sde":
        config["algorithm_type"] = "sde-dpmsolver++"
    if name == "lcm":
        config |= {"clip_sample": False, "set_alpha_to_one": False}
    scheduler = ORACLES[name].scheduler(
        beta_start=ends[0],
        beta_end=ends[1],
        beta_schedule=betas,
        prediction_type=PREDICTIONS[prediction],
        timestep_spacing=spacing,
        steps_offset=1,
        **config,
    )
    start = torch.randn(SHAPE, generator=noises(0))
    step = {} if eta is None else {"eta": eta}
    if (sampler(name).eta if eta is None else eta) > 0:
        step["generator"] = noises(1)
    expected = theirs(scheduler, network, start, steps, **step)
    got = ours(schedule, name, network, start, steps, eta, noises(1))
    return float((got - expected).abs().max() / expected.std())


def combinations():
    for name, oracle in ORACLES.items():
        for spacing in oracle.spacings:
            for curve in oracle.curves:
                for prediction in oracle.predictions:
                    if (name, spacing, None) not in DEVIATIONS and (name, None, prediction) not in DEVIATIONS:
                        yield name, spacing, curve, prediction


@pytest.mark.parametrize(("name", "spacing", "curve", "prediction"), list(combinations()))
def test_trajectories_equal_on_a_smooth_network(name, spacing, curve, prediction):
    for steps in STEPS:
        difference = compared(name, smooth, steps, spacing=spacing, curve=curve, prediction=prediction)
        assert difference < TOLERANCE, f"{steps} steps: {difference:.2e}"


@pytest.mark.parametrize(("name", "spacing", "curve", "prediction"), list(combinations()))
def test_trajectories_equal_on_a_unet(name, spacing, curve, prediction, unet):
    for steps in STEPS if prediction == "eps" else (5, 20):
        difference = compared(name, unet, steps, spacing=spacing, curve=curve, prediction=prediction)
        assert difference < TOLERANCE, f"{steps} steps: {difference:.2e}"


@pytest.mark.parametrize("prediction", PREDICTIONS)
@pytest.mark.parametrize("eta", [0.5, 1.0])
def test_ddim_with_eta(eta, prediction):
    for steps in STEPS:
        difference = compared("ddim", smooth, steps, spacing="leading", prediction=prediction, eta=eta)
        assert difference < TOLERANCE, f"{steps} steps: {difference:.2e}"


@pytest.mark.parametrize("name", ["ddim", "pndm"])
def test_alpha_to_one(name):
    for steps in STEPS:
        assert compared(name, smooth, steps, spacing="leading", set_alpha_to_one=True) < TOLERANCE


@pytest.mark.parametrize("betas", ["linear", "squaredcos_cap_v2"])
@pytest.mark.parametrize("name", ORACLES)
def test_other_betas(name, betas):
    for steps in STEPS:
        assert compared(name, smooth, steps, spacing="leading", betas=betas) < TOLERANCE


@pytest.mark.parametrize(
    ("name", "prediction"),
    [("euler", "v"), ("euler", "x0"), ("euler_a", "v"), ("dpmpp_2m", "v"), ("dpmpp_2m", "x0")],
)
@pytest.mark.parametrize("spacing", ["trailing", "leading"])
def test_zero_terminal_snr(name, spacing, prediction):
    for steps in STEPS:
        difference = compared(name, smooth, steps, spacing=spacing, prediction=prediction, rescale_betas_zero_snr=True)
        # diffusers' Euler loses digits in x - x0 at sigma 4096; ours stays within 2e-6 of its own run in float64
        assert difference < (2 * TOLERANCE if steps == 2 else TOLERANCE), f"{steps} steps: {difference:.2e}"


@pytest.mark.parametrize("prediction", ["v", "x0"])
@pytest.mark.parametrize("name", ["ddim", "ddpm"])
def test_zero_terminal_snr_is_close_where_diffusers_has_no_signal_at_all(name, prediction):
    """There the last alpha-bar is 2^-24 for the other schedulers, but exactly 0 for these two."""
    for steps in STEPS:
        difference = compared(
            name, smooth, steps, spacing="trailing", prediction=prediction, rescale_betas_zero_snr=True
        )
        assert difference < 10 * TOLERANCE, f"{steps} steps: {difference:.2e}"


@pytest.mark.parametrize(
    ("name", "spacing", "steps"),
    [(name, "leading", steps) for name in ORACLES if name != "lcm" for steps in (1, 501, 998)]
    + [(name, "leading", 999) for name in ("ddpm", "ddim", "pndm", "euler", "euler_a", "heun")]
    + [(name, "trailing", steps) for name in ORACLES if name != "lcm" for steps in (1, 1000)]
    + [(name, "linspace", steps) for name in ("ddpm", "euler", "euler_a", "heun", "dpmpp_2m") for steps in (999,)],
)
def test_numbers_of_steps_near_the_limits(name, spacing, steps):
    assert compared(name, smooth, steps, spacing=spacing) < TOLERANCE


@pytest.mark.parametrize(("name", "steps"), [("ddim", 1000), ("euler", 1000), ("dpmpp_2m", 999), ("euler", 1001)])
def test_steps_that_do_not_fit_are_refused(name, steps):
    with pytest.raises(SettingsError, match="steps"):
        Schedule.scaled_linear(spacing="leading").plan(name, None, steps)


def test_the_timesteps_told_to_the_network_are_theirs():
    for name, oracle in ORACLES.items():
        if name.startswith("dpm2"):
            continue  # diffusers lists the points within the steps too
        for spacing in oracle.spacings:
            for curve in oracle.curves:
                for steps in (3, 20, 50):
                    config = dict(SWITCHES[curve])
                    if name == "pndm":
                        config["skip_prk_steps"] = True
                    scheduler = oracle.scheduler(
                        beta_start=0.00085,
                        beta_end=0.012,
                        beta_schedule="scaled_linear",
                        timestep_spacing=spacing,
                        steps_offset=1,
                        **config,
                    )
                    scheduler.set_timesteps(steps)
                    expected = sorted(set(scheduler.timesteps.tolist()), reverse=True)
                    plan = Schedule.scaled_linear(spacing=spacing, curve=curve).plan(name, None, steps)
                    got = sorted(set(plan.timesteps), reverse=True)
                    assert got == pytest.approx(expected, abs=2e-3), (name, spacing, curve, steps)


def test_a_list_of_sigmas():
    sigmas = [14.0, 5.0, 1.5, 0.3, 0.0]
    scheduler = diffusers.EulerDiscreteScheduler(beta_start=0.00085, beta_end=0.012, beta_schedule="scaled_linear")
    scheduler.set_timesteps(sigmas=sigmas)
    start = torch.randn(SHAPE, generator=noises(0))
    x = start * scheduler.init_noise_sigma
    for t in scheduler.timesteps:
        x = scheduler.step(smooth(scheduler.scale_model_input(x, t), t), t, x).prev_sample
    got = ours(Schedule.scaled_linear(), "euler", smooth, start, 4, spacing=sigmas)
    assert (got - x).abs().max() / x.std() < TOLERANCE


@pytest.mark.parametrize("deviation", DEVIATIONS)
def test_deviations_do_deviate(deviation):
    name, spacing, prediction = deviation
    steps = 1 if spacing and "N = 1" in spacing else 7
    spacing = spacing.split(",")[0] if spacing else "leading"
    difference = compared(name, smooth, steps, spacing=spacing, prediction=prediction or "eps")
    assert difference > TOLERANCE


def test_configurations_mean_what_diffusers_reads_in_them():
    for name, oracle in ORACLES.items():
        if name in ("dpm2", "dpm2_a", "dpmpp_2m_sde"):
            continue  # the first two list other timesteps, the last one shares its class
        config = {
            "_class_name": oracle.scheduler.__name__,
            "beta_start": 0.00085,
            "beta_end": 0.012,
            "beta_schedule": "scaled_linear",
            "steps_offset": 1,
            "skip_prk_steps": True,
        }
        scheduler = oracle.scheduler.from_config(config)
        schedule = Schedule.from_diffusers(config)
        assert torch.allclose(schedule.alphas_cumprod.float(), scheduler.alphas_cumprod, rtol=1e-5)
        scheduler.set_timesteps(10)
        plan = schedule.plan(schedule.sampler, None, 10)
        assert list(plan.timesteps) == pytest.approx(sorted(set(scheduler.timesteps.tolist()), reverse=True))
        written = oracle.scheduler.from_config(schedule.to_diffusers())
        assert torch.allclose(written.alphas_cumprod, scheduler.alphas_cumprod)
        assert Schedule.from_diffusers(dict(written.config)).betas == schedule.betas
