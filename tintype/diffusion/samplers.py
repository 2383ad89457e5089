"""The samplers by name: a solver, its eta, and the conventions by which the world runs it.

The same spacing name means different sigmas by family. The conventions are those of the three lineages: the
DDPM and DDIM of the papers, Katherine Crowson's k-diffusion, and DPM-Solver; as diffusers carries them on.
"""

from __future__ import annotations

import difflib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Literal

import numpy as np

from tintype.diffusion.consistency import lcm
from tintype.diffusion.multistep import deis, dpmpp_2m_sde, dpmpp_3m_sde, lms, unipc
from tintype.diffusion.solvers import dpmpp_2m, euler, heun, pndm
from tintype.diffusion.spacing import (
    TIMESTEP_SPACINGS,
    Array,
    TimestepSpacing,
    consistency,
    leading,
    linspace,
    without_last,
)
from tintype.diffusion.two_stage import dpm2, dpmpp_2s_a, dpmpp_sde
from tintype.errors import SettingsError
from tintype.types import Step


def variance_preserving_start(sigma: float, spacing: str) -> float:
    """Unit noise of the variance-preserving form: the variance that x0 + sigma * noise has."""
    return (1 + sigma**2) ** 0.5


def k_diffusion_start(sigma: float, spacing: str) -> float:
    """Sigma itself where the list reaches the last timestep, as if x0 were nothing beside it."""
    return variance_preserving_start(sigma, spacing) if spacing == "leading" else sigma


def unrounded(timesteps: Array) -> Array:
    """The timesteps as they are."""
    return timesteps


@dataclass(frozen=True)
class Family:
    """How one lineage of samplers reads a schedule.

    ``round`` makes times that the network may be told of fractional ones. ``start`` gives, for the first sigma and
    the timestep spacing, what unit noise is multiplied by. ``end`` is the last sigma: 0; or, where the schedule does
    not state ``set_alpha_to_one``, the first of the table or 0; or ("lowest") always the first of the table. A curve
    runs between the ends of the spaced list or of the whole table. ``round_on`` is what ``round`` is for the points of
    some curves.
    """

    name: str
    spacings: Mapping[str, TimestepSpacing] = field(repr=False)
    round: Callable[[Array], Array]
    start: Callable[[float, str], float]
    end: Literal["zero", "first_sigma", "alpha_to_one", "lowest"]
    curve_ends: Literal["spaced", "table"]
    round_on: Mapping[str, Callable[[Array], Array]] = field(default_factory=dict, repr=False)

    def rounded(self, timesteps: Array, curve: str | None) -> Array:
        """Times as the network is told them."""
        return self.round_on.get(curve or "", self.round)(timesteps)


DDIM = Family("ddim", TIMESTEP_SPACINGS, np.round, variance_preserving_start, "alpha_to_one", "spaced")
PNDM = replace(DDIM, name="pndm", end="first_sigma")
DDPM = replace(DDIM, name="ddpm", end="zero")
K_DIFFUSION = Family("k-diffusion", TIMESTEP_SPACINGS, unrounded, k_diffusion_start, "zero", "spaced")
DPM_SOLVER = Family(
    "dpm-solver",
    TIMESTEP_SPACINGS | {"leading": without_last(leading), "linspace": without_last(linspace)},
    np.round,
    variance_preserving_start,
    "zero",
    "table",
)
K_DIFFUSION_2 = replace(K_DIFFUSION, name="k-diffusion, DPM2", round_on={"karras": np.round})
DEIS = replace(DPM_SOLVER, name="deis", end="lowest")
LCM = replace(DDPM, name="lcm", spacings=dict.fromkeys(TIMESTEP_SPACINGS, consistency))


@dataclass(frozen=True)
class Sampler:
    """A named way to sample: ``solve(denoise, x, plan, eta=eta, noise=noise)`` yields the steps."""

    name: str
    solve: Callable[..., Iterator[Step]] = field(repr=False)
    eta: float  # the default; 0 draws no noise
    family: Family = field(repr=False)
    default_spacing: str


SAMPLERS: dict[str, Sampler] = {
    each.name: each
    for each in (
        Sampler("ddpm", euler, 1.0, DDPM, "leading"),
        Sampler("ddim", euler, 0.0, DDIM, "leading"),
        Sampler("pndm", pndm, 0.0, PNDM, "leading"),
        Sampler("euler", euler, 0.0, K_DIFFUSION, "linspace"),
        Sampler("euler_a", euler, 1.0, K_DIFFUSION, "linspace"),
        Sampler("heun", heun, 0.0, K_DIFFUSION, "linspace"),
        Sampler("dpm2", dpm2, 0.0, K_DIFFUSION_2, "linspace"),
        Sampler("dpm2_a", dpm2, 1.0, K_DIFFUSION, "linspace"),
        Sampler("lms", lms, 0.0, K_DIFFUSION, "linspace"),
        Sampler("dpmpp_2s_a", dpmpp_2s_a, 1.0, K_DIFFUSION, "linspace"),
        Sampler("dpmpp_sde", dpmpp_sde, 1.0, K_DIFFUSION, "linspace"),
        Sampler("dpmpp_2m", dpmpp_2m, 0.0, DPM_SOLVER, "linspace"),
        Sampler("dpmpp_2m_sde", dpmpp_2m_sde, 1.0, DPM_SOLVER, "linspace"),
        Sampler("dpmpp_3m_sde", dpmpp_3m_sde, 1.0, DPM_SOLVER, "linspace"),
        Sampler("unipc", unipc, 0.0, DPM_SOLVER, "linspace"),
        Sampler("deis", deis, 0.0, DEIS, "linspace"),
        Sampler("lcm", lcm, 1.0, LCM, "leading"),
    )
}


def sampler(name: str) -> Sampler:
    """The sampler of that name; SettingsError with the nearest names for an unknown one."""
    if name in SAMPLERS:
        return SAMPLERS[name]
    close = difflib.get_close_matches(name.lower(), SAMPLERS, n=3, cutoff=0.4)
    near = f"; close: {', '.join(close)}" if close else ""
    raise SettingsError(f"unknown sampler {name!r}{near}. Known: {', '.join(SAMPLERS)}")
