"""Whole trajectories equal those of diffusers' schedulers.

Both sides run the same network from the same noise; the final latents are compared. The networks are a smooth function
that wants no weights, and a tiny diffusers UNet with random ones. ``DEVIATIONS`` lists where Tintype differs on
purpose, and the tests make sure that it does.
"""

import diffusers
import pytest
import torch

from tests.parity.scheduler_oracles import (
    CUT_OFF,
    MULTISTEP,
    ORACLES,
    PREDICTIONS,
    SHAPE,
    SWITCHES,
    compared,
    noises,
    ours,
    random_unet,
    smooth,
)
from tintype.diffusion import Schedule, sampler
from tintype.errors import SettingsError

pytestmark = pytest.mark.filterwarnings("ignore:__array_wrap__:DeprecationWarning")  # diffusers', in each step

TOLERANCE = 1e-3
STEPS = (2, 5, 20, 50)

DEVIATIONS = {
    ("ddim", "linspace", None): "diffusers steps down to t - 1000 // N, not to the next point of its list",
    ("pndm", "linspace", None): "the same",
    ("ddim", "trailing, N does not divide 1000", None): "the same",
    ("pndm", "trailing, N does not divide 1000", None): "the same",
    ("pndm", None, "v"): "diffusers mixes the v of several noise levels; the paper, and Tintype, mix the noise",
    ("euler", "linspace, N = 1", None): "diffusers takes its one step from timestep 0, where a run cannot start",
}

FLOAT32_TABLE = {("lms", "x0")}
"""Where diffusers is given a table in float64, so that its own, in float32, does not decide; see the test of it."""


@pytest.fixture(scope="module")
def unet():
    torch.set_num_threads(1)
    return random_unet()


def combinations():
    for name, oracle in ORACLES.items():
        for spacing in oracle.spacings:
            for curve in oracle.curves:
                for prediction in oracle.predictions:
                    if (name, spacing, None) not in DEVIATIONS and (name, None, prediction) not in DEVIATIONS:
                        yield name, spacing, curve, prediction


@pytest.mark.parametrize(("name", "spacing", "curve", "prediction"), list(combinations()))
def test_trajectories_equal_on_a_smooth_network(name, spacing, curve, prediction):
    of_the_table = curve is not None and sampler(name).family.curve_ends == "table"  # then all spacings are one
    for steps in (5,) if of_the_table and spacing != "linspace" else STEPS if prediction == "eps" else (2, 20):
        difference = compared(name, smooth, steps, spacing=spacing, curve=curve, prediction=prediction)
        assert difference < TOLERANCE, f"{steps} steps: {difference:.2e}"


@pytest.mark.parametrize(
    ("name", "curve"),
    [(name, curve) for name in ("dpmpp_2m", "unipc", "deis") for curve in CUT_OFF] + [("dpm2_a", "karras")],
)
def test_times_that_diffusers_cuts_off_or_tells_twice(name, curve):
    differences = [compared(name, smooth, 5, spacing="trailing", curve=curve, mended=each) for each in (True, False)]
    assert differences[0] < TOLERANCE < differences[1]


def on_a_unet():
    """Every spacing and curve with eps, every prediction with and without Karras' curve; the smooth network has all."""
    for name, spacing, curve, prediction in combinations():
        first = ORACLES[name].spacings[0] if (name, "linspace", None) in DEVIATIONS else ORACLES[name].spacings[-1]
        if (spacing == first and curve in (None, "karras")) or (
            prediction == "eps" and (curve is None or spacing == first)
        ):
            yield name, spacing, curve, prediction


@pytest.mark.parametrize(("name", "spacing", "curve", "prediction"), list(on_a_unet()))
def test_trajectories_equal_on_a_unet(name, spacing, curve, prediction, unet):
    exact_table = (name, prediction) in FLOAT32_TABLE
    difference = compared(name, unet, 10, spacing=spacing, curve=curve, prediction=prediction, exact_table=exact_table)
    assert difference < TOLERANCE


