import json
from dataclasses import FrozenInstanceError
from itertools import pairwise

import pytest
import torch

from tintype.diffusion import SAMPLERS, SPACINGS, Schedule
from tintype.errors import CheckpointError, SettingsError

SD = {
    "_class_name": "PNDMScheduler",
    "beta_end": 0.012,
    "beta_schedule": "scaled_linear",
    "beta_start": 0.00085,
    "num_train_timesteps": 1000,
    "set_alpha_to_one": False,
    "skip_prk_steps": True,
    "steps_offset": 1,
    "trained_betas": None,
    "clip_sample": False,
}


def test_the_table_of_stable_diffusion():
    schedule = Schedule.scaled_linear()
    assert schedule.num_train_timesteps == 1000
    assert schedule.sigmas.dtype == schedule.alphas_cumprod.dtype == torch.float64
    expected = {0: 0.99915, 1: 0.9982960278384514, 500: 0.2763326838229746, 999: 0.004660098513077234}
    for t, alpha_bar in expected.items():
        assert float(schedule.alphas_cumprod[t]) == pytest.approx(alpha_bar, rel=1e-9)
    assert float(schedule.sigmas[0]) == pytest.approx(0.029167158, rel=1e-7)
    assert float(schedule.sigmas[-1]) == pytest.approx(14.614641229, rel=1e-9)


def test_a_schedule_is_a_value():
    assert Schedule.scaled_linear() == Schedule.scaled_linear()
    assert hash(Schedule.scaled_linear()) == hash(Schedule.scaled_linear())
    assert Schedule.scaled_linear() != Schedule.linear()
    with pytest.raises(FrozenInstanceError):
        Schedule.scaled_linear().prediction = "v"


@pytest.mark.parametrize("make", [Schedule.scaled_linear, Schedule.linear, Schedule.cosine])
def test_time_and_sigma_are_inverse_on_the_table(make):
    schedule = make()
    t = torch.arange(1000)
    assert torch.allclose(schedule.sigma(t), schedule.sigmas.float())
    assert (schedule.timestep(schedule.sigmas) - t).abs().max() < 0.01
    for i in (0, 1, 500, 998, 999):
        assert schedule.sigma(i) == pytest.approx(float(schedule.sigmas[i]))
        assert schedule.timestep(float(schedule.sigmas[i])) == pytest.approx(i, abs=1e-6)
    assert schedule.sigma(10.5) == pytest.approx(float(schedule.sigmas[10:12].mean()))
    assert float(schedule.sigma(torch.tensor(10.5))) == pytest.approx(schedule.sigma(10.5), rel=1e-5)


def test_beyond_the_table_stand_its_ends():
    schedule = Schedule.scaled_linear()
    assert schedule.timestep(100.0) == schedule.timestep(torch.tensor([100.0])) == 999
    assert schedule.timestep(0.0) == schedule.timestep(torch.tensor([0.0])) == 0


def test_zero_terminal_snr():
    plain, rescaled = Schedule.scaled_linear(), Schedule.scaled_linear(prediction="v", zero_terminal_snr=True)
    assert float(rescaled.alphas_cumprod[-1]) == 2**-24
    assert float(rescaled.sigmas[-1]) == pytest.approx(4096, rel=1e-6)
    assert float(rescaled.sigmas[0]) == pytest.approx(float(plain.sigmas[0]))
    assert bool((rescaled.sigmas.diff() > 0).all())
    with pytest.raises(SettingsError, match="zero terminal SNR"):
        Schedule.scaled_linear(zero_terminal_snr=True)


@pytest.mark.parametrize("name", SAMPLERS)
@pytest.mark.parametrize("spacing", [*SPACINGS, None])
def test_plans_fall_and_have_the_length_that_was_asked(name, spacing):
    schedule = Schedule.scaled_linear()
    for steps in (1, 2, 7, 20, 50):
        plan = schedule.plan(name, spacing, steps)
        assert len(plan) == len(plan.timesteps) == steps == len(plan.sigmas) - 1
        assert all(high > low for high, low in pairwise(plan.sigmas[:-1]))
        assert plan.sigmas[-2] >= plan.sigmas[-1] >= 0
        assert all(0 <= t <= 999 for t in plan.timesteps)
        for sigma, t in zip(plan.sigmas, plan.timesteps, strict=False):
            assert plan.timestep(sigma) == t
            assert schedule.timestep(sigma) == pytest.approx(t, abs=0.51)
        assert plan.start_scale in (plan.sigmas[0], pytest.approx((1 + plan.sigmas[0] ** 2) ** 0.5))


