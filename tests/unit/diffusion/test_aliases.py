"""Other programs' names for the samplers and spacings that are here."""

import pytest

from tintype.diffusion import SAMPLERS, SPACINGS, Schedule, a1111_names, resolve
from tintype.diffusion.aliases import A1111, A1111_SCHEDULES, AUTOMATIC, COMFYUI, COMFYUI_SCHEDULES, DIFFUSERS
from tintype.errors import SettingsError


@pytest.mark.parametrize(
    ("sampler", "spacing", "expected"),
    [
        ("euler_a", None, ("euler_a", None)),
        ("Euler a", None, ("euler_a", None)),
        ("euler A", "Karras", ("euler_a", "karras")),
        ("DPM++ 2M Karras", None, ("dpmpp_2m", "karras")),
        ("DPM++ 2M Karras", "karras", ("dpmpp_2m", "karras")),
        ("DPM++ 2M Karras", "Automatic", ("dpmpp_2m", "karras")),
        ("dpm++ 2m sde exponential", None, ("dpmpp_2m_sde", "exponential")),
        ("DPM2 a Karras", None, ("dpm2_a", "karras")),
        ("LMS Karras", None, ("lms", "karras")),
        ("DPM++ 2M", "Automatic", ("dpmpp_2m", "karras")),
        ("DPM++ 3M SDE", "Automatic", ("dpmpp_3m_sde", "exponential")),
        ("Euler", "Automatic", ("euler", "linspace")),
        ("DDIM", "Automatic", ("ddim", None)),
        ("Heun", "SGM Uniform", ("heun", "sgm_uniform")),
        ("Euler", "DDIM", ("euler", "leading")),
        ("dpm_2_ancestral", "ddim_uniform", ("dpm2_a", "leading")),
        ("uni_pc_bh2", "normal", ("unipc", "linspace")),
        ("dpmpp_sde_gpu", "simple", ("dpmpp_sde", "simple")),
        ("DPMSolverMultistepScheduler", "use_karras_sigmas", ("dpmpp_2m", "karras")),
        ("Euler", [5.0, 1.0, 0.0], ("euler", [5.0, 1.0, 0.0])),
        (SAMPLERS["heun"], "Karras", ("heun", "karras")),
    ],
)
def test_names_and_what_they_mean(sampler, spacing, expected):
    chosen, meant = resolve(sampler, spacing)
    assert (chosen.name, meant) == expected
    assert chosen is SAMPLERS[chosen.name]


def test_every_name_in_the_tables_leads_to_a_sampler_or_spacing_that_is_here():
    for name in (*SAMPLERS, *A1111, *COMFYUI, *DIFFUSERS):
        assert resolve(name)[0].name in SAMPLERS
    for name in (*SPACINGS, *A1111_SCHEDULES, *COMFYUI_SCHEDULES):
        assert resolve("euler", name)[1] in SPACINGS
    assert set(AUTOMATIC) <= set(SAMPLERS)
    assert set(AUTOMATIC.values()) <= set(SPACINGS)


def test_our_own_names_mean_themselves_whatever_others_call_by_them():
    for name in SAMPLERS:
        assert resolve(name)[0].name == name
    for name in SPACINGS:
        assert resolve("euler", name)[1] == name


@pytest.mark.parametrize("spacing", ["Exponential", "linspace", [2.0, 0.0]])
def test_a_name_that_carries_another_spacing_than_the_one_given_is_refused(spacing):
    with pytest.raises(SettingsError, match="says karras spacing"):
        resolve("DPM++ 2M Karras", spacing)


@pytest.mark.parametrize(
    ("sampler", "spacing", "message"),
    [
        ("Restart", None, "unknown sampler 'Restart'.*Known: ddpm, ddim"),
        ("DPM++ 2N Karras", None, r"close: .*DPM\+\+ 2M"),
        ("Eulr", None, "close: .*Euler"),
        ("TCDScheduler", None, "unknown sampler"),
        ("euler", "karas", "close: .*arras"),
        ("euler", "KL Optimal", "unknown spacing 'KL Optimal'"),
        ("Restart Karras", None, "unknown sampler"),
    ],
)
def test_what_is_not_here_is_answered_with_near_names(sampler, spacing, message):
    with pytest.raises(SettingsError, match=message):
        resolve(sampler, spacing)


def test_names_as_a1111_writes_them():
    assert a1111_names("dpmpp_2m", "karras") == ("DPM++ 2M", "Karras")
    assert a1111_names("euler_a", None) == ("Euler a", "Uniform")
    assert a1111_names("euler", "sgm_uniform") == ("Euler", "SGM Uniform")
    assert a1111_names("euler", "trailing") == ("Euler", None)
    assert a1111_names("euler", [2.0, 1.0, 0.0]) == ("Euler", None)
    assert a1111_names("euler", "ays_sdxl") == ("Euler", "Align Your Steps")
    assert a1111_names("ddim", "leading") == ("DDIM", None)
    assert a1111_names("deis", "karras") == ("deis", None)


def test_what_is_written_is_read_as_the_same():
    for name in SAMPLERS:
        for spacing in (*SPACINGS, None):
            theirs, kind = a1111_names(name, spacing)
            chosen, meant = resolve(theirs, kind)
            assert chosen.name == name
            assert (
                kind is None or meant == (spacing or chosen.default_spacing) or {meant, spacing} == {"ays", "ays_sdxl"}
            )


def test_a_plan_takes_any_of_the_names():
    schedule = Schedule.scaled_linear()
    assert schedule.plan("DPM++ 2M Karras", None, 8) == schedule.plan("dpmpp_2m", "karras", 8)
    assert schedule.plan("euler_ancestral", "normal", 8) == schedule.plan("euler_a", "linspace", 8)