def test_lms_with_x0_differs_by_the_table_that_diffusers_keeps_in_float32(unet):
    """Their 1 - alpha-bar loses digits at the clean end, and this pair of solver and network makes much of it."""
    how = {"spacing": "linspace", "curve": "karras", "prediction": "x0"}
    as_they_are, exact = (compared("lms", unet, 20, **how, exact_table=exact) for exact in (False, True))
    assert exact < TOLERANCE
    assert 4 * exact < as_they_are < 5 * TOLERANCE


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
    for steps in (5, 20):
        assert compared(name, smooth, steps, spacing="leading", betas=betas) < TOLERANCE


@pytest.mark.parametrize("betas", ["linear", "squaredcos_cap_v2"])
@pytest.mark.parametrize("name", [name for name, oracle in ORACLES.items() if "karras" in oracle.curves])
def test_other_betas_on_the_curve_of_karras(name, betas):
    assert compared(name, smooth, 20, spacing="linspace", curve="karras", betas=betas) < TOLERANCE


@pytest.mark.parametrize(
    ("name", "prediction"),
    [("euler", "v"), ("euler", "x0"), ("euler_a", "v"), ("dpmpp_2m", "v"), ("dpmpp_2m", "x0"), ("unipc", "v")],
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


@pytest.mark.parametrize("name", [name for name in ORACLES if name != "lcm"])
def test_one_step(name):
    for spacing in ("leading", "trailing"):
        assert compared(name, smooth, 1, spacing=spacing) < TOLERANCE


@pytest.mark.parametrize(
    ("name", "spacing", "steps"),
    [
        *((name, "leading", 999) for name in ("ddim", "euler")),
        *((name, "trailing", 1000) for name in ("ddim", "dpmpp_2m")),
        *((name, "linspace", 999) for name in ("ddpm", "euler", "dpmpp_2m")),
        ("dpmpp_2m", "leading", 998),
        ("pndm", "leading", 501),
    ],
)
def test_numbers_of_steps_near_the_limits(name, spacing, steps):
    assert compared(name, smooth, steps, spacing=spacing) < TOLERANCE


@pytest.mark.parametrize(("name", "steps"), [("ddim", 1000), ("euler", 1000), ("dpmpp_2m", 999), ("euler", 1001)])
def test_steps_that_do_not_fit_are_refused(name, steps):
    with pytest.raises(SettingsError, match="steps"):
        Schedule.scaled_linear(spacing="leading").plan(name, None, steps)


@pytest.mark.parametrize("name", [name for name in ORACLES if name not in ("dpm2", "dpm2_a", "dpmpp_sde")])
def test_the_timesteps_told_to_the_network_are_theirs(name):
    """But for the samplers whose points within the steps diffusers lists too."""
    oracle = ORACLES[name]
    near_the_limits = {"leading": (1, 501, 998), "trailing": (1, 1000)} if name != "lcm" else {}
    for spacing in oracle.spacings:
        for curve in oracle.curves:
            for steps in (3, 20, 50) if curve else (3, 20, 50, *near_the_limits.get(spacing, ())):
                scheduler = oracle.scheduler(
                    beta_start=0.00085,
                    beta_end=0.012,
                    beta_schedule="scaled_linear",
                    **{"timestep_spacing": spacing, "steps_offset": 1} | SWITCHES[curve] | oracle.options,
                )
                scheduler.set_timesteps(steps)
                expected = sorted(set(scheduler.timesteps.tolist()), reverse=True)
                plan = Schedule.scaled_linear(spacing=spacing, curve=curve).plan(name, None, steps)
                got = sorted(set(plan.timesteps), reverse=True)
                cut_off = isinstance(scheduler, MULTISTEP) and curve in CUT_OFF
                if cut_off:
                    got, expected = list(plan.timesteps), scheduler.timesteps.tolist()
                assert got == pytest.approx(expected, abs=1.001 if cut_off else 2e-3), (spacing, curve, steps)


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
        if name in ("dpm2", "dpm2_a", "dpmpp_sde", "dpmpp_2m_sde", "dpmpp_3m_sde"):
            continue  # these list points within the steps too, or share a class
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
