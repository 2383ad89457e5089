"""Diffusion without networks: schedules, parameterizations, solvers, guidance and noise."""

from tintype.diffusion.aliases import a1111_names, resolve
from tintype.diffusion.denoiser import Denoiser, Network
from tintype.diffusion.guidance import guided, masked
from tintype.diffusion.noise import SolverNoise, posterior_noise, start_noise
from tintype.diffusion.parameterization import EPS, PARAMETERIZATIONS, X0, V, parameterization
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
    "parameterization",
    "posterior_noise",
    "resolve",
    "sampler",
    "start_noise",
]