@pytest.mark.parametrize("name", SAMPLERS)
def test_the_tail_of_a_plan_starts_from_a_picture(name):
    plan = Schedule.scaled_linear().plan(name, None, 10)
    tail = plan.tail(3)
    assert tail.sigmas == plan.sigmas[-4:]
    assert tail.timesteps == plan.timesteps[-3:]
    assert tail.start_scale == tail.sigmas[0]
    assert tail.timestep(tail.sigmas[1]) == tail.timesteps[1]
    for steps in (0, 11):
        with pytest.raises(SettingsError, match="last"):
            plan.tail(steps)


def test_ends_and_starts_by_family():
    stated, open_ = Schedule.scaled_linear(), Schedule.scaled_linear(set_alpha_to_one=None)
    first = float(stated.sigmas[0])
    ends = {name: (stated.plan(name).sigmas[-1], open_.plan(name).sigmas[-1]) for name in SAMPLERS}
    assert ends == {
        "ddpm": (0, 0),
        "ddim": (first, 0),
        "pndm": (first, first),
        "euler": (0, 0),
        "euler_a": (0, 0),
        "heun": (0, 0),
        "dpmpp_2m": (0, 0),
        "deis": (first, first),
        **dict.fromkeys(("dpm2", "dpm2_a", "lms", "unipc", "lcm", "dpmpp_2s_a", "dpmpp_sde"), (0, 0)),
        **dict.fromkeys(("dpmpp_2m_sde", "dpmpp_3m_sde"), (0, 0)),
    }
    for name, spacing, unit in (("euler", "linspace", False), ("euler", "leading", True), ("ddim", "trailing", True)):
        plan = stated.plan(name, spacing)
        assert plan.start_scale == ((1 + plan.sigmas[0] ** 2) ** 0.5 if unit else plan.sigmas[0])


def test_the_spacing_of_the_schedule_holds_unless_another_is_asked():
    schedule = Schedule.scaled_linear(spacing="trailing", curve="karras")
    assert schedule.plan("euler") == Schedule.scaled_linear(spacing="trailing").plan("euler", "karras")
    assert schedule.plan("euler", "leading") == Schedule.scaled_linear().plan("euler", "leading")


def test_sigmas_given_by_hand():
    plan = Schedule.scaled_linear().plan("dpmpp_2m", [10, 2.0, 0.5, 0])
    assert plan.sigmas == (10.0, 2.0, 0.5, 0.0)
    assert all(t == int(t) for t in plan.timesteps)
    for bad in ([1.0], [1.0, 2.0], [2.0, 2.0], [2.0, -1.0], [float("inf"), 0.0], [float("nan"), 0.0], []):
        with pytest.raises(SettingsError, match="sigmas"):
            Schedule.scaled_linear().plan("euler", bad)


@pytest.mark.parametrize("steps", [0, -1, 1001])
def test_impossible_numbers_of_steps(steps):
    with pytest.raises(SettingsError, match="steps must be"):
        Schedule.scaled_linear().plan("euler", None, steps)


def test_unknown_names_are_refused():
    with pytest.raises(SettingsError, match="spacing 'karas'"):
        Schedule.scaled_linear().plan("euler", "karas")
    with pytest.raises(SettingsError, match="prediction"):
        Schedule.scaled_linear(prediction="epsilon")
    with pytest.raises(SettingsError, match="sampler"):
        Schedule.scaled_linear(sampler="eular")


