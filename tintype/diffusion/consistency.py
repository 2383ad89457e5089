"""Sampling with latent consistency models, which jump to the picture from any noise level."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise
from math import sqrt
from typing import TYPE_CHECKING

from tintype.diffusion.plan import Plan
from tintype.diffusion.solvers import drawn
from tintype.types import Denoise, Noise, Step

if TYPE_CHECKING:
    from torch import Tensor


def lcm(denoise: Denoise, x: Tensor, plan: Plan, *, eta: float = 1.0, noise: Noise | None = None) -> Iterator[Step]:
    """Multistep consistency sampling: Luo et al. 2023 (arXiv 2310.04378), algorithm 3, for models distilled so.

    Each step jumps to the picture and, but for the last, adds fresh noise. The picture is c_out * D + c_skip * x, of
    x in its variance-preserving form, with the boundary scalings of the released models (timesteps times 10, sigma_data
    0.5), which matter only near t = 0.
    """
    for i, (sigma, sigma_next) in enumerate(pairwise(plan.sigmas)):
        denoised = denoise(x, sigma)
        t = 10 * plan.timesteps[i]
        c_skip, c_out = 0.25 / (t**2 + 0.25), t / sqrt(t**2 + 0.25)
        picture = c_out * denoised + c_skip * x / sqrt(1 + sigma**2)
        x_next = picture if sigma_next == 0 else picture + sigma_next * drawn(noise, sigma, sigma_next)
        yield Step(i, sigma, sigma_next, x, denoised, x_next)
        x = x_next
