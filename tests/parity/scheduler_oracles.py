"""diffusers' schedulers as oracles: which there are for each sampler, their options, and how both sides are run."""

from __future__ import annotations

import functools
import importlib
import sys
from dataclasses import dataclass, field
from types import ModuleType
from typing import Any

import diffusers
import torch

from tintype.diffusion import Denoiser, Schedule, sampler

PREDICTIONS = {"eps": "epsilon", "v": "v_prediction", "x0": "sample"}
SHAPE = (2, 4, 8, 8)
ALL = ("leading", "trailing", "linspace")
CURVES = (None, "karras", "exponential", "beta")
SWITCHES = {
    None: {},
    "karras": {"use_karras_sigmas": True},
    "exponential": {"use_exponential_sigmas": True},
    "beta": {"use_beta_sigmas": True},
}
MAKE = {
    "scaled_linear": (Schedule.scaled_linear, 0.00085, 0.012),
    "linear": (Schedule.linear, 0.0001, 0.02),
    "squaredcos_cap_v2": (Schedule.cosine, 0.0001, 0.02),
}
MULTISTEP = (
    diffusers.DPMSolverMultistepScheduler,
    diffusers.UniPCMultistepScheduler,
    diffusers.DEISMultistepScheduler,
)
CUT_OFF = ("exponential", "beta")
"""On these curves, and on Karras' with cosine betas, the multistep schedulers cut fractional times to integers."""


def dpm_solver_sde():
    """A class that diffusers hides where torchsde is missing. Of that it wants the noise only, which the tests give."""
    sys.modules.setdefault("torchsde", ModuleType("torchsde"))
    return importlib.import_module("diffusers.schedulers.scheduling_dpmsolver_sde").DPMSolverSDEScheduler


@dataclass(frozen=True)
class Oracle:
    scheduler: type
    curves: tuple[str | None, ...] = (None,)
    predictions: tuple[str, ...] = ("eps", "v", "x0")
    spacings: tuple[str, ...] = ALL
    options: dict[str, Any] = field(default_factory=dict)
    eta: float | None = None  # None: the sampler's own


ORACLES = {
    "ddpm": Oracle(diffusers.DDPMScheduler, options={"clip_sample": False}),
    "ddim": Oracle(diffusers.DDIMScheduler, options={"clip_sample": False, "set_alpha_to_one": False}),
    "pndm": Oracle(
        diffusers.PNDMScheduler,
        predictions=("eps", "v"),
        options={"skip_prk_steps": True, "set_alpha_to_one": False},
    ),
    "euler": Oracle(diffusers.EulerDiscreteScheduler, CURVES),
    "euler_a": Oracle(diffusers.EulerAncestralDiscreteScheduler, predictions=("eps", "v")),
    "heun": Oracle(diffusers.HeunDiscreteScheduler, CURVES),
    "dpm2": Oracle(diffusers.KDPM2DiscreteScheduler, CURVES, ("eps", "v")),
    "dpm2_a": Oracle(diffusers.KDPM2AncestralDiscreteScheduler, CURVES, ("eps", "v")),
    "lms": Oracle(diffusers.LMSDiscreteScheduler, CURVES),
    "dpmpp_sde": Oracle(dpm_solver_sde(), CURVES, ("eps", "v")),
    "dpmpp_2m": Oracle(diffusers.DPMSolverMultistepScheduler, CURVES),
    "dpmpp_2m_sde": Oracle(
        diffusers.DPMSolverMultistepScheduler, CURVES, options={"algorithm_type": "sde-dpmsolver++"}
    ),
    "dpmpp_3m_sde": Oracle(
        diffusers.DPMSolverMultistepScheduler,
        CURVES,
        options={"solver_order": 3, "solver_type": "heun", "lower_order_final": False},
        eta=0.0,
    ),
    "unipc": Oracle(diffusers.UniPCMultistepScheduler, CURVES),
    "deis": Oracle(diffusers.DEISMultistepScheduler, CURVES),
    "lcm": Oracle(
        diffusers.LCMScheduler,
        spacings=("leading",),
        options={"clip_sample": False, "set_alpha_to_one": False},
    ),
}