def test_the_configuration_of_stable_diffusion():
    assert Schedule.from_diffusers(SD) == Schedule.scaled_linear(sampler="pndm")


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"_class_name": "EulerDiscreteScheduler", "timestep_spacing": "leading", "use_karras_sigmas": True},
        {"prediction_type": "v_prediction", "rescale_betas_zero_snr": True, "timestep_spacing": "trailing"},
        {"_class_name": "UniPCMultistepScheduler", "use_exponential_sigmas": True},
        {"_class_name": "DPMSolverMultistepScheduler", "algorithm_type": "sde-dpmsolver++", "use_beta_sigmas": True},
        {"_class_name": "DPMSolverSDEScheduler", "timestep_spacing": "trailing"},
        {"_class_name": "LCMScheduler", "original_inference_steps": 50},
        {"beta_schedule": "squaredcos_cap_v2", "prediction_type": "sample"},
        {"beta_schedule": "linear", "set_alpha_to_one": None, "steps_offset": 0},
        {"trained_betas": [0.01, 0.02, 0.05], "num_train_timesteps": 3},
    ],
)
def test_configurations_survive_the_way_there_and_back(changes):
    schedule = Schedule.from_diffusers({**SD, **changes})
    written = json.loads(json.dumps(schedule.to_diffusers()))
    read = Schedule.from_diffusers(written)
    assert torch.allclose(read.sigmas, schedule.sigmas, rtol=1e-9)
    assert {**vars(read), "betas": None, "sigmas": None, "alphas_cumprod": None} == {
        **vars(schedule),
        "betas": None,
        "sigmas": None,
        "alphas_cumprod": None,
    }


def test_flags_and_algorithms_of_configurations():
    read = Schedule.from_diffusers
    assert read({**SD, "use_beta_sigmas": True}).curve == "beta"
    assert read({**SD, "use_exponential_sigmas": True}).curve == "exponential"
    sde = read({**SD, "_class_name": "DPMSolverMultistepScheduler", "algorithm_type": "sde-dpmsolver++"})
    assert sde.sampler == "dpmpp_2m_sde"
    with pytest.raises(CheckpointError, match="algorithm_type"):
        read({**SD, "_class_name": "DPMSolverSDEScheduler", "algorithm_type": "sde-dpmsolver++"})


@pytest.mark.parametrize("name", ["HeunDiscreteScheduler", "KDPM2DiscreteScheduler", "LCMScheduler", "DDIMScheduler"])
def test_what_a_file_is_silent_about_is_its_class_default(name):
    import diffusers  # the oracle for the defaults

    theirs = getattr(diffusers, name)()
    ours = Schedule.from_diffusers({"_class_name": name})
    assert torch.allclose(ours.alphas_cumprod.float(), theirs.alphas_cumprod, rtol=1e-5)


def test_a_configuration_may_be_written_for_another_sampler():
    config = Schedule.from_diffusers(SD).to_diffusers("dpmpp_2m")
    assert config["_class_name"] == "DPMSolverMultistepScheduler"


@pytest.mark.parametrize(
    "changes",
    [
        {"_class_name": "FlowMatchEulerDiscreteScheduler"},
        {"prediction_type": "flow"},
        {"prediction_type": ["epsilon"]},
        {"beta_schedule": "sigmoid"},
        {"timestep_spacing": "karras"},
        {"thresholding": True},
        {"algorithm_type": "sde-dpmsolver++"},
        {"final_sigmas_type": "sigma_min"},
        {"_class_name": "TCDScheduler"},
        {"_class_name": "DPMSolverSinglestepScheduler"},
        {"_class_name": "UniPCMultistepScheduler", "predict_x0": False},
        {"_class_name": "LCMScheduler", "original_inference_steps": 100},
        {"solver_order": 3},
        {"use_lu_lambdas": True},
        {"rescale_betas_zero_snr": True},
        {"beta_start": "small"},
        {"num_train_timesteps": 0},
        {"trained_betas": []},
        {"trained_betas": [0.5, 2.0]},
        {"steps_offset": "one"},
    ],
)
def test_values_that_are_not_understood_are_refused(changes):
    with pytest.raises(CheckpointError, match="scheduler_config"):
        Schedule.from_diffusers({**SD, **changes})
