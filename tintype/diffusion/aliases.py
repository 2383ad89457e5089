"""The names by which other programs call the samplers and spacings that are here.

A name means the same algorithm, run by Tintype's conventions, which are diffusers'; docs/samplers.md says where those
of the other programs differ. A sampler's name may carry a spacing, as "DPM++ 2M Karras" does.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Sequence

from tintype.diffusion.samplers import SAMPLERS, Sampler
from tintype.diffusion.spacing import SPACINGS
from tintype.errors import SettingsError

A1111 = {
    "Euler": "euler",
    "Euler a": "euler_a",
    "Heun": "heun",
    "LMS": "lms",
    "DPM2": "dpm2",
    "DPM2 a": "dpm2_a",
    "DPM++ 2S a": "dpmpp_2s_a",
    "DPM++ 2M": "dpmpp_2m",
    "DPM++ SDE": "dpmpp_sde",
    "DPM++ 2M SDE": "dpmpp_2m_sde",
    "DPM++ 3M SDE": "dpmpp_3m_sde",
    "DDIM": "ddim",
    "PLMS": "pndm",
    "UniPC": "unipc",
    "LCM": "lcm",
}
A1111_SCHEDULES = {
    "Uniform": "linspace",
    "Normal": "linspace",
    "Karras": "karras",
    "Exponential": "exponential",
    "Polyexponential": "exponential",  # rho is 1 by default there
    "SGM Uniform": "sgm_uniform",
    "SGMUniform": "sgm_uniform",
    "Simple": "simple",
    "DDIM": "leading",
    "Beta": "beta",
    "Align Your Steps": "ays",
}
"""What A1111 calls a schedule type. Where several names mean one spacing, it is written by the first."""

AUTOMATIC = {
    "dpm2": "karras",
    "dpm2_a": "karras",
    "dpmpp_2s_a": "karras",
    "dpmpp_2m": "karras",
    "dpmpp_sde": "karras",
    "dpmpp_2m_sde": "exponential",
    "dpmpp_3m_sde": "exponential",
    **dict.fromkeys(("euler", "euler_a", "heun", "lms", "lcm"), "linspace"),
}
"""The schedule type "Automatic" by sampler; DDIM, PLMS and UniPC have timesteps of their own there."""

COMFYUI = {
    "euler_ancestral": "euler_a",
    "dpm_2": "dpm2",
    "dpm_2_ancestral": "dpm2_a",
    "dpmpp_2s_ancestral": "dpmpp_2s_a",
    "dpmpp_sde_gpu": "dpmpp_sde",
    "dpmpp_2m_sde_gpu": "dpmpp_2m_sde",
    "dpmpp_3m_sde_gpu": "dpmpp_3m_sde",
    "uni_pc": "unipc",
    "uni_pc_bh2": "unipc",
}
COMFYUI_SCHEDULES = {"normal": "linspace", "simple": "simple", "ddim_uniform": "leading"}

DIFFUSERS = {
    "DDPMScheduler": "ddpm",
    "DDIMScheduler": "ddim",
    "PNDMScheduler": "pndm",
    "EulerDiscreteScheduler": "euler",
    "EulerAncestralDiscreteScheduler": "euler_a",
    "HeunDiscreteScheduler": "heun",
    "DPMSolverMultistepScheduler": "dpmpp_2m",
    "KDPM2DiscreteScheduler": "dpm2",
    "KDPM2AncestralDiscreteScheduler": "dpm2_a",
    "LMSDiscreteScheduler": "lms",
    "DPMSolverSDEScheduler": "dpmpp_sde",
    "UniPCMultistepScheduler": "unipc",
    "DEISMultistepScheduler": "deis",
    "LCMScheduler": "lcm",
}
DIFFUSERS_FLAGS = {
    "use_karras_sigmas": "karras",
    "use_exponential_sigmas": "exponential",
    "use_beta_sigmas": "beta",
}

SAMPLER_NAMES = {each: each for each in SAMPLERS} | COMFYUI | A1111 | DIFFUSERS
SPACING_NAMES = {each: each for each in SPACINGS} | COMFYUI_SCHEDULES | DIFFUSERS_FLAGS | A1111_SCHEDULES


def resolve(
    sampler: str | Sampler, spacing: str | Sequence[float] | None = None
) -> tuple[Sampler, str | Sequence[float] | None]:
    """The sampler and the spacing that names of here, of A1111, ComfyUI or diffusers mean; lists of sigmas stay.

    Case does not matter. SettingsError, with the nearest names, for an unknown one, and for a sampler's name that
    carries another spacing than the one that is given.
    """
    if isinstance(sampler, Sampler):
        chosen, carried = sampler, None
    else:
        name, carried = _parted(sampler)
        chosen = SAMPLERS[name]
    if not isinstance(spacing, str):
        if carried is not None and spacing is not None:
            raise SettingsError(f"sampler {sampler!r} says {carried} spacing, and sigmas are given too: take one away")
        return chosen, carried if spacing is None else spacing
    if spacing.casefold() == "automatic":
        return chosen, carried or AUTOMATIC.get(chosen.name)
    meant = _found(spacing, SPACING_NAMES)
    if meant is None:
        raise SettingsError(unknown("spacing", spacing, SPACING_NAMES, SPACINGS))
    if carried not in (None, meant):
        raise SettingsError(f"sampler {sampler!r} says {carried} spacing, and {spacing} is given too: take one away")
    return chosen, meant


def a1111_names(sampler: str, spacing: str | Sequence[float] | None) -> tuple[str, str | None]:
    """How A1111 writes them: (sampler, schedule type). A sampler that it lacks keeps its own name here.

    The schedule type is None where A1111 has no name for the spacing, or where the sampler's spacing is its own there
    (DDIM, PLMS, UniPC). A spacing of None is the sampler's default one.
    """
    chosen, spacing = resolve(sampler, spacing)
    name = next((theirs for theirs, ours in A1111.items() if ours == chosen.name), chosen.name)
    if chosen.name not in AUTOMATIC:
        return name, None
    wanted = {"ays_sdxl": "ays"}.get(str(spacing), spacing) or chosen.default_spacing  # there the model decides
    return name, next((theirs for theirs, ours in A1111_SCHEDULES.items() if ours == wanted), None)


def unknown(what: str, name: str, known: Iterable[str], listed: Iterable[str]) -> str:
    """The sentence for a name that is not known: the nearest of ``known``, and all that are ``listed``."""
    by_case = {each.casefold(): each for each in known}
    close = [by_case[each] for each in difflib.get_close_matches(name.casefold(), by_case, n=3, cutoff=0.4)]
    near = f"; close: {', '.join(close)}" if close else ""
    return f"unknown {what} {name!r}{near}. Known: {', '.join(listed)}, and names of A1111, ComfyUI and diffusers"


def _parted(name: str) -> tuple[str, str | None]:
    """The sampler that a name means and the spacing that it carries, if any; SettingsError for an unknown one."""
    if (whole := _found(name, SAMPLER_NAMES)) is not None:
        return whole, None
    for label, spacing in A1111_SCHEDULES.items():
        if name.casefold().endswith(f" {label.casefold()}"):
            found = _found(name[: -len(label) - 1], A1111)
            if found is not None:
                return found, spacing
    raise SettingsError(unknown("sampler", name, SAMPLER_NAMES, SAMPLERS))


def _found(name: str, names: dict[str, str]) -> str | None:
    if name in names:
        return names[name]
    return {each.casefold(): meant for each, meant in names.items()}.get(name.strip().casefold())