def smooth(x, t, cond=None):
    """A network in closed form that looks at neighbours and at the time."""
    t = torch.as_tensor(t, dtype=torch.float32).reshape(-1, 1, 1, 1)
    return 0.8 * x + 0.3 * torch.sin(2 * x.roll(1, -1) + t / 150) - 0.1 * torch.cos(t / 90) * x.roll(1, -2)


def random_unet():
    """A tiny diffusers UNet with random weights and one text."""
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


def theirs(scheduler, network, start, steps, generator=None, time_of=None, **step):
    """What a diffusers pipeline does with a scheduler. ``time_of``: sigma -> the time to tell in place of its own."""
    scheduler.set_timesteps(steps)
    if time_of is not None:
        scheduler.timesteps = torch.tensor([time_of(float(s)) for s in scheduler.sigmas[: len(scheduler.timesteps)]])
    if hasattr(scheduler, "set_begin_index"):
        scheduler.set_begin_index(0)  # where two points have one integer time, it would begin at the second and not end
    if hasattr(scheduler, "noise_sampler"):
        scheduler.noise_sampler = lambda sigma, sigma_next: torch.randn(SHAPE, generator=generator)
    elif generator is not None:
        step["generator"] = generator
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


@functools.cache
def built(name, betas, **config):
    """A scheduler of diffusers, once for each table: some space a thousand steps while they are made.

    What ``set_timesteps`` and ``step`` read (spacing, curve, prediction) is put into its configuration by each use.
    """
    _, start, end = MAKE[betas]
    oracle = ORACLES[name]
    table = {"beta_start": start, "beta_end": end, "beta_schedule": betas, "steps_offset": 1}
    return oracle.scheduler(**table | oracle.options | config)


def compared(
    name,
    network,
    steps,
    *,
    spacing,
    curve=None,
    prediction="eps",
    eta=None,
    betas="scaled_linear",
    exact_table=False,
    mended=True,
    **config,
):
    """Relative difference of the final latents: the largest over the standard deviation.

    ``exact_table`` gives diffusers our alpha-bars, in float64, in place of its own, in float32. ``mended``: where
    diffusers cuts fractional times off (``CUT_OFF``), it is made to round them; and where it tells two times of one
    sigma (dpm2_a on Karras' curve, rounded at the points and not halfway, which is at eta 1 the next point), the
    fractional one.
    """
    oracle = ORACLES[name]
    schedule = MAKE[betas][0](
        prediction=prediction,
        spacing=spacing,
        curve=curve,
        zero_terminal_snr=config.get("rescale_betas_zero_snr", False),
        set_alpha_to_one=config.get("set_alpha_to_one", False),
    )
    scheduler = built(name, betas, **config)
    switched = dict.fromkeys((flag for each in SWITCHES.values() for flag in each), False) | SWITCHES[curve]
    asked = {"prediction_type": PREDICTIONS[prediction], "timestep_spacing": spacing, **switched} | config
    scheduler.register_to_config(**asked)
    own_table = scheduler.alphas_cumprod
    if exact_table:
        scheduler.alphas_cumprod = schedule.alphas_cumprod
    time_of = None
    cut_off = curve in CUT_OFF or (curve, betas) == ("karras", "squaredcos_cap_v2")
    if mended and cut_off and isinstance(scheduler, MULTISTEP):
        time_of = lambda sigma: round(schedule.timestep(sigma))  # noqa: E731
    if mended and (name, curve) == ("dpm2_a", "karras"):
        time_of = schedule.timestep
    step = {} if eta is None else {"eta": eta}
    used = next(each for each in (eta, oracle.eta, sampler(name).eta) if each is not None)
    start = torch.randn(SHAPE, generator=noises(0))
    expected = theirs(scheduler, network, start, steps, noises(1) if used > 0 else None, time_of, **step)
    scheduler.alphas_cumprod = own_table
    got = ours(schedule, name, network, start, steps, used, noises(1))
    return float((got - expected).abs().max() / expected.std())
