"""Diffusion without networks: schedules, parameterizations, solvers, guidance and noise."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tintype.lazy import lazily

if TYPE_CHECKING:
    from tintype.diffusion.aliases import a1111_names, resolve
    from tintype.diffusion.denoiser import Denoiser, Network
    from tintype.diffusion.guidance import guided, masked
    from tintype.diffusion.noise import SolverNoise, posterior_noise, start_noise
    from tintype.diffusion.parameterization import EPS, PARAMETERIZATIONS, X0, V
    from tintype.diffusion.plan import Plan
    from tintype.diffusion.samplers import SAMPLERS, Family, Sampler, sampler
    from tintype.diffusion.schedule import Schedule
    from tintype.diffusion.spacing import SPACINGS

__all__ = [
    "EPS",
    "PARAMETERIZATIONS",
    "SAMPLERS",
    "SPACINGS",
    "X0",
    "Denoiser",
    "Family",
    "Network",
    "Plan",
    "Sampler",
    "Schedule",
    "SolverNoise",
    "V",
    "a1111_names",
    "guided",
    "masked",
    "posterior_noise",
    "resolve",
    "sampler",
    "start_noise",
]

__getattr__, __dir__ = lazily(
    __name__,
    {
        "tintype.diffusion.aliases": ("a1111_names", "resolve"),
        "tintype.diffusion.denoiser": ("Denoiser", "Network"),
        "tintype.diffusion.guidance": ("guided", "masked"),
        "tintype.diffusion.noise": ("SolverNoise", "posterior_noise", "start_noise"),
        "tintype.diffusion.parameterization": ("EPS", "PARAMETERIZATIONS", "X0", "V"),
        "tintype.diffusion.plan": ("Plan",),
        "tintype.diffusion.samplers": ("SAMPLERS", "Family", "Sampler", "sampler"),
        "tintype.diffusion.schedule": ("Schedule",),
        "tintype.diffusion.spacing": ("SPACINGS",),
    },
)
